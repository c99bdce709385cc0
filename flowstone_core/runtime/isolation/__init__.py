"""Isolation: runs foreign code so that it can be given up, killed, or crash alone.

The modules know nothing of sensors, schedules or assets.

Modules:
    thread_pool: daemon threads with a deadline for each call.
    child_process: a child process that serves one object and can be killed.
    fork_server: the process that forks the child processes; imported only there.
    watchdog: ends a process whose interpreter is blocked.
"""
