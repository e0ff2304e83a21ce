"""`capture db`: what other programs changed becomes history, and the folded history is their table."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from tests.cli.conftest import Command, Outcome

LOANS = "CREATE TABLE loans (id int PRIMARY KEY, customer text, amount numeric(10, 2))"


@pytest.fixture
def run(retrodict: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Return what runs a command in a new workspace, which must end as it should."""

    def checked(*arguments: str, code: int = 0, asked: str = "") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO(asked))
        done = retrodict(*arguments)
        assert done.code == code, done
        return done

    checked("init")
    return checked


def _records(run: Callable[..., Outcome], reference: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("table", "at", reference, "--json").out)["records"]
    return found


def test_install_shows_its_sql_and_asks(run: Callable[..., Outcome], url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(LOANS)
        refused = run("capture", "db", url, "--tables", "loans", "--install", code=2, asked="n\n")
        assert "CREATE TRIGGER" in refused.out
        assert other.execute("SELECT count(*) FROM pg_trigger").fetchone() == (0,)
        run("capture", "db", url, "--tables", "loans", "--install", asked="y\n")
        assert other.execute("SELECT count(*) FROM pg_trigger").fetchone() == (2,)
        removed = run("capture", "db", url, "--tables", "loans", "--remove", "--yes")
        assert "DROP TRIGGER" in removed.out
        assert other.execute("SELECT count(*) FROM pg_trigger").fetchone() == (0,)


def test_who_when_how_and_why_become_the_history_of_a_record(run: Callable[..., Outcome], url: str) -> None:
    with psycopg.connect(url, autocommit=True, application_name="loans-desk") as other:
        other.execute(LOANS)
        other.execute("INSERT INTO loans VALUES (1, 'Ada', 230), (2, NULL, 10.5)")
        run("capture", "db", url, "--tables", "loans", "--install", "--yes")
        assert [row["id"] for row in _records(run, "loans@v1")] == [1, 2]
        other.execute("SET retrodict.who = 'ann'; SET retrodict.reason = 'the code table was wrong'")
        other.execute("UPDATE loans SET amount = 1150 WHERE id = 1")
        other.execute("DELETE FROM loans WHERE id = 2")
        told = run("capture", "db", url, "--check").out
        assert "1 changed, 1 deleted" in told
        assert "the same, record by record" in told
    (created, changed) = json.loads(run("table", "history", "loans", "1", "--json").out)["changes"]
    assert (changed["who"], changed["why"]) == ("ann", "the code table was wrong")
    assert "[loans-desk] UPDATE loans SET amount = 1150 WHERE id = 1" in changed["how"]
    assert created["op"] == "create"
    assert "loans@v2" in run("capture").out
    assert "nothing" in run("capture", "db", url).out


def test_what_was_changed_around_it_is_told_and_mended(run: Callable[..., Outcome], url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(LOANS)
        run("capture", "db", url, "--tables", "loans", "--install", "--yes")
        other.execute("INSERT INTO loans VALUES (1, 'Ada', 230)")
        other.execute("ALTER TABLE loans DISABLE TRIGGER ALL")
        other.execute("UPDATE loans SET amount = 0; INSERT INTO loans VALUES (2, 'Bob', 1)")
        told = run("capture", "db", url, "--check", code=1).out
        assert "switched off" in told
        assert "2 records differ" in told
        run("capture", "db", url, "--check", "--mend", code=1)
        assert len(_records(run, "loans")) == 2
        other.execute('ALTER TABLE loans ENABLE ALWAYS TRIGGER "!retrodict_record"')
        other.execute('ALTER TABLE loans ENABLE ALWAYS TRIGGER "!retrodict_truncated"')
        assert "the same" in run("capture", "db", url, "--check").out
    history = json.loads(run("table", "history", "loans", "2", "--json").out)["changes"]
    assert "found by comparing" in history[0]["how"]


def test_a_table_that_was_made_anew_is_told_until_it_is_captured_again(run: Callable[..., Outcome], url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(LOANS + "; CREATE TABLE cards (id int PRIMARY KEY); CREATE TABLE notes (id int PRIMARY KEY)")
        run("capture", "db", url, "--tables", "loans,cards,notes", "--install", "--yes")
        other.execute("DROP TABLE loans; " + LOANS + "; INSERT INTO loans VALUES (1, 'Ada', 230)")
        run("capture", "db", url, "--tables", "notes", "--remove", "--yes")
        told = run("capture", "db", url, "--check", code=1).out
        assert "loans" in told
        assert "made anew" in told
        assert "notes" not in told  # that one was ended on purpose
        run("capture", "db", url, "--tables", "loans", "--install", "--yes")
        assert _records(run, "loans") == [{"id": 1, "customer": "Ada", "amount": "230.00"}]
        assert "made anew" not in run("capture", "db", url, "--check").out


def test_bad_input_is_one_line(run: Callable[..., Outcome], url: str, tmp_path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE keyless (a int); CREATE TABLE loans (id int PRIMARY KEY, since timestamp)")
        other.execute("INSERT INTO loans VALUES (1, 'infinity')")
    for arguments, words in (
        ((url, "--tables", "keyless", "--install", "--yes"), "no primary key"),
        ((url, "--tables", "nothing", "--install", "--yes"), "has no table nothing"),
        ((url, "--install", "--yes"), "no table is named"),
        ((url,), "captures no table"),
        (("postgresql://127.0.0.1:1/none", "--tables", "a"), "127.0.0.1"),
        (("mysql://x/y",), "no database that can be captured"),
        ((str(tmp_path / "none.db"),), "no database that can be captured"),
        ((url, "--tables", "loans", "--install", "--yes"), "outside what is kept"),
    ):
        result = run("capture", "db", *arguments, code=2)
        assert words in (result.out + result.err), result.out
        assert "Traceback" not in result.out


def test_sqlite_is_captured_too(run: Callable[..., Outcome]) -> None:
    other = apsw.Connection("shop.db")
    other.execute("CREATE TABLE loans (id INTEGER PRIMARY KEY, customer TEXT, amount NUMERIC, scan BLOB)")
    other.execute("INSERT INTO loans VALUES (1, 'Ada', 2.5, x'00ff')")
    run("table", "create", "loans", "--key", "id")
    run("table", "put", "loans", "id=1")
    taken = run("capture", "db", "shop.db", "--tables", "loans", "--install", "--yes", code=2)
    assert "there is a table loans already" in taken.err
    assert _ours(other) == []
    run("capture", "db", "shop.db", "--tables", "loans", "--install", "--yes", "--as", "requests")
    other.execute("UPDATE retrodict_session SET who = 'ann', reason = 'asked by telephone'")
    other.execute("UPDATE loans SET amount = 7; INSERT INTO loans VALUES (2, NULL, NULL, NULL)")
    assert "the same" in run("capture", "db", "shop.db", "--check").out
    (_, change) = json.loads(run("table", "history", "requests", "1", "--json").out)["changes"]
    assert (change["who"], change["why"]) == ("ann", "asked by telephone")
    other.execute("INSERT OR REPLACE INTO loans VALUES (1, 'Bob', 1, NULL)")
    other.execute("CREATE UNIQUE INDEX one_customer ON loans (customer)")
    other.execute("INSERT OR REPLACE INTO loans VALUES (3, 'Bob', 1, NULL)")  # 1 goes, and no trigger is called
    assert "1 record differ" in run("capture", "db", "shop.db", "--check", code=1).out
    run("capture", "db", "shop.db", "--check", "--mend")
    assert [row["id"] for row in _records(run, "requests")] == [2, 3]
    for number, gone in enumerate(("insert", "update", "delete"), 1):
        other.execute(f"DROP TRIGGER retrodict_{gone}_loans")
        told = run("capture", "db", "shop.db").out
        assert told.count("is not there") == number
    removed = run("capture", "db", "shop.db", "--tables", "loans", "--remove", "--yes")
    assert "DROP TABLE" in removed.out
    assert _ours(other) == []
    other.execute("INSERT INTO loans VALUES (7, 'Eve', 1, NULL)")  # unseen; it begins again, and is compared
    run("capture", "db", "shop.db", "--tables", "loans", "--install", "--yes")
    other.execute("INSERT INTO loans VALUES (8, 'Kim', 1, NULL)")
    assert "the same" in run("capture", "db", "shop.db", "--check").out
    assert [row["id"] for row in _records(run, "requests")] == [2, 3, 7, 8]
    run("capture", "db", "shop.db", "--tables", "loans", "--remove", "--yes")
    # Somebody else's workspace began it, or one that is gone.
    other.execute("CREATE TABLE retrodict_changes_other (seq); CREATE TABLE other (id INTEGER PRIMARY KEY)")
    run("capture", "db", "shop.db", "--tables", "other", "--remove", "--yes")
    assert _ours(other) == []


def _ours(other: apsw.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE name LIKE 'retrodict%' ORDER BY 1"
    return [str(name) for (name,) in other.execute(query)]


def test_a_captured_table_about_people_is_sealed_and_forgotten(run: Callable[..., Outcome], url: str) -> None:
    planted = ("PlantedCity", "plantedcity", "planted-ann", "918273645")
    with psycopg.connect(url, autocommit=True, application_name="desk") as other:
        other.execute("CREATE TABLE visits (id int PRIMARY KEY, customer text, age bigint, city text, page text)")
        other.execute(
            "INSERT INTO visits VALUES (1, 'planted-ann', 918273645, 'PlantedCity', '/'), (2, 'bob', 3, 'b', '/')"
        )
        begin = ("capture", "db", url, "--tables", "visits", "--install", "--yes")
        run(*begin, "--subject", "customer", "--personal", "age", "--personal", "city")
        other.execute("UPDATE visits SET city = 'plantedcity' WHERE customer = 'planted-ann'")
        other.execute(
            "BEGIN; UPDATE visits SET age = 4 WHERE id = 2; SAVEPOINT a; DELETE FROM visits; ROLLBACK TO a; COMMIT"
        )
        with other.cursor().copy("COPY visits FROM STDIN") as copy:
            copy.write(b"3\tplanted-ann\t918273645\t\\N\t/c\n4\tdan\t\\N\t\\N\t/d\n")
        other.execute("UPDATE visits SET id = 5 WHERE id = 3")
        assert "the same" in run("capture", "db", url, "--check").out
        there = other.execute("SELECT id, customer, age, city, page FROM visits ORDER BY id").fetchall()
        names = ("id", "customer", "age", "city", "page")
        by_id = sorted(_records(run, "visits"), key=lambda row: int(row["id"]))
        assert [tuple(row[name] for name in names) for row in by_id] == there

        def kept() -> bytes:
            files = [path for path in (Path.cwd() / ".retrodict").rglob("*") if path.is_file()]
            return b"".join(path.read_bytes() for path in files)

        assert [text for text in planted if text.encode() in kept()] == []
        changes = json.loads(run("table", "history", "visits", "1", "--json").out)["changes"]
        assert [change["op"] for change in changes] == ["create", "update"]
        assert "UPDATE" not in changes[1]["how"]  # the statement names whom it is about
        reach = run("forget", "--subject", "planted-ann", code=1, asked="n\n").out
        assert "visits: 4 changes" in reach
        assert re.search(r"captured from +postgresql://.*#public.visits", reach)
        run("forget", "--subject", "planted-ann", "--yes")
        for words in (("at", "visits"), ("at", "visits@v1"), ("history", "visits", "1"), ("blame", "visits")):
            shown = run("table", *words).out
            assert [text for text in planted if text in shown] == [], shown
            assert "erased" in shown
        assert [text for text in planted if text.encode() in kept()] == []
        run("verify")
        # The capture goes on, as with anybody who is new, and what is deleted there goes here.
        other.execute("DELETE FROM visits WHERE customer = 'planted-ann'; UPDATE visits SET city = 'c' WHERE id = 4")
        assert "the same" in run("capture", "db", url, "--check").out
        other.execute("TRUNCATE visits; INSERT INTO visits VALUES (7, 'eve', 1, 'x', '/')")
        assert "the same" in run("capture", "db", url, "--check").out
    assert [row["customer"] for row in _records(run, "visits")] == ["eve"]


def _same_as_there(run: Callable[..., Outcome], url: str, other: Any) -> None:
    told = run("capture", "db", url, "--check").out
    assert "the same, record by record" in told
    rows = other.execute("SELECT to_json(loans.*)::text FROM loans ORDER BY id").fetchall()
    assert [{name: str(value) for name, value in row.items()} for row in _records(run, "loans")] == [
        {name: str(value) for name, value in json.loads(row, parse_float=str).items()} for (row,) in rows
    ]


def test_changed_columns_are_followed(run: Callable[..., Outcome], url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(LOANS)
        other.execute("INSERT INTO loans VALUES (1, 'Ada', 230), (2, 'Bob', 5)")
        run("capture", "db", url, "--tables", "loans", "--install", "--yes")
        other.execute("UPDATE loans SET amount = 231 WHERE id = 1")
        other.execute("ALTER TABLE loans RENAME COLUMN customer TO client")
        other.execute("ALTER TABLE loans ADD COLUMN branch text DEFAULT 'north'")
        other.execute("UPDATE loans SET client = 'Eve', branch = 'south' WHERE id = 2")
        _same_as_there(run, url, other)
        (changed,) = [
            change
            for change in json.loads(run("table", "history", "loans", "2", "--json").out)["changes"]
            if "Eve" in str(change["cells"])
        ]
        assert "UPDATE loans SET client" in changed["how"]
        assert [cell["column"] for cell in changed["cells"]] == ["client", "branch"]
        other.execute("ALTER TABLE loans DROP COLUMN branch")
        other.execute("ALTER TABLE loans ALTER COLUMN amount TYPE int USING amount * 10")
        other.execute("INSERT INTO loans VALUES (3, 'Grace', 7)")
        _same_as_there(run, url, other)
        other.execute("ALTER TABLE loans RENAME COLUMN id TO number; ALTER TABLE loans RENAME COLUMN number TO id")
        assert "nothing" in run("capture", "db", url).out
    assert [row["amount"] for row in _records(run, "loans@v1")] == ["230.00", "5.00"]


def test_a_column_that_sqlite_gets_is_followed(run: Callable[..., Outcome]) -> None:
    other = apsw.Connection("shop.db")
    other.execute("CREATE TABLE loans (id INTEGER PRIMARY KEY, customer TEXT)")
    other.execute("INSERT INTO loans VALUES (1, 'Ada')")
    run("capture", "db", "shop.db", "--tables", "loans", "--install", "--yes")
    other.execute("ALTER TABLE loans ADD COLUMN amount REAL DEFAULT 2.5; UPDATE loans SET customer = 'Eve'")
    other.execute("ALTER TABLE loans RENAME COLUMN customer TO client")
    assert "the same" in run("capture", "db", "shop.db", "--check").out
    other.execute("UPDATE loans SET amount = 7; INSERT INTO loans VALUES (2, 'Bob', 1)")
    assert "the same" in run("capture", "db", "shop.db", "--check").out
    assert _records(run, "loans") == [
        {"id": 1, "client": "Eve", "amount": 7.0},
        {"id": 2, "client": "Bob", "amount": 1.0},
    ]


def test_nothing_is_lost_or_doubled_while_the_capture_is_killed(
    run: Callable[..., Outcome], url: str, tmp_path: Path
) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(LOANS)
    run("capture", "db", url, "--tables", "loans", "--install", "--yes")
    stop = threading.Event()

    def work(seed: int) -> None:
        rng = random.Random(seed)
        with psycopg.connect(url, autocommit=True) as mine:
            while not stop.is_set():
                mine.execute(
                    "INSERT INTO loans VALUES (%s, 'x', %s) ON CONFLICT (id) DO UPDATE SET amount = loans.amount + 1",
                    (rng.randint(1, 40), seed),
                )
                if rng.random() < 0.2:
                    mine.execute("DELETE FROM loans WHERE id = %s", (rng.randint(1, 40),))
                time.sleep(0.002)

    writers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    command = [sys.executable, "-m", "retrodict", "capture", "db", url, "--follow", "--every", "0.1s"]
    rng = random.Random(5)
    try:
        for _ in range(6):
            process = subprocess.Popen(command, cwd=os.getcwd(), stdout=subprocess.DEVNULL)
            time.sleep(0.6 + rng.random())
            process.send_signal(signal.SIGKILL)
            process.wait()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    told = run("capture", "db", url, "--check").out
    assert "the same, record by record" in told
    assert "did not fit" not in told
    with psycopg.connect(url) as other:
        rows = other.execute("SELECT id, amount::text FROM loans ORDER BY id").fetchall()
        assert other.execute("SELECT count(*) FROM retrodict.changes").fetchone() == (0,)
    assert sorted((row["id"], row["amount"]) for row in _records(run, "loans")) == rows
    run("verify")


def test_every_command_of_the_page_works(run: Callable[..., Outcome], url: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "databases.md").read_text()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(f"{LOANS}; CREATE TABLE customers (id int PRIMARY KEY)")
        other.execute("INSERT INTO loans VALUES (703, 'Ada', 230), (1003, 'Bob', 5)")
        commands = [line[2:] for line in page.splitlines() if line.startswith("$ ")]
        assert len(commands) == 5
        for command in commands:
            words = shlex.split(command.replace("postgresql://app@db/shop", f"'{url}'"))
            if "--follow" in words:
                (spoken,) = re.findall(r"```sql\n(SET .*?)```", page, re.DOTALL)
                other.execute(spoken)
                process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True)
                assert process.stdout is not None
                while "changed" not in process.stdout.readline():
                    assert process.poll() is None
                process.terminate()
                process.wait()
            else:
                run(*words[1:], *(["--yes"] if {"--install", "--remove"} & set(words) else []))
    (_, change) = json.loads(run("table", "history", "loans", "703", "--json").out)["changes"]
    assert (change["who"], change["why"]) == ("ann@example.org", "the code table was wrong")
