"""`retrodict stream`: append-only streams, by offset."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Literal

import click

from retrodict.cli import door

if TYPE_CHECKING:
    from retrodict.actions.streaming import Range
    from retrodict.workspace import Workspace

_PIECE_BYTES = 16 << 20
_PIECE_S = 0.2  # what comes in this time is appended together
_LOOK_S = 0.2

_BRANCH = click.option(
    "--branch", metavar="LOG", help="A branch, by its log or a part of that (default: the main line)."
)
_REASON = click.option("--reason", help="Why.")


@door.verb_group("stream", example="retrodict stream")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Append-only streams of records; by itself, list them.

    A version is NAME@OFFSET: the first OFFSET records, whose digest two parties can compare.
    """
    if context.invoked_subcommand is None:
        _list(as_json)


@door.subverb(command, "list", example="retrodict stream list")
def list_command(as_json: bool) -> None:
    """List streams, with the digest of each."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from retrodict.actions.streams import list_streams  # loaded when asked for
    from retrodict.render import streams

    with door.workspace() as workspace:
        record = list_streams(workspace)
    door.show(record, as_json=as_json, text=streams.listed)


@door.subverb(
    command,
    "create",
    example="retrodict stream create clicks --format jsonl\n"
    "retrodict stream create visits --subject customer --personal address",
)
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "arrow"]),
    default="jsonl",
    show_default=True,
    help="What records are: lines of JSON, records of CSV under one header, or rows of Arrow under one schema.",
)
@click.option("--subject", metavar="FIELD", help="Records are about people: whom, this field says. Each is sealed.")
@click.option(
    "--personal", multiple=True, metavar="FIELD", help="With --subject: only these are personal (default: all)."
)
@_REASON
def create_command(
    name: str,
    form: Literal["jsonl", "csv", "arrow"],
    subject: str | None,
    personal: tuple[str, ...],
    reason: str | None,
    as_json: bool,
) -> None:
    """Create an empty stream. Whether its records are about people cannot be said later."""
    from retrodict.actions.streams import create  # loaded when asked for
    from retrodict.render import streams

    with door.workspace(writes=True) as workspace:
        record = create(workspace, name, format=form, subject=subject, personal=personal, reason=reason)
    door.show(record, as_json=as_json, text=streams.created)


@door.subverb(command, "append", example="retrodict stream append clicks day-1.jsonl")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@_REASON
def append_command(name: str, file: Path, reason: str | None, as_json: bool) -> None:
    """Append FILE to the stream NAME: all of it or nothing, on disk when this ends.

    FILE `-` is standard input: what comes in a fifth of a second is appended together, and said once it is on disk.
    """
    from retrodict.actions.stream_append import append, append_lines  # loaded when asked for
    from retrodict.actions.streaming import stream_named
    from retrodict.kernel.errors import UsageError
    from retrodict.render import streams

    with door.workspace(writes=True) as workspace:
        if str(file) != "-":
            try:
                with file.open("rb") as source:
                    record = append(workspace, name, source, path=file, reason=reason)
            except OSError as error:
                raise UsageError(f"{file} cannot be read: {error.strerror}") from error
            door.show(record, as_json=as_json, text=streams.appended)
        elif stream_named(workspace, name).format == "arrow":
            record = append(workspace, name, sys.stdin.buffer, reason=reason)
            door.show(record, as_json=as_json, text=streams.appended)
        else:
            for record in append_lines(workspace, name, _pieces(0), reason=reason):
                door.show(record, as_json=as_json, text=streams.appended)


def _pieces(descriptor: int) -> Iterator[bytes]:
    """Yield whole lines, as they come."""
    waiting = bytearray()
    until, is_open = monotonic() + _PIECE_S, True
    while is_open:
        ready = select.select([descriptor], [], [], max(until - monotonic(), 0) if b"\n" in waiting else None)[0]
        if ready:
            if not waiting:
                until = monotonic() + _PIECE_S
            data = os.read(descriptor, 1 << 20)
            is_open = data != b""
            waiting += data
        if not is_open or len(waiting) >= _PIECE_BYTES or monotonic() >= until:
            end = len(waiting) if not is_open else waiting.rfind(b"\n") + 1
            if end:
                yield bytes(waiting[:end])
                del waiting[:end]
                until = monotonic() + _PIECE_S


@door.subverb(
    command,
    "read",
    example="retrodict stream read clicks@1000:2000\nretrodict stream read clicks@-100:\n"
    "retrodict stream read clicks@2000 --out data/clicks.jsonl\nretrodict stream read clicks --consumer trainer",
)
@click.argument("reference")
@_BRANCH
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a file (Arrow: an Arrow file) whose lineage leads to these records.",
)
@click.option("--follow", is_flag=True, help="Go on with what is appended, until interrupted.")
@click.option("--consumer", metavar="C", help="From where C stands; C moves on once everything is written out.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many records.")
@_REASON
def read_command(
    reference: str,
    branch: str | None,
    out: Path | None,
    follow: bool,
    consumer: str | None,
    limit: int | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Print the records of REFERENCE: NAME, NAME@OFFSET (those before it), NAME@FROM:TO, NAME@-100: (the last 100).

    CSV is printed with its header, rows of Arrow as JSON Lines. To read records about people is a look, and recorded.
    """
    from retrodict.actions import stream_read as action  # loaded when asked for
    from retrodict.actions.streams import position
    from retrodict.kernel.errors import UsageError
    from retrodict.render import streams

    if follow and (out is not None or as_json or limit is not None):
        raise UsageError("--follow prints records as they come", hint="Leave --out, --json and --limit out.")
    if consumer is not None and branch is not None:
        raise UsageError("consumers read the main line", hint="Leave --branch or --consumer out.")

    def moved(workspace: Workspace, found: Range) -> None:
        if consumer is not None and found.stop > found.start:
            position(workspace, found.line.stream.name, consumer, offset=found.stop)

    with door.workspace(writes=out is not None or consumer is not None, records=True) as workspace:
        found = action.read(workspace, reference, branch=branch, consumer=consumer, limit=limit)
        for gap in action.gaps(found):
            click.echo(f"retrodict: {gap.records} of these records were compacted by entry {gap.entry}", err=True)
        if out is not None:
            record = action.write(workspace, found, out, reason=reason)
            door.show(record, as_json=as_json, text=streams.read)
        elif as_json:
            door.show_json(action.describe(found))
        else:
            _print(action.lines(found))
        moved(workspace, found)
        if not follow:
            return
        name = found.line.stream.name
        for more in action.follow(workspace, name, found.stop, branch=branch, wait=_wait):
            _print(action.lines(more, header=False))
            moved(workspace, more)


def _wait() -> bool:
    sleep(_LOOK_S)
    return True


def _print(blocks: Iterator[bytes]) -> None:
    for data in blocks:
        door.echo_bytes(data)


@door.subverb(command, "show", example="retrodict stream show clicks")
@click.argument("name")
def show_command(name: str, as_json: bool) -> None:
    """Show one stream: its last appends, its consumers, its branches."""
    from retrodict.actions.streams import show  # loaded when asked for
    from retrodict.render import streams

    with door.workspace() as workspace:
        record = show(workspace, name)
    door.show(record, as_json=as_json, text=streams.shown)


@door.subverb(command, "digest", example="retrodict stream digest clicks@2000")
@click.argument("reference")
@_BRANCH
def digest_command(reference: str, branch: str | None, as_json: bool) -> None:
    """Print the digest of a version: whoever has the same one has the same records, in the same order."""
    from retrodict.actions.streams import digest  # loaded when asked for
    from retrodict.render import streams

    with door.workspace() as workspace:
        record = digest(workspace, reference, branch=branch)
    door.show(record, as_json=as_json, text=streams.digest)


@door.subverb(command, "check", example="retrodict stream check clicks@2000 sha256:" + "5f" * 32)
@click.argument("reference")
@click.argument("digest", required=False)
@_BRANCH
def check_command(reference: str, digest: str | None, branch: str | None, as_json: bool) -> None:
    """Read every record of a version, and compare their digest with the log's and with DIGEST; exit 1: it differs."""
    from retrodict.actions.streams import check  # loaded when asked for
    from retrodict.render import streams

    with door.workspace() as workspace:
        record = check(workspace, reference, digest, branch=branch)
    door.show(record, as_json=as_json, text=streams.checked)
    sys.exit(record.answer != "yes")


@door.subverb(command, "proof", example="retrodict stream proof clicks@2000 17 --json")
@click.argument("reference")
@click.argument("offset", type=click.IntRange(min=0))
@_BRANCH
def proof_command(reference: str, offset: int, branch: str | None, as_json: bool) -> None:
    """Print the record at OFFSET with the proof that it is in a version."""
    from retrodict.actions.streams import proof  # loaded when asked for
    from retrodict.render import streams

    with door.workspace() as workspace:
        record = proof(workspace, reference, offset, branch=branch)
    door.show(record, as_json=as_json, text=streams.proof)


@door.subverb(
    command, "check-proof", example="retrodict stream check-proof record-17.json --digest sha256:" + "5f" * 32
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--digest", help="Of the version, as you know it (default: as the proof says, which proves less).")
def check_proof_command(file: Path, digest: str | None, as_json: bool) -> None:
    """Check a proof that `stream proof --json` printed; needs no workspace. Exit 1 if it does not hold."""
    from retrodict.actions.streams import check_proof  # loaded when asked for
    from retrodict.render import streams

    record = check_proof(door.read(file).decode("utf-8", "replace"), digest)
    door.show(record, as_json=as_json, text=streams.proof_checked)
    sys.exit(record.answer != "yes")


@door.subverb(command, "position", example="retrodict stream position clicks trainer --set 2000")
@click.argument("name")
@click.argument("consumer")
@click.option("--set", "offset", type=click.IntRange(min=0), help="Say that it has done with the records before this.")
@_REASON
def position_command(name: str, consumer: str, offset: int | None, reason: str | None, as_json: bool) -> None:
    """Print how far CONSUMER has come in the stream NAME."""
    from retrodict.actions.streams import position  # loaded when asked for
    from retrodict.render import streams

    with door.workspace(writes=offset is not None) as workspace:
        record = position(workspace, name, consumer, offset=offset, reason=reason)
    door.show(record, as_json=as_json, text=streams.position)


@door.subverb(
    command,
    "compact",
    example="retrodict stream compact clicks\n"
    "retrodict stream compact prices --key article --apply --reason 'only the newest price counts'",
)
@click.argument("name")
@click.option(
    "--at-least",
    type=click.IntRange(min=2),
    default=65_536,
    show_default=True,
    help="Segments with fewer records are put together.",
)
@click.option("--key", metavar="FIELD", help="Drop records: all but the newest with each value in FIELD.")
@click.option("--before", type=click.IntRange(min=0), metavar="OFFSET", help="Drop the records before OFFSET.")
@click.option("--apply", is_flag=True, help="Drop them. (Default: only say which, and what leans on them.)")
@_REASON
def compact_command(
    name: str, at_least: int, key: str | None, before: int | None, apply: bool, reason: str | None, as_json: bool
) -> None:
    """Put the segments of many small appends together; with --key or --before, drop records too.

    What an offset means, digests and proofs stay as they are: a read of what was dropped says which entry dropped it.
    What is superseded goes with the next `gc --apply` after its grace.
    """
    from retrodict.actions.stream_append import compact, drop  # loaded when asked for
    from retrodict.render import streams

    with door.workspace(writes=True) as workspace:
        if key is None and before is None:
            record = compact(workspace, name, at_least=at_least)
            door.show(record, as_json=as_json, text=streams.compacted)
        else:
            plan = drop(workspace, name, key=key, before=before, apply=apply, reason=reason)
            door.show(plan, as_json=as_json, text=streams.dropped)


@door.subverb(command, "merge", example="retrodict stream merge clicks --reason 'the laptop was offline'")
@click.argument("name")
@_BRANCH
@_REASON
def merge_command(name: str, branch: str | None, reason: str | None, as_json: bool) -> None:
    """Append the records of branches to the main line, which this workspace must own."""
    from retrodict.actions.stream_append import merge  # loaded when asked for
    from retrodict.render import streams

    with door.workspace(writes=True) as workspace:
        record = merge(workspace, name, branch=branch, reason=reason)
    door.show(record, as_json=as_json, text=streams.merged)


@door.subverb(command, "own", example="retrodict stream own clicks --reason 'the old machine is gone'")
@click.argument("name")
@_REASON
def own_command(name: str, reason: str | None, as_json: bool) -> None:
    """Let this workspace's log own the stream NAME; what others append from then on are branches."""
    from retrodict.actions.streams import own  # loaded when asked for
    from retrodict.render import streams

    with door.workspace(writes=True) as workspace:
        record = own(workspace, name, reason=reason)
    door.show(record, as_json=as_json, text=streams.owned)


@door.subverb(command, "pin", example="retrodict stream pin orders --brokers kafka:9092 --topic orders --partition 0")
@click.argument("name")
@click.option("--brokers", required=True, metavar="HOST:PORT,...", help="Where Kafka is; sealed in the record.")
@click.option("--topic", required=True, help="The topic.")
@click.option("--partition", type=click.IntRange(min=0), default=0, show_default=True, help="The partition.")
@click.option(
    "--from", "first", type=click.IntRange(min=0), help="Kafka's first offset (default: where the last pin ended)."
)
@click.option("--until", type=click.IntRange(min=0), help="The first offset that is not copied (default: the end now).")
@click.option("--config", multiple=True, metavar="K=V", help="A setting of librdkafka; not recorded. Repeatable.")
@_REASON
def pin_command(
    name: str,
    brokers: str,
    topic: str,
    partition: int,
    first: int | None,
    until: int | None,
    config: tuple[str, ...],
    reason: str | None,
    as_json: bool,
) -> None:
    """Copy a range of a Kafka partition into the stream NAME, with Kafka's offsets; again: what is new."""
    from retrodict.actions.stream_append import pin  # loaded when asked for
    from retrodict.render import streams

    settings = dict(_pair(item) for item in config)
    with door.workspace(writes=True) as workspace:
        record = pin(
            workspace, name, brokers, topic, partition, first=first, until=until, config=settings, reason=reason
        )
    door.show(record, as_json=as_json, text=streams.pinned)


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise click.UsageError(f"--config {key!r} is not K=V")
    return key, value
