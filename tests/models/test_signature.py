"""Inputs are held against the signature: changed only where nothing is lost, refused by name otherwise."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.models import ColumnSpec, InputError, Signature, TensorSpec
from retrodict.models.signature import infer


def columns(**types: str) -> Signature:
    return Signature(inputs=tuple(ColumnSpec(name=name, type=kind) for name, kind in types.items()))


AGE = columns(age="long", income="double", name="string")
GOOD = pd.DataFrame({"age": [30, 41], "income": [1.5, math.nan], "name": ["a", None]})


def test_a_frame_that_fits_is_not_touched() -> None:
    assert AGE.check(GOOD) is GOOD


@pytest.mark.parametrize(
    "data",
    [
        [{"age": 30, "income": 1.5, "name": "a"}, {"age": 41, "income": None, "name": None}],
        {"age": [30, 41], "income": [1.5, None], "name": ["a", None]},
        GOOD[["name", "income", "age"]],
        GOOD.astype({"age": "float64"}),
        GOOD.astype({"age": "Int64", "income": "Float64"}),
        GOOD.astype(object),
        GOOD.astype({"income": "float32"}),
    ],
)
def test_rows_columns_other_orders_and_wider_types_become_the_same_frame(data: Any) -> None:
    checked = AGE.check(data)
    assert list(checked.columns) == ["age", "income", "name"]
    assert checked["age"].dtype == "int64"
    assert checked["income"].dtype == "float64"
    assert checked["age"].tolist() == [30, 41]
    assert checked["income"].iloc[0] == 1.5
    assert math.isnan(checked["income"].iloc[1])
    assert checked["name"].iloc[0] == "a"
    assert pd.isna(checked["name"].iloc[1])


ROW: dict[str, Any] = {"age": 30, "income": 1.5, "name": "a"}


@pytest.mark.parametrize(
    ("data", "field", "expected", "value"),
    [
        ({"age": 30, "income": 1.5}, "column 'name'", "age, income, name", "no such column"),
        (ROW | {"extra": 1}, "column 'extra'", "age, income, name", "does not know"),
        (ROW | {"age": "old"}, "column 'age'", "long", "'old'"),
        (ROW | {"age": math.nan}, "column 'age'", "long", "nan"),
        (ROW | {"age": None}, "column 'age'", "long", "None"),
        (ROW | {"age": 30.5}, "column 'age'", "long", "30.5"),
        (ROW | {"age": True}, "column 'age'", "long", "bool"),
        (ROW | {"age": 2**63}, "column 'age'", "long", str(2**63)),
        (ROW | {"income": "1.5"}, "column 'income'", "double", "'1.5'"),
        (ROW | {"income": 2**53 + 1}, "column 'income'", "double", str(2**53 + 1)),
        ([ROW | {"income": [1]}], "column 'income'", "double", "[1]"),
        (ROW | {"name": 5}, "column 'name'", "string", "5"),
        (pd.concat([GOOD, GOOD[["age"]]], axis=1), "column 'age'", "one column", "two"),
        ("text", "the input", "frame", "str"),
        (np.zeros((1, 2)), "columns", "3", "2"),
        ([[1, 2]], "the input", "rows", "columns"),
        ({"age": [1, 2], "income": [1.0], "name": ["a"]}, "the input", "one length", "same length"),
    ],
)
def test_what_does_not_fit_is_refused_with_field_expectation_and_value(
    data: Any, field: str, expected: str, value: str
) -> None:
    with pytest.raises(InputError) as caught:
        AGE.check(data)
    assert caught.value.field == field
    assert expected in caught.value.expected
    assert value in caught.value.value
    assert "\n" not in str(caught.value)
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("integer", [2**31 - 1, 5.0], [2**31]),
        ("long", [-(2**63), 2**63 - 1], [0.5]),
        ("boolean", [True, False], [1]),
        ("float", [0.1, 0.5, math.inf, 2**24], [0.1 + 1e-9]),
        ("double", [0.1, 3, np.float32(0.1)], [0.5, 2**53 + 1]),
        ("string", ["", "ü", None], [b"x"]),
        ("binary", [b"\x00", None], ["x"]),
        ("datetime", ["2019-11-07T20:34:00.000000001", "2019-11-07"], ["yesterday"]),
        ("any", [object()], None),
    ],
)
def test_each_type_takes_its_own_values_and_refuses_others(kind: str, good: list[Any], bad: list[Any] | None) -> None:
    signature = columns(x=kind)
    signature.check(pd.DataFrame({"x": pd.Series(good, dtype=object)}))
    if bad is not None:
        with pytest.raises(InputError, match="'x'"):
            signature.check(pd.DataFrame({"x": pd.Series(bad, dtype=object)}))


def test_an_optional_column_may_be_missing() -> None:
    signature = Signature(
        inputs=(ColumnSpec(name="a", type="double"), ColumnSpec(name="b", type="double", required=False))
    )
    assert list(signature.check({"a": [1.0]}).columns) == ["a"]
    assert list(signature.check({"b": [2.0], "a": [1.0]}).columns) == ["a", "b"]


def test_an_array_becomes_the_named_columns_without_a_copy() -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    checked = columns(a="double", b="double", c="double").check(array)
    assert np.shares_memory(checked.to_numpy(), array)
    assert checked.to_numpy().strides == array.strides


TENSOR = Signature(inputs=(TensorSpec(dtype="float32", shape=(-1, 2)),))


def test_a_tensor_keeps_its_layout_or_is_refused() -> None:
    array = np.asfortranarray(np.zeros((3, 2), "f4"))
    assert TENSOR.check(array) is array
    assert TENSOR.check([[0.1, 0.5]]).dtype == "float32"
    for wrong, text in [
        (np.zeros((2, 3), "f4"), "shape"),
        (np.zeros(2, "f4"), "shape"),
        ([[0.1, 0.123456789012]], "0.123456789012"),
        ([["a", "b"]], "<U1"),
        ([[1, 2], [3]], "list"),
    ]:
        with pytest.raises(InputError) as caught:
            TENSOR.check(wrong)
        assert text in caught.value.value
        assert "float32" in caught.value.expected


def test_named_tensors_are_checked_by_name() -> None:
    two = Signature(
        inputs=(TensorSpec(dtype="float64", shape=(-1,), name="x"), TensorSpec(dtype="int64", shape=(), name="n"))
    )
    assert two.check({"x": [1.0], "n": 3})["n"] == 3
    with pytest.raises(InputError, match="'n'"):
        two.check({"x": [1.0]})


def test_a_signature_is_read_and_written_as_mlflow_has_it() -> None:
    inputs = [
        {"type": "double", "name": "a", "required": True},
        {"type": "string", "name": "b", "required": False},
        {"type": "array", "items": {"type": "double"}, "name": "c", "required": True},
    ]
    outputs = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
    signature = Signature.from_mlflow({"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None})
    assert signature is not None
    assert signature.to_mlflow() == {"inputs": inputs, "outputs": outputs}
    assert Signature.from_mlflow(signature.to_mlflow()) == signature
    assert Signature.from_mlflow(None) is None
    assert Signature.from_mlflow({"inputs": None, "outputs": None}) is None


def test_inferred_signatures_accept_what_they_were_inferred_from() -> None:
    frame = pd.DataFrame(
        {
            "i8": np.array([1], "i1"),
            "i64": [1],
            "f4": np.array([0.5], "f4"),
            "f8": [0.5],
            "b": [True],
            "s": ["x"],
            "o": pd.Series(["x"], dtype=object),
            "c": pd.Categorical(["x"]),
            "t": pd.to_datetime(["2020-01-01"]),
            "n": pd.array([1], dtype="Int64"),
        }
    )
    specs = infer(frame)
    assert specs is not None
    assert [spec.type for spec in specs if isinstance(spec, ColumnSpec)] == [
        "integer", "long", "float", "double", "boolean", "string", "string", "string", "datetime", "long",
    ]  # fmt: skip
    Signature(inputs=specs).check(frame)
    array = np.zeros((3, 4), "f4")
    tensor = infer(array)
    assert tensor == (TensorSpec(dtype="float32", shape=(-1, 4)),)
    assert infer("text") is None


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["integer", "long", "float", "double", "boolean"]),
    st.lists(
        st.integers(-(2**64), 2**64) | st.floats() | st.floats(width=32) | st.booleans() | st.none(),
        min_size=1,
        max_size=3,
    ),
)
def test_whatever_is_accepted_kept_its_value(kind: str, values: list[Any]) -> None:
    try:
        checked = columns(x=kind).check(pd.DataFrame({"x": pd.Series(values, dtype=object)}))["x"]
    except InputError:
        return
    for before, after in zip(values, checked, strict=True):
        if before is None or before != before:
            assert math.isnan(after)
        elif kind == "float":
            assert float(str(np.float32(after))) == before or float(after) == before
        else:
            assert after == before
            assert int(after) == int(before) if math.isfinite(before) else after == before
            assert isinstance(before, bool) == (kind == "boolean")
