"""Just enough of Arrow's IPC format to read single cells: an explanation is done before pyarrow would be imported.

Source: Apache Arrow columnar format 1.5, "Encapsulated message format" and "RecordBatch message", `Schema.fbs` and
`Message.fbs`; FlatBuffers internals. Only plain columns are understood: whole numbers, floats, truth values, text, and
fixed-size lists of these; everything else raises, and the caller decodes with pyarrow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

Cells = Callable[[int], list[object]]  # from a row to its cell, or to the cells of its list

_SCHEMA, _BATCH = 1, 3  # kinds of message
_INT, _FLOAT, _UTF8, _BOOL, _LIST, _LARGE_UTF8 = 2, 3, 5, 6, 16, 20  # types of field
_SIGNED: Final = {8: "b", 16: "h", 32: "i", 64: "q"}


class NotPlainError(Exception):
    """Something that is not read here."""


class Table:
    """A FlatBuffers table: fields by their number in the schema."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - struct.unpack_from("<i", data, at)[0]

    def _place(self, field: int) -> int | None:
        size = struct.unpack_from("<H", self._data, self._fields)[0]
        if 4 + 2 * field >= size:
            return None
        offset = struct.unpack_from("<H", self._data, self._fields + 4 + 2 * field)[0]
        return self._at + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a scalar."""
        place = self._place(field)
        return default if place is None else int(struct.unpack_from("<" + form, self._data, place)[0])

    def table(self, field: int) -> Table | None:
        """Return a table inside."""
        place = self._target(field)
        return None if place is None else Table(self._data, place)

    def text(self, field: int) -> bytes:
        """Return a string."""
        place = self._target(field)
        if place is None:
            return b""
        length = struct.unpack_from("<I", self._data, place)[0]
        return self._data[place + 4 : place + 4 + length]

    def tables(self, field: int) -> Iterator[Table]:
        """Yield the tables of a vector."""
        place = self._target(field)
        for i in range(0 if place is None else struct.unpack_from("<I", self._data, place)[0]):
            entry = (place or 0) + 4 + 4 * i
            yield Table(self._data, entry + struct.unpack_from("<I", self._data, entry)[0])

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Return a vector of structs of two 64-bit numbers."""
        place = self._target(field)
        if place is None:
            return []
        count = struct.unpack_from("<I", self._data, place)[0]
        numbers = struct.unpack_from(f"<{2 * count}q", self._data, place + 4)
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    def _target(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + struct.unpack_from("<I", self._data, place)[0]


def _message(data: bytes, kind: int) -> tuple[Table, int]:
    """Return the header of a message of this kind, and where its body begins."""
    mark, size = struct.unpack_from("<Ii", data)
    if mark != 0xFFFFFFFF:
        raise NotPlainError
    message = Table(data[8 : 8 + size], struct.unpack_from("<I", data, 8)[0])
    header = message.table(2)
    if message.number(1, "B") != kind or header is None:
        raise NotPlainError
    return header, 8 + size


def metadata(schema: bytes, key: bytes) -> bytes:
    """Return what a schema's metadata has under `key`.

    Raises:
        NotPlainError, struct.error: It cannot be read here.
    """
    header, _ = _message(schema, _SCHEMA)
    for pair in header.tables(2):
        if pair.text(0) == key:
            return pair.text(1)
    raise NotPlainError


def read_columns(schema: bytes, batch: bytes) -> tuple[list[Cells], int]:
    """Return, for each column of a record batch, what reads a row of it; and the number of rows.

    Raises:
        NotPlainError, struct.error: It cannot be read here.
    """
    header, _ = _message(schema, _SCHEMA)
    body, start = _message(batch, _BATCH)
    if header.number(0, "h") or body.table(3) is not None:  # big-endian; compressed
        raise NotPlainError
    rows = body.number(0, "q")
    nodes, buffers = iter(body.pairs(1)), iter(body.pairs(2))
    columns = [_column(batch[start:], field, nodes, buffers) for field in header.tables(1)]
    return columns, rows


def _column(data: bytes, field: Table, nodes: Iterator[tuple[int, int]], buffers: Iterator[tuple[int, int]]) -> Cells:
    kind, form, dictionary = field.number(2, "B"), field.table(3), field.table(4)
    if form is None or dictionary is not None:
        raise NotPlainError
    length, nulls = next(nodes)
    valid, _ = next(buffers)

    def checked(read: Callable[[int], Any]) -> Cells:
        def cell(row: int) -> list[object]:
            if not 0 <= row < length:
                raise IndexError(row)
            return [read(row) if not nulls or data[valid + row // 8] >> row % 8 & 1 else None]

        return cell

    if kind == _LIST:
        width = form.number(0, "i")
        inner = _column(data, next(field.tables(5)), nodes, buffers)
        if nulls:
            raise NotPlainError
        return lambda row: [cell for i in range(row * width, (row + 1) * width) for cell in inner(i)]
    at, _ = next(buffers)
    if kind in {_UTF8, _LARGE_UTF8}:
        text, _ = next(buffers)
        offset = "<2i" if kind == _UTF8 else "<2q"

        def word(row: int) -> str:
            begin, end = struct.unpack_from(offset, data, at + row * struct.calcsize(offset) // 2)
            return data[text + begin : text + end].decode()

        return checked(word)
    if kind == _BOOL:
        return checked(lambda row: bool(data[at + row // 8] >> row % 8 & 1))
    if kind == _INT:
        letter = _SIGNED[form.number(0, "i")]
        letter = letter if form.number(1, "B") else letter.upper()
    elif kind == _FLOAT:
        letter = "efd"[form.number(0, "h")]
    else:
        raise NotPlainError
    number = struct.Struct("<" + letter)
    return checked(lambda row: number.unpack_from(data, at + row * number.size)[0])
