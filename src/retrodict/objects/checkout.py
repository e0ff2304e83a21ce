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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from retrodict.kernel.durable import REAL_DISK
from retrodict.kernel.errors import AlteredObjectError, FormatError, MissingObjectError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.objects import tree
from retrodict.objects.add import Listed, display, known_in_folder
from retrodict.objects.errors import CheckoutConflictError, StoreWriteError
from retrodict.objects.foldercache import RECORD, FolderCache, Row, lay_beside, parse
from retrodict.objects.index import Found
from retrodict.objects.names import Kind, as_digest, name_of
from retrodict.objects.reader import Reader
from retrodict.objects.recipe import CUT_FROM, MAX_CHUNK
from retrodict.objects.statcache import StatCache

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 20
_FILES = (b"f", b"x")
_HOLE, _ZEROS = 16 << 10, bytes(MAX_CHUNK)
_BATCH = 1024  # a leaf of a listing
_REMEMBERED = 100_000  # files whose entries and places are kept from planning to writing: some 60 MB

Replaced = Iterable[tuple[bytes, Digest | None]]  # (path of a file, name of its bytes where that is known)
_Entry = tree.Row
_Leaf = tuple[list[_Entry], Found | None]  # of a listing; and where its files lie, if that is known


@dataclass(slots=True)
class _Planned:
    """What is to be done in one folder. One that is not there yet gets everything: it is listed again then."""

    path: tuple[bytes, ...]
    tree: bytes
    is_new: bool
    folders: list[bytes]
    entries: list[_Entry]
    modes: list[_Entry]  # whose bytes are right, and the executable bit is not
    in_the_way: list[tuple[bytes, bytes | None]]  # files that are replaced: name, and that of their bytes
    leaves: list[_Leaf]  # of one that is new, all or none of its listing


class Checkout:
    """Writes one object to one place."""

    def __init__(self, reader: Reader, files: StatCache, folders: FolderCache, progress: Progress | None) -> None:
        self._reader = reader
        self._files = files
        self._folders = folders
        self._progress = progress
        self._others: Callable[[bytes], None] | None = None
        self._written = 0
        self._done = 0
        self._total: int | None = None

    def write(
        self,
        name: bytes,
        destination: Path,
        allow: Callable[[Replaced], None] | None,
        others: Callable[[bytes], None] | None,
    ) -> int:
        """Write the file or folder `name` to `destination`; return the bytes written (0: all was there already).

        `allow` is told, before anything is written, which files will be replaced, and may raise; `others` of each path
        in the folder that is there and not in the tree.
        """
        self._others = others
        try:
            if self._reader.is_tree(name):
                self._tree(name, destination, allow)
            else:
                self._single(name, destination, allow)
        except (FileExistsError, NotADirectoryError) as error:
            raise CheckoutConflictError(f"{display(destination)} or a folder above it is a file") from error
        except OSError as error:
            where = error.filename if isinstance(error.filename, (str, bytes)) else destination
            raise StoreWriteError(display(where), error) from error
        return self._written

    def _single(self, name: bytes, destination: Path, allow: Callable[[Replaced], None] | None) -> None:
        if not self._reader.has(name):
            raise MissingObjectError(as_digest(name))
        if destination.name in ("", ".."):
            raise UsageError(f"{display(destination)} is a folder, and {as_digest(name)} is a file")
        leaf = os.fsencode(destination.name)
        code, present = b"f", None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            stat = os.lstat(destination)
            if st.S_ISREG(stat.st_mode):
                code = b"x" if stat.st_mode & st.S_IXUSR else b"f"
                present = self._files.lookup([stat]).get((stat.st_dev, stat.st_ino))
                present = present or known_in_folder(self._folders, destination, stat)
                size = self._reader.size(name)
                if stat.st_size == size and (present or hash_at(destination)) == name:
                    self._tell(1)
                    return
                if allow is not None:
                    allow([(os.fsencode(destination), None if present is None else as_digest(present))])
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(destination.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._entry(folder, (code, self._reader.size(name), name, leaf), os.fsencode(destination))
        finally:
            os.close(folder)

    def _tree(self, root: bytes, destination: Path, allow: Callable[[Replaced], None] | None) -> None:
        self._total = 0
        folders = self._plan(root, os.fsencode(destination))
        if allow is not None:
            top_path = os.fsencode(destination)
            allow(
                (os.path.join(top_path, *planned.path, name), None if known is None else as_digest(known))
                for planned in folders
                for name, known in planned.in_the_way
            )
        destination.mkdir(parents=True, exist_ok=True)
        top = os.open(destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for planned in folders:
                folder = _descend(top, planned.path)
                try:
                    self._in_folder(folder, os.path.join(os.fsencode(destination), *planned.path), planned)
                finally:
                    os.close(folder)
        finally:
            os.close(top)

    def _in_folder(self, folder: int, where: bytes, planned: _Planned) -> None:
        for name in planned.folders:
            _make_folder(folder, name, os.path.join(where, name))
        for code, _, _, name in planned.modes:
            _set_executable(folder, name, code == b"x")
        if not planned.is_new:
            self._entries(folder, where, planned.entries, None, is_new=False)
            names = [*planned.folders, *(entry[3] for entry in planned.entries)]
            if names:
                _check_names(set(_standing(folder)), where, names)
            return
        written = 0  # the sum of the names' hashes: a folder of a million files is listed once, not after each leaf
        for entries, found in planned.leaves or self._leaves(planned):
            below = [entry[3] for entry in entries if entry[0] == b"t"]
            for name in below:
                _make_folder(folder, name, os.path.join(where, name))
            files = [entry for entry in entries if entry[0] != b"t"] if below else entries
            self._entries(folder, where, files, found, is_new=True)
            written += _sum(_decoded([entry[3] for entry in entries]))
        planned.leaves.clear()
        if _sum(_standing(folder)) != written:
            standing = set(_standing(folder))
            for entries, _ in self._leaves(planned):
                _check_names(standing, where, [entry[3] for entry in entries])

    def _leaves(self, planned: _Planned) -> Iterator[_Leaf]:
        for _, payload in tree.leaves(planned.tree, self._reader.node):
            yield tree.rows(payload), None

    def _entries(self, folder: int, where: bytes, entries: list[_Entry], found: Found | None, *, is_new: bool) -> None:
        """Write files and links; small ones many at a time, as they lie in the packs."""
        small = []
        for entry in entries:
            if entry[0] == b"l" or entry[1] >= CUT_FROM:
                self._entry(folder, entry, os.path.join(where, entry[3]))
            else:
                small.append(entry)
        for i in range(0, len(small), _BATCH):
            self._small(folder, where, small[i : i + _BATCH], found, is_new)

    def _small(self, folder: int, where: bytes, entries: list[_Entry], found: Found | None, is_new: bool) -> None:
        by_content: dict[bytes, list[_Entry]] = {}
        for entry in entries:
            by_content.setdefault(entry[2], []).append(entry)
        if found is None:
            found = self._reader.require(by_content)
        for content, data in self._reader.load_many(by_content, found):
            for entry in by_content[content]:
                self._file(folder, entry, where, data, is_new)
        self._tell(len(entries))

    def _file(self, folder: int, entry: _Entry, where: bytes, data: bytes, is_new: bool) -> None:
        """Write a small file: into a folder of our own in its place, elsewhere beside it first."""
        code, size, content, leaf = entry
        if len(data) != size:
            raise FormatError(f"a listing says that {as_digest(content)} has {size} bytes: it has {len(data)}")
        name = leaf if is_new else _temporary()
        is_made = False
        try:
            fd = os.open(name, _CREATE, 0o777 if code == b"x" else 0o666, dir_fd=folder)
            is_made = True
            try:
                if size >= _HOLE or os.write(fd, data) != size:
                    os.lseek(fd, 0, os.SEEK_SET)
                    _write_all(fd, [data])
            finally:
                os.close(fd)
            if not is_new:
                _move(folder, name, leaf, os.path.join(where, leaf))
        except BaseException as error:
            if is_made:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder)
            elif is_new and isinstance(error, FileExistsError):
                self._file(folder, entry, where, data, is_new=False)  # somebody else writes into the folder too
                return
            if isinstance(error, OSError) and error.filename in (None, name):
                error.filename = os.path.join(where, leaf)  # people know the place that they named
            raise
        self._written += size

    def _tell(self, n: int) -> None:
        self._done += n
        if self._progress is not None:
            self._progress(self._done, self._total, "files")

    # What is to be done

    def _plan(self, root: bytes, destination: bytes) -> list[_Planned]:
        """Return what is to be done in each folder, before those in it; what it needs is held, or nothing is begun."""
        plan: list[_Planned] = []
        pending: list[tuple[tuple[bytes, ...], bytes, bool]] = [((), root, not os.path.isdir(destination))]
        while pending:
            path, name, is_new = pending.pop()
            planned = _Planned(path, name, is_new, [], [], [], [], [])
            below = self._plan_new(planned) if is_new else self._plan_folder(planned, os.path.join(destination, *path))
            pending += [((*path, leaf), content, is_new or leaf in planned.folders) for leaf, content in below]
            if is_new or planned.folders or planned.entries or planned.modes:
                plan.append(planned)
        self._tell(0)
        return plan

    def _plan_new(self, planned: _Planned) -> list[tuple[bytes, bytes]]:
        below = []
        for entries, _ in self._leaves(planned):
            folders = [(name, content) for code, _, content, name in entries if code == b"t"]
            if folders:
                below += folders
                files = {content for code, _, content, _ in entries if code != b"t"}
            else:
                files = {entry[2] for entry in entries}
            found = self._reader.require(files)
            if (self._total or 0) < _REMEMBERED:
                planned.leaves.append((entries, found))
            elif planned.leaves:
                planned.leaves.clear()
            self._total = (self._total or 0) + len(entries) - len(folders)
        return below

    def _plan_folder(self, planned: _Planned, where: bytes) -> list[tuple[bytes, bytes]]:
        """Compare a folder that is there with what it must hold; return (name, tree) of the folders in it."""
        stat = os.stat(where, follow_symlinks=bool(not planned.path))
        present = Listed(where, stat)
        with os.scandir(where) as found:
            for entry, its in present.take(found):
                if st.S_ISDIR(its.st_mode):
                    present.take_folder(entry.name)
                else:
                    present.take_special(entry.name)
        below: list[tuple[bytes, bytes]] = []
        parts, seen = [], 0
        for part, payload in tree.leaves(planned.tree, self._reader.node):
            here = sorted(present.within(part))
            parts.append(part)
            seen += len(here)
            records = dict(here)
            row = self._folders.row(stat.st_dev, stat.st_ino, part)
            is_same = row is not None and row.node == name_of(Kind.TREE, payload)
            node = payload if is_same else None if row is None else self._held_node(row.node)
            known: dict[bytes, tuple[bytes, bytes]] = {}
            if row is not None and node is not None:
                # What is there is that node, but for `unsure`: else there is only to do what the wanted one differs in.
                unsure = _unlike(row, here)
                wanted, gone = ([], {}) if is_same else tree.changes(node, payload)
                wanted += tree.pick(payload, unsure - {entry[3] for entry in wanted})
                known = {name: (records[name], gone[name]) for name in gone.keys() & records.keys() - unsure}
                same = tree.leaf_count(payload) - len(wanted)
                self._total = (self._total or 0) + same
                self._tell(same)
                others = unsure | gone.keys()
            else:
                for old in [row] if row is not None else self._rows_near(stat, part):
                    for i, (name, record) in enumerate(parse(old.entries)):
                        known[name] = record, old.contents[32 * i : 32 * i + 32]
                wanted, others = tree.rows(payload), set(records)
            if wanted:
                self._compare(planned, wanted, records, known, where, below)
            self._tell_others(planned, others & records.keys() - {entry[3] for entry in wanted})
        if seen < len(present.found) + sum(present.counts):  # in a part of which the wanted one has nothing
            listed = tuple(parts)
            beside = {name for name, _ in present.within(b"") if not tree.digits(name).startswith(listed)}
            self._tell_others(planned, beside)
        self._reader.require({content for _, _, content, _ in planned.entries})
        return below

    def _tell_others(self, planned: _Planned, names: set[bytes]) -> None:
        if self._others is not None:
            for name in sorted(names):
                self._others(b"/".join((*planned.path, name)))

    def _held_node(self, name: bytes) -> bytes | None:
        try:
            return self._reader.node(name)
        except (AlteredObjectError, MissingObjectError):
            return None

    def _rows_near(self, stat: os.stat_result, part: bytes) -> Iterator[Row]:
        for other in self._folders.parts(stat.st_dev, stat.st_ino):
            if part.startswith(other) or other.startswith(part):
                row = self._folders.row(stat.st_dev, stat.st_ino, other)
                if row is not None:
                    yield row

    def _compare(
        self,
        planned: _Planned,
        wanted: list[_Entry],
        here: dict[bytes, bytes],
        known: dict[bytes, tuple[bytes, bytes]],
        where: bytes,
        below: list[tuple[bytes, bytes]],
    ) -> None:
        right = files = 0
        for entry in wanted:
            code, size, content, name = entry
            record = here.get(name)
            if code == b"t":
                below.append((name, content))
                if record is None or record[:1] != b"t":
                    planned.folders.append(name)
                    if record is not None and record[:1] in _FILES:
                        planned.in_the_way.append((name, self._content(record, known.get(name))))
                continue
            files += 1
            if record is None:
                planned.entries.append(entry)
                continue
            kind = record[:1]
            is_like = (kind in _FILES and code in _FILES) or (kind == code == b"l")
            before = known.get(name)
            if before is not None and before[0] == record:
                found: bytes | None = before[1]
            elif is_like and RECORD.unpack_from(record)[3] == size:
                path = os.path.join(where, name)
                found = hash_at(path) if code in _FILES else _link_at(path)
            else:
                found = self._content(record, before)
            if is_like and found == content:
                right += 1
                if kind != code:
                    planned.modes.append(entry)
                continue
            planned.entries.append(entry)
            if kind in _FILES:
                planned.in_the_way.append((name, found or None))
        self._total = (self._total or 0) + files
        self._tell(right)

    @staticmethod
    def _content(record: bytes, before: tuple[bytes, bytes] | None) -> bytes | None:
        return before[1] if before is not None and before[0] == record else None

    # Large files, and links

    def _entry(self, folder: int, entry: _Entry, where: bytes) -> None:
        code, size, content, name = entry
        temporary = _temporary()
        try:
            if code == b"l":
                os.symlink(_target(self._reader.whole(content)), temporary, dir_fd=folder)
            else:
                self._large(folder, temporary, entry)
            _move(folder, temporary, name, where)
        except BaseException as error:
            if isinstance(error, OSError) and error.filename in (None, temporary):
                error.filename = where  # people know the place that they named, not what is written beside it
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        self._written += size
        self._tell(1)

    def _large(self, folder: int, temporary: bytes, entry: _Entry) -> None:
        code, size, content, _ = entry
        fd = os.open(temporary, _CREATE, 0o777 if code == b"x" else 0o666, dir_fd=folder)
        try:
            if not self._shared(fd, entry):
                _write_all(fd, self._reader.stream(content))
            found = os.fstat(fd).st_size
        finally:
            os.close(fd)
        if found != size:
            raise FormatError(f"a listing says that {as_digest(content)} has {size} bytes: it has {found}")

    def _shared(self, fd: int, entry: _Entry) -> bool:
        """Clone the entry's raw file into `fd`; False leaves `fd` empty: there is none, or it cannot be or is altered.

        An altered one may be made up for by good copies of its chunks; if not, reading those tells what is wrong.
        """
        _, size, content, _ = entry
        if size < CUT_FROM:
            return False
        raw = self._reader.raw(content)
        if raw is None:
            return False
        try:
            REAL_DISK.clone(raw.fd, fd)
            if _hash(fd) == content:
                return True
        except OSError:
            pass  # copying may work; if not, it tells
        os.ftruncate(fd, 0)
        return False


def _unlike(row: Row, here: list[tuple[bytes, bytes]]) -> set[bytes]:
    """Return the names of what is there that are not as a row says, or of what it says and is not there."""
    runs, before = lay_beside(row, here)
    unlike, end = set(before), 0
    for run in runs:
        unlike.update(name for name, _ in here[end : run.start])
        end = run.end
    unlike.update(name for name, _ in here[end:])
    return unlike


def _check_names(standing: set[str], where: bytes, written: list[bytes]) -> None:
    """Check that what was written stands there, each under its own name.

    Raises:
        CheckoutConflictError: The file system takes different names for one (by letter case, or Unicode form).
    """
    for name in _decoded(written):
        if name not in standing:
            path = display(os.path.join(where, os.fsencode(name)))
            raise CheckoutConflictError(f"the file system does not keep {path} apart from another name, or respells it")


def _standing(folder: int) -> list[str]:
    anew = os.open(b".", _FOLDER, dir_fd=folder)  # btrfs lists what was there when a folder was opened
    try:
        return os.listdir(anew)
    finally:
        os.close(anew)


def _decoded(names: list[bytes]) -> list[str]:
    return os.fsdecode(b"/".join(names)).split("/") if names else []


def _sum(names: list[str]) -> int:
    """Return a number that is the same for the same names in any order, and by chance for others hardly ever."""
    return sum(map(hash, names))


def _temporary() -> bytes:
    return b".retrodict-%d-%s" % (os.getpid(), os.urandom(6).hex().encode())


def _set_executable(folder: int, name: bytes, executable: bool) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        mode = os.fstat(fd).st_mode & 0o777
        mode = mode | st.S_IXUSR | (mode & 0o444) >> 2 if executable else mode & ~0o111
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _target(target: bytes) -> bytes:
    if not target or b"\0" in target:
        raise FormatError(f"not the target of a link: {target!r}")
    return target


def _write_all(fd: int, pieces: Iterable[bytes]) -> None:
    """Write a file's bytes; long stretches of zeros become holes."""
    is_hole = False
    for piece in pieces:
        is_hole = len(piece) >= _HOLE and piece == _ZEROS[: len(piece)]
        if is_hole:
            os.lseek(fd, len(piece), os.SEEK_CUR)
            continue
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]
    if is_hole:
        os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))


def hash_at(path: bytes | Path) -> bytes:
    """Return the name of a file's bytes, or nothing: it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""  # cannot be compared: it is replaced
    try:
        return _hash(fd)
    finally:
        os.close(fd)


def _link_at(path: bytes) -> bytes:
    try:
        return blake3(os.readlink(path)).digest()
    except OSError:
        return b""


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
