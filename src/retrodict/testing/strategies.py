"""Hypothesis strategies: everything that an event, a tree or a payload may hold, hostile values first.

Needs Hypothesis; `frames` and `arrays` need numpy and pandas, which are imported when they are drawn.
"""

from __future__ import annotations

import os
import struct
from typing import Any

from hypothesis import strategies as st

from retrodict.kernel.canonical import MAX_INTEGER
from retrodict.kernel.clock import rfc3339
from retrodict.kernel.types import MAX_EDGES, Digest, Edge, EdgeList, Event, EventId, Ref, SealedText

# Doubles that text, JSON or a careless comparison loses: both zeros, the smallest and largest, NaNs with a payload and
# with the sign bit, infinities, and the first integer that a double skips.
HOSTILE_DOUBLES: tuple[float, ...] = (
    0.0,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    *(
        struct.unpack("<d", struct.pack("<Q", bits))[0]
        for bits in (0x7FF8000000000000, 0x7FF8DEADBEEF0001, 0xFFF8000000000001)
    ),
    float(2**53),
    0.1,
)
HOSTILE_INTEGERS = (0, -1, 2**31, 2**53 - 1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))
HOSTILE_TEXTS = ("", " ", "NaN", "null", "1e5", "=1+1", "Äpfel", "e\u0301", "\u202eabc", "\x00", "a\nb", "🝰", "'; --")
HOSTILE_NAMES = (
    b"-rf",
    b"a b",
    b"\xff\xfe",
    b"caf\xe9",
    "Äpfel".encode(),
    b"new\nline",
    b"con",
    b"*",
    b"~",
    b"...",
    b"a" * 255,
)

_KINDS = ("dataset.added", "run.finished", "model.registered", "alias.set", "prediction.made", "x.y_z")
_ROLES = ("dataset", "input", "output", "model", "code", "environment", "training-data")


def digests() -> st.SearchStrategy[Digest]:
    """Full names of objects."""
    return st.binary(min_size=32, max_size=32).map(lambda raw: Digest("b3-" + raw.hex()))


def event_ids() -> st.SearchStrategy[EventId]:
    """UUIDv7s."""

    def form(raw: bytes) -> EventId:
        h = raw.hex()
        return EventId(f"{h[:8]}-{h[8:12]}-7{h[13:16]}-{'89ab'[raw[8] % 4]}{h[17:20]}-{h[20:]}")

    return st.binary(min_size=16, max_size=16).map(form)


def instants() -> st.SearchStrategy[str]:
    """RFC 3339 with nanoseconds, 1970 to 2200."""
    return st.integers(0, 7_258_118_400 * 10**9 - 1).map(rfc3339)


def names() -> st.SearchStrategy[bytes]:
    """File names as Linux allows them: any bytes but "/" and NUL, 1 to 255 of them, not "." or ".."."""
    free = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    return st.one_of(st.sampled_from(HOSTILE_NAMES), free).filter(lambda name: name not in (b".", b".."))


def paths() -> st.SearchStrategy[str]:
    """Relative paths; bytes that are not UTF-8 stand as surrogates."""
    return st.lists(names(), min_size=1, max_size=4).map(lambda parts: os.fsdecode(b"/".join(parts)))


def texts() -> st.SearchStrategy[str]:
    """Unicode text."""
    return st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))


def json_values() -> st.SearchStrategy[Any]:
    """What an entry may hold: no floats, integers within ±(2^53-1), ASCII keys."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-MAX_INTEGER, MAX_INTEGER),
        st.sampled_from([MAX_INTEGER, -MAX_INTEGER, 0]),
        texts(),
    )
    return st.recursive(leaves, lambda inner: st.one_of(st.lists(inner, max_size=4), json_objects(inner)), max_leaves=8)


def json_objects(values: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of such values."""
    keys = st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20), max_size=12)
    return st.dictionaries(keys, json_values() if values is None else values, max_size=5)


def _unknown_fields() -> st.SearchStrategy[dict[str, Any]]:
    """Fields of a later release: no name that this one knows."""
    return st.dictionaries(st.text("xyz", min_size=3, max_size=8), json_values(), max_size=2)


def edges(side: str = "uses") -> st.SearchStrategy[Edge | EdgeList]:
    """Edges of `uses` or of `makes` (which have no "from")."""
    single = st.builds(
        Edge,
        ref=st.one_of(digests(), event_ids()).map(Ref),
        role=st.sampled_from(_ROLES),
        evidence=st.sampled_from(["declared", "observed", "inferred"]),
        path=st.none() | paths(),
        made_by=st.none() | event_ids() if side == "uses" else st.none(),
        extra=_unknown_fields(),
    )
    return st.one_of(single, st.builds(EdgeList, digest=digests(), extra=_unknown_fields()))


def sealed_texts() -> st.SearchStrategy[SealedText]:
    """What an entry holds of a sealed text."""
    return st.builds(SealedText, digest=digests(), key=st.text("0123456789abcdef", min_size=32, max_size=32))


def events(*, with_tick: bool = True) -> st.SearchStrategy[Event]:
    """Events of known and unknown kinds, with fields that this release does not know.

    Args:
        with_tick: Drafts, which the ledger gives a tick, have none.
    """
    return st.builds(
        Event,
        id=event_ids(),
        kind=st.sampled_from(_KINDS),
        at=instants(),
        agent=st.text("0123456789abcdef", min_size=32, max_size=32),
        uses=st.lists(edges("uses"), max_size=4).map(tuple),
        makes=st.lists(edges("makes"), max_size=4).map(tuple),
        body=json_objects(),
        tick=st.integers(0, MAX_INTEGER) if with_tick else st.just(0),
        reason=st.none() | sealed_texts(),
        replaces=st.lists(event_ids(), max_size=2).map(tuple),
        extra=_unknown_fields(),
    )


def many_edges() -> st.SearchStrategy[tuple[Edge | EdgeList, ...]]:
    """As many edges as an entry may have, and one more."""
    return st.sampled_from([MAX_EDGES, MAX_EDGES + 1]).flatmap(
        lambda n: st.lists(edges(), min_size=n, max_size=n).map(tuple)
    )


def trees(*, max_leaves: int = 12) -> st.SearchStrategy[dict[bytes, Any]]:
    """Folders: names to bytes (a file), to `str` (the target of a symbolic link) or to a folder."""
    leaves = st.one_of(st.binary(max_size=200), st.sampled_from(["target", "../outside", "/etc/hostname", "."]))
    return st.dictionaries(
        names(),
        st.recursive(leaves, lambda inner: st.dictionaries(names(), inner, max_size=4), max_leaves=max_leaves),
        max_size=5,
    )


def doubles() -> st.SearchStrategy[float]:
    """Any double, all NaNs included."""
    any_bits = st.integers(0, 2**64 - 1).map(lambda bits: float(struct.unpack("<d", struct.pack("<Q", bits))[0]))
    return st.one_of(st.sampled_from(HOSTILE_DOUBLES), any_bits)


def arrays(*, max_side: int = 4) -> st.SearchStrategy[Any]:
    """Numpy arrays of the number types, 1 or 2 dimensions, in C and in Fortran order."""

    @st.composite
    def build(draw: st.DrawFn) -> Any:
        import numpy as np

        dtype = np.dtype(draw(st.sampled_from(["f8", "f4", "i8", "i4", "u1", "?"])))
        shape = tuple(draw(st.lists(st.integers(0, max_side), min_size=1, max_size=2)))
        count = int(np.prod(shape))
        if dtype == np.dtype("f8"):
            flat = np.array(draw(st.lists(doubles(), min_size=count, max_size=count)), dtype)
        else:
            raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
            flat = np.frombuffer(raw, dtype).copy() if dtype != np.dtype("?") else np.frombuffer(raw, "u1") % 2 == 1
        array = flat.reshape(shape)
        return np.asfortranarray(array) if draw(st.booleans()) else array

    return build()


def frames(*, max_rows: int = 5) -> st.SearchStrategy[Any]:
    """Pandas data frames with columns of every type that models are given, hostile values among them."""

    @st.composite
    def build(draw: st.DrawFn) -> Any:
        import numpy as np
        import pandas as pd

        rows = draw(st.integers(0, max_rows))

        def listed(values: st.SearchStrategy[Any]) -> list[Any]:
            return draw(st.lists(values, min_size=rows, max_size=rows))

        def column(kind: str) -> Any:
            match kind:
                case "float64" | "float32":
                    return (
                        pd.Series(np.array(listed(doubles()), "f8"))
                        if kind == "float64"
                        else pd.Series(
                            np.frombuffer(draw(st.binary(min_size=4 * rows, max_size=4 * rows)), "f4").copy()
                        )
                    )
                case "int64":
                    integers = st.one_of(st.sampled_from(HOSTILE_INTEGERS), st.integers(-(2**63), 2**63 - 1))
                    return pd.Series(np.array(listed(integers), "i8"))
                case "bool":
                    return pd.Series(np.array(listed(st.booleans()), "?"))
                case "text":
                    return pd.Series(listed(st.one_of(texts(), st.none())), dtype=object)
                case "category":
                    return pd.Series(pd.Categorical(listed(st.sampled_from(["A11", "A12", ""])), ["A12", "", "A11"]))
                case _:
                    return pd.Series(np.array(listed(st.integers(0, 2**60)), "i8").astype("M8[ns]"))

        kinds = draw(
            st.lists(
                st.sampled_from(["float64", "float32", "int64", "bool", "text", "category", "time"]),
                min_size=1,
                max_size=4,
            )
        )
        labels = draw(st.lists(texts(), min_size=len(kinds), max_size=len(kinds), unique=True))
        return pd.DataFrame(dict(zip(labels, map(column, kinds), strict=True)))

    return build()
