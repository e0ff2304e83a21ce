"""`lineage TABLE@VERSION#KEY` and `lineage --rows`: what one record reached, and from there back to records.

A record of a table is followed as it was: from the change that made it so, to the next one. A run that read the table
in between has used it, unless the run's own record says which rows it used, and it was not among them. A record of a
stream (`STREAM#OFFSET`) never changes; a table's changes are a stream, too, and may be read as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrodict import datasets, provenance, runs
from retrodict.actions import names
from retrodict.actions.lineages import Lineage, labelled
from retrodict.actions.streaming import read_range
from retrodict.actions.tabling import TableVersion, key_values, note_look, version_of
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, EventId, Ref
from retrodict.rows import records as readings
from retrodict.rows import sets
from retrodict.rows.records import Reading
from retrodict.streams import MAIN, Line
from retrodict.streams import queries as streams
from retrodict.tables import history as histories
from retrodict.tables import lines
from retrodict.tables import queries as tables
from retrodict.tables.errors import NoSuchRecordError
from retrodict.tables.history import RecordChange
from retrodict.tables.personal import listed
from retrodict.tables.records import Column
from retrodict.workspace import Workspace

_FOR_EVER = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReading:
    """Somebody who read a version of a table, or records of a stream.

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
    """Rows of one version of a table, or records of a stream, that were used by a run.

    Attributes:
        keys: The keys of the first of them, one value for each column of the key; of a stream their offsets.
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
        reference: `NAME#KEY`, `NAME@v3#KEY`; of a stream `NAME#OFFSET`.

    Raises:
        UnknownReferenceError, OffsetError, BadKeyError, NoSuchRecordError: There is no such table, version, record.
        UsageError: It is a dataset.
    """
    version, _, key = reference.partition("#")
    db = workspace.views.database()
    name = version.removeprefix("stream:").partition("@")[0]
    if version.startswith("stream:") or (streams.streams(db, name) and not tables.tables(db, name)):
        return _of_stream(workspace, version, key, depth=depth, limit=limit)
    if not tables.tables(db, name) and datasets.versions(db, name.removeprefix("dataset:")):
        raise UsageError(
            f"{version} is a dataset, and its rows have no identities: tables of ours and streams have them",
            hint=f"`retrodict lineage {version} --down` follows the version as a whole.",
        )
    found = version_of(workspace, version)
    row, changed, following = _record(workspace, found, key)
    candidates = [
        (reading, row)
        for reading in readings.of_table(db, found.table.stream, changed, following)
        if reading.branch == found.log.branch
    ]
    candidates += _readings_of(workspace, found.log.line, changed)
    files = [*_files(workspace, found, changed, following), *_copies(workspace, found.log.line, changed)]
    return _reached(
        workspace,
        candidates,
        files,
        reference=f"{found.reference}#{key}",
        row=row,
        since=_reference_at(workspace, found, changed + 1),
        until=None if following == _FOR_EVER else _reference_at(workspace, found, following + 1),
        depth=depth,
        limit=limit,
    )


def _of_stream(workspace: Workspace, version: str, key: str, *, depth: int | None, limit: int) -> RecordLineage:
    """Return everything that a record of a stream reached. Raises as `down` does."""
    found = read_range(workspace, version)
    if not key.isdecimal() or not found.start <= int(key) < found.stop:
        raise NoSuchRecordError(
            f"{found.reference} has no record {key}: records of a stream are named by their offsets, from 0",
            hint=f"`retrodict stream show {found.line.stream.name}` says how many it has.",
        )
    offset = int(key)
    return _reached(
        workspace,
        _readings_of(workspace, found.line, offset),
        [*_copies(workspace, found.line, offset)],
        reference=f"{found.line.stream.name}#{offset}",
        row=offset,
        since=f"{found.line.stream.name}@{offset + 1}",
        until=None,
        depth=depth,
        limit=limit,
    )


def _reached(
    workspace: Workspace,
    candidates: Sequence[tuple[Reading, int]],
    files: Sequence[RowReading],
    *,
    reference: str,
    row: int,
    since: str,
    until: str | None,
    depth: int | None,
    limit: int,
) -> RecordLineage:
    """Return what a record reached through those readings, each with its identity there, that used it, and files."""
    db = workspace.views.database()
    used: list[tuple[RowReading, Ref]] = []
    passed_over = 0
    for reading, identity in candidates:
        if _has(workspace, reading, identity):
            run = runs.find(db, reading.run)
            ended = reading.run if run is None or run.event is None else run.event
            used.append((told(workspace, reading), Ref(ended)))
        else:
            passed_over += 1
    used += [(file, Ref(file.event)) for file in files]
    starts = dict.fromkeys(start for _, start in used)
    return RecordLineage(
        reference=reference,
        row=row,
        since=since,
        until=until,
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


def _line_of(line: Line, offset: int) -> str:
    """Return the line that a record was appended to: a branch begins with records of the main one."""
    return MAIN if offset < line.base else line.branch


def _readings_of(workspace: Workspace, line: Line, offset: int) -> list[tuple[Reading, int]]:
    """Return who read a record of a stream, as such."""
    return [
        (reading, offset)
        for reading in readings.of_record(workspace.views.database(), line.stream.event, offset)
        if _line_of(Line(workspace, line.stream, reading.branch), offset) == _line_of(line, offset)
    ]


def _copies(workspace: Workspace, line: Line, offset: int) -> Iterator[RowReading]:
    """Yield the files to which records of a stream were written, this one among them."""
    for place in line.places(offset, offset + 1):
        for node, body in _written(workspace, place.segment):
            start, stop = int(body["start"]), int(body["stop"])
            is_table = line.stream.format == "changes" and start == 0  # the version with all changes up to there
            if start <= offset < stop and not is_table:
                yield RowReading(
                    label="written to a file",
                    index=node[0],
                    event=node[1],
                    reference=f"{line.stream.name}@{start}:{stop}",
                    count=None,
                    total=stop - start,
                )


def _written(workspace: Workspace, segment: Digest) -> Iterator[tuple[tuple[int, EventId], Mapping[str, Any]]]:
    """Yield the entries that say that records of a segment were written to files."""
    db = workspace.views.database()
    for node in provenance.downstream(db, Ref(segment), depth=1, limit_per_node=None).nodes:
        if node.event_kind == "stream.materialized" and node.entry is not None:
            yield (node.entry, EventId(node.ref)), workspace.ledger.event(node.entry).event.body


def _offset(change: Mapping[str, Any]) -> int:
    return int(change[lines.OFFSET])


def _reference_at(workspace: Workspace, found: TableVersion, stop: int) -> str:
    version = lines.version_at(workspace.views.database(), found.log, stop - 1)
    return f"{found.table.name}@v{version.version}"


def told(workspace: Workspace, reading: Reading) -> RowReading:
    """Return who read a version of a table or records of a stream, and how many of its rows they used."""
    db = workspace.views.database()
    run = runs.find(db, reading.run)
    reference, total = _what(workspace, reading)
    return RowReading(
        label="a run that is not known here" if run is None else f"run {run.name}",
        index=reading.index if run is None else run.index,
        event=reading.run,
        reference=reference,
        count=reading.count,
        total=total,
    )


def _what(workspace: Workspace, reading: Reading) -> tuple[str, int]:
    """Return what was read, and how many rows it has."""
    if reading.start is None:
        version = _version(workspace, reading)
        return version.reference, _total(workspace, version)
    (stream,) = streams.streams(workspace.views.database(), event=reading.stream)
    return f"{stream.name}@{reading.start}:{reading.offset}", reading.offset - reading.start


def _version(workspace: Workspace, reading: Reading) -> TableVersion:
    (stream,) = streams.streams(workspace.views.database(), event=reading.stream)
    return version_of(workspace, f"{stream.name}@{reading.offset}", reading.branch or None)


def _total(workspace: Workspace, found: TableVersion) -> int:
    """Return how many records a version has, without reading any."""
    versions = lines.versions(workspace.views.database(), found.log)
    return sum(version.creates - version.deletes for version in versions if version.stop <= found.stop)


def _files(workspace: Workspace, found: TableVersion, changed: int, following: int) -> Iterator[RowReading]:
    """Yield the files to which a version with the record was written: whoever reads them has read all its rows."""
    db = workspace.views.database()
    for place in streams.places(db, found.table.stream, found.log.branch, changed, changed + 1):
        for (entry, event), body in _written(workspace, place.segment):
            if body["branch"] == found.log.branch and body["start"] == 0 and changed < body["stop"] <= following:
                version = version_of(workspace, f"{found.table.name}@{body['stop']}", found.log.branch or None)
                yield RowReading(
                    label="written to a file",
                    index=entry,
                    event=event,
                    reference=version.reference,
                    count=None,
                    total=_total(workspace, version),
                )


def used(workspace: Workspace, reading: Reading, *, limit: int) -> UsedRows:
    """Return the rows that a reading used, with what became of them since; the first `limit` of either."""
    rows = _rows_of(workspace, reading)
    if reading.start is not None:
        first = range(reading.start, reading.offset)[:limit] if rows is None else rows[:limit].tolist()
        return UsedRows(
            reading=told(workspace, reading),
            columns=("offset",),
            keys=tuple((offset,) for offset in first),
            since=0,
            later=(),
        )
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    found = _version(workspace, reading)
    alive = lines.alive(found.log, found.stop, ())
    if rows is not None:
        import pyarrow as pa

        alive = alive.filter(pc.is_in(alive[lines.ROW], pa.array(rows)))
    key = _key(found)
    keys = lines.taken(found.log, alive[lines.OFFSET].slice(0, limit).to_pylist(), key).sort_by(lines.ROW)
    shown = listed(found.table, keys, key)
    since, later = corrected(workspace, reading, limit=limit)
    return UsedRows(
        reading=told(workspace, reading),
        columns=tuple(column.name for column in key),
        keys=tuple(tuple(row[str(column.id)] for column in key) for row in shown),
        since=since,
        later=later,
    )


def corrected(
    workspace: Workspace, reading: Reading, *, limit: int
) -> tuple[int, tuple[tuple[str, RecordChange], ...]]:
    """Return how many of the rows that a reading of a table used were changed since, and the first of these changes.

    It reads the changes since then, and not the table.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    found, rows = _version(workspace, reading), _rows_of(workspace, reading)
    key = _key(found)
    later = lines.changes(found.log, found.stop, found.log.size, ())
    # A record that was deleted before has no later changes: what is put anew under its key is another one.
    is_used = pc.less(later[lines.ROW], found.stop) if rows is None else pc.is_in(later[lines.ROW], pa.array(rows))
    later = later.filter(is_used)
    sayings = histories.Sayings(workspace, found.log)
    since = []
    of_these = lines.taken(found.log, later[lines.OFFSET].slice(0, limit).to_pylist(), found.columns)
    for change in listed(found.table, of_these, found.columns):
        before = listed(found.table, lines.taken(found.log, [change["_prev"]], found.columns), found.columns)
        named = "/".join(str(change[str(column.id)]) for column in key)
        since += [(named, one) for one in histories.described([change], found.columns, sayings, before=before[0])]
    note_look(found.log)
    return len(pc.unique(later[lines.ROW])), tuple(since)


def _key(found: TableVersion) -> list[Column]:
    return [column for i in found.table.key for column in found.columns if column.id == i]
