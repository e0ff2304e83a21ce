"""The graph over the log: what used and what made what, in both directions; references that people paste."""

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
