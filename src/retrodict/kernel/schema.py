"""What a SQLite file says beside its rows: a table, a trigger or a number that nobody made is a change like any other.

No library of SQLite is imported here: whoever asks brings the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class _Cursor(Protocol):
    def fetchall(self) -> list[Any]: ...


class _Connection(Protocol):
    @property
    def filename(self) -> str: ...
    def execute(self, statement: str, /) -> _Cursor: ...
    def read(self, schema: str, which: int, offset: int, amount: int, /) -> tuple[bool, bytes]: ...


def describe(db: _Connection) -> dict[str, tuple[object, ...]]:
    """Return every table, index, trigger and view of a database by its name, and what its header says."""
    rows = db.execute("SELECT name, type, tbl_name, sql FROM sqlite_schema").fetchall()
    numbers = [(name, db.execute(f"PRAGMA {name}").fetchall()[0]) for name in ("application_id", "user_version")]
    return {row[0]: tuple(row[1:]) for row in rows} | dict(numbers) | {"write_version": (_is_written_as_read(db),)}


def _is_written_as_read(db: _Connection) -> bool:
    """Say whether the header's two versions agree: SQLite only reads a file that says it was written by a later one."""
    if not db.filename:
        return True  # in memory
    # HAZARD: through SQLite: closing a descriptor of one's own would drop the locks that this process has on the file.
    _, header = db.read("main", 0, 0, 20)
    return header[18] == header[19]


def differences(held: Mapping[str, object], true: Mapping[str, object]) -> list[str]:
    """Return the names under which two descriptions differ, sorted."""
    return sorted({str(name) for name in held.keys() | true.keys() if held.get(name) != true.get(name)})
