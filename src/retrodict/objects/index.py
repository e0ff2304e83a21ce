"""The index: where each object lies. Nothing in it is a fact of its own; `rebuild` makes it again from what is stored.

A row of `packs` is a pack or a raw file (`pack.py` says how their keys differ).

HAZARD: only apsw may open index.db (SQLite before 3.51.3 can corrupt a WAL database), and only here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from threading import RLock
from time import sleep
from typing import TypeVar, cast

import apsw

from retrodict.kernel import schema
from retrodict.kernel.durable import Disk, sync_folder
from retrodict.kernel.errors import FormatError, RetrodictError, UnavailableError
from retrodict.objects.errors import DamagedIndexError, StoreBusyError, StoreReadError, StoreWriteError
from retrodict.objects.names import Kind, is_alike
from retrodict.objects.pack import (
    DELTA,
    MAX_DEPTH,
    Bytes,
    OpenedFile,
    PackFiles,
    Place,
    PlaceRow,
    SealedPack,
    is_raw,
    list_keys,
    mapped,
    path_of,
    payload_in,
    records,
)
from retrodict.objects.raw import scan_raw
from retrodict.objects.recipe import Recipe

SCHEMA = """
CREATE TABLE IF NOT EXISTS packs (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, size INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS objects (
  name BLOB NOT NULL, pack INTEGER NOT NULL, offset INTEGER NOT NULL, kind INTEGER NOT NULL, codec INTEGER NOT NULL,
  stored INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (name, pack, offset)) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS recipes (
  blob BLOB NOT NULL, recipe BLOB NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (blob, recipe)) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS doomed (name BLOB PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID, STRICT;
"""

BUSY_MS = 60_000
_CACHE = -16 << 10  # KiB of pages kept: names lie anywhere in the index

_COPIES_OF = "SELECT o.*, p.name FROM objects o LEFT JOIN packs p ON p.id = o.pack WHERE o.name"
_NAME, _PACK, _OFFSET = itemgetter(0), itemgetter(1), itemgetter(2)  # of a row
_COPIES = _COPIES_OF + " = ?"
_UNREAD = (
    "SELECT o.*, p.name FROM objects o JOIN packs p ON p.id = o.pack WHERE o.kind = 3 AND o.codec = 2"
    " AND NOT EXISTS (SELECT 1 FROM recipes r WHERE r.recipe = o.name)"
)
_HELD = "SELECT o.name, o.kind, p.name FROM objects o JOIN packs p ON p.id = o.pack WHERE o.name"
_HELD_IN_CHUNKS = (
    "SELECT r.blob, 1, p.name FROM recipes r JOIN objects o ON o.name = r.recipe AND o.kind = 3"
    " JOIN packs p ON p.id = o.pack WHERE r.blob"
)

Found = tuple[list[PlaceRow], dict[int, bytes]]  # copies in the order of the packs; the keys of these
T = TypeVar("T")
Value = int | float | bytes | str | None  # what a column may hold

_NOT_DOOMED = " AND NOT EXISTS (SELECT 1 FROM doomed d WHERE d.name = o.name)"

_FAILURES = (apsw.Error, UnicodeDecodeError)  # text in a damaged file need not be UTF-8


def translate(error: apsw.Error | UnicodeDecodeError, path: Path) -> RetrodictError:
    """Return our word for an error of SQLite about the database at `path`."""
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusyError(f"{path} is held by another process for more than {BUSY_MS // 1000} s")
        case apsw.FullError() | apsw.IOError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            return StoreWriteError(str(path), error)
        case apsw.CantOpenError():
            return StoreReadError(str(path), error)
        case _:
            return DamagedIndexError(f"{path} is damaged: {error}")


def connect(path: Path, *, read_only: bool = False, synchronous: str = "FULL") -> apsw.Connection:
    """Return a connection in WAL mode; on a file system that cannot be written, an immutable one.

    Raises:
        UnavailableError: A read-only database whose write-ahead log cannot be taken into account.
    """
    uri = "file:" + str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    if not read_only:
        db = apsw.Connection(
            str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_EXRESCODE
        )
        db.set_busy_timeout(BUSY_MS)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute(f"PRAGMA cache_size={_CACHE}")
        return db
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_EXRESCODE
    try:
        db = apsw.Connection(f"{uri}?mode=ro", flags=flags)
        db.set_busy_timeout(BUSY_MS)
        db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError, apsw.PermissionsError):
        wal = path.with_name(path.name + "-wal")
        if not path.exists() or (wal.exists() and wal.stat().st_size):
            # `immutable` would not see the rows in the log: the caller scans the packs instead.
            raise UnavailableError(f"{path} cannot be opened read-only") from None
        db = apsw.Connection(f"{uri}?mode=ro&immutable=1", flags=flags)
        db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    return db


def odd_schema(db: apsw.Connection, statements: str) -> list[str]:
    """Return the names of what is not in `db` as `statements` make it."""
    true = apsw.Connection(":memory:")
    true.execute(statements)
    return schema.differences(schema.describe(db), schema.describe(true))


def in_batches(names: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into parts of few different lengths, so that SQLite's statements are compiled once."""
    size, start = 256, 0
    while start < len(names):
        while size > 1 and len(names) - start < size:
            size //= 4
        yield names[start : start + size]
        start += size


class Index:
    """Rows about packs and raw files, for one process. Safe for threads."""

    def __init__(self, path: Path, files: PackFiles, *, read_only: bool = False) -> None:
        """Open the index beside packs/ and raw/; build it anew where there is none, and take in what it lacks."""
        self.path = path
        self._store = path.parent
        self._files = files
        self._lock = RLock()
        self._read_only = read_only
        try:
            if read_only:
                try:
                    self._db = connect(path, read_only=True)
                except UnavailableError:
                    self._db = apsw.Connection(":memory:")
                    self._db.execute(SCHEMA)
                    self.adopt()
            else:
                self._db = connect(path)
                self._db.execute(SCHEMA)
                if self.unknown():
                    self.adopt()
        except apsw.Error as error:
            raise translate(error, path) from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock of the store; what was done inside is durable when this ends."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except apsw.Error as error:
                raise translate(error, self.path) from error

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See one state of the index for a while. For an `Index` that only one thread uses."""
        try:
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, self.path) from error

    def select(self, sql: str, bindings: Sequence[Value] = ()) -> list[tuple[Value, ...]]:
        """Return all rows of a query."""
        with self._lock:
            try:
                return self._db.execute(sql, bindings).fetchall()
            except _FAILURES as error:
                raise translate(error, self.path) from error

    def stream(self, sql: str) -> Iterator[tuple[Value, ...]]:
        """Yield the rows of a query that may be long. For an `Index` that only one thread uses."""
        try:
            yield from self._db.execute(sql)
        except _FAILURES as error:
            raise translate(error, self.path) from error

    def odd_schema(self) -> list[str]:
        """Return the names of tables, indexes, triggers and the like that are not as `SCHEMA` makes them."""
        try:
            odd = odd_schema(self._db, SCHEMA)
            if not self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'doomed'").fetchone():
                odd = [name for name in odd if name != "doomed"]  # of an older release, and opened only to be read
            return odd
        except _FAILURES as error:
            raise translate(error, self.path) from error

    def places(self, name: bytes) -> list[tuple[Place, bytes]]:
        """Return where copies of an object lie, each with the key of its pack or raw file (empty: there is none)."""
        rows = cast("list[tuple[bytes, int, int, int, int, int, int, bytes | None]]", self.select(_COPIES, (name,)))
        return [(Place(*row[:7]), row[7] or b"") for row in rows]

    def in_packs(self, names: Collection[bytes], kinds: Collection[int]) -> Found:
        """Return one copy of each of `names` that lies in a pack that is there, under one of `kinds`.

        A difference is taken only where there is no other copy.
        """
        rows: list[tuple[Value, ...]] = []
        for batch in in_batches(sorted(names)):
            rows += self.select(f"SELECT * FROM objects WHERE name IN ({','.join('?' * len(batch))})", batch)  # noqa: S608
        packs = cast("list[tuple[int, bytes]]", self.select("SELECT id, name FROM packs"))
        used = {row[1] for row in rows}
        keys = {number: key for number, key in packs if number in used and self._files.holds(key) and not is_raw(key)}
        found = [row for row in cast("list[PlaceRow]", rows) if row[3] in kinds and row[1] in keys]
        if len({row[0] for row in found}) < len(found):
            found.sort(key=lambda row: (row[4] == DELTA, keys[row[1]], row[2]), reverse=True)
            found = list({row[0]: row for row in found}.values())
        found.sort(key=_OFFSET)
        found.sort(key=_PACK)
        return found, keys

    def base(self, kind: int, name: bytes, depth: int) -> bytes:
        """Return the payload of what a record of `kind` at `depth` is a difference to.

        Raises:
            FormatError: It is not held, or not as it is named.
        """
        for place, key in self.places(name):
            if is_alike(place.kind, kind):
                with contextlib.suppress(FileNotFoundError, FormatError):
                    return self._files.read(key, place, self.base, depth)
        raise FormatError(f"what a record is a difference to is missing or altered: {name.hex()}")

    def base_for(self, kind: int, names: Sequence[bytes]) -> tuple[bytes, int] | None:
        """Return (payloads joined, depth) of objects to which one of `kind` may become a difference, or None."""
        payloads: list[bytes] = []
        deepest = 0
        for name in names:
            for place, key in self.places(name):
                if is_alike(place.kind, kind):
                    with contextlib.suppress(FileNotFoundError, FormatError, StoreReadError):
                        depth = self._files.bases(key, place)[0] + 1
                        if depth <= MAX_DEPTH:
                            payloads.append(self._files.read(key, place, self.base))
                            deepest = max(deepest, depth)
                            break
            else:
                return None
        return b"".join(payloads), deepest

    def recipes(self, blob: bytes) -> list[tuple[bytes, int]]:
        """Return (name of the recipe, size of the blob) for a blob that is kept in chunks."""
        rows = self.select("SELECT recipe, size FROM recipes WHERE blob=? ORDER BY recipe", (blob,))
        return cast("list[tuple[bytes, int]]", rows)

    def held(
        self, names: Collection[bytes], *, recipes: bool = True, to_rely_on: bool = False
    ) -> dict[bytes, set[int]]:
        """Return, for those of `names` that lie in a file that is there, the kinds under which they do.

        Args:
            names: Of objects.
            recipes: A blob that is kept in chunks counts as `Kind.BLOB`.
            to_rely_on: Leave out what is doomed: it is not stored anew because it is held, and must then stay.
        """
        found: dict[bytes, set[int]] = {}
        there: dict[bytes, bool] = {}
        and_so = _NOT_DOOMED if to_rely_on else ""
        self._look_up(_HELD, and_so, names, found, there)
        if recipes:
            self._look_up(_HELD_IN_CHUNKS, and_so, [name for name in names if name not in found], found, there)
        return found

    def known(self, names: Iterable[bytes]) -> set[bytes]:
        """Return those of `names` of which there is a row, of a record or of the recipe of a blob."""
        found: set[bytes] = set()
        for batch in in_batches(sorted(names)):
            marks = ",".join("?" * len(batch))
            for table, column in (("objects", "name"), ("recipes", "blob")):
                rows = self.select(f"SELECT {column} FROM {table} WHERE {column} IN ({marks})", batch)  # noqa: S608
                found.update(cast("bytes", row[0]) for row in rows)
        return found

    def _look_up(
        self, query: str, and_so: str, names: Iterable[bytes], found: dict[bytes, set[int]], there: dict[bytes, bool]
    ) -> None:
        for batch in in_batches(sorted(names)):
            rows = self.select(f"{query} IN ({','.join('?' * len(batch))}){and_so}", batch)
            for name, kind, pack in cast("list[tuple[bytes, int, bytes]]", rows):
                if pack not in there:
                    there[pack] = self._files.holds(pack)
                if there[pack]:
                    found.setdefault(name, set()).add(kind)

    def resolve(self, low: bytes, high: bytes) -> list[bytes]:
        """Return up to 100 names from `low` to `high`, both included; chunks have no names that people use."""
        rows = self.select(
            "SELECT DISTINCT name FROM objects WHERE name BETWEEN ?1 AND ?2 AND kind != 4"
            " UNION SELECT blob FROM recipes WHERE blob BETWEEN ?1 AND ?2 ORDER BY 1 LIMIT 100",
            (low, high),
        )
        return [row[0] for row in cast("list[tuple[bytes]]", rows)]

    def add(
        self, key: bytes, size_bytes: int, places: Sequence[PlaceRow], recipes: Iterable[Recipe], *, anew: bool = True
    ) -> None:
        """Insert the rows of a pack or raw file; inside `writing`. What is there already stays.

        Args:
            key: Of the file.
            size_bytes: Of the file.
            places: Of its records.
            recipes: Those among them.
            anew: Somebody has stored these objects just now, and needs them: they are doomed no more.
        """
        db = self._db
        if anew and db.execute("SELECT 1 FROM doomed LIMIT 1").fetchone():
            self.spare([place[0] for place in places])
        db.execute("INSERT OR IGNORE INTO packs (name, size) VALUES (?, ?)", (key, size_bytes))
        [(pack,)] = db.execute("SELECT id FROM packs WHERE name=?", (key,)).fetchall()
        for batch in in_batches(sorted(places, key=_NAME)):  # many rows in a statement take a third less time
            marks = ",".join([f"(?,{pack:d},?,?,?,?,?)"] * len(batch))
            values: list[Value] = []
            for name, _, offset, kind, codec, stored, size in batch:
                values += (name, offset, kind, codec, stored, size)
            db.execute(f"INSERT OR IGNORE INTO objects VALUES {marks}", values)  # noqa: S608
        for recipe in recipes:
            self._add_recipe(recipe)

    def doom(self, names: Iterable[bytes], since_ns: int) -> None:
        """Doom objects; inside `writing`."""
        self._db.executemany("INSERT OR IGNORE INTO doomed VALUES (?, ?)", [(name, since_ns) for name in names])

    def spare(self, names: Iterable[bytes] | None) -> int:
        """Take doomed objects back (None: all of them) and return how many; inside `writing`."""
        before = self._db.total_changes()
        if names is None:
            self._db.execute("DELETE FROM doomed")
        else:
            self._db.executemany("DELETE FROM doomed WHERE name = ?", [(name,) for name in names])
        return self._db.total_changes() - before

    def doomed_of(self, names: Collection[bytes]) -> set[bytes]:
        """Return those of `names` that are doomed."""
        found: set[bytes] = set()
        for batch in in_batches(sorted(names)):
            marks = ",".join("?" * len(batch))
            found.update(row[0] for row in self.select(f"SELECT name FROM doomed WHERE name IN ({marks})", batch))  # type: ignore[misc]  # noqa: S608
        return found

    def bases(self, names: Iterable[bytes]) -> set[bytes]:
        """Return what those of `names` that are kept as differences are made from, with what that is made from.

        A file that is not there, or a record that is altered, tells nothing.
        """
        found: set[bytes] = set()
        waiting = set(names)
        while waiting:
            made_from = set()
            for batch in in_batches(sorted(waiting)):
                query = f"{_COPIES_OF} IN ({','.join('?' * len(batch))}) AND o.codec = {DELTA}"
                made_from |= self._made_from(self.select(query, batch))
            waiting = made_from - found
            found |= waiting
        return found

    def unread_recipes(self) -> set[bytes]:
        """Return what recipes that cannot be read are made from: so what is lacking to read some large blob."""
        return self._made_from(self.select(_UNREAD))

    def _made_from(self, rows: Iterable[tuple[Value, ...]]) -> set[bytes]:
        found = set()
        for row in cast("Iterable[tuple[bytes, int, int, int, int, int, int, bytes | None]]", rows):
            with contextlib.suppress(FileNotFoundError, FormatError):
                found.update(self._files.bases(row[7] or b"", Place(*row[:7]))[1])
        return found

    def doomed(self) -> set[bytes]:
        """Return everything that is doomed."""
        return {row[0] for row in cast("list[tuple[bytes]]", self.select("SELECT name FROM doomed"))}

    def in_pack(self, key: bytes) -> list[Place]:
        """Return the places of all records in a pack or raw file, in the order in which they lie there."""
        rows = self.select(
            "SELECT o.* FROM objects o JOIN packs p ON p.id = o.pack WHERE p.name = ? ORDER BY o.offset", (key,)
        )
        return [Place(*row) for row in cast("list[tuple[bytes, int, int, int, int, int, int]]", rows)]

    def forget(self, key: bytes) -> None:
        """Delete the rows of a pack or raw file, inside `writing`."""
        db = self._db
        for (pack,) in db.execute("SELECT id FROM packs WHERE name = ?", (key,)).fetchall():
            recipes = db.execute("SELECT name FROM objects WHERE pack = ? AND kind = 3", (pack,)).fetchall()
            db.execute("DELETE FROM objects WHERE pack = ?", (pack,))
            db.execute("DELETE FROM packs WHERE id = ?", (pack,))
            db.executemany(
                "DELETE FROM recipes WHERE recipe = ?1 AND NOT EXISTS (SELECT 1 FROM objects WHERE name = ?1)", recipes
            )

    def bury(self) -> None:
        """Forget that something was doomed that lies nowhere any more; inside `writing`."""
        self._db.execute("DELETE FROM doomed WHERE NOT EXISTS (SELECT 1 FROM objects o WHERE o.name = doomed.name)")

    def names_in(self, key: bytes) -> set[bytes]:
        """Return the names of the objects in a pack or raw file, and of the blobs whose recipes lie there."""
        rows = self.select("SELECT o.name FROM objects o JOIN packs p ON p.id = o.pack WHERE p.name = ?", (key,))
        blobs = self.select(
            "SELECT r.blob FROM recipes r JOIN objects o ON o.name = r.recipe AND o.kind = 3"
            " JOIN packs p ON p.id = o.pack WHERE p.name = ?",
            (key,),
        )
        return {cast("bytes", row[0]) for row in (*rows, *blobs)}

    def take(self, key: bytes, temporary: Path, path: Path, disk: Disk) -> None:
        """Rename a pack or raw file into its place, and insert its rows.

        Raises:
            OSError: The disk refuses.
        """
        recipes: list[Recipe] = []
        if is_raw(key):  # of any size, so not under the lock
            _, size, places = scan_raw(OpenedFile(temporary))
        else:
            with mapped(temporary) as data:
                size = len(data)
                places, recipes = self._rows(data)
        with self.writing():
            disk.rename(temporary, path)
            sync_folder(path.parent, disk)
            self.add(key, size, places, recipes)
            if Kind.RECIPE in {place.kind for place in places}:
                self._adopt_recipes()

    def place(self, sealed: SealedPack, recipes: Iterable[Recipe], disk: Disk, *, anew: bool = True) -> None:
        """Rename a pack that was written here into its place, and insert its rows, as `add` does; inside `writing`.

        Raises:
            OSError: The disk refuses.
        """
        path = path_of(self._store, sealed.name)
        disk.rename(sealed.temporary, path)
        sync_folder(path.parent, disk)
        self.add(sealed.name, sealed.size_bytes, sealed.places, recipes, anew=anew)

    def unknown(self) -> list[bytes]:
        """Return the keys of packs and raw files that are there but not in the index."""
        known = {row[0] for row in self.select("SELECT name FROM packs")}
        return [key for key in list_keys(self._store) if key not in known]

    def lost(self) -> list[bytes]:
        """Return those that are there, but neither in the index nor about to be put there by a living writer."""
        if not self._read_only:
            with self.writing():
                return self.unknown()
        for _ in range(10):  # the lock cannot be had: give a writer time to commit
            if not (lost := self.unknown()):
                break
            sleep(0.05)
        return lost

    def adopt(self) -> None:
        """Index what is not in the index: a crash between the renaming of a file and its rows left it."""
        with self.writing():
            raw = []
            for key in self.unknown():  # again, under the lock: another process may have been faster
                if is_raw(key):
                    raw.append(key)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    self._adopt_pack(key)
            self._adopt_recipes()
        for key in raw:
            with contextlib.suppress(FileNotFoundError):
                _, size, places = scan_raw(self._files.open(key))  # of any size, so not under the lock
                with self.writing():
                    self.add(key, size, places, ())

    def _adopt_pack(self, name: bytes) -> None:
        """Insert the rows of a pack, but for those of recipes that are differences."""
        data = self._files.load(name)
        places, recipes = self._rows(data)
        self.add(name, len(data), places, recipes)

    def _rows(self, data: Bytes) -> tuple[list[Place], list[Recipe]]:
        """Return what is in a pack, and those recipes in it that are no differences."""
        places = [found for found in records(data) if isinstance(found, Place)]
        recipe = int(Kind.RECIPE)  # a plain number is compared sooner
        recipes = []
        for place in [place for place in places if place.kind == recipe and place.codec != DELTA]:
            payload = payload_in(data, place, self.base)
            if payload is not None:
                with contextlib.suppress(FormatError):
                    recipes.append(Recipe.decode(payload))
        return places, recipes

    def _adopt_recipes(self) -> None:
        """Insert the rows of recipes that are differences: what they are made from may lie in a later pack."""
        for row in cast("list[tuple[bytes]]", self.select(_UNREAD)):
            with contextlib.suppress(FormatError):
                self._add_recipe(Recipe.decode(self.base(Kind.RECIPE, row[0], MAX_DEPTH + 1)))

    def _add_recipe(self, recipe: Recipe) -> None:
        row = (recipe.blob, recipe.name, recipe.size)
        self._db.execute("INSERT OR IGNORE INTO recipes VALUES (?, ?, ?)", row)

    def rebuild(self) -> None:
        """Forget every row and read them again from the packs and raw files."""
        with self.writing():
            for table in ("packs", "objects", "recipes"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608
            for key in list_keys(self._store):
                if is_raw(key):
                    _, size, places = scan_raw(self._files.open(key))
                    self.add(key, size, places, ())
                else:
                    self._adopt_pack(key)
            self._adopt_recipes()

    def close(self) -> None:
        """Close the database; the last to close folds its write-ahead log into it."""
        with self._lock:
            self._db.close()
