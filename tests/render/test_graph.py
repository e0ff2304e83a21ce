"""Drawings of a graph: a tree that follows only the maker that an edge names, and labels that stay labels."""

from __future__ import annotations

import json
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from retrodict.kernel.types import EventId, Ref
from retrodict.provenance import Cut, Gap, Graph, Link, Node
from retrodict.render.graph import to_dot, to_json, to_mermaid, to_tree


def event(n: int) -> Ref:
    return Ref(f"01936b00-0000-7000-8000-{n:012x}")


def obj(n: int) -> Ref:
    return Ref(f"b3-{n:064x}")


def node(ref: Ref, depth: int = 0) -> Node:
    is_object = ref.startswith("b3-")
    return Node(
        ref=ref,
        kind="object" if is_object else "event",
        event_kind=None if is_object else "run.finished",
        entry=None if is_object else int(ref[-12:], 16),
        at=None,
        agent=None,
        depth=depth,
    )


def link(
    relation: Literal["used", "made"], of: Ref, ref: Ref, *, role: str = "input", path: str | None = None,
    made_by: Ref | None = None,
) -> Link:  # fmt: skip
    return Link(
        relation=relation,
        event=of,
        ref=ref,
        role=role,
        evidence="observed",
        path=path,
        made_by=None if made_by is None else EventId(made_by),
    )


def graph(
    refs: list[Ref], links: list[Link], *, direction: Literal["up", "down"] = "up", cuts: tuple[Cut, ...] = (),
    gaps: tuple[Gap, ...] = (), ends_at_depth: bool = False,
) -> Graph:  # fmt: skip
    return Graph(
        start=refs[0],
        direction=direction,
        nodes=tuple(node(ref) for ref in refs),
        links=tuple(links),
        cuts=cuts,
        gaps=gaps,
        ends_at_depth=ends_at_depth,
    )


def test_the_tree_leads_to_the_maker_that_the_edge_names_and_else_to_every_possible_one() -> None:
    drawn = graph(
        [event(9), obj(1), event(1), event(2), event(8)],
        [
            link("used", event(9), obj(1), path="a.csv", made_by=event(1)),
            link("used", event(9), event(8), role="run"),
            link("made", event(1), obj(1)),
            link("used", event(8), obj(1), path="b.csv"),
            link("made", event(2), obj(1)),
        ],
    )
    assert to_tree(drawn, {event(9): "train (entry 9)"}).splitlines() == [
        "train (entry 9)",
        "├─ input a.csv b3-000000000000 [observed]",
        "│  └─ made by 1 run.finished",
        "└─ run 8 run.finished [observed]",
        "   └─ input b.csv b3-000000000000 [observed]",
        "      ├─ possibly made by 1 run.finished",
        "      └─ possibly made by 2 run.finished",
    ]


def test_the_tree_downwards_counts_what_is_not_shown_and_draws_nothing_twice() -> None:
    drawn = graph(
        [obj(1), event(1), obj(2), event(2)],
        [
            link("used", event(1), obj(1), role="training-data"),
            link("made", event(1), obj(2), role="model"),
            link("used", event(1), obj(1), role="code"),
            link("used", event(2), obj(2), role="model", made_by=event(1)),
            link("used", event(3), obj(2), role="model", made_by=event(7)),
        ],
        direction="down",
        cuts=(Cut(ref=obj(2), relation="used", what="prediction.made", total=1_000_001, shown=1),),
        ends_at_depth=True,
    )
    assert to_tree(drawn, {}).splitlines() == [
        "b3-000000000000",
        "├─ used by 1 run.finished as training-data [observed]",
        "│  └─ made model b3-000000000000 [observed]",
        "│     ├─ used by 2 run.finished as model [observed]",
        "│     └─ ... and 1,000,000 more: prediction.made (1,000,001 in all)",
        "└─ used by 1 run.finished as code [observed]  (see above)",
        "(more lies beyond this depth)",
    ]


def test_a_gap_is_shown_as_a_gap() -> None:
    drawn = graph([event(1)], [], gaps=(Gap(event=event(1), edge_list=obj(5), state="missing"),))
    assert "b3-000000000000 is missing: more may belong here" in to_tree(drawn, {})


def test_a_long_chain_and_a_circle_are_drawn() -> None:
    refs = [r for n in range(3000) for r in (event(n), obj(n))]
    links = [link("used", event(n), obj(n), made_by=event(n + 1)) for n in range(2999)]
    links += [link("made", event(n + 1), obj(n)) for n in range(2999)]
    assert len(to_tree(graph(refs, links), {}).splitlines()) == 5999
    around = [link("used", event(0), obj(0)), link("made", event(0), obj(0))]
    assert to_tree(graph([event(0), obj(0)], around), {}).endswith("(see above)")


@given(st.text(), st.text())
def test_no_label_and_no_role_can_become_markup(label: str, role: str) -> None:
    drawn = graph([event(1), obj(1)], [link("used", event(1), obj(1), role=role or "r", path=label)])
    labels = {event(1): label or "x", obj(1): label or "x"}
    assert len(to_tree(drawn, labels).splitlines()) == 2
    dot = to_dot(drawn, labels)
    assert len(dot.splitlines()) == 7
    assert all(line.replace("\\\\", "").replace('\\"', "").count('"') % 2 == 0 for line in dot.splitlines())
    mermaid = to_mermaid(drawn, labels).splitlines()
    assert len(mermaid) == 4
    assert [line.count('"') for line in mermaid] == [0, 2, 2, 2]
    assert not any(c in line.removesuffix(" n0") for line in mermaid[1:3] for c in "<>`")
    assert json.loads(to_json(drawn, {}))["nodes"][0]["ref"] == event(1)


def test_drawings_say_what_causes_what() -> None:
    drawn = graph([event(1), obj(1)], [link("used", event(1), obj(1)), link("made", event(1), obj(1), role="output")])
    assert "n1 -> n0" in to_dot(drawn, {})
    assert "n0 -> n1" in to_dot(drawn, {})
    assert 'n1 -.->|"input"| n0' in to_mermaid(drawn, {})
    assert json.loads(to_json(drawn, {obj(1): "data"}))["nodes"][1]["label"] == "data"
