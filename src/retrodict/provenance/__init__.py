"""The graph over the log: what used and what made what, in both directions; references that people paste."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.provenance import reference
    from retrodict.provenance.graph import (
        Cut,
        Gap,
        Graph,
        Link,
        Node,
        downstream,
        maker,
        neighbours,
        paths,
        upstream,
    )
    from retrodict.provenance.projection import PROJECTION, edges

_HOMES = {
    "Cut": "graph",
    "Gap": "graph",
    "Graph": "graph",
    "Link": "graph",
    "Node": "graph",
    "PROJECTION": "projection",
    "downstream": "graph",
    "edges": "projection",
    "maker": "graph",
    "neighbours": "graph",
    "paths": "graph",
    "reference": "",
    "upstream": "graph",
}

__all__ = [
    "PROJECTION",
    "Cut",
    "Gap",
    "Graph",
    "Link",
    "Node",
    "downstream",
    "edges",
    "maker",
    "neighbours",
    "paths",
    "reference",
    "upstream",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
