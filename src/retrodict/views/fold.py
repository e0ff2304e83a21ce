"""Folding: a projection's tables are a function of the logs, and of nothing else.

Each projection has a row in `views_meta`: how many entries of each log it has applied and the leaf hash of the last of
them, so that a log put back from a backup, or another log, is noticed before anything is folded on top of it. Entries
are folded in the order of all logs; where some arrive that come before what was folded, it is folded anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import apsw

from retrodict.kernel.errors import FormatError, IntegrityError, UsageError
from retrodict.kernel.merkle import HASH_BYTES
from retrodict.kernel.types import Digest, EntryNumber
from retrodict.ledger import Logs, Sequenced
from retrodict.views.errors import DamagedViewsError, MalformedProjectionError, UnfoldableEntryError

Blob = Callable[[Digest], bytes]

_BROKEN = (LookupError, TypeError, ValueError, AttributeError, AssertionError)  # what a body of another layout leads to

META = "views_meta"
META_SQL = (
    f"CREATE TABLE {META} (projection TEXT PRIMARY KEY, version INTEGER NOT NULL, applied INTEGER NOT NULL, "
    "leaf BLOB NOT NULL) STRICT, WITHOUT ROWID"
)
_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX (?P<name>\w+) ON (?P<table>\w+) \(")


class Projection(Protocol):
    """Folds entries into tables of its own.

    Attributes:
        name: Prefix of its tables: `name_...`.
        version: To be raised with every change; changed SQL leads to a fold anew without it, but `verify` cannot tell
            an older release from a forger then.
        tables: Each table's CREATE statement, with a PRIMARY KEY.
        indexes: CREATE INDEX statements.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def tables(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def indexes(self) -> Sequence[str]: ...  # noqa: D102

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Blob) -> None:
        """Fold one entry. Every entry comes once, in the order of the log, inside a transaction."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A projection that keeps the rules, and the SQL of its tables and indexes by name."""

    projection: Projection
    schema: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name."""
        return self.projection.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How far a projection has come.

    Attributes:
        count: How many entries it has applied.
        leaf: Where all are of the own log, the leaf hash of the last; else, as JSON by the log's hash, count and last
            leaf of each log, and the tag that its entries are numbered with.
    """

    version: int
    count: int
    leaf: bytes

    def counts(self, logs: Logs) -> dict[str, int]:
        """Return how many entries of each log were applied, by its hash."""
        return {log: count for log, (count, _) in self.cursor(logs).items()}

    def cursor(self, logs: Logs) -> dict[str, tuple[int, bytes]]:
        """Return the count and the leaf hash of the last entry of each log."""
        if len(self.leaf) <= HASH_BYTES:
            return {logs.own_hash: (self.count, self.leaf)} if self.count else {}
        tags = {log.hash: log.tag for log in logs.held()}
        cursor = {}
        for log, (count, leaf, tag) in json.loads(self.leaf).items():
            if log in tags and tags[log] != tag:
                raise ValueError(f"the entries of {log} are numbered otherwise")
            cursor[str(log)] = (int(count), bytes.fromhex(leaf))
        return cursor


def _leaf(cursor: Mapping[str, tuple[int, bytes]], logs: Logs) -> bytes:
    """Return what `views_meta.leaf` holds of a cursor."""
    if cursor.keys() <= {logs.own_hash}:
        return cursor.get(logs.own_hash, (0, b""))[1]
    tags = {log.hash: log.tag for log in logs.held()}
    return json.dumps(
        {log: (count, leaf.hex(), tags.get(log)) for log, (count, leaf) in sorted(cursor.items())}
    ).encode()


def plan(projections: Sequence[Projection]) -> tuple[Plan, ...]:
    """Read the projections' SQL; SQLite keeps each statement as it is written, and tries it when tables are made.

    Raises:
        MalformedProjectionError: A table without its prefix or without a primary key, a name given twice.
    """
    names = [*sorted(p.name for p in projections), "views"]
    for first, second in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        if f"{second}_".startswith(f"{first}_") or f"{first}_".startswith(f"{second}_"):
            raise MalformedProjectionError(f"the tables of {first} and {second} cannot be told apart by their names")
    plans = []
    for projection in projections:
        made = dict(projection.tables)
        for table, sql in projection.tables.items():
            if not table.startswith(f"{projection.name}_"):
                raise MalformedProjectionError(f"the table {table} must begin with {projection.name}_")
            if not sql.startswith(f"CREATE TABLE {table} ("):
                raise MalformedProjectionError(f"{projection.name} lists other tables than it makes: {sql}")
            if "PRIMARY KEY" not in sql:
                raise MalformedProjectionError(f"the table {table} has no PRIMARY KEY")
        for sql in projection.indexes:
            match = _INDEX.match(sql)
            if match is None or match["table"] not in projection.tables:
                raise MalformedProjectionError(f"{projection.name} lists an index of none of its tables: {sql}")
            made[match["name"]] = sql
        plans.append(Plan(projection=projection, schema=made))
    return tuple(plans)


def create(db: apsw.Connection, wanted: Plan) -> None:
    """Make the tables and indexes of a projection.

    Raises:
        MalformedProjectionError: Its SQL does not work.
    """
    for statement in wanted.schema.values():
        try:
            db.execute(statement)
        except apsw.SQLError as error:
            raise MalformedProjectionError(f"the SQL of {wanted.name} does not work: {error}: {statement}") from error


def schema(db: apsw.Connection) -> dict[str, str]:
    """Return the SQL of everything that was made by a statement, by name.

    Raises:
        DamagedViewsError: A name or a statement is no text.
    """
    rows: list[Any] = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    if not all(type(name) is str and type(sql) is str for name, sql in rows):
        raise DamagedViewsError("a name in its schema is no text")
    return dict(rows)


def applied(db: apsw.Connection) -> dict[str, Applied]:
    """Return how far each projection has come; {} in a database that holds no view yet.

    Raises:
        DamagedViewsError: A row does not say so.
    """
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (META,)).fetchall():
        return {}
    rows: list[Any] = db.execute(f"SELECT projection, version, applied, leaf FROM {META}").fetchall()  # noqa: S608
    # HAZARD: of a damaged page SQLite gives NULL also for a column that cannot be NULL.
    if any([type(value) for value in row] != [str, int, int, bytes] for row in rows):
        raise DamagedViewsError(f"a row of {META} does not say what was folded")
    return {row[0]: Applied(version=row[1], count=row[2], leaf=row[3]) for row in rows}


def is_of(state: Applied, logs: Logs) -> bool:
    """Say whether the entries that were applied are the first ones of these logs, in the order of all."""
    if state.count <= 0:
        return state.count == 0 and state.leaf == b""
    try:
        cursor, held = state.cursor(logs), {log.hash: log.ledger for log in logs.held()}
        return all(
            log in held and held[log].event(count - 1).leaf_hash == leaf for log, (count, leaf) in cursor.items()
        ) and logs.is_prefix(state.counts(logs))
    except (
        UsageError,
        ValueError,
        TypeError,
        AttributeError,
    ):  # a log is shorter; or the row is no longer what was written
        return False
    except IntegrityError:  # that entry is altered, which is for the log's own check to say
        return True


def are_of(states: Iterable[Applied], logs: Logs) -> dict[tuple[int, bytes], bool]:
    """Say of each end that projections have come to, one for all as a rule, what `is_of` does."""
    ends = {(state.count, state.leaf): state for state in states}
    return {end: is_of(state, logs) for end, state in ends.items()}


def is_current(db: apsw.Connection, plans: Sequence[Plan], size: int) -> bool:
    """Say, cheaply, whether every projection has applied `size` entries."""
    row = db.execute(f"SELECT count(*), min(applied), max(applied) FROM {META}").fetchall()[0]  # noqa: S608
    return bool(row == (len(plans), size, size))


def prepare(db: apsw.Connection, plans: Sequence[Plan], logs: Logs) -> None:
    """Drop what is out of date, and make the tables that are not there. Inside a transaction.

    Out of date are a projection that has changed or that nobody has any more, and one that was folded from another
    log, from more of this log than there is now, or in another order than is due now.

    Raises:
        DamagedViewsError: There are other tables or indexes than there should be.
    """
    states, known = applied(db), {plan.name: plan for plan in plans}
    are_sound = are_of(states.values(), logs)
    for name, state in states.items():
        is_sound = are_sound[state.count, state.leaf]
        if name not in known or known[name].projection.version != state.version or not is_sound:
            _drop(db, name)
    held = db.execute("SELECT name, sql, tbl_name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    for name in applied(db):
        if name not in known:
            raise DamagedViewsError(f"it lists a view {name}, which could not be dropped")
        if {item: sql for item, sql, table in held if str(table).startswith(f"{name}_")} != known[name].schema:
            _drop(db, name)
    kept = applied(db)
    expected = {item: sql for name in kept for item, sql in known[name].schema.items()}
    if not held:
        db.execute(META_SQL)
    elif schema(db) != {META: META_SQL, **expected}:
        raise DamagedViewsError(f"it holds other tables or indexes than it should: {', '.join(schema(db))}")
    for name, missing in known.items():
        if name not in kept:
            create(db, missing)
            db.execute(f"INSERT INTO {META} VALUES (?, ?, 0, x'')", (name, missing.projection.version))  # noqa: S608


def _drop(db: apsw.Connection, name: str) -> None:
    tables = [str(row[0]) for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
    for table in tables:
        if table.startswith(f"{name}_") and table != META:
            db.execute(f'DROP TABLE "{table}"')
    db.execute(f"DELETE FROM {META} WHERE projection = ?", (name,))  # noqa: S608


def fold(
    db: apsw.Connection,
    plans: Sequence[Plan],
    logs: Logs,
    blob: Blob,
    stops: Mapping[str, Mapping[str, int]],
    n: int,
) -> int:
    """Apply the next `n` entries at most; return how many the hindmost has applied now. Inside a transaction.

    An entry of another log that breaks the layout of its kind is passed over: nobody else may stop this workspace.

    Args:
        db: Holds the tables of `plans`.
        plans: What is folded.
        logs: Where the entries come from.
        blob: Where projections read payloads.
        stops: Up to how many entries of each log (by its hash) each projection goes.
        n: Size of the batch.

    Raises:
        IntegrityError: An entry that is due is missing or altered.
        UnfoldableEntryError: An entry of the own log breaks the layout of its kind.
    """
    states = applied(db)
    behind = [
        (p.projection, states[p.name].counts(logs), stops[p.name])
        for p in plans
        if states[p.name].count < sum(stops[p.name].values())
    ]
    if not behind:
        return max((sum(stop.values()) for stop in stops.values()), default=0)
    ends = {log: max(stop.get(log, 0) for _, _, stop in behind) for log in {x for _, _, stop in behind for x in stop}}
    starts = {log: min(counts.get(log, 0) for _, counts, _ in behind) for log in ends}
    cursors = {projection.name: states[projection.name].cursor(logs) for projection, _, _ in behind}
    changed: set[str] = set()
    own, done = logs.own_hash, sum(starts.values())
    for log, entry in islice(logs.read(starts, ends), n):
        index = entry.index if log == own else EntryNumber(entry.index).index
        for projection, counts, stop in behind:
            if counts.get(log, 0) <= index < stop.get(log, 0):
                _apply(db, projection, entry, blob, is_own=log == own)
                cursors[projection.name][log] = (index + 1, entry.leaf_hash)
                changed.add(projection.name)
        done += 1
    if not changed:  # an entry has been moved far away: to wait for those in between would take for ever
        raise IntegrityError(f"the log has no entry {starts.get(own, 0)}, and is said to have {ends.get(own, 0)}")
    db.executemany(
        f"UPDATE {META} SET applied = ?, leaf = ? WHERE projection = ?",  # noqa: S608
        [(sum(count for count, _ in cursors[p].values()), _leaf(cursors[p], logs), p) for p in sorted(changed)],
    )
    return done


def _apply(db: apsw.Connection, projection: Projection, entry: Sequenced, blob: Blob, *, is_own: bool) -> None:
    if is_own:
        try:
            projection.apply(db, entry, blob)
        except _BROKEN as error:
            raise UnfoldableEntryError(entry.index, entry.event.kind, projection.name, error) from error
        return
    db.execute("SAVEPOINT another")
    try:
        projection.apply(db, entry, blob)
    except (*_BROKEN, FormatError, apsw.ConstraintError, apsw.MismatchError):
        db.execute("ROLLBACK TO another")
    db.execute("RELEASE another")
