"""PostgreSQL (13 and later): triggers write each changed row into `retrodict.changes`, in the same transaction.

Reading without loss and without duplicates, however transactions overlap: a position is a *snapshot* (which
transactions had committed, `pg_current_snapshot`), and what is new is what the snapshot of now sees and that one did
not. A number alone would not do: a transaction that began earlier may commit later, with smaller numbers. Changes of
one row are in the order of `seq`: the row's lock lets the second of two transactions reach the trigger, and so take its
number, only after the first has committed; so a snapshot that sees the second sees the first.

Within a transaction, a trigger of somebody else that changes a row again would have its change written before the one
that caused it, if it were called before ours; so ours has a name that sorts first ("!"), and where one row's trigger
changes another row of the same statement, the changes are put in the order in which each begins where the last ended.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, cast
from urllib.parse import urlsplit

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
    refuse_repeated,
)
from retrodict.kernel.errors import MissingExtraError

# Those on which the text of a value depends, beside the time zone and the digits of floats.
_SETTINGS = (
    "client_encoding = 'UTF8'",
    "datestyle = 'ISO, YMD'",
    "intervalstyle = 'postgres'",
    "bytea_output = 'hex'",
    "lc_monetary = 'C'",
    "xmlbinary = 'base64'",
)
_TRIGGER = "!retrodict_record"
_TRUNCATED = "!retrodict_truncated"

_PREPARE = (
    "CREATE SCHEMA IF NOT EXISTS retrodict",
    """CREATE TABLE IF NOT EXISTS retrodict.changes (
  seq bigserial PRIMARY KEY, txid xid8 NOT NULL, source text NOT NULL, op "char" NOT NULL, before json, after json,
  at timestamptz NOT NULL, login text NOT NULL, application text, statement text, who text, reason text)""",
    """CREATE OR REPLACE FUNCTION retrodict.record() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET extra_float_digits = 1 AS $$
DECLARE
  before json;
  after json;
BEGIN
  IF TG_OP IN ('UPDATE', 'DELETE') THEN before := to_json(OLD); END IF;
  IF TG_OP IN ('UPDATE', 'INSERT') THEN after := to_json(NEW); END IF;
  IF TG_OP = 'UPDATE' AND before::text = after::text THEN RETURN NULL; END IF;
  INSERT INTO retrodict.changes (txid, source, op, before, after, at, login, application, statement, who, reason)
  VALUES (pg_current_xact_id(), TG_ARGV[0], left(TG_OP, 1)::"char", before, after, clock_timestamp(),
    session_user, nullif(current_setting('application_name', true), ''), current_query(),
    nullif(current_setting('retrodict.who', true), ''), nullif(current_setting('retrodict.reason', true), ''));
  RETURN NULL;
END $$""",
)
_EXTENSIONS = 20  # of a reading, to where no transaction is cut; in a database that never rests there is no such place
_OPS: Mapping[str, Op] = {"I": "create", "U": "update", "D": "delete", "T": "truncate"}

# Where the text of a value says all, and a type of ours does not hold every value of theirs, the text is kept.
_TYPES: Mapping[str, object] = {
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "oid": "int64",
    "bool": "bool_",
    "float4": "float32",
    "float8": "float64",
    "date": "date32",
    "timestamp": ["timestamp", "us", None],
    "timestamptz": ["timestamp", "us", "UTC"],
    "bytea": "binary",
}


def _readers(msgspec: Any) -> Mapping[str, Callable[[bytes], object]]:
    """Return how the JSON text of a value becomes a value, by the name of PostgreSQL's type."""
    text = msgspec.json.Decoder(str).decode

    def a_date(raw: bytes) -> object:
        try:
            return date.fromisoformat(text(raw))
        except ValueError as error:
            raise _unheld(text(raw), "date") from error

    def an_instant(raw: bytes) -> object:
        try:
            return datetime.fromisoformat(text(raw))
        except ValueError as error:
            raise _unheld(text(raw), "timestamp") from error

    return {
        **dict.fromkeys(("int2", "int4", "int8"), int),
        "oid": lambda raw: int(raw.strip(b'"')),
        "bool": lambda raw: raw == b"true",
        **dict.fromkeys(("float4", "float8"), lambda raw: float(raw.strip(b'"'))),
        "numeric": lambda raw: raw.strip(b'"').decode(),
        "date": a_date,
        **dict.fromkeys(("timestamp", "timestamptz"), an_instant),
        "bytea": lambda raw: bytes.fromhex(text(raw)[2:]),
    }


def _unheld(value: str, kind: str) -> NotCapturableError:
    return NotCapturableError(
        f"a {kind} {value!r} is outside what is kept as one (the years 1 to 9999)",
        hint="Give the column the type text, or an earlier or later bound that is a real day.",
    )


class Postgres:
    """A PostgreSQL database, by its address (`postgresql://user@host/database`).

    Raises:
        MissingExtraError: The extra `databases` is not installed.
        DatabaseError: It cannot be reached.
    """

    def __init__(self, url: str) -> None:
        try:
            import msgspec  # an extra
            import psycopg  # an extra; 90 ms
        except ImportError as error:
            raise MissingExtraError("capturing PostgreSQL", "databases") from error
        parts = urlsplit(url)
        self.name = f"postgresql://{parts.hostname or 'localhost'}{parts.path}"
        self._psycopg = psycopg
        self._raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._readers = _readers(msgspec)
        self._text = msgspec.json.Decoder(str).decode
        with self._errors():
            # The settings are those under which the trigger writes values.
            self._connection = psycopg.connect(
                url, autocommit=True, application_name="retrodict", options="-c timezone=UTC -c extra_float_digits=1"
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            words = str(error).strip().splitlines() or [type(error).__name__]
            raise DatabaseError(f"{self.name}: {words[0]}") from error

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._errors():
            return self._connection.execute(cast("Any", query), values).fetchall()

    def stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, inside a transaction, without holding them all."""
        with self._errors(), self._connection.cursor("retrodict_rows") as cursor:
            cursor.itersize = 10_000
            yield from cursor.execute(cast("Any", query))

    def quoted(self, table: str) -> str:
        """Return a table's name as a statement has it."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in table.split(".", 1))

    def _find(self, table: str) -> tuple[int, str, str]:
        """Return the identifier, the name with its schema, and the kind of a table."""
        found = self.ask(
            "SELECT c.oid, n.nspname || '.' || c.relname, c.relkind::text FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid IN (to_regclass(%s), to_regclass(%s))",
            table,
            self.quoted(table),
        )
        if not found:
            raise NotCapturableError(
                f"{self.name} has no table {table}", hint="Write it as SCHEMA.TABLE, and look at the spelling."
            )
        return cast("tuple[int, str, str]", found[0])

    def describe(self, table: str, key: Sequence[str] = ()) -> Description:
        """Return what a table is; see `Database`."""
        oid, name, kind = self._find(table)
        if kind not in "rp":
            raise NotCapturableError(
                f"{table} is no table of which triggers see every change", hint="Capture the tables that it reads."
            )
        columns = [
            Column(number=number, name=column, type=_TYPES.get(base, "string"), declared=declared)
            for number, column, base, declared in self.ask(
                "SELECT a.attnum, a.attname, t.typname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
                "JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped "
                "ORDER BY a.attnum",
                oid,
            )
        ]
        primary = [
            column
            for (column,) in self.ask(
                "SELECT a.attname FROM pg_index i "
                "CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (number, place) "
                "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
                "WHERE i.indrelid = %s AND i.indisprimary ORDER BY k.place",
                oid,
            )
        ]
        chosen = list(key) or primary
        unknown = sorted(set(chosen) - {column.name for column in columns})
        if unknown:
            raise NotCapturableError(f"{name} has no column {unknown[0]}", hint="Look at --key.")
        if not chosen:
            raise NotCapturableError(f"{name} has no primary key, so its rows cannot be told apart")
        return Description(name=name, columns=columns, key=chosen)

    # What is put into the database

    def captured(self) -> list[str]:
        """Return the tables that have a trigger of ours; the other one may be gone."""
        return [
            str(name)
            for (name,) in self.ask(
                "SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.tgname IN (%s, %s) AND t.tgparentid = 0 "
                "ORDER BY 1",
                _TRIGGER,
                _TRUNCATED,
            )
        ]

    def install_sql(self, tables: Sequence[str]) -> list[str]:
        """Return the statements that begin to capture tables."""
        names = [self._find(table)[1] for table in tables]
        there = set(self.captured())
        new = [name for name in names if name not in there]
        statements = list(_PREPARE) if new else []
        for name in new:
            table, argument = self.quoted(name), "'" + name.replace("'", "''") + "'"
            call = f"EXECUTE FUNCTION retrodict.record({argument})"
            statements += [
                f'CREATE TRIGGER "{_TRIGGER}" AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW {call}',
                f'CREATE TRIGGER "{_TRUNCATED}" AFTER TRUNCATE ON {table} FOR EACH STATEMENT {call}',
                f'ALTER TABLE {table} ENABLE ALWAYS TRIGGER "{_TRIGGER}", ENABLE ALWAYS TRIGGER "{_TRUNCATED}"',
            ]
        return statements

    def remove_sql(self, tables: Sequence[str]) -> list[str]:
        """Return the statements that take the capture of tables out again."""
        there = self.captured()
        gone = [name for _, name, _ in map(self._find, tables) if name in there]
        statements = []
        for name in gone:
            statements += [
                f'DROP TRIGGER IF EXISTS "{trigger}" ON {self.quoted(name)}' for trigger in (_TRIGGER, _TRUNCATED)
            ]
        if gone and len(gone) == len(there):
            statements.append("DROP SCHEMA retrodict CASCADE")
        return statements

    def execute(self, statements: Sequence[str]) -> None:
        """Execute statements, all or none."""
        with self._errors(), self._connection.transaction():
            for statement in statements:
                self._connection.execute(cast("Any", statement))

    # Reading

    @contextlib.contextmanager
    def read(
        self, table: str, position: Mapping[str, object] | None, *, key: Sequence[str] = (), limit: int
    ) -> Iterator[Reading]:
        """Read a table at this instant; see `Database`.

        A position is {"snapshot"}: what that snapshot sees is done; and where not all of a reading's changes fitted:
        {"snapshot", "then", "seq"}: of what the snapshot `then` sees beyond it, that up to this number is done, too.
        """
        with self._errors(), self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            now, ends = self.ask("SELECT pg_current_snapshot()::text, pg_snapshot_xmax(pg_current_snapshot())::text")[0]
            description = self.describe(table, key)
            values = self._values(description)
            changes: list[Change] = []
            positions: list[Mapping[str, object]] = []
            new: dict[str, object] = {"snapshot": now}
            if position is not None:
                done, then = str(position["snapshot"]), str(position.get("then", now))
                if max(int(text.split(":")[1]) for text in (done, then)) > int(ends):
                    raise PutBackError(
                        f"{self.name} is in a state before the one that was captured last: a backup was restored"
                    )
                found, is_all = self._found(description.name, position.get("seq", 0), then, done, limit)
                if not is_all:
                    new = {"snapshot": done, "then": then, "seq": found[-1][0]}
                elif "then" in position:
                    new = {"snapshot": then}
                changes = _in_order([self._change(row, values) for row in found], description.key)
                positions = [{"snapshot": done, "then": then, "seq": row[0]} for row in found]
            name = self.quoted(description.name)

            def rows() -> Iterator[Row]:
                for (text,) in self.stream(f"SELECT to_json(t.*)::text FROM {name} t"):
                    yield values(text)

            yield Reading(
                description=description,
                position=new,
                is_whole=new == {"snapshot": now},
                problems=self._problems(description.name),
                changes=changes,
                positions=positions,
                count=lambda: int(self.ask(f"SELECT count(*) FROM {name}")[0][0]),
                rows=rows,
            )

    def _found(self, name: str, seq: object, then: str, done: str, limit: int) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the rows of changes after a number, and whether they are all; whole transactions, if that can be."""
        where = (
            "FROM retrodict.changes WHERE source = %s AND pg_visible_in_snapshot(txid, %s::pg_snapshot) "
            "AND NOT pg_visible_in_snapshot(txid, %s::pg_snapshot)"
        )
        select = (
            "SELECT seq, txid::text, op, before::text, after::text, at, login, application, statement, who, reason "
            f"{where} AND seq > %s ORDER BY seq LIMIT %s"
        )
        found = self.ask(select, name, then, done, seq, limit)
        is_all = len(found) < limit
        for _ in range(_EXTENSIONS):
            if is_all:
                break
            last = self.ask(
                f"SELECT count(*) {where} AND seq > %s AND seq <= (SELECT max(seq) FROM retrodict.changes "
                "WHERE source = %s AND txid::text = ANY(%s))",
                *(name, then, done, found[-1][0], name, list({row[1] for row in found})),
            )
            more = int(last[0][0])
            if not more:
                break
            found += self.ask(select, name, then, done, found[-1][0], more)
        if not is_all:
            is_all = not self.ask(f"SELECT 1 {where} AND seq > %s LIMIT 1", name, then, done, found[-1][0])
        return found, is_all

    @contextlib.contextmanager
    def whole(self, table: str, key: Sequence[str] = ()) -> Iterator[Whole]:
        """Read a table in one snapshot; see `Readable`. The digest is of what `COPY` writes."""
        with self._errors(), self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for setting in _SETTINGS:
                self._connection.execute(cast("Any", f"SET LOCAL {setting}"))
            description = self.describe(table, key)
            name = self.quoted(description.name)
            if key:
                refuse_repeated(self.ask, name, [_quoted(column) for column in key], key)
            collated = {
                column
                for (column,) in self.ask(
                    "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attcollation <> 0", name
                )
            }
            order = ", ".join(
                _quoted(column) + (' COLLATE "C"' if column in collated else "") + " NULLS FIRST"
                for column in description.key
            )
            columns = ", ".join(_quoted(column.name) for column in description.columns)
            found, rows = blake3(), 0
            copy = f"COPY (SELECT {columns} FROM {name} ORDER BY {order}) TO STDOUT"
            with self._connection.cursor() as cursor, cursor.copy(cast("Any", copy)) as blocks:
                for block in blocks:
                    found.update(block)
                    rows += bytes(block).count(b"\n")
            values = self._values(description)

            def stream() -> Iterator[Row]:
                for (text,) in self.stream(f"SELECT to_json(t.*)::text FROM {name} t ORDER BY {order}"):
                    yield values(text)

            yield Whole(
                format="postgresql",
                description=description,
                rows=rows,
                digest=f"b3-{found.hexdigest()}",
                stream=stream,
            )

    def _values(self, description: Description) -> Callable[[str], Row]:
        """Return what makes a row of the JSON that a trigger writes; a column that has gone is kept as text."""
        types = dict(
            self.ask(
                "SELECT a.attname, CASE WHEN t.typcategory IN ('A', 'C') OR t.typname IN ('json', 'jsonb') "
                "THEN 'raw' ELSE t.typname END FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
                "WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
                self.quoted(description.name),
            )
        )
        readers = {name: self._readers.get(kind, self._as_text) for name, kind in types.items() if kind != "raw"}

        def values(text: str) -> Row:
            row: dict[str, object] = {}
            for name, raw in self._raw(text).items():
                value = bytes(raw)
                if value == b"null":
                    row[name] = None
                else:
                    reader = readers.get(name)
                    try:
                        row[name] = value.decode() if reader is None else reader(value)
                    except ValueError:  # it was written when the column had another type
                        row[name] = self._as_text(value)
            return row

        return values

    def _as_text(self, raw: bytes) -> str:
        return str(self._text(raw)) if raw[:1] == b'"' else raw.decode()

    def _change(self, row: tuple[Any, ...], values: Callable[[str], Row]) -> Change:
        _, transaction, op, before, after, at, login, application, statement, who, reason = row
        return Change(
            op=_OPS[op if isinstance(op, str) else op.decode()],
            before=None if before is None else values(before),
            after=None if after is None else values(after),
            at=at.astimezone(UTC),
            user=login,
            who=who,
            application=application,
            statement=statement,
            reason=reason,
            transaction=transaction,
        )

    def _problems(self, name: str) -> list[str]:
        found = dict(
            self.ask(
                "SELECT tgname, tgenabled::text FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname IN (%s, %s)",
                self.quoted(name),
                _TRIGGER,
                _TRUNCATED,
            )
        )
        return [
            f"the trigger {trigger} of {name} is {'not there' if trigger not in found else 'switched off'}"
            for trigger in (_TRIGGER, _TRUNCATED)
            if found.get(trigger) != "A"
        ]

    def forget(self, table: str, position: Mapping[str, object]) -> None:
        """Delete the changes before a position: they are held elsewhere now."""
        with self._errors():
            self._connection.execute(
                "DELETE FROM retrodict.changes WHERE source = %s AND (pg_visible_in_snapshot(txid, %s::pg_snapshot) "
                "OR (pg_visible_in_snapshot(txid, %s::pg_snapshot) AND seq <= %s))",
                (
                    self._find(table)[1],
                    position["snapshot"],
                    position.get("then", position["snapshot"]),
                    position.get("seq", 0),
                ),
            )


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _in_order(changes: list[Change], key: Sequence[str]) -> list[Change]:
    """Put changes of one row within one transaction in the order in which each begins where the last ended."""

    def named(row: Row | None) -> str | None:
        return None if row is None else repr([row.get(name) for name in key])

    names = [(named(change.before), named(change.after)) for change in changes]
    places: dict[tuple[str, int, str], list[int]] = {}
    emptied = 0  # how often the table was: what is before and what is after does not follow on from each other
    for place, (change, pair) in enumerate(zip(changes, names, strict=True)):
        emptied += change.op == "truncate"
        for name in dict.fromkeys(pair):
            if name is not None:
                places.setdefault((change.transaction, emptied, name), []).append(place)
    for (*_, name), several in places.items():
        # A row that gets another key leaves this one, or comes to it.
        if len(several) == 1 or any(set(names[place]) - {name, None} for place in several):
            continue
        group = [changes[place] for place in several]
        if any(repr(one.after) != repr(next_.before) for one, next_ in itertools.pairwise(group)):
            for place, change in zip(several, _chained(group), strict=True):
                changes[place] = change
    return changes


def _chained(group: Sequence[Change]) -> Sequence[Change]:
    """Return changes as one path through the states between them, where there is one.

    Source: C. Hierholzer, Mathematische Annalen 6 (1873).
    """
    leaving: dict[str, list[Change]] = {}
    balance: dict[str, int] = {}
    for change in reversed(group):
        leaving.setdefault(repr(change.before), []).append(change)
        balance[repr(change.before)] = balance.get(repr(change.before), 0) + 1
        balance[repr(change.after)] = balance.get(repr(change.after), 0) - 1
    start = next((state for state, surplus in balance.items() if surplus == 1), repr(group[0].before))
    path: list[Change] = []
    stack: list[tuple[str, Change | None]] = [(start, None)]
    while stack:
        state, by = stack[-1]
        if leaving.get(state):
            change = leaving[state].pop()
            stack.append((repr(change.after), change))
        else:
            stack.pop()
            if by is not None:
                path.append(by)
    return path[::-1] if len(path) == len(group) else group
