"""Records as JSON: every float comes back bit for bit."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrodict.render.json import to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    parts: tuple[Inner, ...]
    named: dict[str, object]


def unread(value: object) -> float:
    if isinstance(value, dict):
        return float(struct.unpack(">d", bytes.fromhex(value["f64"]))[0])
    assert isinstance(value, float)
    return value


@given(st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", bits.to_bytes(8, "big"))[0]))
def test_every_double_comes_back_bit_for_bit(number: float) -> None:
    back = unread(json.loads(to_json(Inner(value=number)))["value"])
    assert struct.pack(">d", back) == struct.pack(">d", number)


def test_minus_zero_and_nan_are_told_apart() -> None:
    assert to_json(Inner(value=-0.0), indent=None) == '{"value": -0.0}'
    assert to_json(Inner(value=math.nan), indent=None) == '{"value": {"f64": "7ff8000000000000"}}'
    assert to_json(Inner(value=-math.inf), indent=None) == '{"value": {"f64": "fff0000000000000"}}'


def test_nested_records_and_other_values() -> None:
    named = {"d": date(2019, 11, 7), "p": Path("a/b"), "b": b"\x01", "n": np.float64(1.5), "i": 2**53 + 1, "s": {2, 1}}
    record = Outer(name="ü\udcff", parts=(Inner(value=1.0),), named=named)
    assert json.loads(to_json(record)) == {
        "name": "ü" + 3 * "\ufffd",
        "parts": [{"value": 1.0}],
        "named": {"d": "2019-11-07", "p": "a/b", "b": "01", "n": 1.5, "i": 2**53 + 1, "s": [1, 2]},
    }
