"""Records of tables as text."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render.changed import changed, counted
from retrodict.render.text import listing
from retrodict.render.words import moment, who

if TYPE_CHECKING:
    from retrodict.actions.table_alter import TableAltered
    from retrodict.actions.table_approve import Proposals, Proposed
    from retrodict.actions.table_change import TableCreated
    from retrodict.actions.table_compare import TableBlame, TableDiff, TableQuery
    from retrodict.actions.table_export import TableExported
    from retrodict.actions.table_merge import TableMerged
    from retrodict.actions.table_prove import TableProof, TableProofChecked
    from retrodict.actions.table_read import RecordHistory, TableRead
    from retrodict.actions.table_settle import TableSettled
    from retrodict.actions.tables import TableLog, Tables, TableShown, VersionRow
    from retrodict.tables.conflicts import Standing
    from retrodict.tables.history import RecordChange

_SHORT = len("sha256:") + 12
_CELL = 60


def created(record: TableCreated) -> RenderableType:
    """Render `table create`."""
    columns = ", ".join(f"{name} {kind}" for name, kind in record.columns)
    lines = [f"{record.reference}  key {', '.join(record.key)}  entry {record.index}", f"columns {columns}"]
    if record.first is not None:
        lines.append(changed(record.first))
    return Text("\n".join(lines))


def listed(record: Tables) -> RenderableType:
    """Render `table list`."""
    return listing(
        "No tables: `retrodict table create NAME --key COLUMN --from FILE` makes one.",
        ["version", "key", "records", "changes", "digest", "last change", "owner", "branches to merge"],
        [
            (
                row.reference,
                ", ".join(row.key),
                row.records,
                row.changes,
                row.digest[:_SHORT],
                moment(row.at) if row.changes else "-",
                "this workspace" if row.is_own else row.owner,
                row.branches or "-",
            )
            for row in record.rows
        ],
        wrap=(),
    )


def proposals(record: Proposals) -> RenderableType:
    """Render `table proposals`."""
    return listing(
        "Nothing was proposed.",
        ["entry", "when", "who", "what", "why", "decided"],
        [
            (
                str(p.index),
                moment(p.at),
                who(p.who),
                f"{p.verb}: {counted(p.creates, p.updates, p.deletes)}",
                p.why or "-",
                p.decided or "waits",
            )
            for p in record.proposals
        ],
        wrap=("why",),
    )


def rejected(record: Proposed) -> str:
    """Render `table reject`."""
    return f"entry {record.index} is rejected: {counted(record.creates, record.updates, record.deletes)}"


def shown(record: TableShown) -> RenderableType:
    """Render `table show`."""
    table = record.table
    lines = [
        f"table:{table.name}  key {', '.join(table.key)}",
        f"{count(table.records, 'record')} after {count(table.changes, 'change')}",
        f"version {table.reference}  {table.digest}",
        f"owned by {'this workspace' if table.is_own else table.owner}",
        "columns " + ", ".join(f"{column.name} {column.type}" for column in record.columns),
    ]
    if record.policy.reason:
        lines.append("every change needs a reason")
    if record.policy.approval:
        lines.append("every change needs a second person's approval")
    if record.policy.on_conflict == "keep":
        lines.append("a change of a record that changed meanwhile is kept beside it")
    if record.conflicts:
        lines.append(f"{count(record.conflicts, 'conflict')} to settle: retrodict table settle {table.name}")
    if record.valid_from is not None:
        lines.append(f"true in the world since {record.valid_from}")
    for branch in record.branches:
        waiting = branch.stop - branch.merged
        state = "merged" if not waiting else f"{waiting} to merge: retrodict table merge {table.name}"
        lines.append(f"branch {branch.name}: changes {branch.base}:{branch.stop}, {state}")
    return Group(Text("\n".join(lines)), Text(), _versions(record.versions))


def logged(record: TableLog) -> RenderableType:
    """Render `table log`."""
    return _versions(record.versions)


def _versions(rows: Sequence[VersionRow]) -> RenderableType:
    return listing(
        "No changes yet.",
        ["version", "entry", "records", "at", "by (claimed)", "how", "why"],
        [
            (
                row.reference + ("" if row.branch is None else f" ({row.branch})"),
                row.index,
                counted(row.creates, row.updates, row.deletes),
                moment(row.at),
                who(row.who),
                row.how,
                row.why or "-",
            )
            for row in rows
        ],
        wrap=("how", "why"),
    )


def cell(value: object) -> str:
    """Return the value of a cell as people read it; null is nothing."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case bytes():
            text = value.hex()
        case dt.datetime():
            text = value.isoformat().replace("+00:00", "Z")
        case _:
            text = str(value)
    return text if len(text) <= _CELL else f"{text[:_CELL]}..."


def read(record: TableRead) -> RenderableType:
    """Render `table at`."""
    if record.path is not None:
        return Text(f"{record.path}  {record.reference}  {count(record.count, 'record')}  entry {record.index}")
    rows: Sequence[Mapping[str, object]] = record.records or ()
    drawn = listing(
        "No records.",
        list(record.columns),
        [[cell(row[name]) for name in record.columns] for row in rows],
        wrap=(),
    )
    return Group(drawn, Text(), Text(f"{record.reference}  {record.digest[:_SHORT]}  {count(record.count, 'record')}"))


def exported(record: TableExported) -> RenderableType:
    """Render `table export`."""
    return Text(
        f"{record.path}  {record.form}  {record.reference}  {count(record.count, 'record')}  entry {record.index}"
    )


def history(record: RecordHistory) -> RenderableType:
    """Render `table history`."""
    drawn = listing(
        "No changes.",
        ["version", "entry", "at", "by (claimed)", "what", "why", "how"],
        [
            (
                f"{record.name}@v{change.version}",
                change.index,
                moment(change.at),
                who(change.who),
                what(change),
                change.why or "-",
                change.how + ("" if change.valid_from is None else f", true since {change.valid_from}"),
            )
            for change in record.changes
        ],
        wrap=("what", "why", "how"),
    )
    return _with_conflicts(drawn, record.conflicts)


def what(change: RecordChange) -> str:
    """Return what a change did."""
    if change.op == "delete":
        return "deleted"
    cells = ", ".join(
        f"{item.column} {cell(item.before) or 'null'} -> {cell(item.after) or 'null'}"
        if change.op == "update"
        else f"{item.column} {cell(item.after)}"
        for item in change.cells
    )
    return f"created: {cells}" if change.op == "create" else cells


def diff(record: TableDiff) -> RenderableType:
    """Render `table diff`."""
    total = record.created + record.changed + record.deleted
    lines = [f"{record.before} -> {record.after}  {counted(record.created, record.changed, record.deleted)}"]
    lines += [f"column {name} added" for name in record.columns_added]
    lines += [f"column {name} removed" for name in record.columns_removed]
    if not total:
        return Text("\n".join(lines))
    rows = listing(
        "",
        ["record", "what", "cells"],
        [
            (
                _key(row.key),
                row.op,
                ", ".join(
                    f"{item.column} {cell(item.before) or 'null'} -> {cell(item.after) or 'null'}"
                    if row.op == "changed"
                    else f"{item.column} {cell(item.after if row.op == 'created' else item.before)}"
                    for item in row.cells
                ),
            )
            for row in record.rows
        ],
        wrap=("cells",),
    )
    rest = total - len(record.rows)
    more = [Text(f"... and {count(rest, 'record')} more: --limit, or --json")] if rest else []
    return Group(Text("\n".join(lines)), Text(), rows, *more)


def _key(key: Mapping[str, object]) -> str:
    return ",".join(cell(value) for value in key.values())


def blame(record: TableBlame) -> RenderableType:
    """Render `table blame`."""
    drawn = listing(
        "No records.",
        ["record", "column", "value", "before", "version", "at", "by (claimed)", "why", "how"],
        [
            (
                _key(row.key) if i == 0 else "",
                item.column,
                cell(item.value),
                cell(item.before),
                f"v{item.version}",
                moment(item.at),
                who(item.who),
                item.why or "-",
                item.how,
            )
            for row in record.rows
            for i, item in enumerate(row.cells)
        ],
        wrap=("value", "before", "why", "how"),
    )
    note = f"{record.reference}  {len(record.rows)} of {count(record.count, 'record')}"
    return _with_conflicts(Group(drawn, Text(), Text(note)), record.conflicts)


def query(record: TableQuery) -> RenderableType:
    """Render `table query`."""
    drawn = listing("No rows.", list(record.columns), [[cell(v) for v in row] for row in record.rows], wrap=())
    return Group(drawn, Text(), Text(f"of {', '.join(record.versions) or 'no table'}"))


def altered(record: TableAltered) -> RenderableType:
    """Render `table alter`."""
    columns = ", ".join(f"{name} {kind}" for name, kind in record.columns)
    return Text(f"{record.reference}  columns {columns}  on conflict {record.on_conflict}  entry {record.index}")


def proof(record: TableProof) -> RenderableType:
    """Render `table prove`."""
    lines = [
        f"record {record.place} of the {count(record.records, 'record')} of {record.reference}",
        f"root {record.root}  entry {record.index}",
        record.record,
        *(f"  {node}" for node in record.proof),
    ]
    return Text("\n".join(lines))


def proof_checked(record: TableProofChecked) -> RenderableType:
    """Render `table check-proof`."""
    answer = "is in" if record.answer == "yes" else "is NOT in"
    values = ", ".join(f"{name} {cell(value)}" for name, value in record.values.items())
    return Text(f"this record {answer} {record.reference}  {record.root}\n{values}")


def merged(record: TableMerged) -> RenderableType:
    """Render `table merge`."""
    lines = []
    for conflict in record.conflicts:
        lines.append(f"conflict at {_key(conflict.key)}")
        lines.append(_side("main line", conflict.ours, conflict.our_change))
        lines.append(_side("branch", conflict.theirs, conflict.their_change))
    if record.answer == "no":
        lines.append(f"nothing was merged: decide with --take ours or --take theirs, or change {record.name} first")
    elif record.merged is not None:
        lines.append(changed(record.merged))
    if record.erased:
        lines.append(
            f"{record.erased} changed on the branch stay as they are: they are about people who were forgotten"
        )
    return Text("\n".join(lines))


def _side(called: str, values: Mapping[str, object] | None, change: RecordChange | Standing | None) -> str:
    """Return one side of a conflict: the record there, and who made it so."""
    told = "" if change is None else f"  ({who(change.who)}, {moment(change.at)}: {change.why or 'no reason'})"
    text = "deleted" if values is None else ", ".join(f"{name} {cell(v)}" for name, v in values.items())
    return f"  {called}: {text}{told}"


def _standing(conflict: Standing) -> list[str]:
    state = {"ours": ", settled: the record stayed", "theirs": ", settled: the change was made"}
    return [
        f"conflict at {_key(conflict.key)}, entry {conflict.index}{state.get(conflict.settled or '', '')}",
        _side("the record", conflict.ours, conflict.our_change),
        _side("beside it", conflict.theirs, conflict),
    ]


def _with_conflicts(drawn: RenderableType, conflicts: Sequence[Standing]) -> RenderableType:
    lines = [line for conflict in conflicts for line in _standing(conflict)]
    return Group(drawn, Text(), Text("\n".join(lines))) if lines else drawn


def settled(record: TableSettled) -> RenderableType:
    """Render `table settle`."""
    lines = [line for conflict in record.conflicts for line in _standing(conflict)]
    if record.answer == "no":
        lines.append("decide with --take ours or --take theirs; what is not settled stands")
    elif record.done is not None:
        lines.append(f"settled; {changed(record.done)}")
    return Text("\n".join(lines) or "Nothing stands beside a record.")
