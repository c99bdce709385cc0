"""Machine: where a run was measured, and the versions of all that took part."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from benchmarks.framework.benchmark import Arm
from benchmarks.framework.scratch import SERVER_URL


def describe_machine() -> dict[str, str]:
    """Return what is known of the machine, without its name."""
    found = {
        "processor": _processor(),
        "cores": str(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }
    with suppress(ValueError, OSError):  # not every system knows its pages: then without
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory"] = f"{pages / 2**30:.0f} GB"
    return found


def describe_versions(arms: Iterable[Arm]) -> dict[str, str]:
    """Return the versions of Python, the databases, and the packages of the arms."""
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    if SERVER_URL in os.environ:
        import psycopg

        with psycopg.connect(os.environ[SERVER_URL]) as connection:
            number = connection.info.server_version
        found["PostgreSQL"] = f"{number // 10_000}.{number % 10_000}"
    packages = {"SQLAlchemy"}.union(*(arm.needs for arm in arms))
    for name in sorted(packages, key=str.lower):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit that is measured; with a plus sign if there are changes beside it."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
        return done.stdout.strip()

    changed = git(
        "status", "--porcelain", "--untracked-files=no", "--", ":/flowstone_core", ":/plugins"
    )
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
