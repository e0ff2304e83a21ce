"""Reading the changes of a database: folded onto where it began, they are the table, whatever was done to it."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrodict.databases.feed import Change, Database, NotCapturableError, PutBackError
from retrodict.databases.postgres import Postgres
from retrodict.databases.sqlite import SQLite

State = dict[str, Mapping[str, object]]


class Follower:
    """Keeps a table as a dict by what its database tells."""

    def __init__(self, database: Database, table: str, *, limit: int = 1000) -> None:
        self.database, self.table, self.limit = database, table, limit
        self.state: State = {}
        self.position: Mapping[str, object] | None = None
        self.changes: list[Change] = []
        self.catch_up()

    def catch_up(self) -> State:
        """Read until there is nothing more, and return what the table is."""
        while True:
            with self.database.read(self.table, self.position, limit=self.limit) as reading:
                if self.position is None:
                    self.state = {self._key(row, reading.description.key): row for row in reading.rows()}
                for change in reading.changes:
                    self._fold(change, reading.description.key)
                self.changes += reading.changes
                self.position = reading.position
                if reading.is_whole:
                    assert reading.count() == len(self.state)
                    return {self._key(row, reading.description.key): row for row in reading.rows()}

    def _key(self, row: Mapping[str, object], key: Sequence[str]) -> str:
        return repr([row[name] for name in key])

    def _fold(self, change: Change, key: Sequence[str]) -> None:
        if change.op == "truncate":
            self.state.clear()
        if change.before is not None:
            assert repr(self.state.pop(self._key(change.before, key))) == repr(change.before)
        if change.after is not None:
            self.state[self._key(change.after, key)] = change.after


def _same(a: State, b: State) -> bool:
    return sorted(map(repr, a.items())) == sorted(map(repr, b.items()))


EVERY_TYPE = """CREATE TABLE things (a int, b text, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, m numeric(10, 2),
  t timestamp, tz timestamptz, d date, y bytea, j json, jb jsonb, ar numeric[], u uuid, iv interval, bo bool,
  PRIMARY KEY (a, b))"""


def test_every_type_is_as_the_table_has_it(url: str) -> None:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(EVERY_TYPE)
        database.execute(database.install_sql(["things"]))
        follower = Follower(database, "things")
        other.execute("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET extra_float_digits = -3")
        row = """1, 'x"\\ü', 7, 9223372036854775807, 0.1, 0.1, 1.10, 3, '2020-11-07 12:00:00.123456',
          '2020-11-07 12:00:00+01', '0001-01-01', '\\x00ff', '{"b": 1.10,  "a": [1e400]}', '{"b": 1.10}', '{1.10,NULL}',
          '8f6b2c4e-0b64-4c0a-9b0e-3f1f6a1f2d3c', '1 day 02:03', true"""
        other.execute(f"INSERT INTO things VALUES ({row})")
        other.execute("INSERT INTO things (a, b, f8, n) VALUES (2, '', 'NaN', 'NaN'), (3, 'é', '-Infinity', 1e30)")
        there = follower.catch_up()
    assert _same(there, follower.state)
    one = follower.state[repr([1, 'x"\\ü'])]
    assert (one["m"], one["n"], one["y"], one["j"]) == ("3.00", "1.10", b"\x00\xff", '{"b": 1.10,  "a": [1e400]}')
    assert (one["ar"], one["u"], one["bo"]) == ("[1.10,null]", "8f6b2c4e-0b64-4c0a-9b0e-3f1f6a1f2d3c", True)
    assert str(one["tz"]) == "2020-11-07 11:00:00+00:00"


def test_a_change_says_who_when_how_and_why(url: str) -> None:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True, application_name="loans-desk") as other:
        other.execute("CREATE TABLE loans (id int PRIMARY KEY, amount numeric)")
        database.execute(database.install_sql(["loans"]))
        follower = Follower(database, "loans")
        other.execute("SET retrodict.reason = 'code table was wrong'; SET retrodict.who = 'ann'")
        other.execute("INSERT INTO loans VALUES (1, 230)")
        other.execute("RESET retrodict.reason; RESET retrodict.who")
        other.execute("UPDATE loans SET amount = amount + 1")
        other.execute("UPDATE loans SET amount = amount")
        follower.catch_up()
    first, second = follower.changes
    assert (first.user, first.who, first.reason) == ("postgres", "ann", "code table was wrong")
    assert first.application == "loans-desk"
    assert first.statement == "INSERT INTO loans VALUES (1, 230)"
    assert (second.op, second.who, second.reason) == ("update", None, None)
    assert (second.before, second.after) == ({"id": 1, "amount": "230"}, {"id": 1, "amount": "231"})
    assert first.at <= second.at
    assert first.transaction != second.transaction


def test_a_transaction_that_overlaps_is_neither_lost_nor_doubled(url: str) -> None:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url, autocommit=True) as two:
        one.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
        database.execute(database.install_sql(["t"]))
        follower = Follower(database, "t")
        one.execute("BEGIN")
        one.execute("INSERT INTO t VALUES (1, 1)")
        two.execute("INSERT INTO t VALUES (2, 1)")
        assert _same(follower.catch_up(), follower.state)
        assert list(follower.state) == ["[2]"]
        one.execute("UPDATE t SET v = 5 WHERE id = 2")
        one.execute("COMMIT")
        assert _same(follower.catch_up(), follower.state)
        assert len(follower.changes) == 3


def test_a_trigger_that_changes_rows_again_is_folded_in_the_right_order(url: str) -> None:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE t (id int PRIMARY KEY, v int, touched int DEFAULT 0)")
        other.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 4) i")
        other.execute("""CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF pg_trigger_depth() = 1 THEN UPDATE t SET touched = touched + 1; END IF; RETURN NULL; END $$""")
        other.execute("CREATE TRIGGER a_touch AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()")
        database.execute(database.install_sql(["t"]))
        follower = Follower(database, "t")
        other.execute("UPDATE t SET v = 7 WHERE id < 4")
        assert _same(follower.catch_up(), follower.state)


def test_what_is_no_table_or_has_no_key_is_refused(url: str, tmp_path: Path) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE keyless (a int); CREATE VIEW seen AS SELECT 1 AS a")
    lite = tmp_path / "t.db"
    apsw.Connection(str(lite)).execute("CREATE TABLE keyless (a int); CREATE VIEW seen AS SELECT 1 AS a")
    for database in (Postgres(url), SQLite(lite)):
        for table, words in (("keyless", "no primary key"), ("seen", "view|no table"), ("nothing", "no table")):
            with pytest.raises(NotCapturableError, match=words):
                database.describe(table)
        assert database.describe("keyless", ["a"]).key == ["a"]


def test_what_is_taken_out_leaves_nothing(url: str, tmp_path: Path) -> None:
    lite = tmp_path / "t.db"
    query = "SELECT type, name FROM sqlite_schema ORDER BY 1, 2"
    db = apsw.Connection(str(lite))
    db.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    there = db.execute(query).fetchall()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
        for database in (Postgres(url), SQLite(lite)):
            tables = [database.describe(name).name for name in ("a", "b")]
            database.execute(database.install_sql(tables))
            assert database.captured() == tables
            assert database.install_sql(tables) == []
            database.execute(database.remove_sql(tables[:1]))
            assert database.captured() == tables[1:]
            database.execute(database.remove_sql(tables))
            assert database.captured() == []
        assert other.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'retrodict'").fetchone() == (0,)
        assert other.execute("SELECT count(*) FROM pg_trigger").fetchone() == (0,)
    assert [row for row in db.execute(query).fetchall() if row[1] != "sqlite_sequence"] == there


def test_a_switched_off_trigger_is_told(url: str) -> None:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE t (id int PRIMARY KEY)")
        database.execute(database.install_sql(["t"]))
        follower = Follower(database, "t")
        other.execute("SET session_replication_role = replica")
        other.execute("INSERT INTO t VALUES (1)")
        assert _same(follower.catch_up(), follower.state)
        other.execute("ALTER TABLE t DISABLE TRIGGER ALL")
        with database.read("t", follower.position, limit=10) as reading:
            assert "switched off" in " ".join(reading.problems)


def test_a_database_that_was_put_back_is_told(url: str, tmp_path: Path) -> None:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE t (id int PRIMARY KEY)")
        database.execute(database.install_sql(["t"]))
    with pytest.raises(PutBackError), database.read("t", {"snapshot": "900000:900000:"}, limit=10):
        pass
    path = tmp_path / "t.db"
    apsw.Connection(str(path)).execute("CREATE TABLE t (id int PRIMARY KEY)")
    lite = SQLite(path)
    lite.execute(lite.install_sql(["t"]))
    with pytest.raises(PutBackError), lite.read("t", {"seq": 5}, limit=10):
        pass


def test_many_writers_at_once_while_it_is_followed(url: str) -> None:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
        other.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 20) i")
    database.execute(database.install_sql(["t"]))

    def work(seed: int) -> None:
        rng = random.Random(seed)
        with psycopg.connect(url, autocommit=True) as mine:
            for _ in range(60):
                try:
                    with mine.transaction():
                        for _ in range(rng.randint(1, 4)):
                            mine.execute(
                                rng.choice(
                                    (
                                        "UPDATE t SET v = v + 1 WHERE id % 20 = %(i)s",
                                        "DELETE FROM t WHERE id = %(i)s",
                                        "INSERT INTO t VALUES (%(i)s, 1) ON CONFLICT (id) DO UPDATE SET v = t.v + 10",
                                        "SELECT pg_sleep(0.002)",
                                    )
                                ).replace(" % ", " %% "),
                                {"i": rng.randint(0, 20)},
                            )
                        if rng.random() < 0.2:
                            raise psycopg.Rollback
                except psycopg.errors.DeadlockDetected:
                    pass

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    follower = Follower(database, "t", limit=7)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert _same(follower.catch_up(), follower.state)
        assert follower.position is not None
        database.forget("t", follower.position)
    for thread in threads:
        thread.join()
    assert _same(follower.catch_up(), follower.state)
    assert follower.position is not None
    with psycopg.connect(url) as other:
        database.forget("t", follower.position)
        assert other.execute("SELECT count(*) FROM retrodict.changes").fetchone() == (0,)


_KEY = st.integers(1, 5)
_STATEMENT = st.one_of(
    st.builds("INSERT INTO t (id, v) VALUES ({0}, {1}) ON CONFLICT DO NOTHING".format, _KEY, _KEY),
    st.builds("UPDATE t SET v = {1} WHERE id = {0}".format, _KEY, _KEY),
    st.builds("UPDATE t SET v = v + {0}".format, _KEY),
    st.builds(
        "UPDATE t SET id = {1} + 100 WHERE id = {0} AND NOT EXISTS (SELECT 1 FROM t WHERE id = {1} + 100)".format,
        _KEY,
        _KEY,
    ),
    st.builds("DELETE FROM t WHERE id > {0}".format, _KEY),
    st.builds(
        "INSERT INTO t (id, v) SELECT i, i FROM generate_series(1, {0}) i ON CONFLICT (id) DO UPDATE SET v = 9".format,
        _KEY,
    ),
)
_FRESH = itertools.count(1000)
_DONE_AS = st.sampled_from(("COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO SAVEPOINT s", "CATCH UP"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(_STATEMENT, _STATEMENT, _DONE_AS, st.just("TRUNCATE t"), st.just("COPY")), max_size=25))
def test_folded_it_is_the_table(followed: tuple[Postgres, Any], steps: list[str]) -> None:
    database, other = followed
    follower = Follower(database, "t", limit=4)
    other.execute("BEGIN")
    has_savepoint = is_truncated = False
    for step in steps:
        if step == "CATCH UP":
            if not is_truncated:  # nobody reads a table while a transaction that emptied it is open
                follower.catch_up()
        elif step == "COPY":
            with other.cursor().copy("COPY t (id, v) FROM STDIN") as copy:
                copy.write_row((next(_FRESH), None))
        elif step == "ROLLBACK TO SAVEPOINT s" and not has_savepoint:
            continue
        else:
            try:
                other.execute(step)
            except psycopg.errors.UniqueViolation:
                other.execute("ROLLBACK")
                step = "ROLLBACK"
            has_savepoint = has_savepoint or step == "SAVEPOINT s"
            is_truncated = is_truncated or step == "TRUNCATE t"
            if step in ("COMMIT", "ROLLBACK"):
                other.execute("BEGIN")
                has_savepoint = is_truncated = False
    other.execute("COMMIT")
    assert _same(follower.catch_up(), follower.state)


@pytest.fixture
def followed(url: str) -> Any:
    database = Postgres(url)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE t (id bigint PRIMARY KEY, v int)")
        database.execute(database.install_sql(["t"]))
        yield database, other
    database.close()


_LITE = st.one_of(
    st.builds("INSERT OR IGNORE INTO t VALUES ({0}, {1}, 1.5, x'00')".format, _KEY, _KEY),
    st.builds("INSERT OR REPLACE INTO t VALUES ({0}, {1}, 1e300, NULL)".format, _KEY, _KEY),
    st.builds("UPDATE t SET v = v || {0}".format, _KEY),
    st.builds("UPDATE OR REPLACE t SET id = {1} WHERE id = {0}".format, _KEY, _KEY),
    st.builds("DELETE FROM t WHERE id > {0}".format, _KEY),
    st.sampled_from(("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO s", "CATCH UP")),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(_LITE, max_size=25))
def test_folded_sqlite_is_the_table(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    path = tmp_path_factory.mktemp("lite") / "t.db"
    other = apsw.Connection(str(path))
    other.execute("PRAGMA synchronous = OFF; PRAGMA recursive_triggers = ON")
    other.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, r REAL, b BLOB)")
    database = SQLite(path)
    database.execute(database.install_sql(["t"]))
    follower = Follower(database, "t", limit=4)
    for step in steps:
        try:
            if step == "CATCH UP":
                if not other.in_transaction:
                    follower.catch_up()
            else:
                other.execute(step)
        except apsw.SQLError:
            pass  # no such savepoint; no transaction is active
    if other.in_transaction:
        other.execute("COMMIT")
    assert _same(follower.catch_up(), follower.state)
