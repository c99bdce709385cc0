"""The sensor itself: what one poll of a URL amounts to."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypedDict

from flowstone_core import (
    Event,
    NotTriggered,
    Outcome,
    Partition,
    PollContext,
    RetryLater,
    Sensor,
    SensorBroken,
    Triggered,
)
from flowstone_http.client import Exchange
from flowstone_http.config import WebhookConfig
from flowstone_http.connector import Dialer, Resolve, is_public, resolve
from flowstone_http.content import media_type
from flowstone_http.deadline import Deadline
from flowstone_http.errors import StatusError
from flowstone_http.response_reader import Reader
from flowstone_http.retry_after import read_pause
from flowstone_http.validators import Mark, condition_of, digest, has_changed
from flowstone_http.value import storable

if TYPE_CHECKING:
    from pydantic import JsonValue

    from flowstone_http.response import Answer
    from flowstone_http.response_reader import Reading

VERSION = 1
"""The version of the state's form."""


class WebhookState(TypedDict):
    """What is stored of a sensor.

    Attributes:
        version: The version of this form.
        ready: Digests of the partitions that were ready at the last poll.
        mark: What was watched for change when the sensor last fired.
    """

    version: int
    ready: list[str]
    mark: Mark | None


class Webhook(Sensor[WebhookConfig, WebhookState]):
    """Fires when a URL says that something is ready, or that it has changed.

    It fires once for each partition that becomes ready, and again when it was not ready in
    between; with ``on_change`` when it is ready and another than the one it last fired for. The
    asset function finds what was answered in the payload:
    ``{"server": ..., "status": ..., "etag": ..., "value": ...}``.

    A poll that fails changes nothing.
    """

    Config = WebhookConfig

    def __init__(
        self,
        config: WebhookConfig,
        context: PollContext | None = None,
        *,
        look_up: Resolve = resolve,
    ) -> None:
        super().__init__(config, context)
        self._reader = Reader(config)
        self._request = config.request()
        self._look_up = look_up
        self._warned = config.verify

    def init(self) -> WebhookState:
        """See `Sensor.init`."""
        return WebhookState(version=VERSION, ready=[], mark=None)

    def poll(self, state: WebhookState) -> Outcome[WebhookState]:
        """See `Sensor.poll`.

        Raises:
            HttpError: If there is no answer that can be used.
            RetryLater: If the server asks to be left alone for a while.
            SensorBroken: If the state is not one that this version can read.
        """
        mark = _read_state(state)["mark"]
        condition = condition_of(mark, self.config.on_change)
        answer = self._exchange().run(self._request, condition)
        if answer.status in self.config.not_ready_status:
            return NotTriggered(WebhookState(version=VERSION, ready=[], mark=mark))
        if answer.status == 304 and condition is not None and condition.source == answer.source:
            return NotTriggered(state)
        if not 200 <= answer.status < 300:
            self._refuse(answer)
        return self._outcome(state, answer, self._reader.read(answer))

    def connect(self) -> None:
        """Make one request, and see whether what answers can be used; see `Sensor.connect`."""
        answer = self._exchange().run(self._request)
        if answer.status in self.config.not_ready_status:
            return
        if not 200 <= answer.status < 300:
            self._refuse(answer)
        self._reader.read(answer)

    def _outcome(
        self, state: WebhookState, answer: Answer, reading: Reading
    ) -> Outcome[WebhookState]:
        ready = {digest(text): partition for text, partition in reading.partitions.items()}
        mark = state["mark"]
        if reading.mark is None:
            known = () if self.config.repeat else state["ready"]
            fresh = [item for key, item in ready.items() if key not in known]
        elif ready and has_changed(reading.mark, mark):
            fresh, mark = list(ready.values()), reading.mark
        else:
            fresh = []
        after = WebhookState(version=VERSION, ready=sorted(ready), mark=mark)
        if not fresh:
            return NotTriggered(after)
        return Triggered([self._event(item, answer, reading.value) for item in fresh], after)

    def _event(self, partition: Partition, answer: Answer, value: JsonValue) -> Event:
        # No key: FlowStone makes one of the tick and the content, so a replay is the same event.
        return Event(
            partition,
            payload={
                "server": self._request.target.place,
                "status": answer.status,
                "etag": answer.header("etag")[:1000] or None,
                **storable(value),
            },
        )

    def _exchange(self) -> Exchange:
        config, clock = self.config, self.context.clock
        if not self._warned:
            self._warned = True
            self.context.logger.warning(
                "verify = false: whoever is on the way to %s can read and change everything; "
                "name a certificate in ca_file instead",
                self._request.target.place,
            )
        deadline = Deadline(clock.monotonic, config.timeout.total_seconds())
        allowed = (lambda _: True) if config.allow_private else is_public
        return Exchange(
            Dialer(deadline, allowed, self._look_up),
            config.max_bytes,
            config.max_redirects,
            allow_downgrade=config.allow_downgrade,
            verify=str(config.ca_file) if config.ca_file is not None else config.verify,
            trust_env=config.trust_env,
        )

    def _refuse(self, answer: Answer) -> None:
        place, status = self._request.target.place, answer.status
        if status in {429, 503}:
            now = self.context.clock.now().astimezone(UTC)
            pause = read_pause(answer.header("retry-after"), now)
            if pause is not None:
                raise RetryLater(pause, f"{place} answered {status} and asks to be left alone")
        kind = media_type(answer)
        raise StatusError(
            f"{place} answered with status {status}" + (f" ({kind})" if kind else ""),
            hint=_status_hint(status),
            status=status,
        )


def _status_hint(status: int) -> str:
    if status in {401, 403, 407}:
        return "check username and password, bearer_token, or headers"
    if status in {404, 410}:
        return "check url; if it means not ready yet, set not_ready_status"
    if status == 304:
        return "no condition was sent; a cache on the way is broken"
    if status == 429 or status >= 500:
        return "polls go on with longer pauses; if it stays, poll less often"
    return "check url, method, headers and body"


def _read_state(state: WebhookState) -> WebhookState:
    version: object = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        raise SensorBroken(
            f"the stored state has version {version!r:.40}, and this flowstone-http reads version "
            f"{VERSION}: install the flowstone-http that wrote it, or reset the sensor by "
            "'flowstone sensors reset'; it then fires again for what is ready"
        )
    return state
