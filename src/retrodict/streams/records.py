"""Streams and their events: what there is to know of one, and their bodies.

The records of a stream lie on its *main line*, which its owner appends to, and on *branches*, each named by the origin
of the log that appended to it; the main line is the branch "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrodict.kernel.types import Digest, EventId

if TYPE_CHECKING:
    from retrodict.streams.formats import Format


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
