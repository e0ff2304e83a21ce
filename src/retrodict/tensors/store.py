"""A Zarr store over objects: the keys of an array are the files of a tree, every read is verified.

A store that is written keeps what is new as objects at once (they are bytes that nothing names until the version is
recorded), and knows which keys changed; `Changes.save` makes the tree of the new version, in which folders without a
change keep their name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from threading import RLock
from typing import Protocol

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.core.buffer.core import default_buffer_prototype

from retrodict.kernel.types import Digest
from retrodict.objects import TreeEntry, digest_of

_PENDING_BYTES = 32 << 20


class Objects(Protocol):
    """Where the files of versions lie: the object store, or what seals them on the way there."""

    def get(self, digest: Digest, /) -> bytes:
        """Return the bytes under a name, verified."""
        ...

    def read(self, digest: Digest, offset: int, length: int, /) -> bytes:
        """Return a part of them, verified."""
        ...

    def put_many(self, contents: Iterable[bytes], /) -> list[Digest]:
        """Keep bytes; durable when this returns."""
        ...

    def put_tree(self, entries: Iterable[TreeEntry], /) -> Digest:
        """Keep a listing."""
        ...

    def list_tree(self, digest: Digest, /) -> Iterable[TreeEntry]:
        """Return what a listing holds."""
        ...

    def tree_entry(self, digest: Digest, name: bytes, /) -> TreeEntry | None:
        """Return what a listing holds under one name; None: nothing."""
        ...


class Files:
    """The files of a version, by key ("c/0/1"); a folder is listed when it is first needed."""

    def __init__(self, objects: Objects, root: Digest | None) -> None:
        """`root` None: there are none yet."""
        self.root = root
        self._objects = objects
        self._folders: dict[str, dict[str, TreeEntry]] = {} if root is not None else {"": {}}

    def folder(self, path: str) -> dict[str, TreeEntry]:
        """Return what is in a folder ("" for the root) by name; nothing where there is none."""
        if path not in self._folders:
            if path == "":
                digest = self.root
            else:
                parent, _, name = path.rpartition("/")
                entry = self.folder(parent).get(name)
                digest = entry.digest if entry is not None and entry.kind == "tree" else None
            listed = () if digest is None else self._objects.list_tree(digest)
            self._folders[path] = {entry.name.decode("utf-8", "surrogateescape"): entry for entry in listed}
        return self._folders[path]

    def find(self, key: str) -> TreeEntry | None:
        """Return the file under a key, or None."""
        folder, _, name = key.rpartition("/")
        entry = self.folder(folder).get(name)
        return entry if entry is not None and entry.kind in ("file", "executable") else None

    def walk(self, path: str = "") -> Iterator[tuple[str, TreeEntry]]:
        """Yield (key, file) for everything in a folder and below it."""
        for name, entry in self.folder(path).items():
            key = f"{path}/{name}" if path else name
            if entry.kind == "tree":
                yield from self.walk(key)
            elif entry.kind in ("file", "executable"):
                yield key, entry


class Changes:
    """Keys that differ from a version's files: what they hold now, or None where they are gone."""

    def __init__(self, objects: Objects, files: Files, check: Callable[[], None] | None = None) -> None:
        """Begin with none; `check` raises where nothing may be stored, and is asked each time."""
        self.files = files
        self._check = check
        self.changed: dict[str, TreeEntry | None] = {}
        self._objects = objects
        self._pending: dict[Digest, bytes] = {}
        self._weight = 0
        self._lock = RLock()  # zarr writes from a thread of its own

    def set(self, key: str, data: bytes) -> None:
        """Put bytes under a key."""
        name = key.rpartition("/")[2].encode("utf-8", "surrogateescape")
        digest = digest_of(data)
        before = self.files.find(key)
        with self._lock:
            if before is not None and before.digest == digest:
                self.changed.pop(key, None)
                return
            self.changed[key] = TreeEntry(name=name, kind="file", digest=digest, size=len(data))
            if digest not in self._pending:
                self._pending[digest] = data
                self._weight += len(data)
            if self._weight >= _PENDING_BYTES:
                self.flush()

    def remove(self, key: str) -> None:
        """Let nothing be under a key."""
        with self._lock:
            if self.files.find(key) is not None:
                self.changed[key] = None
            else:
                self.changed.pop(key, None)

    def get(self, digest: Digest) -> bytes | None:
        """Return bytes that are not stored yet."""
        with self._lock:
            return self._pending.get(digest)

    def flush(self) -> None:
        """Store what is new; durable when this returns."""
        if self._check is not None:
            self._check()
        with self._lock:
            self._objects.put_many(self._pending.values())
            self._pending, self._weight = {}, 0

    def save(self, onto: Files) -> tuple[Digest, int]:
        """Store the changes and the tree that `onto` becomes by them; return (its name, how many files it has more)."""
        self.flush()
        before = sum(onto.find(key) is not None for key in self.changed)
        after = sum(entry is not None for entry in self.changed.values())
        entry = _applied(self._objects, onto, "", b"", self.changed)
        return (self._objects.put_tree(()) if entry is None else entry.digest), after - before


def _applied(
    objects: Objects, files: Files, path: str, name: bytes, changed: Mapping[str, TreeEntry | None]
) -> TreeEntry | None:
    """Return a folder with the changes to its keys, which are relative to it; None where nothing is left in it."""
    entries = dict(files.folder(path))
    below: dict[str, dict[str, TreeEntry | None]] = {}
    for key, entry in changed.items():
        first, slash, rest = key.partition("/")
        if slash:
            below.setdefault(first, {})[rest] = entry
        elif entry is None:
            entries.pop(first, None)
        else:
            entries[first] = entry
    for first, inner in below.items():
        inside = f"{path}/{first}" if path else first
        found = _applied(objects, files, inside, first.encode("utf-8", "surrogateescape"), inner)
        if found is None:
            entries.pop(first, None)
        else:
            entries[first] = found
    if not entries:
        return None
    size = sum(entry.size for entry in entries.values())
    return TreeEntry(name=name, kind="tree", digest=objects.put_tree(entries.values()), size=size)


class ObjectsStore(Store):
    """What zarr reads a version through, and writes the next one through where there are `changes`."""

    supports_listing = True

    def __init__(self, objects: Objects, files: Files, changes: Changes | None = None) -> None:
        super().__init__(read_only=changes is None)
        self._objects = objects
        self.files = files
        self.changes = changes

    @property
    def supports_writes(self) -> bool:
        """Whether there may be changes."""
        return self.changes is not None

    @property
    def supports_deletes(self) -> bool:
        """The same."""
        return self.changes is not None

    def with_read_only(self, read_only: bool = False) -> ObjectsStore:
        """Return the same store, to be read or written."""
        if not read_only and self.changes is None:
            raise ValueError("a version is never changed: `retrodict.new_version` makes the next one")
        return ObjectsStore(self._objects, self.files, None if read_only else self.changes)

    def __eq__(self, value: object) -> bool:
        return (
            isinstance(value, ObjectsStore)
            and self.files.root == value.files.root
            and self.changes is value.changes
            and self._objects is value._objects
        )

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"retrodict://{self.files.root}"

    def _find(self, key: str) -> TreeEntry | None:
        if self.changes is not None and key in self.changes.changed:
            return self.changes.changed[key]
        return self.files.find(key)

    def read(self, key: str, byte_range: ByteRequest | None = None) -> bytes | None:
        """Return the bytes under a key, verified; None where there are none."""
        entry = self._find(key)
        if entry is None:
            return None
        match byte_range:
            case None:
                start, stop = 0, entry.size
            case RangeByteRequest():
                start, stop = byte_range.start, min(byte_range.end, entry.size)
            case OffsetByteRequest():
                start, stop = byte_range.offset, entry.size
            case _:
                start, stop = max(entry.size - byte_range.suffix, 0), entry.size
        pending = None if self.changes is None else self.changes.get(entry.digest)
        if pending is not None:
            return pending[start:stop]
        if (start, stop) == (0, entry.size):
            return self._objects.get(entry.digest)
        return self._objects.read(entry.digest, start, max(stop - start, 0))

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """See `zarr.abc.store.Store`."""
        data = self.read(key, byte_range)
        return None if data is None else (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """See `zarr.abc.store.Store`."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """See `zarr.abc.store.Store`."""
        return self._find(key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """See `zarr.abc.store.Store`."""
        self._check_writable()
        assert self.changes is not None
        self.changes.set(key, value.to_bytes())

    async def delete(self, key: str) -> None:
        """See `zarr.abc.store.Store`."""
        self._check_writable()
        assert self.changes is not None
        self.changes.remove(key)

    def _keys(self) -> Iterator[str]:
        changed = {} if self.changes is None else dict(self.changes.changed)
        yield from (key for key, _ in self.files.walk() if key not in changed)
        yield from (key for key, entry in changed.items() if entry is not None)

    async def list(self) -> AsyncIterator[str]:
        """See `zarr.abc.store.Store`."""
        for key in self._keys():
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """See `zarr.abc.store.Store`."""
        for key in self._keys():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """See `zarr.abc.store.Store`."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in dict.fromkeys(key[len(start) :].partition("/")[0] for key in self._keys() if key.startswith(start)):
            yield name
