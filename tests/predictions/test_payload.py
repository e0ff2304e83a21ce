"""Payloads give back every bit: values, dtypes, order, index, layout."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import decimal
import json
import math
import struct
import uuid
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from retrodict.kernel import canonical
from retrodict.kernel.errors import FormatError
from retrodict.predictions import messages, payload, tagged
from retrodict.predictions.errors import UnsupportedPayloadError

QUICK = settings(max_examples=60, deadline=None)
PAYLOAD_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]


def through(value: Any) -> Any:
    encoded = payload.encode(value)
    canonical.encode(dict(encoded.meta))  # stands in an entry: no floats, ASCII keys
    return payload.decode(encoded.codec, encoded.schema, encoded.batch, json.loads(json.dumps(encoded.meta)))


def layout(array: Any) -> Any:
    if array.size <= 1 or array.flags.c_contiguous or array.flags.f_contiguous:
        return array.flags.c_contiguous, array.flags.f_contiguous
    return array.strides


def same_scalar(a: Any, b: Any) -> None:
    assert type(a) is type(b), (a, b)
    if isinstance(a, float | complex):
        assert struct.pack("<dd", *_parts(a)) == struct.pack("<dd", *_parts(b))
    elif isinstance(a, np.generic):
        assert (a.dtype, a.tobytes()) == (b.dtype, b.tobytes())
    elif a is pd.NA or a is pd.NaT or a is None:
        assert a is b
    else:
        assert a == b
        if isinstance(a, dt.datetime | dt.time):
            assert (a.tzinfo, a.fold) == (b.tzinfo, b.fold)
        if isinstance(a, pd.Timestamp | pd.Timedelta):
            assert a.unit == b.unit


def _parts(number: Any) -> tuple[float, float]:
    return (number.real, number.imag) if isinstance(number, complex) else (number, 0.0)


def same_array(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if not isinstance(a, np.ndarray):  # an extension array
        assert a.dtype == b.dtype
        assert repr(a.dtype) == repr(b.dtype)
        assert getattr(a.dtype, "na_value", None) is getattr(b.dtype, "na_value", None) or math.isnan(b.dtype.na_value)
        if isinstance(a, pd.Categorical):
            same_array(a.codes.copy(), b.codes.copy())
            same_index(a.categories, b.categories)
        elif isinstance(a, pd.arrays.FloatingArray):
            same_array(a.to_numpy("f8", na_value=0.5), b.to_numpy("f8", na_value=0.5))
            same_array(a.isna(), b.isna())
        else:
            for x, y in zip(a, b, strict=True):
                same(x, y)
        return
    assert (a.dtype.str, a.shape) == (b.dtype.str, b.shape)
    assert layout(a) == layout(b)
    if a.dtype.kind == "O":
        for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
            same(x, y)
    else:
        assert a.tobytes() == b.tobytes()


def same_index(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    assert a.names == b.names
    if isinstance(a, pd.RangeIndex):
        assert (a.start, a.stop, a.step) == (b.start, b.stop, b.step)
    elif isinstance(a, pd.MultiIndex):
        for i in range(a.nlevels):
            same_index(a.get_level_values(i), b.get_level_values(i))
    else:
        assert getattr(a, "freqstr", None) == getattr(b, "freqstr", None)
        same_array(a._values, b._values)


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b), (a, b)
    match a:
        case pd.DataFrame():
            same_index(a.index, b.index)
            same_index(a.columns, b.columns)
            for i in range(a.shape[1]):
                same_array(a.iloc[:, i]._values, b.iloc[:, i]._values)
            numeric = [block for block in a._mgr.blocks if isinstance(block.values, np.ndarray)]
            again = [block for block in b._mgr.blocks if isinstance(block.values, np.ndarray)]
            for old, new in zip(numeric, again, strict=True):
                assert old.mgr_locs.as_array.tolist() == new.mgr_locs.as_array.tolist()
                same_array(old.values, new.values)
        case pd.Series():
            same_index(a.index, b.index)
            same(a.name, b.name)
            same_array(a._values, b._values)
        case pd.Index():
            same_index(a, b)
        case np.ndarray():
            same_array(a, b)
        case list() | tuple():
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                same(x, y)
        case dict():
            assert len(a) == len(b)
            for (k, x), (m, y) in zip(a.items(), b.items(), strict=True):
                same(k, m)
                same(x, y)
        case pa.Table() | pa.RecordBatch() | pl.DataFrame() | pl.Series():
            assert a.equals(b)
        case _:
            same_scalar(a, b)


# ---- values that are known to get lost elsewhere ---------------------------------------------------------------------

AWKWARD_FRAME = pd.DataFrame(
    {
        "f8": [-0.0, PAYLOAD_NAN, math.inf],
        "f4": np.array([0.1, -0.0, np.nan], "f4"),
        "f2": np.array([0.1, -0.0, np.nan], "f2"),
        "i8": [2**53 + 1, -(2**63), 0],
        "u8": np.array([2**64 - 1, 0, 1], "u8"),
        "i1": np.array([-128, 127, 0], "i1"),
        "b": [True, False, True],
        "c16": [1j, complex(-0.0, math.nan), 2],
        "s": ["ä", None, ""],
        "o": pd.Series(["x", None, "z"], dtype=object),
        "mixed": pd.Series([None, math.nan, pd.NA], dtype=object),
        "kinds": pd.Series([1, 1.0, True], dtype=object),
        "deep": pd.Series([(1, [2]), {"k": -0.0}, b"\xff"], dtype=object),
        "days": pd.to_datetime(["2019-11-07", None, "1677-09-22"]),
        "ns": pd.Series(["2019-11-07T20:34:00.000000001", None, "1970"], dtype="datetime64[ns]"),
        "s_unit": pd.Series(["2019-11-07", None, "9999-12-31"], dtype="datetime64[s]"),
        "zone": pd.to_datetime(["2019-10-27T00:30Z", "2019-10-27T01:30Z", None]).tz_convert("Europe/Berlin"),
        "offset": pd.to_datetime(["2019-10-27T00:30+05:30"] * 3),
        "delta": pd.to_timedelta([1, None, -5], unit="us"),
        "cat": pd.Categorical(["b", None, "a"], categories=["b", "c", "a"], ordered=True),
        "catnum": pd.Categorical([1.5, -0.0, 1.5]),
        "Int": pd.array([1, None, 2**62], dtype="Int64"),
        "Float": pd.array([1.5, None, -0.0], dtype="Float32"),
        "bool": pd.array([True, None, False], dtype="boolean"),
        "string": pd.array(["a", None, "b"], dtype=pd.StringDtype("python")),
        "stringa": pd.array(["a", None, "b"], dtype=pd.StringDtype("pyarrow")),
        "period": pd.period_range("2019-01", periods=3, freq="M"),
        "interval": pd.interval_range(0, 3),
        "arrow": pd.array([[1], None, [2, 3]], dtype=pd.ArrowDtype(pa.list_(pa.int32()))),
        7: [1, 2, 3],
        (1, "x"): [1.0, 2.0, 3.0],
        None: [1, 2, 3],
    },
    index=["r1", "r2", "r2"],
)


@pytest.mark.parametrize("name", list(AWKWARD_FRAME.columns), ids=repr)
def test_a_column_of_every_dtype_survives_bit_for_bit(name: Any) -> None:
    position = list(AWKWARD_FRAME.columns).index(name)
    same(AWKWARD_FRAME.iloc[:, [position]], through(AWKWARD_FRAME.iloc[:, [position]]))
    same(AWKWARD_FRAME.iloc[:, position], through(AWKWARD_FRAME.iloc[:, position]))


def test_a_frame_of_all_dtypes_survives_whole_sliced_and_empty() -> None:
    for frame in (
        AWKWARD_FRAME,
        AWKWARD_FRAME.iloc[1:2],
        AWKWARD_FRAME.iloc[:0],
        AWKWARD_FRAME.iloc[:, :0],
        pd.DataFrame(),
    ):
        same(frame, through(frame))


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(5, 35, 10, name="n"),
        pd.RangeIndex(0),
        pd.RangeIndex(10, 0, -5),
        pd.Index([3, 1, 2], name=("a", 1)),
        pd.Index([-0.0, math.nan, 1]),
        pd.Index(["a", None, 2], dtype=object),
        pd.date_range("2020", periods=3, freq="D", tz="UTC"),
        pd.DatetimeIndex(["2020", "2022", "2021"], name=None),
        pd.timedelta_range(0, periods=3, freq="h"),
        pd.period_range("2020-01", periods=3, freq="Q", name="q"),
        pd.CategoricalIndex(["x", "y", "x"], categories=["y", "x"]),
        pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, None)], names=["n", None]),
        pd.MultiIndex.from_product([pd.RangeIndex(2), pd.date_range("2020", periods=2)]),
        pd.interval_range(0, 3, closed="both"),
        pd.Index([1, None], dtype="Int64"),
    ],
    ids=lambda index: type(index).__name__ + str(index.dtype),
)
def test_every_kind_of_index_survives_as_rows_columns_and_itself(index: Any) -> None:
    same(index, through(index))
    by_row = pd.DataFrame({"x": np.arange(len(index), dtype="f4")}, index=index)
    same(by_row, through(by_row))
    same(by_row["x"], through(by_row["x"]))
    as_columns = pd.DataFrame(np.zeros((2, len(index))), columns=index)
    same(as_columns, through(as_columns))


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.array("text"),
        np.zeros((0, 3)),
        np.zeros((3, 0), "f4"),
        np.zeros((2, 0, 4), "i2"),
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
        np.arange(100.0).reshape(10, 10)[::2, ::-3],
        np.arange(10.0)[::-1],
        np.broadcast_to(np.arange(3.0), (4, 3)),
        np.arange(40.0).reshape(10, 4)[5:6].T[:, :],
        np.array([1, 2**40], ">i8"),
        np.array([1.5, math.nan], ">f4"),
        np.array([1.5, -0.0], "f2"),
        np.array([True, False]),
        np.array([2, 1], "u1").view("?"),
        np.array([[1j, -0j]]),
        np.array([1.5], "g"),
        np.array([["ab", "ü"], ["", "c"]]),
        np.array([b"ab", b"\x00c"]),
        np.array(["2020", "NaT"], "M8[D]"),
        np.array([1, -1], "m8[3h]"),
        np.array([b"abc"], "V3"),
        np.array([["x", None], [1, (2.5, b"")]], dtype=object),
        np.asfortranarray(np.array([["x", "y", "z"], ["a", "b", "c"]], dtype=object)),
        np.array([["x", "y", "z"], ["a", "b", "c"]], dtype=object)[:, ::-1],
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}{a.strides}",
)
def test_an_array_survives_with_dtype_shape_and_layout(array: Any) -> None:
    same(array, through(array))


def test_a_view_into_something_huge_is_rebuilt_small_with_the_same_class_of_layout() -> None:
    huge = np.lib.stride_tricks.as_strided(np.zeros(8), (1, 4), (8, 0))
    view = np.ndarray((2, 4), "f8", np.zeros(64 * 2**20, "u1"), 0, (8, 16 * 2**20 - 8))
    view[:] = np.arange(8.0).reshape(2, 4)
    again = through(view)
    assert again.tobytes() == view.tobytes()
    assert again.strides[0] == 8
    assert again.strides[1] > 16  # still with a gap
    same(huge, through(huge))


LAYOUTS = [
    pd.DataFrame(np.arange(12.0).reshape(3, 4)),
    pd.DataFrame(np.asfortranarray(np.arange(12.0).reshape(3, 4))),
    pd.DataFrame(np.arange(4000.0).reshape(1000, 4)).iloc[17:18],
    pd.DataFrame(np.arange(4000.0).reshape(1000, 4))[[3, 1]],
    pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0], "n": [1, 2], "c": [5.0, 6.0]}),
    pd.DataFrame({"a": [1.0, 2.0]}).assign(b=[1.0, 2.0], c=[3, 4]),
    pd.DataFrame([{"a": 1.5, "b": 2, "c": "x"}]),
]


@pytest.mark.parametrize("frame", LAYOUTS)
def test_a_frame_keeps_its_blocks_and_what_numpy_makes_of_them(frame: Any) -> None:
    again = through(frame)
    same(frame, again)
    assert layout(frame.to_numpy()) == layout(again.to_numpy())


def test_calls_of_one_shape_share_their_schema() -> None:
    one = pd.DataFrame(np.random.default_rng(1).normal(size=(1, 4)), columns=list("abcd"))
    many = pd.DataFrame(np.random.default_rng(2).normal(size=(32, 4)), columns=list("abcd"))
    later = many.iloc[5:9]
    assert len({payload.encode(frame).schema for frame in (one, many, later)}) == 1
    assert len({payload.encode(frame.to_numpy()).schema for frame in (one, many, later)}) == 1
    assert payload.encode(one).schema != payload.encode(one.rename(columns={"a": "A"})).schema
    assert payload.encode(one).schema != payload.encode(one.astype("f4")).schema


# ---- plain values ----------------------------------------------------------------------------------------------------

PLAIN = [
    None,
    -0.0,
    PAYLOAD_NAN,
    -math.inf,
    5e-324,
    2**53 + 1,
    -(10**5000),
    "lone \ud83d\ude00 surrogates",
    b"\x00\xff",
    1 - 0j,
    decimal.Decimal("1.10"),
    uuid.UUID(int=5),
    dt.datetime(2019, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    dt.datetime(2019, 10, 27, 2, 30, 1, 5, tzinfo=dt.timezone(dt.timedelta(minutes=-90))),
    dt.date(1, 1, 1),
    dt.time(23, 59, 59, 999999),
    dt.timedelta(days=-1, microseconds=1),
    np.float32(0.1),
    np.float64(-0.0),
    np.int64(2**62),
    np.bool_(True),
    np.str_("x"),
    np.datetime64("2020-01-01"),
    pd.NA,
    pd.NaT,
    pd.Timestamp("2019-11-07T20:34:00.000000001", tz="Europe/Berlin"),
    pd.Timestamp(2019, 11, 7),
    pd.Timedelta("1us"),
    {"$": "v", 1: (True, 1, 1.0), None: [], (1, 2): {}, 2.5: "", "deep": {"$": {"$": None}}},
    {"vector": np.arange(3, dtype="f4"), "frames": [AWKWARD_FRAME[["f8"]], (pd.Series([1.0], name="s"),)], "x": -0.0},
    pa.table({"a": [1, None], "d": pa.array(["x", "y"]).dictionary_encode()}),
    pa.record_batch({"a": [1.5, None]}),
    pl.DataFrame({"a": [1.5, None], "c": pl.Series(["x", "y"], dtype=pl.Categorical)}),
    pl.Series("s", [1, 2]),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda v: type(v).__name__)
def test_plain_values_and_tables_survive_bit_for_bit(value: Any) -> None:
    same(value, through(value))
    if not isinstance(value, pa.Table | pa.RecordBatch | pl.DataFrame | pl.Series):
        same([value, {"k": value}], through([value, {"k": value}]))


def test_what_cannot_be_represented_is_named_with_its_place_and_type() -> None:
    class Own:
        pass

    class Text(str):
        __slots__ = ()

    loop: list[object] = []
    loop.append(loop)
    for value, parts in [
        (Own(), ("Own",)),
        ({"a": [1, Own()]}, ("['a'][1]", "Own")),
        (pd.DataFrame({"fine": [0, 1], "bad": pd.Series([1, Own()], dtype=object)}), ("'bad'", "row 1", "Own")),
        (pd.DataFrame([["x", "y"], ["z", Own()]], columns=["fine", "bad"], dtype=object), ("'bad'", "row 1", "Own")),
        (pd.DataFrame({"sp": pd.arrays.SparseArray([0, 1])}), ("'sp'", "Sparse")),
        (np.zeros(2, [("x", "f4")]), ("array", "x")),
        ({Text("x"): 1}, ("Text",)),
        ({1, 2}, ("set",)),
        (loop, ("nested",)),
        (np.ma.masked_array([1.0]), ("MaskedArray",)),
        (type("Sub", (pd.DataFrame,), {})({"a": [1]}), ("Sub",)),
    ]:
        with pytest.raises(UnsupportedPayloadError) as caught:
            payload.encode(value)
        for part in parts:
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)


# ---- properties ------------------------------------------------------------------------------------------------------

bits = st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("<d", struct.pack("<Q", n))[0])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), bits, st.text(st.characters()), st.binary(), st.complex_numbers(),
    st.datetimes(), st.dates(), st.timedeltas(), st.just(pd.NA), st.just(pd.NaT), bits.map(np.float64),
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.just("$"), inner, max_size=4)
    ),
    max_leaves=12,
)
dtypes = st.one_of(
    hnp.floating_dtypes(endianness="?"), hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(),
    hnp.boolean_dtypes(), hnp.complex_number_dtypes(), hnp.datetime64_dtypes(), hnp.timedelta64_dtypes(),
    hnp.byte_string_dtypes(min_len=1), hnp.unicode_string_dtypes(min_len=1),
)  # fmt: skip


@QUICK
@given(trees)
def test_any_tree_of_plain_values_survives(value: Any) -> None:
    same(value, through(value))


@QUICK
@given(st.data())
def test_any_array_in_any_layout_survives(data: Any) -> None:
    dtype = data.draw(dtypes)
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    if array.ndim:
        array = array.transpose(data.draw(st.permutations(range(array.ndim))))
        array = array[data.draw(hnp.basic_indices(array.shape, allow_newaxis=False, allow_ellipsis=False))]
    if isinstance(array, np.ndarray):
        same(array, through(array))


column = st.one_of(
    st.lists(bits, min_size=4, max_size=4).map(lambda v: np.array(v, "f8")),
    st.lists(st.floats(width=32), min_size=4, max_size=4).map(lambda v: np.array(v, "f4")),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4).map(lambda v: np.array(v, "i8")),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(scalars, min_size=4, max_size=4).map(lambda v: pd.Series(v, dtype=object)),
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=4, max_size=4).map(
        lambda v: pd.Series(v, dtype="str")
    ),
    st.lists(st.none() | st.integers(0, 99), min_size=4, max_size=4).map(lambda v: pd.array(v, dtype="Int16")),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4).map(lambda v: np.array(v, "M8[ns]")),
    st.lists(st.sampled_from("ab"), min_size=4, max_size=4).map(lambda v: pd.Categorical(v, categories=["b", "a"])),
)


@QUICK
@given(
    st.dictionaries(st.text(max_size=3) | st.integers(0, 9), column, max_size=6),
    st.slices(4),
    st.booleans(),
)
def test_any_frame_survives(columns: Any, cut: Any, consolidate: Any) -> None:
    frame = pd.DataFrame(columns, index=pd.RangeIndex(4)).iloc[cut]
    frame = frame.copy() if consolidate else frame
    same(frame, through(frame))
    for name in frame.columns:
        same(frame[name], through(frame[name]))


FRAME = payload.encode(AWKWARD_FRAME)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["schema", "batch"]), st.integers(0, 10**6), st.integers(1, 255))
def test_altered_bytes_are_refused_or_read_but_never_crash(which: Any, at: Any, flip: Any) -> None:
    parts = {"schema": FRAME.schema, "batch": FRAME.batch}
    data = bytearray(parts[which])
    data[at % len(data)] ^= flip
    parts[which] = bytes(data)
    with contextlib.suppress(FormatError):
        payload.decode(FRAME.codec, parts["schema"], parts["batch"], FRAME.meta)


def test_an_unknown_codec_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match="frame/99"):
        payload.decode("frame/99", b"", b"", {})


# ---- showing ---------------------------------------------------------------------------------------------------------


def test_rows_of_every_shape_show_as_plain_values() -> None:
    frame = pd.DataFrame({"a": np.array([0.1, -0.0], "f4"), "b": ["x", None], 3: pd.array([None, 2], dtype="Int64")})
    assert payload.to_records(frame) == [
        {"a": float(np.float32(0.1)), "b": "x", "3": None},
        {"a": -0.0, "b": None, "3": 2},
    ]
    assert payload.columns(frame) == ["a", "b", "3"]
    assert payload.to_records(np.array([[1, 2], [3, 4]])) == [{"0": 1, "1": 2}, {"0": 3, "1": 4}]
    assert payload.to_records(np.array([1.5, 2])) == [{"value": 1.5}, {"value": 2.0}]
    assert payload.to_records(pd.Series(["x"], name="n")) == [{"value": "x"}]
    assert payload.to_records(0.5) == [{"value": 0.5}]
    assert payload.to_records("text") == [{"value": "text"}]
    assert payload.to_records([{"a": 1}, {"b": 2}]) == [{"a": 1}, {"b": 2}]
    assert payload.to_records({"score": np.array([1, 2]), "why": ["p", "q"]}) == [
        {"score": 1, "why": "p"},
        {"score": 2, "why": "q"},
    ]
    assert payload.to_records({"score": 0.5, "why": "p"}) == [{"score": 0.5, "why": "p"}]
    assert payload.rows(frame.iloc[:0]) == 0
    assert payload.columns(frame.iloc[:0]) == ["a", "b", "3"]


def test_the_example_in_the_documentation_is_read_as_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats" / "payload.md").read_text()
    example = json.loads(page.split("```json\n")[2].split("```")[0])
    schema, batch = (base64.b64decode(example[part]) for part in ("schema", "batch"))
    value = payload.decode(example["codec"], schema, batch, example["meta"])
    same(value, np.asfortranarray([[0.7, -0.0], [np.nan, 2.0**53 + 2]]))


def test_the_documentation_names_every_codec_and_tag() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats" / "payload.md").read_text()
    for name in [*payload._READERS, *tagged._READERS, "tuple", "map", "leaf"]:
        assert f"`{name}`" in page


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(messages.storage())), st.none() | st.integers(1, 3)), min_size=1, max_size=4
    ),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_a_batch_of_numbers_is_to_the_byte_what_arrow_makes(
    kinds: list[tuple[str, int | None]], rows: int, random: Any
) -> None:
    columns = []
    for number, (kind, width) in enumerate(kinds):
        content = random.randbytes(rows * (1 if width is None else width) * int(kind[1:]))
        columns.append((f"column {number}", messages.Numbers(kind, width, rows, content)))
    arrays = [column.column() for _, column in columns]
    fields = [pa.field(name, array.type) for (name, _), array in zip(columns, arrays, strict=True)]
    schema = pa.schema(fields, {messages.KEY: b"what it is"})
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    expected = schema.serialize().to_pybytes(), batch.serialize().to_pybytes()
    assert messages.messages(columns, "what it is") == expected
    assert messages.messages(list(zip(schema.names, arrays, strict=True)), "what it is") == expected
