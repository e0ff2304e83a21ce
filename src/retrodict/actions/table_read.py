"""`table at`, `history`: what a table was, and how each record came to be what it is."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrodict import exposure, runs
from retrodict.actions import table_files
from retrodict.actions.tabling import TableVersion, key_values, log_of, never_had, note_look, table_named, version_of
from retrodict.kernel.clock import parse_rfc3339
from retrodict.kernel.durable import is_special, sync_folder
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, EventId
from retrodict.tables import conflicts, lines, valid
from retrodict.tables import history as histories
from retrodict.tables.conflicts import Standing
from retrodict.tables.history import RecordChange
from retrodict.tables.personal import CLOSED, Gap
from retrodict.workspace import Batch, Workspace, edges_or_list

Format = Literal["csv", "jsonl", "parquet", "arrow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRead:
    """A version of a table.

    Attributes:
        reference: `NAME@v3`.
        offset: How many changes it is after; `digest` is of these.
        columns: Their names.
        records: As mappings; None where they went to a file.
        path, content, index: The file, its bytes, and the entry that records where they come from.
    """

    reference: str
    name: str
    version: int | None
    offset: int
    digest: str
    columns: tuple[str, ...]
    count: int
    records: tuple[Mapping[str, object], ...] | None
    path: str | None = None
    content: Digest | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHistory:
    """Every change of what a key names, the oldest first; `conflicts`: what stands, or has stood, beside it."""

    name: str
    key: Mapping[str, object]
    changes: tuple[RecordChange, ...]
    conflicts: tuple[Standing, ...]


def table_of(found: TableVersion, *, rows: bool = False, true_at: str | None = None, with_gaps: bool = False) -> Any:
    """Return a version as an Arrow table with its columns by name, in the order in which records were created.

    Args:
        rows: With `_row` before them: the identity of each record.
        true_at: Of what this version knows, what was true at that time, rather than what was known last.
        with_gaps: With `_closed` behind them, where personal values are out of reach (they are null): why.
    """
    if true_at is None:
        made = lines.alive(found.log, found.stop, found.columns)
    else:
        instant = parse_rfc3339(true_at)
        made = valid.true_at(found.log.line.workspace, found.log, found.stop, found.columns, instant)
    ids = [str(column.id) for column in found.columns]
    names = [column.name for column in found.columns]
    if rows:
        ids, names = [lines.ROW, *ids], [lines.ROW, *names]
    if with_gaps and CLOSED in made.schema.names:
        ids, names = [*ids, CLOSED], [*names, CLOSED]
    note_look(found.log)
    return made.select(ids).rename_columns(names)


def read(workspace: Workspace, reference: str, *, branch: str | None = None, run: EventId | None = None) -> Any:
    """Return a version as an Arrow table; its first column, `_row`, is the identity of each record.

    Args:
        run: Of which the version becomes an input.

    Raises:
        UnknownReferenceError, OffsetError: There is no such table or version.
    """
    found = version_of(workspace, reference, branch)
    if run is not None:
        note_read(workspace, found, run)
    return table_of(found, rows=True)


def note_read(workspace: Workspace, found: TableVersion, run: EventId) -> EventId:
    """Record that a run has read a version: it becomes one of the run's inputs. Return the event that says so."""
    batch = Batch(workspace)
    digest = lines.root_at(workspace.views.database(), found.log, found.stop)
    event = batch.event(
        "run.read",
        uses=edges_or_list(batch, found.log.line.lineage(0, found.stop)),
        makes=(),
        body=runs.read_body(
            run=run,
            what=found.reference,
            digest=f"sha256:{digest}",
            is_personal=found.table.personal is not None,
            table={"stream": found.table.stream, "branch": found.log.branch, "offset": found.stop},
        ),
    )
    batch.append()
    if found.table.personal is not None:
        exposure.note(workspace, event.id)
    return event.id


def format_of(path: Path) -> Format:
    """Return the format that a file's name ends with.

    Raises:
        UsageError: It ends with none.
    """
    known: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".arrow": "arrow"}
    form = known.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path} does not say a format", hint="Give --format csv, jsonl, parquet or arrow.")
    return form


def describe(workspace: Workspace, found: TableVersion, made: Any | None) -> TableRead:
    """Return a version as a record."""
    return TableRead(
        reference=found.reference,
        name=found.table.name,
        version=found.number,
        offset=found.stop,
        digest=f"sha256:{lines.root_at(workspace.views.database(), found.log, found.stop)}",
        columns=tuple(column.name for column in found.columns),
        count=0 if made is None else made.num_rows,
        records=None if made is None else tuple(_marked(found, made)),
    )


def _marked(found: TableVersion, made: Any) -> Iterator[dict[str, object]]:
    hidden = [column.name for column in found.columns if found.table.hides(column.id)]
    for row in made.to_pylist():
        if (why := row.pop(CLOSED, None)) is not None:
            row.update(dict.fromkeys(hidden, Gap(f"({why})")))
        yield row


def text_of(made: Any, form: Format) -> bytes:
    """Return records as the bytes of a file. CSV tells null (nothing) from the empty text (`""`)."""
    import pyarrow as pa  # 57 ms

    match form:
        case "csv":
            return csv_of(made)
        case "jsonl":
            return b"".join(
                json.dumps(row, default=plain_value, ensure_ascii=False).encode() + b"\n" for row in made.to_pylist()
            )
        case "parquet":
            from pyarrow import parquet  # loaded when asked for

            sink = pa.BufferOutputStream()
            parquet.write_table(made, sink)
            return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
        case "arrow":
            sink = pa.BufferOutputStream()
            with pa.ipc.new_file(sink, made.schema) as writer:
                writer.write_table(made)
            return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def plain_value(value: object) -> str:
    """Return a value that JSON lacks as text."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def csv_of(made: Any) -> bytes:
    """Return an Arrow table as CSV (RFC 4180): what was read from CSV as text comes out as the same text."""
    import pyarrow as pa  # 57 ms

    columns = []
    for name in made.schema.names:
        column = made[name]
        try:
            columns.append(column.cast(pa.string()).to_pylist())
        except (pa.ArrowException, ValueError):
            columns.append(
                [
                    None if v is None else json.dumps(v, default=plain_value, ensure_ascii=False)
                    for v in column.to_pylist()
                ]
            )
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerow(made.schema.names)
    for row in zip(*columns, strict=True):
        sink.write(",".join([_csv_cell(value) for value in row]))
        sink.write("\n")
    return sink.getvalue().encode()


def _csv_cell(value: str | None) -> str:
    if value is None:
        return ""
    if value == "" or any(c in value for c in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


def write(
    workspace: Workspace,
    found: TableVersion,
    out: Path,
    form: Format,
    *,
    reason: str | None = None,
    true_at: str | None = None,
) -> TableRead:
    """Write a version to a file, and record where its bytes come from: whatever reads it has the table as lineage.

    Raises:
        UsageError: It cannot be written.
    """
    made = table_of(found, true_at=true_at)
    data = text_of(made, form)
    if is_special(out):
        raise UsageError(f"{out} is no file", hint="What is to be printed is asked for without --out.")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        kept = table_files.keep(workspace, found, temporary)
        temporary.replace(out)
        sync_folder(out.parent)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    root = lines.root_at(workspace.views.database(), found.log, found.stop)
    index = table_files.note_written(workspace, found, {out: kept}, reason)
    return TableRead(
        reference=found.reference,
        name=found.table.name,
        version=found.number,
        offset=found.stop,
        digest=f"sha256:{root}",
        columns=tuple(column.name for column in found.columns),
        count=made.num_rows,
        records=None,
        path=str(out),
        content=kept[0],
        index=index,
    )


def history(
    workspace: Workspace,
    name: str,
    key: str | Sequence[object] | Mapping[str, object],
    *,
    branch: str | None = None,
) -> RecordHistory:
    """Return every change of what a key names: also of records that had it before and were deleted.

    Raises:
        NoSuchRecordError: No record has ever had this key.
    """
    log = log_of(workspace, table_named(workspace, name), branch)
    columns = lines.columns_at(workspace.views.database(), log)
    values = key_values(log.table, columns, key)
    last = histories.last_change(workspace, log, columns, values)
    if last is None:
        raise never_had(log.table, values)
    found = histories.walked(log, columns, last)
    note_look(log)
    shown = {c.name: found[-1][str(c.id)] for c in columns if c.id in log.table.key}
    return RecordHistory(
        name=log.table.name,
        key=shown,
        conflicts=tuple(conflicts.standing(workspace, log, keys=[shown], settled=True)),
        changes=tuple(histories.described(found, columns, histories.Sayings(workspace, log))),
    )
