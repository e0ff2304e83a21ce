"""A graph as PROV-JSON (W3C Member Submission, 24 April 2013): objects are entities, events activities.

Both bodies of edges become relations of the standard, `used` and `wasGeneratedBy`; what it has no word for (role,
evidence, path, entry) stands under the prefix `retrodict`.
"""

from __future__ import annotations

from retrodict.kernel.types import Ref
from retrodict.provenance.graph import Graph

NAMESPACE = "https://github.com/retrodict/retrodict/blob/main/docs/formats/event.md#"


def to_prov(graph: Graph) -> dict[str, object]:
    """Return the graph as the value of a PROV-JSON document."""
    entities: dict[str, object] = {}
    activities: dict[str, object] = {}
    agents: dict[str, object] = {}
    associations: dict[str, object] = {}
    for number, node in enumerate(graph.nodes):
        label = {"prov:label": node.label} if node.label else {}
        if node.kind == "object":
            entities[_name(node.ref)] = label
            continue
        facts: dict[str, object] = {**label}
        if node.entry is not None:
            facts |= {"prov:endTime": node.at, "prov:type": node.event_kind, "retrodict:entry": node.entry}
        activities[_name(node.ref)] = facts
        if node.agent is not None:
            agent = f"retrodict:agent-{node.agent}"
            agents[agent] = {}
            associations[f"_:a{number}"] = {"prov:activity": _name(node.ref), "prov:agent": agent}
    used: dict[str, object] = {}
    generated: dict[str, object] = {}
    informed: dict[str, object] = {}
    for number, link in enumerate(graph.links):
        facts = {"prov:role": link.role, "retrodict:evidence": link.evidence}
        if link.path is not None:
            facts["retrodict:path"] = link.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if link.made_by is not None:
            facts["retrodict:from"] = _name(Ref(link.made_by))
        name = f"_:l{number}"
        if not link.ref.startswith("b3-"):
            informed[name] = {"prov:informed": _name(link.event), "prov:informant": _name(link.ref), **facts}
        elif link.relation == "used":
            used[name] = {"prov:activity": _name(link.event), "prov:entity": _name(link.ref), **facts}
        else:
            generated[name] = {"prov:entity": _name(link.ref), "prov:activity": _name(link.event), **facts}
    document = {
        "entity": entities,
        "activity": activities,
        "agent": agents,
        "used": used,
        "wasGeneratedBy": generated,
        "wasInformedBy": informed,
        "wasAssociatedWith": associations,
    }
    return {"prefix": {"retrodict": NAMESPACE}, **{name: value for name, value in document.items() if value}}


def _name(ref: Ref) -> str:
    return f"retrodict:{ref}"
