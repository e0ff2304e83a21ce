"""Taking files and folders into the store.

What holds:
* A symlink inside a folder is stored as a link: its target is never followed, whether it lies inside or outside. The
  path that a person names is followed.
* Empty folders are kept; the executable bit (the owner's) is kept, other modes, owners and times are not.
* Hard links are separate files. Sockets, pipes and devices are refused by name.
* A file that changes while it is read is read again, and refused if it does not come to rest. A large file whose
  blocks the store can share is read from a snapshot, so it need only come to rest while that is taken.
* The store's own folder is left out of a folder that contains it.
"""

from __future__ import annotations

import os
import stat as st
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from blake3 import blake3

from retrodict.kernel.errors import UsageError
from retrodict.kernel.filesystems import keeps_times
from retrodict.kernel.protocols import Clock, Progress
from retrodict.kernel.types import Digest
from retrodict.objects import tree
from retrodict.objects.errors import ChangedFileError, UnreadableFileError
from retrodict.objects.foldercache import RECORD, UNKNOWN, FolderCache, Row, Run, lay_beside, parse
from retrodict.objects.index import Index
from retrodict.objects.names import Kind, as_digest, name_of
from retrodict.objects.raw import RAW_FROM
from retrodict.objects.recipe import CUT_FROM
from retrodict.objects.statcache import RACY_NS, StatCache
from retrodict.objects.writer import Writer

_ATTEMPTS = 3
# O_NONBLOCK: should a file have become a pipe since it was looked at, nobody waits for its writer
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_READ_ITSELF = _READ | os.O_NOFOLLOW
_BATCH_FILES, _BATCH_BYTES = 256, 4 << 20
_BLOCK = 1 << 20
_SPECIAL = {st.S_IFSOCK: "a socket", st.S_IFIFO: "a pipe", st.S_IFBLK: "a block device", st.S_IFCHR: "a device"}

# (name in a folder, is it a folder itself) -> leave it out; one that is a set of names as well need not be called
Skip = Callable[[bytes, bool], bool]
Ignore = Callable[[bytes], Skip | None]  # path of a folder relative to the one that is added -> what to skip in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What `add` took in.

    Attributes:
        digest: Of the file or folder.
        kind: Which of the two.
        recipes: An object that lists "<blob> <recipe>" for every blob in it that is kept in chunks.
        files: How many files and links.
        size_bytes: Of all of them.
        new_bytes: By how much the store grew; blocks that it shares with the file that was added count.
        unchanged: How many files were known by their stat data and not read.
    """

    digest: Digest
    kind: Literal["file", "tree"]
    recipes: Digest | None
    files: int
    size_bytes: int
    new_bytes: int
    unchanged: int


def display(path: bytes | str | Path) -> str:
    """Return a path for a message."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def look(path: Path) -> os.stat_result:
    """Return the stat data of a path that a person named; links are followed.

    Raises:
        UsageError: There is nothing there, or neither a file nor a folder.
        UnreadableFileError: The system refuses.
    """
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{display(path)} does not exist") from None
    except ValueError:
        raise UsageError(f"{display(path)!r} is not a path") from None
    except OSError as error:
        raise UnreadableFileError(display(path), error) from error
    _refuse_special(path, stat.st_mode)
    return stat


def _refuse_special(path: bytes | Path, mode: int) -> None:
    special = _SPECIAL.get(st.S_IFMT(mode))
    if special is not None:
        raise UsageError(f"{display(path)} is {special}: only files, folders and links can be stored")


def _open(path: bytes | Path, *, follow: bool) -> tuple[int, os.stat_result]:
    """Open a file to read it; return its descriptor and its stat data. Raises as `look`, and `ChangedFileError`."""
    try:
        fd = os.open(path, _READ if follow else _READ_ITSELF)
    except OSError as error:
        if not follow and os.path.lexists(path) and os.path.islink(path):
            raise ChangedFileError(display(path)) from error
        raise UnreadableFileError(display(path), error) from error
    try:
        stat = os.fstat(fd)
        if not st.S_ISREG(stat.st_mode):
            _refuse_special(path, stat.st_mode)
    except BaseException:
        os.close(fd)
        raise
    return fd, stat


def _held_still(fd: int, then: os.stat_result, size: int) -> bool:
    """Say whether the `size` bytes that were read are the file as it was when it was opened, and still is."""
    now = os.fstat(fd)
    return now.st_size == size and now.st_mtime_ns == then.st_mtime_ns and now.st_ctime_ns == then.st_ctime_ns


class OpenFile:
    """A file that is being read, and that must hold still meanwhile."""

    def __init__(self, path: bytes | Path, *, follow: bool = True) -> None:
        self._path = path
        self.fd, self.stat = _open(path, follow=follow)
        self._left = self.stat.st_size + 1  # one more tells that it grew; a file that never ends is not read for ever

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read(self, n: int) -> bytes:
        """Return up to `n` more bytes."""
        try:
            block = os.read(self.fd, min(n, self._left))
        except OSError as error:
            raise UnreadableFileError(display(self._path), error) from error
        self._left -= len(block)
        return block

    def read_into(self, buffer: memoryview) -> int:
        """Fill `buffer` with more bytes; return how many, 0 at the end."""
        try:
            n = os.readv(self.fd, [buffer[: self._left]])
        except OSError as error:
            raise UnreadableFileError(display(self._path), error) from error
        self._left -= n
        return n

    def held_still(self, size: int) -> bool:
        """Say whether the `size` bytes that were read are the whole file, and it has not changed meanwhile."""
        return _held_still(self.fd, self.stat, size)


def read_small(path: bytes | Path, *, follow: bool = False) -> tuple[os.stat_result, bytes]:
    """Return a file's stat data and its bytes, as of one moment; of a file from `CUT_FROM` up, only that many.

    Raises:
        ChangedFileError: It did not hold still, several times.
    """
    for _ in range(_ATTEMPTS):
        fd, then = _open(path, follow=follow)
        try:
            data = os.read(fd, min(then.st_size + 1, CUT_FROM))
            if then.st_size >= CUT_FROM or _held_still(fd, then, len(data)):
                return then, data
        except OSError as error:
            raise UnreadableFileError(display(path), error) from error
        finally:
            os.close(fd)
    raise ChangedFileError(display(path))


def _read_as_listed(path: bytes, record: bytes, device: int) -> bytes | None:
    """Return the bytes of a small file that is what its folder was listed with, as of one moment.

    None: it is not, or is no file, or cannot be read. Then it is looked at with more care, and that says what is wrong.
    """
    _, _, inode, size, mtime, ctime = RECORD.unpack_from(record)
    try:
        fd = os.open(path, _READ_ITSELF)
    except OSError:
        return None
    try:
        data = os.read(fd, size + 1)
        now = os.fstat(fd)
    except OSError:
        return None
    finally:
        os.close(fd)
    is_it = now.st_ino == inode and now.st_dev == device
    is_still = len(data) == size == now.st_size and now.st_mtime_ns == mtime and now.st_ctime_ns == ctime
    return data if is_it and is_still else None


def hash_path(path: bytes | Path, *, follow: bool = True) -> tuple[os.stat_result, bytes]:
    """Return a file's stat data and the name of its bytes; nothing is stored."""
    for _ in range(_ATTEMPTS):
        with OpenFile(path, follow=follow) as file:
            whole, size = blake3(), 0
            while block := file.read(_BLOCK):
                whole.update(block)
                size += len(block)
            if file.held_still(size):
                return file.stat, whole.digest()
    raise ChangedFileError(display(path))


def store_file(
    path: bytes | Path,
    writer: Writer,
    progress: Callable[[int], None] | None = None,
    *,
    follow: bool = True,
    base: bytes | None = None,
) -> tuple[os.stat_result, bytes]:
    """Store a file of any size; return its stat data and the name of its bytes. `base` names what it was before."""
    for _ in range(_ATTEMPTS):
        with OpenFile(path, follow=follow) as file:
            if file.stat.st_size < CUT_FROM:
                data = file.read(CUT_FROM)
                size = len(data)
                name = writer.keep(Kind.BLOB, data, base) if file.held_still(size) else b""
            elif file.stat.st_size >= RAW_FROM and (clone := writer.clone(file.fd)) is not None:
                with clone:
                    if file.held_still(clone.size_bytes):
                        return file.stat, writer.keep_clone(clone, progress, base)
                continue
            else:
                name, size = writer.keep_stream(file.read_into, progress, base)
            if name and file.held_still(size):
                return file.stat, name
    raise ChangedFileError(display(path))


_Seen = tuple[os.DirEntry[bytes], os.stat_result]


class Listed:
    """What was found in a folder; a long listing is kept packed, so that a million entries take some 60 MB."""

    __slots__ = ("buckets", "counts", "found", "path", "stat")

    def __init__(self, path: bytes, stat: os.stat_result) -> None:
        self.path = path
        self.stat = stat
        self.found: list[tuple[bytes, bytes]] = []  # (name, record), of a folder with one leaf
        self.buckets: list[bytearray] = []  # records by the first byte of the hash of their names, of one with more
        self.counts: list[int] = []

    def take(self, found: Iterator[os.DirEntry[bytes]], skip: Skip | None = None) -> list[_Seen]:
        """Take what a folder was found to hold; return what of it is neither a file nor a link, with its stat data."""
        others: list[_Seen] = []
        never: frozenset[bytes] = skip if isinstance(skip, frozenset) else frozenset()
        asks = None if isinstance(skip, frozenset) else skip
        device, pack = self.stat.st_dev, RECORD.pack
        while some := list(islice(found, tree.LEAF)):
            taken = []
            for entry in some:
                name = entry.name
                if name in never or (asks is not None and asks(name, entry.is_dir(follow_symlinks=False))):
                    continue
                stat = entry.stat(follow_symlinks=False)
                mode = stat.st_mode
                kind = mode & 0o170000
                if kind == 0o100000:
                    code = b"x" if mode & 0o100 else b"f"
                elif kind == 0o120000:
                    code = b"l"
                else:
                    others.append((entry, stat))
                    continue
                inode = stat.st_ino if stat.st_dev == device else 0  # of another file system: never believed
                record = pack(code, len(name), inode, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                taken.append((name, record + name))
            self._take(taken)
        return others

    def take_folder(self, name: bytes) -> None:
        """Take a folder, the name of whose tree is not known yet."""
        self._take([(name, RECORD.pack(b"t", len(name), 0, 0, 0, 0) + name + bytes(32))])

    def take_special(self, name: bytes) -> None:
        """Take what cannot be stored, so that it is known to stand there."""
        self._take([(name, RECORD.pack(UNKNOWN, len(name), 0, 0, 0, 0) + name)])

    def _take(self, taken: list[tuple[bytes, bytes]]) -> None:
        if not self.buckets:
            self.found += taken
            if len(self.found) <= tree.LEAF:
                return
            self.buckets, self.counts = [bytearray() for _ in range(256)], [0] * 256
            taken, self.found = self.found, []
        for name, record in taken:
            bucket = blake3(name).digest(1)[0]
            self.buckets[bucket] += record
            self.counts[bucket] += 1

    def within(self, part: bytes) -> list[tuple[bytes, bytes]]:
        """Return the entries (name, record) that belong to one leaf of a listing, whatever listing that is."""
        if not self.buckets:
            found = self.found
            if not part:
                return found
        else:
            low = part[0] << 4 if part else 0
            high = low + 16 if len(part) == 1 else 256
            if len(part) > 1:
                low, high = low + part[1], low + part[1] + 1
            found = [entry for i in range(low, high) for entry in parse(self.buckets[i])]
            if len(part) <= 2:
                return found
        return [entry for entry in found if tree.digits(entry[0]).startswith(part)]


class _Folder(Listed):
    """A folder on the way: what was found in it, and what is still waited for."""

    __slots__ = ("leaves", "parent", "stale", "subfolders", "waiting")

    def __init__(self, path: bytes, stat: os.stat_result, parent: _Folder | None) -> None:
        super().__init__(path, stat)
        self.parent = parent
        self.subfolders: dict[bytes, tuple[bytes, int]] = {}
        self.leaves: dict[bytes, tuple[int, int, bytes]] = {}  # by part: (entries, bytes below, node)
        self.stale: set[bytes] = set()
        self.waiting = 0  # for that many folders below, then for that many leaves

    def parts(self) -> Iterator[tuple[bytes, list[tuple[bytes, bytes]]]]:
        """Yield (part, its entries) for each leaf of the listing, and forget them."""
        if not self.buckets:
            found, self.found = self.found, []
            yield b"", found
            return
        for digit in range(16):
            mine = range(16 * digit, 16 * digit + 16)
            if 0 < sum(self.counts[i] for i in mine) <= tree.LEAF:
                yield bytes([digit]), [entry for i in mine for entry in self._empty(i)]
                continue
            for i in mine:
                if self.counts[i]:
                    yield from _split(bytes([digit, i % 16]), self._empty(i))

    def completed(self, name: bytes, record: bytes) -> bytes:
        """Return the record of an entry; that of a folder with the name and size of its tree."""
        if name not in self.subfolders:
            return record
        tree_name, size = self.subfolders[name]
        return RECORD.pack(b"t", len(name), 0, size, 0, 0) + name + tree_name

    def _empty(self, bucket: int) -> list[tuple[bytes, bytes]]:
        packed, self.buckets[bucket] = self.buckets[bucket], bytearray()
        return list(parse(packed))


def _split(part: bytes, entries: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, list[tuple[bytes, bytes]]]]:
    if len(entries) <= tree.LEAF:
        yield part, entries
        return
    slots: list[list[tuple[bytes, bytes]]] = [[] for _ in range(tree.FAN_OUT)]
    for entry in entries:
        slots[tree.nibble(entry[0], len(part))].append(entry)
    for digit, slot in enumerate(slots):
        if slot:
            yield from _split(part + bytes([digit]), slot)


class _Leaf:
    """One leaf of a listing of which something must be read."""

    __slots__ = ("before", "contents", "folder", "missing", "names", "old", "part", "records", "runs")

    def __init__(self, folder: _Folder, part: bytes, entries: list[tuple[bytes, bytes]], old: Row | None) -> None:
        self.folder = folder
        self.part = part
        self.names = [name for name, _ in entries]
        self.records = [record for _, record in entries]
        self.contents = [b""] * len(entries)
        self.missing = 0
        self.old = old
        self.runs: list[Run] = []  # stretches that are as `old` says, whose contents are not filled in
        self.before: dict[bytes, tuple[int, bytes]] = {}  # the other entries of `old`


def _fill_in(leaf: _Leaf, runs: list[Run]) -> None:
    contents = b"" if leaf.old is None else leaf.old.contents
    for run in runs:
        ahead = run.at - run.start
        for i in range(run.start, run.end):
            leaf.contents[i] = contents[32 * (i + ahead) : 32 * (i + ahead) + 32]


class _Item(NamedTuple):
    """A file or link that must be read."""

    leaf: _Leaf
    at: int
    path: bytes
    is_link: bool
    size: int
    base: bytes | None  # what it was before


def _record_of(stat: os.stat_result | None, listed: bytes, name: bytes, data: bytes | None, device: int) -> bytes:
    """Return the record of what was read and is not as it was listed; of a link there is no `stat`."""
    kind, length, inode, _, mtime, ctime = RECORD.unpack_from(listed)
    if stat is None:
        return RECORD.pack(kind, length, inode, len(data or b""), mtime, ctime) + name
    inode = stat.st_ino if stat.st_dev == device else 0
    return RECORD.pack(kind, length, inode, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) + name


class Adder:
    """Names one path, and stores what is in it."""

    def __init__(
        self,
        index: Index,
        files: StatCache,
        folders: FolderCache,
        packs: Callable[[], list[bytes]],
        clock: Clock,
        progress: Progress | None,
        *,
        writer: Writer | None,
        ignore: Ignore | None = None,
        is_private: Callable[[bytes], bool] | None = None,
    ) -> None:
        """Without a `writer` nothing is stored. Of a file that `is_private` nothing is remembered."""
        self._index = index
        self._writer = writer
        self._files = files
        self._cache = folders
        self._packs = packs
        self._clock = clock
        self._progress = progress
        self._ignore = ignore
        self._is_private = is_private
        self._count = 0
        self._unchanged = 0
        self._done = 0
        self._bytes = 0
        self._large: set[bytes] = set()
        self._rows: list[Row] = []
        self._stale: list[tuple[int, int, bytes]] = []
        self._seals = 0
        self._epoch = 0
        self._doomed: set[bytes] = set()
        self._since_ns = 0
        self._ready: list[_Folder] = []
        self._batch: list[_Item] = []
        self._weight = 0
        self._root: tuple[bytes, int] | None = None

    def add(self, path: Path, own: os.stat_result, base: bytes | None = None) -> Added:
        """Store `path`; `own` is the store's folder, `base` the name of what the path held before."""
        stat = look(path)
        self._since_ns = self._clock.now_ns()
        if not st.S_ISDIR(stat.st_mode):
            return self._file(path, stat, base)
        root, size = self._folder(path, stat, own)
        return self._finish(root, "tree", self._large, self._count, size)

    def name(self, path: Path, own: os.stat_result) -> bytes:
        """Return the name that the folder `path` would be stored under."""
        self._since_ns = self._clock.now_ns()
        root, _ = self._folder(path, look(path), own)
        self._cache.remember(self._rows, (), self._stale)
        return root

    def _file(self, path: Path, stat: os.stat_result, base: bytes | None) -> Added:
        writer = self._storing()
        name = self._files.lookup([stat]).get((stat.st_dev, stat.st_ino)) or known_in_folder(self._cache, path, stat)
        remember = []
        if name is None or Kind.BLOB not in self._index.held([name], to_rely_on=True).get(name, ()):
            stat, name = store_file(path, writer, lambda n: self._bytes_read(n, stat.st_size), base=base)
            remember.append((stat, name))
        else:
            self._unchanged = 1
        added = self._finish(name, "file", {name} if stat.st_size >= CUT_FROM else set(), 1, stat.st_size)
        # Only what is durable may be remembered as stored.
        self._files.remember(remember, self._since_ns)
        return added

    def _storing(self) -> Writer:
        assert self._writer is not None
        return self._writer

    def _bytes_read(self, n: int, total: int) -> None:
        self._done += n
        if self._progress is not None:
            self._progress(self._done, total, "bytes")

    def _finish(self, root: bytes, kind: Literal["file", "tree"], large: set[bytes], files: int, size: int) -> Added:
        writer = self._storing()
        writer.finish()  # only now does the index know the recipes
        pairs = [(blob, self._index.recipes(blob)) for blob in sorted(large)]
        lines = [f"{as_digest(blob)} {as_digest(found[0][0])}\n" for blob, found in pairs if found]
        recipes = as_digest(writer.keep(Kind.BLOB, "".join(lines).encode())) if lines else None
        writer.finish()
        if kind == "tree":
            self._cache.remember(self._rows, self._packs(), self._stale)
        return Added(
            digest=as_digest(root),
            kind=kind,
            recipes=recipes,
            files=files,
            size_bytes=size,
            new_bytes=writer.stored_bytes,
            unchanged=self._unchanged,
        )

    # Folders

    def _folder(self, path: Path, stat: os.stat_result, own: os.stat_result) -> tuple[bytes, int]:
        """Name everything below `path`, folders after what is in them; return (name of its tree, bytes below)."""
        if self._writer is not None:
            self._epoch = self._cache.epoch(self._packs())
            self._doomed = self._index.doomed()
        top = os.fsencode(path)
        to_scan = [_Folder(top, stat, None)]
        while self._root is None:
            if self._ready:
                for leaf in self._evaluate(self._ready.pop()):
                    for item in leaf:
                        self._batch.append(item)
                        self._weight += item.size
                        if len(self._batch) >= _BATCH_FILES or self._weight >= _BATCH_BYTES:
                            self._read_batch()
            elif to_scan:
                to_scan += self._scan(to_scan.pop(), top, own)
            else:
                self._read_batch()
        self._report()
        return self._root

    def _scan(self, folder: _Folder, top: bytes, own: os.stat_result) -> list[_Folder]:
        """List one folder; return those in it."""
        relative = folder.path[len(top) :].lstrip(b"/")
        skip = None if self._ignore is None else self._ignore(relative)
        subfolders: list[_Folder] = []
        try:
            with os.scandir(folder.path) as found:
                others = folder.take(found, skip)
        except FileNotFoundError as error:
            raise ChangedFileError(display(folder.path)) from error
        except OSError as error:
            raise UnreadableFileError(display(folder.path), error) from error
        self._count += len(folder.found) + sum(folder.counts)
        for entry, stat in others:
            _refuse_special(entry.path, stat.st_mode)
            if (stat.st_dev, stat.st_ino) != (own.st_dev, own.st_ino):
                folder.take_folder(entry.name)
                subfolders.append(_Folder(entry.path, stat, folder))
        folder.stale = set(self._cache.parts(folder.stat.st_dev, folder.stat.st_ino))
        folder.waiting = len(subfolders)
        if not subfolders:
            self._ready.append(folder)
        return subfolders

    def _evaluate(self, folder: _Folder) -> Iterator[list[_Item]]:
        """Go through the leaves of a folder, all folders below being named; yield what of each must be read."""
        folder.waiting = 1  # no leaf that is done meanwhile is the last
        for part, entries in folder.parts():
            folder.stale.discard(part)
            if folder.subfolders:
                entries = [(name, folder.completed(name, record)) for name, record in entries]
            entries.sort()
            old = self._cache.row(folder.stat.st_dev, folder.stat.st_ino, part)
            if old is not None and old.entries == b"".join([record for _, record in entries]) and self._holds(old):
                folder.leaves[part] = len(entries), old.size, old.node
                self._large.update(old.large[i : i + 32] for i in range(0, len(old.large), 32))
                self._unchanged += old.files
                self._done += old.files
                continue
            folder.waiting += 1
            leaf = _Leaf(folder, part, entries, old)
            items = self._changed(leaf)
            leaf.missing = len(items)
            if not items:
                self._leaf_done(leaf)
            yield items
        self._part_done(folder)
        self._report()

    def _holds(self, row: Row) -> bool:
        """Say whether the store holds all that is in a leaf (where it need not: yes)."""
        if self._writer is None or self._is_held(row):
            return True
        contents = {row.contents[i : i + 32] for i in range(0, len(row.contents), 32)}
        held = self._index.held(contents | {row.node}, to_rely_on=True)
        if len(held) < len(contents | {row.node}):
            return False
        self._rows.append(row._replace(epoch=self._epoch))
        return True

    def _is_held(self, row: Row) -> bool:
        """Say whether it is known that all that is in a leaf is held, and nothing of it doomed."""
        if row.epoch != self._epoch or self._epoch == 0:
            return False
        contents = row.contents
        return not self._doomed or not (
            row.node in self._doomed or any(contents[i : i + 32] in self._doomed for i in range(0, len(contents), 32))
        )

    def _changed(self, leaf: _Leaf) -> list[_Item]:
        """Fill in what is known of a leaf's entries; return what must be read."""
        old = leaf.old
        runs: list[Run] = []
        if old is not None:
            runs, leaf.before = lay_beside(old, list(zip(leaf.names, leaf.records, strict=True)))
            if self._writer is not None and not self._is_held(old):
                runs = self._held_runs(old, runs)
                _fill_in(leaf, runs)
            elif old.large or leaf.folder.subfolders:
                _fill_in(leaf, runs)
            else:
                leaf.runs = runs
        items: list[_Item] = []
        end = 0
        for run in runs:
            self._to_read(leaf, end, run.start, items)
            end = run.end
            files = run.end - run.start - sum(record[:1] == b"t" for record in leaf.records[run.start : run.end])
            self._unchanged += files
            self._done += files
        self._to_read(leaf, end, len(leaf.names), items)
        return items

    def _to_read(self, leaf: _Leaf, start: int, end: int, items: list[_Item]) -> None:
        """Collect what of a stretch of a leaf's entries must be read."""
        for i in range(start, end):
            name, record = leaf.names[i], leaf.records[i]
            kind = record[:1]
            if kind == b"t":
                leaf.contents[i] = record[-32:]
                continue
            base = None
            if leaf.old is not None and name in leaf.before:
                at = 32 * leaf.before[name][0]
                base = leaf.old.contents[at : at + 32]
            path = leaf.folder.path + b"/" + name
            items.append(_Item(leaf, i, path, kind == b"l", RECORD.unpack_from(record)[3], base))

    def _held_runs(self, old: Row, runs: list[Run]) -> list[Run]:
        """Return of stretches that are as a row says what the store holds, entry by entry."""
        held = self._index.held(
            {old.contents[32 * i : 32 * i + 32] for run in runs for i in range(run.at, run.at + run.end - run.start)},
            to_rely_on=True,
        )
        return [
            Run(run.start + i, run.start + i + 1, run.at + i, 0, 0)
            for run in runs
            for i in range(run.end - run.start)
            if old.contents[32 * (run.at + i) : 32 * (run.at + i) + 32] in held
        ]

    def _read_batch(self) -> None:
        """Take in what waits to be read; no thread reads it, which would fight this one for the interpreter."""
        batch, self._batch, self._weight = self._batch, [], 0
        small: list[tuple[bytes, bytes]] = []
        bases: dict[bytes, tuple[bytes, ...]] = {}
        for item in batch:
            leaf, at = item.leaf, item.at
            short, record = leaf.names[at], leaf.records[at]
            is_small = item.size < CUT_FROM and not item.is_link
            data = _read_as_listed(item.path, record, leaf.folder.stat.st_dev) if is_small else None
            if data is not None:
                name = blake3(data).digest()
            else:
                stat, name, data = self._read(item)
                leaf.records[at] = record = _record_of(stat, record, short, data, leaf.folder.stat.st_dev)
            if data is not None:
                small.append((name, data))
                if item.base is not None:
                    bases[name] = (item.base,)
            leaf.contents[at] = name
            if self._is_private is not None and self._is_private(item.path):
                kind, length, _, *rest = RECORD.unpack_from(record)
                leaf.records[at] = RECORD.pack(kind, length, 0, *rest) + short
        if self._writer is not None:
            self._writer.keep_named(Kind.BLOB, small, bases)
        for item in batch:
            item.leaf.missing -= 1
            if not item.leaf.missing:
                self._leaf_done(item.leaf)
        self._done += len(batch)
        self._report()

    def _read(self, item: _Item) -> tuple[os.stat_result | None, bytes, bytes | None]:
        """Return an item's stat data (of a link: None), its name, and its bytes (of a large file: None)."""
        if item.is_link:
            try:
                target = os.readlink(item.path)
            except OSError as error:
                raise ChangedFileError(display(item.path)) from error
            return None, blake3(target).digest(), target
        if item.size < CUT_FROM:
            stat, data = read_small(item.path)
            if len(data) < CUT_FROM:  # else it has grown since the folder was listed
                return stat, blake3(data).digest(), data
        if self._writer is None:
            return *hash_path(item.path, follow=False), None
        return *store_file(item.path, self._writer, follow=False, base=item.base), None

    def _leaf_done(self, leaf: _Leaf) -> None:
        """Name a leaf all of whose contents are known."""
        unknown_from = self._since_ns - RACY_NS if keeps_times(leaf.folder.stat.st_dev) else 0
        rows: list[bytes] = []
        nodes: list[bytes] = []
        contents: list[bytes] = []
        large: list[bytes] = []
        files = total = 0
        old_node = self._old_node(leaf)
        position = 0
        for run in (*leaf.runs, None):
            for i in range(position, len(leaf.names) if run is None else run.start):
                name, record, content = leaf.names[i], leaf.records[i], leaf.contents[i]
                kind, _, inode, size, mtime, ctime = RECORD.unpack_from(record)
                nodes.append(tree.encode_entry(kind, name, size, content))
                contents.append(content)
                total += size
                if kind != b"t":
                    files += 1
                    if size >= CUT_FROM:
                        large.append(content)
                    if inode == 0 or mtime >= unknown_from or ctime >= unknown_from:
                        record = UNKNOWN + record[1:]
                rows.append(record)
            if run is None or leaf.old is None:
                break
            n = run.end - run.start
            names, more = run.offset - run.at * RECORD.size, run.length - n * RECORD.size
            nodes.append(old_node[tree.offset_of(run.at, names) : tree.offset_of(run.at + n, names + more)])
            rows.append(leaf.old.entries[run.offset : run.offset + run.length])
            contents.append(leaf.old.contents[32 * run.at : 32 * (run.at + n)])
            files += n
            position = run.end
        if leaf.runs and leaf.old is not None:
            total += leaf.old.size - sum(RECORD.unpack_from(record)[3] for _, record in leaf.before.values())
        payload = tree.join_leaf(nodes, len(leaf.names), total)
        node = self._keep_node(payload, None if leaf.old is None else leaf.old.node)
        self._large.update(large)
        folder = leaf.folder
        if self._writer is not None and self._writer.seals != self._seals:  # what was kept before is durable now
            self._cache.remember(self._rows, (), ())
            self._rows, self._seals = [], self._writer.seals
        self._rows.append(
            Row(
                device=folder.stat.st_dev,
                inode=folder.stat.st_ino,
                part=leaf.part,
                epoch=self._epoch,
                node=node,
                files=files,
                size=total,
                entries=b"".join(rows),
                contents=b"".join(contents),
                large=b"".join(large),
            )
        )
        folder.leaves[leaf.part] = len(leaf.names), total, node
        self._part_done(folder)

    def _old_node(self, leaf: _Leaf) -> bytes:
        """Return the node that a leaf was; where it cannot be had, its stretches are filled in and forgotten."""
        old, runs = leaf.old, leaf.runs
        if old is None or not runs:
            return b""
        found = self._index.base_for(Kind.TREE, (old.node,))
        n = len(old.contents) // 32
        if found is not None and len(found[0]) == tree.offset_of(n, len(old.entries) - n * RECORD.size):
            return found[0]
        _fill_in(leaf, runs)
        leaf.runs = []
        return b""

    def _keep_node(self, payload: bytes, base: bytes | None) -> bytes:
        if self._writer is None:
            return name_of(Kind.TREE, payload)
        return self._writer.keep_tree(payload, base)

    def _part_done(self, folder: _Folder) -> None:
        """Count one more leaf; with the last one the folder has its name."""
        folder.waiting -= 1
        if folder.waiting:
            return
        self._stale += [(folder.stat.st_dev, folder.stat.st_ino, part) for part in folder.stale]
        _, size, root = tree.assemble(folder.leaves, lambda node: self._keep_node(node, None))
        parent = folder.parent
        if parent is None:
            self._root = root, size
            return
        parent.subfolders[os.path.basename(folder.path)] = root, size
        parent.waiting -= 1
        if not parent.waiting:
            self._ready.append(parent)

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._count if self._root is not None else None, "files")


def known_in_folder(cache: FolderCache, path: Path, stat: os.stat_result) -> bytes | None:
    """Return the name of a file's bytes, where the folder that it lies in is known and the file has not changed."""
    name = os.fsencode(path.name)
    digits = tree.digits(name)
    try:
        above = os.stat(path.parent)
    except OSError:
        return None
    for part in cache.parts(above.st_dev, above.st_ino):
        if not digits.startswith(part):
            continue
        row = cache.row(above.st_dev, above.st_ino, part)
        for i, (entry, record) in enumerate(parse(row.entries if row is not None else b"")):
            if entry == name and row is not None:
                kind, _, *known = RECORD.unpack_from(record)
                now = [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
                is_file = kind in (b"f", b"x") and stat.st_dev == above.st_dev and st.S_ISREG(stat.st_mode)
                return row.contents[32 * i : 32 * i + 32] if is_file and known == now else None
    return None
