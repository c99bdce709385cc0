"""Sensor `webhook`: fires when a URL becomes ready, or changes."""

from __future__ import annotations

from collections import deque
from datetime import UTC
from typing import TYPE_CHECKING, TypedDict

from flowstone_core import (
    Event,
    NotTriggered,
    Outcome,
    PollContext,
    RetryLater,
    Sensor,
    SensorBroken,
    Skipped,
    Triggered,
)
from flowstone_http.client import HttpClient
from flowstone_http.config import WebhookConfig
from flowstone_http.connector import Connector, Resolve, is_public, resolve
from flowstone_http.content import media_type
from flowstone_http.deadline import Deadline
from flowstone_http.errors import StatusError
from flowstone_http.response_reader import ResponseReader
from flowstone_http.retry_after import parse_retry_after, rate_limit_reset
from flowstone_http.validators import Validator, condition_for, digest, has_changed
from flowstone_http.value import LEFT_OUT, payload_value

if TYPE_CHECKING:
    from pydantic import JsonValue

    from flowstone_http.response import Response
    from flowstone_http.response_reader import ParsedResponse

VERSION = 1
"""The version of the stored state."""


class WebhookState(TypedDict):
    """Stored state of the sensor. Its keys are persisted and must not change.

    Attributes:
        version: The version of the state.
        ready: Digests of the partitions that were ready at the last poll.
        mark: The validator of the response that the sensor last fired for.
    """

    version: int
    ready: list[str]
    mark: Validator | None


class Webhook(Sensor[WebhookConfig, WebhookState]):
    """Sensor that fires when the response of a URL is ready, or has changed.

    The sensor fires once for each partition that becomes ready, and again if the partition was not
    ready in between; with ``on_change`` when the response is ready and its validator has changed
    since the sensor last fired. The asset function finds the response in the payload:
    ``{"server": ..., "status": ..., "etag": ..., "value": ...}``.

    A failed poll changes nothing.
    """

    Config = WebhookConfig
    asset_required = True

    def __init__(
        self,
        config: WebhookConfig,
        context: PollContext | None = None,
        *,
        look_up: Resolve = resolve,
    ) -> None:
        super().__init__(config, context)
        self._reader = ResponseReader(config, self.context.clock.now)
        self._request = config.request()
        self._look_up = look_up
        self._warned = config.verify
        self._etags: deque[str] = deque(maxlen=16)
        self._mirrors = False

    def init(self) -> WebhookState:
        """See `Sensor.init`."""
        return WebhookState(version=VERSION, ready=[], mark=None)

    def poll(self, state: WebhookState) -> Outcome[WebhookState]:
        """See `Sensor.poll`.

        Raises:
            HttpError: If there is no usable response.
            RetryLater: If the server sends ``Retry-After``.
            SensorBroken: If the state has another version.
        """
        validator = _read_state(state)["mark"]
        condition = condition_for(validator, self.config.on_change)
        response = self._client().fetch(self._request, condition)
        if response.status in self.config.not_ready_status:
            waiting = WebhookState(version=VERSION, ready=[], mark=validator)
            return NotTriggered(waiting, reason=f"status {response.status} means not ready yet")
        if response.status == 304 and condition is not None and condition.source == response.source:
            return NotTriggered(state, reason="not modified since it last fired")
        if not 200 <= response.status < 300:
            self._refuse(response)
        return self._outcome(state, response, self._reader.read(response))

    def connect(self) -> None:
        """Send one request, and check that its response is usable; see `Sensor.connect`."""
        response = self._client().fetch(self._request)
        if response.status in self.config.not_ready_status:
            return
        if not 200 <= response.status < 300:
            self._refuse(response)
        self._reader.read(response)

    def _outcome(
        self, state: WebhookState, response: Response, parsed: ParsedResponse
    ) -> Outcome[WebhookState]:
        ready = {digest(text): partition for text, partition in parsed.partitions.items()}
        validator = state["mark"]
        if parsed.validator is None:
            known = () if self.config.repeat else state["ready"]
            fresh = [item for key, item in ready.items() if key not in known]
        elif ready and has_changed(parsed.validator, validator):
            fresh, validator = list(ready.values()), parsed.validator
        else:
            fresh = []
        after = WebhookState(version=VERSION, ready=sorted(ready), mark=validator)
        if not fresh:
            old = "each ready partition has fired" if parsed.validator is None else "no change"
            return NotTriggered(after, reason=parsed.reason or old)
        if parsed.validator is not None:
            self._warn_of_mirrors(parsed.validator)
        payload: dict[str, JsonValue] = {
            "server": self._request.url.authority,
            "status": response.status,
            "etag": response.header("etag")[:1000] or None,
            **payload_value(parsed.value),
        }
        why = payload.get("left_out")
        # Events without a key: FlowStone derives it from the tick and the content, so a replay is
        # the same event.
        return Triggered(
            [Event(partition, payload=payload) for partition in fresh],
            after,
            [] if why is None else [Skipped(LEFT_OUT, len(fresh), str(why))],
        )

    def _warn_of_mirrors(self, validator: Validator) -> None:
        """Warn once of an ETag that comes back: servers behind one name have different ones."""
        if validator["by"] != "etag":
            return
        if validator["value"] in self._etags and not self._mirrors:
            self._mirrors = True
            self.context.logger.warning(
                "an earlier ETag of %s is back: servers behind one name with different ETags fire "
                "at each poll (set on_change = body, or last_modified)",
                self._request.url.authority,
            )
        self._etags.append(validator["value"])

    def _client(self) -> HttpClient:
        config, clock = self.config, self.context.clock
        if not self._warned:
            self._warned = True
            self.context.logger.warning(
                "certificate verification disabled for %s: an attacker can read and change "
                "everything (set ca_file instead of verify = false)",
                self._request.url.authority,
            )
        self.context.check_deadline()
        seconds = min(config.timeout.total_seconds(), self.context.seconds_left())
        deadline = Deadline(clock.monotonic, seconds)
        allowed = (lambda _: True) if config.allow_private else is_public
        return HttpClient(
            Connector(deadline, allowed, self._look_up),
            config.max_bytes,
            config.max_redirects,
            allow_downgrade=config.allow_downgrade,
            verify=str(config.ca_file) if config.ca_file is not None else config.verify,
            trust_env=config.trust_env,
        )

    def _refuse(self, response: Response) -> None:
        authority, status = self._request.url.authority, response.status
        if status >= 400:
            now = self.context.clock.now().astimezone(UTC)
            delay = parse_retry_after(response.header("retry-after"), now)
            if delay is not None:
                raise RetryLater(
                    delay, f"{authority} responded with status {status} and Retry-After"
                )
            delay = rate_limit_reset(response.facts.headers, now)
            if delay is not None and status in {403, 429}:
                raise RetryLater(
                    delay, f"{authority} responded with status {status}: rate limit used up"
                )
        kind = media_type(response)
        raise StatusError(
            f"{authority} responded with status {status}" + (f" ({kind})" if kind else ""),
            hint=_status_hint(status),
            status=status,
        )


def _status_hint(status: int) -> str:
    if status in {401, 403, 407}:
        return "check username and password, bearer_token, or headers"
    if status in {404, 410}:
        return "check url; if the status means not ready yet, set not_ready_status"
    if status == 304:
        return "the request was unconditional; a cache in between is broken"
    if status == 429 or status >= 500:
        return "polls go on with longer pauses; if this persists, poll less often"
    return "check url, method, headers and body"


def _read_state(state: WebhookState) -> WebhookState:
    version: object = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        raise SensorBroken(
            f"unsupported state version {version!r:.40} (this flowstone-http reads version "
            f"{VERSION}): install the flowstone-http that wrote it, or reset the sensor with "
            "'flowstone sensors reset'; it then fires again for all ready partitions"
        )
    return state
