"""What a model takes and gives: MLflow's signatures, and inputs held against them.

Nothing is changed that cannot be changed back: an input becomes the signature's type where each of its values is that
type's value (3.0 for a long, 0.1 for a float: the number that prints as 0.1), else it is refused by name.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from retrodict.models.errors import NO_COLUMN, UNKNOWN_COLUMN, WHOLE, InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_DTYPES: Final = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64"}
_ANY: Final = "any"
_EXACT: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSpec:
    """One column.

    Attributes:
        name: None where columns are known by position only.
        type: "boolean", "integer" (32 bit), "long" (64 bit), "float" (32 bit), "double", "string", "binary",
            "datetime", or anything else MLflow knows ("array", "object", ...), which is not checked; "any".
        required: Whether the column must be there.
        raw: The specification as it was written, kept and written back.
    """

    name: str | None
    type: str
    required: bool = True
    raw: Mapping[str, object] | None = None

    def to_mlflow(self) -> dict[str, object]:
        """Return it as MLflow writes it."""
        if self.raw is not None:
            return dict(self.raw)
        name = {} if self.name is None else {"name": self.name}
        return {"type": self.type, **name, "required": self.required}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One array.

    Attributes:
        dtype: NumPy's name of it, e.g. "float64".
        shape: -1 where any length is right.
        name: None for the only one.
    """

    dtype: str
    shape: tuple[int, ...]
    name: str | None = None

    def to_mlflow(self) -> dict[str, object]:
        """Return it as MLflow writes it."""
        name = {} if self.name is None else {"name": self.name}
        return {"type": "tensor", **name, "tensor-spec": {"dtype": self.dtype, "shape": list(self.shape)}}


Spec = tuple[ColumnSpec, ...] | tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What goes in and comes out; `outputs` is None where that is not known."""

    inputs: Spec
    outputs: Spec | None = None

    @classmethod
    def from_mlflow(cls, written: object) -> Signature | None:
        """Read the `signature` of an MLmodel file; None where it says nothing of inputs.

        Raises:
            ValueError: It is not a signature.
        """
        if written is None:
            return None
        if not isinstance(written, Mapping):
            raise ValueError("it is no mapping")
        inputs = _read(written.get("inputs"))
        return None if inputs is None else cls(inputs=inputs, outputs=_read(written.get("outputs")))

    def to_mlflow(self) -> dict[str, object]:
        """Return it as MLflow means it, with lists where MLflow's file has their JSON as text."""
        outputs = None if self.outputs is None else [spec.to_mlflow() for spec in self.outputs]
        return {"inputs": [spec.to_mlflow() for spec in self.inputs], "outputs": outputs}

    @property
    def is_tensor(self) -> bool:
        """Whether the input is one array, or several by name, rather than columns."""
        return any(isinstance(spec, TensorSpec) for spec in self.inputs)

    def check(self, data: Any) -> Any:
        """Return `data` in the types of the inputs: itself, untouched, where it fits already.

        Takes, for columns: a frame, an array of (rows, columns), a list of rows or a dict of columns; for a tensor: an
        array, lists, or a frame; for several tensors a dict of them.

        Raises:
            InputError: A column is missing or not known, a value is not of its column's type, a shape is wrong.
        """
        if not self.is_tensor:
            return _check_frame(tuple(spec for spec in self.inputs if isinstance(spec, ColumnSpec)), data)
        tensors = tuple(spec for spec in self.inputs if isinstance(spec, TensorSpec))
        if len(tensors) == 1 and tensors[0].name is None:
            return _check_tensor(tensors[0], data)
        if not isinstance(data, Mapping):
            raise InputError(WHOLE, f"arrays named {', '.join(str(spec.name) for spec in tensors)}", _kind(data))
        _check_names([str(spec.name) for spec in tensors], [], list(data))
        return {spec.name: _check_tensor(spec, data[spec.name]) for spec in tensors}


def infer(data: Any) -> Spec | None:
    """Return the specification of a frame, an array, arrays by name, rows or columns; None where there is none."""
    import numpy as np  # 80 ms

    kind = type(data).__name__
    if kind == "Series":
        return (ColumnSpec(name=None if data.name is None else str(data.name), type=_type_of(data)),)
    if kind == "DataFrame" and hasattr(data, "iloc"):
        return tuple(ColumnSpec(name=str(name), type=_type_of(data.iloc[:, i])) for i, name in enumerate(data.columns))
    if isinstance(data, np.ndarray) and data.dtype.kind != "O":
        return (TensorSpec(dtype=data.dtype.name, shape=(-1, *data.shape[1:])),)
    if isinstance(data, Mapping) and data and all(isinstance(part, np.ndarray) for part in data.values()):
        if any(part.dtype.kind == "O" for part in data.values()):
            return None
        if any(part.ndim != 1 for part in data.values()):  # as a graph answers: labels, and a row of scores for each
            parts = data.items()
            return tuple(
                TensorSpec(dtype=part.dtype.name, shape=(-1, *part.shape[1:]), name=str(name)) for name, part in parts
            )
    if isinstance(data, Mapping) or (isinstance(data, Sequence) and data and isinstance(data[0], Mapping)):
        with contextlib.suppress(InputError):  # no table: ranked lists of any lengths, say
            return infer(_frame(data))
    return None


def _read(written: object) -> Spec | None:
    if isinstance(written, str):
        written = json.loads(written)
    if written is None:
        return None
    if not isinstance(written, list) or not all(isinstance(item, dict) for item in written):
        raise ValueError("its parts are no lists of mappings")
    tensors = [item for item in written if item.get("type") == "tensor"]
    if not tensors:
        return tuple(
            ColumnSpec(
                name=item.get("name"),
                type=str(item.get("type", _ANY)),
                required=bool(item.get("required", not item.get("optional", False))),
                raw=item,
            )
            for item in written
        )
    if len(tensors) != len(written):
        raise ValueError("it mixes columns and tensors")
    try:
        return tuple(
            TensorSpec(
                dtype=str(item["tensor-spec"]["dtype"]),
                shape=tuple(int(size) for size in item["tensor-spec"]["shape"]),
                name=item.get("name"),
            )
            for item in tensors
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a tensor has no {error}") from error


# ---- columns ---------------------------------------------------------------------------------------------------------


def _check_frame(specs: tuple[ColumnSpec, ...], data: Any) -> Any:
    names = [spec.name for spec in specs]
    frame = _frame(data, [name for name in names if name is not None])
    if None in names:  # known by position: any names will do
        if len(frame.columns) != len(specs):
            raise InputError("columns", f"{len(specs)} of them", str(len(frame.columns)))
        wanted = list(frame.columns)
    else:
        required = [str(spec.name) for spec in specs if spec.required]
        _check_names(required, [str(spec.name) for spec in specs if not spec.required], list(frame.columns))
        wanted = [name for name in names if name in frame.columns]
        if list(frame.columns) != wanted:
            frame = frame[wanted]
    changed = {}
    present = [spec for spec in specs if spec.name is None or spec.name in frame.columns]
    types = list(frame.dtypes)
    for i, spec in enumerate(present):
        if types[i] == _DTYPES.get(spec.type):
            continue  # what serving mostly sees; making a column of it takes longer than many a model
        column = frame.iloc[:, i]
        fitted = _fit(column, spec)
        if fitted is not column:
            changed[i] = fitted
    if not changed:
        return frame
    import pandas as pd  # 300 ms

    columns = [changed.get(i, frame.iloc[:, i]) for i in range(len(present))]
    result = pd.concat(columns, axis=1)
    result.columns = frame.columns
    return result


def _frame(data: Any, names: Sequence[str] = ()) -> Any:
    """Return `data` as a frame."""
    import numpy as np  # 80 ms
    import pandas as pd  # 300 ms

    if isinstance(data, pd.DataFrame):
        return data
    if type(data).__module__.partition(".")[0] in {"polars", "pyarrow"} and hasattr(data, "to_pandas"):
        return data.to_pandas()
    if isinstance(data, np.ndarray) and data.ndim == 2:
        if names and data.shape[1] != len(names):
            raise InputError("columns", f"{len(names)} of them ({', '.join(names)})", str(data.shape[1]))
        return pd.DataFrame(data, columns=list(names) or None, copy=False)
    try:
        if isinstance(data, Mapping):
            scalars = not any(isinstance(item, (list, tuple, np.ndarray, pd.Series)) for item in data.values())
            return pd.DataFrame([data]) if scalars else pd.DataFrame(data)
        if isinstance(data, (list, tuple)) and all(isinstance(item, Mapping) for item in data):
            return pd.DataFrame(list(data))
        if isinstance(data, (list, tuple)) and all(isinstance(item, (list, tuple)) for item in data):
            return pd.DataFrame([list(item) for item in data], columns=list(names) or None)
    except (ValueError, TypeError) as error:
        raise InputError(WHOLE, "rows of one length", str(error).splitlines()[0]) from error
    raise InputError(WHOLE, "a frame, rows or columns", _kind(data))


def _check_names(required: Sequence[str], optional: Sequence[str], given: Sequence[object]) -> None:
    seen = set()
    for name in given:
        if name in seen:
            raise InputError(f"column {name!r}", "one column of this name", "two")
        seen.add(name)
    expected = f"the columns {', '.join([*required, *optional])}"
    for name in required:
        if name not in seen:
            raise InputError(f"column {name!r}", expected, NO_COLUMN)
    for name in given:
        if name not in required and name not in optional:
            raise InputError(f"column {name!r}", expected, UNKNOWN_COLUMN)


def _fit(column: pd.Series[Any], spec: ColumnSpec) -> Any:
    """Return `column` where it is of the type already, else a column of that type with just the same values."""
    if spec.type in _DTYPES:
        return _fit_number(column, spec)
    fits: Callable[[Any], bool] | None = {
        "string": lambda item: isinstance(item, str),
        "binary": lambda item: isinstance(item, bytes),
    }.get(spec.type)
    if fits is not None:
        if spec.type == "string" and type(column.dtype).__name__ == "StringDtype":
            return column
        values = column.cat.categories if type(column.dtype).__name__ == "CategoricalDtype" else column
        _each(values, spec, lambda item: fits(item) or _is_missing(item))
        return column
    if spec.type == "datetime":
        return _fit_datetime(column, spec)
    return column


def _fit_number(column: pd.Series[Any], spec: ColumnSpec) -> Any:
    import numpy as np  # 80 ms
    import pandas as pd  # 300 ms

    target = np.dtype(_DTYPES[spec.type])
    if column.dtype == target:
        return column
    missing_allowed = target.kind == "f"
    if not isinstance(column.dtype, np.dtype) or column.dtype.kind == "O":
        fits = _FITS[target.kind]
        _each(column, spec, lambda item: fits(item) or (missing_allowed and _is_missing(item)))
        items = [math.nan if _is_missing(item) else item for item in column]
        if target.kind == "i" or all(type(item) is int for item in items):
            values: Any = _exact_integers(items, spec)
        else:
            values = np.array(items, target if target.kind == "b" else "f8")
    else:
        values = column.to_numpy()
    fitted = _fit_array(values, target, f"column {spec.name!r}" if spec.name else "a column", spec.type)
    return pd.Series(fitted, index=column.index, name=column.name)


_FITS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "b": lambda item: type(item).__name__ in {"bool", "bool_"},
    "i": lambda item: _is_number(item) and item == item and float(item).is_integer(),
    "f": lambda item: _is_number(item) and (not hasattr(item, "bit_length") or abs(int(item)) <= _EXACT),
}


def _is_number(item: Any) -> bool:
    import numpy as np  # 80 ms

    return isinstance(item, (int, float, np.integer, np.floating)) and not isinstance(item, bool)


def _exact_integers(items: list[Any], spec: ColumnSpec) -> Any:
    """Return integers as an array; from Python's own, which are not bounded."""
    import numpy as np  # 80 ms

    field = f"column {spec.name!r}"
    for i, item in enumerate(items):
        if not -(2**63) <= item < 2**63:
            raise InputError(field, spec.type, f"{item!r} in row {i}, which is out of range")
    return np.array([int(item) for item in items], "i8")


def _fit_array(values: np.ndarray[Any, Any], target: np.dtype[Any], field: str, expected: str) -> Any:
    """Return `values` as `target` where that keeps every value."""
    import numpy as np  # 80 ms

    if values.dtype == target:
        return values
    kinds = {"b": "b", "i": "iuf", "u": "iuf", "f": "iuf"}.get(target.kind)
    if kinds is None or values.dtype.kind not in kinds:
        raise InputError(field, expected, f"{values.dtype} ({_show(values)})")
    with np.errstate(all="ignore"):
        fitted = values.astype(target)
        back = fitted.astype(values.dtype)
        if target.kind == "f":
            same = (back == values) | (np.isnan(fitted) & (values != values))
            if values.dtype.kind in "iu":
                same &= np.abs(fitted.astype("f8")) <= _EXACT
            elif not same.all():  # a decimal that prints the same in both widths means the same number
                same |= np.array([float(str(item)) for item in fitted.ravel()]).reshape(same.shape) == values
        else:
            same = (back == values) & ((fitted < 0) == (values < 0))
    if not same.all():
        place = tuple(int(i) for i in np.argwhere(~same)[0])
        row = f"row {place[0]}" if place else "the value"
        raise InputError(field, expected, f"{values[place].item()!r} in {row}")
    return fitted


def _fit_datetime(column: pd.Series[Any], spec: ColumnSpec) -> Any:
    import pandas as pd  # 300 ms

    if column.dtype.kind == "M":
        return column
    import datetime as dt

    _each(column, spec, lambda item: isinstance(item, (str, dt.date)) or _is_missing(item))
    try:
        return pd.to_datetime(column, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise InputError(f"column {spec.name!r}", "datetime", str(error).splitlines()[0]) from error


def _each(values: Any, spec: ColumnSpec, fits: Callable[[Any], bool]) -> None:
    for i, item in enumerate(values):
        if not fits(item):
            raise InputError(f"column {spec.name!r}", spec.type, f"{item!r} ({_kind(item)}) in row {i}")


def _is_missing(item: object) -> bool:
    import pandas as pd  # 300 ms

    return item is None or item is pd.NA or item is pd.NaT or (isinstance(item, float) and item != item)


def _type_of(column: pd.Series[Any]) -> str:
    import numpy as np  # 80 ms

    dtype = column.dtype
    name = type(dtype).__name__
    if name == "StringDtype":
        return "string"
    if name == "CategoricalDtype":
        return _type_of(column.cat.categories.to_series())
    if getattr(dtype, "kind", "O") == "M":
        return "datetime"
    if not isinstance(dtype, np.dtype):
        dtype = np.dtype(getattr(dtype, "numpy_dtype", "O"))
    if dtype.kind == "O":
        present = [item for item in column if not _is_missing(item)]
        for kind, written in ((str, "string"), (bytes, "binary"), (bool, "boolean")):
            if present and all(type(item) is kind for item in present):
                return written
        return _ANY
    exact = {"bool": "boolean", "int64": "long", "uint32": "long", "float64": "double", "float32": "float"}
    small = {"int8", "int16", "int32", "uint8", "uint16"}
    return "integer" if dtype.name in small else "float" if dtype.name == "float16" else exact.get(dtype.name, _ANY)


# ---- tensors ---------------------------------------------------------------------------------------------------------


def _check_tensor(spec: TensorSpec, data: Any) -> Any:
    import numpy as np  # 80 ms

    field = WHOLE if spec.name is None else repr(spec.name)
    expected = f"{spec.dtype} of shape {_shape(spec.shape)}"
    if not isinstance(data, np.ndarray):
        try:
            data = data.to_numpy() if hasattr(data, "to_numpy") else np.asarray(data)
        except (ValueError, TypeError) as error:
            raise InputError(field, expected, f"{_kind(data)}: {str(error).splitlines()[0]}") from error
    fits = len(spec.shape) == data.ndim and all(
        want in (-1, size) for want, size in zip(spec.shape, data.shape, strict=True)
    )
    if not fits:
        raise InputError(field, expected, f"the shape {_shape(data.shape)}")
    try:
        target = np.dtype(spec.dtype)
    except TypeError:
        return data
    if target.kind in "SUO" or data.dtype == target:
        return data
    return _fit_array(data, target, field, expected)


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join('any' if size == -1 else str(size) for size in shape)})"


def _kind(value: object) -> str:
    return type(value).__name__


def _show(values: np.ndarray[Any, Any]) -> str:
    return repr(values.ravel()[0].item()) if values.size else "empty"
