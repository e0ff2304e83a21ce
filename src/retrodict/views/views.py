"""One SQLite file of views, kept level with the log by whoever reads it.

WAL with synchronous=NORMAL: a crash may lose the last rows and never the file's order, and what is lost is folded
again. Damage of any kind has one remedy, folding from the first entry; where the file cannot be written, a private copy
in temporary storage is folded instead.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import apsw

from retrodict.kernel import schema
from retrodict.kernel.errors import IntegrityError, ReadOnlyStoreError, UnavailableError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Finding
from retrodict.ledger import Ledger, Logs
from retrodict.views import compare, fold
from retrodict.views.errors import DamagedViewsError
from retrodict.views.fold import META, Blob, Plan, Projection

BATCH = 4096  # entries in one transaction: another process waits for no more than these
BUSY_TIMEOUT_S = 60.0
_PRIVATE_CACHE_KIB = 256 * 1024  # above it, the private copy spills into a temporary file

_DAMAGE = (
    apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError, apsw.ConstraintError, apsw.MismatchError,
    DamagedViewsError, UnicodeDecodeError,
)  # fmt: skip
# The file that WAL readers share cannot be made: the disk is full.
_NO_ROOM = (apsw.SQLITE_IOERR_SHMOPEN, apsw.SQLITE_IOERR_SHMSIZE, apsw.SQLITE_IOERR_SHMMAP)
_UNWRITABLE = (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.FullError, apsw.IOError)


class Views:
    """The tables of every projection. Threads and processes share the file; each thread reads by its own connection."""

    def __init__(self, path: Path, logs: Logs, blob: Blob, plans: Sequence[Plan], *, read_only: bool) -> None:
        """For `open`."""
        self.path = path
        self._logs = logs
        self._blob = blob
        self._plans = plans
        self._read_only = read_only
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._writer: apsw.Connection | None = None
        self._private: apsw.Connection | None = None
        self._is_immutable = False
        self._damage: list[Finding] = []
        self._is_closed = False

    @classmethod
    def open(
        cls, path: Path, logs: Logs | Ledger, blob: Blob, projections: Sequence[Projection], *, read_only: bool = False
    ) -> Views:
        """Take the projections; the file is not touched before somebody reads.

        Args:
            path: The file.
            logs: The log that is folded, or all of them.
            blob: Where projections read payloads.
            projections: Everything that may be asked for; tables of others are dropped.
            read_only: Write nothing; a private copy is folded where the file is behind.

        Raises:
            MalformedProjectionError: A projection breaks the rules for its tables.
        """
        logs = Logs(logs) if isinstance(logs, Ledger) else logs
        return cls(path, logs, blob, fold.plan(projections), read_only=read_only)

    # Reading

    def database(self, progress: Progress | None = None) -> apsw.Connection:
        """Return this thread's connection to the views, level with the log as it is now. For reading only.

        Raises:
            IntegrityError: The log is damaged.
            UnavailableError: Another process held the file's lock for a minute.
        """
        with self._lock:
            if self._is_closed:
                raise UnavailableError(f"the views {self.path} are closed")
            if self._private is None and not self._read_only:
                try:
                    return self._level_file(progress)
                except apsw.BusyError as error:
                    raise UnavailableError(f"{self.path} was locked by another process too long: {error}") from error
                except _UNWRITABLE:
                    self._forget()
            return self._level_copy(progress)

    def digest(self) -> str:
        """Return SHA-256 over every row of every table, in the order of primary keys: 64 hex digits."""
        db = self.database()
        with _transaction(db, "DEFERRED"):
            return compare.digest(db, [META, *(t for plan in self._plans for t in plan.projection.tables)])

    def _level_file(self, progress: Progress | None) -> apsw.Connection:
        try:
            reader = self._reader()
            if reader is not None and self._is_level(reader):
                return reader
            self._catch_up(self._connected_writer(), progress)
        except _DAMAGE as error:
            self._damage.append(self._finding(f"was damaged, and has been rebuilt: {error}"))
            self._reset()
            self._catch_up(self._connected_writer(), progress)
        reader = self._reader()
        assert reader is not None
        return reader

    def _level_copy(self, progress: Progress | None) -> apsw.Connection:
        """Return the file if it is level, and otherwise a private copy of it that is."""
        if self._private is None:
            with contextlib.suppress(apsw.Error, *_DAMAGE):
                reader = self._reader()
                if reader is not None and self._is_sound(reader):
                    return reader
        if self._private is None:
            self._private = self._copy()
        try:
            self._catch_up(self._private, progress)
        except _DAMAGE as error:
            self._damage.append(self._finding(f"is damaged, and is not used: {error}"))
            self._private = _temporary()
            self._catch_up(self._private, progress)
        return self._private

    def _is_level(self, db: apsw.Connection) -> bool:
        """Cheap: what was found when this thread's connection was made is not looked at again."""
        if not getattr(self._local, "is_sound", False):
            return self._is_sound(db)
        return fold.is_current(db, self._plans, self._logs.size())

    def _is_sound(self, db: apsw.Connection) -> bool:
        """Say whether there is nothing to catch up with, and remember that the tables are what they should be."""
        with _transaction(db, "DEFERRED"):
            size, schema, states = self._logs.size(), fold.schema(db), fold.applied(db)
        held = {META: fold.META_SQL} | {name: sql for plan in self._plans for name, sql in plan.schema.items()}
        self._local.is_sound = (
            schema == held
            and {p.name: p.projection.version for p in self._plans} == {n: s.version for n, s in states.items()}
            and all(state.count == size for state in states.values())
            and all(fold.are_of(states.values(), self._logs).values())
        )
        return bool(self._local.is_sound)

    def _catch_up(self, db: apsw.Connection, progress: Progress | None) -> None:
        counts = self._logs.counts()
        size, stops = sum(counts.values()), {plan.name: counts for plan in self._plans}
        done = -1
        while done < size:
            with _transaction(db, "IMMEDIATE"):
                # Each time: another process may have begun anew in between.
                fold.prepare(db, self._plans, self._logs)
                done = fold.fold(db, self._plans, self._logs, self._blob, stops, BATCH)
            if progress is not None:
                progress(done, size, "entries folded into views")
        self._local.is_sound = True

    # Connections

    def _connected_writer(self) -> apsw.Connection:
        if self._writer is None:
            self._writer = self._connect(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
            _switch_to_wal(self._writer)
        return self._writer

    def _reader(self) -> apsw.Connection | None:
        """Return this thread's connection to the file, None where there is no file."""
        db: apsw.Connection | None = getattr(self._local, "db", None)
        if db is not None or not self.path.exists():
            return db
        db = self._connect(apsw.SQLITE_OPEN_READONLY)
        try:
            db.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except apsw.Error as error:
            db.close()
            # The folder cannot be written, so SQLite cannot make the file that WAL readers share.
            wal = self.path.with_name(self.path.name + "-wal")
            if not isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError) or (wal.exists() and wal.stat().st_size):
                raise
            self._is_immutable = True
            db = self._connect(apsw.SQLITE_OPEN_READONLY)
        self._local.db = db
        self._readers.add(db)
        return db

    def _connect(self, flags: int) -> apsw.Connection:
        name = str(self.path)
        if self._is_immutable:
            name, flags = f"file:{quote(name)}?immutable=1", flags | apsw.SQLITE_OPEN_URI
        db = apsw.Connection(name, flags=flags)
        db.set_busy_timeout(int(BUSY_TIMEOUT_S * 1000))
        return db

    def _copy(self) -> apsw.Connection:
        db = _temporary()
        try:
            source = self._reader()
            if source is not None:
                with db.backup("main", source, "main") as backup:
                    backup.step()
        except apsw.Error:
            db.close()
            db = _temporary()
        return db

    def _reset(self) -> None:
        """Empty the file, under SQLite's own locks: other processes that have it open see an empty one."""
        self._forget()
        db = self._connect(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        try:
            db.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 1)
            db.execute("VACUUM").fetchall()
        finally:
            db.close()

    def _forget(self) -> None:
        for db in (*self._readers, self._writer):
            if db is not None:
                db.close()
        self._writer = None
        self._readers.clear()
        self._local = threading.local()

    def close(self) -> None:
        """Close every connection; the last one folds the WAL into the file."""
        with self._lock:
            self._is_closed = True
            self._forget()
            if self._private is not None:
                self._private.close()
                self._private = None

    # Checking

    def rebuild(self, progress: Progress | None = None) -> None:
        """Throw every row away, and fold the log from its first entry.

        Raises:
            ReadOnlyStoreError: The file cannot be written.
        """
        with self._lock:
            if self._read_only:
                raise ReadOnlyStoreError(str(self.path))
            try:
                self._reset()
                self._catch_up(self._connected_writer(), progress)
            except _UNWRITABLE as error:
                raise ReadOnlyStoreError(str(self.path)) from error

    def verify(self, progress: Progress | None = None) -> Iterator[Finding]:
        """Fold the log again and compare every row of the file as it stands; yield what differs. Changes nothing."""
        yield from self._damage
        if not self.path.exists():
            return
        true = _temporary()
        try:
            db = self._connect(apsw.SQLITE_OPEN_READONLY)
            try:
                with _transaction(db, "DEFERRED"):
                    yield from self._check(db, true, progress)
            finally:
                db.close()
        except _DAMAGE as error:
            yield self._finding(f"is damaged: {error}")
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError) as error:
            if isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) not in _NO_ROOM:
                yield self._finding(f"is damaged: {error}")
                return
            wal = self.path.with_name(self.path.name + "-wal")
            if self._is_immutable or (wal.exists() and wal.stat().st_size):
                yield self._finding(f"cannot be read: {error}", level="note")
                return
            self._is_immutable = True  # nobody writes where nothing can be written
            yield from self.verify(progress)
        except IntegrityError as error:
            yield self._finding(f"cannot be compared with the log: {error.message}", level="note")
        finally:
            true.close()

    def set_aside(self) -> None:
        """Read nothing of the file any more: what is asked from now on is folded from the log, into memory."""
        with self._lock:
            if self._private is not None:
                self._private.close()
            self._private = _temporary()

    def _check(self, db: apsw.Connection, true: apsw.Connection, progress: Progress | None) -> Iterator[Finding]:
        held, states = fold.schema(db), fold.applied(db)
        if not held:
            return  # nothing was folded yet
        for (message,) in db.execute("PRAGMA integrity_check"):
            if message != "ok":
                yield self._finding(f"is damaged: {message}")
        if META not in held:
            yield Finding(level="altered", what=f"view {META}", message=f"the table {META} is missing")
            return
        plans = []
        for name in states.keys() - {plan.name for plan in self._plans}:
            yield Finding(level="altered", what=f"view {META} row {name}", message=f"no release folds a view {name}")
        for plan in self._plans:
            row, state = f"view {META} row {plan.name}", states.get(plan.name)
            if state is None:
                if any(table in held for table in plan.projection.tables):
                    yield Finding(level="altered", what=row, message=f"the tables of {plan.name} have no row in {META}")
            elif state.version != plan.projection.version:
                message = f"{plan.name} was folded as version {state.version}; at its next use it becomes {{}}"
                yield Finding(level="note", what=row, message=message.format(plan.projection.version))
            elif not fold.is_of(state, self._logs):
                message = f"{plan.name} claims the first {state.count} entries of a log that is not this one"
                yield Finding(level="altered", what=row, message=message)
            else:
                plans.append(plan)
        expected = {META: fold.META_SQL} | {n: sql for plan in self._plans for n, sql in plan.schema.items()}
        for name in sorted(held.keys() | {n for plan in plans for n in plan.schema}):
            if held.get(name) != expected.get(name) and not self._is_outdated(name, plans):
                what = "missing" if name not in held else "altered" if name in expected else "not one of ours"
                yield Finding(level="altered", what=f"view {name}", message=f"the table or index {name} is {what}")
        stops = {plan.name: states[plan.name].counts(self._logs) for plan in plans}
        with _transaction(true, "IMMEDIATE"):
            fold.prepare(true, plans, self._logs)
        odd = schema.differences(schema.describe(db), schema.describe(true))
        if odd and held == expected and len(plans) == len(self._plans):
            yield self._finding(f"has a schema that is not this format's: {', '.join(odd)}")
        done, size = -1, max((sum(counts.values()) for counts in stops.values()), default=0)
        while done < size:
            with _transaction(true, "IMMEDIATE"):
                done = fold.fold(true, plans, self._logs, self._blob, stops, BATCH)
            if progress is not None:
                progress(done, size, "entries folded again to check the views")
        yield from _row_findings(db, true, plans, held)

    def _is_outdated(self, name: str, plans: Sequence[Plan]) -> bool:
        """Say whether a table belongs to a projection that is rebuilt anyway."""
        others = [plan for plan in self._plans if plan not in plans]
        return any(name.startswith(f"{plan.name}_") or name in plan.schema for plan in others)

    def _finding(self, message: str, level: str = "altered") -> Finding:
        return Finding(
            level="altered" if level == "altered" else "note", what=self.path.name, message=f"{self.path} {message}"
        )


def _row_findings(
    db: apsw.Connection, true: apsw.Connection, plans: Sequence[Plan], held: Mapping[str, str]
) -> Iterator[Finding]:
    tables = [table for plan in plans for table, sql in plan.schema.items() if table in plan.projection.tables]
    for table in tables:
        if table not in held:
            continue
        for what, row in compare.differences(compare.rows(db, table), compare.rows(true, table)):
            message = f"the row {row.label} of the view {table} is {what}: it is not what the log says"
            yield Finding(level="altered", what=f"view {table} row {row.label}", message=message)


def _temporary() -> apsw.Connection:
    """Return a database of this process alone, in memory as long as it is small."""
    db = apsw.Connection("")
    db.execute(f"PRAGMA cache_size = -{_PRIVATE_CACHE_KIB}")
    return db


def _switch_to_wal(db: apsw.Connection) -> None:
    # HAZARD: SQLite does not wait for its locks while it changes the mode, so two first openers collide.
    for attempt in range(int(BUSY_TIMEOUT_S * 100)):
        try:
            db.execute("PRAGMA journal_mode=WAL").fetchall()
            db.execute("PRAGMA synchronous=NORMAL")
            return
        except apsw.BusyError:
            if attempt + 1 == int(BUSY_TIMEOUT_S * 100):
                raise
            time.sleep(0.01)


@contextlib.contextmanager
def _transaction(db: apsw.Connection, mode: str) -> Iterator[None]:
    db.execute(f"BEGIN {mode}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
