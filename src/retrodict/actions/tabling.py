"""References to tables: `NAME`, `NAME@v3`, `NAME@OFFSET`, `NAME@2020-11-07`; keys as people write them. No verb."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrodict.actions.names import near
from retrodict.kernel.clock import parse_rfc3339
from retrodict.kernel.errors import AmbiguousReferenceError, UnknownReferenceError, UsageError
from retrodict.kernel.types import EventId
from retrodict.streams import MAIN, OffsetError
from retrodict.streams import queries as streams
from retrodict.tables import lines, queries
from retrodict.tables.changes import ChangeSet, How
from retrodict.tables.errors import BadKeyError, NoSuchRecordError, RecordConflictError
from retrodict.tables.lines import ChangeLog
from retrodict.tables.personal import Seen
from retrodict.tables.records import Column, Policy, Table
from retrodict.workspace import Workspace

__all__ = [
    "ChangeSet",
    "How",
    "Policy",
    "RecordConflictError",
    "TableVersion",
    "how_of",
    "key_values",
    "log_of",
    "note_look",
    "table_named",
    "version_of",
    "version_on",
]

_REFERENCE = re.compile(
    r"(?:table:)?(?P<name>[^@#]+)(?:@(?:[vV](?P<version>\d{1,15})|(?P<offset>\d{1,16})|(?P<time>\d{4}-\d\d-\d\d.*)))?\Z",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableVersion:
    """A table as it is after the first `stop` changes of a line.

    Attributes:
        columns: That it has there.
        number: Of the version that ends there; None: `stop` lies between two.
    """

    log: ChangeLog
    stop: int
    columns: tuple[Column, ...]
    number: int | None

    @property
    def table(self) -> Table:
        """The table."""
        return self.log.table

    @property
    def reference(self) -> str:
        """How it is written."""
        return f"{self.table.name}@{self.stop if self.number is None else f'v{self.number}'}"


def how_of(
    workspace: Workspace,
    verb: str,
    *,
    reason: str | None = None,
    statement: str | None = None,
    valid_from: object = None,
    run: str | None = None,
) -> How:
    """Return what is to make changes.

    Args:
        run: The run that this happens in, by its `run.started`; one that is not known here is left out.
    """
    known = run is not None and workspace.logs.find(EventId(run)) is not None
    return How(
        verb=verb,
        reason=reason,
        statement=statement,
        valid_from=valid_from,
        run=EventId(run) if known and run is not None else None,
    )


def table_named(workspace: Workspace, name: str) -> Table:
    """Return a table.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    db = workspace.views.database()
    asked = name.removeprefix("table:")
    found = queries.tables(db, asked)
    if not found:
        raise UnknownReferenceError(asked, near(asked, [table.name for table in queries.tables(db)]))
    if len(found) > 1:
        raise AmbiguousReferenceError(asked, tuple(table.event for table in found))
    return found[0]


def log_of(workspace: Workspace, table: Table, branch: str | None) -> ChangeLog:
    """Return the main line of a table, or the branch whose name (an origin) holds `branch`; to be shown (`note_look`).

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    from retrodict.actions.looks import NOT_POSSIBLE, Look  # 10 ms, and who changes a table needs none

    seen = Seen(withheld=None if Look(workspace, "table").is_possible else NOT_POSSIBLE)
    if branch is None:
        return lines.change_log(workspace, table, seen=seen)
    known = [found.name for found in streams.branches(workspace.views.database(), table.stream)]
    meant = [name for name in known if name == branch] or [name for name in known if branch in name]
    if not meant:
        raise UnknownReferenceError(branch, near(branch, known))
    if len(meant) > 1:
        raise AmbiguousReferenceError(branch, tuple(meant))
    return lines.change_log(workspace, table, meant[0], seen=seen)


def note_look(log: ChangeLog) -> None:
    """Record whose values were opened to be shown; before they are."""
    if log.seen is not None and log.seen.people:
        from retrodict.actions.looks import Look  # 10 ms

        look = Look(log.line.workspace, "table")
        look.text_of(set(log.seen.people))
        look.record(uses=log.line.lineage(0, log.size))
        log.seen.people.clear()


def version_of(workspace: Workspace, reference: str, branch: str | None = None) -> TableVersion:
    """Return the version that a reference means; a name means the newest.

    Raises:
        UsageError: It is no reference to a table.
        UnknownReferenceError, AmbiguousReferenceError, OffsetError: There is no such table or version.
    """
    match = _REFERENCE.match(reference)
    if match is None:
        raise UsageError(
            f"{reference!r} names no version of a table",
            hint="Write NAME, NAME@v3, NAME@1000 or NAME@2020-11-07T12:00Z.",
        )
    return _version(workspace, log_of(workspace, table_named(workspace, match["name"]), branch), match)


def version_on(workspace: Workspace, log: ChangeLog, text: str) -> TableVersion:
    """Return the version of a line that `v3`, `1000`, `2020-11-07` or the whole reference means. Raises as above."""
    name = log.table.name
    match = _REFERENCE.match(text if "@" in text or text == name else f"{name}@{text}")
    if match is None or match["name"] != name:
        raise UsageError(f"{text!r} is no version of {name}", hint="Write v3, an offset, or a time.")
    return _version(workspace, log, match)


def _version(workspace: Workspace, log: ChangeLog, match: re.Match[str]) -> TableVersion:
    db, name = workspace.views.database(), log.table.name
    number: int | None = None
    within: int | None = None  # the version whose columns it has
    if match["version"] is not None:
        number = int(match["version"])
        stop = _numbered(workspace, log, number)
    elif match["offset"] is not None:
        stop = int(match["offset"])
        if stop > log.size:
            raise OffsetError(f"{name} has had {log.size} changes, and {stop} were asked for")
    elif match["time"] is not None:
        known = parse_rfc3339(match["time"])
        ends = [(v.stop, v.version) for v in lines.versions(db, log) if parse_rfc3339(v.at) <= known]
        stop, number = ends[-1] if ends else (0, 0)
    else:
        stop, number = log.size, lines.last_number(db, log)
    if number is None:
        version = lines.version_at(db, log, stop - 1) if stop else None
        within = 0 if version is None else version.version
        number = within if version is None or version.stop == stop else None
    columns = lines.columns_at(db, log, number if within is None else within)
    return TableVersion(log=log, stop=stop, columns=columns, number=number)


def _numbered(workspace: Workspace, log: ChangeLog, number: int) -> int:
    if number == 0:
        return 0
    db = workspace.views.database()
    found = queries.numbered(db, log.table.stream, log.branch, number)
    if not found and log.branch != MAIN:
        found = [v for v in queries.numbered(db, log.table.stream, MAIN, number) if v.stop <= log.line.base]
    if not found:
        newest = lines.last_number(db, log)
        raise OffsetError(
            f"{log.table.name} has no version v{number}; the newest is v{newest}",
            hint=f"`retrodict table log {log.table.name}` lists them.",
        )
    return found[0].stop


def key_values(table: Table, columns: Sequence[Column], key: object) -> dict[str, object]:
    """Return the values of a key by the names of its columns.

    Args:
        key: One text (for a key of several columns: separated by commas, as CSV has them); values in the order of the
            key's columns; or by name.

    Raises:
        BadKeyError: They are more or fewer than the key has.
    """
    names = [column.name for i in table.key for column in columns if column.id == i]
    if isinstance(key, Mapping):
        values: Sequence[object] = [key.get(name) for name in names]
        if set(key) != set(names):
            raise BadKeyError(f"the key of {table.name} is {', '.join(names)}, not {', '.join(map(str, key))}")
    elif isinstance(key, str):
        values = [key] if len(names) == 1 else next(csv.reader([key]), [])
    elif isinstance(key, Sequence):
        values = list(key)
    else:
        values = [key]
    if len(values) != len(names):
        raise BadKeyError(f"the key of {table.name} has {len(names)} values ({', '.join(names)}), not {len(values)}")
    return dict(zip(names, values, strict=True))


def never_had(table: Table, values: Mapping[str, object]) -> NoSuchRecordError:
    """Return the error of a key that no record ever had, as far as keys can be read here."""
    shown = "/".join(map(str, values.values()))
    said = f"{table.name} has never had a record {shown}"
    if any(map(table.hides, table.key)):
        said += ", or its key is erased or not held here"
    return NoSuchRecordError(said, hint=f"`retrodict table at {table.name}` lists the records.")
