"""Arrow IPC messages: of a schema, and of one record batch.

In a batch of columns of plain numbers all bytes before the numbers depend only on the columns' types and on how many
rows there are. They are taken from a batch that Arrow made, and kept: making the message anew took longer than anything
else in the record of a small call.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    import pyarrow as pa

KEY: Final = b"retrodict"  # of the description in a schema's metadata
_ALIGNMENT: Final = 8  # of the buffers in a message's body
_SMALL_BYTES: Final = 1 << 16  # of larger columns the numbers take longer than the message


class Numbers(NamedTuple):
    """A column of numbers without gaps, by their bytes.

    Attributes:
        kind: Of each number: a key of `storage`.
        width: How many make a row (a FixedSizeList); None: each is a row.
        rows: How many there are.
        content: In the machine's order of bytes, row after row.
    """

    kind: str
    width: int | None
    rows: int
    content: bytes

    def column(self) -> pa.Array:
        """Return the same as Arrow has it."""
        import pyarrow as pa  # 57 ms

        count = self.rows * (1 if self.width is None else self.width)
        cells = pa.Array.from_buffers(storage()[self.kind], count, [None, pa.py_buffer(self.content)])
        return cells if self.width is None else pa.FixedSizeListArray.from_arrays(cells, self.width)


@functools.cache
def storage() -> Mapping[str, pa.DataType]:
    """Return Arrow's type for each kind of number: NumPy's letter and its size in bytes."""
    import pyarrow as pa  # 57 ms

    names = {"i": "int", "u": "uint"}
    types = {f"{k}{size}": getattr(pa, f"{name}{size * 8}")() for k, name in names.items() for size in (1, 2, 4, 8)}
    # Booleans as bytes: an array may hold other bytes than 0 and 1, through a view.
    return types | {"b1": pa.uint8(), "f2": pa.float16(), "f4": pa.float32(), "f8": pa.float64()}


def messages(columns: Sequence[tuple[str, Numbers | pa.Array]], description: str) -> tuple[bytes, bytes]:
    """Return the schema message and the record batch message of columns by name, of which there are equally many rows.

    Args:
        description: What the schema's metadata says.
    """
    size = 0
    for _, column in columns:
        if type(column) is not Numbers or not column.content or column.rows != columns[0][1].rows:
            break
        size += len(column.content)
    else:
        if 0 < size <= _SMALL_BYTES:
            numbers = cast("Sequence[tuple[str, Numbers]]", columns)
            schema = _schema_of_numbers(tuple([(name, c.kind, c.width) for name, c in numbers]), description)
            parts = [_head(tuple([(c.kind, c.width) for _, c in numbers]), numbers[0][1].rows)]
            for _, column in numbers:
                parts += (column.content, bytes(-len(column.content) % _ALIGNMENT))
            return schema, b"".join(parts)
    import pyarrow as pa  # 57 ms

    made = [(name, column.column() if isinstance(column, Numbers) else column) for name, column in columns]
    schema, data = _schema(tuple([(name, column.type) for name, column in made]), description)
    batch = pa.RecordBatch.from_arrays([column for _, column in made], schema=schema)
    return data, batch.serialize().to_pybytes()


@functools.lru_cache(maxsize=512)
def _schema(fields: tuple[tuple[str, pa.DataType], ...], description: str) -> tuple[pa.Schema, bytes]:
    import pyarrow as pa  # 57 ms

    schema = pa.schema([pa.field(name, kind) for name, kind in fields], {KEY: description.encode()})
    return schema, schema.serialize().to_pybytes()


@functools.lru_cache(maxsize=512)
def _schema_of_numbers(fields: tuple[tuple[str, str, int | None], ...], description: str) -> bytes:
    types = tuple([(name, Numbers(kind, width, 0, b"").column().type) for name, kind, width in fields])
    return _schema(types, description)[1]


@functools.lru_cache(maxsize=2048)
def _head(kinds: tuple[tuple[str, int | None], ...], rows: int) -> bytes:
    """Return what stands before the numbers in a batch of so many rows."""
    import pyarrow as pa  # 57 ms

    sizes = [rows * (1 if width is None else width) * storage()[kind].bit_width // 8 for kind, width in kinds]
    columns = [Numbers(kind, width, rows, bytes(n)).column() for (kind, width), n in zip(kinds, sizes, strict=True)]
    made = pa.RecordBatch.from_arrays(columns, names=[str(i) for i in range(len(columns))])
    batch: bytes = made.serialize().to_pybytes()
    return batch[: len(batch) - sum(n + -n % _ALIGNMENT for n in sizes)]
