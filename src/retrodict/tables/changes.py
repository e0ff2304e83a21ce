"""What changes a table: changes given one by one, or worked out from how the whole of it is to be.

Whoever changes a table holds the lock of the workspace's streams from looking at the records until the changes are in
the log, so that no other change of them comes in between. What takes long for a whole file is done before the lock is
taken, and what came in meanwhile is looked at then: a change to the same record is a conflict, and nothing is recorded.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from retrodict import streams
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.streams import MAIN
from retrodict.tables import lines, personal, records
from retrodict.tables.errors import BadCellError, BadKeyError, NoSuchRecordError, RecordConflictError, TablePolicyError
from retrodict.tables.files import cast_column, type_text, value_in
from retrodict.tables.keys import Found, KeyIndex
from retrodict.tables.lines import CREATE, DELETE, OFFSET, ROW, UPDATE, ChangeLog
from retrodict.tables.records import Column, Table
from retrodict.workspace import Batch, Workspace, agent_name, edges_or_list

Op = Literal["create", "put", "update", "delete", "truncate"]
_SHOWN = 5
_CAPTURED = ("_at", "_who", "_why", "_how", "_tx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one record.

    Attributes:
        op: "create" and "put" give the whole record, and what they do not name is null; "update" some of its values;
            "delete" needs the key alone; "truncate" deletes every record.
        values: By the names of the columns. A key among them that is another than `key` renames the record: it is
            deleted, and created under the new key.
        key: The values of the key, by the names of its columns; {}: they stand in `values`.
        valid_from: Since when it is true in the world: RFC 3339, or a `datetime`; None: since it was recorded.
        at: When another system made it (RFC 3339, or a `datetime`); None: now.
        who, why, how: Who made it there, why, and by which statement; sealed in the record. None: as the event says.
        tx: The id of the transaction there.
    """

    op: Op
    values: Mapping[str, object] = field(default_factory=dict)
    key: Mapping[str, object] = field(default_factory=dict)
    valid_from: object = None
    at: object = None
    who: str | None = None
    why: str | None = None
    how: str | None = None
    tx: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What changes are captured from, and how far they come.

    Attributes:
        after: The position after which the changes begin: None where nothing has been recorded from there. Where
            another position is recorded by now, another process has been faster, and nothing is recorded.
        position: The position after them: what a source likes to call it, as JSON without floats.
    """

    name: str
    after: object
    position: object


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """Changes that are durable: one version of a table.

    Attributes:
        reference: The version: `NAME@v3`.
        start, stop: Their offsets in the change log: [start, stop).
        digest: Of all changes up to them.
        branch: Where they were recorded; None: the main line.
        index: The entry that records them; None: nothing was different, and nothing recorded.
        amiss: How many captured changes did not fit what was known: a create of what was there, an update or a delete
            of what was not. They are recorded so that the table is as it is there.
        proposal: The entry that proposes them, where a second person has to approve them; then nothing is changed yet.
    """

    reference: str
    name: str
    version: int
    start: int
    stop: int
    creates: int
    updates: int
    deletes: int
    digest: str
    branch: str | None
    event: EventId | None
    index: int | None
    size_bytes: int
    amiss: int = 0
    proposal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What makes changes.

    Attributes:
        verb: "put", "update", "delete", "import", "revert", "merge", "capture".
        reason: Why.
        run: The run that they are made in.
        statement: The statement or program, in words; sealed.
        uses: What they were taken from.
        since: Refuse changes to records that were changed at or after this offset.
        valid_from: Since when they are true, where a change does not say so itself.
        merged: The branch that they come from: as `streams.append` has it.
    """

    verb: str
    reason: str | None = None
    run: EventId | None = None
    statement: str | None = None
    uses: Sequence[Edge] = ()
    since: int | None = None
    valid_from: object = None
    merged: Mapping[str, object] | None = None


@dataclass(slots=True)
class _Rows:
    """Changes as they are gathered, column by column."""

    columns: Sequence[Column]
    op: list[int] = field(default_factory=list)
    row: list[int | None] = field(default_factory=list)
    prev: list[int | None] = field(default_factory=list)
    changed: list[list[int] | None] = field(default_factory=list)
    values: list[Mapping[str, object]] = field(default_factory=list)
    made_by: list[Change | None] = field(default_factory=list)

    def add(
        self,
        op: int,
        row: int | None,
        prev: int | None,
        changed: list[int] | None,
        values: Mapping[str, object],
        made_by: Change | None,
    ) -> None:
        self.op.append(op)
        self.row.append(row)
        self.prev.append(prev)
        self.changed.append(changed)
        self.values.append(values)
        self.made_by.append(made_by)


def append(
    workspace: Workspace,
    table: Table,
    changes: Sequence[Change],
    how: How,
    *,
    source: Source | None = None,
) -> ChangeSet:
    """Record changes in their order, all of them in one piece; they are durable when this returns.

    A record may be changed several times in one piece. What changes nothing is not recorded.

    Args:
        source: What they are captured from. Then every change is taken as it comes (see `ChangeSet.amiss`), and
            whoever does not know whether they were recorded gives them again.

    Raises:
        BadCellError, BadKeyError: A value that is none of its column; a key that names no record.
        NoSuchRecordError: There is nothing to update or delete, or something there that was to be created.
        RecordConflictError: See `How.since`.
        TablePolicyError: The table asks for a reason.
    """
    with KeyIndex(workspace) as index, streams.locked(workspace):
        log = lines.own_log(workspace, table)
        db = workspace.views.database()
        columns = lines.columns_at(db, log)
        if source is not None and not _is_next(db, log, source):
            return _unchanged(workspace, log)
        _keep_policy(table, how, changes, source)
        work = _Folding(workspace, index, log, columns, how, is_captured=source is not None)
        work.take(changes)
        done = _append(workspace, log, columns, work.rows, how, source=source, amiss=work.amiss)
    return keep_up(workspace, done, table)


def _is_next(db: Any, log: ChangeLog, source: Source) -> bool:
    return bool(records.position(db, log.table.stream, log.branch, source.name) == source.after)


def _keep_policy(table: Table, how: How, changes: Sequence[Change], source: Source | None) -> None:
    if table.policy.approval and source is not None:
        raise TablePolicyError(
            f"every change of {table.name} needs a second person's approval, and captured ones have been made already",
            hint="Capture into a table without --require-approval.",
        )
    if table.policy.reason and not (how.reason or "").strip() and any(not (c.why or "").strip() for c in changes):
        raise TablePolicyError(f"{table.name} takes no change without a reason", hint="Give --why.")


class _Folding:
    """Works out what changes do to the records that they name."""

    def __init__(
        self,
        workspace: Workspace,
        index: KeyIndex,
        log: ChangeLog,
        columns: Sequence[Column],
        how: How,
        *,
        is_captured: bool,
    ) -> None:
        self._workspace = workspace
        self._index = index
        self._log = log
        self._columns = columns
        self._by_name = {column.name: column for column in columns}
        self._keys = [column for column in columns if column.id in log.table.key]
        self._how = how
        self._is_captured = is_captured
        self._known: dict[bytes, Found | None] = {}
        self._values: dict[int, Mapping[str, object]] = {}  # of the changes that were the last ones, by offset
        self.rows = _Rows(columns)
        self.amiss = 0

    def take(self, changes: Sequence[Change]) -> None:
        """Gather what they amount to."""
        if not changes:
            return
        given = self._given(changes)
        olds = self._hashes([self._key(change, change.key or change.values) for change in changes])
        news = olds
        if any(change.key for change in changes):
            news = self._hashes([self._key(change, {**change.key, **change.values}) for change in changes])
        asked = list(dict.fromkeys([*olds, *news]))
        self._known = dict(zip(asked, self._index.found(self._log, self._columns, asked), strict=True))
        self._look_up([found.last for found in self._known.values() if found is not None and found.is_alive])
        for change, values, old, new in zip(changes, given, olds, news, strict=True):
            if change.op == "truncate":
                self._truncate(change)
            else:
                self._one(change, values, old, new)

    def _given(self, changes: Sequence[Change]) -> list[dict[str, object]]:
        """Return the values of each change, by the ids of the columns, as the columns' types have them."""
        unknown = sorted({name for c in changes for name in (*c.values, *c.key)} - self._by_name.keys())
        if unknown:
            known = ", ".join(self._by_name)
            raise BadCellError(f"{self._log.table.name} has no column {', '.join(unknown)}; it has {known}"[:1000])
        given: list[dict[str, object]] = [{} for _ in changes]
        for column in self._columns:
            having = [i for i, c in enumerate(changes) if column.name in c.values or column.name in c.key]
            if not having:
                continue
            values = [{**changes[i].key, **changes[i].values}[column.name] for i in having]
            made = column_of(values, column.type, f"column {column.name}").to_pylist()
            for i, value in zip(having, made, strict=True):
                given[i][str(column.id)] = value
        return given

    def _key(self, change: Change, values: Mapping[str, object]) -> Mapping[str, object]:
        lacking = [column.name for column in self._keys if values.get(column.name) is None]
        if lacking and change.op != "truncate":
            raise BadKeyError(
                f"a {change.op} of {self._log.table.name} lacks its key ({', '.join(lacking)}): "
                f"{str(dict(values))[:200]}"
            )
        return values

    def _hashes(self, keys: Sequence[Mapping[str, object]]) -> list[bytes]:
        import pyarrow as pa  # 57 ms

        table = pa.table(
            {
                str(column.id): column_of([key.get(column.name) for key in keys], column.type, f"column {column.name}")
                for column in self._keys
            }
        )
        table = normal_keys(table)
        refuse_nan(table, self._keys)
        return self._index.hashes(table, self._log.table.key)

    def _look_up(self, offsets: Sequence[int]) -> None:
        found = lines.taken(self._log, [offset for offset in offsets if offset not in self._values], self._columns)
        names = [str(column.id) for column in self._columns]
        for offset, values in zip(found[OFFSET].to_pylist(), found.select(names).to_pylist(), strict=True):
            self._values[offset] = values

    def _one(self, change: Change, values: Mapping[str, object], old: bytes, new: bytes) -> None:
        known = self._known[old]
        lives = known is not None and known.is_alive
        if known is not None and self._how.since is not None and self._how.since <= known.last < self._log.size:
            self._refuse(known.last, change)
        if not self._is_captured:
            if change.op == "create" and lives:
                raise NoSuchRecordError(
                    f"{self._log.table.name} has a record {self._shown(change)} already",
                    hint="`retrodict table update` changes it.",
                )
            if change.op in ("update", "delete") and not lives:
                raise NoSuchRecordError(f"{self._log.table.name} has no record {self._shown(change)}")
        elif (change.op == "create" and lives) or (change.op in ("update", "delete") and not lives):
            self.amiss += 1
        if change.op == "delete":
            if lives and known is not None:
                self._delete(old, known, change)
            return
        before: Mapping[str, object] = self._values[known.last] if lives and known is not None else {}
        after = {str(c.id): values.get(str(c.id)) for c in self._columns}
        if change.op == "update" or (change.key and not change.values):
            after = {**{str(c.id): before.get(str(c.id)) for c in self._columns}, **values}
        if old != new:
            if lives and known is not None:
                self._delete(old, known, change)
            known = self._known[new]
            lives = known is not None and known.is_alive
            if lives and not self._is_captured:
                raise NoSuchRecordError(
                    f"{self._log.table.name} has a record of that new key already", hint="Delete or rename it first."
                )
            before = self._values[known.last] if lives and known is not None else {}
        offset = self._log.size + len(self.rows.op)
        if known is not None and lives:
            changed = [c.id for c in self._columns if not is_same(before.get(str(c.id)), after[str(c.id)])]
            if not changed:
                return
            self.rows.add(UPDATE, known.row, known.last, changed, after, change)
            self._known[new] = Found(known.row, offset, True)
        else:
            self.rows.add(CREATE, None, None if known is None else known.last, None, after, change)
            self._known[new] = Found(offset, offset, True)
        self._values[offset] = after

    def _delete(self, hashed: bytes, known: Found, change: Change) -> None:
        kept = self._values[known.last]
        only_key = {str(column): kept[str(column)] for column in _kept_of_deletes(self._log.table)}
        offset = self._log.size + len(self.rows.op)
        self.rows.add(DELETE, known.row, known.last, None, only_key, change)
        self._known[hashed] = Found(known.row, offset, False)

    def _truncate(self, change: Change) -> None:
        found = lines.alive(self._log, self._log.size, self._columns)
        names = [str(column.id) for column in self._columns]
        hashes = self._index.hashes(found, self._log.table.key)
        listed = zip(
            hashes, found[ROW].to_pylist(), found[OFFSET].to_pylist(), found.select(names).to_pylist(), strict=True
        )
        for hashed, row, last, values in listed:
            if hashed not in self._known:
                self._known[hashed] = Found(row, last, True)
                self._values[last] = values
        for hashed, known in list(self._known.items()):
            if known is not None and known.is_alive:
                self._delete(hashed, known, change)

    def _shown(self, change: Change) -> str:
        values = change.key or change.values
        return "/".join(str(values.get(column.name)) for column in self._keys)

    def _refuse(self, last: int, change: Change) -> None:
        raise conflict(self._workspace, self._log, last, self._shown(change))


def conflict(workspace: Workspace, log: ChangeLog, offset: int, shown: str) -> RecordConflictError:
    """Return the refusal of a change to a record that somebody else has changed."""
    version = lines.version_at(workspace.views.database(), log, offset)
    who = agent_name(workspace, version.agent)
    return RecordConflictError(
        f"the record {shown} of {log.table.name} was changed by {who} at {version.at[:19]}Z, in v{version.version}"
    )


def is_same(a: object, b: object) -> bool:
    """Say whether two cells are equal, NaN with itself too, and zero not with minus zero."""
    if isinstance(a, float) and isinstance(b, float):
        return a.hex() == b.hex()
    return a == b and type(a) is type(b)


def column_of(values: Sequence[object], kind: object, called: str) -> Any:
    """Return values as an Arrow array of a type; texts are read as it writes them.

    Raises:
        BadCellError: One has no equal there.
    """
    import pyarrow as pa  # 57 ms

    wanted = streams.named_type(kind)
    if not pa.types.is_decimal(wanted):  # of floats it makes whatever decimal is near
        with contextlib.suppress(pa.ArrowException, ValueError, TypeError, OverflowError):
            return pa.array(values, wanted)
    made = []
    for number, value in enumerate(values, 1):
        try:
            made.append(value_in(value, wanted))
        except (pa.ArrowException, ValueError, TypeError, OverflowError, UsageError) as error:
            raise BadCellError(
                f"{called} is {type_text(kind)}, and row {number} has {str(value)[:60]!r} there"
            ) from error
    return pa.array(made, wanted)


def normal_keys(table: Any) -> Any:
    """Return columns of keys in which minus zero is zero."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    for i, name in enumerate(table.schema.names):
        if pa.types.is_floating(table.schema.field(i).type):
            table = table.set_column(i, name, pc.add(table[name], pa.scalar(0.0, table.schema.field(i).type)))
    return table


def refuse_nan(table: Any, key: Sequence[Column]) -> None:
    """Refuse keys that are no number.

    Raises:
        BadKeyError: It names the rows.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    for column in key:
        values = table[str(column.id)]
        if pa.types.is_floating(values.type):
            wrong = pc.indices_nonzero(pc.fill_null(pc.is_nan(values), False)).to_pylist()
            if wrong:
                raise BadKeyError(f"the key {column.name} is no number (NaN) in {_rows(wrong)}")


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number + 1) for number in numbers[:_SHOWN])
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"row{'s' if len(numbers) > 1 else ''} {shown}{more}"


# Whole tables


def bring_to(
    workspace: Workspace,
    table: Table,
    wanted: Any,
    how: How,
    *,
    keep_missing: bool = False,
    called: str = "it",
    source: Source | None = None,
) -> ChangeSet:
    """Make a table as it is `wanted`, an Arrow table with its columns' names: creates, updates and deletes.

    Memory: some copies of both tables.

    Args:
        keep_missing: Records that are not there stay.
        called: What it is, in errors.
        source: What it is captured from; see `append`.

    Raises:
        As `append` does.
    """
    _keep_policy(table, how, [Change(op="put")], source)
    log = lines.own_log(workspace, table)
    columns = lines.columns_at(workspace.views.database(), log)
    found = prepared_rows(wanted, columns, table, called)
    before = with_known_keys(lines.alive(log, log.size, columns), table)
    made = difference(before, found, columns, table, keep_missing=keep_missing)
    if made.num_rows == 0 and source is None:
        return _unchanged(workspace, log)
    with KeyIndex(workspace) as index, streams.locked(workspace):
        now = lines.own_log(workspace, table)
        if source is not None and not _is_next(workspace.views.database(), now, source):
            return _unchanged(workspace, now)
        if lines.columns_at(workspace.views.database(), now) != columns or now.branch != log.branch:
            raise UsageError(f"{table.name} has got other columns meanwhile", hint="Look at them, and try again.")
        since = log.size if how.since is None else min(how.since, log.size)
        if now.size > since:
            _refuse_meanwhile(workspace, index, now, columns, made, since)
        if made.num_rows == 0:
            return _note_position(workspace, now, source)
        made = _after_deletes(workspace, index, now, columns, made)
        done = _append_table(workspace, now, made, how, source=source)
    return keep_up(workspace, done, table)


def differing(workspace: Workspace, table: Table, wanted: Any, *, called: str) -> int:
    """Return how many records `bring_to` would create, change or delete. Raises as it does."""
    log = lines.own_log(workspace, table)
    columns = lines.columns_at(workspace.views.database(), log)
    found = prepared_rows(wanted, columns, table, called)
    before = with_known_keys(lines.alive(log, log.size, columns), table)
    return int(difference(before, found, columns, table, keep_missing=False).num_rows)


def with_known_keys(rows: Any, table: Table) -> Any:
    """Return records without those whose key is erased: nobody can say any more whether another table has them."""
    key = rows[str(table.key[0])]
    return rows.filter(key.is_valid()) if key.null_count else rows


def _kept_of_deletes(table: Table) -> tuple[int, ...]:
    """Return the ids of the columns that a delete holds: the key, and whose it is where that is sealed."""
    if table.personal is None or not any(map(table.hides, table.key)):
        return table.key
    return tuple(dict.fromkeys([*table.key, table.personal.subject]))


def prepared_rows(wanted: Any, columns: Sequence[Column], table: Table, called: str) -> Any:
    """Return an Arrow table with a table's columns by their ids and in their types; those that it lacks are null.

    Raises:
        BadCellError: It has others, or a cell that is none.
        BadKeyError: A key is null, NaN, or stands there twice; it names the rows.
    """
    import pyarrow as pa  # 57 ms

    names = wanted.schema.names
    by_name = {column.name: column for column in columns}
    unknown = sorted(set(names) - by_name.keys())
    if unknown or len(set(names)) != len(names):
        raise BadCellError(
            f"{called} has columns that {table.name} has not, or one twice: {', '.join(unknown or names)}"[:1000],
            hint=f"`retrodict table alter {table.name} --add` gives it a column.",
        )
    lacking = [column.name for column in columns if column.id in table.key and column.name not in names]
    if lacking:
        raise BadKeyError(f"{called} has no column {', '.join(lacking)}, which is the key of {table.name}")
    arrays = []
    for column in columns:
        if column.name in names:
            arrays.append(cast_column(wanted[column.name], column.type, f"{called}, column {column.name}"))
        else:
            kind = streams.named_type(column.type)
            arrays.append(pa.chunked_array([pa.nulls(wanted.num_rows, kind)], kind))
    found = pa.table(arrays, names=[str(column.id) for column in columns]).combine_chunks()
    return _with_keys(found, [column for column in columns if column.id in table.key], called)


def check_rows(rows: Any, columns: Sequence[Column], key: Sequence[int], called: str) -> None:
    """Refuse the first records of a table whose keys do not name them. Raises `BadKeyError`."""
    keys = [column for column in columns if column.id in key]
    found = rows.select([column.name for column in keys]).rename_columns([str(column.id) for column in keys])
    _with_keys(found.combine_chunks(), keys, called)


def _with_keys(found: Any, keys: Sequence[Column], called: str) -> Any:
    """Return rows whose keys are as they are kept. Raises as `prepared_rows` does."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    normal = normal_keys(found.select([str(column.id) for column in keys]))
    for column in keys:
        values = normal[str(column.id)]
        found = found.set_column(found.schema.get_field_index(str(column.id)), str(column.id), values)
        if values.null_count:
            wrong = pc.indices_nonzero(pc.is_null(values)).to_pylist()
            raise BadKeyError(f"{called}: the key {column.name} is empty in {_rows(wrong)}")
    refuse_nan(normal, keys)
    codes = lines.key_codes(normal, [str(column.id) for column in keys])
    if len(pc.unique(codes)) != len(codes):
        seen: dict[int, int] = {}
        twice = []
        for number, code in enumerate(codes.to_pylist()):
            if code in seen:
                key = "/".join(str(normal[str(column.id)][number].as_py()) for column in keys)
                twice.append(f"{key} in rows {seen[code] + 1} and {number + 1}")
            seen.setdefault(code, number)
        more = f", and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        raise BadKeyError(f"{called}: a key stands there twice: {'; '.join(twice[:_SHOWN])}{more}")
    return found


def difference(before: Any, after: Any, columns: Sequence[Column], table: Table, *, keep_missing: bool) -> Any:
    """Return the changes that bring `before` (as `lines.alive` has it) to `after`: deletes, updates, then creates.

    An Arrow table with `_op`, `_row` and `_prev` (null for creates), `_changed`, and the columns.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    names = [str(column.id) for column in columns]
    keys = [str(column) for column in table.key]
    both = pa.concat_tables([before.select(keys), after.select(keys)]).combine_chunks()
    codes = lines.key_codes(both, keys)
    old_codes, new_codes = codes[: before.num_rows], codes[before.num_rows :]
    place = pc.index_in(new_codes, value_set=old_codes)
    parts = []
    if not keep_missing:
        gone = before.filter(pc.invert(pc.is_in(old_codes, value_set=new_codes)))
        if gone.num_rows:
            kept = gone.select([str(column) for column in _kept_of_deletes(table)])
            parts.append(_as_changes(DELETE, gone, kept, None, names, after.schema))
    is_known = pc.is_valid(place)
    new = after.filter(is_known)
    old = before.take(place.drop_null())
    masks = {}
    for name in names:
        differs = unequal(old[name], new[name])
        if pc.any(differs).as_py():
            masks[name] = differs
    if masks:
        mask = functools.reduce(pc.or_, masks.values())
        changed = changed_ids({name: values.filter(mask) for name, values in masks.items()})
        parts.append(_as_changes(UPDATE, old.filter(mask), new.filter(mask), changed, names, after.schema))
    created = after.filter(pc.invert(is_known))
    if created.num_rows:
        parts.append(_as_changes(CREATE, None, created, None, names, after.schema))
    return pa.concat_tables(parts) if parts else _as_changes(CREATE, None, after.slice(0, 0), None, names, after.schema)


def _as_changes(op: int, old: Any, values: Any, changed: Any, names: Sequence[str], schema: Any) -> Any:
    import pyarrow as pa  # 57 ms

    size = values.num_rows
    none = pa.nulls(size, pa.int64())
    arrays = {
        "_op": pa.array([op], pa.int8()).take(pa.nulls(size, pa.int64()).fill_null(0)),
        ROW: none if old is None else old[ROW],
        "_prev": none if old is None else old[OFFSET],
        "_changed": pa.nulls(size, pa.list_(pa.int32())) if changed is None else changed,
    }
    for name in names:
        kind = schema.field(name).type
        arrays[name] = values[name].cast(kind) if name in values.schema.names else pa.nulls(size, kind)
    return pa.table(arrays)


def unequal(a: Any, b: Any) -> Any:
    """Return for each row whether two columns of one type differ: in their bits, where they are floats."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    if isinstance(a, pa.ChunkedArray):
        a = a.combine_chunks()
    if isinstance(b, pa.ChunkedArray):
        b = b.combine_chunks()
    if pa.types.is_floating(a.type):
        bits = {16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[a.type.bit_width]
        a, b = a.view(bits), b.view(bits)
    if pa.types.is_nested(a.type):
        a, b = (pa.array(streams.formats.cells(values), pa.string()) for values in (a, b))
    if pa.types.is_null(a.type):
        return pc.is_valid(a)
    return pc.coalesce(pc.not_equal(a, b), pc.xor(pc.is_null(a), pc.is_null(b)))


def changed_ids(masks: Mapping[str, Any]) -> Any:
    """Return for each row the ids of the columns whose mask is true."""
    import pyarrow as pa  # 57 ms

    names = list(masks)
    rows = zip(*(masks[name].to_pylist() for name in names), strict=True)
    ids = [int(name) for name in names]
    return pa.array(
        [[number for number, differs in zip(ids, row, strict=True) if differs] for row in rows], pa.list_(pa.int32())
    )


def _refuse_meanwhile(
    workspace: Workspace, index: KeyIndex, log: ChangeLog, columns: Sequence[Column], made: Any, since: int
) -> None:
    """Refuse changes to records that were changed at or after `since`.

    Raises:
        RecordConflictError: One was.
    """
    kept = [column for column in columns if column.id in log.table.key]
    meanwhile = lines.changes(log, since, log.size, kept)
    theirs = dict(zip(index.hashes(meanwhile, log.table.key), meanwhile[OFFSET].to_pylist(), strict=True))
    for number, hashed in enumerate(index.hashes(made, log.table.key)):
        if hashed in theirs:
            shown = "/".join(str(made[str(column.id)][number].as_py()) for column in kept)
            raise conflict(workspace, log, theirs[hashed], shown)


def _after_deletes(workspace: Workspace, index: KeyIndex, log: ChangeLog, columns: Sequence[Column], made: Any) -> Any:
    """Let creates of keys that were deleted before name that delete as the change before them."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    is_create = pc.equal(made["_op"], CREATE)
    if not any(version.deletes for version in lines.versions(workspace.views.database(), log)):
        return made
    created = made.filter(is_create)
    if not created.num_rows:
        return made
    found = index.found(log, columns, index.hashes(created, log.table.key))
    previous = pa.array([None if item is None else item.last for item in found], pa.int64())
    rest = made.filter(pc.invert(is_create))
    at = created.schema.get_field_index("_prev")
    return pa.concat_tables([rest, created.set_column(at, "_prev", previous)])


def _unchanged(workspace: Workspace, log: ChangeLog, amiss: int = 0) -> ChangeSet:
    version = lines.last_number(workspace.views.database(), log)
    return ChangeSet(
        reference=f"{log.table.name}@v{version}",
        name=log.table.name,
        version=version,
        start=log.size,
        stop=log.size,
        creates=0,
        updates=0,
        deletes=0,
        digest=f"sha256:{lines.root_at(workspace.views.database(), log, log.size)}",
        branch=log.branch or None,
        event=None,
        index=None,
        size_bytes=0,
        amiss=amiss,
    )


# Recording


def follow_columns(workspace: Workspace, table: Table, source: str, columns: Sequence[tuple[int, int]]) -> None:
    """Record which column of a source is which of ours: by its number there, and by its id here."""
    with streams.locked(workspace):
        log = lines.own_log(workspace, table)
        position = records.position(workspace.views.database(), table.stream, log.branch, source)
        batch = Batch(workspace)
        batch.event(
            "table.captured",
            uses=(),
            makes=(),
            body=records.captured_body(
                stream=table.stream, branch=log.branch, source=source, position=position, columns=columns
            ),
        )
        batch.append()


def _note_position(workspace: Workspace, log: ChangeLog, source: Source | None, amiss: int = 0) -> ChangeSet:
    """Record that a source has come further without a change; called while the lock is held."""
    if source is not None and source.position != source.after:
        batch = Batch(workspace)
        batch.event(
            "table.captured",
            uses=(),
            makes=(),
            body=records.captured_body(
                stream=log.table.stream,
                branch=log.branch,
                source=source.name,
                position=source.position,
                columns=None,
            ),
        )
        batch.append()
    return _unchanged(workspace, log, amiss)


def _append(
    workspace: Workspace,
    log: ChangeLog,
    columns: Sequence[Column],
    rows: _Rows,
    how: How,
    *,
    source: Source | None,
    amiss: int,
) -> ChangeSet:
    import pyarrow as pa  # 57 ms

    if not rows.op:
        return _note_position(workspace, log, source, amiss)
    arrays = {
        "_op": pa.array(rows.op, pa.int8()),
        ROW: pa.array(rows.row, pa.int64()),
        "_prev": pa.array(rows.prev, pa.int64()),
        "_changed": pa.array(rows.changed, pa.list_(pa.int32())),
    }
    for column in columns:
        values = [value.get(str(column.id)) for value in rows.values]
        arrays[str(column.id)] = pa.array(values, streams.named_type(column.type))
    return _append_table(workspace, log, pa.table(arrays), how, made_by=rows.made_by, source=source, amiss=amiss)


def _append_table(
    workspace: Workspace,
    log: ChangeLog,
    made: Any,
    how: How,
    *,
    made_by: Sequence[Change | None] = (),
    source: Source | None = None,
    amiss: int = 0,
) -> ChangeSet:
    """Append changes while the lock is held."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    batch = Batch(workspace)
    made = _with_valid_from(log.table, made, how, made_by)
    texts: list[Edge] = []
    statement, people = how.statement, None
    if log.table.personal is not None:
        # A statement names whoever it is about, and its key is nobody's.
        statement, made_by = None, [None if c is None else replace(c, how=None) for c in made_by]
    if any(c is not None and (c.at, c.who, c.why, c.how, c.tx) != (None,) * 5 for c in made_by):
        made, texts = _with_captured(batch, made, made_by)
    if log.table.personal is not None:
        if workspace.keys is None:
            raise UsageError(f"{log.table.name} is about people, and there are no keys to seal with")
        made, people = personal.seal(workspace.keys, log.table, made)
    counted = {row["values"]: row["counts"] for row in pc.value_counts(made["_op"].combine_chunks()).to_pylist()}
    counts = counted.get(CREATE, 0), counted.get(UPDATE, 0), counted.get(DELETE, 0)
    if log.table.policy.approval:
        if log.table.personal is not None:
            raise UsageError(f"{log.table.name} is about people, and its changes cannot wait for approval here")
        return _propose(workspace, log, batch, made, counts, how, texts)
    return record(
        workspace,
        log,
        batch,
        made,
        counts,
        how,
        statement=batch.seal(statement),
        people=people,
        texts=texts,
        source=source,
        amiss=amiss,
    )


def record(
    workspace: Workspace,
    log: ChangeLog,
    batch: Batch,
    made: Any,
    counts: tuple[int, int, int],
    how: How,
    *,
    statement: Mapping[str, str] | None,
    people: Sequence[str] | None = None,
    texts: Sequence[Edge] = (),
    source: Source | None = None,
    amiss: int = 0,
) -> ChangeSet:
    """Append changes as they are kept, with what `batch` holds, while the lock is held.

    Args:
        counts: Of creates, updates and deletes.
        statement: As an entry holds it; that of `how` is not looked at.
        people: The pseudonyms of whom personal changes are about.
    """
    parsed = streams.parse_table(made, None)
    prepared = streams.prepare(workspace, parsed.schema, parsed.blocks, people=people)
    version = lines.last_number(workspace.views.database(), log) + 1
    creates, updates, deletes = counts
    done = streams.append_locked(
        workspace,
        log.table.stream,
        prepared,
        reason=how.reason,
        uses=how.uses,
        after=log.size,
        merged=how.merged,
        batch=batch,
        texts=texts,
        table=records.version_body(
            version=version,
            creates=creates,
            updates=updates,
            deletes=deletes,
            verb=how.verb,
            run=how.run,
            statement=statement,
            source=None if source is None else source.name,
            position=None if source is None else source.position,
        ),
    )
    return ChangeSet(
        reference=f"{log.table.name}@v{version}",
        name=log.table.name,
        version=version,
        start=done.start,
        stop=done.stop,
        creates=creates,
        updates=updates,
        deletes=deletes,
        digest=f"sha256:{done.root}",
        branch=done.branch or None,
        event=done.event,
        index=done.index,
        size_bytes=prepared.size_bytes,
        amiss=amiss,
    )


def _propose(
    workspace: Workspace,
    log: ChangeLog,
    batch: Batch,
    made: Any,
    counts: tuple[int, int, int],
    how: How,
    texts: Sequence[Edge],
) -> ChangeSet:
    """Keep changes for a second person to approve, while the lock is held."""
    import pyarrow as pa  # 57 ms

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    (payload,) = workspace.objects.put_many([sink.getvalue().to_pybytes()])
    made_of = Edge(ref=Ref(payload), role="proposal", evidence="observed")
    event = batch.event(
        "table.proposed",
        uses=edges_or_list(batch, how.uses),
        makes=edges_or_list(batch, [made_of, *texts]),
        body=records.proposed_body(
            stream=log.table.stream,
            log=workspace.ledger.origin,
            branch=log.branch,
            base=log.size,
            payload=payload,
            counts=counts,
            how={"verb": how.verb, "run": how.run, "statement": batch.seal(how.statement)},
            merged=how.merged,
        ),
        reason=how.reason,
    )
    index = next(s.index for s in batch.append() if s.event.id == event.id)
    creates, updates, deletes = counts
    nothing = _unchanged(workspace, log)
    return replace(nothing, creates=creates, updates=updates, deletes=deletes, proposal=index)


def _with_valid_from(table: Table, made: Any, how: How, made_by: Sequence[Change | None]) -> Any:
    """Return changes with since when each is true, where that is said of any."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    kind: object = ["timestamp", "us", "UTC"]
    said = [None if change is None else change.valid_from for change in made_by] or [None] * made.num_rows
    found = column_of(said, kind, "the time since when it is true")
    if table.valid_from is not None:
        column = made[str(table.valid_from)]
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = pc.assume_timezone(column, "UTC")
        found = pc.coalesce(found, column.combine_chunks().cast(streams.named_type(kind)))
    if how.valid_from is not None:
        found = pc.fill_null(found, column_of([how.valid_from], kind, "the time since when it is true")[0])
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    return made if found.null_count == len(found) else made.add_column(4, "_valid_from", found)


def _with_captured(batch: Batch, made: Any, made_by: Sequence[Change | None]) -> tuple[Any, list[Edge]]:
    """Return changes with what another system knows of them, and the sealed texts among that.

    All texts of one append are sealed together: a key of its own for each statement of a busy database would cost a
    wait for the disk each.
    """
    import pyarrow as pa  # 57 ms

    agents: dict[str, str] = {}
    said = [text for c in made_by if c is not None for text in (c.why, c.how) if text is not None and text.strip()]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(said))}
    kept = batch.seal(json.dumps(list(numbers))) if numbers else None
    texts = [] if kept is None else [Edge(ref=Ref(Digest(kept["sealed"])), role="text", evidence="observed")]

    def seal(text: str | None) -> str | None:
        if kept is None or text not in numbers:
            return None
        return f"{kept['sealed']} {kept['key']} {numbers[text]}"

    def agent(name: str | None) -> str | None:
        if name is None or not name.strip():
            return None
        if name not in agents:
            agents[name] = batch.agent(name)
        return agents[name]

    given = [change or Change(op="put") for change in made_by]
    at = column_of([change.at for change in given], ["timestamp", "us", "UTC"], "the time of the change")
    place = made.schema.get_field_index("_changed") + 1 + ("_valid_from" in made.schema.names)
    for name, values in zip(
        _CAPTURED,
        (
            at,
            *(
                pa.array(found, pa.string())
                for found in (
                    [agent(change.who) for change in given],
                    [seal(change.why) for change in given],
                    [seal(change.how) for change in given],
                    [change.tx for change in given],
                )
            ),
        ),
        strict=True,
    ):
        made = made.add_column(place, name, values)
        place += 1
    return made, texts


# Upkeep

_SMALL_SEGMENTS = ((64, 4096), (4096, 65_536))  # after so many versions, segments of fewer changes are put together
SNAPSHOT_CHANGES = 100_000


def _keep_all(contents: Sequence[Digest], makers: Sequence[EventId]) -> list[Digest]:
    """Let nothing go of what is held anew: `stream compact` does, which looks at who needs it."""
    del contents, makers
    return []


def keep_up(workspace: Workspace, done: ChangeSet, table: Table) -> ChangeSet:
    """Keep a table quick to read after changes: small segments are put together, and a snapshot taken where it pays.

    What was recorded stays as it is. A snapshot is taken where more changes since the last one are of no account any
    more than half of the records, and than 100,000.
    """
    if done.index is None:
        return done
    for every, at_least in _SMALL_SEGMENTS:
        if done.version % every == 0:
            streams.compact(workspace, table.stream, at_least=at_least, may_go=_keep_all)
    log = lines.own_log(workspace, table)
    offset, rows, _ = lines.snapshot_before(log, log.size)
    if log.size - offset > SNAPSHOT_CHANGES:
        found = lines.versions(workspace.views.database(), log)
        records_now = sum(version.creates - version.deletes for version in found)
        if log.size - offset - (records_now - rows) > max(records_now // 2, SNAPSHOT_CHANGES):
            snapshot(workspace, table)
    return done


def snapshot(workspace: Workspace, table: Table) -> None:
    """Keep the records as they are now, so that reading later versions need not begin at the first change."""
    log = lines.own_log(workspace, table)
    db = workspace.views.database()
    rows, found = lines.snapshot_parts(log, log.size, lines.columns_at(db, log))
    parts = list(workspace.objects.put_many(found)) if rows else []
    if not parts:
        return
    batch = Batch(workspace)
    body = records.snapshotted_body(
        stream=table.stream,
        log=workspace.ledger.origin,
        branch=log.branch,
        offset=log.size,
        rows=rows,
        root=lines.root_at(db, log, log.size),
        parts=parts,
    )
    uses = log.line.lineage(0, log.size)
    makes = [Edge(ref=Ref(part), role="snapshot", evidence="observed") for part in parts]
    batch.event("table.snapshotted", uses=edges_or_list(batch, uses), makes=edges_or_list(batch, makes), body=body)
    batch.append()


# Creating


def create(
    workspace: Workspace,
    name: str,
    key: Sequence[str],
    columns: Iterable[tuple[str, object]],
    *,
    policy: records.Policy | None = None,
    valid_from: str | None = None,
    subject: str | None = None,
    named: Sequence[str] | None = None,
    reason: str | None = None,
) -> Table:
    """Create an empty table, and the stream of its changes, owned by this workspace's log.

    Args:
        key: The columns whose values name a record.
        columns: Names and types.
        subject: The column that says whom a record is about, under whose key its personal values are sealed.
        named: The other personal columns; None: all are.

    Raises:
        UsageError: There is a table or a stream of this name, or the columns cannot be a table's.
    """
    listed = [Column(id=i, name=column, type=kind) for i, (column, kind) in enumerate(columns, 1)]
    ids = {column.name: column.id for column in listed}
    check_columns(listed)
    for asked in [*key, *(named or ()), *(name for name in (valid_from, subject) if name is not None)]:
        if asked not in ids:
            raise BadKeyError(
                f"there is no column {asked!r}; there are {', '.join(ids)}"[:1000], hint="Name one of them."
            )
    if not key or len(set(key)) != len(key):
        raise BadKeyError("a table needs a key of different columns", hint="Name them with --key.")
    about = None
    if subject is not None:
        only = None if named is None else [ids[column] for column in named]
        about = personal.declared(listed, [ids[column] for column in key], ids[subject], only)
        if policy is not None and policy.approval:
            raise UsageError("changes of a table about people cannot wait for approval in this release")
        if valid_from is not None and ids[valid_from] not in about.clear:
            raise BadCellError(f"since when a record is true stands in the clear, and {valid_from} is personal")
    elif named:
        raise UsageError("nothing says for whom personal columns are sealed", hint="Name the column with --subject.")
    with streams.locked(workspace):
        db = workspace.views.database()
        if streams.records.streams(db, name):
            raise UsageError(f"there is a table or a stream {name} already", hint="`retrodict table list` names them.")
        batch = Batch(workspace)
        origin = workspace.ledger.origin
        stream = batch.event(
            "stream.created",
            uses=(),
            makes=(),
            body=streams.records.created_body(name=name, format="changes", owner=origin),
            reason=reason,
        )
        value: object = records.columns_value(listed)
        edges: list[Edge] = []
        if len(listed) > records.INLINE_COLUMNS:
            value = batch.blob(records.columns_blob(listed))
            edges.append(Edge(ref=Ref(value), role="columns", evidence="observed"))
        batch.event(
            "table.created",
            uses=(),
            makes=edges,
            body=records.created_body(
                name=name,
                stream=stream.id,
                owner=origin,
                key=[ids[column] for column in key],
                columns=value,
                policy=policy or records.Policy(),
                valid_from=None if valid_from is None else ids[valid_from],
                personal=about,
            ),
            reason=reason,
        )
        batch.append()
        return records.tables(workspace.views.database(), stream=stream.id)[0]


MAX_COLUMNS = 10_000


def check_columns(columns: Sequence[Column]) -> None:
    """Refuse columns that a table cannot have.

    Raises:
        BadCellError: There are none, or too many; a name is empty, stands there twice, or begins with `_`.
    """
    names = [column.name for column in columns]
    if not names or len(names) > MAX_COLUMNS:
        raise BadCellError(
            f"a table has 1 to {MAX_COLUMNS:,} columns, not {len(names):,}", hint="Make rows of them: name, value."
        )
    wrong = [name for name in names if not name.strip() or not name.isprintable() or name.startswith("_")]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) != len(names) else []
    if wrong or twice:
        raise BadCellError(
            f"these cannot be names of columns: {', '.join(map(repr, [*wrong, *twice]))}"[:1000],
            hint="Give each a name of its own that does not begin with _.",
        )


__all__ = ["MAIN", "Change", "ChangeSet", "How", "Source", "append", "bring_to", "create"]
