"""The sensor itself: what one look at the folder amounts to."""

from __future__ import annotations

from flowstone_acme.config import AcmeFilesConfig
from flowstone_core import Event, NotTriggered, Outcome, Sensor, Triggered

State = dict[str, list[int]]
"""When each file was written last, in nanoseconds, and its size in bytes, by its name."""


class AcmeFiles(Sensor[AcmeFilesConfig, State]):
    """Fires for each file of a folder that is new or was written again.

    The partition is the file's name. The asset function finds the file in the payload of the
    event: ``{"path": ..., "bytes": ...}``.
    """

    Config = AcmeFilesConfig

    def init(self) -> State:
        """Return the state before the first poll: nothing was seen."""
        return {}

    def poll(self, state: State) -> Outcome[State]:
        """Look once.

        What it raises is a failed poll: the state stays, and FlowStone polls again later. So the
        new state is made only when everything has been read.
        """
        found: State = {}
        events = []
        for path in sorted(self.config.folder.iterdir()):
            if not path.is_file() or not path.name.endswith(self.config.suffix):
                continue
            about = path.stat()
            found[path.name] = [about.st_mtime_ns, about.st_size]
            if state.get(path.name) != found[path.name]:
                # The key names what was seen: FlowStone fires once for it, whatever happens.
                key = f"{path.name}@{about.st_mtime_ns}:{about.st_size}"
                events.append(
                    Event(path.name, key, payload={"path": str(path), "bytes": about.st_size})
                )
        return Triggered(events, found) if events else NotTriggered(found)

    def connect(self) -> None:
        """Prove that the folder can be read: what `flowstone check --connect` asks."""
        next(self.config.folder.iterdir(), None)
