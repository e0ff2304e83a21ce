"""What the view of streams is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from retrodict.kernel.types import Digest, EntryNumber, EventId
from retrodict.streams.records import Append, Branch, Personal, Place, Position, Stream

if TYPE_CHECKING:
    import apsw


def streams(db: apsw.Connection, name: str | None = None, *, event: EventId | None = None) -> list[Stream]:
    """Return all streams (of a name; or that an event created), by name."""
    query = "SELECT event, entry, name, format, owner, at, agent, subject, columns FROM streams_streams"
    if event is not None:
        rows: list[Any] = db.execute(f"{query} WHERE event = ?", (event,)).fetchall()
    elif name is not None:
        rows = db.execute(f"{query} WHERE name = ? ORDER BY entry", (name,)).fetchall()
    else:
        rows = db.execute(f"{query} ORDER BY name, entry").fetchall()
    return [
        Stream(
            event=EventId(e),
            index=EntryNumber(index),
            name=n,
            format=form,
            owner=owner,
            at=at,
            agent=agent,
            personal=None
            if subject is None
            else Personal(subject=subject, columns=None if columns is None else tuple(json.loads(columns))),
        )
        for e, index, n, form, owner, at, agent, subject, columns in rows
    ]


_APPENDS = "SELECT event, entry, branch, start, stop, root, segment, schema, at, agent FROM streams_appends WHERE "


def _as_appends(rows: list[Any]) -> list[Append]:
    return [
        Append(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            branch=row[2],
            start=row[3],
            stop=row[4],
            root=row[5],
            segment=Digest(row[6]),
            schema=None if row[7] is None else Digest(row[7]),
            at=row[8],
            agent=row[9],
        )
        for row in rows
    ]


def last(db: apsw.Connection, stream: EventId, branch: str) -> Append | None:
    """Return the last append to a line of its own: without those of the main line before a branch."""
    query = f"{_APPENDS} stream = ? AND branch = ? ORDER BY start DESC LIMIT 1"
    found = _as_appends(db.execute(query, (stream, branch)).fetchall())
    return found[0] if found else None


def appends(
    db: apsw.Connection, stream: EventId, branch: str, *, start: int = 0, stop: int = 1 << 53, limit: int = -1
) -> list[Append]:
    """Return the appends that hold records of [start, stop) of a line of its own, in order; the last `limit`."""
    query = f"{_APPENDS} stream = ? AND branch = ? AND stop > ? AND start < ? ORDER BY start DESC LIMIT ?"
    return _as_appends(db.execute(query, (stream, branch, start, stop, limit)).fetchall())[::-1]


def append_of(db: apsw.Connection, event: EventId) -> tuple[Stream, Append] | None:
    """Return the append that an event records, with its stream."""
    found = _as_appends(db.execute(f"{_APPENDS} event = ?", (event,)).fetchall())
    rows: list[Any] = db.execute("SELECT stream FROM streams_appends WHERE event = ?", (event,)).fetchall()
    return (streams(db, event=EventId(rows[0][0]))[0], found[0]) if found else None


def count_appends(db: apsw.Connection, stream: EventId) -> int:
    """Return how many appends a stream has had, on all its lines."""
    rows: list[Any] = db.execute("SELECT count(*) FROM streams_appends WHERE stream = ?", (stream,)).fetchall()
    return int(rows[0][0])


def places(db: apsw.Connection, stream: EventId, branch: str, start: int, stop: int) -> list[Place]:
    """Return where the records [start, stop) of a line of its own lie now, in order."""
    query = (
        "SELECT start, stop, segment, event, dropped FROM streams_places WHERE stream = ?1 AND branch = ?2 "
        "AND start < ?4 AND start >= coalesce((SELECT max(start) FROM streams_places WHERE stream = ?1 AND branch = ?2 "
        "AND start <= ?3), 0) ORDER BY start"
    )
    rows: list[Any] = db.execute(query, (stream, branch, start, stop)).fetchall()
    return [
        Place(branch=branch, start=a, stop=b, segment=Digest(segment), event=EventId(event), dropped=dropped)
        for a, b, segment, event, dropped in rows
        if b > start
    ]


def branches(db: apsw.Connection, stream: EventId) -> list[Branch]:
    """Return the branches of a stream, by name."""
    query = (
        "SELECT a.branch, min(a.start), max(a.stop), coalesce(max(m.stop), min(a.start)) FROM streams_appends a "
        "LEFT JOIN streams_merged m ON m.stream = a.stream AND m.branch = a.branch "
        "WHERE a.stream = ? AND a.branch != '' GROUP BY a.branch ORDER BY a.branch"
    )
    rows: list[Any] = db.execute(query, (stream,)).fetchall()
    return [Branch(name=name, base=base, stop=stop, merged=merged) for name, base, stop, merged in rows]


def positions(db: apsw.Connection, stream: EventId, consumer: str | None = None) -> list[Position]:
    """Return how far the consumers (or one) of a stream have come."""
    query = (
        "SELECT consumer, position, event, at FROM streams_positions "
        "WHERE stream = ?1 AND (?2 IS NULL OR consumer = ?2) ORDER BY consumer"
    )
    rows: list[Any] = db.execute(query, (stream, consumer)).fetchall()
    return [Position(consumer=name, offset=offset, event=EventId(event), at=at) for name, offset, event, at in rows]


def pinned_until(db: apsw.Connection, stream: EventId) -> tuple[str, int, int] | None:
    """Return (topic, partition, next offset) of the last append that came from Kafka."""
    query = (
        "SELECT topic, partition, next FROM streams_appends WHERE stream = ? AND topic IS NOT NULL "
        "ORDER BY entry DESC LIMIT 1"
    )
    rows: list[Any] = db.execute(query, (stream,)).fetchall()
    return None if not rows else (str(rows[0][0]), int(rows[0][1]), int(rows[0][2]))


def appends_about(db: apsw.Connection, subject: str) -> list[Append]:
    """Return the appends that hold records about a person, by their pseudonym, in no order."""
    rows: list[Any] = db.execute("SELECT event FROM streams_about WHERE subject = ?", (subject,)).fetchall()
    return [append for row in rows for append in _as_appends(db.execute(f"{_APPENDS} event = ?", row).fetchall())]


def sealed_files(db: apsw.Connection, stream: EventId, branch: str) -> list[tuple[EventId, int, int, int, str]]:
    """Return (event, entry, start, stop, key) of the files that records of a line were written to, sealed."""
    query = "SELECT event, entry, start, stop, key FROM streams_files WHERE stream = ? AND branch = ? ORDER BY entry"
    rows: list[Any] = db.execute(query, (stream, branch)).fetchall()
    return [(EventId(event), EntryNumber(entry), start, stop, key) for event, entry, start, stop, key in rows]
