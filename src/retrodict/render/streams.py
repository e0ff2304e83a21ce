"""Records of streams as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render.text import listing
from retrodict.render.words import moment, size

if TYPE_CHECKING:
    from retrodict.actions.stream_append import (
        StreamAppended,
        StreamCompacted,
        StreamDropped,
        StreamMerged,
        StreamPinned,
    )
    from retrodict.actions.stream_read import StreamRead
    from retrodict.actions.streams import (
        ProofChecked,
        RecordProof,
        StreamChecked,
        StreamCreated,
        StreamDigest,
        StreamOwned,
        StreamPosition,
        Streams,
        StreamShown,
    )
    from retrodict.streams import Personal

_SHORT = len("sha256:") + 12


def created(record: StreamCreated) -> RenderableType:
    """Render `stream create`."""
    return Text(f"{record.reference}  {record.format}{_about(record.personal)}  entry {record.index}")


def _about(personal: Personal | None) -> str:
    if personal is None:
        return ""
    of = "all fields" if personal.columns is None else ", ".join((personal.subject, *personal.columns))
    return f"  sealed for the people in {personal.subject}: {of}"


def listed(record: Streams) -> RenderableType:
    """Render `stream list`."""
    return listing(
        "No streams: `retrodict stream create NAME` makes one.",
        ["version", "format", "appends", "digest", "last append", "owner", "branches to merge"],
        [
            (
                row.reference,
                row.format,
                row.appends,
                row.digest[:_SHORT],
                moment(row.at) if row.records else "-",
                "this workspace" if row.is_own else row.owner,
                row.branches or "-",
            )
            for row in record.rows
        ],
        wrap=(),
    )


def shown(record: StreamShown) -> RenderableType:
    """Render `stream show`."""
    stream = record.stream
    owner = "this workspace" if stream.is_own else stream.owner
    lines = [
        f"stream:{stream.name}  {stream.format}{_about(record.personal)}",
        f"{count(stream.records, 'record')} in {count(stream.appends, 'append')}",
        f"version {stream.reference}  {stream.digest}",
        f"owned by {owner}",
    ]
    if record.schema is not None:
        lines.append(f"columns {record.schema}")
    if record.pinned is not None:
        lines.append(f"copied from Kafka: {record.pinned}")
    lines += [f"{p.consumer} is at {p.offset:,}, {stream.records - p.offset:,} behind" for p in record.positions]
    for branch in record.branches:
        waiting = branch.stop - branch.merged
        state = "merged" if not waiting else f"{waiting} to merge: retrodict stream merge {stream.name}"
        lines.append(f"branch {branch.name}: records {branch.base}:{branch.stop}, {state}")
    appends = listing(
        "No records yet.",
        ["entry", "records", "digest", "appended", "by (claimed)", "branch"],
        [
            (
                row.index,
                f"{row.start}:{row.stop}",
                row.digest[:_SHORT],
                moment(row.at),
                row.agent.partition(" <")[0],
                row.branch or "-",
            )
            for row in record.appends
        ],
        wrap=(),
    )
    return Group(Text("\n".join(lines)), Text(), appends)


def appended(record: StreamAppended) -> RenderableType:
    """Render `stream append`."""
    return Text(_appended(record))


def _appended(record: StreamAppended) -> str:
    if record.index is None:
        return f"{record.reference}  nothing to append"
    branch = "" if record.branch is None else f"  on the branch {record.branch}"
    return (
        f"{record.reference}  {record.digest[:_SHORT]}  +{count(record.stop - record.start, 'record')}"
        f"  {size(record.size_bytes)}{branch}  entry {record.index}"
    )


def read(record: StreamRead) -> RenderableType:
    """Render `stream read --out`."""
    return Text(
        f"{record.path}  {record.reference}  {count(record.stop - record.start, 'record')}  entry {record.index}"
    )


def digest(record: StreamDigest) -> RenderableType:
    """Render `stream digest`."""
    return Text(f"{record.reference}  {record.digest}")


def checked(record: StreamChecked) -> RenderableType:
    """Render `stream check`."""
    if record.answer == "yes":
        same = "as the log says" if record.expected is None else "the same history"
        return Text(f"{record.reference}  {record.digest}  {same}")
    return Text(f"{record.reference} is another history: {record.digest} here, {record.expected} there")


def proof(record: RecordProof) -> RenderableType:
    """Render `stream proof`."""
    return Text(
        "\n".join(
            [
                f"record {record.offset} of {record.name}@{record.size}  {record.digest}",
                record.record,
                *(f"  {node}" for node in record.proof),
            ]
        )
    )


def proof_checked(record: ProofChecked) -> RenderableType:
    """Render `stream check-proof`."""
    answer = "is in" if record.answer == "yes" else "is NOT in"
    return Text(f"record {record.offset} {answer} {record.name}@{record.size}  {record.digest}\n{record.record}")


def position(record: StreamPosition) -> RenderableType:
    """Render `stream position`."""
    return Text(f"{record.consumer} is at {record.name}@{record.offset}, {count(record.behind, 'record')} behind")


def compacted(record: StreamCompacted) -> RenderableType:
    """Render `stream compact`."""
    if not record.segments:
        return Text(f"{record.name}: nothing to put together")
    return Text("\n".join(f"{record.name}@{a}:{b}  {n} segments became one" for a, b, n in record.segments))


def dropped(record: StreamDropped) -> RenderableType:
    """Render `stream compact` with a rule."""
    went, left = ("would go", "would be") if record.is_plan else ("are held no more", "are")
    lines = [f"{count(record.dropped, 'record')} of {record.name} {went}, {record.left} {left} left; digests stay"]
    if record.runs:
        lines.append(f"read by the runs {', '.join(map(str, record.runs[:20]))}")
    if record.models:
        lines.append(f"leaned on by {', '.join(record.models)}, which cannot be made again then")
    if record.is_plan:
        lines.append('nothing was changed: add --apply --reason "..." to do it')
    return Text("\n".join(lines))


def merged(record: StreamMerged) -> RenderableType:
    """Render `stream merge`."""
    return Text("\n".join(_appended(item) for item in record.merged))


def owned(record: StreamOwned) -> RenderableType:
    """Render `stream own`."""
    return Text(f"{record.name} {'is owned by this workspace now' if record.is_new else 'was its own already'}")


def pinned(record: StreamPinned) -> RenderableType:
    """Render `stream pin`."""
    where = f"{record.topic}/{record.partition}, offsets {record.first}:{record.until}"
    return Text(f"{where}\n{_appended(record.appended)}")
