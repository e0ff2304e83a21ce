"""Whom the rows of a table are about, found in it by a field: CSV, TSV, JSON lines, Parquet and Arrow files.

What is found is an *index* (`docs/formats/keys.md`): every subject once, with the number of its rows, in ascending
order; a null counts the rows that name nobody. It holds identities, so it is only ever kept sealed.

HAZARD: Arrow's messages quote cells, so none of them is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retrodict.kernel.errors import FormatError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Identify = Callable[[object], str | None]

_TEXTS: Final = (".csv", ".tsv", ".jsonl", ".ndjson")
_PACKED: Final = {"": None, ".gz": "gzip", ".zst": "zstd"}
_SUFFIXES: Final = (*(text + packed for text in _TEXTS for packed in _PACKED), ".parquet", ".arrow", ".feather")
_NOBODY: Final = ("", "<NA>", "NaT")
_BLOCK: Final = 16 << 20  # bytes of a text that are read at once
_ROWS: Final = 1 << 17  # of Parquet and Arrow
_ROW_NUMBER = re.compile(r"Row #(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What was declared of a dataset: the field that says whom a row is about.

    Attributes:
        columns: The columns that are personal beside it; None: all.
    """

    field: str
    columns: tuple[str, ...] | None = None

    @classmethod
    def of(cls, sealed: object) -> Declared | None:
        """Read what an entry's `sealed` says; None where nothing was declared."""
        match sealed:
            case {"subjects": {"field": str(field), **more}}:
                columns = more.get("columns")
                named = tuple(map(str, columns)) if isinstance(columns, list | tuple) else None
                return cls(field=field, columns=named)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an index says of a person: how many rows, and whether there are no others in the file."""

    rows: int
    is_alone: bool


class NoSubjectsError(UsageError):
    """A file in which it cannot be found whom its rows are about."""

    slug = "no-subjects"
    hint = "Name a column with --subject FIELD; --subject '' keeps the file sealed, not knowing whose rows it holds."


def suffix(name: str) -> str | None:
    """Return the ending of a table's name, by which it is read; None where it is that of no table."""
    return next((known for known in sorted(_SUFFIXES, key=len, reverse=True) if name.lower().endswith(known)), None)


def index(path: Path, declared: Declared, identify: Identify) -> bytes:
    """Return the index of a table.

    Args:
        path: The file.
        declared: The field that says whom a row is about, and columns that must be there.
        identify: What a cell says as text, None where it names nobody; for cells that are no text and no whole number.

    Raises:
        NoSubjectsError: It is no table, or has no such column.
    """
    import pyarrow as pa  # 57 ms

    kind = suffix(path.name)
    if kind is None:
        raise NoSubjectsError(f"{path} is no table: only {', '.join(_SUFFIXES)} are looked into")
    try:
        missing = [name for name in (declared.field, *(declared.columns or ())) if name not in _columns(path, kind)]
        if missing:
            raise NoSubjectsError(f"{path} has no column {missing[0]!r}")
        counted = _counted(path, kind, declared.field, identify)
    except (pa.ArrowException, ValueError, TypeError) as error:  # what quotes cells ends here
        at = _ROW_NUMBER.search(str(error))
        raise NoSubjectsError(f"{path} cannot be read as {kind}" + (f": row {at[1]}" if at else "")) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    return _encode(counted, kind)


def held(found: bytes, identity: str) -> Held | None:
    """Return what an index says of a person; None: nothing.

    Raises:
        FormatError: It is no index.
    """
    import pyarrow.compute as pc  # 57 ms

    table, _ = _decode(found)
    at = pc.index(table["subject"], identity).as_py()
    return None if at < 0 else Held(rows=table["rows"][at].as_py(), is_alone=table.num_rows == 1)


def counts(indexes: Iterable[bytes]) -> tuple[int, int]:
    """Return how many people indexes name, each once, and how many rows name nobody. Raises as `held` does."""
    import pyarrow as pa

    tables = [_decode(found)[0] for found in indexes]
    if not tables:
        return 0, 0
    summed = _summed(pa.concat_tables(tables))
    people = summed.num_rows - summed["subject"].null_count
    nobody = summed.filter(summed["subject"].is_null())["rows"].to_pylist()
    return people, sum(nobody)


def rows_about(
    data: bytes, found: bytes, declared: Declared, identity: str, identify: Identify
) -> list[dict[str, Any]]:
    """Return a person's rows of a table, as JSON has them: the columns that are personal.

    Args:
        data: The file; `found` its index.

    Raises:
        FormatError: It is not the table that was declared.
    """
    import pyarrow as pa

    _, kind = _decode(found)
    wanted = None if declared.columns is None else {declared.field, *declared.columns}
    try:
        rows = list(_rows(data, kind, declared.field, identity, identify))
    except (pa.ArrowException, ValueError, TypeError, KeyError):
        raise FormatError("a file that is no longer read as the table that it was declared as") from None
    return [{name: _plain(cell) for name, cell in row.items() if wanted is None or name in wanted} for row in rows]


# ---- reading ---------------------------------------------------------------------------------------------------------


def _opened(source: Path | bytes, kind: str) -> Any:
    """Return a text as a stream of bytes, unpacked."""
    import pyarrow as pa

    packed = next((how for ending, how in _PACKED.items() if ending and kind.endswith(ending)), None)
    raw = pa.BufferReader(source) if isinstance(source, bytes) else pa.OSFile(str(source))
    return raw if packed is None else pa.CompressedInputStream(raw, packed)


def _is_json(kind: str) -> bool:
    return kind.startswith((".jsonl", ".ndjson"))


def _columns(source: Path | bytes, kind: str) -> Sequence[str]:
    """Return the columns of a table; of JSON lines those that any of the first lines has."""
    if _is_json(kind):
        names: dict[str, None] = {}
        for number, line in enumerate(_lines(source, kind)):
            if number == 1000:
                break
            names |= dict.fromkeys(line)
        return list(names)
    if kind.startswith((".csv", ".tsv")):
        return list(_csv(source, kind, None).schema.names)
    if kind == ".parquet":
        import pyarrow.parquet as pq  # 20 ms

        return list(pq.ParquetFile(_file(source)).schema_arrow.names)
    return list(_arrow(source).schema.names)


def _file(source: Path | bytes) -> Any:
    import pyarrow as pa

    return pa.BufferReader(source) if isinstance(source, bytes) else str(source)


def _arrow(source: Path | bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(pa.BufferReader(source) if isinstance(source, bytes) else pa.memory_map(str(source)))


def _csv(source: Path | bytes, kind: str, columns: Sequence[str] | None) -> Any:
    """Return a reader of columns (None: all of them) as texts: 01 is not 1."""
    import pyarrow as pa
    from pyarrow import csv

    return csv.open_csv(
        _opened(source, kind),
        read_options=csv.ReadOptions(block_size=_BLOCK),
        parse_options=csv.ParseOptions(delimiter="\t" if kind.startswith(".tsv") else ",", newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns or (), pa.string()), strings_can_be_null=False
        ),
    )


def _lines(source: Path | bytes, kind: str) -> Iterator[dict[str, Any]]:
    import io

    for line in io.BufferedReader(_opened(source, kind)):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line that is no object")
            yield row


def _batches(source: Path | bytes, kind: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield columns of a table that is no JSON, piece by piece."""
    if kind.startswith((".csv", ".tsv")):
        yield from _csv(source, kind, columns)
    elif kind == ".parquet":
        import pyarrow.parquet as pq

        yield from pq.ParquetFile(_file(source)).iter_batches(_ROWS, columns=list(columns))
    else:
        reader = _arrow(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number).select(list(columns))


def _counted(source: Path, kind: str, field: str, identify: Identify) -> pa.Table:
    import pyarrow as pa

    if not _is_json(kind):
        return _count((batch.column(0) for batch in _batches(source, kind, [field])), identify)
    from pyarrow import json as arrow_json

    for cells in (pa.string(), pa.int64()):
        options = arrow_json.ParseOptions(
            explicit_schema=pa.schema([(field, cells)]), unexpected_field_behavior="ignore", newlines_in_values=False
        )
        try:
            reader = arrow_json.open_json(
                _opened(source, kind), arrow_json.ReadOptions(block_size=_BLOCK), parse_options=options
            )
            return _count((batch.column(0) for batch in reader), identify)
        except pa.ArrowException:
            continue  # cells of another kind, or of several
    cells = [identify(row.get(field)) for row in _lines(source, kind)]
    return _count([pa.array(cells, pa.string())], identify)


def _count(columns: Iterable[pa.Array], identify: Identify) -> pa.Table:
    import pyarrow as pa

    parts = []
    for column in columns:
        found = (column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).value_counts()
        parts.append(pa.table({"subject": _texts(found.field(0), identify), "rows": found.field(1)}))
    if not parts:
        return pa.table({"subject": pa.array([], pa.string()), "rows": pa.array([], pa.int64())})
    return _summed(pa.concat_tables(parts))


def _summed(table: pa.Table) -> pa.Table:
    summed = table.group_by("subject").aggregate([("rows", "sum")]).rename_columns({"rows_sum": "rows"})
    return summed.select(["subject", "rows"]).sort_by("subject")


def _texts(cells: pa.Array, identify: Identify) -> pa.Array:
    """Return what cells say as text, as a question to a model says it; null where they name nobody."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        texts = cells.cast(pa.string())
    else:
        texts = pa.array([identify(item) for item in cells.to_pylist()], pa.string())
    return pc.if_else(pc.is_in(texts, pa.array(_NOBODY)), pa.scalar(None, pa.string()), texts)


def _rows(data: bytes, kind: str, field: str, identity: str, identify: Identify) -> Iterator[Mapping[str, Any]]:
    if _is_json(kind):
        yield from (row for row in _lines(data, kind) if identify(row.get(field)) == identity)
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in _batches(data, kind, _columns(data, kind)):
        column = batch.column(batch.schema.get_field_index(field))
        cells = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        yield from batch.filter(pc.fill_null(pc.equal(_texts(cells, identify), identity), False)).to_pylist()


def _plain(cell: Any) -> Any:
    """Return a cell as JSON can say it; what JSON has no word for as text."""
    if isinstance(cell, list):
        return [_plain(item) for item in cell]
    if isinstance(cell, Mapping):
        return {str(name): _plain(item) for name, item in cell.items()}
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace")
    return cell if cell is None or isinstance(cell, str | bool | int | float) else str(cell)


# ---- the index -------------------------------------------------------------------------------------------------------


def _encode(table: pa.Table, kind: str) -> bytes:
    import pyarrow as pa

    schema = pa.schema([("subject", pa.string()), ("rows", pa.int64())], metadata={"format": kind})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(
            table.cast(schema.remove_metadata()).replace_schema_metadata(schema.metadata).combine_chunks()
        )
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _decode(found: bytes) -> tuple[pa.Table, str]:
    import pyarrow as pa

    try:
        table = pa.ipc.open_stream(found).read_all()
        kind = table.schema.metadata[b"format"].decode()
        if table.schema.names != ["subject", "rows"] or kind not in _SUFFIXES:
            raise ValueError(kind)
    except (pa.ArrowException, ValueError, TypeError, KeyError):
        raise FormatError("not the index of a table's subjects") from None
    return table, kind
