"""Writing: bytes durable, then their rows, then the answer.

A crash leaves at worst a file under `tmp/` or a whole pack or raw file without rows, which the next opening takes in.
Both are renamed and their rows are inserted under one hold of the index's write lock, so whoever holds that lock sees
each with its rows, unless its writer died.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from blake3 import blake3

from retrodict.kernel.durable import Disk, sync_folder
from retrodict.objects.errors import StoreReadError, StoreWriteError
from retrodict.objects.index import Index
from retrodict.objects.names import Kind, name_of
from retrodict.objects.pack import PACK_BYTES, PackWriter, Place, Squeezer, path_of, raw_key
from retrodict.objects.raw import RAW_NEW, Clone, places_of
from retrodict.objects.recipe import CUT_FROM, Recipe, encode, name_chunks

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_ROWS = 100_000  # a pack of many tiny objects is sealed earlier: its rows wait in memory


class Writer:
    """Stores what the store does not hold yet; durable once `finish` (or leaving the `with` block) returns.

    One writer is used by one thread; several writers, in any number of processes, do not disturb each other.
    """

    def __init__(self, index: Index, store: Path, disk: Disk) -> None:
        self._index = index
        self._store = store
        self._tmp = store / "tmp"
        self._disk = disk
        self._squeezer = Squeezer()
        self._pack: PackWriter | None = None
        self._raw: tuple[Clone, bytes, list[Place]] | None = None  # about to be published: it, its key, its rows
        self._fresh: set[tuple[bytes, bool]] = set()  # (name, is it only a chunk) in the pack that is being written
        self._recipes: list[Recipe] = []
        self._rows = 0
        self._pool: ThreadPoolExecutor | None = None
        self.stored_bytes = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            if self._pack is not None:
                self._pack.abort()
            if self._pool is not None:
                self._pool.shutdown()

    def keep(self, kind: Kind, data: bytes) -> bytes:
        """Store one object; return its name."""
        if kind == Kind.BLOB and len(data) >= CUT_FROM:
            return self.keep_stream(BytesIO(data).readinto)[0]
        name = name_of(kind, data)
        self.keep_named(kind, [(name, data)])
        return name

    def keep_tree(self, node: bytes) -> bytes:
        """Store one tree node; return its name."""
        return self.keep(Kind.TREE, node)

    def keep_named(self, kind: Kind, objects: Sequence[tuple[bytes, bytes | memoryview]]) -> None:
        """Store objects whose names (of these very bytes) are known already, each small enough for one record."""
        chunk = kind == Kind.CHUNK
        wanted = [
            pair for pair in objects if (pair[0], False) not in self._fresh and (pair[0], chunk) not in self._fresh
        ]
        held = self._index.held([name for name, _ in wanted], recipes=False, to_rely_on=True)
        for name, data in wanted:
            kinds = held.get(name, ())
            if kind in kinds or (chunk and Kind.BLOB in kinds) or (name, chunk) in self._fresh:
                continue
            codec, stored = self._squeezer.encode(data)
            self._append(kind, codec, len(data), name, stored)

    def _append(self, kind: Kind, codec: int, size: int, name: bytes, stored: bytes | memoryview) -> None:
        try:
            if self._pack is None:
                self._pack = PackWriter(self._tmp, self._disk)
            self._pack.add(kind, codec, size, name, stored)
        except OSError as error:
            raise StoreWriteError(str(self._tmp), error) from error
        self._fresh.add((name, kind == Kind.CHUNK))
        self._rows += 1
        if self._pack.size_bytes >= PACK_BYTES or self._rows >= _ROWS:
            self.finish()

    def keep_stream(
        self, read_into: Callable[[memoryview], int], progress: Callable[[int], None] | None = None
    ) -> tuple[bytes, int]:
        """Store a large blob in chunks; return (its name, its size in bytes).

        Args:
            read_into: Fills a buffer with more bytes and returns how many; 0 at the end.
            progress: Told how many bytes were taken.
        """
        whole = blake3()
        chunks: list[tuple[int, bytes]] = []
        for part in self._chunks(read_into, whole, progress):
            chunks += [(len(data), name) for name, data in part]
            self.keep_named(Kind.CHUNK, part)
        blob = whole.digest()
        self._keep_recipe(blob, chunks)
        return blob, sum(length for length, _ in chunks)

    def clone(self, source: int) -> Clone | None:
        """Return a snapshot of an open file that shares its blocks, or None: it cannot be had here."""
        try:
            return Clone(self._tmp, self._disk, source)
        except OSError:
            return None

    def keep_clone(self, clone: Clone, progress: Callable[[int], None] | None = None) -> bytes:
        """Store the large blob that `clone` holds; return its name.

        It becomes a raw file, durable when this returns, unless the store holds much of it: then its new chunks are
        stored as those of any blob, and the clone may go.
        """
        whole = blake3()
        chunks: list[tuple[int, bytes]] = []
        for part in self._chunks(clone.read_into, whole, progress):
            chunks += [(len(data), name) for name, data in part]
        blob = whole.digest()
        places = places_of(chunks)
        held = self._index.held([place.name for place in places], recipes=False, to_rely_on=True)
        new = [p for p in places if p.name not in held and not {(p.name, True), (p.name, False)} & self._fresh]
        is_raw = sum(place.size for place in new) >= RAW_NEW * clone.size_bytes
        if is_raw:
            self._raw = clone, raw_key(blob), places  # before its recipe, which may fill the pack: both come at once
        else:
            for place in new:
                if self.keep(Kind.CHUNK, clone.read(place)) != place.name:
                    raise StoreReadError(str(clone.temporary), OSError(errno.EIO, "what was read twice differs"))
        self._keep_recipe(blob, chunks)
        if is_raw:
            self.finish()
        return blob

    def _chunks(
        self, read_into: Callable[[memoryview], int], whole: blake3, progress: Callable[[int], None] | None
    ) -> Iterator[list[tuple[bytes, memoryview]]]:
        from concurrent.futures import ThreadPoolExecutor  # 10 ms, with the logging that it brings

        if self._pool is None:
            self._pool = ThreadPoolExecutor(2)
        for part in name_chunks(read_into, self._pool, whole):
            yield part
            if progress is not None:
                progress(sum(len(data) for _, data in part))

    def _keep_recipe(self, blob: bytes, chunks: list[tuple[int, bytes]]) -> None:
        if Kind.BLOB in self._index.held([blob], to_rely_on=True).get(blob, ()):
            return  # a blob is never cut again
        payload = encode(blob, sum(length for length, _ in chunks), chunks)
        recipe = Recipe.decode(payload)
        if (recipe.name, False) not in self._fresh:
            self._recipes.append(recipe)
            self.keep_named(Kind.RECIPE, [(recipe.name, payload)])

    def finish(self) -> None:
        """Make everything so far durable and visible."""
        pack, self._pack = self._pack, None
        raw, self._raw = self._raw, None
        if pack is None and raw is None:
            return
        try:
            sealed = pack.seal() if pack is not None else None
            if raw is not None:
                raw[0].sync()
                (self._store / "raw").mkdir(exist_ok=True)
                sync_folder(self._store, self._disk)
            with self._index.writing():
                if raw is not None:
                    clone, key, places = raw
                    clone.keep(path_of(self._store, key))
                    sync_folder(self._store / "raw", self._disk)
                    self._index.add(key, clone.size_bytes, places, ())
                if sealed is not None:
                    self._disk.rename(sealed.temporary, path_of(self._store, sealed.name))
                    sync_folder(self._store / "packs", self._disk)
                    self._index.add(sealed.name, sealed.size_bytes, sealed.places, self._recipes)
        except BaseException as error:
            if pack is not None:
                pack.abort()
            if isinstance(error, OSError):
                raise StoreWriteError(str(self._store), error) from error
            raise
        self.stored_bytes += (raw[0].size_bytes if raw else 0) + (sealed.size_bytes if sealed else 0)
        self._fresh.clear()
        self._recipes = []
        self._rows = 0
