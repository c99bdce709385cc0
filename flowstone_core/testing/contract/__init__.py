"""The contract of sensors, as tests: a sensor that passes them loses nothing."""

from __future__ import annotations

from flowstone_core.testing.contract.cleanup_checks import CleanupChecks
from flowstone_core.testing.contract.failure_checks import FailureChecks
from flowstone_core.testing.contract.secret_checks import SecretChecks
from flowstone_core.testing.contract.settings_checks import SettingsChecks
from flowstone_core.testing.contract.skip_checks import SkipChecks
from flowstone_core.testing.contract.state_checks import StateChecks
from flowstone_core.testing.contract.volume_checks import VolumeChecks


class SensorContract(
    StateChecks,
    SkipChecks,
    FailureChecks,
    VolumeChecks,
    SettingsChecks,
    SecretChecks,
    CleanupChecks,
):
    """The tests that every sensor should pass; derive a class of tests from it.

    Define how the sensor is made and how the external source is changed; pytest finds the tests.
    `change_to_skip` and `endless_source` are defined, or excused in `not_applicable` with a reason.
    Optional members (`break_source`, `hang_source`, `invalid_settings`, `secrets`) show as skipped
    where they are missing, and so does a test that fails for the same reason as another.

    Example:
        >>> from datetime import date
        >>> class Mailbox:
        ...     letters = []
        >>> from flowstone_core import Event, NotTriggered, Sensor, SensorConfig, Triggered
        >>> class NewLetters(Sensor[SensorConfig, int]):
        ...     '''Fires for each letter; remembers how many there were.'''
        ...     def init(self):
        ...         return 0
        ...     def poll(self, state):
        ...         new = Mailbox.letters[state:]
        ...         if not new:
        ...             return NotTriggered(state)
        ...         return Triggered([Event(letter) for letter in new], state + len(new))
        >>> class TestNewLetters(SensorContract):
        ...     not_applicable = {
        ...         "change_to_skip": "each letter fires",
        ...         "endless_source": "a poll reads one list",
        ...     }
        ...     def make_sensor(self, context):
        ...         return NewLetters(SensorConfig(), context)
        ...     def change(self, number):
        ...         Mailbox.letters.append(f"letter-{number}")
        ...         return f"letter-{number}"
        >>> TestNewLetters().test_nothing_is_lost_when_a_commit_fails()
    """
