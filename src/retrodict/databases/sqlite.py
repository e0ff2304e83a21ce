"""SQLite: triggers write each changed row into a table beside it, in the same transaction.

SQLite has one writer at a time, so numbers are in the order of commits and a position is a number. Values are kept as
they are, with their storage class. Who and why are what a program wrote into the one row of `retrodict_session` (for
example `UPDATE retrodict_session SET who = 'ann', reason = '...'`) when the change was made.

HAZARD: `INSERT OR REPLACE` deletes rows without calling a delete trigger (unless `PRAGMA recursive_triggers` is on).
That the row with the same key was replaced by the one that was inserted is known; a row that goes because another
unique column is equal is found only by counting rows or comparing them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import apsw
from blake3 import blake3

from retrodict.databases.feed import (
    Change,
    Column,
    DatabaseError,
    Description,
    NotCapturableError,
    Op,
    PutBackError,
    Reading,
    Row,
    Whole,
    copy_line,
    refuse_repeated,
)

_BUSY_MS = 30_000
_SESSION = "retrodict_session"
_OPS: Mapping[str, Op] = {"INSERT": "create", "UPDATE": "update", "DELETE": "delete"}
_CLASSES: Mapping[str, tuple[type, ...]] = {"int64": (int,), "float64": (float, int), "binary": (bytes,)}


def _affinity(declared: str) -> str:
    """Return the type in which a column is kept. Source: https://www.sqlite.org/datatype3.html, section 3.1."""
    words = declared.upper()
    if "INT" in words:
        return "int64"
    if any(word in words for word in ("CHAR", "CLOB", "TEXT")):
        return "string"
    if "BLOB" in words or not words:
        return "binary" if words else "string"
    return "float64" if any(word in words for word in ("REAL", "FLOA", "DOUB")) else "string"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_HEAD = ("seq", "op", "at", "who", "application", "reason")


def _places(columns: int) -> list[str]:
    """Return the columns in which a change keeps a row before and after it."""
    return [f"{side}{number}" for side in ("before", "after") for number in range(1, columns + 1)]


def _changes_table(table: str) -> str:
    return f"retrodict_changes_{table}"


class SQLite:
    """An SQLite database, by its file.

    Raises:
        DatabaseError: It cannot be opened.
    """

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self.name = path.name
        flags = apsw.SQLITE_OPEN_READONLY if is_read_only else apsw.SQLITE_OPEN_READWRITE
        try:
            self._db = apsw.Connection(str(path), flags=flags)
            self._db.set_busy_timeout(_BUSY_MS)
            self._db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except apsw.Error as error:
            raise DatabaseError(f"{path} cannot be opened as an SQLite database: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise DatabaseError(f"{self.name}: {error}") from error

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._errors():
            return cast("list[tuple[Any, ...]]", self._db.execute(query, values).fetchall())

    def stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query without holding them all."""
        with self._errors():
            yield from cast("Iterator[tuple[Any, ...]]", self._db.execute(query))

    def _columns(self, table: str) -> list[tuple[str, str, int]]:
        """Return (name, declared type, place in the primary key or 0) of the columns; none where there is no table."""
        query = "SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid"
        return [(str(name), str(declared), int(place)) for name, declared, place in self.ask(query, table)]

    def describe(self, table: str, key: Sequence[str] = ()) -> Description:
        """Return what a table is; see `Database`."""
        found = self.ask("SELECT type FROM sqlite_schema WHERE name = ? COLLATE NOCASE", table)
        if not found or found[0][0] not in ("table", "view"):
            raise NotCapturableError(f"{self.name} has no table {table}", hint="Look at the spelling.")
        if found[0][0] == "view":
            raise NotCapturableError(f"{table} is a view", hint="Capture the tables that it reads.")
        columns = self._columns(table)
        chosen = list(key) or [name for name, _, place in sorted(columns, key=lambda column: column[2]) if place]
        unknown = sorted(set(chosen) - {name for name, _, _ in columns})
        if unknown:
            raise NotCapturableError(f"{table} has no column {unknown[0]}", hint="Look at --key.")
        if not chosen:
            raise NotCapturableError(f"{table} has no primary key, so its rows cannot be told apart")
        return Description(
            name=table,
            columns=[
                Column(number=number, name=name, type=_affinity(declared), declared=declared)
                for number, (name, declared, _) in enumerate(columns, 1)
            ],
            key=chosen,
        )

    # What is put into the database

    def captured(self) -> list[str]:
        """Return the tables that have something of ours: one of its triggers may be gone."""
        query = (
            "SELECT DISTINCT t.name FROM sqlite_schema t JOIN sqlite_schema ours ON ours.name IN "
            "('retrodict_changes_' || t.name, 'retrodict_insert_' || t.name, 'retrodict_update_' || t.name, "
            "'retrodict_delete_' || t.name) WHERE t.type = 'table' ORDER BY 1"
        )
        return [str(name) for (name,) in self.ask(query)]

    def install_sql(self, tables: Sequence[str]) -> list[str]:
        """Return the statements that begin to capture tables."""
        there = set(self.captured())
        new = [table for table in tables if self._columns(table) and table not in there]
        statements = []
        if new:
            columns_of_session = "one INTEGER PRIMARY KEY CHECK (one = 1), who TEXT, application TEXT, reason TEXT"
            statements += [
                f"CREATE TABLE IF NOT EXISTS {_SESSION} ({columns_of_session})",
                f"INSERT OR IGNORE INTO {_SESSION} (one) VALUES (1)",
            ]
        for table in new:
            kept = _quoted(_changes_table(table))
            places = ", ".join(_places(len(self._columns(table))))
            statements.append(
                f"CREATE TABLE {kept} (seq INTEGER PRIMARY KEY AUTOINCREMENT, op TEXT NOT NULL, at TEXT NOT NULL, "
                f"who TEXT, application TEXT, reason TEXT, {places})"
            )
            statements += self._triggers(table)
        return statements

    def _triggers(self, table: str) -> list[str]:
        columns = [name for name, _, _ in self._columns(table)]
        statements = []
        for op in _OPS:
            sides = [
                f"{side}.{_quoted(name)}" if op != missing else "NULL"
                for side, missing in (("OLD", "INSERT"), ("NEW", "DELETE"))
                for name in columns
            ]
            statements.append(
                f"CREATE TRIGGER {_quoted(f'retrodict_{op.lower()}_{table}')} AFTER {op} ON {_quoted(table)} BEGIN "
                f"INSERT INTO {_quoted(_changes_table(table))} "
                f"(op, at, who, application, reason, {', '.join(_places(len(columns)))}) "
                f"SELECT '{op}', strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'), who, application, reason, "
                f"{', '.join(sides)} FROM {_SESSION}; END"
            )
        return statements

    def _renew(self, table: str, width: int, columns: int) -> None:
        """Let the triggers know columns that were added since they were made."""
        kept = _quoted(_changes_table(table))
        for number in range(width + 1, columns + 1):
            for side in ("before", "after"):
                self._db.execute(f"ALTER TABLE {kept} ADD COLUMN {side}{number}")
        for op in _OPS:
            self._db.execute(f"DROP TRIGGER IF EXISTS {_quoted(f'retrodict_{op.lower()}_{table}')}")
        for statement in self._triggers(table):
            self._db.execute(statement)

    def remove_sql(self, tables: Sequence[str]) -> list[str]:
        """Return the statements that take the capture of tables out again."""
        there = self.captured()
        gone = [table for table in tables if table in there]
        statements = []
        for table in gone:
            statements += [f"DROP TRIGGER IF EXISTS {_quoted(f'retrodict_{op.lower()}_{table}')}" for op in _OPS]
            statements.append(f"DROP TABLE IF EXISTS {_quoted(_changes_table(table))}")
        if gone and len(gone) == len(there):
            statements.append(f"DROP TABLE IF EXISTS {_SESSION}")
        return statements

    def execute(self, statements: Sequence[str]) -> None:
        """Execute statements, all or none."""
        with self._errors(), self._db:
            for statement in statements:
                self._db.execute(statement)

    # Reading

    @contextlib.contextmanager
    def read(
        self, table: str, position: Mapping[str, object] | None, *, key: Sequence[str] = (), limit: int
    ) -> Iterator[Reading]:
        """Read a table at this instant; see `Database`. A position is {"seq"}: the last change that is done."""
        description = self.describe(table, key)
        kept = _changes_table(table)
        with self._errors(), self._db:
            last = self.ask("SELECT seq FROM sqlite_sequence WHERE name = ?", kept)
            last_seq = int(last[0][0]) if last else 0
            done = last_seq if position is None else int(cast("int", position["seq"]))
            if done > last_seq:
                raise PutBackError(
                    f"{self.name} is in a state before the one that was captured last: a backup was restored"
                )
            problems = self._problems(description)
            columns = len(description.columns)
            width = (len(self._columns(kept)) - len(_HEAD)) // 2
            if not problems and width < columns:
                self._renew(table, width, columns)
                width = columns
            selected = ", ".join((*_HEAD, *_places(width)))
            query = f"SELECT {selected} FROM {_quoted(kept)} WHERE seq > ? ORDER BY seq LIMIT ?"
            found = self.ask(query, done, limit) if done < last_seq else []
            changes = [_change(description.name, description.columns[:width], row, width) for row in found]
            seq = found[-1][0] if len(found) == limit else last_seq
            name = _quoted(description.name)

            def rows() -> Iterator[Row]:
                names = ", ".join(_quoted(column.name) for column in description.columns)
                for values in self.stream(f"SELECT {names} FROM {name}"):
                    yield _row(description.name, description.columns, values)

            yield Reading(
                description=description,
                position={"seq": seq},
                is_whole=seq == last_seq,
                problems=problems,
                changes=changes,
                positions=[{"seq": row[0]} for row in found],
                count=lambda: int(self.ask(f"SELECT count(*) FROM {name}")[0][0]),
                rows=rows,
            )

    @contextlib.contextmanager
    def whole(self, table: str, key: Sequence[str] = ()) -> Iterator[Whole]:
        """Read a table in one snapshot; see `Readable`. The digest is of its values as SQL writes them."""
        with self._errors(), self._db:
            description = self.describe(table, key)
            name, order = _quoted(table), ", ".join(f"{_quoted(one)} COLLATE BINARY" for one in description.key)
            if key:
                refuse_repeated(self.ask, name, [f"{_quoted(column)} COLLATE BINARY" for column in key], key)
            columns = ", ".join(_quoted(column.name) for column in description.columns)
            query = f"SELECT {columns} FROM {name} ORDER BY {order}"
            found, rows = blake3(), 0
            for values in self.stream(query):
                found.update(copy_line([None if value is None else _literal(value) for value in values]))
                rows += 1
            yield Whole(
                format="sqlite",
                description=description,
                rows=rows,
                digest=f"b3-{found.hexdigest()}",
                stream=lambda: (_row(table, description.columns, values) for values in self.stream(query)),
            )

    def _problems(self, description: Description) -> list[str]:
        there = {
            str(name)
            for (name,) in self.ask(
                "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", description.name
            )
        }
        wanted = [f"retrodict_{op.lower()}_{description.name}" for op in _OPS]
        return [f"the trigger {name} is not there" for name in wanted if name not in there]

    def forget(self, table: str, position: Mapping[str, object]) -> None:
        """Delete the changes before a position: they are held elsewhere now."""
        with self._errors():
            self._db.execute(
                f"DELETE FROM {_quoted(_changes_table(table))} WHERE seq <= ?", (cast("int", position["seq"]),)
            )


def _literal(value: Any) -> str:
    """Return a value as SQL writes it; a float with the fewest digits that give it again."""
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def _row(table: str, columns: Sequence[Column], values: Sequence[Any]) -> Row:
    return {
        column.name: _value(table, column, value)
        for column, value in itertools.zip_longest(columns, values[: len(columns)])
    }


def _value(table: str, column: Column, value: Any) -> object:
    if value is None:
        return None
    allowed = _CLASSES.get(str(column.type))
    if allowed is not None:
        if isinstance(value, allowed):
            return float(cast("float", value)) if column.type == "float64" else value
    elif not isinstance(value, bytes):
        return value if isinstance(value, str) else repr(value)
    raise NotCapturableError(
        f"the column {column.name} of {table} is declared {column.declared or 'without type'} and holds {value!r:.60}",
        hint="Mend the value, or give the column the type of what it holds.",
    )


def _change(table: str, columns: Sequence[Column], row: Sequence[Any], width: int) -> Change:
    seq, op, at, who, application, reason, *values = row
    return Change(
        op=_OPS[op],
        before=None if op == "INSERT" else _row(table, columns, values[:width]),
        after=None if op == "DELETE" else _row(table, columns, values[width:]),
        at=datetime.fromisoformat(at).astimezone(UTC),
        user=None,
        who=who,
        application=application,
        statement=None,
        reason=reason,
        transaction=str(seq),
    )
