"""Sections of the configuration, each read with the model of its settings.

* `run_section`: ``[flowstone]``.
* `sensor_section`: ``[flowstone:sensor:NAME]``.
* `schedule_section`: ``[flowstone:schedule:NAME]``.
* `oddities`: the warnings of quotes and inline comments in their values.
* `section_reader`: the values, places and problems of one section, which the others use.
"""
