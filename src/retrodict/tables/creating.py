"""Creating a table, and the stream of its changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from retrodict import streams
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.tables import personal, queries, records
from retrodict.tables.checks import check_columns
from retrodict.tables.errors import BadCellError, BadKeyError
from retrodict.tables.lines import last_number, own_log
from retrodict.tables.records import Column, Table
from retrodict.workspace import Batch, Workspace


def refuse_keeping(policy: records.Policy, *, is_personal: bool) -> None:
    """Refuse to keep the conflicts of a table where that cannot be. Raises `UsageError`."""
    if policy.approval or is_personal:
        what = "of a table about people" if is_personal else "that wait for approval"
        raise UsageError(f"changes {what} cannot stand beside a record", hint="Leave out --on-conflict keep.")


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
    goes_on: bool = False,
) -> Table:
    """Create an empty table, and the stream of its changes, owned by this workspace's log.

    Args:
        key: The columns whose values name a record.
        columns: Names and types.
        subject: The column that says whom a record is about, under whose key its personal values are sealed.
        named: The other personal columns; None: all are.
        goes_on: One that was created alike, and nothing was done with, will do: its first records were cut off.

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
    if policy is not None and policy.on_conflict == "keep":
        refuse_keeping(policy, is_personal=subject is not None)
    about = None
    if subject is not None:
        only = None if named is None else [ids[column] for column in named]
        about = personal.declared(listed, [ids[column] for column in key], ids[subject], only)
        if valid_from is not None and ids[valid_from] not in about.clear:
            raise BadCellError(f"since when a record is true stands in the clear, and {valid_from} is personal")
    elif named:
        raise UsageError("nothing says for whom personal columns are sealed", hint="Name the column with --subject.")
    with streams.locked(workspace):
        batch = Batch(workspace)
        origin = workspace.ledger.origin
        value: object = records.columns_value(listed)
        edges: list[Edge] = []
        if len(listed) > records.INLINE_COLUMNS:
            value = batch.blob(records.columns_blob(listed))
            edges.append(Edge(ref=Ref(value), role="columns", evidence="observed"))

        def body(stream: EventId) -> dict[str, object]:
            return records.created_body(
                name=name,
                stream=stream,
                owner=origin,
                key=[ids[column] for column in key],
                columns=value,
                policy=policy or records.Policy(),
                valid_from=None if valid_from is None else ids[valid_from],
                personal=about,
            )

        db = workspace.views.database()
        if streams.queries.streams(db, name):
            for table in queries.tables(db, name) if goes_on else ():
                if _is_untouched(workspace, table) and _said(workspace, table) == body(table.stream):
                    return table
            raise UsageError(f"there is a table or a stream {name} already", hint="`retrodict table list` names them.")
        stream = batch.event(
            "stream.created",
            uses=(),
            makes=(),
            body=streams.records.created_body(name=name, format="changes", owner=origin),
            reason=reason,
        )
        batch.event("table.created", uses=(), makes=edges, body=body(stream.id), reason=reason)
        batch.append()
        return queries.tables(workspace.views.database(), stream=stream.id)[0]


def _is_untouched(workspace: Workspace, table: Table) -> bool:
    """Say whether nothing was done with a table since it was created."""
    db = workspace.views.database()
    log = own_log(workspace, table)
    return log.size == 0 and last_number(db, log) == 0 and not queries.proposals(db, table.stream)


def _said(workspace: Workspace, table: Table) -> object:
    sequenced = workspace.ledger.find(table.event)
    return None if sequenced is None else sequenced.event.body
