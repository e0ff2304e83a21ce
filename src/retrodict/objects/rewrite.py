"""Writing records again into new packs, for a pack or raw file that goes: durable before the old one is removed.

A crash leaves at worst both. What is written again keeps its fate: what was doomed stays so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from retrodict.kernel.durable import Disk
from retrodict.kernel.errors import FormatError
from retrodict.objects.errors import StoreWriteError
from retrodict.objects.index import Index
from retrodict.objects.names import Kind
from retrodict.objects.pack import PACK_BYTES, Load, PackFiles, PackWriter, Place, decode, path_of
from retrodict.objects.recipe import Recipe


class Record(NamedTuple):
    """A record as it is kept: its bytes have been checked against its name."""

    kind: int
    codec: int
    size: int  # bytes once decoded
    name: bytes
    stored: bytes

    def recipe(self, load: Load) -> Recipe:
        """Return the recipe that it is. Raises `FormatError`."""
        return Recipe.decode(decode(self.codec, self.stored, self.size, partial(load, self.kind)))


class Rewriter:
    """Writes and removes the packs of one store. Other processes may read and write it meanwhile."""

    def __init__(self, index: Index, store: Path, files: PackFiles, disk: Disk) -> None:
        self._index = index
        self._store = store
        self._files = files
        self._disk = disk

    def copy(self, key: bytes, places: Iterable[Place]) -> set[bytes]:
        """Write records of a pack or raw file again; return the keys of the packs that hold them now.

        Raises:
            FormatError: One of them is altered.
            StoreWriteError: As `keep` does.
        """
        return self.keep(
            Record(place.kind, place.codec, place.size, place.name, self._files.stored(key, place, self._index.base))
            for place in places
        )

    def keep(self, records: Iterable[Record]) -> set[bytes]:
        """Store records in new packs, durable when it returns; return the keys of these.

        Raises:
            StoreWriteError: The disk is full or fails; nothing half-written is left.
        """
        keys: set[bytes] = set()
        writer: PackWriter | None = None
        recipes: list[Recipe] = []
        try:
            for record in records:
                if writer is None:
                    writer = PackWriter(self._store / "tmp", self._disk)
                writer.add(Kind(record.kind), record.codec, record.size, record.name, record.stored)
                if record.kind == Kind.RECIPE:
                    with contextlib.suppress(FormatError):
                        recipes.append(record.recipe(self._index.base))
                if writer.size_bytes >= PACK_BYTES:
                    keys.add(self._seal(writer, recipes))
                    writer, recipes = None, []
            if writer is not None:
                keys.add(self._seal(writer, recipes))
        except BaseException as error:
            if writer is not None:
                writer.abort()
            if isinstance(error, OSError):
                raise StoreWriteError(str(self._store), error) from error
            raise
        return keys

    def _seal(self, writer: PackWriter, recipes: list[Recipe]) -> bytes:
        sealed = writer.seal()
        with self._index.writing():
            self._index.place(sealed, recipes, self._disk, anew=False)
        self._files.drop(sealed.name)  # a bad one may have been open under that name
        return sealed.name

    def remove(self, key: bytes, unless: Iterable[bytes] = ()) -> bool:
        """Remove a pack or raw file with its rows, unless one of some names is doomed no more; say whether it went.

        Raises:
            StoreWriteError: The disk refuses.
        """
        names = set(unless)
        try:
            with self._index.writing():
                if self._index.doomed_of(names) != names:
                    return False
                self._index.forget(key)
                self._index.bury()
            # After the commit: a crash here leaves a file without rows, which the next opening takes in again. Another
            # process may have done so by now.
            with self._index.writing():
                self._index.forget(key)
                self._files.drop(key)
                with contextlib.suppress(FileNotFoundError):
                    self._disk.unlink(path_of(self._store, key))
        except OSError as error:
            raise StoreWriteError(str(self._store), error) from error
        return True
