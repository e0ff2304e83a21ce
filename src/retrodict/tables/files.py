"""Files as Arrow tables: CSV, JSON Lines, Parquet, Arrow. Of text, a column gets a type only where nothing is lost.

A cell of CSV that is empty and not in quotes is null; `""` is the empty text. A column becomes a number, a date or a
boolean only if every cell, written out again, is the text that stood there: "007", "1.50" beside "1.5", and telephone
numbers stay text.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrodict.kernel.clock import parse_rfc3339
from retrodict.kernel.errors import UsageError
from retrodict.streams import named_type, type_name
from retrodict.tables.errors import BadCellError

MAX_COLUMNS = 10_000
MAX_CELL_BYTES = 64 << 20
_DECIMAL_DIGITS = 38
_FIRST = (
    1000  # cells that are tried before all of a column: Arrow writes an error for each that is none, and it takes long
)
_PLAIN_NUMBER = r"^-?(0|[1-9][0-9]*)\.([0-9]+)$"
_NAMES = {
    "text": "string",
    "string": "string",
    "int": "int64",
    "integer": "int64",
    "float": "float64",
    "double": "float64",
    "bool": "bool_",
    "boolean": "bool_",
    "date": "date32",
    "bytes": "binary",
    "timestamp": ["timestamp", "us", "UTC"],
}
_DECIMAL = re.compile(r"decimal\((\d+),\s*(\d+)\)\Z")
_SHOWN = 5


def type_named(text: str) -> object:
    """Return the type that a person means by a word: `int64`, `text`, `decimal(10,2)`, `timestamp`.

    Raises:
        UsageError: There is none.
    """
    import pyarrow as pa  # 57 ms

    word = text.strip().lower()
    if match := _DECIMAL.match(word):
        value: object = ["decimal128", int(match[1]), int(match[2])]
    else:
        value = _NAMES.get(word, word)
    try:
        named_type(value)
    except (ValueError, pa.ArrowException) as error:
        raise UsageError(
            f"{text!r} is no type of a column",
            hint="text, int64, float64, decimal(PRECISION,SCALE), bool, date, timestamp, binary.",
        ) from error
    return value


def type_text(kind: object) -> str:
    """Return a type as people write it."""
    match kind:
        case "string":
            return "text"
        case "bool_":
            return "bool"
        case "date32":
            return "date"
        case ["decimal128", precision, scale]:
            return f"decimal({precision},{scale})"
        case ["timestamp", "us", "UTC"]:
            return "timestamp"
        case str():
            return kind
        case _:
            return str(named_type(kind))


def read_file(path: Path) -> Any:
    """Return a file as an Arrow table; of text, every column is text.

    Raises:
        UsageError: It cannot be read, or is none of these formats.
    """
    import pyarrow as pa  # 57 ms

    try:
        match path.suffix.lower():
            case ".csv":
                return read_csv(path.read_bytes(), str(path))
            case ".jsonl" | ".ndjson":
                return read_json_lines(path.read_bytes(), str(path))
            case ".parquet" | ".pq":
                from pyarrow import parquet  # loaded when asked for

                return parquet.read_table(path, partitioning=None)
            case ".arrow" | ".feather" | ".ipc":
                with pa.OSFile(str(path)) as source:  # no map: what is read must stay when the file is edited
                    return pa.ipc.open_file(source).read_all()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise BadCellError(f"{path} is not what its name says: {error}") from error
    raise UsageError(
        f"{path} is no file that a table is read from", hint="Name it .csv, .jsonl, .parquet or .arrow, as it is."
    )


def read_csv(data: bytes, called: str) -> Any:
    """Return CSV (RFC 4180, with a header) as an Arrow table of texts.

    Raises:
        BadCellError: It is none.
    """
    import pyarrow as pa  # 57 ms
    from pyarrow import csv as arrow_csv  # loaded when asked for

    try:
        header = next(csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""), strict=True), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadCellError(f"{called} is not CSV: {error}") from error
    names_once(header, called)
    if data.count(b'"') % 2:
        raise BadCellError(f"{called} is not CSV: quotes that open there are never closed")
    options = arrow_csv.ConvertOptions(
        column_types={name: pa.string() for name in header},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(data),
            read_options=arrow_csv.ReadOptions(block_size=min(max(len(data), 1 << 16), 1 << 30)),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=b'"' in data),
            convert_options=options,
        )
    except pa.ArrowException as error:
        raise BadCellError(f"{called} is not CSV: {error}") from error


def read_json_lines(data: bytes, called: str) -> Any:
    """Return JSON Lines, an object on each, as an Arrow table; what a line lacks is null.

    Raises:
        BadCellError: They are none, or the values of a column have several types.
    """
    rows = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadCellError(f"{called}, line {number}: no JSON: {error}") from error
        if not isinstance(row, dict):
            raise BadCellError(f"{called}, line {number}: a record is a JSON object")
        rows.append(row)
    return from_mappings(rows)


def from_mappings(rows: Sequence[Mapping[str, object]]) -> Any:
    """Return mappings as an Arrow table; what one lacks is null.

    Raises:
        BadCellError: The values of a column have several types.
    """
    import pyarrow as pa  # 57 ms

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            kinds = dict.fromkeys(type(value).__name__ for value in values if value is not None)
            if len(kinds) > 1:
                raise BadCellError(
                    f"the column {name} has values of several types: {', '.join(kinds)}",
                    hint="Make them all of one: text holds everything.",
                ) from error
            says = f"the column {name} has a value that no column can hold"
            raise BadCellError(f"{says}: {error}", without_values=says) from error
        if pa.types.is_null(columns[name].type):
            columns[name] = columns[name].cast(pa.string())
    return pa.table(columns) if columns else pa.table({"": pa.nulls(len(rows))}).drop([""])


def from_values(values: Any) -> Any:
    """Return an Arrow table, a pandas or polars frame, a mapping, or mappings, as an Arrow table. Raises as above."""
    import pyarrow as pa  # 57 ms

    if isinstance(values, pa.Table):
        return values
    if isinstance(values, pa.RecordBatch):
        return pa.Table.from_batches([values])
    if isinstance(values, Mapping):
        return from_mappings([values])
    if hasattr(values, "to_arrow"):  # polars
        return values.to_arrow()
    if hasattr(values, "to_dict") and hasattr(values, "columns"):  # pandas
        return pa.Table.from_pandas(values, preserve_index=False).replace_schema_metadata()
    return from_mappings(list(values))


def names_once(names: Sequence[str], called: str) -> None:
    """Refuse names of columns that are empty or stand there twice, and more of them than a table can have.

    Raises:
        BadCellError: They are such.
    """
    if len(names) > MAX_COLUMNS:  # before anything is made of them: Arrow takes minutes for a million
        raise BadCellError(
            f"{called} has {len(names):,} columns, and a table at most {MAX_COLUMNS:,}",
            hint="Make rows of them: name, value.",
        )
    wrong = sorted(name for name, count in Counter(names).items() if count > 1 or not name.strip())
    if wrong:
        raise BadCellError(f"{called}: the header names a column twice, or not at all: {', '.join(map(repr, wrong))}")


def typed(table: Any) -> Any:
    """Return a table in which columns of text have the type that loses nothing, and others the one they are kept in."""
    import pyarrow as pa  # 57 ms

    columns = []
    for name in table.schema.names:
        column = table[name]
        if pa.types.is_null(column.type):
            column = column.cast(pa.string())
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = _typed(column)
        refuse_large(column, f"column {name}")
        columns.append(column.cast(named_type(type_name(column.type))))
    return pa.table(columns, names=table.schema.names)


def _typed(column: Any) -> Any:
    """Return a column of text in the type whose text is the same for every cell."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    column = column.cast(pa.string())
    if column.null_count == len(column):
        return column
    kinds: list[Any] = [pa.int64()]
    first = column.slice(0, _FIRST)
    if all(pc.all(pc.match_substring_regex(part, _PLAIN_NUMBER)).as_py() for part in (first, column)):
        places = pc.unique(pc.binary_length(pc.replace_substring_regex(column, r"^[^.]*\.", ""))).drop_null()
        if len(places) == 1 and places[0].as_py() < _DECIMAL_DIGITS:
            kinds.append(pa.decimal128(_DECIMAL_DIGITS, places[0].as_py()))
    kinds += [pa.float64(), pa.date32(), pa.bool_()]
    for kind in kinds:
        try:
            for part in (first, column):
                cast = part.cast(kind)
                if not pc.all(pc.equal(cast.cast(pa.string()), part)).as_py():
                    break
            else:
                return cast
        except (pa.ArrowException, ValueError):
            continue
    return column


def cast_columns(table: Any, kinds: Mapping[str, object], called: str) -> Any:
    """Return a table with some of its columns in given types.

    Raises:
        BadCellError: A cell has no equal in the type of its column; it names rows.
    """
    columns = []
    for name in table.schema.names:
        column = table[name]
        columns.append(column if name not in kinds else cast_column(column, kinds[name], f"{called}, column {name}"))
    import pyarrow as pa  # 57 ms

    return pa.table(columns, names=table.schema.names)


def _exactly(column: Any, wanted: Any) -> Any:
    """Cast a column where nothing is lost by it.

    Raises:
        ValueError, ArrowException: Something is.
    """
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type) and pa.types.is_decimal(wanted):
        column = column.cast(pa.string())  # Arrow asks for room for every integer, however small these are
    made = column.cast(wanted)
    if pa.types.is_floating(column.type) and not pa.types.is_string(wanted):
        back = made.cast(column.type)
        if not pc.all(pc.or_(pc.equal(back, column), pc.is_nan(column))).as_py():
            raise ValueError("a number is rounded")
    return made


def value_in(value: object, wanted: Any) -> object:
    """Return a value as a type has it.

    Raises:
        ValueError, TypeError, OverflowError, UsageError, ArrowException: It has no equal there.
    """
    import pyarrow as pa  # 57 ms

    if value is None:
        return None
    if isinstance(value, str) and pa.types.is_timestamp(wanted) and wanted.tz is not None:
        microseconds, rest = divmod(parse_rfc3339(value), 1000)
        if rest or wanted.unit != "us":
            raise ValueError("finer than the column")
        return pa.scalar(microseconds, pa.int64()).cast(wanted).as_py()
    scalar = pa.scalar(value)
    if scalar.type == wanted:
        return value
    return _exactly(pa.array([value], scalar.type), wanted)[0].as_py()


def refuse_large(column: Any, called: str) -> None:
    """Refuse a cell of more bytes than a table holds. Raises `BadCellError`."""
    import pyarrow as pa  # 57 ms
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        sizes = pc.binary_length(column)
        largest = pc.max(sizes).as_py()
        if largest is not None and largest > MAX_CELL_BYTES:
            raise BadCellError(
                f"{called}, row {pc.index(sizes, largest).as_py() + 1}: a cell has at most "
                f"{MAX_CELL_BYTES >> 20} MiB, and this one has {largest:,} bytes",
                hint="Keep it in a file, and its digest in the table.",
            )


def cast_column(column: Any, kind: object, called: str) -> Any:
    """Return a column in a type. Raises as `cast_columns` does."""
    import pyarrow as pa  # 57 ms

    wanted = named_type(kind)
    refuse_large(column, called)
    if column.type == wanted:
        return column
    with contextlib.suppress(pa.ArrowException, ValueError):
        return _exactly(column, wanted)
    wrong, values = [], []
    for number, value in enumerate(column.to_pylist(), 1):
        try:
            values.append(value_in(value, wanted))
        except (pa.ArrowException, ValueError, TypeError, OverflowError, UsageError):
            wrong.append((number, value))
    if not wrong:
        return pa.chunked_array([pa.array(values, wanted)], wanted)
    shown = ", ".join(f"row {number}: {str(value)[:40]!r}" for number, value in wrong[:_SHOWN])
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    rows = ", ".join(str(number) for number, _ in wrong[:_SHOWN])
    raise BadCellError(
        f"{called} is {type_text(kind)}, and these are not: {shown}{more}",
        without_values=f"{called} is {type_text(kind)}, and these are not: in rows {rows}{more}",
    )
