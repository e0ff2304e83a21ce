"""`backup` by itself: where the record was backed up to."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict import backups as records
from retrodict.workspace import Workspace, open_text


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRow:
    """A backup: its entry, when, what (`store` or `keys`), how many entries of the log it holds, and where it lies."""

    entry: int
    at: str
    what: str
    size: int
    destination: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backups:
    """The last backups, newest first."""

    rows: tuple[BackupRow, ...]


def backups(workspace: Workspace, *, limit: int = 30) -> Backups:
    """Return the last `limit` backups that the log knows of."""
    made = records.made(workspace.views.database())[-limit:]
    return Backups(
        rows=tuple(
            BackupRow(
                entry=row.index,
                at=row.at,
                what=row.what,
                size=row.size,
                destination=open_text(workspace, row.destination) or "",
            )
            for row in reversed(made)
        )
    )
