"""Messages of pydantic in the words of a configuration file.

pydantic describes the types of Python; a user of ``setup.cfg`` knows texts, numbers and lists.
`described` has a message for each type of error that pydantic has. Other types come from the
validators of a plugin: their messages are the plugin's own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from string import Formatter
from typing import TYPE_CHECKING

from flowstone_core.model.duration import format_duration

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_TEXT = "must be a text"
_WHOLE = "must be a whole number"
_NUMBER = "must be a number"
_BOOLEAN = "must be true or false"
_LIST = "must be a list, one item a line"
_MAPPING = "must be a mapping of names to values"
_DATE = "must be a date such as 2026-01-31"
_TIME = "must be a time such as 08:30"
_MOMENT = "must be a date with a time such as 2026-01-31T08:30+01:00"
_DURATION = "must be a duration such as 30s, 5m, 1h30m or 2d"
_URL = "must be a URL such as https://example.com/path"
_UUID = "must be a UUID such as 6f1c2d3e-0000-4000-8000-000000000000"
_BYTES = "must be bytes"
_DECIMAL = "must be a number such as 12.50"
_IMPORT = "cannot be imported: {error}"
_IP = "must be an IP address such as 192.0.2.1"
_NETWORK = "must be a network such as 192.0.2.0/24"
_SIZE = "must be a size such as 10MB"
_PATTERN = "must be a regular expression"
_CALL = "invalid arguments"
_ODD = "invalid value"

_TIMEDELTA = re.compile(r"datetime\.timedelta\((0|(?:(?:, )?(?:days|seconds|microseconds)=\d+)+)\)")
_PART = re.compile(r"(\w+)=(\d+)")

_MESSAGES = {
    **dict.fromkeys(("string_type", "string_sub_type"), _TEXT),
    "string_unicode": "must be UTF-8 text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the regular expression {pattern}",
    "string_not_ascii": "must have only ASCII characters",
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOLEAN),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _WHOLE),
    "int_parsing_size": "must be a whole number with fewer digits",
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    **dict.fromkeys(("complex_type", "complex_str_parsing"), _NUMBER),
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    **dict.fromkeys(
        ("decimal_type", "decimal_parsing", "fraction_type", "fraction_parsing"), _DECIMAL
    ),
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} digits after the point",
    "decimal_whole_digits": "must have at most {whole_digits} digits before the point",
    **dict.fromkeys(("enum", "literal_error"), "must be {expected}"),
    **dict.fromkeys(
        (
            "list_type", "tuple_type", "set_type", "frozen_set_type", "deque_type",
            "iterable_type", "iteration_error", "named_tuple_type", "sequence_str",
        ),
        _LIST,
    ),
    "set_item_not_hashable": "must be a list of texts or numbers",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    **dict.fromkeys(
        (
            "dict_type", "frozen_dict_type", "ordered_dict_type", "counter_type", "mapping_type",
            "model_type", "model_attributes_type", "dataclass_type", "dataclass_exact_type",
        ),
        _MAPPING,
    ),
    "invalid_key": "must have texts as names",
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        _DATE,
    ),
    **dict.fromkeys(("date_past", "datetime_past"), "must be in the past"),
    **dict.fromkeys(("date_future", "datetime_future"), "must be in the future"),
    **dict.fromkeys(("time_type", "time_parsing"), _TIME),
    **dict.fromkeys(
        (
            "datetime_type", "datetime_parsing", "datetime_object_invalid",
            "datetime_from_date_parsing",
        ),
        _MOMENT,
    ),
    "timezone_naive": "must be without an offset from UTC",
    "timezone_aware": "must end with an offset from UTC such as +01:00 or Z",
    "timezone_offset": "must have another offset from UTC",
    **dict.fromkeys(("time_delta_type", "time_delta_parsing"), _DURATION),
    **dict.fromkeys(("url_type", "url_parsing", "url_syntax_violation"), _URL),
    "url_too_long": "must have at most {max_length} characters",
    "url_scheme": "must be a URL that begins with {expected_schemes}",
    **dict.fromkeys(("uuid_type", "uuid_parsing"), _UUID),
    "uuid_version": "must be a UUID of version {expected_version}",
    **dict.fromkeys(("bytes_type",), _BYTES),
    "bytes_too_short": "must have at least {min_length} bytes",
    "bytes_too_long": "must have at most {max_length} bytes",
    "bytes_invalid_encoding": "must be encoded as {encoding}",
    **dict.fromkeys(("json_invalid", "json_type"), "must be JSON"),
    "none_required": "must be left out",
    "missing_sentinel_error": "must be left out",
    "ellipsis_error": "must be left out",
    "frozen_field": "cannot be changed",
    "frozen_instance": "cannot be changed",
    "is_instance_of": "must be an object of {class}",
    "is_subclass_of": "must be a subclass of {class}",
    "callable_type": "must be a function",
    "union_tag_invalid": "must have one of these for {discriminator}: {expected_tags}",
    "union_tag_not_found": "missing setting {discriminator}",
    "missing": "missing setting",
    "extra_forbidden": "unknown setting",
    **dict.fromkeys(("recursion_loop", "recursion_depth_exceeded"), "must not contain itself"),
    **dict.fromkeys(
        (
            "arguments_type", "missing_argument", "unexpected_keyword_argument",
            "missing_keyword_only_argument", "unexpected_positional_argument",
            "missing_positional_only_argument", "multiple_argument_values",
        ),
        _CALL,
    ),
    **dict.fromkeys(
        (
            "no_such_attribute", "needs_python_object", "get_attribute_error",
            "default_factory_not_called", "not_operation_failed", "predicate_failed",
        ),
        _ODD,
    ),
    # Those of pydantic's own validators in Python.
    "import_error": _IMPORT,
    "path_type": "must be a path",
    "path_not_file": "file not found",
    "path_not_directory": "folder not found",
    "path_not_socket": "socket not found",
    "path_exists": "exists already",
    "parent_does_not_exist": "its folder does not exist",
    **dict.fromkeys(
        (
            "ip_v4_address", "ip_v6_address", "ip_any_address",
            "ip_v4_interface", "ip_v6_interface", "ip_any_interface",
        ),
        _IP,
    ),
    **dict.fromkeys(("ip_v4_network", "ip_v6_network", "ip_any_network"), _NETWORK),
    **dict.fromkeys(("byte_size", "byte_size_unit"), _SIZE),
    **dict.fromkeys(
        ("pattern_type", "pattern_regex", "pattern_str_type", "pattern_bytes_type"), _PATTERN
    ),
    "zoneinfo_str": "must be a time zone such as Europe/Berlin",
    "color_error": "must be a colour such as red or #ff0000",
}  # fmt: skip


def described(item: ErrorDetails) -> tuple[str, str]:
    """Return message and hint of one error; the message does not contain the value.

    Both are empty for a type that is a plugin's own.
    """
    template = _MESSAGES.get(item["type"])
    if template is None:
        return "", ""
    context = {key: _shown(value) for key, value in item.get("ctx", {}).items()}
    expected = context.get("expected", "")
    context["expected"] = expected.replace("'", "")
    return _filled(template, context), _near(item["input"], re.findall(r"'([^']*)'", expected))


def _filled(template: str, context: Mapping[str, str]) -> str:
    """Fill a template; a context that lacks a name, of another version, gives a plain message."""
    names = {name for _, name, _, _ in Formatter().parse(template) if name}
    if not names <= context.keys():
        return _ODD
    text = template.format_map(context)
    return re.sub(r"\b1 (character|item|byte|digit)s\b", r"1 \1", text)


def _shown(value: object) -> str:
    text = str(value)
    if (match := _TIMEDELTA.fullmatch(text)) is not None:
        # The bound of a type that validates with a function: pydantic writes it as Python does.
        value = timedelta(**{name: int(number) for name, number in _PART.findall(match[1])})
    return format_duration(value) if isinstance(value, timedelta) else text


def _near(value: object, options: list[str]) -> str:
    if not isinstance(value, str):
        return ""
    found = {option.lower(): option for option in options}
    near = get_close_matches(value.strip().strip("'\"").lower(), found, n=1)
    return f"did you mean {found[near[0]]!r}?" if near else ""
