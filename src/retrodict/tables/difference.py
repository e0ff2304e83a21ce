"""A whole table as it is to be: the changes that bring it there are worked out."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from retrodict import streams
from retrodict.kernel.errors import UsageError
from retrodict.tables import lines
from retrodict.tables.appending import append_table, conflict, keep_policy, keeps_conflicts, unchanged
from retrodict.tables.captured import is_next
from retrodict.tables.cells import changed_ids, unequal
from retrodict.tables.changes import Change, ChangeSet, How, Source
from retrodict.tables.checks import prepared_rows, with_known_keys
from retrodict.tables.errors import values_unshown
from retrodict.tables.keys import KeyIndex
from retrodict.tables.lines import CREATE, DELETE, OFFSET, ROW, UPDATE, ChangeLog
from retrodict.tables.records import Column, Table
from retrodict.tables.upkeep import keep_up
from retrodict.workspace import Workspace


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
    keep_policy(table, how, [Change(op="put")], source)
    log = lines.own_log(workspace, table)
    columns = lines.columns_at(workspace.views.database(), log)
    with values_unshown(table.personal is not None):
        found = prepared_rows(wanted, columns, table, called)
    before = with_known_keys(lines.alive(log, log.size, columns), table)
    made = difference(before, found, columns, table, keep_missing=keep_missing)
    if made.num_rows == 0 and source is None:
        return unchanged(workspace, log)
    with KeyIndex(workspace) as index, streams.locked(workspace):
        now = lines.own_log(workspace, table)
        if source is not None and not is_next(workspace.views.database(), now, source):
            return unchanged(workspace, now)
        if lines.columns_at(workspace.views.database(), now) != columns or now.branch != log.branch:
            raise UsageError(f"{table.name} has got other columns meanwhile", hint="Look at them, and try again.")
        since = log.size if how.since is None else min(how.since, log.size)
        theirs = _changed_meanwhile(index, now, columns, made, since) if now.size > since else {}
        beside = None
        if theirs:
            if not keeps_conflicts(table, how):
                number, last = next(iter(theirs.items()))
                shown = "/".join(str(made[str(i)][number].as_py()) for i in table.key)
                raise conflict(workspace, now, last, shown)
            made, touched = _parted(made, theirs)
            beside = _against(lines.alive(now, since, columns), found, touched, columns, table, keep_missing)
        made = _after_deletes(workspace, index, now, columns, made)
        done = append_table(workspace, now, made, how, source=source, beside=beside)
    return keep_up(workspace, done, table)


def differing(workspace: Workspace, table: Table, wanted: Any, *, called: str) -> int:
    """Return how many records `bring_to` would create, change or delete. Raises as it does."""
    log = lines.own_log(workspace, table)
    columns = lines.columns_at(workspace.views.database(), log)
    with values_unshown(table.personal is not None):
        found = prepared_rows(wanted, columns, table, called)
    before = with_known_keys(lines.alive(log, log.size, columns), table)
    return int(difference(before, found, columns, table, keep_missing=False).num_rows)


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
            kept = gone.select([str(column) for column in table.kept_of_deletes])
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


def _changed_meanwhile(
    index: KeyIndex, log: ChangeLog, columns: Sequence[Column], made: Any, since: int
) -> dict[int, int]:
    """Return which changes, by their numbers, are of records that were changed at or after `since`, and where."""
    kept = [column for column in columns if column.id in log.table.key]
    meanwhile = lines.changes(log, since, log.size, kept)
    theirs = dict(zip(index.hashes(meanwhile, log.table.key), meanwhile[OFFSET].to_pylist(), strict=True))
    hashes = index.hashes(made, log.table.key)
    return {number: theirs[hashed] for number, hashed in enumerate(hashes) if hashed in theirs}


def _parted(made: Any, numbers: Mapping[int, int]) -> tuple[Any, Any]:
    """Return changes without those with these numbers, and these."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    mask = pa.array([number in numbers for number in range(made.num_rows)])
    return made.filter(pc.invert(mask)), made.filter(mask)


def _against(then: Any, wanted: Any, touched: Any, columns: Sequence[Column], table: Table, keep_missing: bool) -> Any:
    """Return the changes that bring records, those whose keys are in `touched`, from what they were to `wanted`."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    keys = [str(column) for column in table.key]
    then = with_known_keys(then, table)
    parts = [part.select(keys) for part in (then, wanted, touched)]
    codes = lines.key_codes(pa.concat_tables(parts).combine_chunks(), keys)
    asked = codes[then.num_rows + wanted.num_rows :]
    was = then.filter(pc.is_in(codes[: then.num_rows], value_set=asked))
    is_ = wanted.filter(pc.is_in(codes[then.num_rows : then.num_rows + wanted.num_rows], value_set=asked))
    return difference(was, is_, columns, table, keep_missing=keep_missing)


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
