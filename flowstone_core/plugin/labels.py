"""Labels of plugins and distributions: one form for messages, one spelling for comparisons."""

from __future__ import annotations

import re


def plugin_label(name: str, distribution: str, version: str) -> str:
    """Return how messages name a plugin and the distribution that provides it.

    Example:
        >>> plugin_label("s3", "flowstone-s3", "0.1.0")
        "plugin 's3' of flowstone-s3 0.1.0"
    """
    return f"plugin {name!r} of {distribution} {version}"


def normalized_name(name: str) -> str:
    """Return the one spelling of a distribution's or plugin's name, for comparisons (PEP 503).

    Example:
        >>> normalized_name("Flowstone_S3")
        'flowstone-s3'
    """
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
