"""Mending: good copies from somewhere else take the place of altered and missing ones.

What comes from elsewhere is believed only as far as it has its name: a file by the hash of all its bytes, a record by
its own. A file that is bad here is replaced whole where the same file is good there. Otherwise its records are looked
for one by one, in packs and raw files of any other cut, and what is found is stored in new packs; a bad file is removed
only once everything that it held is good elsewhere in the store, and durable. A crash leaves at worst both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from retrodict.kernel.durable import Disk
from retrodict.kernel.errors import FormatError, RetrodictError, UnavailableError
from retrodict.kernel.protocols import Progress, Remote
from retrodict.objects.errors import StoreReadError
from retrodict.objects.index import Index
from retrodict.objects.names import Kind, checked
from retrodict.objects.pack import (
    PLAIN,
    RECORD,
    Load,
    PackFiles,
    Place,
    is_raw,
    key_at,
    list_keys,
    path_of,
    payload_in,
    scan,
)
from retrodict.objects.reader import Reader
from retrodict.objects.recipe import name_chunks
from retrodict.objects.rewrite import Record, Rewriter


class Copies:
    """The packs and raw files of a remote, a backup or another store."""

    def __init__(self, remote: Remote, progress: Progress | None = None) -> None:
        """Look at what there is: two listings.

        Raises:
            RemoteError: It cannot be reached.
        """
        self._remote = remote
        self._progress = progress
        self._files: dict[bytes, str] = {}
        for folder in ("packs/", "raw/"):
            for name in remote.list(folder):
                if (key := _key_of(name)) is not None:
                    self._files.setdefault(key, name)
        self._names: dict[bytes, frozenset[bytes]] = {}  # what a file holds: as was said there, or as was read
        self._read: set[bytes] = set()
        self.received_bytes = 0

    def __len__(self) -> int:
        return len(self._files)

    @property
    def place(self) -> str:
        """Where it is, without credentials."""
        return self._remote.place

    def whole(self, key: bytes) -> Iterator[memoryview] | None:
        """Return the file of that key as parts, each good until the next is asked for; None: there is none.

        Raises:
            FormatError: At its end: its bytes are not those that it is named by.
        """
        parts = self._parts(key) if key in self._files else None
        problem = f"{self.place} holds another file under {key.hex()}"
        return None if parts is None else checked(parts, key[-32:].hex(), lambda: FormatError(problem))

    def find(self, wanted: Collection[bytes], load: Load) -> Iterator[Record]:
        """Yield a good record for each of the names that is there; for a blob in chunks, its recipe.

        `load` gives what a record is a difference to: one of which that is not held is not good here.

        Files that are said to hold one come first; then, since nobody needs to be believed, all others are read.
        """
        rest = set(wanted)
        for key in self._files:
            if key not in self._names:
                said = b""
                with contextlib.suppress(FormatError):
                    said = self._remote.get(f"names/{key.hex()}") or b""
                self._names[key] = frozenset(said[i : i + 32] for i in range(0, len(said) - 31, 32))
        order = sorted(self._files, key=lambda key: (self._names[key].isdisjoint(rest), key))
        for done, key in enumerate(order):
            if not rest:
                return
            if key in self._read and self._names[key].isdisjoint(rest):
                continue
            if self._progress is not None:
                self._progress(done, len(order), "packs looked through for good copies")
            yield from self._records(key, rest, load)

    def _parts(self, key: bytes) -> Iterator[memoryview] | None:
        parts = self._remote.parts(self._files[key])

        def received(parts: Iterator[memoryview]) -> Iterator[memoryview]:
            for part in parts:
                self.received_bytes += len(part)
                yield part

        return None if parts is None else received(parts)

    def _records(self, key: bytes, rest: set[bytes], load: Load) -> Iterator[Record]:
        """Yield those records of one file that are in `rest`, and take them out of it."""
        names: set[bytes] = set()
        with contextlib.suppress(FormatError):  # a bundle that is damaged there: what else it holds may be good
            parts = self._parts(key) or iter(())
            for record in _in_raw(parts) if is_raw(key) else _in_pack(b"".join(map(bytes, parts)), load):
                serves = {record.name}
                if record.kind == Kind.RECIPE:
                    with contextlib.suppress(FormatError):
                        serves.add(record.recipe(load).blob)
                names |= serves
                if rest & serves:
                    rest -= serves
                    yield record
        self._names[key] = frozenset(names)
        self._read.add(key)


def _key_of(name: str) -> bytes | None:
    """Return the key of a file in a remote (where a raw file lies among the packs) or in a store."""
    folder, _, file = name.rpartition("/")
    stem = file.removesuffix(".pack")
    if folder == "packs" and file != stem and len(stem) == 72 and not stem.strip("0123456789abcdef"):
        key = bytes.fromhex(stem)
        return key if is_raw(key) else None
    return key_at(Path(name))


def _in_pack(data: bytes, load: Load) -> Iterator[Record]:
    """Yield the good records of a pack, whatever else is wrong with it."""
    for place in scan(data):
        if isinstance(place, Place) and payload_in(data, place, load) is not None:
            start = place.offset + RECORD.size
            stored = data[start : start + place.stored]
            yield Record(place.kind, place.codec, place.size, place.name, stored)


def _in_raw(parts: Iterator[memoryview]) -> Iterator[Record]:
    """Yield the chunks of a raw file, each named by its bytes."""
    left = memoryview(b"")

    def read_into(buffer: memoryview) -> int:
        nonlocal left
        left = left or next(parts, left)
        n = min(len(left), len(buffer))
        buffer[:n], left = left[:n], left[n:]
        return n

    from concurrent.futures import ThreadPoolExecutor  # 10 ms, with the logging that it brings

    with ThreadPoolExecutor(2) as pool:
        for part in name_chunks(read_into, pool, blake3()):
            for name, chunk in part:
                yield Record(Kind.CHUNK.value, PLAIN, len(chunk), name, bytes(chunk))


@dataclass(frozen=True, slots=True, kw_only=True)
class BadFile:
    """A pack or raw file that is missing, or whose bytes are not those of its name.

    Attributes:
        key: Of the file.
        good: The places of its records that are as they are named.
        lost: The names of those that are not and of which the store has no other good copy, each with its kind.
    """

    key: bytes
    good: tuple[Place, ...]
    lost: Mapping[bytes, int]

    @property
    def names(self) -> set[bytes]:
        """The names of all records that are known to have been in it."""
        return {place.name for place in self.good} | self.lost.keys()


class Mender:
    """Mends one store. Other processes may read and write it meanwhile."""

    def __init__(
        self,
        index: Index,
        store: Path,
        files: PackFiles,
        reader: Reader,
        disk: Disk,
        take: Callable[[str, Iterable[memoryview]], None],
    ) -> None:
        """`take` is `ObjectStore.take_pack`."""
        self._index = index
        self._store = store
        self._files = files
        self._reader = reader
        self._rewriter = Rewriter(index, store, files, disk)
        self._take = take

    def bad_files(self, progress: Progress | None = None) -> list[BadFile]:
        """Read every pack and raw file; return those that are bad."""
        known = [name for (name,) in self._index.select("SELECT name FROM packs ORDER BY id")]
        keys = list(dict.fromkeys([key for key in known if isinstance(key, bytes)] + list_keys(self._store)))
        found = []
        for done, key in enumerate(keys):
            if not self._is_whole(key):
                found.append(self._bad_file(key))
            if progress is not None:
                progress(done + 1, len(keys), "packs")
        return found

    def _is_whole(self, key: bytes) -> bool:
        whole = blake3()
        try:
            with path_of(self._store, key).open("rb") as file:
                while block := file.read(1 << 20):
                    whole.update(block)
        except OSError:  # gone, or on a part of the disk that fails: then its records are looked at one by one
            return False
        return whole.digest() == key[-32:]

    def _bad_file(self, key: bytes) -> BadFile:
        places = {(place.name, place.offset): place for place in self._index.in_pack(key)}
        told = {place.offset for place in places.values()}
        if not is_raw(key):
            with contextlib.suppress(FileNotFoundError, UnavailableError):
                for found in scan(self._files.load(key)):
                    if isinstance(found, Place) and found.offset not in told:  # an altered header may bear any name
                        places[found.name, found.offset] = found
        good: list[Place] = []
        bad: dict[bytes, int] = {}
        for place in sorted(places.values(), key=lambda place: place.offset):
            try:
                self._files.read(key, place, self._index.base)
                good.append(place)
            except (FileNotFoundError, FormatError, StoreReadError):
                bad[place.name] = place.kind
        lost = {name: kind for name, kind in bad.items() if not self.is_good(name)}
        return BadFile(key=key, good=tuple(good), lost=lost)

    def is_good(self, name: bytes) -> bool:
        """Say whether some copy of an object is held and is as it is named; of a blob in chunks, its recipe."""
        try:
            if self._index.places(name) or not self._index.recipes(name):
                self._reader.load(name, tuple(Kind))
            else:
                return self._reader.recipe(name) is not None
        except RetrodictError:
            return False
        return True

    def replace(self, bad: BadFile, copies: Copies) -> bool:
        """Put the same file, as it is elsewhere, in the place of a bad one; say whether there was a good one.

        Raises:
            StoreWriteError: The disk is full or fails; nothing was changed.
        """
        parts = copies.whole(bad.key)
        if parts is None:
            return False
        try:
            self._take(bad.key.hex(), parts)
        except FormatError:
            return False
        self._files.drop(bad.key)
        return True

    def gather(self, wanted: Mapping[bytes, int | None], copies: Copies) -> set[bytes]:
        """Store good copies of what is wanted (each name with its kind, where that is known); return what was found.

        Raises:
            StoreWriteError: The disk is full or fails; nothing half-written is left.
        """
        found: set[bytes] = set()

        def records() -> Iterator[Record]:
            for record in copies.find(rest, self._index.base):
                found.add(record.name)
                is_file = record.kind == Kind.CHUNK and wanted.get(record.name) == Kind.BLOB
                yield record._replace(kind=Kind.BLOB.value) if is_file else record

        rest, before = set(wanted), -1
        while rest and len(found) > before:  # what is a difference to something is good once that has been found
            before = len(found)
            self._rewriter.keep(records())
            rest = {name for name in rest if not self.is_good(name)}
        return found

    def retire(self, bad: BadFile) -> None:
        """Remove a bad file; its good records are kept in new packs. Of what is lost there are good copies elsewhere.

        Raises:
            StoreWriteError: The disk is full or fails; nothing is lost.
        """
        if bad.key not in self._rewriter.copy(bad.key, bad.good):  # else the very same pack has taken its place
            self._rewriter.remove(bad.key)

    def rebuild_index(self) -> None:
        """Read all rows again from the packs and raw files, which are all good."""
        self._index.rebuild()
