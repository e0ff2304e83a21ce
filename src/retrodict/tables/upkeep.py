"""What keeps a table quick to read: small segments put together, and snapshots."""

from __future__ import annotations

from collections.abc import Sequence

from retrodict import streams
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.tables import lines, records
from retrodict.tables.changes import ChangeSet
from retrodict.tables.records import Table
from retrodict.workspace import Batch, Workspace, edges_or_list

_SMALL_SEGMENTS = ((64, 4096), (4096, 65_536))  # after so many versions, segments of fewer changes are put together
SNAPSHOT_CHANGES = 100_000


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


def _keep_all(contents: Sequence[Digest], makers: Sequence[EventId]) -> list[Digest]:
    """Let nothing go of what is held anew: `stream compact` does, which looks at who needs it."""
    del contents, makers
    return []
