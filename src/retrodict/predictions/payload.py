"""The values of a call, as bytes that give back every bit: Arrow IPC with the description in the schema.

A payload is a schema message (stored once: calls of one shape share it) and a record batch message. Arrow's own
conversions turn NaN into null, lose the memory layout and guess at object columns, and the last bit of a score depends
on such things; so the columns here are made from the buffers themselves, and the schema's metadata (key `retrodict`,
JSON) says what to build from them. Names and the values of `object` columns are tagged JSON. Nothing is ever pickled.

A homogeneous block of a frame is one FixedSizeList column, row-major, whatever its layout was: a row of 20 numbers
costs one Arrow buffer, not 40. The layout ("C", "F", or strides in bytes) stands in `meta` and is rebuilt.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from retrodict.kernel.errors import FormatError, MissingExtraError, RetrodictError
from retrodict.predictions import media, tagged
from retrodict.predictions.errors import UnsupportedPayloadError
from retrodict.predictions.messages import KEY, Numbers, messages, storage

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Column: TypeAlias = "Numbers | pa.Array"
SPAN_LIMIT: Final = 16 * 2**20  # bytes; a view into something larger is rebuilt with smaller strides of the same class


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A value as bytes.

    Attributes:
        codec: How to read it: "frame/1", "series/1", "index/1", "tensor/1", "image/1", "json/1", "tree/1" or "ipc/1".
        schema: One encapsulated Arrow schema message; equal for calls of the same shape.
        batch: One encapsulated Arrow record batch message.
        meta: What changes from call to call beside the values; JSON-able, ASCII keys, no floats.
    """

    codec: str
    schema: bytes
    batch: bytes
    meta: Mapping[str, object]


def encode(value: object) -> Encoded:
    """Return `value` as bytes from which `decode` makes it again, bit for bit.

    Takes pandas frames, series and indexes; NumPy arrays of any plain dtype; pyarrow tables and batches; polars
    frames and series; None, bool, int, float, complex, str, bytes, dates and times, Decimal, NumPy and pandas
    scalars; PIL's images; and any nesting of list, tuple and dict with these. Not kept: of images all but mode, size,
    pixels and palette; `attrs` and `flags` of pandas objects, unused
    levels of a MultiIndex, and how Arrow columns are cut into chunks.

    Raises:
        UnsupportedPayloadError: Something in it cannot be represented; names it and its type.
    """
    try:
        encoded = _encode_table(value, "the value")
        if encoded is not None:
            return encoded
        leaves: list[Encoded] = []

        def leaf(item: object, where: str) -> dict[str, object]:
            table = _encode_table(item, where)
            if table is None:
                raise UnsupportedPayloadError(where, tagged.type_name(item))
            leaves.append(table)
            return {"$": "leaf", "v": len(leaves) - 1, "meta": table.meta}

        text = tagged.dumps(value, "the value", leaf)
    except RecursionError:
        raise UnsupportedPayloadError("the value", "nested too deeply, or contains itself") from None
    description = [{"codec": leaf.codec, "schema": _b64(leaf.schema)} for leaf in leaves]
    cells = [("value", text), *((f"leaf {i}", leaf.batch) for i, leaf in enumerate(leaves))]
    return _message("tree/1" if leaves else "json/1", _binary(cells), {"leaves": description} if leaves else {}, {})


def decode(codec: str, schema: bytes, batch: bytes, meta: Mapping[str, object]) -> Any:
    """Return the value that `encode` was given. Arrays are writable and own their memory.

    Raises:
        FormatError: The bytes are not such a payload.
        MissingExtraError: The value needs pandas or polars, which are not installed.
    """
    reader = _READERS.get(codec)
    if reader is None:
        raise FormatError(f"no payload codec is called {codec!r}", hint="A newer release may have written it.")
    try:
        import pyarrow as pa  # 57 ms

        arrow_schema = pa.ipc.read_schema(pa.BufferReader(schema))
        if codec in {"frame/1", "series/1", "index/1"}:
            import pandas  # noqa: F401, ICN001 - 300 ms; registers its types with Arrow
        columns = pa.ipc.read_record_batch(pa.BufferReader(batch), arrow_schema)
        columns.validate(full=True)
        return reader(json.loads((arrow_schema.metadata or {})[KEY]), columns, meta)
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise MissingExtraError(
            f"a payload that needs {package}", "images" if package == "PIL" else "models"
        ) from error
    except RetrodictError:
        raise
    except Exception as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FormatError(f"a payload ({codec}) cannot be decoded: {text}") from error


def copied(value: Any) -> Any:
    """Return what a model returned so that nothing the model does later changes it: it may use that again."""
    if type(value).__module__ == "numpy" and not value.dtype.hasobject:
        return value.copy()  # a fifth of the time
    pandas = tagged.loaded("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series) and _has_nested_cells(value):
        encoded = encode(value)  # pandas's own copy would share what lies in a cell
        return decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)
    return copy.deepcopy(value)


def _has_nested_cells(value: Any) -> bool:
    """Say whether a frame or series has a list, tuple or dict in a cell."""
    kinds = value.dtypes.tolist() if value.ndim == 2 else [value.dtype]
    columns = (value.iloc[:, j] if value.ndim == 2 else value for j, kind in enumerate(kinds) if kind == "object")
    return any(type(cell) in (list, tuple, dict) for column in columns for cell in column)


def _encode_table(value: Any, where: str) -> Encoded | None:
    """Return frames and arrays encoded; None for everything else. A library that is not loaded made nothing here."""
    numpy, kind = tagged.loaded("numpy"), type(value)
    if numpy is not None and (kind is numpy.ndarray or kind is numpy.memmap):
        return _encode_tensor(value, where)
    pandas, polars, pyarrow = (tagged.loaded(name) for name in ("pandas", "polars", "pyarrow"))
    if pandas is not None:
        if kind is pandas.DataFrame:
            return _encode_frame(value)
        if kind is pandas.Series:
            return _encode_series(value)
        if isinstance(value, pandas.Index):
            return _encode_index(value)
    if (pyarrow is not None and kind in {pyarrow.Table, pyarrow.RecordBatch}) or (
        polars is not None and kind in {polars.DataFrame, polars.Series}
    ):
        return _encode_ipc(value)
    if kind.__module__.partition(".")[0] == "PIL" and media.is_image(value):
        return _encode_image(value)
    return None


# ---- messages --------------------------------------------------------------------------------------------------------


def _message(
    codec: str,
    columns: Sequence[tuple[str, Column]],
    description: Mapping[str, object] | str,
    meta: Mapping[str, object],
) -> Encoded:
    """Return the messages; `description` may be the text that `_described` makes of it."""
    schema, batch = messages(columns, description if isinstance(description, str) else _described(description))
    return Encoded(codec=codec, schema=schema, batch=batch, meta=meta)


def _described(description: Mapping[str, object]) -> str:
    return json.dumps(description, separators=(",", ":"), sort_keys=True)


def _binary(cells: Sequence[tuple[str, bytes]]) -> list[tuple[str, pa.Array]]:
    import pyarrow as pa  # 57 ms

    return [(name, pa.array([data], pa.large_binary())) for name, data in cells]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _read_json(_description: Any, columns: pa.RecordBatch, _meta: Mapping[str, object]) -> Any:
    return tagged.loads(columns.column(0)[0].as_py())


def _read_tree(description: Any, columns: pa.RecordBatch, _meta: Mapping[str, object]) -> Any:
    def leaf(form: Mapping[str, Any]) -> object:
        about = description["leaves"][form["v"]]
        batch = columns.column(1 + form["v"])[0].as_py()
        return decode(about["codec"], base64.b64decode(about["schema"]), batch, form["meta"])

    return tagged.loads(columns.column(0)[0].as_py(), leaf)


# ---- pyarrow and polars ----------------------------------------------------------------------------------------------


def _encode_ipc(value: Any) -> Encoded:
    import io

    import pyarrow as pa  # 57 ms

    library, kind = type(value).__module__.partition(".")[0], type(value).__name__
    sink = io.BytesIO()
    if library == "pyarrow":
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write(value)
    else:
        (value.to_frame() if kind == "Series" else value).write_ipc_stream(sink)
    return _message("ipc/1", _binary([("stream", sink.getvalue())]), {"kind": f"{library}.{kind}"}, {})


def _read_ipc(description: Any, columns: pa.RecordBatch, _meta: Mapping[str, object]) -> Any:
    import io

    import pyarrow as pa  # 57 ms

    data = columns.column(0)[0].as_py()
    if description["kind"].startswith("polars."):
        import polars  # noqa: ICN001 - 100 ms

        frame = polars.read_ipc_stream(io.BytesIO(data))
        return frame.to_series() if description["kind"] == "polars.Series" else frame
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all() if description["kind"] == "pyarrow.Table" else reader.read_next_batch()


# ---- images ----------------------------------------------------------------------------------------------------------


def _encode_image(image: Any) -> Encoded:
    about: dict[str, object] = {"mode": image.mode, "size": list(image.size)}
    palette = image.getpalette("RGB") if image.mode == "P" else None
    if palette is not None:
        about["palette"] = bytes(palette).hex()
    return _message("image/1", _binary([("pixels", image.tobytes())]), about, {})


def _read_image(description: Any, columns: pa.RecordBatch, _meta: Mapping[str, object]) -> Any:
    from PIL import Image  # 30 ms

    image = Image.frombytes(description["mode"], tuple(description["size"]), columns.column(0)[0].as_py())
    if "palette" in description:
        image.putpalette(bytes.fromhex(description["palette"]), "RGB")
    return image


# ---- cells: one Arrow column from the buffer of an array -------------------------------------------------------------


def _pack(array: np.ndarray[Any, Any], where: Sequence[str]) -> tuple[dict[str, object], Column]:
    """Return the description and the column of `array`: (rows, ...), its trailing axes one FixedSizeList.

    `where` names its columns in an error: all of them, or one name for the whole.
    """
    dtype, rows = array.dtype, array.shape[0]
    width = None if array.ndim == 1 else math.prod(array.shape[1:])
    about: dict[str, object] = {"dtype": dtype.str}
    if dtype.kind == "O":
        about["cells"], cells = _pack_objects(array.reshape(-1).tolist(), where)
    elif dtype.names is not None or dtype.hasobject or dtype.kind == "T" or dtype.itemsize == 0:
        raise UnsupportedPayloadError(where[0], f"an array of {dtype}")
    else:
        if not dtype.isnative:
            array = array.byteswap().view(dtype.newbyteorder("="))
        content = array.tobytes()
        kind = "i8" if dtype.kind in "mM" else f"{dtype.kind}{dtype.itemsize}"
        if kind in storage():
            return about, Numbers(kind, width, rows, content)
        import pyarrow as pa  # 57 ms

        cells = pa.Array.from_buffers(pa.binary(dtype.itemsize), array.size, [None, pa.py_buffer(content)])
    if width is None:
        return about, cells
    import pyarrow as pa  # 57 ms

    return about, pa.FixedSizeListArray.from_arrays(cells, width)


def _unpack(about: Mapping[str, Any], column: pa.Array, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the cells of `column` as a new C-contiguous array of `shape`."""
    import numpy as np  # 80 ms

    dtype = np.dtype(about["dtype"])
    count = math.prod(shape)
    cells = column.flatten() if len(shape) > 1 else column
    if len(cells) != count:
        raise ValueError(f"{len(cells)} values for the shape {shape}")
    result = np.empty(count, dtype)
    if dtype.kind == "O":
        for i, item in enumerate(_unpack_objects(about["cells"], cells)):
            result[i] = item
        return result.reshape(shape)
    if dtype.hasobject or cells.null_count:
        raise ValueError(f"values that do not belong in an array of {dtype}")
    if count:
        size = cells.type.bit_width // 8
        if size != dtype.itemsize:
            raise ValueError(f"values of {size} bytes for {dtype}")
        raw = np.frombuffer(cells.buffers()[1], "u1", count * size, cells.offset * size)
        native = raw.view(dtype.newbyteorder("="))
        result[:] = native if dtype.isnative else native.byteswap().view(dtype)
    return result.reshape(shape)


def _pack_objects(items: list[Any], where: Sequence[str]) -> tuple[str, pa.Array]:
    import pyarrow as pa  # 57 ms

    if all(item is None or (type(item) is str and tagged.is_unicode(item)) for item in items):
        return "text", pa.array(items, pa.large_string())
    places = (f"{where[i % len(where)]}, row {i // len(where)}" for i in range(len(items)))
    texts = [tagged.dumps(item, place).decode() for item, place in zip(items, places, strict=True)]
    return "tagged", pa.array(texts, pa.large_string())


def _unpack_objects(form: str, cells: pa.Array) -> list[Any]:
    items: list[Any] = cells.to_pylist()
    return items if form == "text" else [tagged.loads(item) for item in items]


# ---- layout ----------------------------------------------------------------------------------------------------------


def _layout(array: np.ndarray[Any, Any]) -> str | list[int]:
    """Return "C", "F", or strides in bytes that rebuild the same class of layout."""
    if array.flags.c_contiguous:
        return "C"
    if array.flags.f_contiguous:
        return "F"
    strides = list(array.strides)
    if _span(array.shape, strides, array.itemsize) > max(SPAN_LIMIT, 4 * array.nbytes):
        # Same order of axes, signs and unit strides; only the gaps shrink (to one more element than is needed).
        step = array.itemsize
        for axis in sorted(range(array.ndim), key=lambda axis: abs(strides[axis])):
            if strides[axis] and abs(strides[axis]) != array.itemsize:
                strides[axis] = (1 if strides[axis] > 0 else -1) * (step + array.itemsize)
            step = max(step, abs(strides[axis]) * array.shape[axis])
    return strides


def _span(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> int:
    return sum(abs(stride) * (size - 1) for size, stride in zip(shape, strides, strict=True)) + itemsize


def _laid_out(array: np.ndarray[Any, Any], layout: Any) -> np.ndarray[Any, Any]:
    """Return `array` (C-contiguous, its own) in the layout that `_layout` named."""
    import numpy as np  # 80 ms

    if layout == "C":
        return array
    if layout == "F":
        return np.asfortranarray(array)
    span = _span(array.shape, layout, array.itemsize)
    if len(layout) != array.ndim or span > 2 * max(SPAN_LIMIT, 4 * array.nbytes):
        raise ValueError(f"a layout that does not fit: {layout}")
    offset = -sum(stride * (size - 1) for size, stride in zip(array.shape, layout, strict=True) if stride < 0)
    if array.dtype.hasobject:  # only whole references can be laid out: by way of an array of them
        room = np.empty(-(-span // array.itemsize), array.dtype)
        result = np.lib.stride_tricks.as_strided(room[offset // array.itemsize :], array.shape, layout)
    else:
        result = np.ndarray(array.shape, array.dtype, np.empty(span, "u1").data, offset, layout)
    result[...] = array
    return result


# ---- NumPy -----------------------------------------------------------------------------------------------------------


def _encode_tensor(array: np.ndarray[Any, Any], where: str) -> Encoded:
    layout = _layout(array)
    meta: dict[str, object] = {} if layout == "C" else {"layout": layout}
    if array.ndim == 0 or array.size == 0:  # a shape that rows cannot tell
        about, column = _pack(array.reshape(-1), [where])
        return _message("tensor/1", [("value", column)], about | {"whole": list(array.shape)}, meta)
    about, column = _pack(array, [where])
    return _message("tensor/1", [("value", column)], _tensor_text(tuple(about.items()), array.shape[1:]), meta)


@functools.lru_cache(maxsize=512)
def _tensor_text(about: tuple[tuple[str, object], ...], shape: tuple[int, ...]) -> str:
    return _described({**dict(about), "shape": list(shape)})


def _read_tensor(description: Any, columns: pa.RecordBatch, meta: Mapping[str, Any]) -> Any:
    column = columns.column(0)
    if "whole" in description:
        return _laid_out(_unpack(description, column, (len(column),)).reshape(description["whole"]), "C")
    shape = (len(column), *description["shape"])
    return _laid_out(_unpack(description, column, shape), meta.get("layout", "C"))


# ---- pandas ----------------------------------------------------------------------------------------------------------

_BY_ARROW: Final = {
    "BooleanDtype", "Int8Dtype", "Int16Dtype", "Int32Dtype", "Int64Dtype", "UInt8Dtype", "UInt16Dtype", "UInt32Dtype",
    "UInt64Dtype", "Float32Dtype", "Float64Dtype", "PeriodDtype", "IntervalDtype",
}  # fmt: skip


def _encode_frame(frame: pd.DataFrame) -> Encoded:
    labels = frame.columns.tolist()
    names = [str(name) for name in labels]
    columns: list[tuple[str, Column]] = []
    blocks: list[dict[str, object]] = []
    layouts: dict[str, object] = {}
    # HAZARD: blocks are private to pandas, and what a model computes depends on them: one float block is handed to
    # BLAS as it lies, several are copied into a new one. Read here and nowhere else.
    for block in frame._mgr.blocks:  # noqa: SLF001
        places = block.mgr_locs.as_array.tolist()
        if type(block.values).__module__ == "numpy":
            values = block.values.T if len(places) > 1 else block.values[0]
            about, column = _pack(values, [f"column {names[place]!r}" for place in places])
            layout = _layout(block.values)
            if layout != "C":
                layouts[str(len(blocks))] = layout
            blocks.append(about | {"at": places})
            columns.append((", ".join(names[place] for place in places), column))
            continue
        for i, place in enumerate(places):
            array = block.values if block.values.ndim == 1 else block.values[i]
            about, column = _pack_extension(array, f"column {names[place]!r}")
            blocks.append(about | {"at": place})
            columns.append((names[place], column))
    about, index_columns, meta = _pack_index(frame.index)
    if not columns and not index_columns:
        meta["rows"] = len(frame)
    if layouts:
        meta["layout"] = layouts
    description = {"blocks": blocks, "columns": _column_labels(frame.columns, labels), "index": about}
    return _message("frame/1", columns + index_columns, description, meta)


def _read_frame(description: Any, columns: pa.RecordBatch, meta: Mapping[str, Any]) -> Any:
    import numpy as np  # 80 ms
    import pandas as pd  # 300 ms

    rows = meta.get("rows", columns.num_rows)
    blocks = []
    for i, about in enumerate(description["blocks"]):
        if isinstance(about["at"], int):
            blocks.append((_unpack_extension(about, columns.column(i)), np.array([about["at"]])))
            continue
        width = len(about["at"])
        cells = _unpack(about, columns.column(i), (rows, width) if width > 1 else (rows,)).reshape(rows, width)
        array = _laid_out(np.ascontiguousarray(cells.T), meta.get("layout", {}).get(str(i), "C"))
        blocks.append((array, np.array(about["at"])))
    index = _unpack_index(description["index"], columns.columns[len(blocks) :], meta, rows)
    return _assemble(pd, blocks, index, _read_labels(description["columns"]))


def _assemble(pd: Any, blocks: list[tuple[Any, Any]], index: Any, labels: Any) -> Any:
    """Return a frame of just these blocks."""
    internals = getattr(pd.api, "internals", None)
    if internals is not None:  # since pandas 3.0
        return internals.create_dataframe_from_blocks(blocks, index=index, columns=labels)
    from pandas._libs.internals import BlockPlacement  # what the function above does, in pandas 2
    from pandas.core.internals.blocks import ensure_block_shape, maybe_coerce_values, new_block
    from pandas.core.internals.managers import BlockManager

    made = [
        new_block(maybe_coerce_values(ensure_block_shape(values, 2)), placement=BlockPlacement(places), ndim=2)
        for values, places in blocks
    ]
    manager = BlockManager(tuple(made), [labels, index])
    return pd.DataFrame._from_mgr(manager, manager.axes)  # noqa: SLF001


def _encode_series(series: pd.Series[Any]) -> Encoded:
    where = "the series" if series.name is None else f"series {str(series.name)!r}"
    name = tagged.plain(series.name, "the series' name")
    layouts: dict[str, object] = {}
    about, column = _pack_values(series.array, where, layouts)
    index, index_columns, meta = _pack_index(series.index)
    description = {"values": about, "name": name, "index": index}
    return _message("series/1", [(str(series.name), column), *index_columns], description, meta | layouts)


def _read_series(description: Any, columns: pa.RecordBatch, meta: Mapping[str, Any]) -> Any:
    import pandas as pd  # 300 ms

    about = description["values"]
    values = _unpack_values(about, columns.column(0), meta.get("layout", "C"))
    index = _unpack_index(description["index"], columns.columns[1:], meta, columns.num_rows)
    name = tagged.read(description["name"])
    return pd.Series(values, index=index, name=name, copy=False, dtype=getattr(values, "dtype", None))


def _encode_index(index: pd.Index[Any]) -> Encoded:
    about, columns, meta = _pack_index(index)
    if not columns:
        meta["rows"] = len(index)
    return _message("index/1", columns, {"index": about}, meta)


def _read_index(description: Any, columns: pa.RecordBatch, meta: Mapping[str, Any]) -> Any:
    rows = meta.get("rows", columns.num_rows)
    return _unpack_index(description["index"], columns.columns, meta, rows)


def _labels(index: pd.Index[Any]) -> dict[str, object]:
    """Return an index that belongs to the shape of a call (column labels, categories), for its description."""
    encoded = _encode_index(index)
    return {
        "codec": encoded.codec,
        "schema": _b64(encoded.schema),
        "batch": _b64(encoded.batch),
        "meta": encoded.meta,
    }


def _column_labels(index: pd.Index[Any], names: list[Any]) -> dict[str, object]:
    """Return `_labels`, which takes a third of the time of a small call, from memory where that is safe."""
    import pandas as pd  # 300 ms, but loaded

    # 1, 1.0 and True are one key to a cache, so only text goes in.
    if type(index) is pd.Index and type(index.name) in (str, type(None)) and all(type(name) is str for name in names):
        return _text_labels(tuple(names), index.dtype, index.name)
    return _labels(index)


@functools.lru_cache(maxsize=512)
def _text_labels(names: tuple[str, ...], dtype: Any, name: str | None) -> dict[str, object]:
    import pandas as pd  # 300 ms, but loaded

    return _labels(pd.Index(names, dtype=dtype, name=name, tupleize_cols=False))


def _read_labels(about: Mapping[str, Any]) -> Any:
    return decode(about["codec"], base64.b64decode(about["schema"]), base64.b64decode(about["batch"]), about["meta"])


def _pack_index(index: pd.Index[Any]) -> tuple[dict[str, object], list[tuple[str, Column]], dict[str, object]]:
    """Return description, columns, and the part of `meta`: a RangeIndex has no column, its start and step are there."""
    import pandas as pd  # 300 ms, but loaded

    kind = type(index)
    if kind is pd.RangeIndex:
        usual = {"start": 0, "step": 1, "stop": index.start + len(index) * index.step}
        meta = {key: getattr(index, key) for key, value in usual.items() if getattr(index, key) != value}
        return {"range": True, "name": tagged.plain(index.name, "the index's name")}, [], meta
    if kind is pd.MultiIndex:
        names = [tagged.plain(name, "the index's name") for name in index.names]
        packed = [_pack_index(index.get_level_values(i).rename(None)) for i in range(index.nlevels)]
        flat = [(f"index {i}", column) for i, (_, columns, _) in enumerate(packed) for _, column in columns]
        return {"multi": [about for about, _, _ in packed], "names": names}, flat, {}
    about, column = _pack_values(index.array, "the index", {})
    freq = getattr(index, "freqstr", None) if kind is not pd.PeriodIndex else None
    about = {"values": about, "name": tagged.plain(index.name, "the index's name"), "freq": freq}
    return about, [("index", column)], {}


def _unpack_index(about: Mapping[str, Any], columns: Sequence[pa.Array], meta: Mapping[str, Any], rows: int) -> Any:
    import pandas as pd  # 300 ms

    if "range" in about:
        start, step = meta.get("start", 0), meta.get("step", 1)
        return pd.RangeIndex(start, meta.get("stop", start + rows * step), step, name=tagged.read(about["name"]))
    if "multi" in about:
        levels = [
            _unpack_index(level, [column], {}, rows) for level, column in zip(about["multi"], columns, strict=True)
        ]
        return pd.MultiIndex.from_arrays(levels, names=[tagged.read(name) for name in about["names"]])
    values = _unpack_values(about["values"], columns[0], "C")
    index = pd.Index(values, dtype=values.dtype, name=tagged.read(about["name"]), copy=False)
    if about["freq"] is not None:
        index.freq = about["freq"]
    return index


def _pack_values(array: Any, where: str, layouts: dict[str, object]) -> tuple[dict[str, object], Column]:
    """Return description and column of a one-dimensional pandas array; its layout goes to `layouts`."""
    if type(array).__name__ not in {"NumpyExtensionArray", "PandasArray"}:
        return _pack_extension(array, where)
    values = array.to_numpy()
    layout = _layout(values)
    if layout != "C":
        layouts["layout"] = layout
    return _pack(values, [where])


def _unpack_values(about: Mapping[str, Any], column: pa.Array, layout: Any) -> Any:
    if "extension" in about:
        return _unpack_extension(about, column)
    return _laid_out(_unpack(about, column, (len(column),)), layout)


def _pack_extension(array: Any, where: str) -> tuple[dict[str, object], Column]:
    import pyarrow as pa  # 57 ms

    dtype, kind = array.dtype, type(array.dtype).__name__
    if kind == "DatetimeTZDtype":
        zone = tagged.zone_name(dtype.tz)
        if zone is None:
            raise UnsupportedPayloadError(where, f"of dtype {dtype}")
        about, column = _pack(array.asi8, [where])
        return about | {"extension": "datetime", "unit": dtype.unit, "zone": zone}, column
    if type(array).__name__ in {"DatetimeArray", "TimedeltaArray"}:
        about, column = _pack(array.asi8, [where])
        return about | {"extension": "datetime" if dtype.kind == "M" else "timedelta", "unit": array.unit}, column
    if kind == "CategoricalDtype":
        about, column = _pack(array.codes, [where])
        return about | {
            "extension": "category",
            "ordered": dtype.ordered,
            "categories": _labels(dtype.categories),
        }, column
    about = {"extension": kind}
    if kind == "StringDtype":
        about |= {"storage": dtype.storage, "na": "nan" if isinstance(dtype.na_value, float) else "NA"}
    elif kind in _BY_ARROW:
        about["dtype"] = str(dtype)
    elif kind != "ArrowDtype" or not _is_flat(dtype.pyarrow_dtype):
        raise UnsupportedPayloadError(where, f"of dtype {dtype}")
    try:
        column = pa.array(array, pa.large_string()) if kind == "StringDtype" else pa.array(array)
    except (UnicodeEncodeError, pa.ArrowException) as error:
        raise UnsupportedPayloadError(where, f"of dtype {dtype}") from error
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return about, column


def _is_flat(kind: pa.DataType) -> bool:
    """Say whether a batch message alone holds the values: dictionaries travel in messages of their own."""
    import pyarrow as pa  # 57 ms

    if pa.types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        return False
    return all(_is_flat(kind.field(i).type) for i in range(kind.num_fields))


def _unpack_extension(about: Mapping[str, Any], column: pa.Array) -> Any:
    import pandas as pd  # 300 ms

    kind = about["extension"]
    if kind in {"datetime", "timedelta", "category"}:
        values = _unpack(about, column, (len(column),))
        if kind == "category":
            return pd.Categorical.from_codes(
                values, categories=_read_labels(about["categories"]), ordered=about["ordered"]
            )
        if kind == "timedelta":
            return pd.array(values.view(f"m8[{about['unit']}]"))
        moments = pd.DatetimeIndex(values.view(f"M8[{about['unit']}]"))
        if "zone" not in about:
            return moments.array
        return moments.tz_localize("UTC").tz_convert(pd.DatetimeTZDtype("ns", about["zone"]).tz).array
    if kind == "ArrowDtype":
        return pd.ArrowDtype(column.type).__from_arrow__(column)
    if kind == "StringDtype":
        options = {"na_value": float("nan")} if about["na"] == "nan" else {}
        return pd.StringDtype(about["storage"], **options).__from_arrow__(column)
    return pd.api.types.pandas_dtype(about["dtype"]).__from_arrow__(column)


_READERS: Final[Mapping[str, Callable[[Any, Any, Any], Any]]] = {
    "frame/1": _read_frame,
    "series/1": _read_series,
    "index/1": _read_index,
    "tensor/1": _read_tensor,
    "image/1": _read_image,
    "json/1": _read_json,
    "tree/1": _read_tree,
    "ipc/1": _read_ipc,
}


# ---- showing ---------------------------------------------------------------------------------------------------------


def rows(value: Any) -> int:
    """Return how many rows a call's value has: the length of a frame, array, list or dict of columns; else 1.

    An image is one row, an array of its pixels too: bytes of (height, width, 3 or 4).
    """
    shape = getattr(value, "shape", None)
    if type(shape) is tuple and 0 < len(shape) < 3:  # of most questions and answers
        return int(shape[0])
    if media.is_image(value):
        return 1
    if isinstance(value, (list, tuple)):
        return len(value)
    if isinstance(value, dict):
        lengths = {_length(item) for item in value.values()}
        return 1 if len(lengths) != 1 or None in lengths else lengths.pop() or 0
    length = _length(value)
    return 1 if length is None else length


def columns(value: Any) -> list[str]:
    """Return the names of a value's columns, as `row` has them."""
    return list(row(value, 0)) if rows(value) else [str(name) for name in getattr(value, "columns", [])]


def row(value: Any, i: int) -> dict[str, object]:
    """Return row `i` as plain Python values by column: exact, except that missing values of every kind become None.

    A frame has its columns; a 1-D array, series or list "value"; deeper arrays their positions "0", "1", ...; a dict
    of columns its keys. An image is a `media.Picture`.
    """
    if not 0 <= i < max(rows(value), 1):
        raise IndexError(i)
    kind = type(value).__name__
    library = type(value).__module__.partition(".")[0]
    if media.is_image(value):
        return {"value": _cell(value)}
    if kind == "DataFrame" and library == "pandas":
        return {str(name): _pandas_cell(value.iloc[:, j], i) for j, name in enumerate(value.columns)}
    if library == "polars" and kind == "DataFrame":
        return {name: _cell(item) for name, item in value.row(i, named=True).items()}
    if library == "pyarrow":
        return {name: _cell(value.column(j)[i].as_py()) for j, name in enumerate(value.schema.names)}
    if isinstance(value, dict):
        whole = rows(value) == 1 and any(_length(item) != 1 for item in value.values())
        return {str(key): _cell(item if whole else _at(item, i)) for key, item in value.items()}
    if library == "pandas" or _length(value) is not None:
        item = _pandas_cell(value, i) if kind == "Series" and library == "pandas" else _cell(value[i])
        if isinstance(item, dict):
            return {str(key): part for key, part in item.items()}
        return {str(j): part for j, part in enumerate(item)} if isinstance(item, list) else {"value": item}
    return {"value": _cell(value)}


def to_records(value: Any) -> list[dict[str, object]]:
    """Return every row; see `row`."""
    return [row(value, i) for i in range(rows(value))]


def _length(value: Any) -> int | None:
    """Return the length along rows, None for a single value."""
    if isinstance(value, (list, tuple)):
        return len(value)
    shape = getattr(value, "shape", None)
    return shape[0] if isinstance(shape, tuple) and shape else None


def _at(value: Any, i: int) -> Any:
    return value.iloc[i] if hasattr(value, "iloc") else value[i]


def _pandas_cell(series: Any, i: int) -> Any:
    """Return one cell; the NaN by which text and categories say that nothing is there becomes None."""
    cell = series.iloc[i]
    if isinstance(cell, float) and cell != cell and type(series.dtype).__name__ in {"StringDtype", "CategoricalDtype"}:
        return None
    return _cell(cell)


def _cell(value: Any) -> Any:
    pandas = tagged.loaded("pandas")
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return None
    if isinstance(value, dict):
        return {key: _cell(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cell(item) for item in value]
    if media.is_image(value):
        return media.picture(value)
    numpy = tagged.loaded("numpy")
    if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
        if value.ndim:
            return [_cell(item) for item in value]
        if value.dtype.kind in "mM":
            return None if numpy.isnat(value) else str(value)
        return value.item()
    return value.isoformat() if hasattr(value, "isoformat") else value
