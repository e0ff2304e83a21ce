"""Records of the commands that are given most often, as plain lines: they do not wait for rich to be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retrodict.kernel.words import count
from retrodict.render.words import duration, short, size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from retrodict.actions.add import Added
    from retrodict.actions.checkout import CheckedOut
    from retrodict.actions.status import BucketStatus, PathStatus, Status
    from retrodict.actions.unsaved import Unsaved

_STAY = 5  # names of files that a checkout left
_UNCHANGED = "Everything is as it was versioned."


def added(record: Sequence[Added]) -> str:
    """Render `add`."""
    lines = []
    for item in record:
        if item.is_new:
            personal = ", personal: sealed" if item.is_personal else ""
            files = personal if item.type == "file" else f", {count(item.files, 'file')}{personal}"
            lines.append(
                f"{item.reference}  {short(item.content)}  {size(item.size_bytes)}{files}"
                f"  (+{size(item.new_bytes)} stored)  entry {item.index}"
            )
            if item.people is not None:
                lines.append(f"  rows of {count(item.people, 'person', 'people')}")
            if item.unnamed:
                lines.append(f"  {count(item.unnamed, 'row')} name nobody: no --subject will find them")
            lines += [f"  {file} was not looked into: it is no table with that column" for file in item.unread[:20]]
            if len(item.unread) > 20:
                lines.append(f"  and {len(item.unread) - 20} more files")
        else:
            lines.append(f"{item.reference}  unchanged")
    return "\n".join(lines)


def checked_out(record: CheckedOut) -> str:
    """Render `checkout`."""
    if record.forgotten is not None:
        return f"{record.reference}  {record.forgotten}"
    written = size(record.size_bytes) if record.size_bytes else "nothing to write"
    lines = [f"{record.destination}  {written}, every byte verified  ({short(record.content)})"]
    lines += [f"left out: {name}  {forgotten}" for name, forgotten in record.left_out.items()]
    if record.stay:
        more = f" and {len(record.stay) - _STAY:,} more" if len(record.stay) > _STAY else ""
        lines.append(f"not in this version, and left where they are: {', '.join(record.stay[:_STAY])}{more}")
    return "\n".join(lines)


def status(record: Status) -> RenderableType:
    """Render `status`."""
    first = (
        f"{record.root}: {count(record.datasets, 'dataset')}, {count(record.models, 'model')}, "
        + count(record.entries, "entry", "entries")
        + (f" ({record.entries - record.published} not yet signed)" if record.published < record.entries else "")
        + (f", {count(record.open_disputes, 'open dispute')}" if record.open_disputes else "")
        + (", read-only" if record.read_only else "")
    )
    key = [] if record.key is None else [f"The log's public key: {record.key}"]
    warns = bool(record.unsaved.entries) and (record.unsaved.was_saved or record.unsaved.is_old)
    if not warns and not record.conflicts and not record.is_changed and not record.buckets:
        return "\n".join([first, _UNCHANGED, *key])
    from rich.console import Group  # 30 ms
    from rich.text import Text

    from retrodict.render.text import conflicts, table

    parts: list[RenderableType] = [Text(first)]
    if warns:
        parts.append(Text(unsaved(record.unsaved), style="bold"))
    if record.conflicts:
        parts.append(conflicts(record.conflicts))
    if record.paths:
        parts.append(table(["", "path", "version"], [(_state(p), p.path, p.dataset) for p in record.paths]))
    elif not record.is_changed:
        parts.append(Text(_UNCHANGED))
    if record.buckets:
        rows = [(b.problem or _bucket(b), b.url, b.dataset) for b in record.buckets]
        parts.append(table(["", "bucket", "version"], rows, wrap=[""]))
    return Group(*parts, *(Text(line, overflow="fold") for line in key))


def unsaved(record: Unsaved) -> str:
    """Render what is saved nowhere, as one sentence."""
    for_long = f"the oldest for {duration(int(record.seconds * 1e9))}"
    entries = count(record.entries, "entry", "entries")
    if record.was_saved:
        verbs = "is in no backup, and was" if record.entries == 1 else "are in no backup, and were"
        return f"{entries} {verbs} pushed nowhere, {for_long}: `retrodict backup to` a place saves them."
    verb = "exists" if record.entries == 1 else "exist"
    where = f"{entries} {verb} only here, {for_long}"
    return f"Never backed up: {where}: `retrodict backup to` a place (or `push`) saves them."


def _state(found: PathStatus) -> str:
    return found.state if found.files is None else f"{found.state}: {count(found.files, 'file')} in it"


def _bucket(asked: BucketStatus) -> str:
    if not (asked.added or asked.removed or asked.changed):
        return "as pinned"
    return f"+{asked.added} -{asked.removed} ~{asked.changed}: `retrodict attach` pins it"
