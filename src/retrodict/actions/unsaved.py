"""How much of the log exists only here: in no backup, and pushed nowhere. No verb."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict import backups
from retrodict.actions.remotes import read_remotes
from retrodict.kernel.clock import NS, parse_rfc3339
from retrodict.workspace import Workspace

_DAY_S = 24 * 3600
# What needs not be saved where nothing else was recorded since.
_NO_NEWS = frozenset({"backup.made", "workspace.created", "workspace.copied", "log.pulled", "agent.named"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsaved:
    """What would be lost with this disk.

    Attributes:
        entries: How many entries are in no backup and were pushed nowhere; those that say that a backup was made are
            not counted.
        seconds: How old the oldest of them is.
        was_saved: Something of this log was ever backed up, or pushed to a remote that has a name.
    """

    entries: int
    seconds: float
    was_saved: bool

    @property
    def is_old(self) -> bool:
        """It lies here for a day: what was begun today is left in peace."""
        return self.seconds >= _DAY_S


def find_unsaved(workspace: Workspace) -> Unsaved:
    """Return what is saved nowhere else.

    Raises:
        IntegrityError: It cannot be read.
    """
    database = workspace.views.database()
    last = backups.last(database, "store")
    origin = workspace.ledger.origin
    pushed = [remote.pushed for remote in read_remotes(workspace) if remote.origin == origin]
    saved = max([0 if last is None else last.size, *pushed])
    was_saved = last is not None or bool(pushed)
    entries = workspace.ledger.size() - saved - backups.count_from(database, saved)
    for sequenced in workspace.ledger.read(saved) if entries > 0 else ():
        if sequenced.event.kind not in _NO_NEWS:
            seconds = max(0, workspace.clock.now_ns() - parse_rfc3339(sequenced.event.at)) / NS
            return Unsaved(entries=entries, seconds=seconds, was_saved=was_saved)
    return Unsaved(entries=0, seconds=0.0, was_saved=was_saved)
