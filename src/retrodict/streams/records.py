"""Events of streams: their bodies, their projection, their queries.

The records of a stream lie on its *main line*, which its owner appends to, and on *branches*, each named by the origin
of the log that appended to it; the main line is the branch "".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from retrodict.kernel.types import Digest, EntryNumber, EventId
from retrodict.ledger import Sequenced
from retrodict.streams.formats import Format

if TYPE_CHECKING:
    import apsw

MAIN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """What of a stream's records is about people.

    Attributes:
        subject: The field that says whom a record is about; personal itself.
        columns: The other personal fields; None: all are.
    """

    subject: str
    columns: tuple[str, ...] | None

    def hides(self, column: str) -> bool:
        """Say whether a field is personal."""
        return self.columns is None or column == self.subject or column in self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A stream, as its events say.

    Attributes:
        event: Its `stream.created`; `index` is its entry.
        owner: The origin of the log that appends to its main line.
        personal: None: its records are about nobody, and are kept as they are.
    """

    event: EventId
    index: int
    name: str
    format: Format
    owner: str
    at: str
    agent: str
    personal: Personal | None = None

    @property
    def kept_format(self) -> Format:
        """In which format its records are kept: sealed ones are lines of JSON, whatever they are when opened."""
        return self.format if self.personal is None else "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One append, as it was made: records [start, stop), after which the tree over all records had `root` (hex).

    Attributes:
        event: Its `stream.appended`; `index` is its entry.
        segment: The object that says where the records lie; compaction may have put another in its place.
        schema: The object with the header or the schema, where the format has one.
    """

    event: EventId
    index: int
    branch: str
    start: int
    stop: int
    root: str
    segment: Digest
    schema: Digest | None
    at: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a range of records is read from now, and the event that says so; `dropped` of them are held no more."""

    branch: str
    start: int
    stop: int
    segment: Digest
    event: EventId
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a consumer has come: it has done with every record before `offset`."""

    consumer: str
    offset: int
    event: EventId
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Records that another log than the owner's has appended after the main line's first `base` records.

    Attributes:
        name: The origin of that log.
        stop: How many records the line has, those of the main line before `base` included.
        merged: How many of these have been appended to the main line since, or are it.
    """

    name: str
    base: int
    stop: int
    merged: int


def created_body(
    *,
    name: str,
    format: Format,  # noqa: A002 - the field's name on disk
    owner: str,
    personal: Personal | None = None,
) -> dict[str, object]:
    """Return the body of `stream.created`."""
    body: dict[str, object] = {"name": name, "format": format, "owner": owner}
    if personal is not None:
        columns = None if personal.columns is None else list(personal.columns)
        body["personal"] = {"subject": personal.subject, "columns": columns}
    return body


def appended_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    start: int,
    stop: int,
    root: str,
    segment: Digest,
    schema: Digest | None,
    size_bytes: int,
    kafka: Mapping[str, object] | None,
    merged: Mapping[str, object] | None,
    subjects: Sequence[str] | Digest | None = None,
    table: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the body of `stream.appended`; that of a table says with `table` what changed."""
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "start": start,
        "stop": stop,
        "root": root,
        "segment": segment,
        "schema": schema,
        "size_bytes": size_bytes,
        "kafka": kafka,
        "merged": merged,
        **({} if subjects is None else {"subjects": subjects}),
        **({} if table is None else {"table": table}),
    }


def compacted_body(
    *,
    stream: EventId,
    log: str,
    branch: str,
    start: int,
    stop: int,
    root: str,
    segment: Digest,
    dropped: int = 0,
    by: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the body of `stream.compacted`.

    Args:
        dropped: How many of the records are held no more.
        by: Which were dropped now: all but the newest of each "key", or those "before" an offset. None: none were.
    """
    return {
        "stream": stream,
        "log": log,
        "branch": branch,
        "start": start,
        "stop": stop,
        "root": root,
        "segment": segment,
        **({} if not dropped else {"dropped": dropped, "by": by}),
    }


def positioned_body(*, stream: EventId, consumer: str, offset: int) -> dict[str, object]:
    """Return the body of `stream.positioned`."""
    return {"stream": stream, "consumer": consumer, "offset": offset}


def materialized_body(
    *, stream: EventId, branch: str, start: int, stop: int, root: str, sealed: tuple[Digest, str] | None = None
) -> dict[str, object]:
    """Return the body of `stream.materialized`; `sealed` is what a personal file was sealed as, and its key."""
    body: dict[str, object] = {"stream": stream, "branch": branch, "start": start, "stop": stop, "root": root}
    return body if sealed is None else {**body, "content": sealed[0], "sealed": {"key": sealed[1]}}


def moved_body(*, stream: EventId, owner: str) -> dict[str, object]:
    """Return the body of `stream.moved`."""
    return {"stream": stream, "owner": owner}


class StreamProjection:
    """Tables of streams, appends and whom these are about, where records lie now, positions, files, merged branches."""

    name = "streams"
    version = 3
    tables: Mapping[str, str] = {
        "streams_streams": "CREATE TABLE streams_streams (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "name TEXT NOT NULL, format TEXT NOT NULL, owner TEXT NOT NULL, at TEXT NOT NULL, agent TEXT NOT NULL, "
        "subject TEXT, columns TEXT) WITHOUT ROWID",
        "streams_about": "CREATE TABLE streams_about (subject TEXT NOT NULL, event TEXT NOT NULL, "
        "PRIMARY KEY (subject, event)) WITHOUT ROWID",
        "streams_files": "CREATE TABLE streams_files (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, branch TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, "
        "key TEXT NOT NULL) WITHOUT ROWID",
        "streams_appends": "CREATE TABLE streams_appends (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, "
        "stream TEXT NOT NULL, branch TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL, "
        "root TEXT NOT NULL, segment TEXT NOT NULL, schema TEXT, at TEXT NOT NULL, agent TEXT NOT NULL, "
        "topic TEXT, partition INTEGER, next INTEGER) WITHOUT ROWID",
        "streams_places": "CREATE TABLE streams_places (stream TEXT NOT NULL, branch TEXT NOT NULL, "
        "start INTEGER NOT NULL, stop INTEGER NOT NULL, segment TEXT NOT NULL, event TEXT NOT NULL, "
        "dropped INTEGER NOT NULL, PRIMARY KEY (stream, branch, start)) WITHOUT ROWID",
        "streams_positions": "CREATE TABLE streams_positions (stream TEXT NOT NULL, consumer TEXT NOT NULL, "
        "position INTEGER NOT NULL, event TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (stream, consumer)) "
        "WITHOUT ROWID",
        "streams_merged": "CREATE TABLE streams_merged (stream TEXT NOT NULL, branch TEXT NOT NULL, "
        "stop INTEGER NOT NULL, PRIMARY KEY (stream, branch)) WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX streams_by_name ON streams_streams (name)",
        "CREATE INDEX streams_appends_by_start ON streams_appends (stream, branch, start)",
        "CREATE INDEX streams_about_by_event ON streams_about (event)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        event, body = entry.event, cast("Mapping[str, Any]", entry.event.body)
        match event.kind:
            case "stream.created":
                personal = body.get("personal") or {}
                columns = personal.get("columns")
                row = (event.id, entry.index, body["name"], body["format"], body["owner"], event.at, event.agent)
                about = (personal.get("subject"), None if columns is None else json.dumps(list(columns)))
                db.execute("INSERT INTO streams_streams VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, *about))
            case "stream.moved":
                db.execute("UPDATE streams_streams SET owner = ? WHERE event = ?", (body["owner"], body["stream"]))
            case "stream.appended":
                self._appended(db, entry, body)
                subjects = body.get("subjects") or ()
                if isinstance(subjects, str):
                    subjects = json.loads(blob(Digest(subjects)))
                rows = [(str(subject), event.id) for subject in subjects]
                db.executemany("INSERT OR IGNORE INTO streams_about VALUES (?, ?)", rows)
            case "stream.materialized" if body.get("sealed") is not None:
                where = (body["stream"], body["branch"], body["start"], body["stop"], body["sealed"]["key"])
                db.execute("INSERT INTO streams_files VALUES (?, ?, ?, ?, ?, ?, ?)", (event.id, entry.index, *where))
            case "stream.compacted":
                self._compacted(db, entry, body)
            case "stream.positioned":
                position = (body["stream"], body["consumer"], body["offset"], event.id, event.at)
                db.execute("INSERT OR REPLACE INTO streams_positions VALUES (?, ?, ?, ?, ?)", position)

    def _compacted(self, db: apsw.Connection, entry: Sequenced, body: Mapping[str, Any]) -> None:
        query = "SELECT 1 FROM streams_appends WHERE stream = ? AND branch = ? AND stop = ? AND root = ?"
        for branch in (body["branch"], body["log"]):
            if db.execute(query, (body["stream"], branch, body["stop"], body["root"])).fetchall():
                where = (body["stream"], branch, body["start"], body["stop"])
                delete = "DELETE FROM streams_places WHERE stream = ? AND branch = ? AND start >= ? AND stop <= ?"
                db.execute(delete, where)
                row = (*where, body["segment"], entry.event.id, body.get("dropped", 0))
                db.execute("INSERT INTO streams_places VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                return

    def _appended(self, db: apsw.Connection, entry: Sequenced, body: Mapping[str, Any]) -> None:
        event, kafka, merged = entry.event, body["kafka"] or {}, body["merged"]
        branch = body["branch"]
        if branch == MAIN:
            end = last(db, body["stream"], MAIN)
            if body["start"] != (0 if end is None else end.stop):
                branch = body["log"]  # two logs took themselves for the owner: what the other did not know is a branch
        where = (body["stream"], branch, body["start"], body["stop"])
        db.execute("INSERT INTO streams_places VALUES (?, ?, ?, ?, ?, ?, 0)", (*where, body["segment"], event.id))
        db.execute(
            "INSERT INTO streams_appends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.id,
                entry.index,
                *where,
                body["root"],
                body["segment"],
                body["schema"],
                event.at,
                event.agent,
                kafka.get("topic"),
                kafka.get("partition"),
                kafka.get("stop"),
            ),
        )
        if merged is not None:
            row = (body["stream"], merged["branch"], merged["stop"])
            db.execute("INSERT OR REPLACE INTO streams_merged VALUES (?, ?, ?)", row)


PROJECTION = StreamProjection()


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
