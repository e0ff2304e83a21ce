"""What a captured database says: its tables, their rows, and the changes that were made to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from retrodict.kernel.errors import UnavailableError, UsageError

Op = Literal["create", "update", "delete", "truncate"]
Row = Mapping[str, object]


class DatabaseError(UnavailableError):
    """A database does not do what was asked of it."""

    slug = "database"
    hint = "Look whether it runs, and whether this user may do that; what was captured before stays as it is."


class NotCapturableError(UsageError):
    """A table cannot be captured as it is."""

    slug = "not-capturable"
    hint = "Give it a primary key, or name the columns that identify a row: --key COLUMN."


class PutBackError(UnavailableError):
    """A database is in a state before the one that was captured last: a backup of it has been restored."""

    slug = "database-put-back"
    hint = "Compare it with what was captured: `retrodict capture db URL --check --mend`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a captured table.

    Attributes:
        number: Stays the same when the column is renamed.
        type: What its values are here, as a stream's schema writes types: "int64", ["timestamp", "us", "UTC"].
        declared: Its type as the database writes it.
    """

    number: int
    name: str
    type: object
    declared: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A table as its database has it now: its name with that of its schema, its columns, those that identify a row."""

    name: str
    columns: Sequence[Column]
    key: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of one row that was committed; or that a whole table was emptied (`truncate`, without rows).

    Attributes:
        before, after: All columns, by the names that they had then; None where there was no row.
        user: Who was logged in there.
        who, reason: What the session said of itself by `retrodict.who` and `retrodict.reason`; None: nothing.
        application: What the program calls itself; None where it does not.
        statement: What was executed, as the program sent it; None where the database does not tell.
        transaction: Its number there; changes with the same number took effect together.
    """

    op: Op
    before: Row | None
    after: Row | None
    at: datetime
    user: str | None
    who: str | None
    application: str | None
    statement: str | None
    reason: str | None
    transaction: str


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A table, read in one snapshot.

    Attributes:
        format: Whose table it is.
        rows: How many there are.
        digest: "b3-" and the BLAKE3 of `copy_line` of every row, in the order of the key.
        stream: Yields the rows in that order, from the same snapshot.
    """

    format: Literal["postgresql", "sqlite", "duckdb"]
    description: Description
    rows: int
    digest: str
    stream: Callable[[], Iterator[Row]]


class Readable(Protocol):
    """A database of which a table can be read whole.

    Attributes:
        name: As `Database` has it.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def whole(self, table: str, key: Sequence[str] = ()) -> AbstractContextManager[Whole]:
        """Read a table in one snapshot; nothing is put into the database.

        Args:
            key: Columns that tell its rows apart; none: those of its primary key.

        Raises:
            NotCapturableError: There is no such table, or its rows cannot be told apart.
        """
        ...

    def close(self) -> None: ...  # noqa: D102


def refuse_repeated(
    ask: Callable[[str], Sequence[object]], table: str, columns: Sequence[str], key: Sequence[str]
) -> None:
    """Do nothing, unless rows of a table have the same key; names are quoted already in `table` and `columns`.

    Raises:
        NotCapturableError: They have.
    """
    names = ", ".join(columns)
    if ask(f"SELECT 1 FROM {table} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"):
        raise NotCapturableError(
            f"rows of {table} have the same {', '.join(key)}, so they cannot be told apart",
            hint="Name further columns: --key COLUMN.",
        )


_ESCAPES = str.maketrans({"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"})


def copy_line(values: Sequence[str | None]) -> bytes:
    r"""Return a row as PostgreSQL's `COPY` writes texts.

    Source: https://www.postgresql.org/docs/current/sql-copy.html, text format.

    >>> copy_line(["1", None, "a\tb"])
    b'1\t\\N\ta\\tb\n'
    """
    texts = ("\\N" if value is None else value.translate(_ESCAPES) for value in values)
    return ("\t".join(texts) + "\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A table at one instant: how it is described, what changed since a position, and all its rows.

    Attributes:
        position: After the changes; what the next reading goes on from.
        is_whole: Whether `changes` are all that there are: `rows` is the table after them.
        problems: What tells that changes may have been made around the capture, in words.
        positions: After each of the changes.
        count: Returns how many rows there are.
        rows: Yields them, without holding them all.
    """

    description: Description
    position: Mapping[str, object]
    is_whole: bool
    problems: Sequence[str]
    changes: Sequence[Change]
    positions: Sequence[Mapping[str, object]]
    count: Callable[[], int]
    rows: Callable[[], Iterator[Row]]


class Database(Protocol):
    """A database whose tables can be captured. Everything raises `DatabaseError` where the database refuses.

    Attributes:
        name: What it is called where it is shown: its address without what is secret.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def describe(self, table: str, key: Sequence[str] = ()) -> Description:
        """Return what a table is.

        Raises:
            NotCapturableError: It is none, or its rows cannot be told apart.
        """
        ...

    def install_sql(self, tables: Sequence[str]) -> list[str]:
        """Return the statements that begin to capture tables; none where that is done already."""
        ...

    def remove_sql(self, tables: Sequence[str]) -> list[str]:
        """Return the statements that take the capture of tables out, and with the last one whatever else was put in."""
        ...

    def execute(self, statements: Sequence[str]) -> None:
        """Execute statements, all or none."""
        ...

    def captured(self) -> list[str]:
        """Return the tables that are captured now."""
        ...

    def read(
        self, table: str, position: Mapping[str, object] | None, *, key: Sequence[str] = (), limit: int
    ) -> AbstractContextManager[Reading]:
        """Read a table at this instant.

        Args:
            position: That of the last reading; None: `changes` is empty, and `rows` is where the capture begins.
            limit: About how many changes at the most.

        Raises:
            PutBackError: The database is in a state before that position.
        """
        ...

    def forget(self, table: str, position: Mapping[str, object]) -> None:
        """Drop the changes before a position from the database: they are held elsewhere now."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
