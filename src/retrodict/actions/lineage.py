"""`lineage`: what something came from, and everything that it reached."""

from __future__ import annotations

from typing import Literal

from retrodict import provenance
from retrodict.actions import names
from retrodict.actions.lineages import Lineage, labelled
from retrodict.kernel.types import Ref
from retrodict.workspace import Workspace


def lineage(
    workspace: Workspace,
    reference: str,
    *,
    direction: Literal["up", "down"] = "up",
    depth: int | None = None,
    limit: int = 50,
) -> Lineage:
    """Walk from a reference: up to everything that caused it, or down to everything that it reached.

    Args:
        depth: At most so many steps; None: to the end.
        limit: Neighbours of one kind that are listed for one node; the others are counted.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    resolved = names.resolve(workspace, reference)
    start = resolved.event or resolved.object
    assert start is not None
    database = workspace.views.database()
    if direction == "up":
        graph = provenance.upstream(database, Ref(start), depth=depth)
    else:
        graph = provenance.downstream(database, Ref(start), depth=depth, limit_per_node=limit)
    return labelled(workspace, resolved.printed, direction, graph)
