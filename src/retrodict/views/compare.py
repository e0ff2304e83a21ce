"""Rows as bytes: the digest of a view, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, cast

import apsw

_RANK = {"null": 0, "integer": 1, "real": 1, "text": 2, "blob": 3}  # SQLite's order between types

Cell = tuple[str, object]  # its type in SQLite; text as bytes, since damaged text is not always UTF-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: its primary key, and all of it as type-tagged bytes."""

    key: tuple[Cell, ...]
    data: bytes

    @property
    def order(self) -> tuple[tuple[int, object], ...]:
        """SQLite's order of keys."""
        return tuple((_RANK[kind], value) for kind, value in self.key)

    @property
    def label(self) -> str:
        """The key as people read it."""
        return ", ".join(_shown(cell) for cell in self.key)


def _shown(cell: Cell) -> str:
    match cell:
        case "text", bytes() as value:
            return value.decode("utf-8", "replace")
        case "blob", bytes() as value:
            return value.hex()
        case _, value:
            return str(value)


def _tagged(cell: Cell) -> bytes:
    match cell:
        case _, bytes() as value:
            body = value
        case "real", value:
            body = cast("float", value).hex().encode()
        case _, value:
            body = str(value).encode()
    return b"%b %d:%b" % (cell[0].encode(), len(body), body)


def rows(db: apsw.Connection, table: str) -> Iterator[Row]:
    """Yield the rows of a table by primary key."""
    columns: list[Any] = db.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    key = sorted((pk, position, name) for position, (name, pk) in enumerate(columns) if pk)
    cells = ", ".join(
        f"typeof({c}), CASE typeof({c}) WHEN 'text' THEN CAST({c} AS BLOB) ELSE {c} END"
        for c in _quoted([name for name, _ in columns])
    )
    order = ", ".join(_quoted([name for _, _, name in key]))
    for values in db.execute(f"SELECT {cells} FROM {table} ORDER BY {order}"):  # noqa: S608 - names from the schema
        row = cast("list[Cell]", list(zip(values[::2], values[1::2], strict=True)))
        yield Row(key=tuple(row[position] for _, position, _ in key), data=b"".join(map(_tagged, row)))


def _quoted(columns: Sequence[str]) -> list[str]:
    return ['"' + name.replace('"', '""') + '"' for name in columns]


def digest(db: apsw.Connection, tables: Sequence[str]) -> str:
    """Return SHA-256 over every row of every table, in the order of names and primary keys."""
    state = sha256()
    for table in sorted(tables):
        state.update(f"{table}\n".encode())
        for row in rows(db, table):
            state.update(b"%d:%b" % (len(row.data), row.data))
    return state.hexdigest()


def differences(held: Iterator[Row], true: Iterator[Row]) -> Iterator[tuple[str, Row]]:
    """Yield what is wrong with the rows that are held: ("altered" | "missing" | "extra", row)."""
    ours, theirs = next(held, None), next(true, None)
    while ours is not None or theirs is not None:
        if theirs is None or (ours is not None and ours.order < theirs.order):
            assert ours is not None
            yield "extra", ours
            ours = next(held, None)
        elif ours is None or theirs.order < ours.order:
            yield "missing", theirs
            theirs = next(true, None)
        else:
            if ours.data != theirs.data:
                yield "altered", theirs
            ours, theirs = next(held, None), next(true, None)
