"""Declarations: the rules for assets, sensors and schedules, from files and Python alike.

* `asset_declaration`: checks an asset, and the ``on_trigger`` function of a sensor.
* `sensor_declaration`: checks a sensor's class and settings.
* `schedule_declaration`: checks a schedule's trigger, partition and policies.
* `problems`: the problems they share: names, references to assets, pydantic errors.
"""
