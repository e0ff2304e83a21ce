"""A payload cut by person comes back bit for bit, and a person's piece holds nothing of another's."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.kernel.errors import FormatError
from retrodict.objects import digest_of
from retrodict.predictions import SealedPayload, kept, payload, sealing
from retrodict.predictions.payload import Encoded
from retrodict.testing import strategies

QUICK = settings(max_examples=60, deadline=None)
NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]


def pieces(value: Any, owners: list[str]) -> list[sealing.Piece]:
    return sealing.cut(payload.encode(value), payload.rows(value), owners)


def count(found: list[sealing.Piece]) -> int:
    return sum(n for piece in found for _, n in piece.rows)


def joined(found: list[sealing.Piece]) -> Any:
    encoded = sealing.join([(piece.rows, piece.data) for piece in reversed(found)], count(found))
    return payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)


def same(value: Any, again: Any) -> None:
    """Hold two values against each other by their encodings, which keep every bit."""
    assert type(value) is type(again)
    assert payload.encode(value) == payload.encode(again)


def owners_of(data: st.DataObject, value: Any) -> list[str]:
    rows = payload.rows(value)
    return data.draw(st.lists(st.sampled_from(["ann", "bob", "cy"]), min_size=rows, max_size=rows))


@QUICK
@given(strategies.frames() | strategies.arrays(), st.data())
def test_tables_come_back_bit_for_bit(value: Any, data: st.DataObject) -> None:
    owners = owners_of(data, value)
    if owners:
        same(value, joined(pieces(value, owners)))


@QUICK
@given(st.dictionaries(st.text(max_size=3), strategies.arrays(), min_size=1, max_size=3), st.data())
def test_columns_come_back_bit_for_bit(columns: dict[str, Any], data: st.DataObject) -> None:
    shortest = min((len(column) for column in columns.values() if column.shape), default=0)
    value = {name: column[:shortest] if column.shape else [0] * shortest for name, column in columns.items()}
    owners = owners_of(data, value)
    if owners:
        same(value, joined(pieces(value, owners)))


RECORDS = st.lists(st.dictionaries(st.text(max_size=3), st.floats() | st.text(max_size=5) | st.none(), max_size=3))


@QUICK
@given(RECORDS, st.data())
def test_records_come_back(value: list[Any], data: st.DataObject) -> None:
    owners = owners_of(data, value)
    if owners:
        same(value, joined(pieces(value, owners)))


VALUES = [
    pd.DataFrame({"a": [-0.0, NAN, 1.0], "b": [0.1, np.inf, -1.0]}, index=pd.RangeIndex(5, 11, 2)),
    pd.DataFrame({"a": ["x", None, "ü"]}, index=["k", "l", "m"]),
    pd.DataFrame({"a": pd.array([1, None, 3], "Int64"), "b": pd.to_datetime(["2020-01-01"] * 3, utc=True)}),
    pd.DataFrame({"a": [1, 2, 3]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2), ("x", 3)])),
    pd.DataFrame({"a": [1, 2, 3]}, index=pd.date_range("2020-01-01", periods=3, freq="D")),
    pd.DataFrame({"a": pd.Categorical(["x", "y", "z"])}),
    pd.Series([1.5, NAN, -0.0], name="score"),
    pd.Index(["a", "b", "c"]),
    np.asfortranarray([[1.0, NAN], [-0.0, 2.0], [3.0, 4.0]]),
    np.arange(12.0).reshape(6, 2)[::2],
    np.arange(24.0).reshape(3, 2, 4),
    np.array(["a", "bb", "c"]),
    np.array([None, "x", 3], dtype=object),
    ["a", {"b": NAN}, dt.date(2020, 1, 1)],
    (1, 2.0, None),
    [np.arange(3), "b", "c"],
    pl.DataFrame({"a": [1, 2, 3]}),
    {"x": np.arange(3), "y": ["a", "b", "c"]},
    {"decision": "decline"},
    np.float64(-0.0),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("owners", [["ann"] * 3, ["ann", "bob", "ann"], ["ann", "bob", "cy"]])
def test_every_kind_of_value_comes_back(value: Any, owners: list[str]) -> None:
    same(value, joined(pieces(value, owners)))


def test_one_persons_payload_keeps_its_very_bytes() -> None:
    value = pd.DataFrame({"a": [-0.0, NAN]})
    (piece,) = pieces(value, ["ann", "ann"])
    assert (piece.owners, piece.rows) == (("ann",), ((0, 2),))
    assert sealing.join([(piece.rows, piece.data)], 2) == payload.encode(value)


def test_a_piece_holds_nothing_of_another_person() -> None:
    frame = pd.DataFrame({"name": ["anna-secret", "bob-secret"], "x": [1.0, 2.0]}, index=["ann-row", "bob-row"])
    columns = {"name": frame["name"].tolist(), "x": frame["x"].to_numpy(), "n": frame["name"].to_numpy()}
    for value in (frame, frame["name"], frame.to_numpy(), frame.to_dict("records"), frame.index, columns):
        found = {piece.owners: piece.data for piece in pieces(value, ["ann", "bob"])}
        assert b"bob-" not in found[("ann",)]
        assert b"ann" not in found[("bob",)]


@QUICK
@given(st.lists(st.sampled_from(["ann", "bob"]), min_size=1, max_size=9))
def test_a_piece_holds_no_number_of_another_person(owners: list[str]) -> None:
    numbers = [0x5EC2E7_0000_0000 + 0x1_0001 * row for row in range(len(owners))]
    flags = [row % 2 == 0 for row in range(len(owners))]
    columns = {"n": np.array(numbers), "f": flags}
    for value in (pd.DataFrame(columns), np.array(numbers), pd.Series(numbers, dtype="Int64"), columns):
        for piece in pieces(value, owners):
            for number, owner in zip(numbers, owners, strict=True):
                assert (number.to_bytes(8, "little") in piece.data) == (owner in piece.owners)


def test_what_cannot_be_cut_stays_whole_and_is_about_them_all() -> None:
    by_columns = {"a": np.arange(4)[::2], "b": pd.Series([1, 2])}
    for value in (pd.DataFrame({"a": pd.Categorical(["x", "y"])}), by_columns, pl.DataFrame({"a": [1, 2]})):
        (piece,) = pieces(value, ["ann", "bob"])
        assert piece.owners == ("ann", "bob")
    (piece,) = pieces([1, 2, 3], ["ann", "bob"])  # an answer with other rows than the question
    assert piece.owners == ("ann", "bob")


@pytest.mark.parametrize("value", VALUES[:5] + VALUES[6:14] + VALUES[-3:-2], ids=lambda value: type(value).__name__)
def test_a_row_can_be_read_from_its_piece_alone(value: Any) -> None:
    owners = ["ann", "bob", "ann"]
    for piece in pieces(value, owners):
        for row in sealing.numbers(piece.rows):
            part, place = sealing.piece_row(piece.rows, piece.data, row)
            if part.codec == "frame/1" and getattr(value.index, "freq", None) is not None:
                continue  # stays whole
            again = payload.row(payload.decode(part.codec, part.schema, part.batch, part.meta), place)
            assert repr(again) == repr(payload.row(value, row))


def test_the_example_on_the_page_opens() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats" / "payload.md").read_text()
    section = page.split("## Values that are about people")[1]
    body, sealed = re.findall(r"^```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    found, ciphertext = kept(json.loads(body)), base64.b64decode(sealed)
    assert isinstance(found, SealedPayload)
    assert found.as_body() == json.loads(body)
    (segment,) = found.parts(lambda _: b"")
    assert digest_of(ciphertext) == segment.sealed
    plain = AESGCM(bytes(range(32))).decrypt(ciphertext[:12], ciphertext[12:], segment.keys[0].encode())
    encoded = sealing.join([(segment.rows, plain)], found.rows)
    value = payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)
    assert value == [{"age": 30, "city": "Rome"}]


def test_pieces_that_do_not_belong_together_are_refused() -> None:
    one, two = pieces(pd.DataFrame({"a": [1, 2]}), ["ann", "bob"])
    other = pieces(pd.DataFrame({"b": [1, 2]}), ["ann", "bob"])[1]
    whole = pieces(pd.DataFrame({"a": [1, 2]}), ["ann", "ann"])[0]
    for wrong in ([one], [one, one], [one, other], [one, whole], []):
        with pytest.raises(FormatError):
            sealing.join([(piece.rows, piece.data) for piece in wrong], 2)
    with pytest.raises(FormatError):
        sealing.join([(two.rows, two.data[:20])], 1)
    with pytest.raises(FormatError):
        sealing.join([(two.rows, b"")], 1)
    assert isinstance(sealing.join([(p.rows, p.data) for p in (two, one)], 2), Encoded)
