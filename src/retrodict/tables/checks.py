"""What columns, keys and whole records a table takes, and in which form it keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrodict import streams
from retrodict.tables import lines
from retrodict.tables.errors import BadCellError, BadKeyError
from retrodict.tables.files import MAX_COLUMNS, cast_column
from retrodict.tables.records import Column, Table

_SHOWN = 5


def check_columns(columns: Sequence[Column]) -> None:
    """Refuse columns that a table cannot have.

    Raises:
        BadCellError: There are none, or too many; a name is empty, stands there twice, or begins with `_`.
    """
    names = [column.name for column in columns]
    if not names or len(names) > MAX_COLUMNS:
        raise BadCellError(
            f"a table has 1 to {MAX_COLUMNS:,} columns, not {len(names):,}", hint="Make rows of them: name, value."
        )
    wrong = [name for name in names if not name.strip() or not name.isprintable() or name.startswith("_")]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) != len(names) else []
    if wrong or twice:
        raise BadCellError(
            f"these cannot be names of columns: {', '.join(map(repr, [*wrong, *twice]))}"[:1000],
            hint="Give each a name of its own that does not begin with _.",
        )


def check_rows(rows: Any, columns: Sequence[Column], key: Sequence[int], called: str) -> None:
    """Refuse the first records of a table whose keys do not name them. Raises `BadKeyError`."""
    keys = [column for column in columns if column.id in key]
    found = rows.select([column.name for column in keys]).rename_columns([str(column.id) for column in keys])
    _with_keys(found.combine_chunks(), keys, called)


def prepared_rows(wanted: Any, columns: Sequence[Column], table: Table, called: str) -> Any:
    """Return an Arrow table with a table's columns by their ids and in their types; those that it lacks are null.

    Raises:
        BadCellError: It has others, or a cell that is none.
        BadKeyError: A key is null, NaN, or stands there twice; it names the rows.
    """
    import pyarrow as pa  # 57 ms

    names = wanted.schema.names
    by_name = {column.name: column for column in columns}
    unknown = sorted(set(names) - by_name.keys())
    if unknown or len(set(names)) != len(names):
        raise BadCellError(
            f"{called} has columns that {table.name} has not, or one twice: {', '.join(unknown or names)}"[:1000],
            hint=f"`retrodict table alter {table.name} --add` gives it a column.",
        )
    lacking = [column.name for column in columns if column.id in table.key and column.name not in names]
    if lacking:
        raise BadKeyError(f"{called} has no column {', '.join(lacking)}, which is the key of {table.name}")
    arrays = []
    for column in columns:
        if column.name in names:
            arrays.append(cast_column(wanted[column.name], column.type, f"{called}, column {column.name}"))
        else:
            kind = streams.named_type(column.type)
            arrays.append(pa.chunked_array([pa.nulls(wanted.num_rows, kind)], kind))
    found = pa.table(arrays, names=[str(column.id) for column in columns]).combine_chunks()
    return _with_keys(found, [column for column in columns if column.id in table.key], called)


def _with_keys(found: Any, keys: Sequence[Column], called: str) -> Any:
    """Return rows whose keys are as they are kept. Raises as `prepared_rows` does."""
    import pyarrow.compute as pc  # 57 ms, with pyarrow

    normal = normal_keys(found.select([str(column.id) for column in keys]))
    for column in keys:
        values = normal[str(column.id)]
        found = found.set_column(found.schema.get_field_index(str(column.id)), str(column.id), values)
        if values.null_count:
            wrong = pc.indices_nonzero(pc.is_null(values)).to_pylist()
            raise BadKeyError(f"{called}: the key {column.name} is empty in {_rows(wrong)}")
    refuse_nan(normal, keys)
    codes = lines.key_codes(normal, [str(column.id) for column in keys])
    if len(pc.unique(codes)) != len(codes):
        seen: dict[int, int] = {}
        twice, rows = [], []
        for number, code in enumerate(codes.to_pylist()):
            if code in seen:
                key = "/".join(str(normal[str(column.id)][number].as_py()) for column in keys)
                rows.append(f"in rows {seen[code] + 1} and {number + 1}")
                twice.append(f"{key} {rows[-1]}")
            seen.setdefault(code, number)
        more = f", and {len(twice) - _SHOWN} more" if len(twice) > _SHOWN else ""
        says = f"{called}: a key stands there twice: "
        raise BadKeyError(
            f"{says}{'; '.join(twice[:_SHOWN])}{more}", without_values=f"{says}{'; '.join(rows[:_SHOWN])}{more}"
        )
    return found


def normal_keys(table: Any) -> Any:
    """Return columns of keys in which minus zero is zero."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    for i, name in enumerate(table.schema.names):
        if pa.types.is_floating(table.schema.field(i).type):
            table = table.set_column(i, name, pc.add(table[name], pa.scalar(0.0, table.schema.field(i).type)))
    return table


def refuse_nan(table: Any, key: Sequence[Column]) -> None:
    """Refuse keys that are no number.

    Raises:
        BadKeyError: It names the rows.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    for column in key:
        values = table[str(column.id)]
        if pa.types.is_floating(values.type):
            wrong = pc.indices_nonzero(pc.fill_null(pc.is_nan(values), False)).to_pylist()
            if wrong:
                raise BadKeyError(f"the key {column.name} is no number (NaN) in {_rows(wrong)}")


def with_known_keys(rows: Any, table: Table) -> Any:
    """Return records without those whose key is erased: nobody can say any more whether another table has them."""
    key = rows[str(table.key[0])]
    return rows.filter(key.is_valid()) if key.null_count else rows


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number + 1) for number in numbers[:_SHOWN])
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"row{'s' if len(numbers) > 1 else ''} {shown}{more}"
