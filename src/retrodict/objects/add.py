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
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blake3 import blake3

from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Clock, Progress
from retrodict.kernel.types import Digest
from retrodict.objects import tree
from retrodict.objects.errors import ChangedFileError, UnreadableFileError
from retrodict.objects.index import Index
from retrodict.objects.names import Kind, as_digest
from retrodict.objects.raw import RAW_FROM
from retrodict.objects.recipe import CUT_FROM
from retrodict.objects.statcache import StatCache
from retrodict.objects.tree import EntryKind, TreeEntry
from retrodict.objects.writer import Writer

_ATTEMPTS = 3
_BATCH_FILES, _BATCH_BYTES = 256, 4 << 20
_BLOCK = 1 << 20
_SPECIAL = {st.S_IFSOCK: "a socket", st.S_IFIFO: "a pipe", st.S_IFBLK: "a block device", st.S_IFCHR: "a device"}

Ignore = Callable[[str], bool]


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


class OpenFile:
    """A file that is being read, and that must hold still meanwhile."""

    def __init__(self, path: bytes | Path, *, follow: bool = True) -> None:
        self._path = path
        # O_NONBLOCK: should the file have become a pipe since it was looked at, nobody waits for its writer
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
        try:
            self.fd = os.open(path, flags)
        except OSError as error:
            if not follow and os.path.lexists(path) and os.path.islink(path):
                raise ChangedFileError(display(path)) from error
            raise UnreadableFileError(display(path), error) from error
        try:
            self.stat = os.fstat(self.fd)
            _refuse_special(path, self.stat.st_mode)
            self._left = (
                self.stat.st_size + 1
            )  # one more tells that it grew; a file that never ends is not read for ever
        except BaseException:
            os.close(self.fd)
            raise

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
        """Say whether the `size` bytes that were read are the file as it was when it was opened, and still is."""
        now, then = os.fstat(self.fd), self.stat
        return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (size, then.st_mtime_ns, then.st_ctime_ns)


def read_small(path: bytes | Path, *, follow: bool = False) -> tuple[os.stat_result, bytes]:
    """Return a file's stat data and its bytes, as of one moment; of a file from `CUT_FROM` up, only that many.

    Raises:
        ChangedFileError: It did not hold still, several times.
    """
    for _ in range(_ATTEMPTS):
        with OpenFile(path, follow=follow) as file:
            if file.stat.st_size >= CUT_FROM:
                return file.stat, file.read(CUT_FROM)
            data = file.read(file.stat.st_size + 1)
            if file.held_still(len(data)):
                return file.stat, data
    raise ChangedFileError(display(path))


def hash_path(path: bytes | Path) -> tuple[os.stat_result, bytes]:
    """Return a file's stat data and the name of its bytes; nothing is stored."""
    for _ in range(_ATTEMPTS):
        with OpenFile(path) as file:
            whole, size = blake3(), 0
            while block := file.read(_BLOCK):
                whole.update(block)
                size += len(block)
            if file.held_still(size):
                return file.stat, whole.digest()
    raise ChangedFileError(display(path))


def store_file(
    path: bytes | Path, writer: Writer, progress: Callable[[int], None] | None = None, *, follow: bool = True
) -> tuple[os.stat_result, bytes]:
    """Store a file of any size; return its stat data and the name of its bytes."""
    for _ in range(_ATTEMPTS):
        with OpenFile(path, follow=follow) as file:
            if file.stat.st_size < CUT_FROM:
                data = file.read(CUT_FROM)
                size = len(data)
                name = writer.keep(Kind.BLOB, data) if file.held_still(size) else b""
            elif file.stat.st_size >= RAW_FROM and (clone := writer.clone(file.fd)) is not None:
                with clone:
                    if file.held_still(clone.size_bytes):
                        return file.stat, writer.keep_clone(clone, progress)
                continue
            else:
                name, size = writer.keep_stream(file.read_into, progress)
            if name and file.held_still(size):
                return file.stat, name
    raise ChangedFileError(display(path))


@dataclass(slots=True)
class _Item:
    """A name found in a folder, and what is known about it so far."""

    name: bytes
    kind: EntryKind
    stat: os.stat_result
    content: bytes = b""
    size: int = 0


class _Folder:
    __slots__ = ("items", "path")

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.items: list[_Item] = []


class Adder:
    """Adds one path."""

    def __init__(self, index: Index, writer: Writer, cache: StatCache, clock: Clock, progress: Progress | None) -> None:
        self._index = index
        self._writer = writer
        self._cache = cache
        self._clock = clock
        self._progress = progress
        self._unchanged = 0
        self._done = 0
        self._total = 0
        self._remember: list[tuple[os.stat_result, bytes]] = []
        self._since_ns = 0

    def add(self, path: Path, ignore: Ignore | None, own: os.stat_result) -> Added:
        """Store `path`; `own` is the store's folder."""
        stat = look(path)
        self._since_ns = self._clock.now_ns()
        if not st.S_ISDIR(stat.st_mode):
            return self._file(path, stat)
        folders = list(_walk(os.fsencode(path), ignore, (own.st_dev, own.st_ino)))
        files = [(folder, item) for folder in folders for item in folder.items if item.kind != "tree"]
        self._total = len(files)
        self._contents(files)
        trees: dict[bytes, tuple[bytes, int]] = {}
        for folder in reversed(folders):  # a folder stands before those inside it
            entries = []
            for item in folder.items:
                if item.kind == "tree":
                    item.content, item.size = trees.pop(os.path.join(folder.path, item.name))
                entries.append(
                    TreeEntry(name=item.name, kind=item.kind, digest=as_digest(item.content), size=item.size)
                )
            trees[folder.path] = tree.build(entries, self._writer.keep_tree)
        root, size = trees[folders[0].path]
        large = {item.content for _, item in files if item.size >= CUT_FROM}
        return self._finish(root, "tree", large, len(files), size)

    def _file(self, path: Path, stat: os.stat_result) -> Added:
        name = self._known([stat]).get((stat.st_dev, stat.st_ino))
        if name is None:
            self._total = stat.st_size
            stat, name = store_file(path, self._writer, self._bytes_read)
            self._remember.append((stat, name))
        else:
            self._unchanged = 1
        return self._finish(name, "file", {name} if stat.st_size >= CUT_FROM else set(), 1, stat.st_size)

    def _bytes_read(self, n: int) -> None:
        self._done += n
        if self._progress is not None:
            self._progress(self._done, self._total, "bytes")

    def _finish(self, root: bytes, kind: Literal["file", "tree"], large: set[bytes], files: int, size: int) -> Added:
        self._writer.finish()  # only now does the index know the recipes
        pairs = [(blob, self._index.recipes(blob)) for blob in sorted(large)]
        lines = [f"{as_digest(blob)} {as_digest(found[0][0])}\n" for blob, found in pairs if found]
        recipes = as_digest(self._writer.keep(Kind.BLOB, "".join(lines).encode())) if lines else None
        self._writer.finish()
        # Only what is durable may be remembered as stored.
        self._cache.remember(self._remember, self._since_ns)
        return Added(
            digest=as_digest(root),
            kind=kind,
            recipes=recipes,
            files=files,
            size_bytes=size,
            new_bytes=self._writer.stored_bytes,
            unchanged=self._unchanged,
        )

    def _known(self, stats: list[os.stat_result]) -> dict[tuple[int, int], bytes]:
        """Return the contents of files that have not changed and that the store holds."""
        known = self._cache.lookup(stats)
        held = self._index.held(set(known.values()), to_rely_on=True)
        return {key: name for key, name in known.items() if Kind.BLOB in held.get(name, ())}

    def _contents(self, files: list[tuple[_Folder, _Item]]) -> None:
        """Fill in the content of every file and link; what is not known by its stat data is read and stored."""
        from concurrent.futures import ThreadPoolExecutor  # 10 ms, with the logging that it brings

        small: list[tuple[bytes, _Item]] = []
        with ThreadPoolExecutor(1) as pool:  # two would fight this thread for the interpreter
            pending: deque[tuple[list[tuple[bytes, _Item]], object]] = deque()
            weight = 0

            def settle(limit: int) -> None:
                while len(pending) > limit:
                    batch, future = pending.popleft()
                    self._store(batch, future.result())  # type: ignore[attr-defined]

            def submit() -> None:
                nonlocal small, weight
                if small:
                    pending.append((small, pool.submit(_read_batch, small)))
                    small, weight = [], 0
                settle(3)

            for start in range(0, len(files), 4096):
                part = files[start : start + 4096]
                known = self._known([item.stat for _, item in part if item.kind != "symlink"])
                for folder, item in part:
                    content = known.get((item.stat.st_dev, item.stat.st_ino)) if item.kind != "symlink" else None
                    path = os.path.join(folder.path, item.name)
                    if content is not None:
                        item.content, item.size = content, item.stat.st_size
                        self._unchanged += 1
                        self._done += 1
                    elif item.stat.st_size >= CUT_FROM and item.kind != "symlink":
                        stat, item.content = store_file(path, self._writer, follow=False)
                        item.size = stat.st_size
                        self._remember.append((stat, item.content))
                        self._done += 1
                    else:
                        small.append((path, item))
                        weight += item.stat.st_size
                        if len(small) >= _BATCH_FILES or weight >= _BATCH_BYTES:
                            submit()
                self._report()
            submit()
            settle(0)
        self._report()

    def _store(
        self, batch: list[tuple[bytes, _Item]], contents: list[tuple[os.stat_result | None, bytes, bytes]]
    ) -> None:
        fitting = []
        for (path, item), (stat, name, data) in zip(batch, contents, strict=True):
            if len(data) >= CUT_FROM:  # it has grown since the folder was listed
                stat, name = store_file(path, self._writer, follow=False)
                item.size = stat.st_size
            else:
                item.size = len(data)
                fitting.append((name, data))
            item.content = name
            if stat is not None:
                self._remember.append((stat, name))
        self._writer.keep_named(Kind.BLOB, fitting)
        self._done += len(batch)
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, "files")


def _read_batch(batch: list[tuple[bytes, _Item]]) -> list[tuple[os.stat_result | None, bytes, bytes]]:
    """Return (stat data, name, bytes) of each file or link; runs in a thread of its own."""
    contents: list[tuple[os.stat_result | None, bytes, bytes]] = []
    for path, item in batch:
        if item.kind == "symlink":
            try:
                target = os.readlink(path)
            except OSError as error:
                raise ChangedFileError(display(path)) from error
            contents.append((None, blake3(target).digest(), target))
        else:
            stat, data = read_small(path)
            contents.append((stat, blake3(data).digest(), data))
    return contents


def _walk(root: bytes, ignore: Ignore | None, own: tuple[int, int]) -> Iterator[_Folder]:
    """Yield every folder below `root` with what is in it, each before those inside it."""
    stack = [root]
    while stack:
        folder = _Folder(stack.pop())
        relative = folder.path[len(root) :].lstrip(b"/")
        try:
            with os.scandir(folder.path) as found:
                for entry in found:
                    if ignore is not None and ignore(os.fsdecode(os.path.join(relative, entry.name))):
                        continue
                    stat = entry.stat(follow_symlinks=False)
                    mode = stat.st_mode
                    kind: EntryKind
                    if st.S_ISDIR(mode):
                        if (stat.st_dev, stat.st_ino) == own:
                            continue
                        stack.append(entry.path)
                        kind = "tree"
                    elif st.S_ISLNK(mode):
                        kind = "symlink"
                    else:
                        _refuse_special(entry.path, mode)
                        kind = "executable" if mode & st.S_IXUSR else "file"
                    folder.items.append(_Item(entry.name, kind, stat))
        except FileNotFoundError as error:
            raise ChangedFileError(display(folder.path)) from error
        except OSError as error:
            raise UnreadableFileError(display(folder.path), error) from error
        yield folder
