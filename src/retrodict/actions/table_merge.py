"""`table merge`: what another clone changed, record by record; conflicts are shown, never settled in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrodict.actions.looks import Look
from retrodict.actions.tabling import table_named
from retrodict.kernel.errors import UsageError
from retrodict.streams import queries as stream_queries
from retrodict.tables import cells, checks, compare, folding, history, lines
from retrodict.tables.changes import Change, ChangeSet, How
from retrodict.tables.history import RecordChange
from retrodict.tables.lines import OFFSET, ChangeLog
from retrodict.tables.personal import Gap, listed
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
        erased: How many records were passed over, since they are about people who were forgotten.
    """

    answer: Literal["yes", "no"]
    name: str
    branch: str
    conflicts: tuple[TableConflict, ...]
    merged: ChangeSet | None
    erased: int


def merge(
    workspace: Workspace, name: str, *, branch: str | None = None, take: Taking | None = None, reason: str | None = None
) -> TableMerged:
    """Bring what a branch changed to the main line: records that only the branch has changed, or both alike.

    What the branch says of people who were forgotten is erased there, and stays there.

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
    found = stream_queries.branches(db, table.stream)
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
    before, after = listed(table, both.before, columns), listed(table, both.after, columns)
    was_there, is_there = both.was.to_pylist(), both.is_.to_pylist()
    now = _now(ours, table, columns, both.after)
    sayings = history.Sayings(workspace, theirs)
    wanted: list[Change] = []
    conflicts: list[TableConflict] = []
    erased = 0
    for old, new, was, is_, current in zip(before, after, was_there, is_there, now, strict=True):
        then, wish = (old if was else None), (new if is_ else None)
        if _is_erased(columns, new, only=None if is_ else table.key):
            erased += 1
            continue
        if _same(columns, current, wish):
            continue
        if not _same(columns, current, then):
            conflicts.append(_conflict(workspace, ours, columns, current, wish, new, sayings))
            if take != "theirs":
                continue
        wanted.append(_as_change(columns, table.key, new, wish, sayings.said(new)))
    if conflicts and table.personal is not None:
        look = Look(workspace, "table")
        shown = [(theirs, conflict.their_change) for conflict in conflicts]
        shown += [(ours, conflict.our_change) for conflict in conflicts if conflict.our_change is not None]
        of = {subject for log, change in shown for _, subject in lines.people(log, change.offset, change.offset + 1)}
        look.text_of(of)
        look.record()
    if conflicts and take is None:
        return TableMerged(
            answer="no", name=name, branch=item.name, conflicts=tuple(conflicts), merged=None, erased=erased
        )
    how = How(
        verb="merge",
        reason=reason,
        uses=theirs.line.lineage(item.merged, item.stop),
        since=ours.size,
        merged={"branch": item.name, "start": item.merged, "stop": item.stop},
    )
    merged = folding.append(workspace, table, wanted, how)
    return TableMerged(
        answer="yes", name=name, branch=item.name, conflicts=tuple(conflicts), merged=merged, erased=erased
    )


def _now(log: ChangeLog, table: Table, columns: Sequence[Column], wanted: Any) -> list[dict[str, Any] | None]:
    """Return what records with these keys are on the main line; None: they are not there."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    held = checks.with_known_keys(lines.alive(log, log.size, columns), table)
    kept = [str(i) for i in table.key]
    codes = lines.key_codes(pa.concat_tables([held.select(kept), wanted.select(kept)]), kept)
    places = pc.index_in(codes[held.num_rows :], value_set=codes[: held.num_rows])
    found = listed(table, held.take(places.drop_null()), columns)
    rows = iter(found)
    return [next(rows) if is_known else None for is_known in places.is_valid().to_pylist()]


def _is_erased(columns: Sequence[Column], row: Mapping[str, object], *, only: Sequence[int] | None) -> bool:
    return any(isinstance(row[str(c.id)], Gap) for c in columns if only is None or c.id in only)


def _same(columns: Sequence[Column], a: Mapping[str, object] | None, b: Mapping[str, object] | None) -> bool:
    """Say whether two records are; of erased ones whether they are one and the same change."""
    if a is None or b is None:
        return a is b
    if _is_erased(columns, a, only=None) or _is_erased(columns, b, only=None):
        return a[OFFSET] == b[OFFSET]
    return all(cells.is_same(a[str(c.id)], b[str(c.id)]) for c in columns)


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
