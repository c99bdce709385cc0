"""The checks of a sensor's settings."""

from __future__ import annotations

from flowstone_core.model.sensor import AnySensor, PollContext
from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.driver import NAME, quietly
from flowstone_core.testing.contract.overrides import ContractOverrides
from flowstone_core.testing.contract.sandbox import refusal
from flowstone_core.testing.contract.violation import Violation


class SettingsChecks(ContractOverrides):
    """Checks that invalid settings are refused with a message that names them."""

    @check()
    def test_an_unknown_setting_is_refused(self) -> None:
        """A setting that is misspelt is an error."""
        sensor = self._example()
        name = next(iter(type(sensor.config).model_fields), "setting")
        wrong = f"{name}{name[-1]}"
        if refusal(sensor, {wrong: "any"}) is None:
            raise Violation(
                f"a setting {wrong!r}, which there is not, was accepted.",
                why="A misspelt setting is ignored, and the default is used without a warning.",
                remedy="Derive Config from SensorConfig, and leave its extra='forbid' alone.",
            )

    @check()
    def test_every_setting_is_described(self) -> None:
        """Each setting has a description, for `flowstone plugins show` and the README."""
        fields = type(self._example().config).model_fields
        bare = [name for name, field in fields.items() if not field.description]
        if bare:
            raise Violation(
                f"settings without a description: {', '.join(bare)}.",
                why="It is what 'flowstone plugins show' prints, and the table in the README.",
                remedy="Field(description='what it is, its unit, what is allowed').",
            )

    @check("test_an_unknown_setting_is_refused")
    def test_wrong_settings_are_refused_by_name(self) -> None:
        """Each of `invalid_settings` is refused with the given words."""
        if not self.invalid_settings:
            self._lacking("invalid_settings", "wrong settings with words of their errors")
        sensor = self._example()
        for changes, words in self.invalid_settings:
            said = refusal(sensor, changes)
            if said is None or words not in said:
                result = "was accepted." if said is None else f"was refused, without it: {said}"
                raise Violation(
                    f"{dict(changes)} should be refused, and the error should say {words!r}. "
                    f"It {result}",
                    why="An invalid setting must be reported before anything runs, in a message "
                    "that is clear without the code.",
                    remedy="Let the model refuse it: by its type, by Field(ge=...), or by a "
                    "validator that raises ValueError, and not anything else.",
                )

    def _example(self) -> AnySensor:
        sensor = self.make_sensor(PollContext(NAME, clock=self.clock))
        quietly(sensor.cleanup)
        return sensor
