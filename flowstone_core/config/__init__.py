"""Configuration: what files and pipelines declare, validated into a `Project`.

A setting goes this way: ``file`` reads it with its line, ``sections`` gives it to the model of its
section, ``declarations`` checks the sensor, schedule or asset, `validation` joins everything.

* `validation`: reads everything, collects every problem, returns a `Project` or raises.
* `project`: the result, from which a runner is wired.
* `pipeline`: assets, sensors and schedules declared in Python.
* `sections`: ``[flowstone]``, ``[flowstone:sensor:NAME]`` and ``[flowstone:schedule:NAME]``.
* `declarations`: the rules for assets, sensors and schedules, from files and Python alike.
* `file`: the grammar of the file: lines, ``${NAME}``, section names.
* `run_settings`: the settings of ``[flowstone]``.
* `import_string`: ``module:name`` references to the user's code.
* `pickling`: the check that an asset or sensor can be sent to a child process.
* `settings_reference`: settings as text for tables and listings, without secrets.
* `model_fields`: the fields of a settings model, by name or alias.

Names are imported from the modules: importing this package imports none of them.
"""
