"""Engine: claims materializations from the store and runs their attempts in this process.

Other engines are plugins; they use the names of `flowstone_core.plugin_api`.

Modules:
    local_engine: claims what is due, drains and stops.
    claim_ahead: how many attempts are claimed before a thread is free for them.
    held_attempts: what this process has claimed; recovers what dead runners held.
    execution: one attempt; calls the asset function and hands on the result.
    result_writer: commits results; those that end together share one transaction.
    asset_host: calls asset functions and contains their errors, in this process or a child.
    run_attempt: one attempt for an engine of a plugin.
"""
