"""A lineage graph as a tree for people, as DOT, as Mermaid, as JSON. Nothing that stands in a label is markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from retrodict.kernel.types import EventId, Ref
from retrodict.provenance import Cut, Graph, Link, Node
from retrodict.render import json

Labels = Mapping[Ref, str]


def to_tree(graph: Graph, labels: Labels) -> str:
    """Return the graph as an indented tree, the start at its root.

    A node that was drawn before is not drawn again below its second place, and says so. An object is followed only to
    the event that the edge names as its maker.
    """
    tree = _Tree(graph, labels)
    lines = [tree.title(graph.start)]
    # What is to be drawn: the text before the branch, whether it is the last one there, the line, what hangs below it.
    stack = tree.below("", graph.start, None)
    while stack:
        indent, is_last, line, state = stack.pop()
        again = ""
        branches: list[_Branch] = []
        if state is not None:
            branches = tree.below(indent + ("   " if is_last else "│  "), *state)
            if state in tree.drawn and branches:
                again, branches = "  (see above)", []
            tree.drawn.add(state)
        lines.append(f"{indent}{'└─' if is_last else '├─'} {line}{again}")
        stack += branches
    if graph.ends_at_depth:
        lines.append("(more lies beyond this depth)")
    return "\n".join(lines)


_State = tuple[Ref, Ref | EventId | None]  # a node, and for an object the event that made it on this way
_Branch = tuple[str, bool, str, _State | None]


class _Tree:
    """The graph, looked up by node."""

    def __init__(self, graph: Graph, labels: Labels) -> None:
        self._graph = graph
        self._labels = labels
        self._nodes = {node.ref: node for node in graph.nodes}
        self._links: dict[Ref, list[Link]] = {}
        for link in graph.links:
            near = link.event if (link.relation == "used") == (graph.direction == "up") else link.ref
            self._links.setdefault(near, []).append(link)
        self.drawn: set[_State] = set()

    def title(self, ref: Ref) -> str:
        return _title(self._nodes[ref], self._labels)

    def below(self, indent: str, ref: Ref, maker: Ref | EventId | None) -> list[_Branch]:
        """Return the branches below a node, the last one first, as a stack wants them."""
        found: list[tuple[str, _State | None]] = []
        for link in self._links.get(ref, []):
            if self._graph.direction == "up":
                if link.relation == "used":
                    found.append((self._used(link), (link.ref, link.made_by)))
                elif maker is None or link.event == Ref(maker):
                    words = "made by" if maker is not None else "possibly made by"
                    words = "made by" if ref == self._graph.start else words
                    found.append((f"{words} {self.title(link.event)}", (link.event, None)))
            elif link.relation == "made":
                found.append((f"made {self._used(link)}", (link.ref, link.event)))
            elif maker is None or link.made_by is None or Ref(link.made_by) == Ref(maker):
                words = "used by" if maker is None or link.is_certain else "possibly used by"
                found.append((f"{words} {self.title(link.event)}{_suffix(link)}", (link.event, None)))
        found += [(_cut(cut), None) for cut in self._graph.cuts if cut.ref == ref]
        for gap in self._graph.gaps:
            if gap.event == ref:
                found.append((f"(its edge list {gap.edge_list[:15]} is {gap.state}: more may belong here)", None))
        return [(indent, place == 0, line, state) for place, (line, state) in enumerate(reversed(found))]

    def _used(self, link: Link) -> str:
        words = [link.role, link.path or "", self.title(link.ref), f"[{link.evidence}]"]
        return _clean(" ".join(word for word in words if word))


def _suffix(link: Link) -> str:
    return _clean(f" as {link.role} [{link.evidence}]" if link.role else f" [{link.evidence}]")


def to_dot(graph: Graph, labels: Labels) -> str:
    """Return the graph for Graphviz; arrows lead from cause to effect, dashed where the maker is only possible."""
    number = {node.ref: f"n{i}" for i, node in enumerate(graph.nodes)}
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for node in graph.nodes:
        shape = "box" if node.kind == "object" else "ellipse"
        bold = ", penwidth=2" if node.ref == graph.start else ""
        lines.append(f'  {number[node.ref]} [shape={shape}, label="{_dot(_title(node, labels))}"{bold}];')
    for link in graph.links:
        source, target = _ends(link)
        style = "" if link.is_certain else ", style=dashed"
        lines.append(f'  {number[source]} -> {number[target]} [label="{_dot(_clean(link.role))}"{style}];')
    for i, cut in enumerate(graph.cuts):
        lines.append(f'  c{i} [shape=plaintext, label="{_dot(_cut(cut))}"];')
        lines.append(f"  {number[cut.ref]} -> c{i} [style=dotted, arrowhead=none];")
    return "\n".join([*lines, "}"])


def to_mermaid(graph: Graph, labels: Labels) -> str:
    """Return the graph for Mermaid; arrows as in `to_dot`."""
    number = {node.ref: f"n{i}" for i, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        left, right = ("[", "]") if node.kind == "object" else ("([", "])")
        lines.append(f'  {number[node.ref]}{left}"{_mermaid(_title(node, labels))}"{right}')
    for link in graph.links:
        source, target = _ends(link)
        arrow = "-->" if link.is_certain else "-.->"
        label = f'|"{_mermaid(_clean(link.role))}"|' if link.role else ""
        lines.append(f"  {number[source]} {arrow}{label} {number[target]}")
    for i, cut in enumerate(graph.cuts):
        lines.append(f'  {number[cut.ref]} -.- c{i}["{_mermaid(_cut(cut))}"]')
    return "\n".join(lines)


def to_json(graph: Graph, labels: Labels) -> str:
    """Return the graph as JSON, the labels in its nodes."""
    nodes = [replace(node, label=labels.get(node.ref, node.label)) for node in graph.nodes]
    return json.to_json(replace(graph, nodes=tuple(nodes)))


def _ends(link: Link) -> tuple[Ref, Ref]:
    """Return cause and effect."""
    return (link.ref, link.event) if link.relation == "used" else (link.event, link.ref)


def _title(node: Node, labels: Labels) -> str:
    label = labels.get(node.ref) or node.label
    if not label:
        label = node.ref[:15] if node.kind == "object" else f"{node.entry} {node.event_kind}"
        if node.kind == "event" and node.entry is None:
            label = f"{node.ref} (in another log)"
    return _clean(label)


def _cut(cut: Cut) -> str:
    return _clean(f"... and {cut.total - cut.shown:,} more: {cut.what} ({cut.total:,} in all)")


def _clean(text: str) -> str:
    """Return text in which nothing moves the cursor or ends the line; bytes that are no text show as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


_ENTITIES = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"})


def _mermaid(text: str) -> str:
    return text.translate(_ENTITIES)
