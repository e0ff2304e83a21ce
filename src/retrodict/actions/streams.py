"""`stream create`, `list`, `show`, `digest`, `check`, `proof`, `position`, `own`: all but appending and reading."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from retrodict import streams
from retrodict.actions.streaming import line_of, stream_named, version
from retrodict.kernel import merkle
from retrodict.kernel.errors import FormatError, UsageError
from retrodict.kernel.types import EventId
from retrodict.streams import queries, records
from retrodict.workspace import Batch, Workspace, agent_name

_SHOWN_APPENDS = 20
_NAME = re.compile(r"[^@:\s]+\Z")
_DIGEST = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCreated:
    """A stream that has no records yet."""

    reference: str
    name: str
    format: streams.Format
    personal: records.Personal | None
    event: EventId
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """One stream as a list has it.

    Attributes:
        reference: Its newest version: `NAME@OFFSET`.
        digest: Of all its records: `sha256:` and the root of their Merkle tree.
        is_own: This workspace's log owns it.
        branches: How many branches have records that were not merged.
    """

    reference: str
    name: str
    format: streams.Format
    records: int
    appends: int
    digest: str
    owner: str
    is_own: bool
    branches: int
    at: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """All streams."""

    rows: tuple[StreamRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRow:
    """One append: records [start, stop); `branch` is None on the main line."""

    index: int
    branch: str | None
    start: int
    stop: int
    digest: str
    at: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamShown:
    """A stream with its last appends, its consumers and its branches.

    Attributes:
        personal: What of the records is about people; None: nothing.
        schema: The header, or the columns, where the format has them.
        pinned: "TOPIC/PARTITION until OFFSET" where it is a copy of a Kafka partition.
    """

    stream: StreamRow
    personal: records.Personal | None
    schema: str | None
    appends: tuple[AppendRow, ...]
    positions: tuple[records.Position, ...]
    branches: tuple[records.Branch, ...]
    pinned: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDigest:
    """What two parties compare: the digest of the first `offset` records."""

    reference: str
    name: str
    offset: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamChecked:
    """Whether a stream's prefix is what somebody says, or what the log says.

    Attributes:
        answer: "yes" or "no".
        digest: Made now, from every record.
        expected: What it was compared with; None: with every digest that the log has of this prefix.
    """

    reference: str
    offset: int
    answer: Literal["yes", "no"]
    digest: str
    expected: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordProof:
    """A record and its inclusion proof (RFC 9162): whoever has the digest can check it, with nothing of ours.

    Attributes:
        offset: Of the record; `size` and `digest` are the version's.
        prefix: What the leaf hash puts between its zero byte and the record: the schema's digest (hex), or nothing.
        record: Its canonical bytes, as text.
        proof: Hashes, hex, from the leaf's sibling up.
    """

    name: str
    offset: int
    size: int
    digest: str
    prefix: str
    record: str
    proof: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofChecked:
    """Whether a record is in the version that a proof names."""

    answer: Literal["yes", "no"]
    name: str
    offset: int
    size: int
    digest: str
    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPosition:
    """How far a consumer has come, and how many records wait for it."""

    name: str
    consumer: str
    offset: int
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOwned:
    """Who owns a stream now."""

    name: str
    owner: str
    is_new: bool


def create(
    workspace: Workspace,
    name: str,
    *,
    format: streams.Format = "jsonl",  # noqa: A002 - as the option is called
    subject: str | None = None,
    personal: Sequence[str] = (),
    reason: str | None = None,
) -> StreamCreated:
    """Create an empty stream, owned by this workspace's log.

    Args:
        subject: The field that says whom a record is about: each record is sealed under that person's key.
        personal: The fields that are personal beside it; none: all are.

    Raises:
        UsageError: There is one of this name, the name could not be written into a reference, or there are personal
            fields and no subject.
    """
    if any("," in field for field in personal):
        raise UsageError("a personal field with a comma in its name", hint="Give --personal once for each field.")
    if personal and not subject:
        raise UsageError(
            "personal fields are sealed for the person whom a record is about", hint="Add --subject FIELD."
        )
    if not _NAME.fullmatch(name) or not name.isprintable() or name.startswith("-"):
        raise UsageError(
            f"{name!r} cannot be a stream's name", hint="Use printable characters without spaces, @ and colons."
        )
    with streams.locked(workspace):
        if queries.streams(workspace.views.database(), name):
            raise UsageError(f"there is a stream {name} already", hint=f"retrodict stream show {name}")
        batch = Batch(workspace)
        about = None if not subject else records.Personal(subject=subject, columns=tuple(personal) or None)
        body = records.created_body(name=name, format=format, owner=workspace.ledger.origin, personal=about)
        event = batch.event("stream.created", uses=(), makes=(), body=body, reason=reason)
        index = next(s.index for s in batch.append() if s.event.id == event.id)
    return StreamCreated(
        reference=f"stream:{name}", name=name, format=format, personal=about, event=event.id, index=index
    )


def list_streams(workspace: Workspace) -> Streams:
    """Return all streams."""
    return Streams(rows=tuple(_row(workspace, stream) for stream in queries.streams(workspace.views.database())))


def _row(workspace: Workspace, stream: records.Stream) -> StreamRow:
    db = workspace.views.database()
    end = queries.last(db, stream.event, streams.MAIN)
    size = 0 if end is None else end.stop
    return StreamRow(
        reference=f"{stream.name}@{size}",
        name=stream.name,
        format=stream.format,
        records=size,
        appends=queries.count_appends(db, stream.event),
        digest=_text(merkle.EMPTY_ROOT if end is None else bytes.fromhex(end.root)),
        owner=stream.owner,
        is_own=stream.owner == workspace.ledger.origin,
        branches=sum(branch.merged < branch.stop for branch in queries.branches(db, stream.event)),
        at=stream.at if end is None else end.at,
        agent=agent_name(workspace, stream.agent),
    )


def show(workspace: Workspace, name: str) -> StreamShown:
    """Return one stream.

    Raises:
        UnknownReferenceError: There is none of this name.
    """
    stream = stream_named(workspace, name)
    db = workspace.views.database()
    branches = tuple(queries.branches(db, stream.event))
    line = streams.Line(workspace, stream)
    schema = line.schema_bytes(line.schema)
    if schema is not None and stream.format == "arrow":
        columns = streams.read_schema(schema)
        schema = ", ".join(f"{field.name} ({field.type})" for field in columns).encode()
    appends = [
        append
        for branch in ("", *(b.name for b in branches))
        for append in queries.appends(db, stream.event, branch, limit=_SHOWN_APPENDS)
    ]
    pinned = queries.pinned_until(db, stream.event)
    return StreamShown(
        stream=_row(workspace, stream),
        personal=stream.personal,
        schema=None if schema is None else schema.decode(errors="replace"),
        appends=tuple(
            AppendRow(
                index=append.index,
                branch=append.branch or None,
                start=append.start,
                stop=append.stop,
                digest=_text(bytes.fromhex(append.root)),
                at=append.at,
                agent=agent_name(workspace, append.agent),
            )
            for append in sorted(appends, key=lambda append: append.index)[-_SHOWN_APPENDS:]
        ),
        positions=tuple(queries.positions(db, stream.event)),
        branches=branches,
        pinned=None if pinned is None else f"{pinned[0]}/{pinned[1]} until {pinned[2]}",
    )


def digest(workspace: Workspace, reference: str, *, branch: str | None = None) -> StreamDigest:
    """Return the digest of a version, from the tree that the log keeps: a few thousand hashes are read at most.

    Raises:
        UnknownReferenceError, OffsetError: There is no such version.
    """
    line, size = version(workspace, reference, branch)
    return StreamDigest(
        reference=f"{line.stream.name}@{size}", name=line.stream.name, offset=size, digest=_text(line.root(size))
    )


def check(
    workspace: Workspace, reference: str, expected: str | None = None, *, branch: str | None = None
) -> StreamChecked:
    """Read every record of a version, and compare what they make with what the log says, and with what is `expected`.

    Args:
        expected: A digest, as `stream digest` printed it elsewhere.

    Raises:
        StreamMismatchError, AlteredObjectError, MissingObjectError: What is held is not what was appended.
        UsageError: `expected` is no digest.
    """
    wanted = None if expected is None else _DIGEST.match(expected.strip())
    if expected is not None and wanted is None:
        raise UsageError(f"{expected!r} is no digest of a stream", hint="`retrodict stream digest` prints one.")
    line, size = version(workspace, reference, branch)
    found = line.check(size)
    return StreamChecked(
        reference=f"{line.stream.name}@{size}",
        offset=size,
        answer="yes" if wanted is None or wanted["hex"] == found.hex() else "no",
        digest=_text(found),
        expected=None if wanted is None else f"sha256:{wanted['hex']}",
    )


def proof(workspace: Workspace, reference: str, offset: int, *, branch: str | None = None) -> RecordProof:
    """Return a record of a version with the proof that it is in it.

    Raises:
        OffsetError: The version does not go so far.
    """
    line, size = version(workspace, reference, branch)
    if not 0 <= offset < size:
        raise streams.OffsetError(f"{line.stream.name}@{size} has no record {offset}")
    return RecordProof(
        name=line.stream.name,
        offset=offset,
        size=size,
        digest=_text(line.root(size)),
        prefix=line.leaf_prefix(offset).hex(),
        record=line.record(offset).decode(),
        proof=tuple(node.hex() for node in merkle.inclusion_proof(offset, size, line.node)),
    )


def check_proof(text: str, expected: str | None = None) -> ProofChecked:
    """Check a proof that `stream proof --json` printed, with nothing but it and the digest that one has.

    Raises:
        FormatError: It is no proof.
        UsageError: `expected` is no digest.
    """
    try:
        value: Mapping[str, object] = json.loads(text)
        held = _DIGEST.fullmatch(str(value["digest"]))
        hashes, offset, size = value["proof"], value["offset"], value["size"]
        record, prefix = str(value["record"]), bytes.fromhex(str(value["prefix"]))
        if held is None or not isinstance(hashes, list) or not isinstance(offset, int) or not isinstance(size, int):
            raise ValueError("a field is missing")
        path = [bytes.fromhex(item) for item in hashes]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"it is no proof of a record: {error}", hint="`stream proof --json` makes one.") from error
    wanted = held if expected is None else _DIGEST.match(expected.strip())
    if wanted is None:
        raise UsageError(f"{expected!r} is no digest of a stream", hint="`retrodict stream digest` prints one.")
    leaf = merkle.leaf_hash(prefix + record.encode())
    is_in = merkle.verify_inclusion(offset, size, leaf, path, bytes.fromhex(wanted["hex"]))
    return ProofChecked(
        answer="yes" if is_in else "no",
        name=str(value.get("name")),
        offset=offset,
        size=size,
        digest=f"sha256:{wanted['hex']}",
        record=record,
    )


def position(
    workspace: Workspace, name: str, consumer: str, *, offset: int | None = None, reason: str | None = None
) -> StreamPosition:
    """Return how far a consumer has come; or say that it has come to `offset`, which is recorded.

    A consumer that nobody has heard of stands at the beginning.

    Raises:
        UnknownReferenceError: There is no such stream.
        OffsetError: The stream does not go so far.
        UsageError: No name for a consumer.
    """
    stream = stream_named(workspace, name)
    line = line_of(workspace, stream, None)
    known = queries.positions(workspace.views.database(), stream.event, consumer)
    at = known[0].offset if known else 0
    if offset is not None:
        if not consumer.strip() or not consumer.isprintable():
            raise UsageError(f"{consumer!r} cannot be a consumer's name", hint="Use printable characters.")
        if not 0 <= offset <= line.size:
            raise streams.OffsetError(f"{name} has {line.size} records, so no consumer can be at {offset}")
        batch = Batch(workspace)
        batch.event(
            "stream.positioned",
            uses=(),
            makes=(),
            body=records.positioned_body(stream=stream.event, consumer=consumer, offset=offset),
            reason=reason,
            replaces=[item.event for item in known],
        )
        batch.append()
        at = offset
    return StreamPosition(name=stream.name, consumer=consumer, offset=at, behind=line.size - at)


def own(workspace: Workspace, name: str, *, reason: str | None = None) -> StreamOwned:
    """Let this workspace's log own a stream from now on: its appends go to the main line, others' to branches.

    Raises:
        UnknownReferenceError: There is no such stream.
    """
    with streams.locked(workspace):
        stream, origin = stream_named(workspace, name), workspace.ledger.origin
        if stream.owner != origin:
            batch = Batch(workspace)
            body = records.moved_body(stream=stream.event, owner=origin)
            batch.event("stream.moved", uses=(), makes=(), body=body, reason=reason)
            batch.append()
    return StreamOwned(name=stream.name, owner=origin, is_new=stream.owner != origin)


def _text(root: bytes) -> str:
    return f"sha256:{root.hex()}"
