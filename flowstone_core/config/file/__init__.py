"""Configuration file: sections and settings with their lines, before any setting is validated.

* `reader`: reads ``setup.cfg`` or ``flowstone.cfg`` into a `Config`.
* `text_file`: reads UTF-8 text, or raises one clear error.
* `ini`: cuts the text into sections and parses their options.
* `interpolation`: expands ``%%``, ``$$`` and ``${NAME}``.
* `section`: `Section` and `Setting`, and the names a section may have.
"""
