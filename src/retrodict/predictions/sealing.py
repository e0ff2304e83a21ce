"""A payload cut into one piece for each person that its rows are about, and put together again, bit for bit.

Everything of a payload is personal: its cells, and also its schema (categories) and its index. So a piece holds all
three. What cannot be cut by rows without showing one person's values to another stays whole, in one piece of them all.

A piece is: the length of its header (4 bytes, big-endian), the header (JSON), the schema message, the batch message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from retrodict.kernel.errors import FormatError
from retrodict.predictions import messages, payload
from retrodict.predictions.payload import Encoded

if TYPE_CHECKING:
    import pyarrow as pa

Ranges = tuple[tuple[int, int], ...]  # first row and count of each, ascending

_BY_ROWS: Final = {"frame/1", "series/1", "index/1", "tensor/1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What is sealed as one.

    Attributes:
        owners: Whose rows it holds: one person, or several where the value cannot be cut.
        rows: Which rows of the call.
        data: The piece, in the clear.
    """

    owners: tuple[str, ...]
    rows: Ranges
    data: bytes


def cut(encoded: Encoded, count: int, owners: Sequence[str], *, is_aligned: bool = True) -> list[Piece]:
    """Return the pieces of a payload of `count` rows.

    Args:
        encoded: As `payload.encode` gave it.
        count: Its rows, as `payload.rows` counts them.
        owners: Whom each row of the call is about; a payload of another number of rows is about all of them.
        is_aligned: Whether row i of the payload is about owner i; if not, it is about all of them, too.
    """
    people = tuple(dict.fromkeys(owners))
    if len(people) > 1 and count == len(owners) and is_aligned:
        places: dict[str, list[int]] = {person: [] for person in people}
        for row, person in enumerate(owners):
            places[person].append(row)
        parts = _parts(encoded, list(places.values()))
        if parts is not None:
            return [
                Piece(owners=(person,), rows=ranges(places[person]), data=_pack(part, is_whole=False))
                for person, part in zip(people, parts, strict=True)
            ]
    return [Piece(owners=people, rows=((0, count),), data=_pack(encoded, is_whole=True))]


def join(pieces: Sequence[tuple[Ranges, bytes]], count: int) -> Encoded:
    """Return the payload of `count` rows whose pieces these are, all of them.

    Raises:
        FormatError: They are not the pieces of one payload.
    """
    found = [(rows, *_unpack(data)) for rows, data in pieces]
    if len(found) == 1 and found[0][2]:
        return found[0][1]
    # Where each range of the whole lies: its first row, the piece, the row in the piece, and how many rows.
    places = sorted(
        (first, number, sum(n for _, n in rows[:i]), n)
        for number, (rows, _, _) in enumerate(found)
        for i, (first, n) in enumerate(rows)
    )
    ends = [first + n for first, _, _, n in places]
    if any(whole for _, _, whole in found) or [place[0] for place in places] != [0, *ends[:-1]] or ends[-1:] != [count]:
        raise FormatError("the pieces of a sealed payload do not make its rows")
    parts = [part for _, part, _ in found]
    first = parts[0]
    if first.codec in _BY_ROWS:
        if any((part.codec, part.schema, part.meta) != (first.codec, first.schema, first.meta) for part in parts):
            raise FormatError("the pieces of a sealed payload are not of one shape")
        return _joined(parts, places)
    values = [payload.decode(part.codec, part.schema, part.batch, part.meta) for part in parts]
    try:
        whole = _put_together(values, [(number, start, n) for _, number, start, n in places])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError("the pieces of a sealed payload are not of one shape") from error
    if payload.rows(whole) != count:
        raise FormatError("the pieces of a sealed payload have other rows than they say")
    return payload.encode(whole)


def piece_row(rows: Ranges, data: bytes, row: int) -> tuple[Encoded, int]:
    """Return a piece as a payload of its own, and where row `row` of the call is in it.

    Raises:
        FormatError: It is no piece.
        IndexError: It does not hold that row.
    """
    held = numbers(rows)
    if row not in held:
        raise IndexError(row)
    return alone(data), held.index(row)


def alone(data: bytes) -> Encoded:
    """Return a piece as a payload of its own.

    Raises:
        FormatError: It is no piece.
    """
    part, is_whole = _unpack(data)
    if is_whole or part.codec not in _BY_ROWS:
        return part
    # The layout and the range of the index are those of the whole.
    return Encoded(codec=part.codec, schema=part.schema, batch=part.batch, meta={})


def ranges(rows: Sequence[int]) -> Ranges:
    """Return ascending rows as ranges.

    >>> ranges([0, 1, 2, 5])
    ((0, 3), (5, 1))
    """
    found: list[tuple[int, int]] = []
    for row in rows:
        if found and row == sum(found[-1]):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((row, 1))
    return tuple(found)


def numbers(rows: Ranges) -> list[int]:
    """Return the rows of ranges."""
    return [row for first, count in rows for row in range(first, first + count)]


def _pack(encoded: Encoded, *, is_whole: bool) -> bytes:
    header = {
        "codec": encoded.codec,
        "meta": dict(encoded.meta),
        "schema": len(encoded.schema),
        "whole": is_whole,
    }
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    return len(text).to_bytes(4, "big") + text + encoded.schema + encoded.batch


def _unpack(data: bytes) -> tuple[Encoded, bool]:
    try:
        start = 4 + int.from_bytes(data[:4], "big")
        header = json.loads(data[4:start])
        batch = start + header["schema"]
        if not isinstance(header["meta"], dict) or not start <= batch <= len(data):
            raise FormatError("not a piece of a sealed payload: its lengths do not fit")
        encoded = Encoded(codec=str(header["codec"]), schema=data[start:batch], batch=data[batch:], meta=header["meta"])
        return encoded, bool(header["whole"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"not a piece of a sealed payload: {error}") from error


def _parts(encoded: Encoded, places: Sequence[Sequence[int]]) -> list[Encoded] | None:
    """Return the rows at each of `places` as a payload; None where it cannot be cut."""
    if encoded.codec in {"json/1", "tree/1"}:
        value = payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)
        if type(value) in {list, tuple}:
            return [payload.encode(_picked(value, rows)) for rows in places]
        if type(value) is not dict or not all(
            type(item) in {list, tuple} or _is_array(item) for item in value.values()
        ):
            return None
        found = [_picked(value, rows) for rows in places]  # of a dict of columns
        order = sorted((row, number, start) for number, rows in enumerate(places) for start, row in enumerate(rows))
        again = payload.encode(_put_together(found, [(number, start, 1) for _, number, start in order]))
        return [payload.encode(part) for part in found] if again == encoded else None  # not where it would lose a bit
    if encoded.codec not in _BY_ROWS:
        return None
    import pyarrow as pa  # 57 ms, but loaded: it encoded the value

    schema = pa.ipc.read_schema(pa.BufferReader(encoded.schema))
    about = json.loads(schema.metadata[messages.KEY])
    if "whole" in about or "rows" in encoded.meta or _is_shared(about):
        return None
    batch = pa.ipc.read_record_batch(pa.BufferReader(encoded.batch), schema)
    parts = []
    for rows in places:
        part = _concatenated([batch.slice(first, count) for first, count in ranges(rows)])
        parts.append(Encoded(codec=encoded.codec, schema=encoded.schema, batch=part, meta=encoded.meta))
    return parts


def _is_array(value: object) -> bool:
    return type(value).__module__ == "numpy" and type(value).__name__ == "ndarray" and bool(getattr(value, "shape", ()))


def _picked(value: Any, rows: Sequence[int]) -> Any:
    """Return the rows of a list, of an array, or of a dict of such columns."""
    if isinstance(value, dict):
        return {name: _picked(column, rows) for name, column in value.items()}
    return value[list(rows)] if _is_array(value) else type(value)(value[row] for row in rows)


def _put_together(values: Sequence[Any], places: Sequence[tuple[int, int, int]]) -> Any:
    """Return what `_picked` has taken apart. Places, in order: which value, its first row there, and how many."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _put_together([value[name] for value in values], places) for name in first}
    stretches = [values[number][start : start + n] for number, start, n in places]
    if _is_array(first):
        import numpy as np  # 60 ms, but loaded: it is an array

        return np.concatenate(stretches)
    return type(first)(item for stretch in stretches for item in stretch)


def _is_shared(about: object) -> bool:
    """Say whether a description holds values of the rows: categories, or a frequency that only all rows have."""
    if isinstance(about, Mapping):
        if about.get("extension") == "category" or about.get("freq") is not None:
            return True
        return any(_is_shared(item) for item in about.values())
    return isinstance(about, list) and any(_is_shared(item) for item in about)


def _joined(parts: Sequence[Encoded], places: Sequence[tuple[int, int, int, int]]) -> Encoded:
    import pyarrow as pa  # 57 ms

    first = parts[0]
    try:
        schema = pa.ipc.read_schema(pa.BufferReader(first.schema))
        batches = [pa.ipc.read_record_batch(pa.BufferReader(part.batch), schema) for part in parts]
        for number, batch in enumerate(batches):
            batch.validate(full=True)
            if batch.num_rows != sum(n for _, of, _, n in places if of == number):
                raise FormatError("the pieces of a sealed payload have other rows than they say")
        whole = _concatenated([batches[number].slice(start, n) for _, number, start, n in places])
    except (pa.ArrowException, ValueError) as error:
        raise FormatError(f"the pieces of a sealed payload cannot be joined: {error}") from error
    return Encoded(codec=first.codec, schema=first.schema, batch=whole, meta=first.meta)


def _concatenated(batches: Sequence[pa.RecordBatch]) -> bytes:
    """Return slices as one record batch message, copied as they lie: `take` would lose what is below nulls.

    HAZARD: a slice written as it is brings up to 63 bytes of its neighbours, the padding of Arrow's buffers. Only
    concatenating, which one slice with nothing is too, makes buffers of its own.
    """
    import pyarrow as pa  # 57 ms

    schema = batches[0].schema
    columns = [
        pa.concat_arrays([*(batch.column(i) for batch in batches), batches[0].column(i).slice(0, 0)])
        for i in range(len(schema))
    ]
    data: bytes = pa.RecordBatch.from_arrays(columns, schema=schema).serialize().to_pybytes()
    return data
