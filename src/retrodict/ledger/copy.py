"""A log from its parts, byte for byte: what `restore` makes of a backup, and what arrives of a log of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import apsw

from retrodict.kernel import entry, merkle, note
from retrodict.kernel.errors import FormatError
from retrodict.kernel.note import Checkpoint, SignatureError, verify_note
from retrodict.kernel.protocols import Verifier
from retrodict.kernel.types import Digest, EventId
from retrodict.ledger import tiles
from retrodict.ledger.database import Database, create_schema, digest_key, digest_text, event_key, fetch
from retrodict.ledger.errors import ForkError, RefusedLogError
from retrodict.ledger.verify import key_chain


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


def extent(db: apsw.Connection, size: int) -> Extent:
    """Return how far the log of `size` entries in a database has come."""
    last = fetch(db, "SELECT rowid, digest FROM blobs ORDER BY rowid DESC LIMIT 1")
    return Extent(
        size=size,
        root=merkle.range_hash(0, size, tiles.Nodes(db)),
        payloads=last[0][0] if last else 0,
        last_payload=digest_text(last[0][1]) if last else None,
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What a log of others says of itself where it lies.

    Attributes:
        checkpoint: Its last signed checkpoint, which covers all that comes; its origin is the log's name.
        key: The key that it was signed with first.
        where: The place, for people.
    """

    checkpoint: Checkpoint
    key: Verifier
    where: str


def extend(
    path: Path,
    arrival: Arrival,
    pieces: Iterable[Piece],
    *,
    follow: Callable[[str], Verifier],
    latest_tick: int,
    is_known: Callable[[EventId], bool],
    is_new: bool,
) -> Extent:
    """Append what has arrived to a log of others; all of it, or nothing, is durable when this returns.

    The root over the entries that were held and the new ones must be the signed one: so the log goes on from what was
    held.

    Args:
        path: The log's file.
        pieces: The entries that come next, up to what the checkpoint covers.
        follow: Reads the keys that have taken the place of the first.
        latest_tick: A later tick is refused: it would push every clock ahead that takes it in.
        is_known: Whether an event of that id lies in another log here.
        is_new: There is no file yet.

    Raises:
        ForkError: The signed log does not go on from what is held.
        RefusedLogError: It is not signed by its key, or breaks the rules for entries.
        UnavailableError: The disk does not take it.
    """
    checkpoint = arrival.checkpoint
    database = Database(path, read_only=False, create=is_new)
    try:
        with database.writing() as db:
            if is_new:
                create_schema(db, checkpoint.origin)
            size = held = _next_index(db)
            for piece in pieces:
                size = _append(db, piece, size, arrival, latest_tick, is_known)
            if size < checkpoint.size:
                raise RefusedLogError(
                    checkpoint.origin, arrival.where, f"{size} of {checkpoint.size} entries are there"
                )
            try:
                verify_note(checkpoint, key_chain(db, checkpoint.origin, arrival.key, follow))
            except SignatureError as error:
                raise RefusedLogError(checkpoint.origin, arrival.where, error.message) from error
            if merkle.range_hash(0, checkpoint.size, tiles.Nodes(db)) != checkpoint.root:
                raise ForkError(held, checkpoint.size, f"{arrival.where} ({checkpoint.origin})")
            db.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", (checkpoint.encode(),))
        with database.snapshot() as db:
            return extent(db, size)
    finally:
        database.close()


def _next_index(db: apsw.Connection) -> int:
    rows = fetch(db, "SELECT idx FROM entries ORDER BY idx DESC LIMIT 1")
    return rows[0][0] + 1 if rows else 0


def _append(
    db: apsw.Connection,
    piece: Piece,
    size: int,
    arrival: Arrival,
    latest_tick: int,
    is_known: Callable[[EventId], bool],
) -> int:
    origin, where = arrival.checkpoint.origin, arrival.where
    last = fetch(db, "SELECT tick FROM entries WHERE idx = ?", (size - 1,))
    tick = last[0][0] if last else 0
    rows = []
    for index, data in enumerate(piece.entries, size):
        try:
            event = entry.decode(data)
        except FormatError as error:
            raise RefusedLogError(origin, where, f"entry {index} is none: {error.message}") from error
        if not tick < event.tick <= latest_tick:
            raise RefusedLogError(origin, where, f"the tick of entry {index} is {event.tick}, after {tick}")
        if is_known(event.id):
            raise RefusedLogError(origin, where, f"the event of entry {index} lies in another log here: {event.id}")
        tick = event.tick
        rows.append((index, event.tick, event_key(event.id), merkle.leaf_hash(data), data))
    try:
        db.executemany("INSERT INTO entries (idx, tick, id, leaf, data) VALUES (?, ?, ?, ?, ?)", rows)
    except apsw.ConstraintError as error:
        raise RefusedLogError(origin, where, "two of its entries bear one id") from error
    blobs = [(digest_key(digest), data) for _, digest, data in piece.payloads]
    db.executemany("INSERT OR IGNORE INTO blobs (digest, data) VALUES (?, ?)", blobs)
    tiles.integrate(db, size, size + len(rows))
    return size + len(rows)
