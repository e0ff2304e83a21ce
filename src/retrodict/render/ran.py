"""What `run` says when its command has ended: plain lines, since drawing would take longer than recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from retrodict.render.printable import printable
from retrodict.render.words import duration, short, size

if TYPE_CHECKING:
    from retrodict.actions.run import Ran

_MOST_FILES = 20  # read, and as many written, that are listed


def ran(record: Ran) -> str:
    """Render `run`: a line on the command, one for each file (role, bytes, object, path), and the warnings."""
    return "\n".join(map(printable, _lines(record)))


def _lines(record: Ran) -> Iterator[str]:
    yield (
        f"run {record.name}: entry {record.entry}, exit {record.exit_code}, {duration(record.duration_ns)}, "
        f"seen by {record.mode} ({record.completeness})"
    )
    shown = [*record.inputs[:_MOST_FILES], *record.outputs[:_MOST_FILES]]
    for file in shown:
        maker = "" if file.maker is None else f" (made by {file.maker})"
        yield f"{file.role:<10}  {size(file.size_bytes):>8}  {short(file.digest)}  {file.path}{maker}"
    if more := len(record.inputs) + len(record.outputs) - len(shown):
        yield f"... and {more} more files: retrodict show {record.entry}"
    for warning in record.warnings:
        yield f"warning: {warning}"
