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

from retrodict import streams
from retrodict.actions.table_alter import alter
from retrodict.databases import Database, Description
from retrodict.databases import feed as feeds
from retrodict.kernel.errors import UsageError
from retrodict.tables import captured, cells, creating, difference, folding, lines, queries
from retrodict.tables.changes import Change, ChangeSet, How, Source
from retrodict.tables.errors import values_unshown
from retrodict.tables.records import Column, Table
from retrodict.workspace import Workspace

_AT_ONCE = 20_000  # changes that are recorded in one piece
_COMPARED = "found by comparing with the database: it was changed around the capture"
_ALTERED = "altered"  # in a position: the columns were changed, and the whole table is still to be compared
_ALTERED_WORDS = "found by comparing with the database, after its columns were changed"
_ENDED = "ended"  # in a position: the triggers were taken out on purpose


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
    for source, table in _followed(workspace):
        version = lines.last_number(db, lines.change_log(workspace, table))
        found.append(CapturedSource(source=source, reference=f"{table.name}@v{version}"))
    return CapturedSources(rows=tuple(found))


def _followed(workspace: Workspace, source: str | None = None) -> list[tuple[str, Table]]:
    """Return what is captured from (one source), each with the table of ours that follows it."""
    db = workspace.views.database()
    return [(name, t) for name, stream in queries.sources(db, source) for t in queries.tables(db, stream=stream)]


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


def check_names(
    workspace: Workspace, database: Database, tables: Sequence[str], *, named: str | None, key: Sequence[str] = ()
) -> None:
    """Refuse a name that another table has here, before anything is put into a database.

    Raises:
        UsageError: One does.
        NotCapturableError: There is no such table in the database.
    """
    for table in tables:
        name = named or database.describe(table, key).name.rpartition(".")[2]
        same = queries.tables(workspace.views.database(), name)
        if same and not _followers(workspace, database, table, key) and lines.own_log(workspace, same[0]).size:
            raise UsageError(f"there is a table {name} already", hint="Give another name with --as.")


def is_followed(workspace: Workspace, database: Database, tables: Sequence[str], *, key: Sequence[str] = ()) -> bool:
    """Say whether a table of ours follows each of these, so that what is left of their changes has a place to go."""
    return all(_followers(workspace, database, table, key) for table in tables)


def _followers(workspace: Workspace, database: Database, table: str, key: Sequence[str]) -> Sequence[object]:
    source = f"{database.name}#{database.describe(table, key).name}"
    return queries.sources(workspace.views.database(), source)


def catch_up(
    workspace: Workspace,
    database: Database,
    tables: Sequence[str] = (),
    *,
    key: Sequence[str] = (),
    named: str | None = None,
    subject: str | None = None,
    personal: Sequence[str] = (),
    compare: bool = False,
    mend: bool = False,
    anew: bool = False,
    reason: str | None = None,
) -> Captured:
    """Record what has changed in the captured tables of a database since the last time.

    Args:
        tables: Those; none: all that are captured there.
        key: The columns that identify a row, where that is not the primary key.
        named: What the table is called here; None: as there.
        subject: The column that says whom a row is about; `personal` its other personal columns; none: all are.
        compare: Compare the whole table with ours afterwards.
        mend: Record the differences; a database that was put back is brought in anew.
        anew: The triggers are there since now: what changed since an earlier capture ended is found by comparing.

    Raises:
        NotCapturableError, DatabaseError, PutBackError: See there.
        UsageError: No table is captured there, or a name is taken.
    """
    there = database.captured()
    wanted = [database.describe(table, key).name for table in tables] or there
    lost = [] if tables else _lost(workspace, database, there)
    if named is not None and len(wanted) != 1:
        raise UsageError("one name is for one table", hint="Name one table with --tables.")
    missing = [table for table in wanted if table not in there]
    if missing or not (wanted or lost):
        raise UsageError(
            f"{database.name} captures {', '.join(there) or 'no table'}"
            + (f", not {', '.join(missing)}" if missing else ""),
            hint="Begin with `retrodict capture db URL --tables ... --install`.",
        )
    return Captured(
        database=database.name,
        tables=(
            *(
                _Capture(workspace, database, table, key, named, subject, personal, reason).catch_up(
                    compare=compare, mend=mend, anew=anew
                )
                for table in wanted
            ),
            *lost,
        ),
    )


def _lost(workspace: Workspace, database: Database, there: Sequence[str]) -> list[CapturedTable]:
    """Return what was captured, and has nothing of ours any more although nobody ended it."""
    db, found = workspace.views.database(), []
    for source, ours in _followed(workspace):
        table = source.removeprefix(f"{database.name}#")
        if table in (source, *there):
            continue
        log = lines.own_log(workspace, ours)
        position = queries.position(db, ours.stream, log.branch, source)
        if position is not None and not position.get(_ENDED):
            found.append(
                CapturedTable(
                    table=table,
                    reference=f"{ours.name}@v{lines.last_number(db, log)}",
                    creates=0,
                    updates=0,
                    deletes=0,
                    amiss=0,
                    differs=None,
                    mended=False,
                    problems=("it is gone, or was made anew without our triggers: `--install` takes it up again",),
                )
            )
    return found


def end(workspace: Workspace, database: Database, tables: Sequence[str], *, key: Sequence[str] = ()) -> None:
    """Record that tables are captured no more: their triggers were taken out."""
    for table in tables:
        source = f"{database.name}#{database.describe(table, key).name}"
        with streams.locked(workspace):
            for _, ours in _followed(workspace, source):
                log = lines.own_log(workspace, ours)
                now = queries.position(workspace.views.database(), ours.stream, log.branch, source)
                if now is not None:
                    position = {**now, _ENDED: True}
                    captured.note_position(workspace, log, Source(name=source, after=now, position=position))


class _Capture:
    """One table of a database, and the table of ours that follows it."""

    def __init__(
        self,
        workspace: Workspace,
        database: Database,
        table: str,
        key: Sequence[str],
        named: str | None,
        subject: str | None,
        personal: Sequence[str],
        reason: str | None,
    ) -> None:
        self._workspace = workspace
        self._database = database
        self._table = table
        self._key = key
        self._subject = subject
        self._personal = personal
        self._reason = reason
        self._source = f"{database.name}#{table}"
        self._ours = self._find(named)
        self._done: list[ChangeSet] = []

    def _find(self, named: str | None) -> Table:
        """Return the table that follows; it is created where there is none."""
        db = self._workspace.views.database()
        known = [table for _, table in _followed(self._workspace, self._source)]
        if known:
            if named not in (None, known[0].name):
                raise UsageError(f"{self._table} is captured as {known[0].name} already", hint="Leave the name out.")
            self._refuse_late(known[0])
            return known[0]
        name = named or self._table.rpartition(".")[2]
        description = self._database.describe(self._table, self._key)
        same = queries.tables(db, name)
        if same:
            # A capture that was stopped before its first rows were recorded goes on; anything else is another table.
            if lines.own_log(self._workspace, same[0]).size == 0 and self._is_as(same[0], description):
                self._refuse_late(same[0])
                return same[0]
            raise UsageError(f"there is a table {name} already", hint="Give another name with --as.")
        columns = [(column.name, column.type) for column in description.columns]
        return creating.create(
            self._workspace,
            name,
            description.key,
            columns,
            subject=self._subject,
            named=self._personal or None,
            reason=self._reason,
        )

    def _refuse_late(self, table: Table) -> None:
        """Refuse to call a table personal that is there and is not."""
        if self._subject is not None and table.personal is None:
            raise UsageError(
                f"{table.name} was not created with a subject, and what it holds stands in the clear",
                hint="Capture it under another name: --as NAME.",
            )

    def _is_as(self, table: Table, description: Description) -> bool:
        columns = lines.columns_at(self._workspace.views.database(), lines.own_log(self._workspace, table))
        return [column.name for column in columns] == [column.name for column in description.columns]

    def catch_up(self, *, compare: bool, mend: bool, anew: bool = False) -> CapturedTable:
        """Record what is new, until there is nothing more."""
        problems: Sequence[str] = ()
        differs: int | None = None
        while True:
            position = None if anew else self._position()
            try:
                with self._database.read(self._table, position, key=self._key, limit=_AT_ONCE) as reading:
                    problems = reading.problems
                    is_whole = reading.is_whole
                    if position is None:
                        if anew and self._position() is not None and self._alters(reading.description):
                            self._alter(reading.description)
                        self._bring_in(reading, "capture: where it begins")
                        anew = False
                        self._note_columns(reading.description)
                    else:
                        self._take_in(reading, position)
                        if is_whole and (self._position() or {}).get(_ALTERED):
                            self._bring_in(reading, _ALTERED_WORDS)
                            differs = 0 if compare else None
                        elif is_whole and compare:
                            differs = self._compare(reading, mend=mend)
            except feeds.PutBackError:
                if not mend:
                    raise
                with self._database.read(self._table, None, key=self._key, limit=_AT_ONCE) as reading:
                    self._bring_in(reading, _COMPARED)
                    is_whole = True
            self._database.forget(self._table, self._position())
            if is_whole:
                break
        return CapturedTable(
            table=self._table,
            reference=self._done[-1].reference,
            creates=sum(change.creates for change in self._done),
            updates=sum(change.updates for change in self._done),
            deletes=sum(change.deletes for change in self._done),
            amiss=sum(change.amiss for change in self._done),
            differs=differs,
            mended=mend and bool(differs),
            problems=tuple(problems),
        )

    def _position(self) -> Any:
        log = lines.own_log(self._workspace, self._ours)
        return queries.position(self._workspace.views.database(), self._ours.stream, log.branch, self._source)

    def _columns(self) -> Sequence[Column]:
        log = lines.own_log(self._workspace, self._ours)
        return lines.columns_at(self._workspace.views.database(), log)

    def _take_in(self, reading: feeds.Reading, position: Mapping[str, object]) -> None:
        """Record changes. Where the columns are other ones, those from before come first, and the table is altered."""
        found, done = reading.changes, dict(reading.position)
        marks = {_ALTERED: True} if position.get(_ALTERED) else {}
        names = {column.name for column in self._columns()}
        if self._alters(reading.description):
            before = 0
            while before < len(found) and _has(found[before], names):
                before += 1
            if before:
                self._record(found[:before], reading, position, {**reading.positions[before - 1], **marks})
                position = {**reading.positions[before - 1], **marks}
            self._alter(reading.description)
            names = {column.name for column in reading.description.columns}
            found, marks = found[before:], {_ALTERED: True}
        # What was written under columns that are neither the old nor the new ones is found by comparing.
        self._record([change for change in found if _has(change, names)], reading, position, {**done, **marks})

    def _alters(self, description: Description) -> bool:
        """Say whether the columns are other ones than those that were captured last."""
        known = self._known()
        by_id = {column.id: column for column in self._columns()}
        there = {column.number: column for column in description.columns}
        return known.keys() != there.keys() or any(
            known[number] not in by_id
            or by_id[known[number]].name != column.name
            or by_id[known[number]].type != column.type
            for number, column in there.items()
        )

    def _known(self) -> dict[int, int]:
        log = lines.own_log(self._workspace, self._ours)
        db = self._workspace.views.database()
        return queries.captured_columns(db, self._ours.stream, log.branch, self._source) or {}

    def _alter(self, description: Description) -> None:
        """Give our table the columns that the database's has now. Whoever is stopped in between does the rest again."""
        known = self._known()
        by_id = {column.id: column for column in self._columns()}
        ours = {column.name for column in by_id.values()}
        kept = {c.number: by_id[known[c.number]] for c in description.columns if known.get(c.number) in by_id}
        same = {c.name for c in description.columns if c.number not in kept and c.name in ours}
        same -= {column.name for column in kept.values()}
        rename, drop, add = {}, [], {}
        for column in description.columns:
            mine = kept.get(column.number)
            if mine is None and column.name in same:
                continue  # added by whoever was stopped
            if mine is None or mine.type != column.type:
                add[column.name] = column.type
                drop += [] if mine is None else [mine.name]
            elif mine.name != column.name:
                rename[mine.name] = column.name
        drop += sorted(ours - same - {column.name for column in kept.values()})
        if rename or drop or add:
            reason = self._reason or f"the columns of {self._table} were changed"
            alter(self._workspace, self._ours.name, add=add, drop=drop, rename=rename, reason=reason)
        self._note_columns(description)

    def _note_columns(self, description: Description) -> None:
        ids = {column.name: column.id for column in self._columns()}
        pairs = [(column.number, ids[column.name]) for column in description.columns]
        captured.follow_columns(self._workspace, self._ours, self._source, pairs)

    def _record(self, found: Sequence[feeds.Change], reading: feeds.Reading, after: object, position: object) -> None:
        key = reading.description.key
        how = How(verb="capture", reason=self._reason)
        source = Source(name=self._source, after=after, position=position)
        made = [_change(change, key) for change in found]
        self._done.append(folding.append(self._workspace, self._ours, made, how, source=source))

    def _bring_in(self, reading: feeds.Reading, statement: str) -> None:
        """Make ours as the whole of the database's table is, whatever it takes."""
        how = How(verb="capture", reason=self._reason, statement=statement)
        source = Source(name=self._source, after=self._position(), position=reading.position)
        rows = self._rows(reading)
        self._done.append(
            difference.bring_to(self._workspace, self._ours, rows, how, called=self._table, source=source)
        )

    def _rows(self, reading: feeds.Reading) -> Any:
        """Return all rows of the database's table as an Arrow table. Memory: the table, twice."""
        import pyarrow as pa  # 57 ms

        rows = list(reading.rows())
        with values_unshown(self._ours.personal is not None):
            return pa.table(
                {
                    column.name: cells.column_of(
                        [row.get(column.name) for row in rows], column.type, f"{self._table}, column {column.name}"
                    )
                    for column in self._columns()
                }
            )

    def _compare(self, reading: feeds.Reading, *, mend: bool) -> int:
        """Return how many records are other ones there than here, and record them if that is asked for."""
        if not mend:
            return difference.differing(self._workspace, self._ours, self._rows(reading), called=self._table)
        self._bring_in(reading, _COMPARED)
        made = self._done[-1]
        return made.creates + made.updates + made.deletes


def _has(change: feeds.Change, names: set[str]) -> bool:
    """Say whether a change was written when the table had these columns."""
    return all(row is None or row.keys() == names for row in (change.before, change.after))


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
