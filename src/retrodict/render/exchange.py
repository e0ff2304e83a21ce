"""Remotes, and what travelled to or from one, as text.

What needs no drawing is lines: rich and what is built on it, 25 ms, are loaded where something must be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retrodict.kernel.words import count
from retrodict.render.words import size

if TYPE_CHECKING:
    from rich.console import RenderableType

    from retrodict.actions.arriving import Pulled
    from retrodict.actions.clone import Cloned
    from retrodict.actions.fetch import Fetched
    from retrodict.actions.remote import RemoteChanged, Remotes
    from retrodict.actions.sending import Pushed
    from retrodict.actions.settle import Settled


def remotes(record: Remotes) -> RenderableType:
    """Render `remote`."""
    if not record.remotes:
        return "No remotes: `retrodict remote add origin ADDRESS` adds one."
    from retrodict.render.text import table

    return table(["name", "address"], [(remote.name, remote.url) for remote in record.remotes])


def remote_changed(record: RemoteChanged) -> RenderableType:
    """Render `remote add` and `remote remove`."""
    return f"{record.name}  {record.url}" if record.is_added else f"{record.name} is forgotten; what lies there stays"


def pushed(record: Pushed) -> RenderableType:
    """Render `push`."""
    new = sum(log.new_entries for log in record.logs)
    if not new and not record.new_bytes:
        parts: list[RenderableType] = [f"{record.place} holds all of it already"]
    else:
        parts = [
            (
                f"{record.place}: {count(new, 'entry', 'entries')} and {count(record.new_packs, 'pack')} are new there "
                f"({size(record.new_bytes)})"
            )
        ]
    if record.unsigned:
        unsigned = count(record.unsigned, "entry", "entries")
        parts.append(_warning(f"{unsigned} stayed here: nothing signed covers them yet"))
    if record.behind:
        parts.append(f"It has more of the logs {', '.join(record.behind)}: `retrodict pull` brings it")
    if record.findings:
        from retrodict.render.text import table

        rows = [(finding.level, finding.what, finding.message) for finding in record.findings]
        parts.append(table(["", "what", "because"], rows, wrap=["because"]))
    return _together(parts)


def pulled(record: Pulled) -> RenderableType:
    """Render `pull`."""
    parts = _arrived(record)
    if not record.logs and not record.new_packs:
        parts.insert(0, f"Nothing new in {record.place}")
    if record.conflicts:
        from retrodict.render.text import conflicts

        parts.append(conflicts(record.conflicts))
    return _together(parts)


def fetched(record: Fetched) -> RenderableType:
    """Render `fetch`."""
    if record.objects:
        return f"{count(record.objects, 'object')} from {record.place} ({size(record.new_bytes)})"
    if not record.new_packs and not record.missing:
        return "Nothing was missing" if record.only else f"Nothing new in {record.place}"
    parts: list[RenderableType] = [f"{count(record.new_packs, 'pack')} from {record.place} ({size(record.new_bytes)})"]
    if record.missing:
        parts.append(_warning(f"{count(record.missing, 'object')} that it needs are not there"))
    return _together(parts)


def cloned(record: Cloned) -> RenderableType:
    """Render `clone`."""
    return _together(
        [
            (
                f"{record.root}: {count(record.datasets, 'dataset')} and {count(record.models, 'model')} "
                f"from {record.place}, which is called origin here"
            ),
            *_arrived(record),
            f"Its own log is {record.origin}; its public key: {record.key}",
            *(["Versioned files are written there with:"] if record.paths else []),
            *(f"  retrodict checkout dataset:{path}" for path in record.paths[:10]),
        ]
    )


def _arrived(record: Pulled | Cloned) -> list[RenderableType]:
    parts: list[RenderableType] = [
        f"log {log.name} ({log.origin}): {count(log.new_entries, 'new entry', 'new entries')}, "
        + (f"{log.entries} in all" if not log.is_new else f"new here; `retrodict log --of {log.name}`")
        for log in record.logs
    ]
    if record.new_packs:
        parts.append(f"{count(record.new_packs, 'pack')} of objects ({size(record.new_bytes)})")
    if record.refused:
        from rich.text import Text

        from retrodict.render.text import table

        rows = [(one.what, one.because) for one in record.refused]
        parts += [Text("Refused:", "red"), table(["what", "because"], rows, wrap=["because"])]
    return parts


def _warning(line: str) -> RenderableType:
    from rich.text import Text

    return Text(line, "yellow")


def _together(parts: Sequence[RenderableType]) -> RenderableType:
    """Return parts below one another; as lines where nothing must be drawn."""
    lines = [part for part in parts if isinstance(part, str)]
    if len(lines) == len(parts):
        return "\n".join(lines)
    from rich.console import Group

    return Group(*parts)


def settled(record: Settled) -> RenderableType:
    """Render `settle`."""
    was = " and ".join(dict.fromkeys(record.was))
    return f"{record.name} means {record.what} now (both sides had set {was})  entry {record.entry}"
