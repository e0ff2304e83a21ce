"""Events of used rows: their bodies, their queries.

A run that reads a version of a table has read all its rows, until a later event says which of them it used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retrodict.kernel.types import Digest, EntryNumber, EventId

if TYPE_CHECKING:
    import apsw


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A version of a table or a range of a stream that a run has read, and what is known of the rows that it used.

    Attributes:
        event: Its `run.read`; `index` is its entry.
        stream: The `stream.created` (of a table's changes); `offset`: after how many records of it it was read.
        start: Of a range of a stream, its first record; None: it is a version of a table.
        branch: The line; "" is the main one.
        count: How many rows were used; None: all, nobody says that it were fewer.
        ranges: Their identities, as [start, stop); None where `bitmap` holds them, or all are.
    """

    event: EventId
    index: int
    run: EventId
    stream: EventId
    branch: str
    start: int | None
    offset: int
    at: str
    count: int | None
    ranges: tuple[tuple[int, int], ...] | None
    bitmap: Digest | None


def used_body(
    *, read: EventId, count: int, total: int, ranges: Sequence[tuple[int, int]] | None, bitmap: Digest | None
) -> dict[str, object]:
    """Return the body of `run.used_rows`."""
    return {
        "read": read,
        "count": count,
        "total": total,
        "rows": {"bitmap": bitmap} if ranges is None else {"ranges": [list(found) for found in ranges]},
    }


_READINGS = (
    "SELECT r.event, r.entry, r.run, r.stream, r.branch, r.start, r.stop, r.at, u.count, u.ranges, u.bitmap "
    "FROM rows_readings r LEFT JOIN rows_used u ON u.read = r.event WHERE "
)


def _as_readings(rows: list[Any]) -> list[Reading]:
    return [
        Reading(
            event=EventId(event),
            index=EntryNumber(entry),
            run=EventId(run),
            stream=EventId(stream),
            branch=branch,
            start=start,
            offset=stop,
            at=at,
            count=count,
            ranges=None if ranges is None else tuple((low, high) for low, high in json.loads(ranges)),
            bitmap=None if bitmap is None else Digest(bitmap),
        )
        for event, entry, run, stream, branch, start, stop, at, count, ranges, bitmap in rows
    ]


def of_table(db: apsw.Connection, table: EventId, start: int, stop: int) -> list[Reading]:
    """Return the readings of a table that were made after more than `start` and at most `stop` changes, in order."""
    query = f"{_READINGS} r.stream = ? AND r.stop > ? AND r.stop <= ? AND r.start IS NULL ORDER BY r.entry"
    return _as_readings(db.execute(query, (table, start, stop)).fetchall())


def of_record(db: apsw.Connection, stream: EventId, offset: int) -> list[Reading]:
    """Return the readings of ranges of a stream that hold a record, in order."""
    query = f"{_READINGS} r.stream = ? AND r.start <= ? AND r.stop > ? ORDER BY r.entry"
    return _as_readings(db.execute(query, (stream, offset, offset)).fetchall())


def of_run(db: apsw.Connection, run: EventId) -> list[Reading]:
    """Return the readings of a run, in order."""
    return _as_readings(db.execute(f"{_READINGS} r.run = ? ORDER BY r.entry", (run,)).fetchall())
