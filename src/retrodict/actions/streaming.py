"""References to streams: `NAME`, `NAME@OFFSET`, `NAME@FROM:TO`. No verb."""

from __future__ import annotations

import re
from dataclasses import dataclass

from retrodict.actions.names import near
from retrodict.kernel.errors import AmbiguousReferenceError, UnknownReferenceError, UsageError
from retrodict.streams import Line, queries, records
from retrodict.workspace import Workspace

_REFERENCE = re.compile(
    r"(?:stream:)?(?P<name>[^@]+)(?:@(?:(?P<offset>-?\d{1,16})|(?P<start>-?\d{0,16}):(?P<stop>-?\d{0,16})))?\Z",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The records [start, stop) of a line."""

    line: Line
    start: int
    stop: int

    @property
    def reference(self) -> str:
        """How it is written."""
        return f"{self.line.stream.name}@{self.start}:{self.stop}"


def stream_named(workspace: Workspace, name: str) -> records.Stream:
    """Return a stream.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    db = workspace.views.database()
    asked = name.removeprefix("stream:")
    found = queries.streams(db, asked)
    if not found:
        raise UnknownReferenceError(asked, near(asked, [stream.name for stream in queries.streams(db)]))
    if len(found) > 1:
        raise AmbiguousReferenceError(asked, tuple(stream.event for stream in found))
    return found[0]


def line_of(workspace: Workspace, stream: records.Stream, branch: str | None) -> Line:
    """Return the main line of a stream, or the branch whose name (an origin) holds `branch`.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    if branch is None:
        return Line(workspace, stream)
    known = [found.name for found in queries.branches(workspace.views.database(), stream.event)]
    meant = [name for name in known if name == branch] or [name for name in known if branch in name]
    if not meant:
        raise UnknownReferenceError(branch, near(branch, known))
    if len(meant) > 1:
        raise AmbiguousReferenceError(branch, tuple(meant))
    return Line(workspace, stream, meant[0])


def read_range(workspace: Workspace, reference: str, branch: str | None = None) -> Range:
    """Return the records that a reference means: all; for `NAME@OFFSET` those before it; or a range.

    Raises:
        UsageError: It is no reference to a stream.
        UnknownReferenceError, AmbiguousReferenceError, OffsetError: See there.
    """
    match = _REFERENCE.match(reference)
    if match is None:
        raise UsageError(
            f"{reference!r} names no records of a stream", hint="Write NAME, NAME@1000, NAME@1000:2000 or NAME@-100:."
        )
    line = line_of(workspace, stream_named(workspace, match["name"]), branch)
    if match["offset"] is not None:
        start, stop = line.range(0, int(match["offset"]))
    else:
        start, stop = line.range(
            int(match["start"]) if match["start"] else None, int(match["stop"]) if match["stop"] else None
        )
    return Range(line=line, start=start, stop=stop)


def version(workspace: Workspace, reference: str, branch: str | None = None) -> tuple[Line, int]:
    """Return the line and the offset that `NAME@OFFSET` means; `NAME` means its newest version.

    Raises:
        UsageError: It is a range, or no reference to a stream.
        UnknownReferenceError, AmbiguousReferenceError, OffsetError: See there.
    """
    if ":" in reference.removeprefix("stream:"):
        raise UsageError(f"{reference} is a range, and a version begins at the first record", hint="Write NAME@OFFSET.")
    found = read_range(workspace, reference, branch)
    return found.line, found.stop
