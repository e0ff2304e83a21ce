"""`capture db`: what other programs change in their database becomes the history of tables.

The database's triggers write each change beside the table, in the same transaction. From there the changes are read up
to a position, recorded with it in one piece, and dropped there: whoever is stopped in between goes on at the position
that was recorded, so nothing is lost and nothing comes twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from retrodict.databases import Database, Description, NotCapturableError
from retrodict.databases import feed as feeds
from retrodict.kernel.errors import UsageError
from retrodict.tables import changes, lines, records
from retrodict.tables.changes import Change, ChangeSet, How, Source
from retrodict.tables.records import Table
from retrodict.workspace import Workspace

_AT_ONCE = 20_000  # changes that are recorded in one piece
_COMPARED = "found by comparing with the database: it was changed around the capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Statements that begin or end the capture of tables in a database; none: there is nothing to do."""

    database: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedTable:
    """How far a table of a database has been captured.

    Attributes:
        table: Its name in the database.
        reference: The version of ours that is as the table was at that moment: `loans@v12`.
        changes: How many changes were recorded now.
        amiss: How many of them did not fit what was known.
        differs: How many records are other ones in the database than in ours, after all changes; None: not compared.
        mended: Whether those differences were recorded.
        problems: What tells that changes may have been made around the capture.
    """

    table: str
    reference: str
    creates: int
    updates: int
    deletes: int
    amiss: int
    differs: int | None
    mended: bool
    problems: tuple[str, ...]

    @property
    def changes(self) -> int:
        """How many changes were recorded now."""
        return self.creates + self.updates + self.deletes

    @property
    def is_around(self) -> bool:
        """Whether the table was changed around the capture, or may have been."""
        return bool(self.problems or self.amiss or (self.differs and not self.mended))


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """Tables of a database, captured up to now."""

    database: str
    tables: tuple[CapturedTable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedSource:
    """A table of ours that follows one of another program's: what it is called there, and our newest version."""

    source: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedSources:
    """What is captured."""

    rows: tuple[CapturedSource, ...]


def sources(workspace: Workspace) -> CapturedSources:
    """Return what is captured, by its source."""
    db = workspace.views.database()
    found = []
    for source, stream in records.sources(db):
        for table in records.tables(db, stream=stream):
            version = lines.last_number(db, lines.change_log(workspace, table))
            found.append(CapturedSource(source=source, reference=f"{table.name}@v{version}"))
    return CapturedSources(rows=tuple(found))


def open_database(url: str, folder: Path) -> Database:
    """Open a database by its address: `postgresql://...`, `sqlite:///FILE`, or a file of SQLite.

    Args:
        folder: Where relative paths begin.

    Raises:
        UsageError: It is neither.
        MissingExtraError, DatabaseError: See there.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("postgresql", "postgres"):
        from retrodict.databases.postgres import Postgres  # psycopg: 90 ms

        return Postgres(url)
    path = folder / url.removeprefix("sqlite:///") if scheme in ("", "sqlite") else None
    if path is None or not path.is_file():
        raise UsageError(
            f"{url} is no database that can be captured",
            hint="Give postgresql://USER@HOST/NAME, or the file of an SQLite database.",
        )
    from retrodict.databases.sqlite import SQLite

    return SQLite(path)


def plan(database: Database, tables: Sequence[str], *, remove: bool = False, key: Sequence[str] = ()) -> Planned:
    """Return the statements that begin the capture of tables, or end it.

    Raises:
        NotCapturableError: One is no table, or its rows cannot be told apart.
        UsageError: None is named.
    """
    if not tables:
        raise UsageError("no table is named", hint="Name them: --tables loans,customers.")
    if not remove:
        for table in tables:
            database.describe(table, key)
    statements = database.remove_sql(tables) if remove else database.install_sql(tables)
    return Planned(database=database.name, statements=tuple(statements))


def catch_up(
    workspace: Workspace,
    database: Database,
    tables: Sequence[str] = (),
    *,
    key: Sequence[str] = (),
    named: str | None = None,
    compare: bool = False,
    mend: bool = False,
    reason: str | None = None,
) -> Captured:
    """Record what has changed in the captured tables of a database since the last time.

    Args:
        tables: Those; none: all that are captured there.
        key: The columns that identify a row, where that is not the primary key.
        named: What the table is called here; None: as there.
        compare: Compare the whole table with ours afterwards.
        mend: Record the differences; a database that was put back is brought in anew.

    Raises:
        NotCapturableError, DatabaseError, PutBackError: See there.
        UsageError: No table is captured there, or a name is taken.
    """
    there = database.captured()
    wanted = [database.describe(table, key).name for table in tables] or there
    if named is not None and len(wanted) != 1:
        raise UsageError("one name is for one table", hint="Name one table with --tables.")
    missing = [table for table in wanted if table not in there]
    if missing or not wanted:
        raise UsageError(
            f"{database.name} captures {', '.join(there) or 'no table'}"
            + (f", not {', '.join(missing)}" if missing else ""),
            hint="Begin with `retrodict capture db URL --tables ... --install`.",
        )
    return Captured(
        database=database.name,
        tables=tuple(
            _Capture(workspace, database, table, key, named, reason).catch_up(compare=compare, mend=mend)
            for table in wanted
        ),
    )


class _Capture:
    """One table of a database, and the table of ours that follows it."""

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        table: str,
        key: Sequence[str],
        named: str | None,
        reason: str | None,
    ) -> None:
        self._workspace = workspace
        self._database = database
        self._table = table
        self._key = key
        self._reason = reason
        self._source = f"{database.name}#{table}"
        self._ours = self._find(named)

    def _find(self, named: str | None) -> Table:
        """Return the table that follows; it is created where there is none."""
        db = self._workspace.views.database()
        known = [t for _, stream in records.sources(db, self._source) for t in records.tables(db, stream=stream)]
        if known:
            if named not in (None, known[0].name):
                raise UsageError(f"{self._table} is captured as {known[0].name} already", hint="Leave the name out.")
            return known[0]
        name = named or self._table.rpartition(".")[2]
        description = self._database.describe(self._table, self._key)
        same = records.tables(db, name)
        if same:
            # A capture that was stopped before its first rows were recorded goes on; anything else is another table.
            if lines.own_log(self._workspace, same[0]).size == 0 and _names(self._workspace, same[0]) == [
                column.name for column in description.columns
            ]:
                return same[0]
            raise UsageError(f"there is a table {name} already", hint="Give another name with --as.")
        columns = [(column.name, column.type) for column in description.columns]
        return changes.create(self._workspace, name, description.key, columns, reason=self._reason)

    def catch_up(self, *, compare: bool, mend: bool) -> CapturedTable:
        """Record what is new, until there is nothing more."""
        done: list[ChangeSet] = []
        problems: Sequence[str] = ()
        differs: int | None = None
        while True:
            position = self._position()
            try:
                with self._database.read(self._table, position, key=self._key, limit=_AT_ONCE) as reading:
                    self._follow_columns(reading.description)
                    problems = reading.problems
                    if position is None:
                        done.append(self._bring_in(reading, position, "capture: where it begins"))
                    else:
                        done.append(self._record(reading, position))
                        if reading.is_whole and compare:
                            differs = self._compare(reading, mend=mend, done=done)
                    is_whole = reading.is_whole
            except feeds.PutBackError:
                if not mend:
                    raise
                with self._database.read(self._table, None, key=self._key, limit=_AT_ONCE) as reading:
                    done.append(self._bring_in(reading, position, _COMPARED))
                    is_whole = True
            came_to = self._position()
            self._database.forget(self._table, came_to)
            if is_whole:
                break
        return CapturedTable(
            table=self._table,
            reference=done[-1].reference,
            creates=sum(change.creates for change in done),
            updates=sum(change.updates for change in done),
            deletes=sum(change.deletes for change in done),
            amiss=sum(change.amiss for change in done),
            differs=differs,
            mended=mend and bool(differs),
            problems=tuple(problems),
        )

    def _position(self) -> Any:
        log = lines.own_log(self._workspace, self._ours)
        return records.position(self._workspace.views.database(), self._ours.stream, log.branch, self._source)

    def _record(self, reading: feeds.Reading, position: object) -> ChangeSet:
        found = [_change(change, reading.description.key) for change in reading.changes]
        how = How(verb="capture", reason=self._reason)
        source = Source(name=self._source, after=position, position=reading.position)
        return changes.append(self._workspace, self._ours, found, how, source=source)

    def _bring_in(self, reading: feeds.Reading, position: object, statement: str) -> ChangeSet:
        how = How(verb="capture", reason=self._reason, statement=statement)
        source = Source(name=self._source, after=position, position=reading.position)
        return changes.bring_to(
            self._workspace, self._ours, self._rows(reading), how, called=self._table, source=source
        )

    def _rows(self, reading: feeds.Reading) -> Any:
        """Return all rows of the database's table as an Arrow table. Memory: the table, twice."""
        import pyarrow as pa  # 57 ms

        log = lines.own_log(self._workspace, self._ours)
        columns = lines.columns_at(self._workspace.views.database(), log)
        rows = list(reading.rows())
        return pa.table(
            {
                column.name: changes.column_of(
                    [row.get(column.name) for row in rows], column.type, f"{self._table}, column {column.name}"
                )
                for column in columns
            }
        )

    def _compare(self, reading: feeds.Reading, *, mend: bool, done: list[ChangeSet]) -> int:
        """Return how many records are other ones there than here, and record them if that is asked for."""
        rows = self._rows(reading)
        if mend:
            made = changes.bring_to(
                self._workspace,
                self._ours,
                rows,
                How(verb="capture", reason=self._reason, statement=_COMPARED),
                called=self._table,
                source=Source(name=self._source, after=self._position(), position=self._position()),
            )
            done.append(made)
            return made.creates + made.updates + made.deletes
        return changes.differing(self._workspace, self._ours, rows, called=self._table)

    def _follow_columns(self, description: Description) -> None:
        names = _names(self._workspace, self._ours)
        there = [column.name for column in description.columns]
        if sorted(names) != sorted(there):
            gone = ", ".join(sorted(set(names) - set(there))) or "none"
            new = ", ".join(sorted(set(there) - set(names))) or "none"
            raise NotCapturableError(
                f"the columns of {self._table} have changed: {new} new, {gone} gone",
                hint=f"Change those of {self._ours.name} alike: `retrodict table alter {self._ours.name}`.",
            )


def _names(workspace: Workspace, table: Table) -> list[str]:
    log = lines.own_log(workspace, table)
    return [column.name for column in lines.columns_at(workspace.views.database(), log)]


def _change(change: feeds.Change, key: Sequence[str]) -> Change:
    """Return a change of a database's as one of ours."""
    how = " ".join(filter(None, (change.application and f"[{change.application}]", change.statement))) or None
    before: Mapping[str, object] = change.before or {}
    return Change(
        op=change.op,
        values=change.after or {},
        key={name: before[name] for name in key} if before else {},
        at=change.at,
        who=change.who or change.user,
        why=change.reason,
        how=how,
        tx=change.transaction,
    )


__all__ = ["Captured", "CapturedSources", "CapturedTable", "Planned", "catch_up", "open_database", "plan", "sources"]
