"""Plugins: which distributions are installed, their contributions, and the hooks that watch.

Knows neither the store nor the configuration. A plugin that fails, hangs or shares a name with
another one is reported, and harms no other plugin.

* `hookspecs`: the hooks that a plugin may implement, and the version of that contract
* `entry_points`: lists and imports the entry points, with a report for each
* `contributions`: calls the providing hooks and checks their results
* `discovery`: imports, checks and registers all plugins (`discover`)
* `registry`: the registered plugins (`Plugins`): contributions, watchers, commands
* `hook_dispatcher`: calls the watching hooks after the commit, in one thread
* `time_limit`: abandons an import or a hook that does not return in time
"""
