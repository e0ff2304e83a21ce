"""`table log --csv`: every cell that was changed, for an auditor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from retrodict.actions.authorship import Authors, How
from retrodict.actions.tabling import log_of, note_look, table_named
from retrodict.tables import files, lines
from retrodict.tables import history as histories
from retrodict.tables.history import Cell
from retrodict.tables.lines import OFFSET, ChangeLog
from retrodict.tables.personal import listed
from retrodict.tables.records import Column, Version
from retrodict.workspace import Workspace

_CELLS = 1 << 18  # that are held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One changed cell, or one altered column.

    Attributes:
        at: When; of a captured change, when it was made there.
        who: Who made it; `known`: whether that is claimed or authenticated.
        key: Of the record, in the order of the key's columns; empty where a column was altered.
        operation: "create", "update", "delete" of a record; "alter" of a column, of which `before` and `after` are name
            and type.
        change: The offset in the change log; None where a column was altered.
        entry: The log's entry that holds it; `leaf_hash` is that entry's, hex.
    """

    at: str
    who: str
    known: How
    why: str | None
    how: str
    table: str
    key: tuple[object, ...]
    operation: str
    column: str
    before: object
    after: object
    version: str
    change: int | None
    entry: int
    leaf_hash: str
    valid_from: str | None
    tx: str | None
    branch: str | None


def audit(
    workspace: Workspace, name: str, *, branch: str | None = None, limit: int | None = None
) -> Iterator[AuditLine]:
    """Yield every changed cell of a table, the oldest first; the memory that it takes does not grow with the history.

    Args:
        limit: Only of the last so many versions.

    Raises:
        UnknownReferenceError: There is no such table or branch.
    """
    log = log_of(workspace, table_named(workspace, name), branch)
    db = workspace.views.database()
    found = lines.versions(db, log)
    chosen = found if limit is None else found[max(len(found) - limit, 0) :]
    reader = _Reader(workspace, log)
    first = lines.columns_at(db, log, chosen[0].version - 1) if chosen else ()
    with_columns = ((version, lines.columns_at(db, log, version.version)) for version in chosen)
    for columns, group in groupby(with_columns, key=lambda pair: pair[1]):
        versions = [version for version, _ in group]
        if versions[0].start == versions[0].stop:
            yield from reader.altered(versions[0], first, columns)
        first = columns
        yield from reader.changed(versions[0].start, versions[-1].stop, columns)


class _Reader:
    """Reads a change log for an audit."""

    def __init__(self, workspace: Workspace, log: ChangeLog) -> None:
        self._workspace = workspace
        self._log = log
        self._sayings = histories.Sayings(workspace, log)
        self._authors = Authors(workspace)
        self._entry: tuple[int, str, How] = (-1, "", "claimed")

    def altered(self, version: Version, before: Sequence[Column], after: Sequence[Column]) -> Iterator[AuditLine]:
        """Yield the columns that a version has altered."""
        was = {column.id: f"{column.name} {files.type_text(column.type)}" for column in before}
        now = {column.id: f"{column.name} {files.type_text(column.type)}" for column in after}
        names = {column.id: column.name for column in (*before, *after)}
        said = {
            "at": version.at,
            "who": self._sayings.name(version.agent),
            "why": self._sayings.reason(version),
            "how": self._sayings.how(version),
        }
        for i in sorted(was.keys() | now.keys()):
            if was.get(i) != now.get(i):
                cell = Cell(column=names[i], before=was.get(i), after=now.get(i))
                yield self._line(version, cell, "alter", said, is_captured=False)

    def changed(self, start: int, stop: int, columns: Sequence[Column]) -> Iterator[AuditLine]:
        """Yield the cells that the changes [start, stop) have changed."""
        step = max(_CELLS // (len(columns) + 1), 1)
        for first in range(start, stop, step):
            table = self._log.table
            found = listed(table, lines.changes(self._log, first, min(first + step, stop), columns), columns)
            older = [c["_prev"] for c in found if c["_prev"] is not None and c["_prev"] < first]
            before = listed(table, lines.taken(self._log, older, columns), columns)
            held = {c[OFFSET]: c for c in (*before, *found)}
            note_look(self._log)
            for change in found:
                yield from self._change(change, held.get(change["_prev"]), columns)

    def _change(
        self, change: Mapping[str, Any], before: Mapping[str, Any] | None, columns: Sequence[Column]
    ) -> Iterator[AuditLine]:
        (described,) = histories.described([change], columns, self._sayings, before=before)
        key = tuple(change[str(i)] for i in self._log.table.key)
        said = {field: getattr(described, field) for field in ("at", "who", "why", "how", "valid_from", "tx")}
        said |= {"key": key, "change": described.offset}
        version = self._sayings.version(change[OFFSET])
        for cell in described.cells:
            yield self._line(version, cell, described.op, said, is_captured=change["_who"] is not None)

    def _line(
        self, version: Version, cell: Cell, operation: str, said: Mapping[str, Any], *, is_captured: bool
    ) -> AuditLine:
        if self._entry[0] != version.index:
            entry = self._workspace.logs.event(version.index)
            self._entry = (version.index, entry.leaf_hash.hex(), self._authors.of(entry).how)
        index, leaf, known = self._entry
        return AuditLine(
            **{"key": (), "change": None, "valid_from": None, "tx": None, **said},
            known="claimed" if is_captured else known,
            table=self._log.table.name,
            operation=operation,
            column=cell.column,
            before=cell.before,
            after=cell.after,
            version=f"{self._log.table.name}@v{version.version}",
            entry=index,
            leaf_hash=leaf,
            branch=version.branch or None,
        )
