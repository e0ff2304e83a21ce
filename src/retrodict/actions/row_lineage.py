"""`lineage TABLE@VERSION#KEY` and `lineage --rows`: what one record reached, and from there back to records.

A record is followed as it was: from the change that made it so, to the next one. A run that read the table in between
has used it, unless the run's own record says which rows it used, and it was not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retrodict import provenance, runs
from retrodict.actions import names
from retrodict.actions.lineages import Lineage, labelled
from retrodict.actions.tabling import TableVersion, key_values, note_look, version_of
from retrodict.kernel.types import EventId, Ref
from retrodict.rows import records as readings
from retrodict.rows import sets
from retrodict.rows.records import Reading
from retrodict.streams import records as streams
from retrodict.tables import history as histories
from retrodict.tables import lines
from retrodict.tables.errors import NoSuchRecordError
from retrodict.tables.history import RecordChange
from retrodict.tables.personal import listed
from retrodict.workspace import Workspace

_FOR_EVER = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReading:
    """Somebody who read a version of a table.

    Attributes:
        label: Who: a run, or the file that a version was written to.
        index: Its entry; `event` it.
        reference: The version that was read.
        count: How many of its rows were used; None: all of them, nobody says that it were fewer.
        total: How many rows it has.
    """

    label: str
    index: int
    event: EventId
    reference: str
    count: int | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLineage:
    """What one record reached.

    Attributes:
        reference: `loans@v12#1003`.
        since, until: The versions from which and before which the record was so; `until` None: it is so still.
        readings: Those that used it; `passed_over`: how many read the table then, and did not use it.
        reached: What followed from each reading.
    """

    reference: str
    row: int
    since: str
    until: str | None
    readings: tuple[RowReading, ...]
    passed_over: int
    reached: tuple[Lineage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedRows:
    """Rows of one version of a table that were used by a run.

    Attributes:
        keys: The keys of the first of them, one value for each column of the key.
        since: How many of them were changed or deleted since then.
        later: The first of these changes, each with the key of its record.
    """

    reading: RowReading
    columns: tuple[str, ...]
    keys: tuple[tuple[object, ...], ...]
    since: int
    later: tuple[tuple[str, RecordChange], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CausingRows:
    """The records that can have caused something."""

    root: str
    tables: tuple[UsedRows, ...]


def down(workspace: Workspace, reference: str, *, depth: int | None = None, limit: int = 50) -> RecordLineage:
    """Return everything that a record reached, as it was in a version.

    Args:
        reference: `NAME#KEY`, `NAME@v3#KEY`.

    Raises:
        UnknownReferenceError, OffsetError, BadKeyError, NoSuchRecordError: There is no such table, version, record.
    """
    version, _, key = reference.partition("#")
    found = version_of(workspace, version)
    row, changed, following = _record(workspace, found, key)
    db = workspace.views.database()
    used: list[tuple[RowReading, Ref]] = []
    passed_over = 0
    for reading in readings.of_table(db, found.table.stream, changed, following):
        if reading.branch != found.log.branch:
            continue
        if _has(workspace, reading, row):
            run = runs.find(db, reading.run)
            ended = reading.run if run is None or run.event is None else run.event
            used.append((told(workspace, reading), Ref(ended)))
        else:
            passed_over += 1
    for file in _files(workspace, found, changed, following):
        used.append((file, Ref(file.event)))
    starts = dict.fromkeys(start for _, start in used)
    return RecordLineage(
        reference=f"{found.reference}#{key}",
        row=row,
        since=_reference_at(workspace, found, changed + 1),
        until=None if following == _FOR_EVER else _reference_at(workspace, found, following + 1),
        readings=tuple(reading for reading, _ in used),
        passed_over=passed_over,
        reached=tuple(
            labelled(
                workspace,
                names.short(start),
                "down",
                provenance.downstream(db, start, depth=depth, limit_per_node=limit),
            )
            for start in starts
        ),
    )


def up(workspace: Workspace, reference: str, *, limit: int = 20) -> CausingRows:
    """Return the records that can have caused something: those that the runs behind it used.

    Args:
        limit: How many keys are named for each version of a table.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    resolved = names.resolve(workspace, reference)
    start = resolved.event or resolved.object
    assert start is not None
    db = workspace.views.database()
    graph = provenance.upstream(db, Ref(start))
    behind = [node.ref for node in graph.nodes if node.event_kind in ("run.finished", "run.started")]
    started = dict.fromkeys(run.started_event for ref in behind if (run := runs.find(db, EventId(ref))) is not None)
    return CausingRows(
        root=resolved.printed,
        tables=tuple(used(workspace, reading, limit=limit) for run in started for reading in readings.of_run(db, run)),
    )


def _rows_of(workspace: Workspace, reading: Reading) -> Any | None:
    """Return the identities of the rows that were used, ascending; None: all."""
    if reading.count is None:
        return None
    if reading.ranges is not None:
        return sets.from_ranges(reading.ranges)
    assert reading.bitmap is not None
    return sets.from_bitmap(workspace.objects.get(reading.bitmap))


def _has(workspace: Workspace, reading: Reading, row: int) -> bool:
    if reading.count is None:
        return True
    if reading.ranges is not None:
        return any(start <= row < stop for start, stop in reading.ranges)
    rows = _rows_of(workspace, reading)
    assert rows is not None
    at = int(rows.searchsorted(row))
    return at < len(rows) and int(rows[at]) == row


def _record(workspace: Workspace, found: TableVersion, key: str) -> tuple[int, int, int]:
    """Return the identity of a record, the offset of the change that made it what it is, and of the next one."""
    values = key_values(found.table, found.columns, key)
    last = histories.last_change(workspace, found.log, found.columns, values)
    changes = [] if last is None else histories.walked(found.log, found.columns, last)
    before = [change for change in changes if _offset(change) < found.stop]
    if not before or before[-1]["_op"] == lines.DELETE:
        raise NoSuchRecordError(
            f"{found.reference} has no record {key}", hint=f"`retrodict table history {found.table.name} {key}`"
        )
    changed = _offset(before[-1])
    following = next((_offset(change) for change in changes if _offset(change) > changed), _FOR_EVER)
    row: Any = before[-1]["_row"]
    return int(changed if row is None else row), changed, following


def _offset(change: Mapping[str, Any]) -> int:
    return int(change[lines.OFFSET])


def _reference_at(workspace: Workspace, found: TableVersion, stop: int) -> str:
    version = lines.version_at(workspace.views.database(), found.log, stop - 1)
    return f"{found.table.name}@v{version.version}"


def told(workspace: Workspace, reading: Reading) -> RowReading:
    """Return who read a version of a table, and how many of its rows they used."""
    db = workspace.views.database()
    (stream,) = streams.streams(db, event=reading.table)
    run = runs.find(db, reading.run)
    version = version_of(workspace, f"{stream.name}@{reading.offset}", reading.branch or None)
    return RowReading(
        label="a run that is not known here" if run is None else f"run {run.name}",
        index=reading.index if run is None else run.index,
        event=reading.run,
        reference=version.reference,
        count=reading.count,
        total=_total(workspace, version),
    )


def _total(workspace: Workspace, found: TableVersion) -> int:
    """Return how many records a version has, without reading any."""
    versions = lines.versions(workspace.views.database(), found.log)
    return sum(version.creates - version.deletes for version in versions if version.stop <= found.stop)


def _files(workspace: Workspace, found: TableVersion, changed: int, following: int) -> Iterator[RowReading]:
    """Yield the files to which a version with the record was written: whoever reads them has read all its rows."""
    db = workspace.views.database()
    places = streams.places(db, found.table.stream, found.log.branch, changed, changed + 1)
    for place in places:
        for node in provenance.downstream(db, Ref(place.segment), depth=1, limit_per_node=None).nodes:
            if node.event_kind != "stream.materialized" or node.entry is None:
                continue
            body: Mapping[str, Any] = workspace.ledger.event(node.entry).event.body
            if body["branch"] == found.log.branch and changed < body["stop"] <= following:
                version = version_of(workspace, f"{found.table.name}@{body['stop']}", found.log.branch or None)
                yield RowReading(
                    label="written to a file",
                    index=node.entry,
                    event=EventId(node.ref),
                    reference=version.reference,
                    count=None,
                    total=_total(workspace, version),
                )


def used(workspace: Workspace, reading: Reading, *, limit: int) -> UsedRows:
    """Return the rows that a reading used, with what became of them since; the first `limit` of either."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    db = workspace.views.database()
    (stream,) = streams.streams(db, event=reading.table)
    found = version_of(workspace, f"{stream.name}@{reading.offset}", reading.branch or None)
    alive = lines.alive(found.log, found.stop, ())
    rows = _rows_of(workspace, reading)
    if rows is not None:
        import pyarrow as pa

        alive = alive.filter(pc.is_in(alive[lines.ROW], pa.array(rows)))
    key = [column for i in found.table.key for column in found.columns if column.id == i]
    first = lines.taken(found.log, alive[lines.OFFSET].slice(0, limit).to_pylist(), key).sort_by(lines.ROW)
    shown = listed(found.table, first, key)
    later = lines.changes(found.log, found.stop, found.log.size, ())
    later = later.filter(pc.is_in(later[lines.ROW], alive[lines.ROW].combine_chunks()))
    sayings = histories.Sayings(workspace, found.log)
    since = []
    of_these = lines.taken(found.log, later[lines.OFFSET].slice(0, limit).to_pylist(), found.columns)
    for change in listed(found.table, of_these, found.columns):
        before = listed(found.table, lines.taken(found.log, [change["_prev"]], found.columns), found.columns)
        named = "/".join(str(change[str(column.id)]) for column in key)
        since += [(named, one) for one in histories.described([change], found.columns, sayings, before=before[0])]
    note_look(found.log)
    return UsedRows(
        reading=told(workspace, reading),
        columns=tuple(column.name for column in key),
        keys=tuple(tuple(row[str(column.id)] for column in key) for row in shown),
        since=len(pc.unique(later[lines.ROW])),
        later=tuple(since),
    )
