"""The view of backups, folded from their events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from retrodict.kernel.types import Digest, EntryNumber, Event

if TYPE_CHECKING:
    import apsw

    from retrodict.ledger import Sequenced


class BackupProjection:
    """Table `backups_made`, a row for each backup, and `backups_restored`, one for each time the log came from one."""

    name = "backups"
    version = 2
    tables: Mapping[str, str] = {
        "backups_made": "CREATE TABLE backups_made (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "what TEXT NOT NULL, is_own INTEGER NOT NULL, "
        "number INTEGER, size INTEGER NOT NULL, at TEXT NOT NULL, destination TEXT NOT NULL, key TEXT NOT NULL"
        ") WITHOUT ROWID",
        "backups_restored": "CREATE TABLE backups_restored (event TEXT PRIMARY KEY, size INTEGER NOT NULL"
        ") WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX backups_by_size ON backups_made (what, size)",
        "CREATE INDEX backups_by_number ON backups_made (number)",
        "CREATE INDEX backups_by_entry ON backups_made (entry)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        del blob
        event = entry.event
        is_own = not EntryNumber(entry.index).is_of_another_log
        if is_own and (size := restored_entries(event)):
            db.execute("INSERT INTO backups_restored VALUES (?, ?)", (event.id, size))
        if event.kind == "backup.made":
            body = event.body
            destination = cast("Mapping[str, str]", body["destination"])
            db.execute(
                "INSERT INTO backups_made VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    event.id,
                    entry.index,
                    str(body["what"]),
                    is_own,
                    body["number"],
                    body["size"],
                    event.at,
                    destination["sealed"],
                    destination["key"],
                ),
            )


def restored_entries(event: Event) -> int:
    """Return how many entries came from a backup, as an event says; 0 for every other event."""
    size = event.body.get("size") if event.kind == "log.restored" else 0
    return size if isinstance(size, int) else 0


PROJECTION = BackupProjection()
