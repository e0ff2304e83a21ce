"""What stands beside the records of a table: changes against an older version of them, until somebody settles each.

The record stays as the first change made it: whatever reads the table reads that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, Ref
from retrodict.tables import folding, lines, queries
from retrodict.tables.cells import is_same
from retrodict.tables.changes import Change, ChangeSet, How, Settlement
from retrodict.tables.history import Cell, RecordChange, Sayings, described, last_change, walked
from retrodict.tables.lines import CREATE, DELETE, ChangeLog
from retrodict.tables.records import Column, Conflict, Table
from retrodict.workspace import Workspace, agent_name, open_text, sealed_text

Taking = Literal["ours", "theirs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One change that stands, or has stood, beside its record.

    Attributes:
        index: The entry that keeps it; `number`: which of the changes there.
        base: After how many changes the table was as it was made against.
        ours, theirs: The record as it is, and as the change would have it; None: it is not there.
        our_change: What made the record what it is; None: nothing has.
        cells: What the change did to the record as it was then.
        who, why, how: Who made it, as claimed, why, and by what; `valid_from`: since when it is true in the world.
        settled: "ours": the record stayed; "theirs": the change was made; None: it stands.
    """

    index: int
    number: int
    key: Mapping[str, object]
    base: int
    ours: Mapping[str, object] | None
    theirs: Mapping[str, object] | None
    our_change: RecordChange | None
    cells: tuple[Cell, ...]
    at: str
    who: str
    why: str | None
    how: str
    valid_from: str | None
    settled: str | None


def count_standing(workspace: Workspace, table: Table) -> int:
    """Return how many changes stand beside records of a table."""
    found = queries.conflicts(workspace.views.database(), table.stream)
    return sum(conflict.records - len(conflict.settled) for conflict in found)


def standing(
    workspace: Workspace,
    log: ChangeLog,
    *,
    keys: Sequence[Mapping[str, object]] | None = None,
    index: int | None = None,
    settled: bool = False,
) -> list[Standing]:
    """Return what stands beside the records of a line, in the order in which it was made.

    Args:
        keys: Of these records; None: of all.
        index: Only what this entry keeps.
        settled: Also what does not stand any more.
    """
    columns = lines.columns_at(workspace.views.database(), log)
    sayings = Sayings(workspace, log)
    found = []
    for conflict in queries.conflicts(workspace.views.database(), log.table.stream):
        if conflict.branch != log.branch or (index is not None and conflict.index != index):
            continue
        if not settled and len(conflict.settled) == conflict.records:
            continue
        for number, change in enumerate(_changes(workspace, log, conflict, columns)):
            key = {column.name: change[str(column.id)] for column in columns if column.id in log.table.key}
            if (number not in conflict.settled or settled) and (keys is None or key in keys):
                found.append(_standing(workspace, log, columns, sayings, conflict, number, change, key))
    return found


def _changes(
    workspace: Workspace, log: ChangeLog, conflict: Conflict, columns: Sequence[Column]
) -> list[dict[str, Any]]:
    """Return the changes that an entry keeps, with the columns that the table has now."""
    import pyarrow as pa  # 57 ms

    with pa.ipc.open_stream(workspace.objects.get(conflict.payload)) as reader:
        made = lines.conformed(reader.read_all(), lines.change_schema(columns, table=log.table))
    found: list[dict[str, Any]] = made.to_pylist()
    return found


def _standing(
    workspace: Workspace,
    log: ChangeLog,
    columns: Sequence[Column],
    sayings: Sayings,
    conflict: Conflict,
    number: int,
    change: Mapping[str, Any],
    key: Mapping[str, object],
) -> Standing:
    names = [str(column.id) for column in columns]
    now, our_change = _now(workspace, log, columns, sayings, key)
    before: Mapping[str, Any] | None = None
    if change["_prev"] is not None and change["_op"] != CREATE:
        (before,) = lines.taken(log, [change["_prev"]], columns).to_pylist()
    after = None if change["_op"] == DELETE else change
    none = dict.fromkeys(names)
    cells = [
        Cell(column=column.name, before=old, after=new)
        for column, old, new in zip(
            columns, ((before or none)[name] for name in names), ((after or none)[name] for name in names), strict=True
        )
        if not is_same(old, new)
    ]
    theirs = None if after is None else {c.name: after[str(c.id)] for c in columns}
    if theirs is not None and now is not None and change["_changed"] is not None:
        theirs = {c.name: theirs[c.name] if c.id in change["_changed"] else now[c.name] for c in columns}
    sequenced = workspace.logs.find(conflict.event)
    how = conflict.verb
    if conflict.statement is not None:
        how += f": {open_text(workspace, sealed_text(conflict.statement))}"
    return Standing(
        index=conflict.index,
        number=number,
        key=key,
        base=conflict.base,
        ours=now,
        theirs=theirs,
        our_change=our_change,
        cells=tuple(cells),
        at=conflict.at,
        who=agent_name(workspace, conflict.agent),
        why=None if sequenced is None else open_text(workspace, sequenced.event.reason),
        how=how,
        valid_from=None if (since := change["_valid_from"]) is None else since.isoformat().replace("+00:00", "Z"),
        settled=conflict.settled.get(number),
    )


def _now(
    workspace: Workspace, log: ChangeLog, columns: Sequence[Column], sayings: Sayings, key: Mapping[str, object]
) -> tuple[dict[str, object] | None, RecordChange | None]:
    """Return a record as it is, and the change that made it so."""
    last = last_change(workspace, log, columns, key)
    if last is None:
        return None, None
    found = walked(log, columns, last, until=last)
    values = None if found[-1]["_op"] == DELETE else {c.name: found[-1][str(c.id)] for c in columns}
    return values, described(found, columns, sayings)[-1]


def settle(
    workspace: Workspace,
    table: Table,
    entry: int,
    meant: Sequence[Standing],
    take: Taking,
    *,
    since: int,
    reason: str | None,
) -> ChangeSet:
    """Settle changes that one entry keeps: leave their records as they are, or make them, as a new change.

    Args:
        entry: The `table.conflicted`.
        meant: Those that are meant, as they were looked at; `since`: after how many changes that was.

    Raises:
        RecordConflictError: A record was changed since it was looked at.
        UsageError: They were made in another workspace, or another process has settled one.
    """
    db = workspace.views.database()
    log = lines.own_log(workspace, table)
    (conflict,) = (found for found in queries.conflicts(db, table.stream) if found.index == entry)
    if (conflict.log, conflict.branch) != (workspace.ledger.origin, log.branch):
        raise UsageError(f"entry {entry} was recorded in another workspace, {conflict.log}", hint="Settle it there.")
    wanted = []
    for found in meant if take == "theirs" else ():
        if found.theirs is not None:
            wanted.append(Change(op="put", values=found.theirs, valid_from=found.valid_from))
        elif found.ours is not None:
            wanted.append(Change(op="delete", key=found.key, valid_from=found.valid_from))
    how = How(
        verb="settle",
        reason=reason,
        uses=[Edge(ref=Ref(conflict.payload), role="conflict", evidence="observed")] if wanted else (),
        since=since,
        settles=Settlement(conflict=conflict.event, rows=[found.number for found in meant], took=take),
    )
    return folding.append(workspace, table, wanted, how)
