"""A part of the graph, with words for its nodes. No verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrodict import datasets
from retrodict.actions import names
from retrodict.kernel.types import Ref
from retrodict.models import records as models
from retrodict.provenance import Graph
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A part of the graph, with words for its nodes.

    Attributes:
        root: The reference that was asked about, as tables print it.
        labels: For each node of the graph what people call it.
    """

    root: str
    direction: Literal["up", "down"]
    graph: Graph
    labels: dict[Ref, str]


def labelled(workspace: Workspace, root: str, direction: Literal["up", "down"], graph: Graph) -> Lineage:
    """Return a graph with words for its nodes."""
    labels = {node.ref: _label(workspace, node.ref) for node in graph.nodes}
    return Lineage(root=root, direction=direction, graph=graph, labels=labels)


def _label(workspace: Workspace, ref: Ref) -> str:
    sequenced = None if ref.startswith("b3-") else workspace.logs.find(ref)  # type: ignore[arg-type]
    if sequenced is not None:
        label = names.label(workspace, sequenced)
        return f"{sequenced.index} {sequenced.event.kind}" + (f" ({label})" if label else "")
    database = workspace.views.database()
    for dataset in datasets.find(database, content=ref):  # type: ignore[arg-type]
        return f"{names.short(ref)} (dataset:{dataset.name}@v{dataset.version})"
    for model in models.find(database, content=ref):  # type: ignore[arg-type]
        return f"{names.short(ref)} ({model.label})"
    return names.short(ref)
