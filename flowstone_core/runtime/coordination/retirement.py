"""Retirement of dead runners: their sensors and schedules are released at once."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from flowstone_core.store import Peer, Store

logger = logging.getLogger("flowstone.retirement")


def retire_dead(store: Store, peers: Collection[Peer], runner_id: str, now: datetime) -> bool:
    """Retire the runners whose leases have ended, and those of this machine that were killed.

    Args:
        store: The store.
        peers: The runners that have not stopped, as just read.
        runner_id: This runner; it is left alone.
        now: The current time.

    Returns:
        True if any runner was retired.

    Raises:
        StoreError: If the store cannot be used.
    """
    machine = machine_id()
    others = [peer for peer in peers if peer.id != runner_id]
    killed = [each for each in others if each.machine == machine and not process_exists(each.pid)]
    silent = [each for each in others if each.gone is not None and each not in killed]
    for each in killed:
        store.runners.stop(each.id, now)
    retired = store.peers.retire([each.id for each in silent], now) if silent else set()
    dead = killed + [each for each in silent if each.id in retired]
    for each in dead:
        extra = {"runner": each.id, "host": each.host, "pid": each.pid}
        reason = each.gone or "its process is gone"
        logger.warning("runner died; taking over its work", extra={**extra, "reason": reason})
    return bool(dead)


def machine_id() -> str:
    """Return a name of this machine for comparing process ids.

    Two processes with the same name see each other's ids. A container has its own ids, hence the
    namespace; a restart of the machine renews all ids, hence the boot id (proc(5)).
    """
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            found = Path(path)
            parts.append(str(found.readlink()) if found.is_symlink() else found.read_text().strip())
    return " ".join(parts)


def process_exists(pid: int) -> bool:
    """Return True if a process with this id exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, and belongs to another user
        return True
    return True
