"""`stream read`: the records of a range, as bytes, values or a table; or as a file whose lineage leads to them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from retrodict import exposure, runs, streams
from retrodict.actions.looks import NOT_POSSIBLE, Look
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import workspace_path
from retrodict.actions.streaming import Range, read_range, stream_named
from retrodict.kernel.durable import is_special, sync_folder
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.streams import ARROW, queries, records
from retrodict.streams.formats import batch_of, fields, read_batch, read_schema
from retrodict.workspace import Batch, Workspace, edges_or_list

Form = Literal["records", "arrow", "pandas"]
_STEP = 65_536  # records that a follower is given at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Records of a range that are held no more, since the compaction that an entry records."""

    entry: int
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRead:
    """What was read.

    Attributes:
        reference: `NAME@FROM:TO`.
        digest: Of all records before `stop`.
        records: Values of JSON Lines, rows of a table as mappings; None where they went to a file.
        dropped: What of the range is held no more.
        path, content, index: The file, its bytes, and the entry that records where they come from.
    """

    reference: str
    name: str
    start: int
    stop: int
    digest: str
    records: tuple[object, ...] | None
    path: str | None = None
    content: Digest | None = None
    index: int | None = None
    dropped: tuple[Dropped, ...] = ()


def read(
    workspace: Workspace,
    reference: str,
    *,
    branch: str | None = None,
    consumer: str | None = None,
    limit: int | None = None,
) -> Range:
    """Return the range that is meant.

    Args:
        consumer: From where this consumer stands: then `reference` is the stream's name alone.
        limit: At most so many records.

    Raises:
        UsageError: A consumer, and a range.
        UnknownReferenceError, AmbiguousReferenceError, OffsetError: See there.
        CompactedError: All of it was dropped by a compaction.
    """
    if consumer is not None and "@" in reference:
        raise UsageError(
            "a consumer reads from where it stands", hint="Give the stream's name alone, or no --consumer."
        )
    found = read_range(workspace, reference, branch)
    start, stop = found.start, found.stop
    if consumer is not None:
        known = queries.positions(workspace.views.database(), found.line.stream.event, consumer)
        start = known[0].offset if known else 0
    if limit is not None:
        stop = min(stop, start + max(limit, 0))
    found = Range(line=found.line, start=min(start, stop), stop=stop)
    if consumer is None and found.start < found.stop:  # a consumer goes on past what is gone
        found.line.refuse_dropped(found.start, found.stop)
    return found


def gaps(found: Range) -> tuple[Dropped, ...]:
    """Return how many records of a range were dropped by compactions, by the entry that says so."""
    logs = found.line.workspace.logs
    return tuple(
        Dropped(entry=sequenced.index, records=count)
        for event, count in found.line.dropped(found.start, found.stop)
        if (sequenced := logs.find(event)) is not None
    )


def lines(found: Range, *, header: bool = True) -> Iterator[bytes]:
    """Yield a range as text, block by block: JSON Lines, CSV with its header, and the rows of Arrow as JSON Lines.

    Personal values are looked at, which is recorded first; those that are out of reach say why.
    """
    line = found.line
    if line.stream.format == "csv" and header and line.size:
        yield (line.schema_bytes(line.schema) or b"") + b"\n"
    if line.stream.format in ARROW:
        for rows in _rows(found):
            yield b"".join(json.dumps(row, default=_as_text, ensure_ascii=False).encode() + b"\n" for row in rows)
    else:
        for block in _texts(found):
            if block:
                yield b"\n".join([*block, b""])


def _as_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def batches(found: Range) -> Iterator[Any]:
    """Yield a range of a stream of Arrow as record batches; personal values that are out of reach are null."""
    for batch, _ in _batches(found):
        yield batch


def _batches(found: Range) -> Iterator[tuple[Any, Sequence[streams.Opened] | None]]:
    line = found.line
    if line.stream.personal is None:
        for block in line.kept(found.start, found.stop):
            batch = read_batch(block.data, line.schema_bytes(block.schema))
            yield batch.slice(block.found.start, len(block.found)), None
        return
    schema = line.schema_bytes(line.schema)
    names = streams.column_names("arrow", schema)
    for opened in _opened(found):
        rows = [item.plain or json.dumps([item.clear.get(name) for name in names]).encode() for item in opened]
        yield batch_of(rows, schema), opened


def _rows(found: Range) -> Iterator[list[dict[str, object]]]:
    """Yield the rows of a stream of Arrow as mappings."""
    personal = found.line.stream.personal
    for batch, opened in _batches(found):
        rows: list[dict[str, object]] = batch.to_pylist()
        for row, item in zip(rows, opened or (), strict=False):
            if item.plain is None and personal is not None:
                row.update({name: _mark(item) for name in row if personal.hides(name)})
        yield rows


def _texts(found: Range) -> Iterator[list[bytes]]:
    """Yield the records of a stream of text, as they were given."""
    line = found.line
    if line.stream.personal is None:
        yield from line.records(found.start, found.stop)
        return
    columns = streams.column_names(line.stream.format, line.schema_bytes(line.schema))
    for opened in _opened(found):
        yield [item.plain or _without(item, line.stream, columns) for item in opened]


def _without(item: streams.Opened, stream: records.Stream, columns: Sequence[str]) -> bytes:
    """Return what can be shown of a record whose personal values are out of reach."""
    personal, mark = stream.personal, _mark(item)
    assert personal is not None
    if stream.format == "csv":
        text = io.StringIO()
        values = [item.clear.get(name, mark) for name in columns]
        csv.writer(text, lineterminator="").writerow(values)
        return text.getvalue().encode()
    hidden = dict.fromkeys((personal.subject, *(personal.columns or ())), mark)
    return json.dumps({**hidden, **item.clear}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _mark(item: streams.Opened) -> str:
    return f"({item.why})"


def _opened(found: Range) -> Iterator[list[streams.Opened]]:
    """Yield the records of a stream about people, opened; that they are looked at is recorded first."""
    line = found.line
    look = Look(line.workspace, "stream")
    withheld = None if look.is_possible else NOT_POSSIBLE
    if look.text_of(set(line.subjects(found.start, found.stop))):
        look.record(uses=line.lineage(found.start, found.stop))
    for block in line.records(found.start, found.stop):
        yield streams.open_records(line.workspace, block, withheld=withheld)


def values(found: Range, form: Form = "records") -> Any:
    """Return a range as a list of values (JSON) or of mappings (rows), as an Arrow table, or as a pandas frame.

    Fields of CSV are text, as they stand there; Arrow's and pandas's are what these make of them.
    """
    line = found.line
    if form == "records":
        if line.stream.format == "jsonl":
            return [json.loads(record) for block in _texts(found) for record in block]
        if line.stream.format == "csv":
            header = fields(line.schema_bytes(line.schema) or b"")
            return [dict(zip(header, fields(record), strict=True)) for block in _texts(found) for record in block]
        return [row for rows in _rows(found) for row in rows]
    table = _table(found)
    return table if form == "arrow" else table.to_pandas()


def _table(found: Range) -> Any:
    import pyarrow as pa  # 57 ms

    line = found.line
    if line.stream.format == "changes":  # the columns may be others in every append
        found_batches = [pa.Table.from_batches([batch]) for batch in batches(found)]
        return pa.concat_tables(found_batches, promote_options="default") if found_batches else pa.table({})
    if line.stream.format == "arrow":
        schema = line.schema_bytes(line.schema)
        return pa.table({}) if schema is None else pa.Table.from_batches(list(batches(found)), read_schema(schema))
    data = b"".join(lines(found))
    if not data:
        return pa.table({})
    if line.stream.format == "csv":
        from pyarrow import csv as arrow_csv  # loaded when asked for

        parse = arrow_csv.ParseOptions(newlines_in_values=True)
        return arrow_csv.read_csv(pa.BufferReader(data), parse_options=parse)
    from pyarrow import json as arrow_json  # loaded when asked for

    options = arrow_json.ReadOptions(block_size=max(len(data), 1))
    return arrow_json.read_json(pa.BufferReader(data), read_options=options)


def describe(found: Range, *, with_records: bool = True) -> StreamRead:
    """Return a range as a record."""
    return StreamRead(
        reference=found.reference,
        name=found.line.stream.name,
        start=found.start,
        stop=found.stop,
        digest=f"sha256:{found.line.root(found.stop).hex()}",
        records=tuple(values(found)) if with_records else None,
        dropped=gaps(found),
    )


def write(workspace: Workspace, found: Range, out: Path, *, reason: str | None = None) -> StreamRead:
    """Write a range to a file, and record where its bytes come from: whatever reads it has these records as lineage.

    Raises:
        UsageError: It cannot be written.
    """
    if is_special(out):
        raise UsageError(f"{out} is no file", hint="What is to be printed is asked for without --out.")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if found.line.stream.format == "changes":
                import pyarrow as pa  # 57 ms

                table = _table(found)
                with pa.ipc.new_file(file, table.schema) as writer:
                    writer.write_table(table)
            elif found.line.stream.format == "arrow":
                import pyarrow as pa  # 57 ms

                schema = read_schema(found.line.schema_bytes(found.line.schema)) if found.line.size else pa.schema([])
                with pa.ipc.new_file(file, schema) as writer:
                    for batch in batches(found):
                        writer.write_batch(batch)
            else:
                for data in lines(found):
                    file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if found.line.stream.personal is not None:
            kept = PersonalFiles(workspace).seal(temporary)
            content, sealed = kept.stored.digest, (kept.stored.digest, kept.key)
        else:
            content, sealed = workspace.objects.put_file(temporary), None
        temporary.replace(out)
        sync_folder(out.parent)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    place = workspace_path(workspace, out)
    batch = Batch(workspace)
    extra = {} if place is not None else {"sealed_path": batch.seal(str(out))}
    event = batch.event(
        "stream.materialized",
        uses=edges_or_list(batch, found.line.lineage(found.start, found.stop)),
        makes=(Edge(ref=Ref(content), role="materialized", evidence="observed", path=place, extra=extra),),
        body=records.materialized_body(
            stream=found.line.stream.event,
            branch=found.line.branch,
            start=found.start,
            stop=found.stop,
            root=found.line.root(found.stop).hex(),
            sealed=sealed,
        ),
        reason=reason,
    )
    index = next(s.index for s in batch.append() if s.event.id == event.id)
    return replace(describe(found, with_records=False), path=str(out), content=content, index=index)


def follow(
    workspace: Workspace, name: str, start: int, *, branch: str | None, wait: Callable[[], bool]
) -> Iterator[Range]:
    """Yield what is appended from `start` on, as it comes, until `wait` says that it is enough.

    Args:
        wait: Called where nothing is new; waits, and says whether to go on.
    """
    at, seen = start, -1
    while True:
        size = workspace.ledger.size()
        if size != seen:  # the log has grown: perhaps by records of this stream
            seen = size
            found = read_range(workspace, stream_named(workspace, name).name, branch)
            while at < found.stop:
                stop = min(found.stop, at + _STEP)
                yield Range(line=found.line, start=at, stop=stop)
                at = stop
        if not wait():
            return


def note_read(workspace: Workspace, found: Range, run: EventId) -> EventId:
    """Record that a run has read a range: it becomes one of the run's inputs. Return the event that says so."""
    line, batch = found.line, Batch(workspace)
    event = batch.event(
        "run.read",
        uses=edges_or_list(batch, line.lineage(found.start, found.stop)),
        makes=(),
        body=runs.read_body(
            run=run,
            what=found.reference,
            digest=f"sha256:{line.root(found.stop).hex()}",
            is_personal=line.stream.personal is not None,
            range_={
                "stream": line.stream.event,
                "branch": line.branch,
                "start": found.start,
                "offset": found.stop,
            },
        ),
    )
    batch.append()
    if line.stream.personal is not None:
        exposure.note(workspace, event.id)
    return event.id
