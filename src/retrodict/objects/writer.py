"""Writing: bytes durable, then their rows, then the answer.

A crash leaves at worst a file under `tmp/` or a whole pack or raw file without rows, which the next opening takes in.
Both are renamed and their rows are inserted under one hold of the index's write lock, so whoever holds that lock sees
each with its rows, unless its writer died.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from blake3 import blake3

from retrodict.kernel.durable import Disk, sync_folder
from retrodict.kernel.errors import FormatError
from retrodict.objects.errors import StoreReadError, StoreWriteError
from retrodict.objects.index import Index
from retrodict.objects.names import Kind, name_of
from retrodict.objects.pack import (
    DELTA,
    MAX_BASES,
    PACK_BYTES,
    PackWriter,
    Place,
    Squeezer,
    difference,
    path_of,
    raw_key,
)
from retrodict.objects.raw import RAW_NEW, Clone, places_of
from retrodict.objects.recipe import CUT_FROM, Recipe, encode, name_chunks

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_OVERLAP = 2048  # bytes that a chunk must have at its place in an earlier one for that to be of use
_DELTA_FROM = 256  # bytes; a difference to something takes at least 50
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
        self._vain = 0  # how many differences in a row were not worth it
        self.stored_bytes = 0
        self.seals = 0  # how often everything so far was made durable

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

    def keep(self, kind: Kind, data: bytes, base: bytes | None = None) -> bytes:
        """Store one object; return its name. `base` names what it was before, in case that little has changed."""
        if kind == Kind.BLOB and len(data) >= CUT_FROM:
            return self.keep_stream(BytesIO(data).readinto, base=base)[0]
        name = name_of(kind, data)
        self.keep_named(kind, [(name, data)], {name: (base,)} if base is not None else {})
        return name

    def keep_tree(self, node: bytes, base: bytes | None = None) -> bytes:
        """Store one tree node; return its name."""
        return self.keep(Kind.TREE, node, base)

    def keep_named(
        self,
        kind: Kind,
        objects: Sequence[tuple[bytes, bytes | memoryview]],
        bases: Mapping[bytes, tuple[bytes, ...]] = MappingProxyType({}),
    ) -> None:
        """Store objects whose names (of these very bytes) are known already, each small enough for one record.

        `bases` says for some which objects each may be stored as a difference to.
        """
        chunk = kind == Kind.CHUNK
        fresh = self._fresh
        wanted = [
            pair for pair in objects if (pair[0], False) not in fresh and not (chunk and (pair[0], True) in fresh)
        ]
        held = self._index.held([name for name, _ in wanted], recipes=False, to_rely_on=True)
        # What is doomed goes; nothing may be made from it.
        sound = self._index.held({b for names in bases.values() for b in names}, recipes=False, to_rely_on=True)
        for name, data in wanted:
            kinds = held.get(name)
            if (kinds and (kind in kinds or (chunk and Kind.BLOB in kinds))) or (name, chunk) in fresh:
                continue
            base = bases.get(name)
            if base is None:
                codec, stored = self._squeezer.encode(data)
            else:
                codec, stored = self._encode(kind, data, base if all(b in sound for b in base) else ())
            self._append(kind, codec, len(data), name, stored)

    def _encode(self, kind: Kind, data: bytes | memoryview, bases: tuple[bytes, ...]) -> tuple[int, bytes | memoryview]:
        """Return (codec, stored bytes): a difference to `bases` where that takes off a quarter."""
        delta = b""
        # Where versions have little in common most differences are for nothing: then only some are tried.
        if bases and len(data) >= _DELTA_FROM and (self._vain < 8 or self._vain % 64 == 0):
            found = self._index.base_for(kind, bases)
            if found is not None and len(found[0]) >= _DELTA_FROM:  # zstd takes no prefix of a few bytes
                delta = difference(data, found[0], bases, found[1])
                if len(delta) * 4 <= len(data):
                    self._vain = 0
                    return DELTA, delta
        codec, stored = self._squeezer.encode(data)
        if delta and len(delta) * 4 <= len(stored) * 3:
            self._vain = 0
            return DELTA, delta
        self._vain += bool(bases)
        return codec, stored

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
        self,
        read_into: Callable[[memoryview], int],
        progress: Callable[[int], None] | None = None,
        base: bytes | None = None,
    ) -> tuple[bytes, int]:
        """Store a large blob in chunks; return (its name, its size in bytes).

        Args:
            read_into: Fills a buffer with more bytes and returns how many; 0 at the end.
            progress: Told how many bytes were taken.
            base: Names what it was before.
        """
        whole = blake3()
        chunks: list[tuple[int, bytes]] = []
        before = self._before(base)
        for part in self._chunks(read_into, whole, progress, before.recipe):
            chunks += [(len(data), name) for name, data in part]
            self.keep_named(Kind.CHUNK, part, before.pair((len(data), name) for name, data in part))
        blob = whole.digest()
        self._keep_recipe(blob, chunks, base)
        return blob, sum(length for length, _ in chunks)

    def _before(self, base: bytes | None) -> Earlier:
        """Return the chunks of the blob `base`; none where it is not kept in any."""
        for name, _ in self._index.recipes(base) if base is not None else ():
            found = self._index.base_for(Kind.RECIPE, (name,))
            if found is not None:
                with contextlib.suppress(FormatError):
                    return Earlier(Recipe.decode(found[0]))
        return Earlier(None)

    def clone(self, source: int) -> Clone | None:
        """Return a snapshot of an open file that shares its blocks, or None: it cannot be had here."""
        try:
            return Clone(self._tmp, self._disk, source)
        except OSError:
            return None

    def keep_clone(
        self, clone: Clone, progress: Callable[[int], None] | None = None, base: bytes | None = None
    ) -> bytes:
        """Store the large blob that `clone` holds; return its name.

        It becomes a raw file, durable when this returns, unless the store holds much of it: then its new chunks are
        stored as those of any blob, and the clone may go.
        """
        whole = blake3()
        chunks: list[tuple[int, bytes]] = []
        before = self._before(base)
        for part in self._chunks(clone.read_into, whole, progress, before.recipe):
            chunks += [(len(data), name) for name, data in part]
        blob = whole.digest()
        places = places_of(chunks)
        held = self._index.held([place.name for place in places], recipes=False, to_rely_on=True)
        new = [p for p in places if p.name not in held and not {(p.name, True), (p.name, False)} & self._fresh]
        is_raw = sum(place.size for place in new) >= RAW_NEW * clone.size_bytes
        if is_raw:
            self._raw = clone, raw_key(blob), places  # before its recipe, which may fill the pack: both come at once
        else:
            bases = before.pair(chunks)
            for place in new:
                data = clone.read(place)
                if name_of(Kind.CHUNK, data) != place.name:
                    raise StoreReadError(str(clone.temporary), OSError(errno.EIO, "what was read twice differs"))
                self.keep_named(Kind.CHUNK, [(place.name, data)], bases)
        self._keep_recipe(blob, chunks, base)
        if is_raw:
            self.finish()
        return blob

    def _chunks(
        self,
        read_into: Callable[[memoryview], int],
        whole: blake3,
        progress: Callable[[int], None] | None,
        like: Recipe | None,
    ) -> Iterator[list[tuple[bytes, memoryview]]]:
        from concurrent.futures import ThreadPoolExecutor  # 10 ms, with the logging that it brings

        if self._pool is None:
            self._pool = ThreadPoolExecutor(2)
        for part in name_chunks(read_into, self._pool, whole, like):
            yield part
            if progress is not None:
                progress(sum(len(data) for _, data in part))

    def _keep_recipe(self, blob: bytes, chunks: list[tuple[int, bytes]], base: bytes | None) -> None:
        if Kind.BLOB in self._index.held([blob], to_rely_on=True).get(blob, ()):
            return  # a blob is never cut again
        payload = encode(blob, sum(length for length, _ in chunks), chunks)
        recipe = Recipe.decode(payload)
        if (recipe.name, False) not in self._fresh:
            self._recipes.append(recipe)
            before = self._index.recipes(base) if base is not None else []
            self.keep_named(Kind.RECIPE, [(recipe.name, payload)], {recipe.name: (before[0][0],)} if before else {})

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
                    self._index.place(sealed, self._recipes, self._disk)
        except BaseException as error:
            if pack is not None:
                pack.abort()
            if isinstance(error, OSError):
                raise StoreWriteError(str(self._store), error) from error
            raise
        self.stored_bytes += (raw[0].size_bytes if raw else 0) + (sealed.size_bytes if sealed else 0)
        self.seals += 1
        self._fresh.clear()
        self._recipes = []
        self._rows = 0


class Earlier:
    """The chunks of an earlier version, beside which those of a later one are laid."""

    def __init__(self, recipe: Recipe | None) -> None:
        self.recipe = recipe
        self._at = {name: i for i, name in enumerate(recipe.chunks)} if recipe is not None else {}
        self._offset = 0  # in the later version
        self._shift = 0  # by how much further the same bytes lie in the earlier one

    def pair(self, chunks: Iterable[tuple[int, bytes]]) -> dict[bytes, tuple[bytes, ...]]:
        """Return for each of the next chunks (bytes, name) that is new which earlier ones it may be an edit of.

        Those are what lies at its place, seen from the last chunk that both have; behind the end there is nothing.
        """
        bases: dict[bytes, tuple[bytes, ...]] = {}
        old = self.recipe
        for length, name in chunks if old is not None else ():
            start = self._offset + self._shift
            self._offset += length
            if (at := self._at.get(name)) is not None:
                self._shift = old.ends[at] - self._offset  # type: ignore[union-attr]
                continue
            low, high = max(0, start), start + length
            near = [
                old.chunks[i]  # type: ignore[union-attr]
                for i in old.within(low, max(0, high - low))  # type: ignore[union-attr]
                if min(high, old.ends[i]) - max(low, old.start(i)) >= min(_OVERLAP, length)  # type: ignore[union-attr]
            ]
            if 0 < len(near) <= MAX_BASES:
                bases[name] = tuple(near)
        return bases
