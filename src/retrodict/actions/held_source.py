"""Where the records of a stream, or the values of a tensor, were read from. No verb."""

from __future__ import annotations

from pathlib import Path

from retrodict import provenance
from retrodict.actions.places import workspace_path
from retrodict.kernel.types import Edge, Ref
from retrodict.workspace import Workspace


def source_of(workspace: Workspace, path: Path) -> list[Edge]:
    """Return the edge to a file whose bytes the store holds: something here made or added them. Of a folder: none."""
    if path.is_dir():
        return []
    digest = workspace.objects.hash_file(path)
    if not workspace.objects.has(digest):
        return []
    place = workspace_path(workspace, path)
    maker = provenance.maker(workspace.views.database(), Ref(digest), place)
    return [Edge(ref=Ref(digest), role="source", evidence="observed", path=place, made_by=maker)]
