"""`stream append`, `compact`, `merge`, `pin`: what puts records into a stream, or lays them out anew."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from retrodict import exposure, provenance, streams
from retrodict.actions.held_source import source_of
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.streaming import stream_named
from retrodict.actions.streams import create
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.models import records as models
from retrodict.streams import kafka, queries, records
from retrodict.streams.formats import blocked, fields
from retrodict.workspace import UnwritableStateError, Workspace

COMPACT_RECORDS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAppended:
    """Records that are durable.

    Attributes:
        reference: The version that ends with them: `NAME@OFFSET`.
        start, stop: Their offsets: [start, stop).
        digest: Of all records up to them.
        branch: Where they were appended; None: the main line.
        index: The entry that records it; None: there was nothing to append.
        size_bytes: As they are kept.
    """

    reference: str
    name: str
    start: int
    stop: int
    digest: str
    branch: str | None
    event: EventId | None
    index: int | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCompacted:
    """What was put together: for each new segment its records [start, stop), and how many segments it replaces."""

    name: str
    segments: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDropped:
    """Records that are held no more, or would be; their offsets and hashes stay.

    Attributes:
        dropped: How many; `left` is how many are held then.
        runs: The runs that read some of what is laid out anew, by entry; `models` the versions that came of them: they
            cannot be made again where they leaned on a record that goes.
        is_plan: Nothing was changed.
    """

    name: str
    dropped: int
    left: int
    runs: tuple[int, ...]
    models: tuple[str, ...]
    is_plan: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMerged:
    """The branches whose records were appended to the main line."""

    name: str
    merged: tuple[StreamAppended, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPinned:
    """A range of a Kafka partition that was copied: Kafka's offsets [first, until), where in the stream it stands."""

    topic: str
    partition: int
    first: int
    until: int
    appended: StreamAppended


def append(
    workspace: Workspace, name: str, source: BinaryIO, *, path: Path | None = None, reason: str | None = None
) -> StreamAppended:
    """Append everything in a source: all of it, in one piece, or nothing. Durable when this returns.

    Args:
        path: The file that it is, where it is one: where its bytes are known here, they become the records' origin.

    Raises:
        UnknownReferenceError: There is no such stream.
        RecordError: Something in it is no record of the stream's format.
        PersonalFileError: The file is personal, and the stream is about nobody.
        ExposedError: Likewise, and it is no file: this run has read personal values.
        ChangedFileError: The file changed meanwhile, and its bytes are known here.
    """
    stream = stream_named(workspace, name)
    line = _own_line(workspace, stream)
    if stream.personal is None and path is not None:
        PersonalFiles(workspace).refuse(path)
    elif stream.personal is None:
        exposure.refuse(workspace, f"the stream {stream.name}")
    then = None if path is None else os.fstat(source.fileno())
    parsed = _parsed(stream, source, line.schema_bytes(line.schema))

    def uses() -> Iterator[Edge]:  # asked for when everything has been read
        if path is not None and then is not None:
            yield from source_of(workspace, path, then, is_personal=stream.personal is not None)

    return _append(workspace, stream, parsed, reason=reason, uses=uses())


def append_lines(
    workspace: Workspace, name: str, chunks: Iterable[bytes], *, reason: str | None = None
) -> Iterator[StreamAppended]:
    """Append what comes in pieces (whole lines, for CSV the header in the first): each is durable when it is yielded.

    Raises as `append` does; what was yielded before stays.
    """
    stream = stream_named(workspace, name)
    header: bytes | None = None
    for chunk in chunks:
        if stream.personal is None:
            exposure.refuse(workspace, f"the stream {stream.name}")
        line = _own_line(workspace, stream)
        if stream.format == "csv":
            if header is None:
                header, found, _ = chunk.partition(b"\n")
                header += found
            else:
                chunk = header + chunk
        parsed = _parsed(stream, io.BytesIO(chunk), line.schema_bytes(line.schema))
        appended = _append(workspace, stream, parsed, reason=reason, uses=())
        if appended.index is not None:
            yield appended


def append_values(workspace: Workspace, name: str, values: Any, *, reason: str | None = None) -> StreamAppended:
    """Append values: for JSON Lines what JSON can hold, for CSV mappings, for Arrow a table, a frame or mappings.

    Raises as `append` does.
    """
    stream = stream_named(workspace, name)
    if stream.personal is None:
        exposure.refuse(workspace, f"the stream {stream.name}")
    line = _own_line(workspace, stream)
    schema = line.schema_bytes(line.schema)
    try:
        if stream.format == "arrow":
            parsed = streams.parse_table(_as_table(values, schema), schema)
        else:
            text = _as_json_lines(values) if stream.format == "jsonl" else _as_csv(values, schema)
            parsed = _parsed(stream, io.BytesIO(text), schema)
    except (TypeError, ValueError, AttributeError) as error:
        shown = "" if stream.personal is not None else f": {error}"  # it may hold what it could not convert
        raise streams.RecordError(f"they are no records of a stream of {stream.format}{shown}") from error
    return _append(workspace, stream, parsed, reason=reason, uses=())


def _parsed(stream: records.Stream, source: BinaryIO, schema: bytes | None) -> streams.Parsed:
    """Return a source cut into records; what is refused of a personal stream is not shown."""
    if stream.personal is None or stream.format == "jsonl":
        return streams.parse(stream.format, source, schema)
    try:
        return streams.parse(stream.format, source, schema)
    except streams.RecordError as error:
        known = "" if schema is None else f" whose columns are {streams.column_names(stream.format, schema)}"
        raise streams.RecordError(f"it does not begin like the {stream.format} of a stream{known}") from error


def _as_json_lines(values: Iterable[object]) -> bytes:
    return b"".join(json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n" for value in values)


def _as_csv(values: Iterable[Mapping[str, object]], schema: bytes | None) -> bytes:
    rows = list(values)
    columns = fields(schema) if schema is not None else list(rows[0]) if rows else []
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if schema is None:
        writer.writeheader()
    writer.writerows(rows)
    return (b"" if schema is None else schema + b"\n") + text.getvalue().encode()


def _as_table(values: Any, schema: bytes | None) -> Any:
    import pyarrow as pa  # 57 ms

    if isinstance(values, pa.Table):
        return values
    if hasattr(values, "to_dict"):
        return pa.Table.from_pandas(values, preserve_index=False)
    return pa.Table.from_pylist(list(values), schema=None if schema is None else streams.read_schema(schema))


def _own_line(workspace: Workspace, stream: records.Stream) -> streams.Line:
    return streams.Line(workspace, stream, streams.own_branch(workspace, stream))


def _append(
    workspace: Workspace,
    stream: records.Stream,
    parsed: streams.Parsed,
    *,
    reason: str | None,
    uses: Iterable[Edge],
    after: int | None = None,
    origin: Mapping[str, object] | None = None,
    merged: Mapping[str, object] | None = None,
    subjects: Sequence[str] | None = None,
) -> StreamAppended:
    """Append records; `subjects` is whom they are about, where they are sealed already.

    `uses` is gone through once the records have been read.
    """
    people: Iterable[str] | None = subjects
    if stream.personal is not None and subjects is None:
        if workspace.keys is None:
            raise UnwritableStateError("nobody's records can be sealed: the keys of this workspace are out of reach")
        parsed, people = streams.seal(workspace.keys, stream.format, stream.personal, parsed)
    prepared = streams.prepare(workspace, parsed.schema, parsed.blocks, people=people)
    if not prepared.count:
        line = _own_line(workspace, stream)
        return StreamAppended(
            reference=f"{stream.name}@{line.size}",
            name=stream.name,
            start=line.size,
            stop=line.size,
            digest=f"sha256:{line.root(line.size).hex()}",
            branch=line.branch or None,
            event=None,
            index=None,
            size_bytes=0,
        )
    done = streams.append(
        workspace, stream.event, prepared, reason=reason, uses=tuple(uses), after=after, kafka=origin, merged=merged
    )
    return StreamAppended(
        reference=f"{stream.name}@{done.stop}",
        name=stream.name,
        start=done.start,
        stop=done.stop,
        digest=f"sha256:{done.root}",
        branch=done.branch or None,
        event=done.event,
        index=done.index,
        size_bytes=prepared.size_bytes,
    )


def compact(workspace: Workspace, name: str, *, at_least: int = COMPACT_RECORDS) -> StreamCompacted:
    """Put small neighbouring segments together, so that reading takes fewer steps; offsets and digests stay.

    Args:
        at_least: Segments of fewer records are put together.

    Raises:
        UnknownReferenceError: There is no such stream.
        StreamMismatchError: What is held is not what was appended.
    """
    if at_least < 2:
        raise UsageError("segments of fewer than 2 records cannot be smaller", hint="Leave --at-least out.")
    stream = stream_named(workspace, name)
    done = streams.compact(workspace, stream.event, at_least=at_least, may_go=partial(_may_go, workspace))
    return StreamCompacted(name=stream.name, segments=tuple(done))


def drop(
    workspace: Workspace,
    name: str,
    *,
    key: str | None = None,
    before: int | None = None,
    reason: str | None = None,
    apply: bool = False,
) -> StreamDropped:
    """Hold records no more: all but the newest of each `key`, or those `before` an offset.

    What an offset means, and every digest, stays; a read of nothing but dropped records says which entry dropped them.
    The bytes go with the next `gc --apply` after the grace.

    Args:
        key: A field: of records with the same value in it only the newest is held; records without it are.
        reason: Why; needed to do it.
        apply: False: only say what would go.

    Raises:
        UsageError: Not one rule, no reason, another log owns the stream, or the key is sealed.
        UnknownReferenceError, OffsetError: See there.
    """
    stream = stream_named(workspace, name)
    if stream.format == "changes":
        raise UsageError(
            f"{stream.name} is a table: every change of it is its history", hint="Leave --key and --before."
        )
    if (key is None) == (before is None):
        raise UsageError("records are dropped by one rule", hint="Give --key FIELD, or --before OFFSET.")
    if apply and not (reason or "").strip():
        raise UsageError("records are let go for a reason", hint='Add --reason "...".')
    if streams.own_branch(workspace, stream) != streams.MAIN:
        raise UsageError(f"{stream.name} belongs to the log {stream.owner}", hint="Only its owner drops records of it.")
    line = streams.Line(workspace, stream)
    if before is not None:
        _, before = line.range(0, before)
        gone = {offset for offset, _ in line.offsets(0, before)}
    else:
        gone = _superseded(line, key or "")
    held = line.size - sum(count for _, count in line.dropped(0, line.size))
    runs, leaning = _leaning(workspace, line, gone)
    if apply and gone:
        streams.drop(
            workspace,
            stream.event,
            gone,
            by={"key": key} if before is None else {"before": before},
            may_go=partial(_may_go, workspace),
            reason=reason,
            models=leaning,
        )
    return StreamDropped(
        name=stream.name, dropped=len(gone), left=held - len(gone), runs=runs, models=leaning, is_plan=not apply
    )


def _superseded(line: streams.Line, key: str) -> set[int]:
    """Return the offsets of records after which another came with the same value in a field."""
    stream = line.stream
    personal = stream.personal
    if personal is not None and key != personal.subject and personal.hides(key):
        raise UsageError(f"{key!r} is sealed in {stream.name}", hint="Take a field that is not, or the subject's.")
    columns = streams.column_names(stream.format, line.schema_bytes(line.schema))
    if columns and key not in columns:
        raise UsageError(f"{stream.name} has no column {key!r}", hint=f"It has {', '.join(columns)}.")
    newest: dict[str, int] = {}
    gone = set()
    for offset, record in line.offsets(0, line.size):
        value: Any
        if personal is not None:
            sealed = json.loads(record)
            value = sealed["of"] if key == personal.subject else sealed["clear"].get(key)
        elif stream.format == "csv":
            value = dict(zip(columns, fields(record), strict=True)).get(key)
        else:
            value = json.loads(record)
            if stream.format == "arrow":
                value = dict(zip(columns, value, strict=True))
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            name = json.dumps(value, sort_keys=True)
            if name in newest:
                gone.add(newest[name])
            newest[name] = offset
    return gone


def _leaning(
    workspace: Workspace, line: streams.Line, gone: Collection[int]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the runs that read segments of which records go, and the models that came of them."""
    database = workspace.views.database()
    found: set[int] = set()
    versions: set[str] = set()
    for place in line.places(0, line.size):
        if not any(place.start <= offset < place.stop for offset in gone):
            continue
        graph = provenance.downstream(database, Ref(place.segment), limit_per_node=1_000)
        found |= {node.entry for node in graph.nodes if node.event_kind == "run.finished" and node.entry is not None}
        for node in graph.nodes:
            if node.event_kind == "model.registered":
                versions |= {version.label for version in models.find(database, event=EventId(node.ref))}
    return tuple(sorted(found)), tuple(sorted(versions))


def _may_go(workspace: Workspace, contents: Sequence[Digest], makers: Sequence[EventId]) -> list[Digest]:
    """Return those objects that no entry but these events names."""
    known = {found.index for event in makers if (found := workspace.logs.find(event)) is not None}
    database = workspace.views.database()
    return [
        content
        for content in contents
        if {entry for _, entry in provenance.neighbours(database, Ref(content), limit=100)} <= known
    ]


def merge(workspace: Workspace, name: str, *, branch: str | None = None, reason: str | None = None) -> StreamMerged:
    """Append the records of branches (or of one) to the main line; the branches stay as they are.

    Raises:
        UnknownReferenceError: There is no such stream or branch.
        UsageError: Another log owns the stream, or there is nothing to merge.
    """
    stream = stream_named(workspace, name)
    if stream.format == "changes":
        raise UsageError(f"{name} is a table", hint=f"retrodict table merge {name}")
    if streams.own_branch(workspace, stream) != streams.MAIN:
        raise UsageError(
            f"{name} belongs to the log {stream.owner}, which merges its branches",
            hint=f"Merge there; or take it over: retrodict stream own {name} --reason '...'",
        )
    found = queries.branches(workspace.views.database(), stream.event)
    meant = [b for b in found if b.merged < b.stop and (branch is None or branch in b.name)]
    if not meant:
        raise UsageError(f"{name} has no branch with records to merge", hint=f"retrodict stream show {name}")
    merged = []
    for item in meant:
        line = streams.Line(workspace, stream, item.name)
        schema = line.schema_bytes(line.schema)
        merged.append(
            _append(
                workspace,
                stream,
                streams.Parsed(schema=schema, blocks=line.again(item.merged, item.stop)),
                reason=reason,
                uses=line.lineage(item.merged, item.stop),
                merged={"branch": item.name, "start": item.merged, "stop": item.stop},
                subjects=None if stream.personal is None else line.subjects(item.merged, item.stop),
            )
        )
    return StreamMerged(name=stream.name, merged=tuple(merged))


def pin(
    workspace: Workspace,
    name: str,
    brokers: str,
    topic: str,
    partition: int,
    *,
    first: int | None = None,
    until: int | None = None,
    config: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> StreamPinned:
    """Copy a range of a Kafka partition into a stream, with Kafka's offsets; made where there is none of this name.

    Args:
        brokers: `host:port,...`; sealed in the record.
        first: Kafka's offset; None: where the last pin of this stream ended, else the oldest.
        until: The first offset that is not copied; None: the end as it is now.
        config: More settings of librdkafka; not recorded, since there may be secrets in it.

    Raises:
        KafkaError: See there.
        UsageError: The stream holds something else.
        MissingExtraError: confluent-kafka is not installed.
    """
    if not queries.streams(workspace.views.database(), name):
        messages = kafka.read(brokers, topic, partition, start=first, stop=until, config=config or {})
        create(workspace, name, format="jsonl", reason=reason)
        stream, after = stream_named(workspace, name), 0
    else:
        stream = stream_named(workspace, name)
        after = _own_line(workspace, stream).size
        pinned = queries.pinned_until(workspace.views.database(), stream.event)
        if stream.format != "jsonl" or (pinned is None and after):
            raise UsageError(f"{name} holds records that are not from Kafka", hint="Pin into a stream of another name.")
        if pinned is not None and pinned[:2] != (topic, partition):
            raise UsageError(
                f"{name} is a copy of {pinned[0]}/{pinned[1]}", hint="Pin another partition into a stream of its own."
            )
        if pinned is not None and first is not None and first < pinned[2]:
            raise UsageError(f"{name} has {topic}/{partition} until {pinned[2]} already", hint="Leave --from out.")
        start = pinned[2] if first is None and pinned is not None else first
        messages = kafka.read(brokers, topic, partition, start=start, stop=until, config=config or {})
    lines = streams.Parsed(schema=None, blocks=blocked(messages.lines))
    origin = {
        "brokers": brokers,
        "topic": topic,
        "partition": partition,
        "start": messages.start,
        "stop": messages.stop,
    }
    appended = _append(workspace, stream, lines, reason=reason, uses=(), after=after, origin=origin)
    return StreamPinned(topic=topic, partition=partition, first=messages.start, until=messages.stop, appended=appended)
