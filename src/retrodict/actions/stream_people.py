"""Records of streams, and changes of tables, that are about a person, and the files made of them. No verb."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retrodict import provenance
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest, EventId
from retrodict.streams import Append, Line, personal, queries
from retrodict.tables import lines
from retrodict.tables import queries as tables
from retrodict.workspace import Workspace, forgotten_by


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsAbout:
    """Records of one append that are about a person: their offsets on `line`, ascending.

    Attributes:
        gap: Why they cannot be counted: then there are no offsets.
    """

    line: Line
    append: Append
    offsets: tuple[int, ...]
    gap: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAbout:
    """A file that records of a person, and perhaps of others, were written to, sealed as one."""

    event: EventId
    entry: int
    path: str | None
    content: Digest
    key: str


def records_about(workspace: Workspace, names: set[str]) -> Iterator[RecordsAbout]:
    """Yield the records about these pseudonyms, append by append, in the order of the log."""
    db = workspace.views.database()
    appends = {append.event: append for name in names for append in queries.appends_about(db, name)}
    opened: dict[tuple[EventId, str], Line] = {}
    for append in sorted(appends.values(), key=lambda append: append.index):
        found = queries.append_of(db, append.event)
        assert found is not None
        where = (found[0].event, append.branch)
        line = opened.setdefault(where, Line(workspace, found[0], append.branch))
        try:
            offsets, gap = tuple(_offsets(line, append.start, append.stop, names)), None
        except RetrodictError as error:
            offsets, gap = (), str(error)
        if offsets or gap is not None:
            yield RecordsAbout(line=line, append=append, offsets=offsets, gap=gap)


def files_about(workspace: Workspace, found: list[RecordsAbout]) -> Iterator[FileAbout]:
    """Yield the sealed files that hold one of these records, each once."""
    db = workspace.views.database()
    for where in {(about.line.stream.event, about.line.branch): None for about in found}:
        held = [about for about in found if (about.line.stream.event, about.line.branch) == where]
        for event, entry, start, stop, key in queries.sealed_files(db, *where):
            is_in = any(start <= offset < stop for about in held for offset in about.offsets)
            if is_in and forgotten_by(workspace, key) is None:
                (made,) = provenance.edges(workspace.logs.event(entry).event.makes, workspace.objects.get)
                yield FileAbout(event=event, entry=entry, path=made.path, content=Digest(made.ref), key=key)


def _offsets(line: Line, start: int, stop: int, names: set[str]) -> Iterator[int]:
    if line.stream.format == "changes":
        log = table_log(line)
        yield from (offset for offset, subject in lines.people(log, start, stop) if subject in names)
        return
    for offset, record in line.offsets(start, stop):
        if names.intersection(personal.subjects([record])):
            yield offset


def table_log(line: Line) -> lines.ChangeLog:
    """Return the changes of a table, of which `line` is the stream."""
    (table,) = tables.tables(line.workspace.views.database(), stream=line.stream.event)
    return lines.ChangeLog(table=table, line=line)
