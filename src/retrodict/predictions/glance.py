"""One row of a payload, without pandas and pyarrow: what has to be quick reads the columns as they lie.

Importing these takes longer than everything else in an explanation. Whatever is not plain here (dates, periods, tables
inside lists, ...) is decoded whole instead; the answer is the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from retrodict.predictions import messages, payload, tagged
from retrodict.predictions.cells import Cells, NotPlainError, metadata, read_columns

_PLAIN_EXTENSIONS = {"StringDtype", "BooleanDtype", "Float32Dtype", "Float64Dtype"} | {
    f"{sign}Int{bits}Dtype" for sign in ("", "U") for bits in (8, 16, 32, 64)
}


def read_row(codec: str, schema: bytes, batch: bytes, meta: Mapping[str, object], i: int) -> dict[str, object]:
    """Return `payload.row(payload.decode(codec, schema, batch, meta), i)`.

    Raises:
        FormatError: The bytes are not such a payload.
        MissingExtraError: The value needs packages that are not installed.
        IndexError: There is no such row.
    """
    try:
        return _plain_row(codec, schema, batch, meta, i)
    except Exception:  # noqa: BLE001 - whatever is the matter, decoding says it in the right words
        return payload.row(payload.decode(codec, schema, batch, meta), i)


def _plain_row(codec: str, schema: bytes, batch: bytes, meta: Mapping[str, object], i: int) -> dict[str, object]:
    if codec not in {"frame/1", "series/1", "tensor/1"} or i < 0:
        raise NotPlainError
    about, columns, _ = _open(schema, batch)
    if codec == "tensor/1":
        if "whole" in about or len(about["shape"]) > 1:
            raise NotPlainError
        cells = _cells(about, columns[0], i)
        return {str(j): cell for j, cell in enumerate(cells)} if about["shape"] else {"value": cells[0]}
    if codec == "series/1":
        return {"value": _cells(about["values"], columns[0], i)[0]}
    if "rows" in meta:
        raise NotPlainError
    found: dict[int, object] = {}
    for block, column in zip(about["blocks"], columns, strict=False):
        places = [block["at"]] if isinstance(block["at"], int) else block["at"]
        found |= dict(zip(places, _cells(block, column, i), strict=True))
    names = _labels(about["columns"], len(found))
    return {name: found[place] for place, name in enumerate(names)}


def _open(schema: bytes, batch: bytes) -> tuple[Any, list[Cells], int]:
    return json.loads(metadata(schema, messages.KEY)), *read_columns(schema, batch)


def _cells(about: Mapping[str, Any], column: Cells, i: int) -> list[object]:
    """Return what row `i` of one stored column holds: one cell, or those of a row of a block."""
    values = column(i)
    if "extension" in about:
        if about["extension"] == "category":
            names = _values(about["categories"])
            return [None if code < 0 else names[code] for code in values if isinstance(code, int)]
        if about["extension"] not in _PLAIN_EXTENSIONS:
            raise NotPlainError
        return values
    kind = about["dtype"][1]
    if kind == "O":
        cells = values if about["cells"] == "text" else [tagged.loads(str(text)) for text in values]
        if not all(cell is None or type(cell) in {bool, int, float, str} for cell in cells):
            raise NotPlainError
        return cells
    if kind not in "iufb" or not all(isinstance(item, int | float) for item in values):
        raise NotPlainError
    return [bool(item) for item in values] if kind == "b" else values


def _labels(about: Mapping[str, Any], count: int) -> list[str]:
    return [str(name) for name in _values(about, count)]


def _values(about: Mapping[str, Any], count: int | None = None) -> list[object]:
    """Return the values of an index that belongs to a schema."""
    if about["codec"] != "index/1":
        raise NotPlainError
    description, columns, rows = _open(base64.b64decode(about["schema"]), base64.b64decode(about["batch"]))
    index = description["index"]
    if "range" in index:
        start, step = about["meta"].get("start", 0), about["meta"].get("step", 1)
        return [start + j * step for j in range(about["meta"]["rows"] if count is None else count)]
    if "values" not in index:
        raise NotPlainError
    return [_cells(index["values"], columns[0], j)[0] for j in range(rows)]
