"""Events as bytes: one way to write each, nothing lost on the way."""

from __future__ import annotations

import dataclasses
import json
import string

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from retrodict.kernel import canonical, entry
from retrodict.kernel.canonical import MAX_ENTRY_BYTES, MAX_INTEGER
from retrodict.kernel.errors import EntryTooLargeError, FormatError, RetrodictError, UsageError
from retrodict.kernel.types import Digest, Edge, EdgeList, Event, EventId, Ref, SealedText

DIGEST = Digest("b3-" + "0123456789abcdef" * 4)
ID = EventId("019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
word = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.text(string.ascii_letters + "_ 0~", max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: Digest("b3-" + raw.hex()))


@st.composite
def event_ids(draw: st.DrawFn) -> EventId:
    h = draw(st.binary(min_size=16, max_size=16)).hex()
    return EventId(f"{h[:8]}-{h[8:12]}-7{h[13:16]}-{draw(st.sampled_from('89ab'))}{h[17:20]}-{h[20:]}")


def extras(*known: str) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(names.filter(lambda name: name not in known), values, max_size=2)


paths = st.none() | text | st.binary(max_size=8).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
EDGE = ("ref", "role", "evidence", "path", "from", "list")


def edges(*, made_by: bool) -> st.SearchStrategy[Edge | EdgeList]:
    single = st.builds(
        Edge,
        ref=(digests | event_ids()).map(Ref),
        role=word,
        evidence=st.sampled_from(["declared", "observed", "inferred"]),
        path=paths,
        made_by=st.none() | event_ids() if made_by else st.none(),
        extra=extras(*EDGE),
    )
    return single | st.builds(EdgeList, digest=digests, extra=extras(*EDGE))


events = st.builds(
    Event,
    id=event_ids(),
    kind=st.from_regex(r"[a-z]{1,6}(\.[a-z_]{1,6}){1,2}", fullmatch=True),
    at=st.datetimes().map(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + ".000000001Z"),
    tick=st.integers(0, MAX_INTEGER),
    agent=word,
    reason=st.none() | st.builds(SealedText, digest=digests, key=word, extra=extras("sealed", "key")),
    replaces=st.lists(event_ids(), max_size=2).map(tuple),
    uses=st.lists(edges(made_by=True), max_size=3).map(tuple),
    makes=st.lists(edges(made_by=False), max_size=3).map(tuple),
    body=st.dictionaries(names, values, max_size=4),
    extra=extras("agent", "at", "body", "id", "kind", "makes", "reason", "replaces", "tick", "uses"),
)


def event(**changes: object) -> Event:
    plain = Event(
        id=ID, kind="model.trained", at="2019-11-07T20:34:00.000000001Z", agent="a-1", uses=(), makes=(), body={}
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def edge(**changes: object) -> Edge:
    return dataclasses.replace(Edge(ref=Ref(DIGEST), role="data", evidence="observed"), **changes)  # type: ignore[arg-type]


@given(events)
def test_an_event_comes_back_from_its_entry_and_the_entry_from_the_event(value: Event) -> None:
    data = entry.encode(value)
    assert entry.decode(data) == value
    assert entry.encode(entry.decode(data)) == data


@given(events)
def test_an_entry_is_canonical_by_rfc_8785(value: Event) -> None:
    data = entry.encode(value)
    assert rfc8785.dumps(json.loads(data)) == data


@given(values)
def test_the_canonical_encoder_is_rfc_8785_for_all_that_entries_may_hold(value: object) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert canonical.decode(canonical.encode(value)) == value


@given(st.lists(edges(made_by=True).filter(lambda value: isinstance(value, Edge)), max_size=4))
def test_an_edge_list_comes_back(items: list[Edge]) -> None:
    assert entry.decode_edge_list(entry.encode_edge_list(items)) == tuple(items)


@given(events, st.integers(0, MAX_INTEGER))
def test_the_tick_can_be_put_in_later(value: Event, tick: int) -> None:
    later = dataclasses.replace(value, tick=tick)
    assert entry.encode_around_tick(value).at(tick) == entry.encode(later)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_entry_are_refused_as_such(data: bytes) -> None:
    with pytest.raises(FormatError):
        entry.decode(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "019AB3C4-5D6E-7F80-9A1B-2C3D4E5F6071"},
        {"id": "019ab3c4-5d6e-4f80-9a1b-2c3d4e5f6071"},
        {"id": ID + "\n"},
        {"kind": "trained"},
        {"kind": "Model.trained"},
        {"at": "2019-11-07T20:34:00Z"},
        {"at": "2019-13-07T20:34:00.000000001Z"},
        {"at": "2019-11-07T20:34:00.000000001+00:00"},
        {"tick": -1},
        {"tick": MAX_INTEGER + 1},
        {"tick": True},
        {"agent": ""},
        {"agent": None},
        {"reason": SealedText(digest=Digest("b3-1"), key="k")},
        {"reason": SealedText(digest=DIGEST, key="")},
        {"replaces": ("12",)},
        {"body": {"x": 1.0}},
        {"body": {"x": MAX_INTEGER + 1}},
        {"body": {"ä": 1}},
        {"body": {"x": "\ud800"}},
        {"body": {"x": b""}},
        {"extra": {"id": 1}},
        {"uses": (edge(ref="credit@2"),)},
        {"uses": (edge(role=""),)},
        {"uses": (edge(evidence="guessed"),)},
        {"uses": (edge(path="\ud800"),)},
        {"uses": (edge(made_by="12"),)},
        {"uses": (edge(extra={"role": "x"}),)},
        {"uses": (EdgeList(digest=Digest("b3-")),)},
        {"makes": (edge(made_by=ID),)},
        {"uses": (edge(),) * 65},
    ],
    ids=str,
)
def test_an_event_that_breaks_the_format_cannot_be_written(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        entry.encode(event(**changes))


def written(**changes: object) -> bytes:
    return canonical.encode({**json.loads(entry.encode(event())), **changes})


EDGE_FIELDS = {"evidence": "observed", "from": None, "path": None, "ref": DIGEST, "role": "data"}


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        entry.encode(event()).replace(b'"agent":"a-1",', b""),
        entry.encode(event()).replace(b'"agent"', b'"agent":"b","agent"'),
        entry.encode(event()).replace(b'"tick":0', b'"tick":0.0'),
        entry.encode(event()).replace(b'"tick":0', b'"tick":true'),
        entry.encode(event()).replace(b'"tick":0', b'"tick":9007199254740992'),
        entry.encode(event()).replace(b"{}", b'{"x":NaN}'),
        entry.encode(event()).replace(b"{}", b'{"x":"\\ud800"}'),
        entry.encode(event()).replace(b"a-1", b"\xff"),
        b'{"a":' * 5000,
        written(uses=[{**EDGE_FIELDS, "evidence": "guessed"}]),
        written(uses=[{k: v for k, v in EDGE_FIELDS.items() if k != "from"}]),
        written(uses=[{k: v for k, v in EDGE_FIELDS.items() if k != "path"}]),
        written(makes=[EDGE_FIELDS]),
        written(uses=[{"list": DIGEST, "role": "data"}]),
        written(uses=[{**EDGE_FIELDS, "path": {"b64": "YQ=="}}]),  # text, so it is to be written as text
        written(uses=[{**EDGE_FIELDS, "path": {"b64": "/x=="}}]),  # bits that say nothing
        written(uses=[{**EDGE_FIELDS, "path": {"b64": "/w=="}, "evidence": 1}]),
        written(uses=[EDGE_FIELDS] * 65),
        written(reason={"sealed": DIGEST}),
        written(body=[]),
        written(replaces=None),
        b" " * MAX_ENTRY_BYTES + entry.encode(event()),
    ],
)
def test_an_entry_that_breaks_the_format_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        entry.decode(data)


def test_a_path_that_is_not_text_keeps_its_bytes() -> None:
    value = event(uses=(edge(path="data/\udcff.csv"),))
    data = entry.encode(value)
    assert b'"path":{"b64":"ZGF0YS//LmNzdg=="}' in data
    assert entry.decode(data) == value


def test_an_entry_is_at_most_65535_bytes_whatever_its_tick() -> None:
    room = MAX_ENTRY_BYTES - len(entry.encode(event(body={"x": ""}, tick=MAX_INTEGER)))
    assert len(entry.encode(event(body={"x": "y" * room}, tick=MAX_INTEGER))) == MAX_ENTRY_BYTES
    with pytest.raises(EntryTooLargeError, match="65,535") as caught:
        entry.encode(event(body={"x": "y" * (room + 1)}))
    assert caught.value.size_bytes == MAX_ENTRY_BYTES + 1


def test_every_refusal_is_of_our_family() -> None:
    deep: object = None
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RetrodictError, match="nested"):
        entry.encode(event(body={"x": deep}))
    while isinstance(deep, list):  # or its own destruction would recurse
        deep = deep.pop()
