"""`table merge`: what another clone changed, record by record; conflicts are shown, never settled in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrodict.actions.looks import Look
from retrodict.actions.tabling import table_named
from retrodict.kernel.errors import UsageError
from retrodict.streams import records as stream_records
from retrodict.tables import cells, compare, folding, history, lines
from retrodict.tables.changes import Change, ChangeSet, How
from retrodict.tables.history import RecordChange
from retrodict.tables.lines import OFFSET, ChangeLog
from retrodict.tables.records import Column, Table
from retrodict.workspace import Workspace

Taking = Literal["ours", "theirs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConflict:
    """A record that both sides have changed, to different ends.

    Attributes:
        ours, theirs: The values after the last change on the main line and on the branch; None: it is deleted there.
        our_change, their_change: Those changes: who, when, why.
    """

    key: Mapping[str, object]
    ours: Mapping[str, object] | None
    theirs: Mapping[str, object] | None
    our_change: RecordChange | None
    their_change: RecordChange


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMerged:
    """What became of a branch.

    Attributes:
        answer: "no": there are conflicts that nobody has decided, and nothing was merged.
        merged: What was changed on the main line; None: nothing.
    """

    answer: Literal["yes", "no"]
    name: str
    branch: str
    conflicts: tuple[TableConflict, ...]
    merged: ChangeSet | None


def merge(
    workspace: Workspace, name: str, *, branch: str | None = None, take: Taking | None = None, reason: str | None = None
) -> TableMerged:
    """Bring what a branch changed to the main line: records that only the branch has changed, or both alike.

    Args:
        branch: Its log, or a part of that; None: the only one with changes to merge.
        take: Whose word counts for records that both have changed to different ends; None: nothing is merged.

    Raises:
        UnknownReferenceError: There is no such table.
        UsageError: Another log owns the table, there is nothing to merge, or the columns differ.
    """
    table = table_named(workspace, name)
    if table.owner != workspace.ledger.origin:
        raise UsageError(
            f"{name} belongs to the log {table.owner}, which merges its branches",
            hint=f"Merge there; or take it over: retrodict stream own {name} --reason '...'",
        )
    db = workspace.views.database()
    found = stream_records.branches(db, table.stream)
    waiting = [item for item in found if item.merged < item.stop and (branch is None or branch in item.name)]
    if not waiting:
        raise UsageError(f"{name} has no branch with changes to merge", hint=f"retrodict table show {name}")
    if len(waiting) > 1:
        raise UsageError(
            f"{name} has {len(waiting)} branches with changes to merge: {', '.join(item.name for item in waiting)}",
            hint="Name one with --branch.",
        )
    item = waiting[0]
    theirs, ours = lines.change_log(workspace, table, item.name), lines.change_log(workspace, table)
    columns = lines.columns_at(db, ours)
    if lines.columns_at(db, theirs) != columns:
        raise UsageError(
            f"the branch {item.name} of {name} has other columns",
            hint=f"Change those of the main line alike: retrodict table alter {name}",
        )
    both = compare.between(theirs, item.merged, item.stop, columns)
    names = [str(column.id) for column in columns]
    before, after = both.before.select(names).to_pylist(), both.after.select(names).to_pylist()
    now = _now(ours, table, columns, both.after)
    sayings = history.Sayings(workspace, theirs)
    wanted: list[Change] = []
    conflicts: list[TableConflict] = []
    rows = zip(
        before, after, both.was.to_pylist(), both.is_.to_pylist(), now, both.after[OFFSET].to_pylist(), strict=True
    )
    for old, new, was, is_, current, offset in rows:
        was_there, is_there = (old if was else None), (new if is_ else None)
        if _same(current, is_there):
            continue
        (their_change,) = lines.taken(theirs, [offset], columns).to_pylist()
        if not _same(current, was_there):
            conflicts.append(_conflict(workspace, ours, columns, current, is_there, their_change, sayings))
            if take != "theirs":
                continue
        wanted.append(_as_change(columns, table.key, new, is_there, sayings.said(their_change)))
    if conflicts and table.personal is not None:
        look = Look(workspace, "table")
        shown = [(theirs, conflict.their_change) for conflict in conflicts]
        shown += [(ours, conflict.our_change) for conflict in conflicts if conflict.our_change is not None]
        of = {subject for log, change in shown for _, subject in lines.people(log, change.offset, change.offset + 1)}
        look.text_of(of)
        look.record()
    if conflicts and take is None:
        return TableMerged(answer="no", name=name, branch=item.name, conflicts=tuple(conflicts), merged=None)
    how = How(
        verb="merge",
        reason=reason,
        uses=theirs.line.lineage(item.merged, item.stop),
        since=ours.size,
        merged={"branch": item.name, "start": item.merged, "stop": item.stop},
    )
    merged = folding.append(workspace, table, wanted, how)
    return TableMerged(answer="yes", name=name, branch=item.name, conflicts=tuple(conflicts), merged=merged)


def _now(log: ChangeLog, table: Table, columns: Sequence[Column], wanted: Any) -> list[dict[str, object] | None]:
    """Return what records with these keys are on the main line; None: they are not there."""
    names = [str(column.id) for column in columns]
    held = lines.alive(log, log.size, columns)
    kept = [str(i) for i in table.key]
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    codes = lines.key_codes(pa.concat_tables([held.select(kept), wanted.select(kept)]), kept)
    places = pc.index_in(codes[held.num_rows :], value_set=codes[: held.num_rows])
    found = held.select(names).take(places).to_pylist()
    return [None if place is None else row for place, row in zip(places.to_pylist(), found, strict=True)]


def _same(a: Mapping[str, object] | None, b: Mapping[str, object] | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(cells.is_same(value, b[name]) for name, value in a.items())


def _as_change(
    columns: Sequence[Column],
    key: Sequence[int],
    row: Mapping[str, object],
    wanted: Mapping[str, object] | None,
    said: Mapping[str, Any],
) -> Change:
    """Return the change that does on the main line what was done on the branch, by whom and when it was done there."""
    made = {"at": said["at"][:26].rstrip("Z") + "Z", "who": said["who"], "why": said["why"], "how": said["how"]}
    if wanted is None:
        keys = {column.name: row[str(column.id)] for column in columns if column.id in key}
        return Change(op="delete", key=keys, valid_from=said["valid_from"], **made)
    values = {column.name: wanted[str(column.id)] for column in columns}
    return Change(op="put", values=values, valid_from=said["valid_from"], **made)


def _conflict(
    workspace: Workspace,
    ours: ChangeLog,
    columns: Sequence[Column],
    current: Mapping[str, object] | None,
    wanted: Mapping[str, object] | None,
    change: Mapping[str, Any],
    sayings: history.Sayings,
) -> TableConflict:
    key = {column.name: change[str(column.id)] for column in columns if column.id in ours.table.key}
    last = history.last_change(workspace, ours, columns, key)
    mine = None
    if last is not None:
        walked = history.walked(ours, columns, last, until=last)
        mine = history.described(walked, columns, history.Sayings(workspace, ours))[-1]

    def named(row: Mapping[str, object] | None) -> Mapping[str, object] | None:
        return None if row is None else {column.name: row[str(column.id)] for column in columns}

    return TableConflict(
        key=key,
        ours=named(current),
        theirs=named(wanted),
        our_change=mine,
        their_change=history.described([change], columns, sayings)[-1],
    )
