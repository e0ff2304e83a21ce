"""Writing objects back as files.

What holds:
* Each file is written beside its place and renamed into it, whole and verified while it was written. Files that are
  right already are not touched; files that differ are replaced.
* What the store keeps as a raw file is cloned where the file system can share blocks, and hashed then; else copied.
* Nothing is removed but what stands exactly where an entry must go, and never a folder with something in it: files
  that the tree does not know stay.
* Everything below the destination is opened without following links, so no link, in the tree or on the disk, leads a
  write out of the destination. A link of the tree is written as a link, wherever it points.
* Working files are not synced to the disk: the store can write them again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as st
from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from retrodict.kernel.durable import REAL_DISK
from retrodict.kernel.errors import FormatError, MissingObjectError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.objects.add import display
from retrodict.objects.errors import CheckoutConflictError, StoreWriteError
from retrodict.objects.names import as_digest, as_name
from retrodict.objects.reader import Reader
from retrodict.objects.recipe import CUT_FROM
from retrodict.objects.statcache import StatCache
from retrodict.objects.tree import TreeEntry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 20


class Checkout:
    """Writes one object to one place."""

    def __init__(self, reader: Reader, cache: StatCache, progress: Progress | None) -> None:
        self._reader = reader
        self._cache = cache
        self._progress = progress
        self._written = 0
        self._files = 0
        self._total: int | None = None

    def write(self, name: bytes, destination: Path) -> int:
        """Write the file or folder `name` to `destination`; return the bytes written (0: all was there already)."""
        try:
            if self._reader.is_tree(name):
                self._tree(name, destination)
            else:
                self._single(name, destination)
        except (FileExistsError, NotADirectoryError) as error:
            raise CheckoutConflictError(f"{display(destination)} or a folder above it is a file") from error
        except OSError as error:
            where = error.filename if isinstance(error.filename, (str, bytes)) else destination
            raise StoreWriteError(display(where), error) from error
        return self._written

    def _single(self, name: bytes, destination: Path) -> None:
        if not self._reader.has(name):
            raise MissingObjectError(as_digest(name))
        if destination.name in ("", ".."):
            raise UsageError(f"{display(destination)} is a folder, and {as_digest(name)} is a file")
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(destination.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            leaf = os.fsencode(destination.name)
            executable = False
            with contextlib.suppress(FileNotFoundError):
                executable = bool(os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mode & st.S_IXUSR)
            kind = "executable" if executable else "file"
            size = self._reader.size(name)
            entry = TreeEntry(name=leaf, kind=kind, digest=as_digest(name), size=size)  # type: ignore[arg-type]
            self._entry(folder, entry, os.fsencode(destination))
        finally:
            os.close(folder)

    def _tree(self, root: bytes, destination: Path) -> None:
        folders = self._plan(root)
        destination.mkdir(parents=True, exist_ok=True)
        top = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path, entries in folders:
                folder = _descend(top, path)
                try:
                    for entry in entries:
                        where = os.path.join(os.fsencode(destination), *path, entry.name)
                        if entry.kind == "tree":
                            _make_folder(folder, entry.name, where)
                        else:
                            self._entry(folder, entry, where)
                finally:
                    os.close(folder)
        finally:
            os.close(top)

    def _plan(self, root: bytes) -> list[tuple[tuple[bytes, ...], list[TreeEntry]]]:
        """Return all folders, each before those inside it; everything that they need is held, or nothing is begun."""
        plan: list[tuple[tuple[bytes, ...], list[TreeEntry]]] = []
        stack: list[tuple[tuple[bytes, ...], bytes]] = [((), root)]
        files = 0
        while stack:
            path, name = stack.pop()
            entries = self._reader.entries(name)
            plan.append((path, entries))
            contents = [as_name(e.digest) for e in entries if e.kind != "tree"]
            self._reader.require(contents)
            files += len(contents)
            stack += [((*path, e.name), as_name(e.digest)) for e in entries if e.kind == "tree"]
        self._total = files
        return plan

    def _entry(self, folder: int, entry: TreeEntry, where: bytes) -> None:
        if not self._stands(folder, entry):
            temporary = b".retrodict-%d-%s" % (os.getpid(), os.urandom(6).hex().encode())
            try:
                if entry.kind == "symlink":
                    os.symlink(_target(self._reader.whole(as_name(entry.digest))), temporary, dir_fd=folder)
                else:
                    self._file(folder, temporary, entry)
                _move(folder, temporary, entry.name, where)
            except BaseException as error:
                if isinstance(error, OSError) and error.filename in (None, temporary):
                    error.filename = where  # people know the place that they named, not what is written beside it
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            self._written += entry.size
        self._files += 1
        if self._progress is not None:
            self._progress(self._files, self._total, "files")

    def _stands(self, folder: int, entry: TreeEntry) -> bool:
        """Say whether what stands at the entry's name is what it should be (its executable bit is put right)."""
        name = as_name(entry.digest)
        try:
            stat = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if entry.kind == "symlink":
            if not st.S_ISLNK(stat.st_mode) or stat.st_size != entry.size:
                return False
            return blake3(os.readlink(entry.name, dir_fd=folder)).digest() == name
        if not st.S_ISREG(stat.st_mode) or stat.st_size != entry.size:
            return False
        known = self._cache.lookup([stat]).get((stat.st_dev, stat.st_ino))
        if (known or _hash_at(folder, entry.name)) != name:
            return False
        if bool(stat.st_mode & st.S_IXUSR) != (entry.kind == "executable"):
            mode = stat.st_mode & 0o777
            mode = mode | (mode & 0o444) >> 2 if entry.kind == "executable" else mode & ~0o111
            os.chmod(entry.name, mode | (st.S_IXUSR if entry.kind == "executable" else 0), dir_fd=folder)
        return True

    def _file(self, folder: int, temporary: bytes, entry: TreeEntry) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o777 if entry.kind == "executable" else 0o666, dir_fd=folder)
        try:
            if not self._shared(fd, entry):
                _write_all(fd, self._reader.stream(as_name(entry.digest)))
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if size != entry.size:
            raise FormatError(f"a listing says that {entry.digest} has {entry.size} bytes: it has {size}")

    def _shared(self, fd: int, entry: TreeEntry) -> bool:
        """Clone the entry's raw file into `fd`; False leaves `fd` empty: there is none, or it cannot be or is altered.

        An altered one may be made up for by good copies of its chunks; if not, reading those tells what is wrong.
        """
        if entry.size < CUT_FROM:
            return False
        name = as_name(entry.digest)
        raw = self._reader.raw(name)
        if raw is None:
            return False
        try:
            REAL_DISK.clone(raw.fd, fd)
            if _hash(fd) == name:
                return True
        except OSError:
            pass  # copying may work; if not, it tells
        os.ftruncate(fd, 0)
        return False


def _target(target: bytes) -> bytes:
    if not target or b"\0" in target:
        raise FormatError(f"not the target of a link: {target!r}")
    return target


def _write_all(fd: int, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]


def _hash_at(folder: int, name: bytes) -> bytes:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return b""  # cannot be compared: it is replaced
    try:
        return _hash(fd)
    finally:
        os.close(fd)


def _hash(fd: int) -> bytes:
    whole = blake3()
    offset = 0
    while block := os.pread(fd, _BLOCK, offset):
        whole.update(block)
        offset += len(block)
    return whole.digest()


def _descend(top: int, path: tuple[bytes, ...]) -> int:
    folder = os.dup(top)
    for part in path:
        try:
            below = os.open(part, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder


def _make_folder(folder: int, name: bytes, where: bytes) -> None:
    for _ in range(2):
        try:
            os.mkdir(name, dir_fd=folder)
            return
        except FileExistsError:
            if st.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return
            os.unlink(name, dir_fd=folder)  # a file or a link where a folder must be
    raise CheckoutConflictError(f"something keeps standing where the folder {display(where)} must be")


def _move(folder: int, temporary: bytes, name: bytes, where: bytes) -> None:
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise CheckoutConflictError(f"the folder {display(where)} stands where a file must be") from error
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
