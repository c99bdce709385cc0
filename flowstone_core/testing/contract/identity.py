"""Identity of changes: which event, or which example of a skipped item, a change stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from flowstone_core.errors import ValidationError
from flowstone_core.model.json_document import Json, load_document
from flowstone_core.model.partition import Partition, decode_partition, encode_partition
from flowstone_core.model.tick import NewEvent


def identifies(what: Partition, event: NewEvent) -> bool:
    """Return True if an event is for a partition, or has a text in its key or its payload."""
    if event.partition == encode_partition(what):
        return True
    if not isinstance(what, str):
        return False
    return any(mentions(text, what) for text in _texts_of(event))


def mentions(text: str, what: str) -> bool:
    """Return True if a text has another in it, as whole words: 'row-10' does not have 'row-1'."""
    return re.search(rf"(?<!\w){re.escape(what)}(?!\w)", text) is not None


def _texts_of(event: NewEvent) -> Iterator[str]:
    yield event.key
    for text in (event.partition, event.key):
        try:
            yield str(decode_partition(text))
        except ValidationError:
            continue
    if event.payload is not None:
        yield from _leaves(load_document(event.payload))


def _leaves(value: Json) -> Iterator[str]:
    children: Iterable[Json]
    if isinstance(value, dict):
        children = [*value, *value.values()]
    elif isinstance(value, list):
        children = value
    else:
        yield str(value)
        return
    for child in children:
        yield from _leaves(child)
