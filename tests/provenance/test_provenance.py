"""The graph over a real log, against a plain reading of the same edges; references as people paste them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict import provenance
from retrodict.kernel.entry import encode_edge_list
from retrodict.kernel.errors import AmbiguousReferenceError, MissingObjectError, UnknownReferenceError
from retrodict.kernel.types import Digest, Edge, EdgeList, Event, EventId, Ref
from retrodict.ledger import Ledger, Logs
from retrodict.provenance import PROJECTION, Graph, downstream, maker, neighbours, paths, upstream
from retrodict.provenance import graph as graphs
from retrodict.provenance.projection import key, ref_of
from retrodict.provenance.prov import to_prov
from retrodict.provenance.reference import Candidate, Resolved, resolve
from retrodict.views import Views


class Clock:
    """A clock that ticks, and a source of numbers."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._ns = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        self._ns += 1000
        return self._ns

    def random_bytes(self, n: int) -> bytes:
        return self._random.randbytes(n)


def obj(name: object) -> Ref:
    """Return the digest of a thing, by any name."""
    return Ref("b3-" + sha256(str(name).encode()).hexdigest())


def eid(number: int) -> EventId:
    return EventId(f"01936b00-{number >> 16:04x}-7000-8000-{number:012x}")


def used(ref: str, made_by: EventId | None = None, *, role: str = "input", path: str | None = None) -> Edge:
    return Edge(ref=Ref(ref), role=role, evidence="observed", path=path, made_by=made_by)


def made(ref: str, *, role: str = "output", path: str | None = None) -> Edge:
    return Edge(ref=Ref(ref), role=role, evidence="observed", path=path)


@dataclass
class Log:
    """A log, its views, and the edge lists that its events name."""

    folder: Path
    ledger: Ledger = field(init=False)
    views: Views = field(init=False)
    lists: dict[Digest, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger.create(self.folder / "ledger.db", "example.org/0f1e2d3c4b5a", Clock())
        self.views = Views.open(self.folder / "views.db", self.ledger, self.blob, [PROJECTION])

    def blob(self, digest: Digest) -> bytes:
        if digest not in self.lists:
            raise MissingObjectError(digest)
        return self.lists[digest]

    def share(self, *edges: Edge) -> EdgeList:
        data = encode_edge_list(edges)
        digest = Digest(obj(data))
        self.lists[digest] = data
        return EdgeList(digest=digest)

    def event(
        self,
        kind: str = "run.finished",
        *,
        uses: Sequence[Edge | EdgeList] = (),
        makes: Sequence[Edge | EdgeList] = (),
        number: int | None = None,
    ) -> EventId:
        event_id = eid(self.ledger.size() if number is None else number)
        self.ledger.append([self.draft(event_id, kind, uses, makes)])
        return event_id

    @staticmethod
    def draft(event_id: EventId, kind: str, uses: Sequence[Edge | EdgeList], makes: Sequence[Edge | EdgeList]) -> Event:
        return Event(
            id=event_id,
            kind=kind,
            at="2026-11-24T00:00:00.123456789Z",
            agent="somebody",
            uses=tuple(uses),
            makes=tuple(makes),
            body={},
        )

    @property
    def db(self) -> apsw.Connection:
        return self.views.database()

    def close(self) -> None:
        self.views.close()
        self.ledger.close()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


# Walks


def refs(graph: Graph) -> set[Ref]:
    return {node.ref for node in graph.nodes}


# A plain reading: recursion over Python lists, with no table in sight.


class Plain:
    """The same rules, written for the reader."""

    def __init__(self) -> None:
        self.uses: dict[EventId, list[Edge]] = {}
        self.makes: dict[EventId, list[Edge]] = {}

    def makers(self, ref: Ref) -> set[EventId]:
        listed = {event for event, edges in self.makes.items() if any(edge.ref == ref for edge in edges)}
        named = {edge.made_by for edges in self.uses.values() for edge in edges if edge.ref == ref}
        return listed | {event for event in named if event is not None}

    def causes(self, ref: Ref, made_by: EventId | None) -> list[tuple[Ref, EventId | None]]:
        """One step up, from an object that a given event made (None: any), or from an event."""
        if not ref.startswith("b3-"):
            return [(edge.ref, edge.made_by) for edge in self.uses.get(EventId(ref), [])]
        return [(Ref(event), None) for event in ([made_by] if made_by else self.makers(ref))]

    def up(self, ref: Ref) -> set[Ref]:
        seen: set[tuple[Ref, EventId | None]] = set()
        todo: list[tuple[Ref, EventId | None]] = [(ref, None)]
        while todo:
            state = todo.pop()
            if not state[0].startswith("b3-"):
                state = (state[0], None)
            if state not in seen:
                seen.add(state)
                todo += self.causes(*state)
        return {ref for ref, _ in seen}


REFS = st.integers(0, 5)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[list[tuple[int, int | None, bool]], list[int], int | None]]:
    """Events: (object or event used, from, by its id), objects made, number of a shared list."""
    n = draw(st.integers(1, 9))
    result = []
    for _ in range(n):
        uses = draw(st.lists(st.tuples(REFS, st.none() | st.integers(0, n), st.booleans()), max_size=4))
        makes = draw(st.lists(REFS, max_size=3, unique=True))
        result.append((uses, makes, draw(st.none() | st.integers(0, 2))))
    return result


def build(
    log: Log, spec: Sequence[tuple[list[tuple[int, int | None, bool]], list[int], int | None]], *, seed: int
) -> Plain:
    rng, plain = random.Random(seed), Plain()
    shared = [
        [used(obj(rng.randrange(6)), eid(rng.randrange(9)) if rng.random() < 0.5 else None, role="shared")]
        for _ in range(3)
    ]
    for number, (uses, makes, list_number) in enumerate(spec):
        own = [
            used(eid(ref) if by_id else obj(ref), None if made_by is None or by_id else eid(made_by))
            for ref, made_by, by_id in uses
        ]
        outputs = [made(obj(ref)) for ref in makes]
        written: list[Edge | EdgeList] = [*own]
        if list_number is not None:
            written.append(log.share(*shared[list_number]))
        made_list = bool(outputs) and rng.random() < 0.3
        log.event(uses=written, makes=[log.share(*outputs)] if made_list else outputs, number=number)
        plain.uses[eid(number)] = own + (shared[list_number] if list_number is not None else [])
        plain.makes[eid(number)] = outputs
    return plain


@settings(max_examples=50, deadline=None)
@given(logs(), st.integers(0, 1000), st.sampled_from([0, 64]))
def test_both_directions_agree_with_a_plain_reading_of_the_edges(
    tmp_path_factory: pytest.TempPathFactory,
    spec: list[tuple[list[tuple[int, int | None, bool]], list[int], int | None]],
    seed: int,
    few: int,
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    plain = build(log, spec, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "_FEW", few)  # both ways to read the edges at a node
        check_all(log, plain, len(spec))
    assert list(log.views.verify()) == []
    log.close()


def check_all(log: Log, plain: Plain, n: int) -> None:
    db = log.db
    events = [Ref(eid(number)) for number in range(n)]
    everything = [*events, *(obj(number) for number in range(6))]
    up = {ref: refs(upstream(db, ref)) for ref in everything}
    assert up == {ref: plain.up(ref) for ref in everything}
    down = {ref: refs(downstream(db, ref)) for ref in everything}
    for cause in everything:
        assert down[cause] & set(everything) == {effect for effect in everything if cause in up[effect]}
    for cause in everything:
        for effect in everything:
            ways = paths(db, cause, effect)
            assert bool(ways) == (cause in up[effect])
            assert len({len(way) for way in ways}) <= 1
            for way in ways:
                check_way(way, cause, effect)


def check_way(way: Sequence[provenance.Link], cause: Ref, effect: Ref) -> None:
    """A way begins at the cause, ends at the effect, and each link begins where the one before ended."""
    at = cause
    for link in way:
        source, target = (link.ref, link.event) if link.relation == "used" else (link.event, link.ref)
        assert source == at
        at = target
    assert at == effect
    for first, second in pairwise(way):
        if first.relation == "made" and second.made_by is not None:
            assert second.made_by == EventId(first.event)


@settings(max_examples=25, deadline=None)
@given(logs(), st.lists(st.integers(1, 4), max_size=4))
def test_folding_step_by_step_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory,
    spec: list[tuple[list[tuple[int, int | None, bool]], list[int], int | None]],
    steps: list[int],
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    rest = spec
    for number, (uses, makes, _) in enumerate(rest):
        log.event(uses=[used(obj(ref)) for ref, _, _ in uses], makes=[made(obj(ref)) for ref in makes], number=number)
        if number in steps:
            log.views.database()
    before = log.views.digest()
    log.views.rebuild()
    assert log.views.digest() == before
    log.close()


def test_two_runs_that_write_the_same_empty_file_are_not_each_others_ancestors(log: Log) -> None:
    empty = obj("")
    a = log.event(uses=[used(obj("a"))], makes=[made(empty, path="a/log")])
    b = log.event(uses=[used(obj("b"))], makes=[made(empty, path="b/log")])
    reader = log.event(uses=[used(empty, a)])
    unsure = log.event(uses=[used(empty)])
    assert refs(upstream(log.db, Ref(reader))) == {reader, empty, a, obj("a")}
    assert refs(upstream(log.db, Ref(unsure))) == {unsure, empty, a, b, obj("a"), obj("b")}
    assert refs(downstream(log.db, Ref(b))) == {b, empty, unsure}
    assert refs(downstream(log.db, empty)) == {empty, reader, unsure}
    (link,) = [link for link in upstream(log.db, Ref(unsure)).links if link.event == Ref(unsure)]
    assert not link.is_certain
    assert all(link.is_certain for link in upstream(log.db, Ref(reader)).links if link.event == Ref(reader))


def test_links_carry_role_path_evidence_and_nodes_what_the_entry_says(log: Log) -> None:
    path = "d/\udcff-\u00e9.csv"
    event = log.event("dataset.added", makes=[made(obj("x"), role="dataset", path=path)])
    run = log.event(uses=[used(obj("x"), event, role="training-data", path=path)])
    graph = upstream(log.db, Ref(run))
    assert [(n.ref, n.kind, n.event_kind, n.entry, n.depth) for n in graph.nodes] == [
        (run, "event", "run.finished", 1, 0),
        (obj("x"), "object", None, None, 1),
        (event, "event", "dataset.added", 0, 2),
    ]
    assert (graph.nodes[0].at, graph.nodes[0].agent) == ("2026-11-24T00:00:00.123456789Z", "somebody")
    assert [(k.relation, k.role, k.path, k.evidence, k.made_by) for k in graph.links] == [
        ("used", "training-data", path, "observed", event),
        ("made", "dataset", path, "observed", None),
    ]
    assert graph.is_whole


def test_many_predictions_of_one_model_are_counted_and_the_first_are_shown(log: Log) -> None:
    registered = log.event("model.registered", makes=[made(obj("model"), role="model")])
    shared = log.share(used(obj("model"), registered, role="model"), used(obj("env"), role="environment"))
    drafts = [log.draft(eid(n), "prediction.made", [shared], []) for n in range(1, 501)]
    log.ledger.append(drafts)
    late = log.event(uses=[used(obj("model"), registered)], number=9999)
    graph = downstream(log.db, Ref(registered), limit_per_node=10)
    ((cut),) = graph.cuts
    assert (cut.ref, cut.relation, cut.what, cut.total, cut.shown) == (
        obj("model"), "used", "prediction.made", 500, 10,
    )  # fmt: skip
    assert [n.entry for n in graph.nodes if n.event_kind == "prediction.made"] == list(range(1, 11))
    assert Ref(late) in refs(graph)  # another kind is not crowded out
    assert not graph.is_whole
    assert len(downstream(log.db, Ref(registered), limit_per_node=None).nodes) == 503
    db = apsw.Connection(str(log.folder / "views.db"))
    assert db.execute("SELECT count(*) FROM provenance_edges").fetchall() == [(4,)]


def test_inline_edges_are_counted_too(log: Log) -> None:
    log.ledger.append([log.draft(eid(n), "prediction.declared", [used(obj("csv"))], []) for n in range(50)])
    (cut,) = downstream(log.db, obj("csv"), limit_per_node=7).cuts
    assert (cut.what, cut.total, cut.shown) == ("prediction.declared", 50, 7)
    many = log.event(uses=[log.share(*(used(obj(f"in{n}")) for n in range(200)))])
    graph = upstream(log.db, Ref(many), limit_per_node=5)
    assert [(c.what, c.total, c.shown) for c in graph.cuts] == [("input", 200, 5)]
    assert len(graph.nodes) == 6


def test_depth_counts_links_and_the_graph_says_that_it_ends_there(log: Log) -> None:
    events = [log.event(uses=[used(obj(n))], makes=[made(obj(n + 1))]) for n in range(5)]
    graph = upstream(log.db, Ref(events[-1]), depth=2)
    assert refs(graph) == {Ref(events[4]), obj(4), Ref(events[3])}
    assert graph.ends_at_depth
    assert not upstream(log.db, Ref(events[0]), depth=2).ends_at_depth
    assert refs(upstream(log.db, Ref(events[-1]), depth=0)) == {Ref(events[4])}


def test_an_edge_list_that_is_missing_or_altered_is_a_gap(log: Log) -> None:
    lost, broken = log.share(used(obj("x"))), log.share(used(obj("y")))
    del log.lists[lost.digest]
    log.lists[broken.digest] = b'{"edges":[{}]}'
    event = log.event(uses=[lost, broken, used(obj("z"))])
    graph = upstream(log.db, Ref(event))
    assert {(str(gap.edge_list), str(gap.state)) for gap in graph.gaps} == {
        (lost.digest, "missing"),
        (broken.digest, "altered"),
    }
    assert refs(graph) == {event, obj("z")}


def test_an_event_of_another_log_is_a_node_that_leads_no_further(log: Log) -> None:
    foreign = eid(77)
    event = log.event(uses=[used(obj("x"), foreign)])
    node = upstream(log.db, Ref(event)).nodes[-1]
    assert (node.ref, node.kind, node.entry, node.event_kind) == (Ref(foreign), "event", None, None)
    with pytest.raises(UnknownReferenceError):
        upstream(log.db, Ref(foreign))


def test_an_object_that_nobody_used_is_alone(log: Log) -> None:
    log.event()
    assert refs(upstream(log.db, obj("nothing"))) == refs(downstream(log.db, obj("nothing"))) == {obj("nothing")}


def test_the_maker_is_the_last_event_that_made_these_bytes_at_this_path(log: Log) -> None:
    log.event(makes=[made(obj("x"), path="a")])
    second = log.event(makes=[made(obj("x"), path="a")])
    other = log.event(makes=[log.share(made(obj("x"), path="b"))])
    assert maker(log.db, obj("x"), "a") == second
    assert maker(log.db, obj("x"), "b") == other
    assert maker(log.db, obj("x"), "c") is None
    assert maker(log.db, obj("x"), None) is None
    assert maker(log.db, obj("y"), "a") is None


def test_neighbours_are_the_events_one_step_away(log: Log) -> None:
    a = log.event(makes=[made(obj("x"))])
    b = log.event(uses=[used(obj("x"), a)], makes=[made(obj("y"))])
    log.event(uses=[used(b, role="run")])
    assert neighbours(log.db, obj("x")) == [("made it", 0), ("used it", 1)]
    assert neighbours(log.db, Ref(b)) == [("it depends on", 0), ("depends on it", 2)]


def test_paths_are_the_shortest_and_respect_who_made_what(log: Log) -> None:
    raw = obj("raw")
    prepare = log.event(uses=[used(raw)], makes=[made(obj("clean"))])
    featurize = log.event(uses=[used(obj("clean"), prepare)], makes=[made(obj("features"))])
    train = log.event(uses=[used(obj("features"), featurize), used(obj("clean"), prepare)], makes=[made(obj("model"))])
    (way,) = paths(log.db, raw, obj("model"))
    assert [str(link.event) for link in way] == [prepare, prepare, train, train]
    assert paths(log.db, obj("model"), raw) == ()
    assert paths(log.db, raw, raw) == ((),)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16))
def test_references_survive_being_kept_as_bytes(digest: bytes, event: bytes) -> None:
    assert key(ref_of(digest)) == digest
    assert key(ref_of(event)) == event


def test_edges_are_read_through_their_lists(log: Log) -> None:
    edges = [used(obj(n)) for n in range(3)]
    assert list(provenance.edges([edges[0], log.share(*edges[1:])], log.blob)) == edges


def test_any_row_of_the_graph_that_is_changed_is_named(log: Log) -> None:
    log.event(uses=[log.share(used(obj("x"))), used(obj("y"))], makes=[made(obj("z"), path="p")])
    log.views.database()
    changes: list[Callable[[apsw.Connection], object]] = [
        lambda db: db.execute("UPDATE provenance_edges SET node = 1 WHERE direction = 1"),
        lambda db: db.execute("DELETE FROM provenance_shared"),
        lambda db: db.execute("UPDATE provenance_refs SET name = x'00' WHERE node = 1"),
    ]
    for change in changes:
        db = apsw.Connection(str(log.folder / "views.db"))
        change(db)
        db.close()
        assert any(f.level == "altered" and f.what.startswith("view provenance_") for f in log.views.verify())
        log.views.rebuild()
    assert list(log.views.verify()) == []


# References


class Names:
    """A few names, as the records of a workspace would give them."""

    def __init__(self, **names: EventId) -> None:
        self._names = {k.replace("_", ":", 1): v for k, v in names.items()}

    def lookup(self, kind: str | None, name: str, version: str | None) -> list[Candidate]:
        wanted = {None: "v1", "1": "v1", "v1": "v1", "champion": "v1"}.get(version, version)
        return [
            Candidate(event=event, printed=f"{known}@v1")
            for known, event in self._names.items()
            if known.split(":")[1] == name and kind in (None, known.split(":")[0]) and wanted == "v1"
        ]

    def known(self) -> Sequence[str]:
        return [known.split(":")[1] for known in self._names]


@pytest.fixture
def filled(log: Log) -> Log:
    for n in range(14):
        log.event(makes=[made(obj(n))])
    return log


NAMES = Names(model_credit=eid(3), dataset_raw=eid(4), model_twice=eid(5), dataset_twice=eid(6))


def ask(log: Log, text: str) -> Resolved:
    return resolve(Logs(log.ledger), log.db, text, NAMES)


@pytest.mark.parametrize(
    ("text", "event", "row"),
    [
        ("12", 12, None),
        ("0", 0, None),
        (" 12.3 ", 12, 3),
        ("0f1e:12.3", 12, 3),
        (eid(7), 7, None),
        (eid(7) + ".2", 7, 2),
        (eid(7).upper(), 7, None),
        (eid(7).replace("-", ""), 7, None),
        ("credit", 3, None),
        ("credit@v1", 3, None),
        ("credit@1", 3, None),
        ("credit@champion", 3, None),
        ("model:credit@v1", 3, None),
        ("dataset:raw", 4, None),
        ("model:twice", 5, None),
    ],
)
def test_an_event_is_named_in_each_way(filled: Log, text: str, event: int, row: int | None) -> None:
    resolved = ask(filled, text)
    assert (resolved.event, resolved.object, resolved.row) == (eid(event), None, row)
    again = ask(filled, resolved.printed)
    assert (again.event, again.row) == (eid(event), row)


def test_an_object_is_named_by_its_digest_or_the_beginning_of_it(filled: Log) -> None:
    digest = Digest(obj(3))
    for text in (digest, digest[:15], digest[:9] + "...", digest[:9] + "…", digest[3:15]):
        resolved = ask(filled, text)
        assert (resolved.event, resolved.object) == (None, digest)
        assert ask(filled, resolved.printed).object == digest


def test_a_full_digest_is_taken_as_it_is_and_a_short_one_is_looked_up_in_the_store(filled: Log) -> None:
    other = Digest(obj("in a folder"))
    assert ask(filled, other).object == other
    with pytest.raises(UnknownReferenceError):
        ask(filled, other[:12])
    found = resolve(Logs(filled.ledger), filled.db, other[:12], NAMES, objects=lambda prefix: [other])
    assert found.object == other


@pytest.mark.parametrize(
    "text",
    [
        "",
        "14",
        "99999999999999999",
        "ffff:12",
        "nobody",
        "credit@v9",
        "b3-000000",
        "run:credit",
        "b3-",
        "a@b@c",
        "-1",
        "1.2.3",
    ],
)
def test_what_names_nothing_says_so(filled: Log, text: str) -> None:
    with pytest.raises(UnknownReferenceError):
        ask(filled, text)


def test_an_ambiguous_name_prints_what_can_be_pasted_instead(filled: Log) -> None:
    with pytest.raises(AmbiguousReferenceError) as caught:
        ask(filled, "twice")
    assert {ask(filled, text).event for text in caught.value.candidates} == {eid(5), eid(6)}
    with pytest.raises(AmbiguousReferenceError) as caught:
        ask(filled, "01936b00")
    assert all(ask(filled, text).event for text in caught.value.candidates)


def test_a_mistyped_name_gets_near_matches(filled: Log) -> None:
    with pytest.raises(UnknownReferenceError, match="credti") as caught:
        ask(filled, "credti@v1")
    assert caught.value.near == ("credit@v1",)
    assert "credit@v1" in caught.value.hint
    with pytest.raises(UnknownReferenceError, match="999") as caught:
        ask(filled, "999.0")
    assert caught.value.hint.startswith("The last entry is ")


def test_prov_names_every_node_and_every_link_once(log: Log) -> None:
    a = log.event(makes=[made(obj("x"), path="\udcff")])
    b = log.event(uses=[used(obj("x"), a, path="\udcff"), used(a, role="run")])
    graph = upstream(log.db, Ref(b))
    document: dict[str, dict[str, dict[str, str]]] = json.loads(json.dumps(to_prov(graph)))
    assert {*document["entity"], *document["activity"]} == {f"retrodict:{ref}" for ref in refs(graph)}
    relations = {name for kind in ("used", "wasGeneratedBy", "wasInformedBy") for name in document[kind]}
    assert len(relations) == len(graph.links) == 3
    for relation, cause, effect in (
        ("used", "prov:entity", "prov:activity"),
        ("wasGeneratedBy", "prov:activity", "prov:entity"),
        ("wasInformedBy", "prov:informant", "prov:informed"),
    ):
        for fields in document[relation].values():
            assert {fields[cause], fields[effect]} <= {*document["entity"], *document["activity"]}
    assert [f["prov:agent"] for f in document["wasAssociatedWith"].values()] == ["retrodict:agent-somebody"] * 2
