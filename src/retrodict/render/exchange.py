"""Remotes, and what travelled to or from one, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render.text import conflicts, listing, table
from retrodict.render.words import size

if TYPE_CHECKING:
    from retrodict.actions.arriving import Pulled, PulledLog, Refused
    from retrodict.actions.clone import Cloned
    from retrodict.actions.fetch import Fetched
    from retrodict.actions.remote import RemoteChanged, Remotes
    from retrodict.actions.sending import Pushed
    from retrodict.actions.settle import Settled


def remotes(record: Remotes) -> RenderableType:
    """Render `remote`."""
    rows = [(remote.name, remote.url) for remote in record.remotes]
    return listing("No remotes: `retrodict remote add origin ADDRESS` adds one.", ["name", "address"], rows, wrap=[])


def remote_changed(record: RemoteChanged) -> RenderableType:
    """Render `remote add` and `remote remove`."""
    return Text(
        f"{record.name}  {record.url}" if record.is_added else f"{record.name} is forgotten; what lies there stays"
    )


def pushed(record: Pushed) -> RenderableType:
    """Render `push`."""
    new = sum(log.new_entries for log in record.logs)
    if not new and not record.new_bytes:
        parts = [Text(f"{record.place} holds all of it already")]
    else:
        parts = [
            Text(
                f"{record.place}: {count(new, 'entry', 'entries')} and {count(record.new_packs, 'pack')} are new there "
                f"({size(record.new_bytes)})"
            )
        ]
    if record.unsigned:
        parts.append(
            Text(f"{count(record.unsigned, 'entry', 'entries')} stayed here: nothing signed covers them yet", "yellow")
        )
    if record.behind:
        parts.append(Text(f"It has more of the logs {', '.join(record.behind)}: `retrodict pull` brings it"))
    if record.findings:
        rows = [(finding.level, finding.what, finding.message) for finding in record.findings]
        return Group(*parts, table(["", "what", "because"], rows, wrap=["because"]))
    return Group(*parts)


def pulled(record: Pulled) -> RenderableType:
    """Render `pull`."""
    parts: list[RenderableType] = []
    if not record.logs and not record.new_packs:
        parts.append(Text(f"Nothing new in {record.place}"))
    return Group(
        *parts, *_arrived(record.logs, record.new_packs, record.new_bytes, record.refused), conflicts(record.conflicts)
    )


def fetched(record: Fetched) -> RenderableType:
    """Render `fetch`."""
    if record.objects:
        return Text(f"{count(record.objects, 'object')} from {record.place} ({size(record.new_bytes)})")
    if not record.new_packs and not record.missing:
        return Text("Nothing was missing" if record.only else f"Nothing new in {record.place}")
    parts = [Text(f"{count(record.new_packs, 'pack')} from {record.place} ({size(record.new_bytes)})")]
    if record.missing:
        parts.append(Text(f"{count(record.missing, 'object')} that it needs are not there", "yellow"))
    return Group(*parts)


def cloned(record: Cloned) -> RenderableType:
    """Render `clone`."""
    return Group(
        Text(
            f"{record.root}: {count(record.datasets, 'dataset')} and {count(record.models, 'model')} "
            f"from {record.place}, which is called origin here"
        ),
        *_arrived(record.logs, record.new_packs, record.new_bytes, record.refused),
        Text(f"Its own log is {record.origin}; its public key: {record.key}", overflow="fold"),
        *(Text(f"  retrodict checkout dataset:{path}") for path in record.paths[:10]),
    )


def _arrived(logs: Sequence[PulledLog], packs: int, new_bytes: int, refused: Sequence[Refused]) -> list[RenderableType]:
    parts: list[RenderableType] = [
        Text(
            f"log {log.name} ({log.origin}): {count(log.new_entries, 'new entry', 'new entries')}, "
            + (f"{log.entries} in all" if not log.is_new else f"new here; `retrodict log --of {log.name}`")
        )
        for log in logs
    ]
    if packs:
        parts.append(Text(f"{count(packs, 'pack')} of objects ({size(new_bytes)})"))
    if refused:
        parts.append(Text("Refused:", "red"))
        parts.append(table(["what", "because"], [(one.what, one.because) for one in refused], wrap=["because"]))
    return parts


def settled(record: Settled) -> RenderableType:
    """Render `settle`."""
    was = " and ".join(dict.fromkeys(record.was))
    return Text(f"{record.name} means {record.what} now (both sides had set {was})  entry {record.entry}")
