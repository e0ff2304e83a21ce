"""DuckDB: a table of a file, read whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from retrodict.databases.feed import (
    Column,
    DatabaseError,
    Description,
    NotCapturableError,
    Row,
    Whole,
    copy_line,
    refuse_repeated,
)
from retrodict.kernel.errors import MissingExtraError

_AT_ONCE = 10_000
# Values of other types are kept as their text.
_TYPES: Mapping[str, object] = {
    "BOOLEAN": "bool_",
    "TINYINT": "int8",
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "DATE": "date32",
    "TIMESTAMP": ["timestamp", "us", None],
    "BLOB": "binary",
}


class DuckDB:
    """A DuckDB database, by its file.

    Raises:
        MissingExtraError: The extra `sql` is not installed.
        DatabaseError: It cannot be opened: it is none, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            import duckdb  # an extra
        except ImportError as error:
            raise MissingExtraError("a table of DuckDB", "sql") from error
        self._error: type[Exception] = duckdb.Error
        with self._errors():
            self._db: Any = duckdb.connect(str(path), read_only=True)
            self._db.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise DatabaseError(f"{self.name}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._errors():
            found: list[tuple[Any, ...]] = self._db.execute(query, values).fetchall()
        return found

    def _stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        with self._errors():
            self._db.execute(query)
            while rows := self._db.fetchmany(_AT_ONCE):
                yield from rows

    def describe(self, table: str, key: Sequence[str] = ()) -> Description:
        """Return what a table is; SCHEMA.TABLE, or one of the schema `main`.

        Raises:
            NotCapturableError: It is none, or its rows cannot be told apart.
        """
        schema, _, plain = table.rpartition(".")
        where = "database_name = current_database() AND schema_name = ? AND table_name = ?"
        schema = schema or "main"
        columns = [
            Column(number=int(number), name=str(name), type=_TYPES.get(declared, "string"), declared=str(declared))
            for number, name, declared in self.ask(
                "SELECT column_index, column_name, data_type FROM duckdb_columns() "
                f"WHERE {where} ORDER BY column_index",
                schema,
                plain,
            )
        ]
        if not columns:
            raise NotCapturableError(f"{self.name} has no table {table}", hint="Look at the spelling.")
        primary = self.ask(
            "SELECT constraint_column_names FROM duckdb_constraints() "
            f"WHERE {where} AND constraint_type = 'PRIMARY KEY'",
            schema,
            plain,
        )
        chosen = list(key) or ([str(name) for name in primary[0][0]] if primary else [])
        unknown = sorted(set(chosen) - {column.name for column in columns})
        if unknown:
            raise NotCapturableError(f"{table} has no column {unknown[0]}", hint="Look at --key.")
        if not chosen:
            raise NotCapturableError(f"{table} has no primary key, so its rows cannot be told apart")
        return Description(name=table if "." in table else f"main.{table}", columns=columns, key=chosen)

    @contextlib.contextmanager
    def whole(self, table: str, key: Sequence[str] = ()) -> Iterator[Whole]:
        """Read a table in one snapshot; see `Readable`. The digest is of its values cast to VARCHAR."""
        description = self.describe(table, key)
        name = ".".join(_quoted(part) for part in description.name.split(".", 1))
        order = ", ".join(f"{_quoted(column)} ASC NULLS FIRST" for column in description.key)
        self.ask("BEGIN TRANSACTION")
        try:
            if key:
                refuse_repeated(self.ask, name, [_quoted(column) for column in key], key)
            texts = ", ".join(f"CAST({_quoted(column.name)} AS VARCHAR)" for column in description.columns)
            found, rows = blake3(), 0
            for values in self._stream(f"SELECT {texts} FROM {name} ORDER BY {order}"):
                found.update(copy_line(values))
                rows += 1
            names = [column.name for column in description.columns]
            columns = ", ".join(
                f"CAST({_quoted(column.name)} AS VARCHAR)" if column.type == "string" else _quoted(column.name)
                for column in description.columns
            )

            def stream() -> Iterator[Row]:
                for values in self._stream(f"SELECT {columns} FROM {name} ORDER BY {order}"):
                    yield dict(zip(names, values, strict=True))

            yield Whole(
                format="duckdb",
                description=description,
                rows=rows,
                digest=f"b3-{found.hexdigest()}",
                stream=stream,
            )
        finally:
            self.ask("ROLLBACK")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
