"""Folding: a projection's tables are a function of the log, and of nothing else.

Each projection has a row in `views_meta`: how many entries it has applied and the leaf hash of the last of them, so
that a log put back from a backup, or another log, is noticed before anything is folded on top of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apsw

from retrodict.kernel.errors import IntegrityError, UsageError
from retrodict.kernel.types import Digest
from retrodict.ledger import Ledger, Sequenced
from retrodict.views.errors import DamagedViewsError, MalformedProjectionError, UnfoldableEntryError

Blob = Callable[[Digest], bytes]

META = "views_meta"
META_SQL = (
    f"CREATE TABLE {META} (projection TEXT PRIMARY KEY, version INTEGER NOT NULL, applied INTEGER NOT NULL, "
    "leaf BLOB NOT NULL) STRICT, WITHOUT ROWID"
)


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
    """A projection that keeps the rules, and what the schema says of its tables and indexes."""

    projection: Projection
    schema: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name."""
        return self.projection.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How far a projection has come: the first `count` entries, the last of which has this leaf hash."""

    version: int
    count: int
    leaf: bytes


def plan(projections: Sequence[Projection]) -> tuple[Plan, ...]:
    """Try the projections' SQL in an empty database.

    Raises:
        MalformedProjectionError: A table without its prefix or without a primary key, a name given twice, wrong SQL.
    """
    names = [*sorted(p.name for p in projections), "views"]
    for first, second in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
        if f"{second}_".startswith(f"{first}_") or f"{first}_".startswith(f"{second}_"):
            raise MalformedProjectionError(f"the tables of {first} and {second} cannot be told apart by their names")
    plans = []
    for projection in projections:
        db = apsw.Connection(":memory:")
        try:
            create(db, projection)
        except apsw.Error as error:
            raise MalformedProjectionError(f"the SQL of {projection.name} does not work: {error}") from error
        made = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type != 'index'")}
        if made != set(projection.tables):
            raise MalformedProjectionError(f"{projection.name} lists other tables than it makes: {sorted(made)}")
        for table in made:
            if not table.startswith(f"{projection.name}_"):
                raise MalformedProjectionError(f"the table {table} must begin with {projection.name}_")
            if not any(pk for (pk,) in db.execute("SELECT pk FROM pragma_table_info(?)", (table,))):
                raise MalformedProjectionError(f"the table {table} has no PRIMARY KEY")
        plans.append(Plan(projection=projection, schema=schema(db)))
        db.close()
    return tuple(plans)


def create(db: apsw.Connection, projection: Projection) -> None:
    """Make the tables and indexes of a projection."""
    for statement in (*projection.tables.values(), *projection.indexes):
        db.execute(statement)


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
    """Return how far each projection has come; {} in a database that holds no view yet."""
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (META,)).fetchall():
        return {}
    rows: list[Any] = db.execute(f"SELECT projection, version, applied, leaf FROM {META}").fetchall()  # noqa: S608
    return {row[0]: Applied(version=row[1], count=row[2], leaf=row[3]) for row in rows}


def is_of(state: Applied, ledger: Ledger) -> bool:
    """Say whether the entries that were applied are the first ones of this log."""
    if state.count <= 0:
        return state.count == 0 and state.leaf == b""
    try:
        return ledger.event(state.count - 1).leaf_hash == state.leaf
    except UsageError:  # the log is shorter
        return False
    except IntegrityError:  # that entry is altered, which is for the log's own check to say
        return True


def is_current(db: apsw.Connection, plans: Sequence[Plan], size: int) -> bool:
    """Say, cheaply, whether every projection has applied `size` entries."""
    row = db.execute(f"SELECT count(*), min(applied), max(applied) FROM {META}").fetchall()[0]  # noqa: S608
    return bool(row == (len(plans), size, size))


def prepare(db: apsw.Connection, plans: Sequence[Plan], ledger: Ledger) -> None:
    """Drop what is out of date, and make the tables that are not there. Inside a transaction.

    Out of date are a projection that has changed or that nobody has any more, and one that was folded from another
    log, or from more of this log than there is now.

    Raises:
        DamagedViewsError: There are other tables or indexes than there should be.
    """
    states, known = applied(db), {plan.name: plan for plan in plans}
    for name, state in states.items():
        if name not in known or known[name].projection.version != state.version or not is_of(state, ledger):
            _drop(db, name)
    held = db.execute("SELECT name, sql, tbl_name FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    for name in applied(db):
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
            create(db, missing.projection)
            db.execute(f"INSERT INTO {META} VALUES (?, ?, 0, x'')", (name, missing.projection.version))  # noqa: S608


def _drop(db: apsw.Connection, name: str) -> None:
    tables = [str(row[0]) for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
    for table in tables:
        if table.startswith(f"{name}_") and table != META:
            db.execute(f'DROP TABLE "{table}"')
    db.execute(f"DELETE FROM {META} WHERE projection = ?", (name,))  # noqa: S608


def fold(
    db: apsw.Connection, plans: Sequence[Plan], ledger: Ledger, blob: Blob, stops: Mapping[str, int], n: int
) -> int:
    """Apply the next `n` entries at most; return up to which entry the hindmost has come. Inside a transaction.

    Args:
        db: Holds the tables of `plans`.
        plans: What is folded.
        ledger: Where the entries come from.
        blob: Where projections read payloads.
        stops: Up to how many entries each projection goes.
        n: Size of the batch.

    Raises:
        IntegrityError: An entry that is due is missing or altered.
        UnfoldableEntryError: An entry breaks the layout of its kind.
    """
    states = applied(db)
    behind = [(p.projection, states[p.name].count) for p in plans if states[p.name].count < stops[p.name]]
    if not behind:
        return max(stops.values(), default=0)
    stop = min(count for _, count in behind)
    last: dict[str, Sequenced] = {}
    for entry in ledger.read(stop, min(stop + n, max(stops.values()))):
        for projection, count in behind:
            if count <= entry.index < stops[projection.name]:
                try:
                    projection.apply(db, entry, blob)
                except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
                    raise UnfoldableEntryError(entry.index, entry.event.kind, projection.name, error) from error
                last[projection.name] = entry
        stop = entry.index + 1
    if not last:  # an entry has been moved far away: to wait for those in between would take for ever
        raise IntegrityError(f"the log has no entry {stop}, and is said to have {max(stops.values())}")
    db.executemany(
        f"UPDATE {META} SET applied = ?, leaf = ? WHERE projection = ?",  # noqa: S608
        [(entry.index + 1, entry.leaf_hash, name) for name, entry in last.items()],
    )
    return stop
