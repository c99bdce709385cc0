"""Fields of pydantic models: lookup by name or alias, and the kinds of their values."""

from __future__ import annotations

import types
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Annotated, Union, get_args, get_origin

from flowstone_core.model.setting_types import Verbatim

if TYPE_CHECKING:
    import pydantic
    from pydantic.fields import FieldInfo

LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable, AbstractSet)
"""Types whose values a configuration file writes as one item per line."""

_WRAPPERS = (Union, types.UnionType, Annotated)


def field_by_key(model: type[pydantic.BaseModel], key: str) -> FieldInfo | None:
    """Return the field with this name or alias, or None."""
    for name, field in model.model_fields.items():
        if key in (name, field.alias, field.validation_alias):
            return field
    return None


def takes_list(model: type[pydantic.BaseModel], key: str) -> bool:
    """Return True if the field with this name or alias takes a list."""
    field = field_by_key(model, key)
    return field is not None and _is_list(field.annotation)


def is_verbatim(model: type[pydantic.BaseModel], key: str) -> bool:
    """Return True if the field with this name or alias is marked as `Verbatim`."""
    field = field_by_key(model, key)
    return field is not None and (
        any(isinstance(each, Verbatim) for each in field.metadata) or _is_verbatim(field.annotation)
    )


def _is_verbatim(annotation: object) -> bool:
    return isinstance(annotation, Verbatim) or any(map(_is_verbatim, get_args(annotation)))


def takes_import(model: type[pydantic.BaseModel], key: str) -> bool:
    """Return True if the field with this name or alias takes ``module:name``."""
    field = field_by_key(model, key)
    return field is not None and any(
        map(_is_import, (field.annotation, *get_args(field.annotation), *field.metadata))
    )


def _is_import(annotation: object) -> bool:
    from pydantic import ImportString

    parts = getattr(annotation, "__metadata__", ())
    is_import = annotation is ImportString or isinstance(annotation, ImportString)
    return is_import or any(map(_is_import, parts))


def is_union(model: type[pydantic.BaseModel], key: str) -> bool:
    """Return True if the field with this name or alias takes one of several types."""
    field = field_by_key(model, key)
    return field is not None and field.discriminator is None and _is_union(field.annotation)


def _is_union(annotation: object) -> bool:
    if get_origin(annotation) is Annotated:
        return _is_union(get_args(annotation)[0])
    members = [each for each in get_args(annotation) if each is not type(None)]
    return get_origin(annotation) in {Union, types.UnionType} and len(members) > 1


def _is_list(annotation: object) -> bool:
    origin = get_origin(annotation)
    if origin in _WRAPPERS:
        return any(map(_is_list, get_args(annotation)))
    return (origin or annotation) in LISTS
