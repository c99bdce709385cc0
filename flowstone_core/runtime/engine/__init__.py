"""Engine: claims materializations from the store and runs their attempts in this process.

Other engines are plugins; they use the names of `flowstone_core.plugin_api`.

Modules:
    local_engine: claims what is due, recovers what dead runners held, drains and stops.
    execution: one attempt; calls the asset function and commits the result.
    asset_host: calls asset functions and contains their errors, in this process or a child.
    run_attempt: one attempt for an engine of a plugin.
"""
