"""Cells: values as Arrow columns of a type, and whether two are the same."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from retrodict import streams
from retrodict.kernel.errors import UsageError
from retrodict.tables.errors import BadCellError
from retrodict.tables.files import refuse_large, type_text, value_in


def column_of(values: Sequence[object], kind: object, called: str) -> Any:
    """Return values as an Arrow array of a type; texts are read as it writes them.

    Raises:
        BadCellError: One has no equal there.
    """
    import pyarrow as pa  # 57 ms

    wanted = streams.named_type(kind)
    if not pa.types.is_decimal(wanted):  # of floats it makes whatever decimal is near
        with contextlib.suppress(pa.ArrowException, ValueError, TypeError, OverflowError):
            made = pa.array(values, wanted)
            refuse_large(made, called)
            return made
    cells = []
    for number, value in enumerate(values, 1):
        try:
            cells.append(value_in(value, wanted))
        except (pa.ArrowException, ValueError, TypeError, OverflowError, UsageError) as error:
            raise BadCellError(
                f"{called} is {type_text(kind)}, and row {number} has {str(value)[:60]!r} there",
                without_values=f"{called} is {type_text(kind)}, and row {number} has something else there",
            ) from error
    return pa.array(cells, wanted)


def is_same(a: object, b: object) -> bool:
    """Say whether two cells are equal, NaN with itself too, and zero not with minus zero."""
    if isinstance(a, float) and isinstance(b, float):
        return a.hex() == b.hex()
    return a == b and type(a) is type(b)


def unequal(a: Any, b: Any) -> Any:
    """Return for each row whether two columns of one type differ: in their bits, where they are floats."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    if isinstance(a, pa.ChunkedArray):
        a = a.combine_chunks()
    if isinstance(b, pa.ChunkedArray):
        b = b.combine_chunks()
    if pa.types.is_floating(a.type):
        bits = {16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}[a.type.bit_width]
        a, b = a.view(bits), b.view(bits)
    if pa.types.is_nested(a.type):
        a, b = (pa.array(streams.formats.cells(values), pa.string()) for values in (a, b))
    if pa.types.is_null(a.type):
        return pc.is_valid(a)
    return pc.coalesce(pc.not_equal(a, b), pc.xor(pc.is_null(a), pc.is_null(b)))


def changed_ids(masks: Mapping[str, Any]) -> Any:
    """Return for each row the ids of the columns whose mask is true."""
    import pyarrow as pa  # 57 ms

    names = list(masks)
    rows = zip(*(masks[name].to_pylist() for name in names), strict=True)
    ids = [int(name) for name in names]
    return pa.array(
        [[number for number, differs in zip(ids, row, strict=True) if differs] for row in rows], pa.list_(pa.int32())
    )
