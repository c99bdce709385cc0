"""Sensor: compares the files of a folder with those of the last poll."""

from __future__ import annotations

from flowstone_acme.config import AcmeFilesConfig
from flowstone_core import Event, NotTriggered, Outcome, Sensor, Triggered

State = dict[str, list[int]]
"""Time of the last write in nanoseconds and size in bytes of each file, by its name."""


class AcmeFiles(Sensor[AcmeFilesConfig, State]):
    """Fires for each file of a folder that is new or was written again.

    The partition is the file's name. The asset function finds the file in the payload of the
    event: ``{"path": ..., "bytes": ...}``.
    """

    Config = AcmeFilesConfig
    asset_required = True

    def init(self) -> State:
        """Return the state before the first poll: no files."""
        return {}

    def poll(self, state: State) -> Outcome[State]:
        """List the folder once.

        An exception is a failed poll: the state stays, and FlowStone polls again later. So the
        new state is returned only after everything has been read.
        """
        found: State = {}
        events = []
        for path in sorted(self.config.folder.iterdir()):
            if not path.is_file() or not path.name.endswith(self.config.suffix):
                continue
            about = path.stat()
            found[path.name] = [about.st_mtime_ns, about.st_size]
            if state.get(path.name) != found[path.name]:
                # The key identifies the version of the file: FlowStone fires once for it.
                key = f"{path.name}@{about.st_mtime_ns}:{about.st_size}"
                events.append(
                    Event(path.name, key, payload={"path": str(path), "bytes": about.st_size})
                )
        return Triggered(events, found) if events else NotTriggered(found)

    def connect(self) -> None:
        """Read the folder; raise if it cannot be read (`flowstone check --connect`)."""
        next(self.config.folder.iterdir(), None)
