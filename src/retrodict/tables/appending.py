"""Changes as they go into the log: in one piece, with what is known of each, personal values sealed.

Whoever changes a table holds the lock of the workspace's streams from looking at the records until the changes are in
the log, so that no other change of them comes in between. What takes long for a whole file is done before the lock is
taken, and what came in meanwhile is looked at then. A change to a record that was changed so is a conflict: nothing is
recorded, or, where the table's policy says so, the record stays as it is and the change is kept beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retrodict import streams
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, Event, Ref
from retrodict.tables import lines, personal, queries, records
from retrodict.tables.captured import note_position, with_captured
from retrodict.tables.cells import column_of
from retrodict.tables.changes import Change, ChangeSet, How, Settlement, Source
from retrodict.tables.errors import RecordConflictError, TablePolicyError
from retrodict.tables.lines import CREATE, DELETE, ROW, UPDATE, ChangeLog
from retrodict.tables.records import Column, Table
from retrodict.workspace import Batch, Workspace, agent_name, edges_or_list


def keep_policy(table: Table, how: How, changes: Sequence[Change], source: Source | None) -> None:
    """Refuse changes that the table's policy does not allow.

    Raises:
        TablePolicyError: They are.
    """
    if table.policy.approval and source is not None:
        raise TablePolicyError(
            f"every change of {table.name} needs a second person's approval, and captured ones have been made already",
            hint="Capture into a table without --require-approval.",
        )
    if table.policy.reason and not (how.reason or "").strip() and any(not (c.why or "").strip() for c in changes):
        raise TablePolicyError(f"{table.name} takes no change without a reason", hint="Give --why.")


def keeps_conflicts(table: Table, how: How) -> bool:
    """Say whether changes against an older version of a record are kept; a merge and a settling look again instead."""
    return table.policy.on_conflict == "keep" and how.merged is None and how.settles is None


def conflict(workspace: Workspace, log: ChangeLog, offset: int, shown: str) -> RecordConflictError:
    """Return the refusal of a change to a record that somebody else has changed."""
    version = lines.version_at(workspace.views.database(), log, offset)
    who = agent_name(workspace, version.agent)
    return RecordConflictError(
        f"the record {shown} of {log.table.name} was changed by {who} at {version.at[:19]}Z, in v{version.version}"
    )


@dataclass(slots=True)
class Rows:
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
        """Gather one more."""
        self.op.append(op)
        self.row.append(row)
        self.prev.append(prev)
        self.changed.append(changed)
        self.values.append(values)
        self.made_by.append(made_by)

    def to_arrow(self) -> Any:
        """Return them as an Arrow table."""
        import pyarrow as pa  # 57 ms

        arrays = {
            "_op": pa.array(self.op, pa.int8()),
            ROW: pa.array(self.row, pa.int64()),
            "_prev": pa.array(self.prev, pa.int64()),
            "_changed": pa.array(self.changed, pa.list_(pa.int32())),
        }
        for column in self.columns:
            values = [value.get(str(column.id)) for value in self.values]
            arrays[str(column.id)] = pa.array(values, streams.named_type(column.type))
        return pa.table(arrays)


def append_table(
    workspace: Workspace,
    log: ChangeLog,
    made: Any,
    how: How,
    *,
    made_by: Sequence[Change | None] = (),
    source: Source | None = None,
    amiss: int = 0,
    beside: Any = None,
) -> ChangeSet:
    """Append changes while the lock is held; of none, note what else there is to note.

    Args:
        made_by: What each of them was made by.
        beside: Changes against an older version of their records, which are kept.
    """
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    batch = Batch(workspace)
    kept = None
    if beside is not None and beside.num_rows:
        kept = _keep_beside(workspace, log, batch, _with_valid_from(log.table, beside, how, ()), how)
    if how.settles is not None:
        _note_settled(workspace, log, batch, how.settles, how.reason)
    if not made.num_rows:
        if kept is not None or how.settles is not None:
            batch.append()
        note_position(workspace, log, source)
        return _with_conflict(workspace, unchanged(workspace, log, amiss), kept)
    made = _with_valid_from(log.table, made, how, made_by)
    texts: list[Edge] = []
    statement, people = how.statement, None
    if log.table.personal is not None:
        # A statement names whoever it is about, and its key is nobody's.
        statement, made_by = None, [None if c is None else replace(c, how=None) for c in made_by]
    if any(c is not None and (c.at, c.who, c.why, c.how, c.tx) != (None,) * 5 for c in made_by):
        made, texts = with_captured(batch, made, made_by)
    if log.table.personal is not None:
        if workspace.keys is None:
            raise UsageError(f"{log.table.name} is about people, and there are no keys to seal with")
        made, people = personal.seal(workspace.keys, log.table, made)
    counted = {row["values"]: row["counts"] for row in pc.value_counts(made["_op"].combine_chunks()).to_pylist()}
    counts = counted.get(CREATE, 0), counted.get(UPDATE, 0), counted.get(DELETE, 0)
    if log.table.policy.approval:
        return _propose(workspace, log, batch, made, counts, replace(how, statement=statement), texts)
    done = record(
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
    return _with_conflict(workspace, done, kept)


def _with_conflict(workspace: Workspace, done: ChangeSet, kept: Event | None) -> ChangeSet:
    if kept is None:
        return done
    sequenced = workspace.logs.find(kept.id)
    assert sequenced is not None
    count = sequenced.event.body["records"]
    return replace(done, conflict=sequenced.index, conflicts=int(str(count)))


def _keep_beside(workspace: Workspace, log: ChangeLog, batch: Batch, made: Any, how: How) -> Event:
    """Let changes stand beside their records: return the event, of `batch`, that says so."""
    payload = _payload(workspace, made)
    return batch.event(
        "table.conflicted",
        uses=edges_or_list(batch, how.uses),
        makes=[Edge(ref=Ref(payload), role="conflict", evidence="observed")],
        body=records.conflicted_body(
            stream=log.table.stream,
            log=workspace.ledger.origin,
            branch=log.branch,
            base=log.size if how.since is None else min(how.since, log.size),
            payload=payload,
            records=made.num_rows,
            how={"verb": how.verb, "run": how.run, "statement": batch.seal(how.statement)},
        ),
        reason=how.reason,
    )


def _note_settled(workspace: Workspace, log: ChangeLog, batch: Batch, settles: Settlement, reason: str | None) -> None:
    """Note that conflicts are settled. Raises `UsageError` where another process was faster."""
    for known in queries.conflicts(workspace.views.database(), log.table.stream):
        if known.event == settles.conflict and known.settled.keys() & set(settles.rows):
            raise UsageError(
                f"what entry {known.index} keeps has been settled", hint=f"`retrodict table settle {log.table.name}`"
            )
    body = records.settled_body(
        stream=log.table.stream, conflict=settles.conflict, rows=settles.rows, took=settles.took
    )
    batch.event("table.settled", uses=(), makes=(), body=body, reason=reason)


def _payload(workspace: Workspace, made: Any) -> Digest:
    """Keep changes that are not appended, as an Arrow stream."""
    import pyarrow as pa  # 57 ms

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    (payload,) = workspace.objects.put_many([sink.getvalue().to_pybytes()])
    return payload


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
    payload = _payload(workspace, made)
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
    nothing = unchanged(workspace, log)
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


def unchanged(workspace: Workspace, log: ChangeLog, amiss: int = 0) -> ChangeSet:
    """Return what there is to say where nothing was recorded."""
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
