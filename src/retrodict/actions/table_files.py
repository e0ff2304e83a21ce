"""Files that the records of tables were written to: kept, and on record as made of them. No verb."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import workspace_path
from retrodict.actions.tabling import TableVersion
from retrodict.kernel.types import Digest, Edge, Ref
from retrodict.streams import records as streams
from retrodict.tables import lines
from retrodict.workspace import Batch, Workspace, edges_or_list

Kept = tuple[Digest, str | None]


def keep(workspace: Workspace, found: TableVersion, path: Path) -> Kept:
    """Keep the bytes of a file; of a table about people sealed. Return its object, and the key of a sealed one."""
    if found.table.personal is None:
        return workspace.objects.put_file(path), None
    sealed = PersonalFiles(workspace).seal(path)
    return sealed.stored.digest, sealed.key


def note_written(workspace: Workspace, found: TableVersion, files: Mapping[Path, Kept], reason: str | None) -> int:
    """Record that a version was written to files: whatever reads one has the table as lineage. Return the entry.

    Args:
        files: Where they lie, and as what they are kept.
    """
    batch = Batch(workspace)
    edges: list[Edge] = []
    sealed: list[tuple[Edge, str]] = []
    for path, (content, key) in files.items():
        place = workspace_path(workspace, path)
        extra = {} if place is not None else {"sealed_path": batch.seal(str(path))}
        edge = Edge(ref=Ref(content), role="materialized", evidence="observed", path=place, extra=extra)
        if key is None:
            edges.append(edge)
        else:
            sealed.append((edge, key))
    root = lines.root_at(workspace.views.database(), found.log, found.stop)
    uses = edges_or_list(batch, found.log.line.lineage(0, found.stop))

    def note(makes: list[Edge], personal: tuple[Digest, str] | None) -> str:
        event = batch.event(
            "stream.materialized",
            uses=uses,
            makes=edges_or_list(batch, makes),
            body=streams.materialized_body(
                stream=found.table.stream, branch=found.log.branch, start=0, stop=found.stop, root=root, sealed=personal
            ),
            reason=reason,
        )
        return event.id

    noted = [note([edge], (Digest(edge.ref), key)) for edge, key in sealed]
    if edges:
        noted.append(note(edges, None))
    return next(s.index for s in batch.append() if s.event.id == noted[0])
