"""Files that are personal: sealed whole, known again by a keyed hash of their bytes. No verb.

The store names such a file by its ciphertext. What it is in the clear is never hashed into the store, the stat cache or
an entry: `keys.db` has a keyed hash of its digest, by which a copy that lies in the project is known.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retrodict import datasets
from retrodict.actions.places import is_ignored, workspace_path
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest
from retrodict.objects import Added
from retrodict.predictions.errors import ErasedError, SealedValuesError
from retrodict.workspace import UnwritableStateError, Workspace, forgotten_by, sealed_key

_BLOCK: Final = 1 << 20


class PersonalFileError(UsageError):
    """Bytes of a personal file that would be kept in the clear."""

    slug = "personal-file"
    hint = "If they are about nobody: `retrodict add FILE --not-personal --reason ...`, then again."


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """A personal file in the store.

    Attributes:
        stored: The object, named by its ciphertext; `size_bytes` is that of the file.
        key: What opens it.
    """

    stored: Added
    key: str


class PersonalFiles:
    """The personal files of a workspace, as one command sees them."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._keys = workspace.keys
        self._sizes = frozenset() if self._keys is None else self._keys.file_sizes()
        current = [v for v in datasets.versions(workspace.views.database()) if v.is_current and v.key is not None]
        self._paths = {version.path for version in current if version.path}

    @property
    def is_any(self) -> bool:
        """Whether there are any at all."""
        return bool(self._sizes or self._paths)

    def find(self, path: Path) -> Digest | None:
        """Return the object of the personal file whose very bytes lie at `path`, or None."""
        try:
            is_likely = self._keys is not None and os.path.getsize(path) in self._sizes and path.is_file()
        except OSError:
            return None
        if not is_likely or self._keys is None:
            return None
        return self._known(self._workspace.objects.hash_file(path, remember=False))

    def _known(self, plain: Digest) -> Digest | None:
        found = None if self._keys is None else self._keys.find_file(plain.encode())
        return None if found is None else Digest(found)

    def is_personal(self, path: Path) -> bool:
        """Say whether a file is personal: by its bytes, or because what lay at its path was declared so."""
        return self.is_any and (self.is_declared(path) or self.find(path) is not None)

    def is_declared(self, path: Path) -> bool:
        """Say whether the current version of what lay at a path is personal."""
        return bool(self._paths) and workspace_path(self._workspace, path) in self._paths

    def hash(self, path: Path) -> Digest:
        """Return the name of a file's bytes; that of a personal one is remembered nowhere."""
        return self._workspace.objects.hash_file(path, remember=not self.is_personal(path))

    def refuse(self, path: Path) -> None:
        """Do nothing where a file, or a folder and all below it, may be kept in the clear.

        Raises:
            PersonalFileError: It may not.
        """
        for file in _files(path) if self.is_any else ():
            if self.is_personal(file):
                raise PersonalFileError(f"{file} is personal, or was made from personal files")

    def seal(self, path: Path) -> SealedFile:
        """Keep a file sealed, under a key of its own; one that is known already as it is.

        Raises:
            UsageError: It is a folder, or changes while it is read.
            UnwritableStateError: There are no keys.
        """
        keys, objects = self._keys, self._workspace.objects
        if keys is None:
            raise UnwritableStateError("a personal file cannot be sealed: the keys of this workspace are out of reach")
        if path.is_dir():
            raise UsageError(f"{path} is a folder, and only files can be personal", hint="Add its files: FOLDER/*.")
        plain = objects.hash_file(path, remember=False)
        size = os.path.getsize(path)
        known = self._known(plain)
        key = None if known is None else sealed_key(self._workspace, known)
        if known is not None and key is not None and objects.has(known):
            stored = Added(digest=known, kind="file", recipes=None, files=1, size_bytes=size, new_bytes=0, unchanged=1)
            return SealedFile(stored=stored, key=key)
        folder = self._workspace.folder / "tmp"
        folder.mkdir(exist_ok=True)
        sealed = folder / f"sealed-{self._workspace.clock.random_bytes(8).hex()}"
        try:
            with sealed.open("wb") as file:
                key = keys.seal_file(_pieces(path), file.write)
            if objects.hash_file(path, remember=False) != plain:
                raise UsageError(f"{path} changed while it was read", hint="Try again.")
            added = objects.add(sealed)
        finally:
            sealed.unlink(missing_ok=True)
        keys.remember_file(plain.encode(), size, added.digest, key)
        self._sizes |= {size}
        stored = Added(
            digest=added.digest,
            kind="file",
            recipes=added.recipes,
            files=1,
            size_bytes=size,
            new_bytes=added.new_bytes,
            unchanged=0,
        )
        return SealedFile(stored=stored, key=key)

    def declare_clean(self, path: Path) -> Digest | None:
        """Know a file no longer as personal; return the object that it was sealed as."""
        found = self.find(path)
        if found is not None and self._keys is not None:
            self._keys.drop_file(self._workspace.objects.hash_file(path, remember=False).encode())
        return found

    def unseal(self, content: Digest, key: str, destination: Path) -> int:
        """Write a personal file in the clear; return its size in bytes. Whole or not at all.

        Raises:
            ErasedError, SealedValuesError: Its key is gone, or not held here.
            UsageError: It cannot be written.
        """
        opened = None if self._keys is None else self._keys.open_file(key, self._workspace.objects.stream(content))
        if opened is None:
            entry = forgotten_by(self._workspace, key)
            raise (
                SealedValuesError("sealed: the key of this file is not held here")
                if entry is None
                else ErasedError(entry)
            )
        part = destination.with_name(f".{destination.name}.{self._workspace.clock.random_bytes(4).hex()}")
        size = 0
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                for piece in opened:
                    size += file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            part.rename(destination)
        except OSError as error:
            raise UsageError(f"{destination} cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        if self._keys is not None and not self._workspace.read_only:
            plain = self._workspace.objects.hash_file(destination, remember=False)
            self._keys.remember_file(plain.encode(), size, content, key)
        return size


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if not is_ignored(name)]
        yield from (Path(folder) / name for name in names)


def _pieces(path: Path) -> Iterator[bytes]:
    with contextlib.closing(path.open("rb")) as file:
        while piece := file.read(_BLOCK):
            yield piece
