"""`table alter`: other columns from now on; versions before keep theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retrodict import exposure, streams
from retrodict.actions.tabling import table_named
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.streams import MAIN
from retrodict.tables import checks, creating, files, lines, queries, records
from retrodict.tables.errors import BadCellError, values_unshown
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAltered:
    """A table's columns, names and types, from this version on, and what becomes of conflicts."""

    reference: str
    name: str
    columns: tuple[tuple[str, str], ...]
    on_conflict: Literal["refuse", "keep"]
    event: EventId
    index: int


def alter(
    workspace: Workspace,
    name: str,
    *,
    add: Mapping[str, object] | None = None,
    drop: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    types: Mapping[str, str] | None = None,
    on_conflict: Literal["refuse", "keep"] | None = None,
    reason: str | None = None,
) -> TableAltered:
    """Add, drop and rename columns, give them other types, or say what becomes of conflicts; what was recorded stays.

    Args:
        add: New columns and their types, as people write them or as schemas do; records that are there have null.
        rename: Old names and new ones.
        types: Columns and their new types, which every value that is there now must fit.
        on_conflict: As `Policy` has it; None: as before.

    Raises:
        BadCellError: There is no such column, or a value does not fit.
        UsageError: A column of the key is dropped or gets another type, another log owns the table whose policy is to
            be another, or nothing is altered.
        ExposedError: The table is about nobody, and this run has read personal values, of which the names may tell.
    """
    table = table_named(workspace, name)
    if table.personal is None:
        exposure.refuse(workspace, f"the table {table.name}")
    with streams.locked(workspace):
        db = workspace.views.database()
        log = lines.own_log(workspace, table)
        columns = list(lines.columns_at(db, log))
        names = {column.name for column in columns}
        unknown = sorted({*drop, *(rename or {}), *(types or {})} - names)
        if unknown:
            raise BadCellError(f"{name} has no column {', '.join(unknown)}; it has {', '.join(sorted(names))}"[:1000])
        held = [c.name for c in columns if c.id in table.key and (c.name in drop or c.name in (types or {}))]
        if table.valid_from is not None:
            held += [c.name for c in columns if c.id == table.valid_from and c.name in drop]
        if table.personal is not None:
            held += [c.name for c in columns if c.id == table.personal.subject and c.name in {*drop, *(types or {})}]
        if held:
            raise UsageError(
                f"{', '.join(dict.fromkeys(held))} of {name} must stay as it is: it names the records, their time, "
                "or whom they are about",
                hint="Create another table, and import the records into it.",
            )
        kinds = {column: files.type_named(text) for column, text in (types or {}).items()}
        altered = [
            replace(c, name=(rename or {}).get(c.name, c.name), type=kinds.get(c.name, c.type))
            for c in columns
            if c.name not in drop
        ]
        if kinds:
            _refuse_losses(log, columns, kinds)
        first = queries.highest_id(db, table.stream) + 1
        for i, (column, text) in enumerate((add or {}).items()):
            kind = files.type_named(text) if isinstance(text, str) else text
            altered.append(records.Column(id=first + i, name=column, type=kind))
        checks.check_columns(altered)
        policy = replace(table.policy, on_conflict=on_conflict or table.policy.on_conflict)
        if altered == columns and policy == table.policy:
            raise UsageError("nothing is altered", hint="Give --add, --drop, --rename, --type or --on-conflict.")
        if policy.on_conflict == "keep" and policy != table.policy:
            creating.refuse_keeping(policy, is_personal=table.personal is not None)
        if policy != table.policy and log.branch != MAIN:
            raise UsageError(f"{name} belongs to the log {table.owner}, which says what becomes of conflicts")
        version = lines.last_number(db, log) + 1
        batch = Batch(workspace)
        value: object = records.columns_value(altered)
        edges: list[Edge] = []
        if len(altered) > records.INLINE_COLUMNS:
            value = batch.blob(records.columns_blob(altered))
            edges.append(Edge(ref=Ref(value), role="columns", evidence="observed"))
        event = batch.event(
            "table.altered",
            uses=(),
            makes=edges,
            body=records.altered_body(
                stream=table.stream,
                log=workspace.ledger.origin,
                branch=log.branch,
                version=version,
                start=log.size,
                columns=value,
                policy=None if policy == table.policy else policy,
            ),
            reason=reason,
        )
        index = next(s.index for s in batch.append() if s.event.id == event.id)
    return TableAltered(
        reference=f"{table.name}@v{version}",
        name=table.name,
        columns=tuple((c.name, files.type_text(c.type)) for c in altered),
        on_conflict=policy.on_conflict,
        event=event.id,
        index=index,
    )


def _refuse_losses(log: lines.ChangeLog, columns: Sequence[records.Column], kinds: Mapping[str, object]) -> None:
    changed = [column for column in columns if column.name in kinds]
    now = lines.alive(log, log.size, changed)
    with values_unshown(log.table.personal is not None):  # else they would be shown, and nobody have looked
        for column in changed:
            files.cast_column(now[str(column.id)], kinds[column.name], f"column {column.name}")
