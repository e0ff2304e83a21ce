"""Tensors of the Open Inference Protocol v2 (JSON and binary), to what a model takes and from what it gives.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from retrodict.kernel.errors import MissingExtraError
from retrodict.models import ColumnSpec, Signature, TensorSpec
from retrodict.models.signature import Spec
from retrodict.predictions import media
from retrodict.server.errors import Described, FieldError, RequestError

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
_LITTLE_ENDIAN: Final = {"BOOL": "?"} | {
    name: f"<{kind}{bits // 8}"
    for prefix, kind in (("INT", "i"), ("UINT", "u"), ("FP", "f"))
    for bits in (8, 16, 32, 64)
    if (name := f"{prefix}{bits}") != "FP8"
}
_MOST_AXES: Final = 16
_WIDE: Final = 16  # columns of a frame, from which on they are taken all at once: of one, pandas first makes a series
_MOST_VALUES: Final = 2**31 - 1  # of one tensor; more would not pass the limits on bodies in any case


def read_tensors(items: object, binary: memoryview | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors of a request's `inputs` by name, each in its shape and datatype.

    JSON has no missing values: `null` stands for NaN in a float tensor and for None in a BYTES tensor.

    Args:
        items: `inputs`.
        binary: What follows the JSON: the tensors with `binary_data_size`, in the order of `inputs`.

    Raises:
        FieldError: Something in it is not as the protocol lays it out; names it.
    """
    if not isinstance(items, list) or not items:
        raise FieldError("inputs", "a list of tensors", items)
    rest = memoryview(b"") if binary is None else binary
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise FieldError(f"inputs[{number}]", "a tensor (an object)", item)
        name = item.get("name")
        if not isinstance(name, str) or not name or _has_lone_surrogate(name):
            raise FieldError(f"inputs[{number}].name", "a string", name)
        if name in tensors:
            raise FieldError(f"inputs[{number}].name", "a name that no other input has", name)
        datatype, shape = _datatype(name, item), _read_shape(name, item)
        parameters = read_parameters(f"{name}.parameters", item)
        if "shared_memory_region" in parameters:
            raise RequestError(f"{name}: shared memory is not supported; send the tensor's values")
        size = parameters.get("binary_data_size")
        if size is None:
            tensors[name] = _from_json(name, datatype, shape, item.get("data"))
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            expected = f"a size in bytes, at most the {len(rest)} that follow the JSON and other tensors"
            raise FieldError(f"{name}.parameters.binary_data_size", expected, size)
        if item.get("data") is not None:
            raise FieldError(f"{name}.data", "to be left out, since the tensor is binary", Described("values"))
        tensors[name] = _from_binary(name, datatype, shape, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise RequestError(f"{len(rest)} bytes follow the JSON that belong to no tensor (binary_data_size)")
    return tensors


def read_bare(specs: Spec | None, data: memoryview) -> dict[str, np.ndarray[Any, Any]]:
    """Return the only tensor that a model takes from a body that is nothing else; its shape follows from its size.

    Source: Triton's binary tensor data extension, raw binary request. BYTES is one text, without its length before it.

    Args:
        specs: Of the model's inputs.

    Raises:
        RequestError: The model takes several tensors, it is not known which, or its shape does not follow.
        FieldError: The bytes are not such a tensor.
    """
    described = describe(specs, "input")
    if len(described) != 1:
        found = f"this one takes {len(described)}" if described else "it is not known what this one takes"
        raise RequestError(f"a body without JSON is for a model that takes one tensor, and {found}")
    name, datatype, shape = (described[0][field] for field in ("name", "datatype", "shape"))
    if not shape:
        raise RequestError(f"{name} has no rows: send the JSON, too")
    if datatype == "BYTES":
        data = memoryview(len(data).to_bytes(4, "little") + bytes(data))
        return {name: _from_binary(name, datatype, [1 if size < 0 else size for size in shape], data)}
    if sum(size < 0 for size in shape) > 1:
        shape = [1 if i == 0 else size for i, size in enumerate(shape)]  # one row of a varying size
    if sum(size < 0 for size in shape) > 1 or not all(shape):
        raise RequestError(f"the shape of {name} is {shape}, and does not follow from a size: send the JSON, too")
    import numpy as np  # 80 ms

    one = math.prod(size for size in shape if size >= 0) * np.dtype(_LITTLE_ENDIAN[datatype]).itemsize
    return {name: _from_binary(name, datatype, [len(data) // one if size < 0 else size for size in shape], data)}


def read_parameters(field: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `parameters` of a request, an input or an output; {} where there are none.

    Raises:
        FieldError: They are no object.
    """
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise FieldError(field, "an object", parameters)
    return parameters


def _datatype(name: str, item: Mapping[str, Any]) -> str:
    datatype = item.get("datatype")
    if datatype == "BF16":
        raise RequestError(f"{name}.datatype: BF16 is not supported: NumPy has no such number; send FP32")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise FieldError(f"{name}.datatype", f"one of {', '.join(DATATYPES)}", datatype)
    return datatype


def _read_shape(name: str, item: Mapping[str, Any]) -> list[int]:
    shape = item.get("shape")
    if isinstance(shape, list) and 1 <= len(shape) <= _MOST_AXES:
        count = 1
        for size in shape:
            if type(size) is not int or size < 0:
                break
            count *= size or 1
        else:
            if max(count, *shape) <= _MOST_VALUES:
                return shape
    raise FieldError(f"{name}.shape", f"a list of sizes (1 to {_MOST_AXES}, rows first)", shape)


def _from_json(name: str, datatype: str, shape: list[int], data: object) -> np.ndarray[Any, Any]:
    import numpy as np  # 80 ms

    if not isinstance(data, list):
        raise FieldError(f"{name}.data", "a list", data)
    kinds = set(map(type, data))
    values = list(_flatten(data)) if list in kinds else data
    if len(values) != math.prod(shape):
        raise FieldError(f"{name}.data", f"{math.prod(shape)} values for the shape {shape}", len(values))
    convert, dtype = _converter(datatype)
    try:
        is_plain = datatype in _FLOATS and kinds <= {float, int}  # the usual case, without a call for each value
        converted = values if is_plain else [convert(value) for value in values]
        if datatype in {"FP16", "FP32"}:
            with np.errstate(over="ignore"):
                array = np.array(converted, dtype)
            if np.isinf(array).any():
                _check_infinities(name, datatype, array, values)
        else:
            array = np.array(converted, dtype)
    except (TypeError, ValueError, OverflowError):
        place, wrong = next((i, v) for i, v in enumerate(values) if not _is_convertible(convert, v))
        raise FieldError(f"{name}.data[{place}]", _EXPECTED.get(datatype) or _range(datatype), wrong) from None
    return array.reshape(shape)


def _check_infinities(name: str, datatype: str, array: np.ndarray[Any, Any], values: Sequence[Any]) -> None:
    for place, (kept, value) in enumerate(zip(array.tolist(), values, strict=True)):
        if kept in {math.inf, -math.inf} and value != kept:
            raise FieldError(f"{name}.data[{place}]", f"a number that {datatype} can hold", value)


def _from_binary(name: str, datatype: str, shape: list[int], data: memoryview) -> np.ndarray[Any, Any]:
    """Return a tensor of the binary extension: little-endian values, row-major; BYTES each after its length.

    Source: Triton's binary tensor data extension, which the clients of Triton and KServe send unless told otherwise.
    """
    import numpy as np  # 80 ms

    count = math.prod(shape)
    if datatype == "BYTES":
        return _texts(name, count, data).reshape(shape)
    kind = np.dtype(_LITTLE_ENDIAN[datatype])
    if len(data) != count * kind.itemsize:
        expected = f"{count * kind.itemsize} bytes for the shape {shape} of {datatype}"
        raise FieldError(f"{name}.parameters.binary_data_size", expected, len(data))
    if datatype == "BOOL" and not set(bytes(data)) <= {0, 1}:
        raise FieldError(f"{name}", "bytes of 0 and 1 (BOOL)", Described("others"))
    return np.frombuffer(data, kind).astype(kind.newbyteorder("="), copy=True).reshape(shape)


def _texts(name: str, count: int, data: memoryview) -> np.ndarray[Any, Any]:
    import numpy as np  # 80 ms

    texts: list[str] = []
    at = 0
    while at < len(data) and len(texts) < count:
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise FieldError(f"{name}[{len(texts)}]", "as many bytes as its length says", len(data) - at)
        try:
            texts.append(str(data[at + 4 : end], "utf-8"))
        except UnicodeDecodeError:
            raise FieldError(f"{name}[{len(texts)}]", "text in UTF-8 (BYTES)", Described("other bytes")) from None
        at = end
    if len(texts) != count or at != len(data):
        raise FieldError(f"{name}", f"{count} texts, each after its length in 4 bytes", Described(f"{len(data)} bytes"))
    array = np.empty(count, object)
    array[:] = texts
    return array


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
    if value is not None and (type(value) is not str or _has_lone_surrogate(value)):
        raise TypeError(value)
    return value


def _has_lone_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _is_convertible(convert: Any, value: object) -> bool:
    try:
        convert(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def join(questions: Sequence[Mapping[str, np.ndarray[Any, Any]]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors of several questions of one form (`form`), rows after rows."""
    import numpy as np  # 80 ms

    return {name: np.concatenate([tensors[name] for tensors in questions]) for name in questions[0]}


def form(tensors: Mapping[str, np.ndarray[Any, Any]]) -> Hashable:
    """Return what two questions must have in common for `join`; None where the tensors have different lengths."""
    if len(tensors) > 1 and len({len(tensor) for tensor in tensors.values()}) != 1:
        return None
    return tuple([(name, tensor.dtype.str, tensor.shape[1:]) for name, tensor in tensors.items()])


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


class _Infinity(float):
    """JSON has none. The faster encoder would write null, but leaves what it does not know to Python's: `Infinity`."""


class Outputs:
    """What a model answered, as tensors: one for each column, or one for an array."""

    def __init__(self, output: Any, names: Sequence[str]) -> None:
        """`names`: what the signature calls the outputs; used where the output does not say."""
        self._arrays = dict(_columns(output, names))

    def has_rows(self, rows: int) -> bool:
        """Say whether every tensor has so many rows."""
        return all(array.ndim > 0 and len(array) == rows for array in self._arrays.values())

    def write(self, wanted: Wanted, rows: slice | None = None) -> tuple[list[dict[str, Any]], list[bytes] | None]:
        """Return `outputs` of an answer, and the bytes that follow its JSON: None where no tensor is binary.

        Args:
            wanted: What was asked for.
            rows: Whose rows, where several questions were scored together.

        Raises:
            FieldError: A name that was asked for is no output.
        """
        outputs: list[dict[str, Any]] = []
        tails: list[bytes] | None = None
        names = list(self._arrays) if wanted.names is None else wanted.names
        for name in names:
            if name not in self._arrays:
                raise FieldError("outputs", f"names of outputs ({', '.join(self._arrays)})", name)
            array = self._arrays[name] if rows is None else self._arrays[name][rows]
            data = _as_binary(array) if wanted.is_binary(name) else None
            if data is None:
                outputs.append({"name": name, **_tensor(array)})
                continue
            tails = [*(tails or ()), data]
            about = {"shape": list(array.shape), "datatype": _datatype_of(array)}
            outputs.append({"name": name, **about, "parameters": {"binary_data_size": len(data)}})
        return outputs, tails


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which outputs a request wants, and in which form.

    Attributes:
        names: None: all of them.
        binary: By name, where the request says; `binary_otherwise` for the others.
    """

    names: list[str] | None
    binary: Mapping[str, bool]
    binary_otherwise: bool

    def is_binary(self, name: str) -> bool:
        """Say whether an output is to go as binary data."""
        return self.binary.get(name, self.binary_otherwise)


def read_wanted(items: object, parameters: Mapping[str, Any]) -> Wanted:
    """Read a request's `outputs`; `parameters` are the request's own.

    Raises:
        FieldError: They are not as the protocol lays them out.
    """
    otherwise = parameters.get("binary_data_output", False)
    if type(otherwise) is not bool:
        raise FieldError("parameters.binary_data_output", "true or false", otherwise)
    if items is None or items == []:
        return Wanted(names=None, binary={}, binary_otherwise=otherwise)
    if not isinstance(items, list):
        raise FieldError("outputs", "a list of outputs", items)
    names: list[str] = []
    binary: dict[str, bool] = {}
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise FieldError("outputs", "objects with a name", item)
        name = item["name"]
        if name in names:
            raise FieldError("outputs", "each output once", name)
        names.append(name)
        own = read_parameters(f"outputs.{name}.parameters", item)
        if "shared_memory_region" in own or own.get("classification"):
            raise RequestError(f"outputs.{name}: shared memory and classification are not supported")
        if "binary_data" in own:
            if type(own["binary_data"]) is not bool:
                raise FieldError(f"outputs.{name}.parameters.binary_data", "true or false", own["binary_data"])
            binary[name] = own["binary_data"]
    return Wanted(names=names, binary=binary, binary_otherwise=otherwise)


def _columns(output: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    kind = f"{type(output).__module__.partition('.')[0]}.{type(output).__name__}"
    if kind == "pandas.DataFrame" and len(output.columns) > _WIDE and _is_of_one_number(output):
        matrix = output.to_numpy()
        for i, name in enumerate(output.columns):
            yield str(name), matrix[:, i]
    elif kind in {"pandas.DataFrame", "polars.DataFrame"}:
        for name in output.columns:
            yield str(name), _values(output[name])
    elif isinstance(output, Mapping):
        for name, value in output.items():
            yield str(name), _values(value)
    elif kind in {"pandas.Series", "polars.Series"}:
        yield str(output.name if output.name is not None else names[0] if names else "output"), _values(output)
    else:
        array = _values(output)
        if array.ndim == 2 and len(names) == array.shape[1] > 1:
            for i, name in enumerate(names):
                yield name, array[:, i]
        else:
            yield names[0] if len(names) == 1 else "output", array


def _is_of_one_number(frame: Any) -> bool:
    """Say whether all columns of a pandas frame are of one NumPy type of number."""
    kinds = set(frame.dtypes.tolist())
    return len(kinds) == 1 and str(kinds.pop()) in _BY_NUMPY


def _values(column: Any) -> Any:
    import numpy as np  # 80 ms

    if hasattr(column, "to_numpy"):
        return column.to_numpy()
    if not isinstance(column, list | tuple):
        return np.asarray(column)
    if not any(media.is_image(item) for item in column):
        with contextlib.suppress(ValueError):  # rows of different lengths
            array = np.asarray(column)
            if array.dtype.kind in "biufcmM" or (array.ndim == 1 and array.dtype.kind == "O"):
                return array
            if all(isinstance(leaf, str | bytes) for leaf in _flatten(list(column))):
                return array
    # Ranked lists, words beside numbers, images: NumPy would make texts of numbers, and of images their pixels.
    array = np.empty(len(column), object)
    for i, item in enumerate(column):
        array[i] = item
    return array


def _datatype_of(array: Any) -> str:
    return "BOOL" if array.dtype.kind == "b" else _BY_NUMPY.get(array.dtype.name, "BYTES")


def _tensor(array: Any) -> dict[str, Any]:
    """Return shape, datatype and data of an array; what has no datatype of its own goes as text (BYTES)."""
    datatype = _datatype_of(array)
    data: list[Any]
    if datatype == "BYTES":
        data = _as_texts(array)
    else:
        data = array.reshape(-1).tolist()
        if datatype in _FLOATS and not all(map(math.isfinite, data)):
            data = [value if math.isfinite(value) else _Infinity(value) if value == value else None for value in data]
    return {"shape": list(array.shape), "datatype": datatype, "data": data}


def _as_texts(array: Any) -> list[str | None]:
    if array.dtype.kind in "mM":
        array = array.astype("U")
    return [_as_text(value) for value in array.reshape(-1).tolist()]


def _as_binary(array: Any) -> bytes | None:
    """Return the bytes of a tensor; None where they cannot say it: a missing text."""
    import numpy as np  # 80 ms

    datatype = _datatype_of(array)
    if datatype != "BYTES":
        return np.ascontiguousarray(array, np.dtype(_LITTLE_ENDIAN[datatype])).tobytes()
    texts = _as_texts(array)
    if None in texts:
        return None
    encoded = [str(text).encode("utf-8", "backslashreplace") for text in texts]
    return b"".join([len(text).to_bytes(4, "little") + text for text in encoded])


def _as_text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value
    return json.dumps(_as_json(value), ensure_ascii=False)


def _as_json(value: Any) -> Any:
    """Return a value as JSON has it: an image, and other bytes, by what they are and in base64; NaN as null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    found = media.picture(value)
    content = value if isinstance(value, bytes) else None if found is None else found.png
    if content is not None:
        return {**media.described(value), "base64": base64.b64encode(content).decode()}
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        plain = value.tolist()
        return _as_json(plain) if type(plain) is not type(value) else str(value)
    return str(value)


_BY_MLFLOW: Final = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}


def describe(specs: Spec | None, only: str) -> list[dict[str, Any]]:
    """Return how a model's metadata lists what it takes or gives; [] where that is not known.

    Args:
        specs: Of its signature.
        only: What the only one is called, where it has no name: "input" or "output", as answers call it.
    """
    if specs is None:
        return []
    return [_describe(specs[i], only if len(specs) == 1 else f"column_{i}") for i in range(len(specs))]


def _describe(spec: ColumnSpec | TensorSpec, otherwise: str) -> dict[str, Any]:
    if isinstance(spec, ColumnSpec):
        return {"name": spec.name or otherwise, "datatype": _BY_MLFLOW.get(spec.type, "BYTES"), "shape": [-1]}
    datatype = "BOOL" if spec.dtype == "bool" else _BY_NUMPY.get(spec.dtype, "BYTES")
    return {"name": spec.name or otherwise, "datatype": datatype, "shape": list(spec.shape)}


def names(specs: Spec | None) -> tuple[str, ...]:
    """Return the names of outputs, as far as a signature has them."""
    return tuple(spec.name for spec in specs or () if spec.name is not None)
