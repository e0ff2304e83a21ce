"""Files and folders that are personal: sealed whole, known again by a keyed hash of their bytes. No verb.

The store names such a file by its ciphertext. What it is in the clear is never hashed into the store, the stat cache or
an entry: `keys.db` has a keyed hash of its digest, by which a copy that lies in the project is known. A folder is a
listing, sealed as a file is, with a key for each of its files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retrodict import datasets, exposure
from retrodict.actions.forgetting import find_forgetting
from retrodict.actions.places import Ignored, tools_stores, workspace_path
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest
from retrodict.keys import KeyRing, KnownFile, Member, MemberKind, decode_folder, encode_folder
from retrodict.objects import Added, digest_of, display
from retrodict.predictions.errors import ErasedError, SealedValuesError
from retrodict.workspace import Batch, UnwritableStateError, Workspace, forgotten_by, sealed_key

_BLOCK: Final = 1 << 20
_SMALL_BYTES, _TOGETHER_BYTES = 128 << 10, 32 << 20
_TICK_NS: Final = 10**7  # file systems stamp with a clock this coarse
_IN_A_LIST: Final = 20_000  # files of a sealed folder: what lists objects is small, for whoever looks what is needed
_FILES: Final = frozenset({"file", "executable"})


class PersonalFileError(UsageError):
    """Bytes of a personal file that would be kept in the clear."""

    slug = "personal-file"
    hint = "If they are about nobody: `retrodict add FILE --not-personal --reason ...`, then again."


class ForgottenFileError(UsageError):
    """Bytes of a personal file that was forgotten, and would be kept again."""

    slug = "forgotten-file"
    hint = (
        "Delete the file. If it was forgotten by mistake: `retrodict add FILE --remember --reason ...` keeps it again."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """A personal file in the store.

    Attributes:
        stored: The object, named by its ciphertext (of a folder: of its listing); `size_bytes` is that in the clear.
        key: What opens it.
        parts: Of a folder: the objects of its files, and what opens each; `paths` where each lay.
    """

    stored: Added
    key: str
    parts: tuple[tuple[Digest, str], ...] = ()
    paths: tuple[Path, ...] = ()


class PersonalFiles:
    """The personal files of a workspace, as one command sees them."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._keys = workspace.keys
        self._sizes = frozenset() if self._keys is None else self._keys.file_sizes()
        current = [v for v in datasets.versions(workspace.views.database()) if v.is_current and v.key is not None]
        self._paths = {version.path for version in current if version.path}
        self._folders = tuple(version.path for version in current if version.path and version.type == "tree")
        self._fresh: dict[Digest, str] = {}  # what was sealed here and is not on record yet, and its key
        exposed = exposure.find(workspace)
        self._made_since_ns = None if exposed is None else exposed.since_ns

    @property
    def is_any(self) -> bool:
        """Whether there are any at all."""
        return bool(self._sizes or self._paths or self._made_since_ns is not None)

    def find(self, path: Path) -> Digest | None:
        """Return the object of the personal file whose very bytes lie at `path`, or None."""
        return self._known(self._plain(path)) if self._is_likely(path) else None

    def find_forgotten(self, path: Path) -> str | None:
        """Return the key, destroyed since, that had sealed the very bytes that lie at `path`, or None."""
        if self._keys is None or not self._is_likely(path):
            return None
        return self._keys.find_forgotten_file(self._plain(path).encode())

    def holds_forgotten(self, path: Path) -> bool:
        """Say whether the very bytes of a file, or of one below a folder, were forgotten."""
        return any(self.find_forgotten(file) is not None for file in _files(path, Ignored(self._workspace.root, path)))

    def _is_likely(self, path: Path) -> bool:
        try:
            return self._keys is not None and os.path.getsize(path) in self._sizes and path.is_file()
        except OSError:
            return False

    def _known(self, plain: Digest) -> Digest | None:
        found = None if self._keys is None else self._keys.find_file(plain.encode())
        return None if found is None else Digest(found)

    def is_personal(self, path: Path) -> bool:
        """Say whether a file is, or was, personal: by its bytes, or because what lay at its path was declared so.

        So is what lies there since this run, which has read something personal, goes on: it may have been made of that.
        """
        if self.is_declared(path) or self._is_made_here(path):
            return True
        if self._keys is None or not self._is_likely(path):
            return False
        plain = self._plain(path)
        return self._known(plain) is not None or self._keys.find_forgotten_file(plain.encode()) is not None

    def _is_made_here(self, path: Path) -> bool:
        since_ns = self._made_since_ns
        try:
            return since_ns is not None and path.is_file() and os.stat(path).st_ctime_ns >= since_ns - _TICK_NS
        except OSError:
            return False

    def is_declared(self, path: Path) -> bool:
        """Say whether the current version of what lay at a path, or of a folder above it, is personal."""
        return bool(self._paths) and (workspace_path(self._workspace, path) in self._paths or self.is_named_apart(path))

    def is_named_apart(self, path: Path) -> bool:
        """Say whether a path lies in a personal folder: then its name is sealed, too."""
        if not self._folders:
            return False
        relative = workspace_path(self._workspace, path) or ""
        return any(relative.startswith(folder + "/") for folder in self._folders)

    def hash(self, path: Path) -> Digest:
        """Return the name of a file's bytes; that of a personal one is remembered nowhere."""
        return self._workspace.objects.hash_file(path, remember=not self.is_personal(path))

    def refuse(self, path: Path) -> None:
        """Do nothing where a file, or a folder and all below it, may be kept in the clear.

        Raises:
            PersonalFileError: It may not.
        """
        for file in _files(path, Ignored(self._workspace.root, path)) if self.is_any else ():
            if self.is_personal(file):
                cleared = f"retrodict add {shlex.quote(str(file))} --not-personal --reason ..."
                raise PersonalFileError(
                    f"{file} is personal, or was made from personal files",
                    hint=f"If it is about nobody: `{cleared}`, then again.",
                )

    def refuse_forgotten(self, path: Path) -> None:
        """Do nothing, unless the very bytes of a file, or of one below a folder, were forgotten.

        Raises:
            ForgottenFileError: They were.
        """
        for file in _files(path, Ignored(self._workspace.root, path)) if self.is_any else ():
            if (key := self.find_forgotten(file)) is not None:
                found = find_forgetting(self._workspace, key)
                raise ForgottenFileError(f"{file} holds the very bytes that were {found or 'forgotten'}")

    # Sealing

    def seal(self, path: Path) -> SealedFile:
        """Keep a file or folder sealed, each file under a key of its own; what is known already as it is.

        Raises:
            UsageError: It changes while it is read, or holds something that cannot be kept.
            UnwritableStateError: There are no keys.
        """
        if not path.is_dir():
            return self._seal([_from_file(self._workspace, path)])[0]
        found = list(_walk(os.fsencode(path), Ignored(self._workspace.root, path)))
        paths = tuple(Path(os.fsdecode(at)) for _, kind, at in found if kind in _FILES)
        files = [_from_file(self._workspace, path) for path in paths]
        sealed = iter(self._seal(files))
        members, parts = [], []
        for name, kind, at in found:
            if kind in _FILES:
                part = next(sealed)
                parts.append(part)
                size = part.stored.size_bytes
                members.append(Member(path=name, kind=kind, ref=part.stored.digest, key=part.key, size=size))
            else:
                target = os.readlink(at) if kind == "symlink" else None
                members.append(Member(path=name, kind=kind, target=target))
        return self._listing(members, parts, paths)

    def _listing(self, members: Sequence[Member], parts: Sequence[SealedFile], paths: Sequence[Path]) -> SealedFile:
        listing = self._seal([_from_bytes(encode_folder(members))])[0]
        stored = Added(
            digest=listing.stored.digest,
            kind="tree",
            recipes=self._joined([part.stored.recipes for part in (*parts, listing)]),
            files=sum(member.kind != "tree" for member in members),
            size_bytes=sum(member.size for member in members),
            new_bytes=listing.stored.new_bytes + sum(part.stored.new_bytes for part in parts),
            unchanged=sum(part.stored.unchanged for part in parts),
        )
        held = [(Digest(m.ref), m.key) for m in members if m.ref is not None and m.key is not None]
        return SealedFile(stored=stored, key=listing.key, parts=tuple(held), paths=tuple(paths))

    def seal_bytes(self, contents: Sequence[bytes]) -> list[SealedFile]:
        """Keep bytes sealed, as the files that hold them would be. Raises as `seal` does."""
        return self._seal([_from_bytes(data) for data in contents])

    def seal_listing(self, members: Sequence[Member]) -> SealedFile:
        """Keep the listing of a folder whose files are sealed. Raises as `seal` does."""
        return self._listing(members, (), ())

    def _seal(self, contents: Sequence[_Content]) -> list[SealedFile]:
        """Keep contents sealed, small ones together; the same bytes once."""
        keys, objects = self._keys, self._workspace.objects
        if keys is None:
            raise UnwritableStateError("a personal file cannot be sealed: the keys of this workspace are out of reach")
        new: dict[Digest, _Content] = {}
        done: dict[Digest, SealedFile] = {}
        for content in contents:
            if content.plain in new or content.plain in done:
                continue
            known = self._known(content.plain)
            key = None if known is None else self._fresh.get(known) or sealed_key(self._workspace, known)
            if known is not None and key is not None and keys.holds(key) and objects.has(known):
                done[content.plain] = _sealed_file(known, content.size, key, None, 0)
            else:
                new[content.plain] = content
        made = dict(zip(new, keys.make_keys(len(new)), strict=True))
        small: dict[Digest, bytes] = {}
        weight = 0

        def keep() -> None:
            for plain, digest in zip(small, objects.put_many(small.values()), strict=True):
                stored = _sealed_file(digest, new[plain].size, made[plain], None, len(small[plain]))
                done[plain] = stored
            small.clear()

        for plain, content in new.items():
            if content.size > _SMALL_BYTES:
                done[plain] = self._seal_large(keys, content, made[plain])
                continue
            data = b"".join(content.pieces())
            if digest_of(data) != plain:
                raise _changed(content)
            small[plain] = b"".join(keys.seal_file(made[plain], [data]))
            weight += len(data)
            if weight > _TOGETHER_BYTES:
                keep()
                weight = 0
        keep()
        keys.remember_files(
            KnownFile(
                tag=keys.file_tag(plain.encode()), size=content.size, sealed=done[plain].stored.digest, key=made[plain]
            )
            for plain, content in new.items()
        )
        self._fresh |= {done[plain].stored.digest: made[plain] for plain in new}
        self._sizes |= {content.size for content in new.values()}
        return [done[content.plain] for content in contents]

    def _seal_large(self, keys: KeyRing, content: _Content, key: str) -> SealedFile:
        folder = self._workspace.folder / "tmp"
        folder.mkdir(exist_ok=True)
        sealed = folder / f"sealed-{self._workspace.clock.random_bytes(8).hex()}"
        try:
            with sealed.open("wb") as file:
                for piece in keys.seal_file(key, content.pieces()):
                    file.write(piece)
            if content.path is not None and self._plain(content.path) != content.plain:
                raise _changed(content)
            added = self._workspace.objects.add(sealed)
        finally:
            sealed.unlink(missing_ok=True)
        return _sealed_file(added.digest, content.size, key, added.recipes, added.new_bytes)

    def _joined(self, recipes: Iterable[Digest | None]) -> Digest | None:
        """Return one list of recipes for several."""
        lists = [self._workspace.objects.get(digest) for digest in dict.fromkeys(recipes) if digest is not None]
        return self._workspace.objects.put(b"".join(lists)) if lists else None

    def _plain(self, path: Path) -> Digest:
        return self._workspace.objects.hash_file(path, remember=False)

    def copies(self, path: Path) -> Iterator[tuple[Path, Digest]]:
        """Yield where the very bytes of personal files lie, at `path` or below it, and the objects of them.

        What `.retrodictignore` leaves out of a version is looked at all the same.
        """
        for file in _files(path, tools_stores):
            if (found := self.find(file)) is not None:
                yield file, found

    def declare_clean(self, path: Path) -> None:
        """Know a file, or all in a folder, no longer as personal."""
        if self._keys is not None:
            self._keys.drop_files(self._plain(file).encode() for file, _ in self.copies(path))

    def recall(self, path: Path) -> None:
        """Know a file, or all in a folder, no longer as forgotten."""
        found = [file for file in _files(path, tools_stores) if self.find_forgotten(file) is not None]
        if self._keys is not None:
            self._keys.drop_files(self._plain(file).encode() for file in found)

    # Opening

    def find_folder(self, path: Path) -> Digest | None:
        """Return the object of the personal folder that lies at `path` as it was sealed, or None."""
        members = []
        for member, _ in self._present(path):
            if member.kind in _FILES and member.ref is None:
                return None
            members.append(member)
        return self._known(digest_of(encode_folder(members)))

    def compare_folder(self, path: Path, content: Digest, key: str) -> tuple[bool, int]:
        """Compare what lies at `path` with a personal folder, of which single files may have been forgotten since.

        Returns:
            Whether anything but those is different; and how many files lie there still that hold the very bytes of
            forgotten ones.
        """
        present: list[Member] = []
        forgotten, is_other = 0, False
        for member, at in self._present(path):
            if member.kind not in _FILES or member.ref is not None:
                present.append(member)
            elif self.find_forgotten(at) is not None:
                forgotten += 1
            else:
                is_other = True
        if is_other:
            return True, forgotten
        if not forgotten and self._known(digest_of(encode_folder(present))) == content:
            return False, 0
        try:
            members = self.members(content, key)
        except (ErasedError, SealedValuesError):
            return True, forgotten
        left = [m for m in members if m.key is None or forgotten_by(self._workspace, m.key) is None]
        return encode_folder(present) != encode_folder(left), forgotten

    def _present(self, path: Path) -> Iterator[tuple[Member, Path]]:
        """Yield what lies in a folder, and where; a file that is not known as personal has no `ref`."""
        for name, kind, at in _walk(os.fsencode(path), Ignored(self._workspace.root, path)):
            file = Path(os.fsdecode(at))
            if kind not in _FILES:
                target = os.readlink(at) if kind == "symlink" else None
                yield Member(path=name, kind=kind, target=target), file
                continue
            ref = self.find(file)
            key = None if ref is None else sealed_key(self._workspace, ref)
            if ref is None or key is None:
                yield Member(path=name, kind=kind), file
            else:
                yield Member(path=name, kind=kind, ref=ref, key=key, size=os.path.getsize(file)), file

    def members(self, content: Digest, key: str) -> tuple[Member, ...]:
        """Return what a personal folder holds.

        Raises:
            ErasedError, SealedValuesError: Its key is gone, or not held here.
        """
        return decode_folder(b"".join(self._opened(content, key)))

    def open(self, content: Digest, key: str) -> bytes:
        """Return what a personal file holds. Raises as `members` does."""
        return b"".join(self._opened(content, key))

    def _opened(self, content: Digest, key: str) -> Iterator[bytes]:
        opened = None if self._keys is None else self._keys.open_file(key, self._workspace.objects.stream(content))
        if opened is not None:
            return opened
        entry = forgotten_by(self._workspace, key)
        if entry is None:
            raise SealedValuesError("sealed: the key of this file is not held here")
        raise ErasedError(entry)

    def unseal(self, content: Digest, key: str, destination: Path) -> int:
        """Write a personal file in the clear; return its size in bytes. Whole or not at all.

        Raises:
            ErasedError, SealedValuesError: Its key is gone, or not held here.
            UsageError: It cannot be written.
        """
        size = self._write(self._opened(content, key), destination)
        self._remember([(self._plain(destination), size, content, key)])
        return size

    def unseal_folder(self, content: Digest, key: str, destination: Path) -> tuple[int, tuple[Member, ...]]:
        """Write a personal folder in the clear; return its size in bytes, and the files that are erased.

        What stands in the way of a folder or link makes way; the caller has looked that nothing is lost by it.

        Raises:
            ErasedError, SealedValuesError: The key of its listing is gone, or not held here; or that of a file is not.
            UsageError: It cannot be written.
        """
        members = self.members(content, key)
        known = [(digest_of(encode_folder(members)), len(encode_folder(members)), content, key)]
        total, erased = 0, []
        try:
            destination.mkdir(parents=True, exist_ok=True)
            for member in members:  # a folder comes before what is in it
                path = destination / os.fsdecode(member.path)
                if path.is_symlink() or (path.exists() and member.kind in ("tree", "symlink") and not path.is_dir()):
                    path.unlink()
                if member.kind == "tree":
                    path.mkdir(exist_ok=True)
                elif member.target is not None:
                    os.symlink(member.target, os.fsencode(path))
                elif member.ref is not None and member.key is not None:
                    ref = Digest(member.ref)
                    try:
                        pieces = self._opened(ref, member.key)
                    except ErasedError:
                        erased.append(member)
                        continue
                    size = self._write(pieces, path, is_executable=member.kind == "executable")
                    known.append((self._plain(path), size, ref, member.key))
                    total += size
        except OSError as error:
            raise UsageError(f"{destination} cannot be written: {error.strerror}") from error
        self._remember(known)
        return total, tuple(erased)

    def _write(self, pieces: Iterable[bytes], destination: Path, *, is_executable: bool = False) -> int:
        part = destination.with_name(f".{self._workspace.clock.random_bytes(8).hex()}")
        size = 0
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                for piece in pieces:
                    size += file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if is_executable:
                part.chmod(part.stat().st_mode | 0o100)
            part.rename(destination)
        except OSError as error:
            raise UsageError(f"{destination} cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        return size

    def _remember(self, files: Iterable[tuple[Digest, int, Digest, str]]) -> None:
        keys = self._keys
        if keys is not None and not self._workspace.read_only:
            keys.remember_files(
                KnownFile(tag=keys.file_tag(plain.encode()), size=size, sealed=sealed, key=key)
                for plain, size, sealed, key in files
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What is to be sealed: a file, or bytes; `plain` is its name in the clear."""

    plain: Digest
    size: int
    path: Path | None
    pieces: Callable[[], Iterable[bytes]]


def _from_file(workspace: Workspace, path: Path) -> _Content:
    plain = workspace.objects.hash_file(path, remember=False)
    return _Content(plain=plain, size=os.path.getsize(path), path=path, pieces=lambda: _pieces(path))


def sealed_body(batch: Batch, key: str, parts: Sequence[tuple[Digest, str]]) -> dict[str, object]:
    """Return what the entry says of a sealed version: in the order of the ciphertexts, which tells nothing of names."""
    if not parts:
        return {"key": key}
    return {
        "key": key,
        "files": listed(batch, [{"ref": ref, "key": part} for ref, part in sorted(dict(parts).items())]),
    }


def listed(batch: Batch, items: Sequence[Mapping[str, str]]) -> Digest:
    """Return the object that lists something of each file of a sealed version, or that lists such objects."""
    pieces = [items[start : start + _IN_A_LIST] for start in range(0, len(items), _IN_A_LIST)]
    lists = [batch.blob(json.dumps(piece).encode()) for piece in pieces]
    return lists[0] if len(lists) == 1 else batch.blob(json.dumps(lists).encode())


def _from_bytes(data: bytes) -> _Content:
    return _Content(plain=digest_of(data), size=len(data), path=None, pieces=lambda: [data])


def _changed(content: _Content) -> UsageError:
    return UsageError(f"{content.path} changed while it was read", hint="Try again.")


def _sealed_file(digest: Digest, size: int, key: str, recipes: Digest | None, new_bytes: int) -> SealedFile:
    stored = Added(
        digest=digest,
        kind="file",
        recipes=recipes,
        files=1,
        size_bytes=size,
        new_bytes=new_bytes,
        unchanged=int(new_bytes == 0),
    )
    return SealedFile(stored=stored, key=key)


def _walk(top: bytes, ignored: Ignored) -> Iterator[tuple[bytes, MemberKind, bytes]]:
    """Yield everything below a folder, each folder before what is in it: name from there, kind, path.

    Raises:
        UsageError: There is something that is no file, folder or link.
    """
    pending = [b""]
    while pending:
        folder = pending.pop()
        skip = ignored(folder)
        with os.scandir(os.path.join(top, folder)) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            name = os.path.join(folder, entry.name)
            if skip(entry.name, entry.is_dir(follow_symlinks=False)):
                continue
            if entry.is_symlink():
                yield name, "symlink", entry.path
            elif entry.is_dir():
                yield name, "tree", entry.path
                pending.append(name)
            elif entry.is_file():
                yield name, "executable" if entry.stat().st_mode & 0o100 else "file", entry.path
            else:
                raise UsageError(f"{display(entry.path)} is no file, folder or link: it cannot be stored")


def _files(path: Path, ignored: Callable[[bytes], Callable[[bytes, bool], bool]]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, below, names in os.walk(path):
        skip = ignored(os.fsencode(folder)[len(os.fsencode(path)) :].lstrip(b"/"))
        below[:] = [name for name in below if not skip(os.fsencode(name), True)]
        yield from (Path(folder) / name for name in names if not skip(os.fsencode(name), False))


def _pieces(path: Path) -> Iterator[bytes]:
    with contextlib.closing(path.open("rb")) as file:
        while piece := file.read(_BLOCK):
            yield piece
