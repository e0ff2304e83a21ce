"""A table of PostgreSQL, SQLite or DuckDB is pinned by a digest over its rows; they are kept where that is asked."""

from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path

import duckdb
import psycopg
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import Command, project, retrodict
from tests.databases.conftest import new_database, server, url

from retrodict.objects import digest_of

__all__ = ["new_database", "project", "retrodict", "server", "url"]  # fixtures


@pytest.fixture(autouse=True)
def _workspace(retrodict: Command) -> None:
    assert retrodict("init").code == 0


def test_the_digest_of_a_postgresql_table_is_that_of_what_copy_writes(retrodict: Command, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            'CREATE TABLE loans (name text COLLATE "en-x-icu", id int, amount numeric(10,2), at timestamptz, '
            "raw bytea, PRIMARY KEY (name, id))"
        )
        connection.execute(
            "INSERT INTO loans VALUES ('b', 1, 10.50, '2026-01-01 12:00+02', '\\x00ff'), ('a', 2, NULL, NULL, NULL), "
            "('B', 3, 1, 'infinity', ''), (E'tab\\tline\\nback\\\\', 4, 'NaN', NULL, NULL)"
        )
    made = retrodict("attach", url, "--table", "loans", "--json").record
    (row,) = made["versions"]
    query = 'COPY (SELECT * FROM loans ORDER BY name COLLATE "C", id) TO STDOUT'
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone = 'UTC'")
        with connection.cursor().copy(query) as copy:
            copied = b"".join(bytes(block) for block in copy)
    assert (row["rows"], row["digest"]) == (4, digest_of(copied))
    assert (made["format"], made["table"], made["is_kept"]) == ("postgresql", "public.loans", False)
    assert retrodict("attach", "loans", "--json").record["versions"] == []
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE loans SET amount = 11 WHERE name = 'b'")
    (again,) = retrodict("attach", url, "--table", "loans", "--json").record["versions"]
    assert again["says"] == ["other rows, as many as before"]
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE loans ADD COLUMN grade int")
        connection.execute("DELETE FROM loans WHERE name = 'b'")
    (last,) = retrodict("attach", "loans", "--json").record["versions"]
    assert last["says"] == ["4 -> 3 rows", "column grade added"]
    diff = retrodict("diff", "loans@v1", "loans@v3", "--json").record
    assert (diff["is_changed"], diff["table"]) == (True, ["4 -> 3 rows", "column grade added"])
    assert "not kept" in retrodict("cat", "loans").err


def test_what_is_kept_of_postgresql_can_be_compared_row_by_row(project: Path, retrodict: Command, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE loans (id int PRIMARY KEY, amount float8, day date, tags text[])")
        connection.execute("INSERT INTO loans SELECT i, i / 4.0, '2026-01-01', ARRAY['x'] FROM generate_series(1, 5) i")
    retrodict("attach", url, "--table", "loans", "--keep")
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE loans SET amount = 9 WHERE id = 3")
        connection.execute("DELETE FROM loans WHERE id = 1")
    record = retrodict("attach", "loans", "--json").record
    assert record["is_kept"]
    (file,) = retrodict("diff", "loans@v1", "loans@v2", "--json").record["files"]
    assert (file["table"]["rows_before"], file["table"]["rows_after"]) == (5, 4)
    assert {(tuple(row["key"]), row["change"]) for row in file["table"]["shown"]} == {
        (("1",), "removed"),
        (("3",), "changed"),
    }
    retrodict("checkout", "loans@v2/public.loans.parquet", "kept.parquet")
    assert pq.read_table(project / "kept.parquet")["amount"].to_pylist() == [0.5, 9.0, 1.0, 1.25]
    assert "secret" not in retrodict("history", "loans").out
    assert retrodict("verify").code == 0


def test_a_password_is_kept_nowhere(project: Path, retrodict: Command, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with_secret = url.replace("postgres@", "postgres:hunter2@") + "&password=hunter2"
    assert retrodict("attach", with_secret, "--table", "t").code == 0
    assert "hunter2" not in retrodict("history", "t").out
    assert retrodict("attach", url, "--table", "t", "--json").record["versions"] == []


def test_the_digest_of_an_sqlite_table_is_that_of_its_literals(project: Path, retrodict: Command) -> None:
    with sqlite3.connect(project / "app.db") as database:
        database.execute("CREATE TABLE loans (id INTEGER PRIMARY KEY, amount REAL, note TEXT, raw BLOB)")
        rows = [(2, 0.1, "it's\ta\\b", b"\x00\xff"), (1, None, "1", None)]
        database.executemany("INSERT INTO loans VALUES (?, ?, ?, ?)", rows)
    database.close()
    (row,) = retrodict("attach", "app.db", "--table", "loans", "--json").record["versions"]
    expected = b"1\t\\N\t'1'\t\\N\n2\t0.1\t'it''s\\ta\\\\b'\tX'00FF'\n"
    assert (row["rows"], row["digest"]) == (2, digest_of(expected))
    with sqlite3.connect(project / "app.db") as database:
        database.execute("UPDATE loans SET note = 1 WHERE id = 1")  # another type would be another value
        database.execute("INSERT INTO loans VALUES (3, 3, 'x', NULL)")
    database.close()
    (row,) = retrodict("attach", "loans", "--keep", "--json").record["versions"]
    assert row["says"] == ["2 -> 3 rows"]
    assert "app.db" in retrodict("history", "loans").out


def test_the_digest_of_a_duckdb_table_is_that_of_its_texts(project: Path, retrodict: Command) -> None:
    with duckdb.connect(str(project / "app.duckdb")) as database:
        database.execute("CREATE TABLE loans (id INTEGER, amount DECIMAL(9, 2), parts INTEGER[], moment TIMESTAMPTZ)")
        database.execute("INSERT INTO loans VALUES (2, 1.5, [1, 2], '2026-01-01 12:00+02'), (1, NULL, NULL, NULL)")
    assert "no primary key" in retrodict("attach", "app.duckdb", "--table", "loans").err
    made = retrodict("attach", "app.duckdb", "--table", "loans", "--key", "id", "--keep", "--json").record
    expected = b"1\t\\N\t\\N\t\\N\n2\t1.50\t[1, 2]\t2026-01-01 10:00:00+00\n"
    assert (made["format"], made["versions"][0]["digest"]) == ("duckdb", digest_of(expected))
    assert retrodict("attach", "loans", "--json").record["versions"] == []
    with duckdb.connect(str(project / "app.duckdb")) as database:
        database.execute("INSERT INTO loans VALUES (2, 7, NULL, NULL)")
    assert "rows of" in retrodict("attach", "loans").err


def test_what_is_no_table_of_a_database_is_refused(project: Path, retrodict: Command) -> None:
    with sqlite3.connect(project / "app.db") as database:
        database.execute("CREATE TABLE loans (id INTEGER PRIMARY KEY)")
    database.close()
    assert "--table" in retrodict("attach", "app.db").err
    assert "has no table lones" in retrodict("attach", "app.db", "--table", "lones").err
    (project / "text.db").write_text("no database")
    assert "no database whose tables" in retrodict("attach", "text.db", "--table", "loans").err


@pytest.mark.parametrize("tool", ["b3sum"])
def test_psql_and_b3sum_give_the_same_digest(retrodict: Command, url: str, tool: str) -> None:
    for program in ("psql", tool):
        if subprocess.run(["which", program], capture_output=True, check=False).returncode:
            pytest.skip(f"no {program} here")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
        connection.execute("INSERT INTO t VALUES (2, 'zwei'), (1, NULL)")
    (row,) = retrodict("attach", url, "--table", "t", "--json").record["versions"]
    psql = subprocess.run(
        ["psql", url, "-qc", "COPY (SELECT * FROM t ORDER BY id) TO STDOUT"], capture_output=True, check=True
    )
    digest = subprocess.run([tool, "--no-names"], input=psql.stdout, capture_output=True, check=True).stdout
    assert row["digest"] == f"b3-{digest.decode().strip()}"
