"""What a SQLite file says beside its rows: a table, a trigger or a number that nobody made is a change like any other.

No library of SQLite is imported here: whoever asks brings the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class _Cursor(Protocol):
    def fetchall(self) -> list[Any]: ...


class _Connection(Protocol):
    def execute(self, statement: str, /) -> _Cursor: ...


def describe(db: _Connection) -> dict[str, tuple[object, ...]]:
    """Return every table, index, trigger and view of a database by its name, and the two numbers in its header."""
    rows = db.execute("SELECT name, type, tbl_name, sql FROM sqlite_schema").fetchall()
    numbers = [(name, db.execute(f"PRAGMA {name}").fetchall()[0]) for name in ("application_id", "user_version")]
    return {row[0]: tuple(row[1:]) for row in rows} | dict(numbers)


def differences(held: Mapping[str, object], true: Mapping[str, object]) -> list[str]:
    """Return the names under which two descriptions differ, sorted."""
    return sorted({str(name) for name in held.keys() | true.keys() if held.get(name) != true.get(name)})
