"""Tables in CSV, TSV, JSON lines, Parquet and Arrow files: the rows and cells that differ.

Cells are compared as they are written: text in CSV, JSON in JSON lines, typed values in Parquet and Arrow. A row is one
value then, its cells joined so that no two different rows are the same, and Arrow does the comparing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from retrodict.diffs.align import opcodes
from retrodict.kernel.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
TABLE_BYTES: Final = 2 << 30  # larger files are not compared row by row
# Nor is one with a longer line of JSON: each value of a line being read takes some 200 bytes.
LINE_BYTES: Final = 64 << 20
_WIDE: Final = 1000  # columns, from which on Arrow takes longer for a schema than for reading
_WIDE_BYTES: Final = 256 << 20  # and such a table is read by cells, each of which takes 50 bytes more than its text
_SHORT: Final = 100  # rows, up to which the columns of a type are taken together
_AT_ONCE: Final = 1 << 16  # rows of JSON, before they are packed
_AT_ONCE_BYTES: Final = 1 << 28
_END, _NONE, _ESCAPE = "\x1f", "\x1e", "\x1d"  # between cells; for a null; before a literal one of the three


class RepeatedKeyError(UsageError):
    """Rows cannot be told apart by the columns that were given as their key."""

    slug = "repeated-key"
    hint = "Name more columns: --key A --key B; or none, and rows are compared by their order."


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """One row that differs.

    Attributes:
        row_before, row_after: Its number from 0, without the header; None where it is not there.
        key: The values of the key's columns; empty where none was given.
        cells: Column -> its value before and after, as text; of an added or removed row only that side is given.
    """

    change: Literal["added", "removed", "changed"]
    row_before: int | None
    row_after: int | None
    key: tuple[str | None, ...]
    cells: Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChange:
    """What changed in a table.

    Attributes:
        key: The columns by which rows were told apart; empty: by their order.
        columns_retyped: Column -> its type before and after.
        columns_reordered: The columns that both have stand in another order.
        by_column: Column -> how many cells of rows that both have differ.
        is_in_order: By a key: the rows that both have stand in the same order; None without a key.
        shown: The first rows that differ.
    """

    key: tuple[str, ...]
    rows_before: int
    rows_after: int
    rows_added: int
    rows_removed: int
    rows_changed: int
    cells_changed: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_retyped: Mapping[str, tuple[str, str]]
    columns_reordered: bool
    by_column: Mapping[str, int]
    is_in_order: bool | None
    shown: tuple[RowChange, ...]


def read(name: str, data: bytes) -> pa.Table | None:
    """Return the table in a file, or None where there is none that can be read.

    Args:
        name: The file's name; its ending says what the bytes are.
        data: Its bytes.
    """
    import pyarrow as pa  # 57 ms

    try:
        return _read(name.lower(), data)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, OSError, ValueError, csv.Error):
        return None


def _read(name: str, data: bytes) -> pa.Table:
    import pyarrow as pa

    if name.endswith(".parquet"):
        import pyarrow.parquet as pq  # 20 ms more

        return pq.read_table(pa.BufferReader(data))
    if name.endswith((".arrow", ".feather")):
        import pyarrow.feather as feather

        return feather.read_table(pa.BufferReader(data))
    if name.endswith((".jsonl", ".ndjson")):
        return _json_lines(data)
    return _csv(data, "\t" if name.endswith(".tsv") else ",")


def _csv(data: bytes, delimiter: str) -> pa.Table:
    """Return a table of texts; nothing is taken for a number, since 01 is not 1."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    data = data.removeprefix(b"\xef\xbb\xbf")
    first = data.find(b"\n") + 1 or len(data)
    if first > LINE_BYTES:
        raise ValueError("a line of names that is longer than any line may be")
    # As a text at once it would take four times its bytes.
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(1 << 30)
    try:
        header = next(reader, [])
        if len(set(header)) != len(header) or not header:
            raise ValueError("columns without a name of their own")
        if len(header) > _WIDE:
            if len(data) > _WIDE_BYTES:
                raise ValueError("a wide table that would take too much memory")
            rows = list(reader)
            if any(len(row) != len(header) for row in rows):
                raise ValueError("rows of different lengths")
            return pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(header)})
    finally:
        csv.field_size_limit(limit)
    return arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(block_size=min(max(len(data), 1), 1 << 26)),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False)
        if len(header) > 1
        else arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={name: pa.string() for name in header}, strings_can_be_null=False
        ),
    )


def _json_lines(data: bytes) -> pa.Table:
    """Return a table of JSON texts, a column for each field; a field that a line has not is null."""
    import pyarrow as pa

    columns: dict[str, list[str | None]] = {}
    packed: dict[str, list[Any]] = {}
    done = size = 0
    decode = json.JSONDecoder(parse_float=_Number, parse_int=_Number).decode

    def pack() -> None:
        for name, cells in columns.items():
            before = packed.setdefault(name, [pa.nulls(done, pa.string())] if done else [])
            before.append(pa.array(cells, pa.string()))
            cells.clear()

    for rows, line in enumerate(_lines(data), 1):
        value = decode(line.decode())
        if not isinstance(value, dict):
            value = {"": value}
        for name, cell in value.items():
            if name not in columns:
                columns[name] = [None] * (rows - 1 - done)
            columns[name].append(_json(cell))
        size += len(line)
        for cells in columns.values():
            if len(cells) < rows - done:
                cells.append(None)
        if rows - done == _AT_ONCE or size > _AT_ONCE_BYTES:
            pack()
            done, size = rows, 0
    pack()
    return pa.table({name: pa.chunked_array(chunks, pa.string()) for name, chunks in packed.items()})


def _lines(data: bytes) -> Iterator[bytes]:
    """Yield the lines of a text that are not blank; only a line feed ends one, others may stand in a JSON text."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        if end - start > LINE_BYTES:
            raise ValueError("a line that is longer than any record may be")
        line = data[start:end].strip()
        if line:
            yield line
        start = end


class _Number(float):
    """A number with the digits that it was written with: 1.0 is not 1, and no digit is lost."""

    def __new__(cls, text: str) -> _Number:
        self = super().__new__(cls, text)
        self.text = text
        return self

    text: str

    def __repr__(self) -> str:
        return self.text


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _json(value: object) -> str:
    match value:
        case _Number():
            return value.text
        case dict():
            return "{" + ", ".join(f"{json.dumps(k)}: {_json(v)}" for k, v in sorted(value.items())) + "}"
        case list():
            return "[" + ", ".join(map(_json, value)) + "]"
        case _:
            return _encode(value)


def compare(old: pa.Table, new: pa.Table, *, key: Sequence[str] = (), limit: int | None) -> TableChange:
    """Return what changed from one table to another.

    Args:
        old: A table.
        new: Another one.
        key: Columns by which rows are told apart; none: by their order, around rows that are the same.
        limit: How many rows that differ are shown; None: all.

    Raises:
        UsageError: A table has no such column.
        RepeatedKeyError: Two rows have the same key.
    """
    import pyarrow as pa

    for name in key:
        if old.column_names.count(name) != 1 or new.column_names.count(name) != 1:
            raise UsageError(
                f"there is no column {name!r} on both sides",
                hint=f"Columns: {', '.join(old.column_names[:20])}.",
            )
    # A table looks for a column by going through all names.
    columns_a = dict(zip(old.column_names, old.columns, strict=True))
    columns_b = dict(zip(new.column_names, new.columns, strict=True))
    shared = [name for name in columns_a if name in columns_b]
    texts_a, texts_b = _all_texts(columns_a, old.num_rows), _all_texts(columns_b, new.num_rows)
    rows_a, rows_b = _joined(texts_a, shared, old.num_rows), _joined(texts_b, shared, new.num_rows)
    coded = pa.chunked_array([rows_a, rows_b]).combine_chunks().dictionary_encode().indices
    codes_a, codes_b = coded[: len(rows_a)], coded[len(rows_a) :]
    if key:
        pairs, removed, added, is_in_order = _by_key(texts_a, texts_b, key, codes_a, codes_b)
    else:
        pairs, removed, added = _by_order(codes_a.to_pylist(), codes_b.to_pylist())
        is_in_order = None
    by_column: dict[str, int] = {}
    take_a, take_b = ([pair[side] for pair in pairs] for side in (0, 1))
    differing: dict[str, list[bool]] = {}
    for name in shared if pairs else ():
        a, b = _taken(texts_a[name], take_a), _taken(texts_b[name], take_b)
        others = [x != y for x, y in zip(a, b, strict=True)]
        if any(others):
            differing[name] = others
            by_column[name] = sum(others)
    changes = sorted(
        [(j, 1, n, i, j) for n, (i, j) in enumerate(pairs)]
        + [(i, 0, -1, i, None) for i in removed]
        + [(j, 2, -1, None, j) for j in added],
        key=lambda change: change[:2],
    )
    shown = []
    for _, _, n, i, j in changes[:limit]:
        cells: dict[str, tuple[str | None, str | None]] = {}
        if n >= 0:
            names = [name for name, others in differing.items() if others[n]]
        else:
            names = old.column_names if i is not None else new.column_names
        for name in names:
            before = None if i is None else texts_a[name][i].as_py()
            cells[name] = (before, None if j is None else texts_b[name][j].as_py())
        source, row = (texts_a, i) if i is not None else (texts_b, j)
        shown.append(
            RowChange(
                change="changed" if n >= 0 else "removed" if j is None else "added",
                row_before=i,
                row_after=j,
                key=tuple(source[name][row].as_py() for name in key),
                cells=cells,
            )
        )
    return TableChange(
        key=tuple(key),
        rows_before=old.num_rows,
        rows_after=new.num_rows,
        rows_added=len(added),
        rows_removed=len(removed),
        rows_changed=len(pairs),
        cells_changed=sum(by_column.values()),
        columns_added=tuple(name for name in columns_b if name not in columns_a),
        columns_removed=tuple(name for name in columns_a if name not in columns_b),
        columns_retyped={
            name: (str(columns_a[name].type), str(columns_b[name].type))
            for name in shared
            if columns_a[name].type != columns_b[name].type
        },
        columns_reordered=[name for name in columns_b if name in columns_a] != shared,
        by_column=dict(sorted(by_column.items(), key=lambda item: -item[1])),
        is_in_order=is_in_order,
        shown=tuple(shown),
    )


def _by_key(
    texts_a: Mapping[str, Any], texts_b: Mapping[str, Any], key: Sequence[str], codes_a: Any, codes_b: Any
) -> tuple[list[tuple[int, int]], list[int], list[int], bool]:
    import pyarrow.compute as pc

    keys_a = _joined(texts_a, key, len(codes_a))
    keys_b = _joined(texts_b, key, len(codes_b))
    for keys, texts in ((keys_a, texts_a), (keys_b, texts_b)):
        if pc.count_distinct(keys).as_py() != len(keys):
            counts = pc.value_counts(keys)
            worst = counts.field("values")[pc.index(pc.greater(counts.field("counts"), 1), True).as_py()]
            row = pc.index(keys, worst).as_py()
            values = ", ".join(f"{name}={texts[name][row].as_py()}" for name in key)
            raise RepeatedKeyError(f"{' and '.join(key)} cannot tell rows apart: {values} stands more than once")
    place = pc.index_in(keys_a, value_set=keys_b).to_pylist()
    known = pc.is_in(keys_b, value_set=keys_a).to_pylist()
    numbers_a, numbers_b = codes_a.to_pylist(), codes_b.to_pylist()
    pairs = [(i, j) for i, j in enumerate(place) if j is not None and numbers_a[i] != numbers_b[j]]
    both = [j for j in place if j is not None]
    in_order = all(x < y for x, y in pairwise(both))
    return (
        pairs,
        [i for i, j in enumerate(place) if j is None],
        [j for j, is_known in enumerate(known) if not is_known],
        in_order,
    )


def _by_order(a: list[int], b: list[int]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    pairs: list[tuple[int, int]] = []
    removed: list[int] = []
    added: list[int] = []
    for tag, i1, i2, j1, j2 in opcodes(a, b):
        if tag != "equal":
            both = min(i2 - i1, j2 - j1)
            pairs += zip(range(i1, i1 + both), range(j1, j1 + both), strict=True)
            removed += range(i1 + both, i2)
            added += range(j1 + both, j2)
    return pairs, removed, added


def _taken(texts: Any, rows: list[int]) -> list[str | None]:
    """Return the texts of some rows."""
    import pyarrow as pa

    if len(texts) > _SHORT:
        taken: list[str | None] = texts.take(pa.array(rows, pa.int64())).to_pylist()
        return taken
    values = texts.to_pylist()
    return [values[row] for row in rows]


def _all_texts(columns: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return `_texts` of every column; of a table with few rows and many columns those of a type at once."""
    import pyarrow as pa

    if rows > _SHORT:
        return {name: _texts(column) for name, column in columns.items()}
    alike: dict[Any, list[str]] = {}
    for name, column in columns.items():
        alike.setdefault(column.type, []).append(name)
    found: dict[str, Any] = {}
    for kind, names in alike.items():
        chunks = [chunk for name in names for chunk in columns[name].chunks]
        found.update(zip(names, _cut(_texts(pa.chunked_array(chunks, kind)), rows, len(names)), strict=True))
    return found


def _cut(whole: Any, rows: int, count: int) -> list[Any]:
    return [whole.slice(n * rows, rows) for n in range(count)]


def _texts(column: Any) -> Any:
    """Return a column as texts, one for each value; different values have different texts."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    is_exact = pa.types.is_integer, pa.types.is_boolean, pa.types.is_temporal, pa.types.is_decimal
    if pa.types.is_large_string(kind):
        texts = column
    elif pa.types.is_string(kind) or any(is_kind(kind) for is_kind in is_exact):
        texts = column.cast(pa.large_string())
    else:  # Python prints a float in its shortest form, in every version; lists and bytes print what they hold
        texts = pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _joined(texts: Mapping[str, Any], names: Sequence[str], rows: int) -> Any:
    """Return one text for each row, from which its cells could be read again."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not names:
        return pa.array([""] * rows, pa.large_string())
    columns = [texts[name] for name in names]
    if rows > _SHORT:
        columns = [_escaped(column) for column in columns]
    else:
        columns = _cut(_escaped(pa.concat_arrays(columns)), rows, len(columns))
    return pc.binary_join_element_wise(*columns, pa.scalar(_END, pa.large_string()))


def _escaped(column: Any) -> Any:
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(column, "[\x1d-\x1f]")).as_py():
        for mark, letter in ((_ESCAPE, "a"), (_NONE, "b"), (_END, "c")):
            column = pc.replace_substring(column, mark, _ESCAPE + letter)
    return pc.fill_null(column, _NONE)
