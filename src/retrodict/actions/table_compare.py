"""`table diff`, `blame`, `revert`, `query`: versions beside each other, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrodict.actions.table_read import note_read, table_of
from retrodict.actions.tabling import TableVersion, key_values, note_look, table_named, version_of, version_on
from retrodict.kernel.errors import MissingExtraError, UsageError
from retrodict.kernel.types import EventId
from retrodict.tables import cells, checks, compare, conflicts, difference, lines, queries
from retrodict.tables import history as histories
from retrodict.tables.changes import ChangeSet, How
from retrodict.tables.compare import RecordDiff
from retrodict.tables.conflicts import Standing
from retrodict.tables.errors import NoSuchRecordError
from retrodict.tables.lines import OFFSET, ROW
from retrodict.tables.personal import listed
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDiff:
    """What differs between two versions.

    Attributes:
        created, changed, deleted: How many records; `rows` has them, up to the limit that was asked for.
        columns_added, columns_removed: By name.
    """

    before: str
    after: str
    created: int
    changed: int
    deleted: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    rows: tuple[RecordDiff, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlamedCell:
    """Who gave a cell its value, when, how and why, and what it was before; `before` is None where it is as created."""

    column: str
    value: object
    before: object
    offset: int
    version: int
    index: int
    at: str
    who: str
    why: str | None
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlamedRecord:
    """One record with what is known of each of its cells."""

    key: Mapping[str, object]
    row: int
    cells: tuple[BlamedCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableBlame:
    """The cells of a version; `count` is how many records it has, of which `rows` are shown.

    Attributes:
        conflicts: What stands now beside the records that are shown.
    """

    reference: str
    count: int
    rows: tuple[BlamedRecord, ...]
    conflicts: tuple[Standing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableQuery:
    """The answer to a query; `versions` are those that it read."""

    versions: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


def diff(
    workspace: Workspace, a: str, b: str | None = None, *, branch: str | None = None, limit: int | None = None
) -> TableDiff:
    """Return what differs between two versions of a table; only the changes between them are read.

    Args:
        b: `NAME@v3`, `v3`, an offset or a time; None: the newest.
        limit: At most so many records are listed.

    Raises:
        UnknownReferenceError, OffsetError: There is no such table or version.
    """
    first = version_of(workspace, a, branch)
    second = version_of(workspace, first.table.name, branch) if b is None else version_on(workspace, first.log, b)
    low, high = sorted((first, second), key=lambda version: version.stop)
    both = compare.between(first.log, low.stop, high.stop, high.columns)
    note_look(first.log)
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    was, is_ = (both.was, both.is_) if first is low else (both.is_, both.was)
    shown = both
    if limit is not None:
        shown = compare.Both(
            before=both.before.slice(0, limit),
            after=both.after.slice(0, limit),
            was=both.was.slice(0, limit),
            is_=both.is_.slice(0, limit),
        )
    known = {column.id for column in first.columns}
    return TableDiff(
        before=first.reference,
        after=second.reference,
        created=int(pc.sum(pc.and_not(is_, was)).as_py() or 0),
        changed=int(pc.sum(pc.and_(is_, was)).as_py() or 0),
        deleted=int(pc.sum(pc.and_not(was, is_)).as_py() or 0),
        columns_added=tuple(c.name for c in second.columns if c.id not in known),
        columns_removed=tuple(c.name for c in first.columns if c.id not in {c.id for c in second.columns}),
        rows=tuple(compare.described(shown, high.columns, first.table, backwards=first is not low)),
    )


def blame(
    workspace: Workspace,
    reference: str,
    *,
    keys: Sequence[str | Sequence[object] | Mapping[str, object]] = (),
    branch: str | None = None,
    limit: int | None = None,
) -> TableBlame:
    """Return for each cell of a version who gave it its value, when, how and why, and the value before.

    Args:
        keys: Only these records.
        limit: At most so many records.

    Raises:
        NoSuchRecordError: A key is not in this version.
    """
    found = version_of(workspace, reference, branch)
    made = lines.alive(found.log, found.stop, found.columns)
    count = made.num_rows
    if keys:
        made = _only(found, made, keys)
    if limit is not None:
        made = made.slice(0, limit)
    sayings = histories.Sayings(workspace, found.log)
    rows = []
    lasts = lines.taken(found.log, made[OFFSET].to_pylist(), found.columns).sort_by(ROW)
    for last in listed(found.table, lasts, found.columns):
        walked = [last]
        if last["_prev"] is not None:
            walked = [c for c in histories.walked(found.log, found.columns, last[OFFSET]) if c[ROW] == last[ROW]]
        cells = []
        for column in found.columns:
            name = str(column.id)
            at = max(
                (i for i, c in enumerate(walked) if c["_op"] == lines.CREATE or column.id in (c["_changed"] or ())),
                default=0,
            )
            said = sayings.said(walked[at])
            cells.append(
                BlamedCell(
                    column=column.name,
                    value=last[name],
                    before=walked[at - 1][name] if at else None,
                    offset=walked[at][OFFSET],
                    **{field: said[field] for field in ("version", "index", "at", "who", "why", "how")},
                )
            )
        key = {column.name: last[str(column.id)] for column in found.columns if column.id in found.table.key}
        rows.append(BlamedRecord(key=key, row=last[ROW], cells=tuple(cells)))
    note_look(found.log)
    beside = conflicts.standing(workspace, found.log, keys=[row.key for row in rows])
    return TableBlame(reference=found.reference, count=count, rows=tuple(rows), conflicts=tuple(beside))


def _only(found: TableVersion, made: Any, keys: Sequence[Any]) -> Any:
    """Return the records with these keys."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    asked = [key_values(found.table, found.columns, key) for key in keys]
    kept = [column for column in found.columns if column.id in found.table.key]
    wanted = pa.table(
        {str(c.id): cells.column_of([key[c.name] for key in asked], c.type, f"column {c.name}") for c in kept}
    )
    names = [str(column.id) for column in kept]
    codes = lines.key_codes(pa.concat_tables([made.select(names), checks.normal_keys(wanted)]), names)
    mine, theirs = codes[: made.num_rows], codes[made.num_rows :]
    missing = pc.indices_nonzero(pc.invert(pc.is_in(theirs, value_set=mine))).to_pylist()
    if missing:
        shown = "/".join(map(str, asked[missing[0]].values()))
        raise NoSuchRecordError(f"{found.reference} has no record {shown}")
    return made.filter(pc.is_in(mine, value_set=theirs))


def revert(
    workspace: Workspace,
    name: str,
    to: str,
    *,
    how: How,
    keys: Sequence[str | Sequence[object] | Mapping[str, object]] = (),
    where: str | None = None,
) -> ChangeSet:
    """Bring records back to what they were: a new change, by which nothing is erased.

    Args:
        to: `v3`, an offset, a time.
        keys: Which; with `where` those of both; neither: all.
        where: Which, as an SQL condition on what they are now or were then.

    Raises:
        UsageError: The condition is none.
        MissingExtraError: DuckDB is not installed, and there is a condition.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    table = table_named(workspace, name)
    log = lines.own_log(workspace, table)
    target = version_on(workspace, log, to)
    columns = lines.columns_at(workspace.views.database(), log)
    ids = [str(column.id) for column in columns]
    names = [column.name for column in columns]
    then = checks.with_known_keys(lines.alive(log, target.stop, columns), table).select(ids)
    now = checks.with_known_keys(lines.alive(log, log.size, columns), table).select(ids)
    key_ids = [str(i) for i in table.key]
    codes = lines.key_codes(pa.concat_tables([now.select(key_ids), then.select(key_ids)]), key_ids)
    now_codes, then_codes = codes[: now.num_rows], codes[now.num_rows :]
    chosen = []
    if keys:
        asked = [key_values(table, columns, key) for key in keys]
        kept = [column for column in columns if column.id in table.key]
        given = pa.table(
            {str(c.id): cells.column_of([k[c.name] for k in asked], c.type, f"column {c.name}") for c in kept}
        ).select(key_ids)
        with_given = lines.key_codes(
            pa.concat_tables([now.select(key_ids), then.select(key_ids), checks.normal_keys(given)]), key_ids
        )
        now_codes, then_codes = with_given[: now.num_rows], with_given[now.num_rows : now.num_rows + then.num_rows]
        wanted = with_given[now.num_rows + then.num_rows :]
        unknown = pc.indices_nonzero(
            pc.invert(pc.is_in(wanted, value_set=pa.concat_arrays([now_codes, then_codes])))
        ).to_pylist()
        if unknown:
            shown = "/".join(map(str, asked[unknown[0]].values()))
            raise NoSuchRecordError(f"{table.name} has no record {shown}, now or in {target.reference}")
        chosen.append(wanted)
    if where is not None:
        for version, found in ((now, now_codes), (then, then_codes)):
            chosen.append(found.filter(_holds(version.rename_columns(names), where)))
    if not chosen:
        return difference.bring_to(workspace, table, then.rename_columns(names), how, called=target.reference)
    meant = pa.concat_arrays([part.combine_chunks() if isinstance(part, pa.ChunkedArray) else part for part in chosen])
    kept_now = now.filter(pc.invert(pc.is_in(now_codes, value_set=meant)))
    back = then.filter(pc.is_in(then_codes, value_set=meant))
    wanted_rows = pa.concat_tables([kept_now, back]).rename_columns(names)
    return difference.bring_to(workspace, table, wanted_rows, how, called=target.reference)


def _holds(made: Any, where: str) -> Any:
    """Return for each row whether an SQL condition holds."""
    import pyarrow as pa  # 57 ms

    database = _database()
    database.register("it", made.append_column("_number", pa.array(range(made.num_rows), pa.int64())))
    found = _asked(database, f"SELECT _number FROM it WHERE ({where}\n)")  # noqa: S608 - their own data, in memory
    import pyarrow.compute as pc

    return pc.is_in(pa.array(range(made.num_rows), pa.int64()), value_set=found["_number"].combine_chunks())


def _database() -> Any:
    try:
        import duckdb  # of an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("SQL over tables", "sql") from error
    # Nothing but the tables is read, whatever the query says, and nothing of them is written to a disk.
    return duckdb.connect(":memory:", config={"enable_external_access": "false", "temp_directory": ""})


def _asked(database: Any, sql: str) -> Any:
    import duckdb  # of an extra

    try:
        answer = database.sql(sql)
        if answer is None:
            raise UsageError(
                "a query begins with SELECT or WITH", hint="A table is changed by `table put` and the others."
            )
        found = answer.to_arrow_table() if hasattr(answer, "to_arrow_table") else answer.arrow()
    except duckdb.Error as error:
        raise UsageError(f"it is no query: {' '.join(str(error).split())[:500]}") from error
    # Of columns of one name, as a join has them, the others get a number, as DuckDB's own frames have it.
    names: list[str] = []
    for name in found.schema.names:
        free = (f"{name}_{i}" if i else name for i in range(len(names) + 1))
        names.append(next(new for new in free if new not in names))
    return found.rename_columns(names)


# What is no name of a table: texts and comments; names in quotes; NAME@VERSION; words.
_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/)"""
    r"""|"(?P<quoted>(?:[^"]|"")+)\""""
    r"""|(?P<named>[^\W\d][\w.\-]*@(?:[vV]\d+|\d{4}-\d\d-\d\d(?:[Tt][\d:.]*\d(?:Z|[+-]\d\d:\d\d)?)?|\d+))"""
    r"""|(?P<word>[^\W\d]\w*)""",
    re.DOTALL,
)


def query(workspace: Workspace, sql: str, *, run: EventId | None = None) -> tuple[Any, tuple[str, ...]]:
    """Return the answer to a query over versions of tables, as an Arrow table, and the versions that it read.

    In it, `loans` is a table as it is now, and `loans@v12`, `loans@1234`, `loans@2020-11-07` a version.

    Args:
        run: Of which these versions become inputs.

    Raises:
        UsageError: It is no query.
        UnknownReferenceError, OffsetError: There is no such table or version.
        MissingExtraError: DuckDB is not installed.
    """
    names = {table.name for table in queries.tables(workspace.views.database())}
    views: dict[str, str] = {}

    def placed(match: re.Match[str]) -> str:
        if match["text"] is not None:
            return match[0]
        meant = match["quoted"] or match["named"] or match["word"]
        if match["named"] is None and meant.partition("@")[0] not in names:
            return match[0]
        if match["word"] is not None:
            views.setdefault(meant, meant)
            return match[0]
        views.setdefault(meant, meant)
        return '"' + meant.replace('"', '""') + '"'

    asked = _TOKEN.sub(placed, sql)
    database = _database()
    read = []
    readings: dict[str, tuple[Any, EventId]] = {}
    for view, reference in views.items():
        found = version_of(workspace, reference)
        read.append(found.reference)
        rows = table_of(found, rows=True)
        if run is not None:
            readings[view] = rows, note_read(workspace, found, run)
        database.register(view, rows.drop_columns([lines.ROW]))
    answer = _asked(database, asked)
    if readings:
        _note_used(workspace, database, asked, readings)
    return answer, tuple(read)


def _note_used(workspace: Workspace, database: Any, asked: str, readings: Mapping[str, tuple[Any, EventId]]) -> None:
    """Record which rows of the versions that it read a query used; all, where that cannot be told."""
    try:
        import numpy as np  # an extra

        from retrodict.actions.used_rows import record
        from retrodict.rows import sql as following
        from retrodict.rows.source import Source

        sources = {view: Source(view, np.asarray(rows[lines.ROW])) for view, (rows, _) in readings.items()}
        tables = {view: (rows.drop_columns([lines.ROW]), sources[view]) for view, (rows, _) in readings.items()}
        following.note(database, asked, tables)
    except (ImportError, MissingExtraError):
        return
    for view, (_, event) in readings.items():
        record(workspace, event, sources[view])


def answered(found: Any, versions: tuple[str, ...]) -> TableQuery:
    """Return an answer as a record."""
    rows = tuple(tuple(row.values()) for row in found.to_pylist())
    return TableQuery(versions=versions, columns=tuple(found.schema.names), rows=rows)
