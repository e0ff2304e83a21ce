"""Four eyes: changes that were proposed are made when a second person approves them, as they were proposed."""

from __future__ import annotations

from typing import Any

from retrodict import streams
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, Ref
from retrodict.tables import lines, queries, records
from retrodict.tables.appending import conflict, record
from retrodict.tables.changes import ChangeSet, How
from retrodict.tables.errors import TablePolicyError
from retrodict.tables.keys import KeyIndex
from retrodict.tables.lines import ROW, ChangeLog
from retrodict.tables.personal import CLOSED, OF
from retrodict.tables.records import Column, Proposal, Table
from retrodict.tables.upkeep import keep_up
from retrodict.workspace import Batch, Workspace, agent_name, open_text


def approve(workspace: Workspace, table: Table, proposal: Proposal, *, reason: str | None = None) -> ChangeSet:
    """Make the changes of a proposal; they are durable when this returns.

    Raises:
        TablePolicyError: Whoever proposed them approves them.
        RecordConflictError: One of the records has been changed since; nothing is made.
        UsageError: It is decided, was made for another line, or the table has other columns by now.
    """
    with KeyIndex(workspace) as index, streams.locked(workspace):
        log = lines.own_log(workspace, table)
        _refuse_decided(workspace, table, proposal)
        if (proposal.log, proposal.branch) != (workspace.ledger.origin, log.branch):
            raise UsageError(
                f"entry {proposal.index} was proposed in another workspace, {proposal.log}", hint="Approve it there."
            )
        batch = Batch(workspace)
        if batch.agent(workspace.agent or "unknown") == proposal.agent:
            who = agent_name(workspace, proposal.agent)
            raise TablePolicyError(
                f"{who} has proposed this, and somebody else has to approve it",
                hint="`retrodict table reject` takes it back.",
            )
        columns = lines.columns_at(workspace.views.database(), log)
        made = _payload(workspace, proposal)
        own = {str(column.id): streams.named_type(column.type) for column in columns}
        if {f.name: f.type for f in made.schema if not f.name.startswith("_")} != own:
            raise UsageError(f"{table.name} has got other columns since", hint="Reject it, and propose it anew.")
        people = sorted(set(made[OF].drop_null().to_pylist())) if OF in made.schema.names else None
        _refuse_meanwhile(workspace, index, log, columns, _opened(log, columns, made), proposal.base)
        batch.event(
            "table.approved",
            uses=(),
            makes=(),
            body=records.decided_body(stream=table.stream, proposal=proposal.event),
            reason=reason,
        )
        sequenced = workspace.logs.find(proposal.event)
        how = How(
            verb=proposal.verb,
            run=proposal.run,
            reason=None if sequenced is None else open_text(workspace, sequenced.event.reason),
            uses=[Edge(ref=Ref(proposal.payload), role="proposal", evidence="observed")],
            merged=proposal.merged,
        )
        made = _placed(made, proposal, log.size)
        counts = proposal.creates, proposal.updates, proposal.deletes
        done = record(workspace, log, batch, made, counts, how, statement=proposal.statement, people=people)
    return keep_up(workspace, done, table)


def reject(workspace: Workspace, table: Table, proposal: Proposal, *, reason: str | None = None) -> None:
    """Decide that the changes of a proposal are not made. Raises `UsageError` where it is decided."""
    with streams.locked(workspace):
        _refuse_decided(workspace, table, proposal)
        batch = Batch(workspace)
        body = records.decided_body(stream=table.stream, proposal=proposal.event)
        batch.event("table.rejected", uses=(), makes=(), body=body, reason=reason)
        batch.append()


def _refuse_decided(workspace: Workspace, table: Table, proposal: Proposal) -> None:
    for found in queries.proposals(workspace.views.database(), table.stream):
        if found.event == proposal.event and found.decided is not None:
            raise UsageError(
                f"entry {proposal.index} has been {found.decided}", hint=f"`retrodict table proposals {table.name}`"
            )


def _payload(workspace: Workspace, proposal: Proposal) -> Any:
    import pyarrow as pa  # 57 ms

    with pa.ipc.open_stream(workspace.objects.get(proposal.payload)) as reader:
        return reader.read_all()


def _opened(log: ChangeLog, columns: tuple[Column, ...], made: Any) -> Any:
    """Return changes with their personal values, which say of which records they are.

    Raises:
        UsageError: Somebody whom they are about was forgotten.
    """
    found = lines.opened(log, lines.laid_out(log, made, streams.parse_table(made, None).schema), columns)
    if CLOSED in found.schema.names:
        raise UsageError("it is about people who were forgotten since", hint="Reject it, and propose the rest anew.")
    return found


def _refuse_meanwhile(
    workspace: Workspace, index: KeyIndex, log: ChangeLog, columns: tuple[Column, ...], made: Any, base: int
) -> None:
    """Refuse changes whose records are no more what they were when these were proposed."""
    hashes = index.hashes(made, log.table.key)
    known = index.found(log, columns, hashes)
    keys = made.select([str(column) for column in log.table.key])
    seen: set[bytes] = set()
    for i, (hashed, found, previous) in enumerate(zip(hashes, known, made["_prev"].to_pylist(), strict=True)):
        if hashed not in seen and (None if found is None else found.last) != previous:
            shown = "/".join(str(column[i].as_py()) for column in keys.columns)
            raise conflict(workspace, log, base if found is None else found.last, shown)
        seen.add(hashed)


def placed(workspace: Workspace, proposal: Proposal, start: int) -> Any:
    """Return the changes of a proposal as they are where they come after `start` changes."""
    return _placed(_payload(workspace, proposal), proposal, start)


def _placed(made: Any, proposal: Proposal, start: int) -> Any:
    """Return changes that were proposed as they are after `start` changes, made by whoever proposed them."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    base, agent = proposal.base, proposal.agent
    for name in (ROW, "_prev"):
        values = made[name]
        moved = pc.if_else(pc.greater_equal(values, base), pc.add(values, start - base), values)
        made = made.set_column(made.schema.get_field_index(name), name, moved)
    if "_who" in made.schema.names:
        who = pc.fill_null(made["_who"], agent)
        return made.set_column(made.schema.get_field_index("_who"), "_who", who)
    who = pa.nulls(made.num_rows, pa.string()).fill_null(agent)
    return made.add_column(
        made.schema.get_field_index("_changed") + 1 + ("_valid_from" in made.schema.names), "_who", who
    )
