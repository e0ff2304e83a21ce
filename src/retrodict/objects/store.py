"""The object store: immutable bytes, named by their digest, in packs and raw files behind one index."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from retrodict.kernel import canonical
from retrodict.kernel.clock import NS
from retrodict.kernel.durable import REAL_DISK, Disk, parts_of, sync_folder, write_file, write_parts
from retrodict.kernel.errors import (
    AlteredObjectError,
    FormatError,
    IntegrityError,
    MissingObjectError,
    NewerFormatError,
    ReadOnlyStoreError,
    UsageError,
)
from retrodict.kernel.protocols import BlobSource, Clock, Progress
from retrodict.kernel.types import Digest, Finding
from retrodict.objects import tree
from retrodict.objects.add import Added, Adder, Ignore, display, hash_path, known_in_folder, look
from retrodict.objects.checkout import Checkout, Replaced
from retrodict.objects.errors import DamagedIndexError, StoreReadError, StoreWriteError
from retrodict.objects.foldercache import FolderCache
from retrodict.objects.index import Index
from retrodict.objects.mend import Mender
from retrodict.objects.names import Keep, Kind, as_digest, as_name, checked, name_of
from retrodict.objects.pack import PackFiles, list_keys, path_of
from retrodict.objects.reader import Reader
from retrodict.objects.recipe import AVERAGE_CHUNK, CUT_FROM, MAX_CHUNK, MIN_CHUNK
from retrodict.objects.statcache import StatCache
from retrodict.objects.sweep import Needed, Sweeper, Weight
from retrodict.objects.tree import Folder, TreeEntry
from retrodict.objects.verify import Verifier
from retrodict.objects.writer import Writer

VERSION = 1
FORMAT = {
    "chunks": {
        "average": AVERAGE_CHUNK,
        "from": CUT_FROM,
        "max": MAX_CHUNK,
        "method": "fastcdc-2020",
        "min": MIN_CHUNK,
    },
    "format": "retrodict objects",
    "hash": "blake3",
    "version": VERSION,
}
_LEFT_BEHIND_NS = 3600 * NS
_PREFIX = "b3-"


class ObjectStore:
    """A folder of objects. Any number of processes and threads may use one folder at once."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        sources: Sequence[BlobSource],
        read_only: bool,
        disk: Disk,
        cache_key: bytes | None,
    ) -> None:
        """Use `create` or `open`."""
        self.folder = folder
        self.read_only = read_only
        self._clock = clock
        self._disk = disk
        self._sources = tuple(sources)
        self._tmp = folder / "tmp"
        self._files = PackFiles(folder)
        if not read_only:
            self._clean()
        self._index = Index(folder / "index.db", self._files, read_only=read_only)
        self._cache = StatCache(folder / "stat.db", cache_key, read_only=read_only)
        self._folders = FolderCache(folder / "folders.db", cache_key, read_only=read_only)
        self._reader = Reader(self._index, self._files, self._sources)

    @classmethod
    def create(
        cls, folder: Path, clock: Clock, *, disk: Disk = REAL_DISK, cache_key: bytes | None = None
    ) -> ObjectStore:
        """Make an empty store; one that was cut off while it was made is finished.

        Args:
            folder: Where it is to lie.
            clock: See `open`.
            disk: See `open`.
            cache_key: See `open`.

        Raises:
            UsageError: There is something at `folder` already.
            StoreWriteError: The disk does not take it.
        """
        _check_path(folder)
        try:
            if folder.exists() and not _is_begun(folder):
                raise UsageError(f"{folder} is there already, and a new store needs an empty place")
            for part in (folder, folder / "packs", folder / "tmp"):
                part.mkdir(parents=True, exist_ok=True)
            # Last, since it makes the folder a store; but the index can always be built again.
            write_file(folder / "format.json", canonical.encode(FORMAT) + b"\n", disk=disk)
            sync_folder(folder.parent, disk)
        except OSError as error:
            raise StoreWriteError(str(folder), error) from error
        return cls(folder, clock, (), False, disk, cache_key)

    @classmethod
    def open(
        cls,
        folder: Path,
        clock: Clock,
        *,
        sources: Sequence[BlobSource] = (),
        read_only: bool = False,
        disk: Disk = REAL_DISK,
        cache_key: bytes | None = None,
    ) -> ObjectStore:
        """Open a store.

        Args:
            folder: Where it lies.
            clock: For the stat cache's racy rule.
            sources: Where else small blobs may lie; asked after the packs.
            read_only: Write nothing at all, not even caches; works on a read-only file system.
            disk: The system calls of durable writes.
            cache_key: 32 bytes that whoever can write the store does not have; they mark what is remembered of
                files. None: every file is read again every time.

        Raises:
            UsageError: There is no store at `folder`.
            ReadOnlyStoreError: It is to be written, and cannot.
            NewerFormatError: A newer release has written it.
            FormatError: A store of a format that no release has written.
            DamagedIndexError: The index is no database any more; `rebuild_index` makes it again.
        """
        _check_format(folder)
        if not read_only and not os.access(folder, os.W_OK):
            raise ReadOnlyStoreError(str(folder))
        return cls(folder, clock, sources, read_only, disk, cache_key)

    @classmethod
    def rebuild_index(cls, folder: Path) -> None:
        """Make the index again from the packs and raw files, whatever state it is in."""
        _check_format(folder)
        path = folder / "index.db"
        files = PackFiles(folder)
        for attempt in range(2):
            try:
                index = Index(path, files)
                try:
                    index.rebuild()
                finally:
                    index.close()
                break
            except DamagedIndexError:
                if attempt:
                    raise
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
        files.close()

    def _clean(self) -> None:
        """Remove temporary files whose writer is gone: unlocked, and not touched for an hour."""
        try:
            self._tmp.mkdir(exist_ok=True)  # a copy or an archive may have lost an empty folder
            for path in self._tmp.iterdir():
                with contextlib.suppress(FileNotFoundError, BlockingIOError):  # it was renamed; its writer lives
                    if self._clock.now_ns() - path.stat().st_mtime_ns >= _LEFT_BEHIND_NS:
                        with path.open("rb") as file:
                            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                            path.unlink()
        except OSError as error:
            raise StoreWriteError(str(self._tmp), error) from error

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every file. What was acknowledged is durable with or without this."""
        self._cache.close()
        self._folders.close()
        self._index.close()
        self._files.close()

    def _writer(self, what: str) -> Writer:
        if self.read_only:
            raise ReadOnlyStoreError(what)
        return Writer(self._index, self.folder, self._disk)

    # Writing

    def put(self, data: bytes) -> Digest:
        """Store bytes; durable when it returns.

        Raises:
            ReadOnlyStoreError: The store was opened read-only.
            StoreWriteError: The disk is full or fails; nothing is half-written.
        """
        return self.put_many([data])[0]

    def put_many(self, blobs: Iterable[bytes]) -> list[Digest]:
        """Store many blobs with one sync (for each 64 MiB); all durable when it returns. Raises as `put` does."""
        names: list[bytes] = []
        with self._writer("an object") as writer:
            batch: list[tuple[bytes, bytes]] = []
            weight = 0
            for data in blobs:
                if len(data) >= CUT_FROM:
                    names.append(writer.keep(Kind.BLOB, data))
                    continue
                names.append(name_of(Kind.BLOB, data))
                batch.append((names[-1], data))
                weight += len(data)
                if len(batch) >= 1024 or weight >= 4 << 20:
                    writer.keep_named(Kind.BLOB, batch)
                    batch, weight = [], 0
            writer.keep_named(Kind.BLOB, batch)
        return [as_digest(name) for name in names]

    def put_file(self, path: Path, *, progress: Progress | None = None) -> Digest:
        """Store a file, in chunks from 256 KiB up, or sharing its blocks from 64 MiB up; a link is followed.

        Raises:
            UsageError: It does not exist, or is no file.
            ChangedFileError: It changes while it is read.
        """
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder", hint="Add it as a folder.")
        return self.add(path, progress=progress).digest

    def put_tree(self, entries: Iterable[TreeEntry]) -> Digest:
        """Store a listing; its contents are stored by the caller, before.

        Raises:
            UsageError: A name that cannot stand in a folder, or stands twice.
        """
        with self._writer("a listing") as writer:
            root, _ = tree.build(entries, writer.keep_tree)
        return as_digest(root)

    def put_folders(self, folder: Folder) -> Digest:
        """Store a folder and the folders in it, with one write to the disk; those that hold nothing are left out.

        Raises:
            UsageError: A name that cannot stand in a folder.
        """

        def store(inside: Folder, keep: Keep) -> tuple[bytes, int]:
            entries = []
            for name, item in inside.items():
                if isinstance(item, TreeEntry):
                    entries.append(item)
                elif item:
                    node, size = store(item, keep)
                    entries.append(TreeEntry(name=name, kind="tree", digest=as_digest(node), size=size))
            return tree.build(entries, keep)

        with self._writer("a folder") as writer:
            return as_digest(store(folder, writer.keep_tree)[0])

    def add(
        self,
        path: Path,
        *,
        ignore: Ignore | None = None,
        base: Digest | None = None,
        progress: Progress | None = None,
    ) -> Added:
        """Store a file or folder; what has not changed by its stat data is not read again.

        Args:
            path: File or folder; a link at this very path is followed, links inside are stored as links.
            ignore: Says for a folder, by its path relative to `path`, what in it to leave out.
            base: What a file held before: where little has changed, only the difference is stored. (Of what is in a
                folder, the store knows that by itself.)
            progress: Told of files, or of the bytes of a single file.

        Raises:
            UsageError: It does not exist, or holds a socket, pipe or device (named).
            ChangedFileError: A file changes while it is read.
            UnreadableFileError: The system refuses to let a file or folder be read.
        """
        with self._writer(str(path)) as writer:
            adder = self._adder(writer, progress, ignore)
            return adder.add(path, os.stat(self.folder), None if base is None else as_name(base))

    def _adder(
        self,
        writer: Writer | None,
        progress: Progress | None = None,
        ignore: Ignore | None = None,
        is_private: Callable[[bytes], bool] | None = None,
    ) -> Adder:
        return Adder(
            self._index,
            self._cache,
            self._folders,
            lambda: list_keys(self.folder),
            self._clock,
            progress,
            writer=writer,
            ignore=ignore,
            is_private=is_private,
        )

    # Reading

    def get(self, digest: Digest) -> bytes:
        """Return the bytes of an object, verified; of a tree its canonical listing (the root node).

        Raises:
            MissingObjectError: Neither the packs nor the sources hold it.
            AlteredObjectError: What they hold under this name is something else.
        """
        return self._reader.whole(as_name(digest))

    def read(self, digest: Digest, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; every chunk that is touched is verified. Raises as `get` does."""
        return self._reader.range(as_name(digest), offset, length)

    def stream(self, digest: Digest) -> Iterator[bytes]:
        """Yield the bytes of an object; each piece is verified, and the whole at the end. Raises as `get` does."""
        return self._reader.stream(as_name(digest))

    def has(self, digest: Digest) -> bool:
        """Say whether the object is held, by the index or a source; its bytes are not read."""
        return self._reader.has(as_name(digest))

    def size(self, digest: Digest) -> int:
        """Return an object's size in bytes. Raises `MissingObjectError`."""
        return self._reader.size(as_name(digest))

    def state(self, digest: Digest) -> Literal["held", "missing", "altered"]:
        """Read an object, and everything below it if it is a tree, and say whether all of it is held as named."""
        try:
            pending = [as_name(digest)]
            seen = set(pending)
            while pending:
                name = pending.pop()
                if self._reader.is_tree(name):
                    below = {as_name(entry.digest) for entry in self._reader.entries(name)} - seen
                    seen |= below
                    pending += below
                else:
                    for _ in self._reader.stream(name):
                        pass
        except MissingObjectError:
            return "missing"
        except IntegrityError:
            return "altered"
        return "held"

    def is_tree(self, digest: Digest) -> bool:
        """Say whether the index knows the object as a folder's listing."""
        return self._reader.is_tree(as_name(digest))

    def list_tree(self, digest: Digest) -> Iterator[TreeEntry]:
        """Yield the entries of one folder, sorted by name.

        Raises:
            UsageError: The object is no tree.
            FormatError: A listing that must not be, such as one with the name "..".
        """
        yield from self._reader.entries(as_name(digest))

    def tree_entry(self, digest: Digest, name: bytes) -> TreeEntry | None:
        """Return what one folder has under a name; None: nothing. Raises as `list_tree`."""
        return next(self.tree_entries(digest, (name,)), None)

    def tree_entries(self, digest: Digest, names: Collection[bytes]) -> Iterator[TreeEntry]:
        """Yield what one folder has under some names. Raises as `list_tree`."""
        return self._reader.find(as_name(digest), names)

    def tree_differences(self, one: Digest, other: Digest) -> tuple[dict[bytes, TreeEntry], dict[bytes, TreeEntry]]:
        """Return by name the entries of two folders that are not the same, at the cost of these. As `list_tree`."""
        return self._reader.differences(as_name(one), as_name(other))

    def walk(self, digest: Digest) -> Iterator[tuple[bytes, TreeEntry]]:
        """Yield (path, entry) for everything below a tree, folders before what is in them."""
        stack = [(entry.name, entry) for entry in reversed(self._reader.entries(as_name(digest)))]
        while stack:
            path, entry = stack.pop()
            yield path, entry
            if entry.kind == "tree":
                below = self._reader.entries(as_name(entry.digest))
                stack += [(path + b"/" + inner.name, inner) for inner in reversed(below)]

    def checkout(
        self,
        digest: Digest,
        destination: Path,
        *,
        allow: Callable[[Replaced], None] | None = None,
        others: Callable[[bytes], None] | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Write a file or folder to `destination`; return how many bytes were written, or shared with the store.

        Files that are right already are not touched, files that differ are replaced, files that the tree does not
        know stay. Nothing is written outside `destination`, whatever links lie in its way.

        Args:
            digest: Of the file or tree.
            destination: Where it is to stand.
            allow: Told once, before anything is written, of each file that will be replaced: its path, and the name of
                its bytes where that is known. It raises to have nothing done.
            others: Told of each path in the destination, from there, that the tree does not know; a folder alone.
            progress: Told of files.

        Raises:
            MissingObjectError: Something that it needs is not held; nothing was written.
            AlteredObjectError: Bytes are not what they are named; no file was left with them.
            CheckoutConflictError: A folder with files in it stands where a file must be.
            StoreWriteError: The disk is full or refuses.
        """
        checkout = Checkout(self._reader, self._cache, self._folders, progress)
        return checkout.write(as_name(digest), destination, allow, others)

    def hash_file(self, path: Path, *, remember: bool = True) -> Digest:
        """Return the name of a file's bytes, through the stat cache; stores nothing. Raises as `put_file` does.

        Args:
            path: The file.
            remember: False: it is read, and the stat cache neither asked nor told.
        """
        stat = look(path)
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder, and only files have bytes")
        if not remember:
            return as_digest(hash_path(path)[1])
        known = self._cache.lookup([stat]).get((stat.st_dev, stat.st_ino)) or known_in_folder(self._folders, path, stat)
        if known is None:
            since_ns = self._clock.now_ns()
            stat, known = hash_path(path)
            self._cache.remember([(stat, known)], since_ns)
        return as_digest(known)

    def hash_folder(
        self, path: Path, *, ignore: Ignore | None = None, is_private: Callable[[bytes], bool] | None = None
    ) -> Digest:
        """Return the name that `add` would store a folder under; stores nothing. Raises as `add` does.

        Args:
            path: The folder.
            ignore: See `add`.
            is_private: Says of a file that was read whether nothing of it may be remembered.
        """
        return as_digest(self._adder(None, None, ignore, is_private).name(path, os.stat(self.folder)))

    def resolve_prefix(self, prefix: str) -> list[Digest]:
        """Return the full names (at most 100) of objects that begin with `prefix`, such as "b3-9f2c"."""
        digits = prefix.removeprefix(_PREFIX)
        if not digits or digits.strip("0123456789abcdef") or len(digits) > 64 or not prefix.startswith(_PREFIX):
            return []
        low, high = bytes.fromhex(digits.ljust(64, "0")), bytes.fromhex(digits.ljust(64, "f"))
        return [as_digest(name) for name in self._index.resolve(low, high)]

    def packs(self) -> list[str]:
        """Return the keys (hex) of the packs and raw files here; each ends in the BLAKE3 of its bytes."""
        return [key.hex() for key in list_keys(self.folder)]

    def pack(self, key: str) -> Iterator[memoryview]:
        """Return the bytes of a pack or raw file as parts, each good until the next is asked for.

        Raises:
            MissingObjectError: There is none.
            StoreReadError: The disk fails.
            AlteredObjectError: At their end: they are not those of its name.
        """
        path = path_of(self.folder, bytes.fromhex(key))
        with self._reading_pack(key, path):
            parts = parts_of(path)

        def read() -> Iterator[memoryview]:
            with self._reading_pack(key, path):
                yield from parts

        return checked(read(), key[-64:], lambda: AlteredObjectError(f"pack {key}", str(path)))

    @staticmethod
    @contextlib.contextmanager
    def _reading_pack(key: str, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise MissingObjectError(f"pack {key}") from None
        except OSError as error:
            raise StoreReadError(str(path), error) from error

    def pack_size(self, key: str) -> int:
        """Return how many bytes a pack or raw file has. Raises as `pack` does."""
        path = path_of(self.folder, bytes.fromhex(key))
        with self._reading_pack(key, path):
            return path.stat().st_size

    def names_in(self, key: str) -> bytes:
        """Return the names of what a pack or raw file helps to read, 32 bytes each: objects, and blobs of recipes."""
        return b"".join(sorted(self._index.names_in(bytes.fromhex(key))))

    def take_pack(self, key: str, parts: Iterable[memoryview]) -> None:
        """Take a pack or raw file that another store has sealed; durable when it returns.

        Args:
            key: As `packs` returns it.
            parts: Its bytes, each part good until the next is asked for. They raise where they are not those of the
                key; then nothing is taken.

        Raises:
            ReadOnlyStoreError: The store was opened read-only.
            StoreWriteError: The disk is full or fails; nothing is half-written.
        """
        if self.read_only:
            raise ReadOnlyStoreError("a pack")
        raw = bytes.fromhex(key)
        path, temporary = path_of(self.folder, raw), self._tmp / f"pack-{os.getpid()}-{os.urandom(6).hex()}"
        try:
            fd = self._disk.create(temporary, 0o444)
            try:
                for part in parts:
                    self._disk.write(fd, part)
                self._disk.sync(fd)
            finally:
                os.close(fd)
            path.parent.mkdir(exist_ok=True)
            self._index.take(raw, temporary, path, self._disk)
        except OSError as error:
            raise StoreWriteError(str(path), error) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def missing(self, names: set[bytes]) -> set[bytes]:
        """Return those of some names, as `names_in` returns them, that are not held."""
        return names - self._index.held(names).keys() if names else names

    def known(self, names: Iterable[bytes]) -> set[bytes]:
        """Return those of some names that the index has; whether their packs are there is not looked at."""
        return self._index.known(names)

    def lacking(self, digest: Digest) -> set[bytes]:
        """Return the names of what is missing to read an object, with all that is below it if it is a tree.

        Only what can be known is in it: of a listing that is missing, not what it lists.
        """
        lacking: set[bytes] = set()
        pending, seen = [as_name(digest)], set[bytes]()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            try:
                if not self._reader.has(name):
                    lacking |= {name} | self.missing(self._index.unread_recipes())
                elif missing := self.missing(self._index.bases([name])):
                    lacking |= missing
                elif self._reader.is_tree(name):
                    pending += [as_name(entry.digest) for entry in self._reader.entries(name)]
                elif (recipe := self._reader.recipe(name)) is not None:
                    chunks = set(recipe.chunks)
                    lacking |= self.missing(chunks | self._index.bases(chunks))
            except MissingObjectError as error:
                lacking.add(as_name(Digest(error.digest)))
        return lacking

    @classmethod
    def restore(
        cls, folder: Path, clock: Clock, packs: Iterable[tuple[str, Iterable[memoryview]]], *, disk: Disk = REAL_DISK
    ) -> ObjectStore:
        """Make a store of packs and raw files, each with its key and its parts, as `take_pack` takes them.

        Raises as `create` does.
        """
        with cls.create(folder, clock, disk=disk):
            pass
        try:
            for key, parts in packs:
                path = path_of(folder, bytes.fromhex(key))
                path.parent.mkdir(exist_ok=True)
                write_parts(path, parts, mode=0o444, disk=disk)
            sync_folder(folder, disk)
        except OSError as error:
            raise StoreWriteError(str(folder), error) from error
        return cls.open(folder, clock, disk=disk)  # which takes them into its index

    # Letting go

    def needed(self, roots: Iterable[Digest], *, progress: Progress | None = None) -> Needed:
        """Return everything that `roots` are made of; for `weigh`, `doom` and `sweep`.

        Raises:
            AlteredObjectError: A listing or a recipe among it cannot be read, so that what it needs is not known.
        """
        return self._sweeper().needed((as_name(digest) for digest in roots), progress)

    def weigh(self, needed: Needed) -> Weight:
        """Return what records take in the store; where some are kept twice, both."""
        return self._sweeper().weigh(needed)

    def dead(self, live: Needed) -> Weight:
        """Return what is held and not in `live`, counted."""
        return self._sweeper().dead(live)[1]

    def doom(self, live: Needed) -> Weight:
        """Doom everything that is held and not in `live`; return what is doomed now. Nothing is removed."""
        if self.read_only:
            raise ReadOnlyStoreError("what is doomed")
        sweeper = self._sweeper()
        names, weight = sweeper.dead(live)
        sweeper.spare(sweeper.doomed().keys() & live)
        sweeper.doom(names, self._clock.now_ns())
        return weight

    def spare(self) -> int:
        """Take back everything that is doomed; return how many records."""
        if self.read_only:
            raise ReadOnlyStoreError("what is doomed")
        return self._sweeper().spare()

    def doomed(self) -> tuple[Weight, int | None]:
        """Return what is doomed, and since when the oldest of it, in nanoseconds; None where nothing is."""
        sweeper = self._sweeper()
        found = sweeper.doomed()
        return sweeper.weigh(set(found)), min(found.values(), default=None)

    def sweep(self, live: Needed, *, grace_ns: int, progress: Progress | None = None) -> Weight:
        """Remove what has been doomed for `grace_ns` and is not in `live`; return what went.

        Args:
            live: What is needed now: asked anew, after everything that could have been recorded meanwhile.
            grace_ns: Longer than it takes to store something and to record that.
            progress: Told of packs.

        Raises:
            StoreWriteError: There is no room for a pack that is written again. Nothing is lost.
        """
        if self.read_only:
            raise ReadOnlyStoreError("what is swept")
        return self._sweeper().sweep(live, self._clock.now_ns() - grace_ns, progress)

    def _sweeper(self) -> Sweeper:
        return Sweeper(self._index, self.folder, self._files, self._reader, self._disk)

    def mender(self) -> Mender:
        """Return what puts good copies in the place of bad ones.

        Raises:
            ReadOnlyStoreError: The store was opened read-only.
        """
        if self.read_only:
            raise ReadOnlyStoreError("what is mended")
        return Mender(self._index, self.folder, self._files, self._reader, self._disk, self.take_pack)

    def verify(self, *, progress: Progress | None = None) -> Iterator[Finding]:
        """Derive again every claim that the store makes; yield what does not hold.

        Every byte of every pack and raw file, every row of the index and the stat cache, every recipe, every listing.
        """
        yield from _verify_format(self.folder)
        try:
            index = Index(self._index.path, self._files, read_only=True)
            try:
                reader = Reader(index, self._files, self._sources)
                yield from Verifier(index, self.folder, self._files, reader, self._index.lost, progress).run()
            finally:
                index.close()
        except DamagedIndexError as error:
            yield Finding(level="altered", what=f"{self.folder.name}/index.db", message=error.message)
        yield from self._cache.verify()
        yield from self._folders.verify()


def _check_path(folder: Path) -> None:
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UsageError(f"the path of a store must be UTF-8: {display(folder)}") from None


def _check_format(folder: Path) -> None:
    _check_path(folder)
    try:
        data = (folder / "format.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} is not an object store") from None
    except OSError as error:
        raise StoreReadError(str(folder / "format.json"), error) from error
    found = canonical.decode(data)
    if isinstance(found, dict) and found.get("format") == FORMAT["format"]:
        version = found.get("version")
        if type(version) is int and version > VERSION:  # whatever else it says
            raise NewerFormatError(str(folder), version, VERSION)
    if not isinstance(found, dict) or any(found.get(key) != value for key, value in FORMAT.items()):
        raise FormatError(f"{folder / 'format.json'} is not of a format that this release knows: {data[:200]!r}")


def _is_begun(folder: Path) -> bool:
    """Say whether a folder holds nothing but what `create` makes before the folder is a store."""
    for path in folder.iterdir():
        is_part = path.name in ("packs", "tmp") and path.is_dir() and not any(path.iterdir())
        if not is_part and not path.name.startswith(".tmp-"):
            return False
    return True


def _verify_format(folder: Path) -> Iterator[Finding]:
    try:
        _check_format(folder)
    except (FormatError, UsageError) as error:
        yield Finding(level="altered", what=f"{folder.name}/format.json", message=error.message)
