"""A log from its parts, byte for byte: what `restore` makes of a backup."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from retrodict.kernel import entry, merkle, note
from retrodict.kernel.types import Digest
from retrodict.ledger import tiles
from retrodict.ledger.database import Database, create_schema, digest_key, event_key


class Extent(NamedTuple):
    """How far a log has come.

    Attributes:
        size: Entries.
        root: RFC 9162 root over them, 32 bytes.
        payloads: The number of the last payload; 0: there is none.
        last_payload: Its digest.
    """

    size: int
    root: bytes
    payloads: int
    last_payload: Digest | None


class Payload(NamedTuple):
    """A small object that lies in the log; payloads are numbered in the order of their arrival."""

    number: int
    digest: Digest
    data: bytes


class Piece(NamedTuple):
    """A stretch of a log: entries that follow on one another, and payloads."""

    entries: list[bytes]
    payloads: list[Payload]


def restore(path: Path, origin: str, pieces: Iterable[Piece], checkpoint: bytes | None) -> None:
    """Make a log of pieces that hold all of it, in their order.

    Args:
        path: Where it is to lie; nothing lies there.
        origin: Its name.
        pieces: See `Piece`. The caller compares the root.
        checkpoint: The last signed note, or None.

    Raises:
        FormatError: An entry that is none.
        UnavailableError: The disk does not take it.
    """
    note.check_name(origin)
    database = Database(path, read_only=False, create=True)
    try:
        with database.writing() as db:
            create_schema(db, origin)
        size = 0
        for piece in pieces:
            rows = []
            for index, data in enumerate(piece.entries, size):
                event = entry.decode(data)
                rows.append((index, event.tick, event_key(event.id), merkle.leaf_hash(data), data))
            blobs = [(number, digest_key(digest), data) for number, digest, data in piece.payloads]
            with database.writing() as db:
                db.executemany("INSERT INTO entries (idx, tick, id, leaf, data) VALUES (?, ?, ?, ?, ?)", rows)
                db.executemany("INSERT OR IGNORE INTO blobs (rowid, digest, data) VALUES (?, ?, ?)", blobs)
                tiles.integrate(db, size, size + len(rows))
            size += len(rows)
        if checkpoint is not None:
            with database.writing() as db:
                db.execute("INSERT INTO checkpoint VALUES (1, ?)", (checkpoint,))
    finally:
        database.close()
