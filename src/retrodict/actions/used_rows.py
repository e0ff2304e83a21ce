"""Records which rows of a table a run has used, once that is known. No verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.rows import records, sets
from retrodict.workspace import Batch, Workspace

if TYPE_CHECKING:
    from retrodict.rows.source import Source


def record(workspace: Workspace, read: EventId, source: Source) -> None:
    """Record the rows that were used of what a `run.read` names; nothing where all of them were."""
    if source.is_all:
        return
    used = source.used()
    ranges = sets.ranges(used)
    batch = Batch(workspace)
    bitmap = batch.blob(sets.to_bitmap(used)) if len(ranges) > sets.MOST_RANGES else None
    batch.event(
        "run.used_rows",
        uses=(Edge(ref=Ref(read), role="reading", evidence="observed"),),
        makes=() if bitmap is None else (Edge(ref=Ref(bitmap), role="rows", evidence="observed"),),
        body=records.used_body(
            read=read,
            count=len(used),
            total=len(source),
            ranges=None if bitmap is not None else ranges,
            bitmap=bitmap,
        ),
    )
    batch.append()
