"""Writing: pack durable, then its rows, then the answer.

A crash leaves at worst a file under `tmp/` or a whole pack without rows, which the next opening takes in. The pack is
renamed and its rows are inserted under one hold of the index's write lock, so whoever holds that lock sees every pack
with its rows, unless its writer died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from blake3 import blake3

from retrodict.kernel.durable import Disk, sync_folder
from retrodict.objects.errors import StoreWriteError
from retrodict.objects.index import Index
from retrodict.objects.names import Kind, name_of
from retrodict.objects.pack import PACK_BYTES, PackWriter, Squeezer, pack_path
from retrodict.objects.recipe import CUT_FROM, Recipe, cut, encode

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_ROWS = 100_000  # a pack of many tiny objects is sealed earlier: its rows wait in memory


class Writer:
    """Stores what the store does not hold yet; durable once `finish` (or leaving the `with` block) returns.

    One writer is used by one thread; several writers, in any number of processes, do not disturb each other.
    """

    def __init__(self, index: Index, packs: Path, tmp: Path, disk: Disk) -> None:
        self._index = index
        self._packs = packs
        self._tmp = tmp
        self._disk = disk
        self._squeezer = Squeezer()
        self._pack: PackWriter | None = None
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
        held = self._index.held([name for name, _ in wanted], recipes=False)
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
        from concurrent.futures import ThreadPoolExecutor  # 10 ms, with the logging that it brings

        if self._pool is None:
            self._pool = ThreadPoolExecutor(2)
        whole = blake3()
        chunks: list[tuple[int, bytes]] = []
        size = 0
        # While one segment is hashed, the next is read and cut.
        pending: tuple[memoryview, list[tuple[int, int]], Future[blake3], Future[list[bytes]]] | None = None

        def settle() -> None:
            if pending is None:
                return
            segment, cuts, hashed, names = pending
            hashed.result()
            objects = [
                (name, segment[at : at + length]) for name, (at, length) in zip(names.result(), cuts, strict=True)
            ]
            chunks.extend((len(data), name) for name, data in objects)
            self.keep_named(Kind.CHUNK, objects)

        for segment, cuts in cut(read_into):
            settle()
            hashed = self._pool.submit(whole.update, segment)
            pending = (segment, cuts, hashed, self._pool.submit(_chunk_names, segment, cuts))
            size += len(segment)
            if progress is not None:
                progress(len(segment))
        settle()
        blob = whole.digest()
        if Kind.BLOB not in self._index.held([blob]).get(blob, ()):  # a blob is never cut again
            payload = encode(blob, size, chunks)
            recipe = Recipe.decode(payload)
            if (recipe.name, False) not in self._fresh:
                self._recipes.append(recipe)
                self.keep_named(Kind.RECIPE, [(recipe.name, payload)])
        return blob, size

    def finish(self) -> None:
        """Make everything so far durable and visible."""
        pack, self._pack = self._pack, None
        if pack is None:
            return
        try:
            sealed = pack.seal()
            recipes = self._recipes
            with self._index.writing():
                self._disk.rename(sealed.temporary, pack_path(self._packs, sealed.name))
                sync_folder(self._packs, self._disk)
                self._index.add_pack(sealed.name, sealed.size_bytes, sealed.places, recipes)
        except OSError as error:
            pack.abort()
            raise StoreWriteError(str(self._packs), error) from error
        except BaseException:
            pack.abort()
            raise
        self.stored_bytes += sealed.size_bytes
        self._fresh.clear()
        self._recipes = []
        self._rows = 0


def _chunk_names(segment: memoryview, cuts: Iterable[tuple[int, int]]) -> list[bytes]:
    return [blake3(segment[at : at + length]).digest() for at, length in cuts]
