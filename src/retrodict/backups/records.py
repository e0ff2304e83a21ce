"""`backup.made`: its body, its queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from retrodict.kernel.types import Digest, EntryNumber, EventId, SealedText

if TYPE_CHECKING:
    import apsw

What = Literal["store", "keys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBackup:
    """One backup, as the log has it.

    Attributes:
        event: The `backup.made` event; `index` is its entry.
        what: The store (log and objects, no keys), or the keys.
        size: How many entries of the log were there.
        destination: The sealed name of the place.
    """

    event: EventId
    index: int
    what: What
    size: int
    at: str
    destination: SealedText


def made_body(
    *,
    what: What,
    number: int | None,
    origin: str,
    size: int,
    root: str,
    destination: Mapping[str, str],
    file: str | None = None,
    removed: Sequence[str] = (),
) -> dict[str, object]:
    """Return the body of `backup.made`.

    Args:
        file: Of keys: the hash in the name of the file that holds them.
        removed: The hashes of older ones that were removed there.
    """
    of_keys = {} if file is None else {"file": file, "removed": list(removed)}
    return {
        **of_keys,
        "what": what,
        "number": number,
        "origin": origin,
        "size": size,
        "root": root,
        "destination": destination,
    }


def made(db: apsw.Connection) -> list[MadeBackup]:
    """Return every backup, oldest first: where copies of the log and of keys may lie."""
    return [_made(row) for row in db.execute("SELECT * FROM backups_made ORDER BY at, entry")]


def last(db: apsw.Connection, what: What) -> MadeBackup | None:
    """Return the backup that holds the most, or None where none was ever made."""
    query = "SELECT * FROM backups_made WHERE what = ? AND is_own ORDER BY size DESC, entry DESC LIMIT 1"
    rows = db.execute(query, (what,)).fetchall()
    return _made(rows[0]) if rows else None


def of_number(db: apsw.Connection, number: int) -> list[MadeBackup]:
    """Return the backups of the store that are number `number` at some destination."""
    return [_made(row) for row in db.execute("SELECT * FROM backups_made WHERE number = ? AND is_own", (number,))]


def count_from(db: apsw.Connection, entry: int) -> int:
    """Return how many entries from `entry` on say that a backup was made."""
    return cast(
        "int", db.execute("SELECT count(*) FROM backups_made WHERE entry >= ? AND is_own", (entry,)).fetchall()[0][0]
    )


def restored_size(db: apsw.Connection) -> int:
    """Return how many entries came from a backup, whose keys may be older than they are; 0 where none did."""
    return cast("int", db.execute("SELECT ifnull(max(size), 0) FROM backups_restored").fetchall()[0][0])


def _made(row: tuple[object, ...]) -> MadeBackup:
    event, entry, what, _, _, size, at, destination, key = cast(
        "tuple[str, int, What, int, int | None, int, str, str, str]", row
    )
    return MadeBackup(
        event=EventId(event),
        index=EntryNumber(entry),
        what=what,
        size=size,
        at=at,
        destination=SealedText(digest=Digest(destination), key=key),
    )
