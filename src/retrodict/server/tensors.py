"""Tensors of the Open Inference Protocol v2 (JSON), to what a model takes and from what it gives.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from retrodict.kernel.errors import MissingExtraError
from retrodict.models import ColumnSpec, Signature, TensorSpec
from retrodict.models.signature import Spec
from retrodict.server.errors import FieldError, RequestError

if TYPE_CHECKING:
    import numpy as np

_INTEGERS: Final = {
    f"{prefix}INT{bits}": (low, high, f"{prefix.lower()}int{bits}")
    for bits in (8, 16, 32, 64)
    for prefix, low, high in (("", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1), ("U", 0, 2**bits - 1))
}
_FLOATS: Final = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}
_BY_NUMPY: Final = {dtype: name for name, (_, _, dtype) in _INTEGERS.items()} | {v: k for k, v in _FLOATS.items()}
DATATYPES: Final = ("BOOL", *_INTEGERS, *_FLOATS, "BYTES")


def read_tensors(items: object) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors of a request's `inputs` by name, each in its shape and datatype.

    JSON has no missing values: `null` stands for NaN in a float tensor and for None in a BYTES tensor.

    Raises:
        FieldError: Something in it is not as the protocol lays it out; names it.
    """
    if not isinstance(items, list) or not items:
        raise FieldError("inputs", "a list of tensors", items)
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise FieldError(f"inputs[{number}]", "a tensor (an object)", item)
        name = item.get("name")
        if not isinstance(name, str) or not name:
            raise FieldError(f"inputs[{number}].name", "a string", name)
        if name in tensors:
            raise FieldError(f"inputs[{number}].name", "a name that no other input has", name)
        tensors[name] = _read_tensor(name, item)
    return tensors


def _read_tensor(name: str, item: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    import numpy as np  # 80 ms

    datatype, shape = item.get("datatype"), item.get("shape")
    if datatype not in DATATYPES:
        raise FieldError(f"{name}.datatype", f"one of {', '.join(DATATYPES)}", datatype)
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise FieldError(f"{name}.shape", "a list of sizes", shape)
    data = item.get("data")
    if not isinstance(data, list):
        if (item.get("parameters") or {}).get("binary_data_size") is not None:
            raise RequestError(f"{name}: binary tensors are not supported; send `data` as JSON")
        raise FieldError(f"{name}.data", "a list", data)
    values = list(_flatten(data))
    if len(values) != math.prod(shape):
        raise FieldError(f"{name}.data", f"{math.prod(shape)} values for the shape {shape}", f"{len(values)} values")
    convert, dtype = _converter(datatype)
    try:
        converted = [convert(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        place, wrong = next((i, v) for i, v in enumerate(values) if not _is_convertible(convert, v))
        raise FieldError(f"{name}.data[{place}]", _EXPECTED.get(datatype) or _range(datatype), wrong) from None
    array = np.empty(len(converted), dtype)
    array[:] = converted
    return array.reshape(shape)


_EXPECTED: Final = {"BOOL": "true or false (BOOL)", "BYTES": "a string (BYTES)"} | {
    name: f"a number ({name})" for name in _FLOATS
}


def _range(datatype: str) -> str:
    low, high, _ = _INTEGERS[datatype]
    return f"a whole number from {low} to {high} ({datatype})"


def _flatten(data: list[Any]) -> Iterator[Any]:
    for item in data:
        if isinstance(item, list):
            yield from _flatten(item)
        else:
            yield item


def _converter(datatype: str) -> tuple[Any, Any]:
    if datatype in _FLOATS:
        return _float, _FLOATS[datatype]
    if datatype == "BOOL":
        return _bool, "bool"
    if datatype == "BYTES":
        return _text, "object"
    low, high, dtype = _INTEGERS[datatype]

    def integer(value: object) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(value)
        return value

    return integer, dtype


def _float(value: object) -> float:
    if value is None:
        return math.nan
    if type(value) is not int and type(value) is not float:
        raise TypeError(value)
    return float(value)


def _bool(value: object) -> bool:
    if type(value) is not bool:
        raise TypeError(value)
    return value


def _text(value: object) -> str | None:
    if value is not None and type(value) is not str:
        raise TypeError(value)
    return value


def _is_convertible(convert: Any, value: object) -> bool:
    try:
        convert(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def as_input(tensors: Mapping[str, np.ndarray[Any, Any]], signature: Signature | None) -> Any:
    """Return what a model is asked with.

    Several tensors of n values ([n] or [n, 1]) are the columns of a frame, as is a single one of [n, k] where the model
    takes k columns. Where it takes tensors, or says nothing: the array itself, or a dict of several.

    Raises:
        FieldError: The tensors cannot be what the model takes.
    """
    if signature is not None and signature.is_tensor:
        if signature.inputs[0].name is not None:
            return dict(tensors)
        if len(tensors) > 1:
            raise FieldError("inputs", "one tensor", ", ".join(tensors))
        return next(iter(tensors.values()))
    if len(tensors) == 1:
        ((name, tensor),) = tensors.items()
        if signature is None:
            return tensor
        columns = [spec.name for spec in signature.inputs]
        if tensor.ndim == 2 and tensor.shape[1] == len(columns) and name not in columns:
            return _frame(tensor, columns=None if None in columns else columns)
    wrong = next((name for name, t in tensors.items() if not (t.ndim == 1 or (t.ndim == 2 and t.shape[1] == 1))), None)
    if wrong is not None:
        if signature is None:
            return dict(tensors)
        raise FieldError(f"{wrong}.shape", "[n] or [n, 1]: one tensor for each column", list(tensors[wrong].shape))
    first = next(iter(tensors))
    for name, tensor in tensors.items():
        if len(tensor) != len(tensors[first]):
            expected = f"{len(tensors[first])} rows, as {first} has"
            raise FieldError(f"{name}.shape", expected, list(tensor.shape))
    return _frame({name: tensor.reshape(-1) for name, tensor in tensors.items()})


def _frame(data: Any, columns: Sequence[object] | None = None) -> Any:
    try:
        import pandas as pd  # 300 ms
    except ModuleNotFoundError as error:
        raise MissingExtraError("a model that takes columns", "models") from error
    return pd.DataFrame(data, columns=columns)


def write_tensors(output: Any, names: Sequence[str], wanted: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return `outputs` of an answer: one tensor for each column, or one for an array.

    Args:
        names: What the signature calls the outputs; used where the output does not say.
        wanted: The names that the request asked for; None: all.

    Raises:
        FieldError: A name in `wanted` is no output.
    """
    arrays = dict(_columns(output, names))
    if wanted is None:
        wanted = list(arrays)
    for name in wanted:
        if name not in arrays:
            raise FieldError("outputs", f"names of outputs ({', '.join(arrays)})", name)
    return [{"name": name, **_tensor(arrays[name])} for name in wanted]


def _columns(output: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    import numpy as np  # 80 ms

    kind = f"{type(output).__module__.partition('.')[0]}.{type(output).__name__}"
    if kind in {"pandas.DataFrame", "polars.DataFrame"}:
        for name in output.columns:
            yield str(name), _values(output[name])
    elif isinstance(output, Mapping):
        for name, value in output.items():
            yield str(name), _values(value)
    elif kind in {"pandas.Series", "polars.Series"}:
        yield str(output.name if output.name is not None else names[0] if names else "output"), _values(output)
    else:
        array = np.asarray(output)
        if array.ndim == 2 and len(names) == array.shape[1] > 1:
            for i, name in enumerate(names):
                yield name, array[:, i]
        else:
            yield names[0] if len(names) == 1 else "output", array


def _values(column: Any) -> Any:
    import numpy as np  # 80 ms

    return column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)


def _tensor(array: Any) -> dict[str, Any]:
    """Return shape, datatype and data of an array; what has no datatype of its own goes as text (BYTES)."""
    flat = array.reshape(-1).tolist()
    datatype = "BOOL" if array.dtype.kind == "b" else _BY_NUMPY.get(array.dtype.name, "BYTES")
    data: list[Any]
    if datatype in _FLOATS:
        data = [None if math.isnan(value) else value for value in flat]
    elif datatype == "BYTES":
        data = [
            _as_text(value) for value in (array.astype("U").reshape(-1).tolist() if array.dtype.kind in "mM" else flat)
        ]
    else:
        data = flat
    return {"shape": list(array.shape), "datatype": datatype, "data": data}


def _as_text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)


_BY_MLFLOW: Final = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}


def describe(specs: Spec | None) -> list[dict[str, Any]]:
    """Return how a model's metadata lists what it takes or gives; [] where that is not known."""
    return [] if specs is None else [_describe(specs[i], i) for i in range(len(specs))]


def _describe(spec: ColumnSpec | TensorSpec, i: int) -> dict[str, Any]:
    if isinstance(spec, ColumnSpec):
        return {"name": spec.name or f"column_{i}", "datatype": _BY_MLFLOW.get(spec.type, "BYTES"), "shape": [-1]}
    datatype = "BOOL" if spec.dtype == "bool" else _BY_NUMPY.get(spec.dtype, "BYTES")
    return {"name": spec.name or "input", "datatype": datatype, "shape": list(spec.shape)}


def names(specs: Spec | None) -> tuple[str, ...]:
    """Return the names of outputs, as far as a signature has them."""
    return tuple(spec.name for spec in specs or () if spec.name is not None)
