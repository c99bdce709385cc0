"""Sections of the configuration, each read with the model of its settings.

* `run`: ``[flowstone]``.
* `sensor`: ``[flowstone:sensor:NAME]``.
* `schedule`: ``[flowstone:schedule:NAME]``.
* `section_reader`: the values, places and problems of one section, which the others use.
"""
