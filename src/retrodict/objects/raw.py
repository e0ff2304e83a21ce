"""Raw files: large blobs as files of their own, whose blocks the file system can share (`docs/formats/object.md`).

`raw/<64 hex>` holds exactly the bytes of one blob and is named by their BLAKE3. It comes into being as a clone of the
file that was added (copied on write: no bytes are copied, and the store keeps them when that file changes), and a
checkout clones it in turn. Its chunks are cut as those in packs are, so that other versions share them and ranges are
read and checked chunk by chunk; their places in the index follow from the bytes alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from blake3 import blake3

from retrodict.kernel.durable import Disk
from retrodict.objects.errors import StoreReadError
from retrodict.objects.names import Kind
from retrodict.objects.pack import PLAIN, OpenedFile, Place
from retrodict.objects.recipe import name_chunks

RAW_FROM = 64 << 20  # a file of at least this many bytes is kept raw where its blocks can be shared
RAW_NEW = 0.875  # and where at least this part of it is new to the store: versions that differ little share chunks


class Clone:
    """A snapshot of a file, under `tmp/`, that shares its blocks. It becomes a raw file, or goes when this ends."""

    def __init__(self, folder: Path, disk: Disk, source: int) -> None:
        """Clone the open file `source`.

        Raises:
            OSError: It cannot be cloned into `folder`; nothing is left there.
        """
        self._disk = disk
        self.temporary = folder / f"raw-{os.getpid()}-{os.urandom(6).hex()}"
        self.is_kept = False
        self._fd = disk.create(self.temporary, 0o444)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: then only age tells that it was left
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            disk.clone(source, self._fd)
            self.size_bytes = os.fstat(self._fd).st_size
            self._file = OpenedFile(self.temporary)
        except BaseException:
            self.__exit__()
            raise
        self.read_into = reading(self._file)

    def __enter__(self) -> Clone:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        if not self.is_kept:
            with contextlib.suppress(OSError):
                self._disk.unlink(self.temporary)

    def read(self, place: Place) -> bytes:
        """Return the bytes of a chunk. Raises as `reading` does."""
        try:
            return os.pread(self._file.fd, place.size, place.offset)
        except OSError as error:
            raise StoreReadError(str(self.temporary), error) from error

    def sync(self) -> None:
        """Make the bytes durable."""
        self._disk.sync(self._fd)

    def keep(self, path: Path) -> None:
        """Rename it to `path`."""
        self._disk.rename(self.temporary, path)
        self.is_kept = True


def reading(file: OpenedFile) -> Callable[[memoryview], int]:
    """Return what fills buffers with the bytes of a file from its beginning, wherever others read in it.

    Raises:
        StoreReadError: The disk fails.
    """
    offset = 0

    def read_into(buffer: memoryview) -> int:
        nonlocal offset
        try:
            n = os.preadv(file.fd, [buffer], offset)
        except OSError as error:
            raise StoreReadError(str(file.path), error) from error
        offset += n
        return n

    return read_into


def places_of(chunks: Iterable[tuple[int, bytes]]) -> list[Place]:
    """Return the places of the (bytes, name) chunks of a raw file: of each chunk the first, however often it comes."""
    found: dict[bytes, Place] = {}
    offset = 0
    for length, name in chunks:
        if name not in found:
            found[name] = Place(name, 0, offset, Kind.CHUNK.value, PLAIN, length, length)
        offset += length
    return list(found.values())


def scan_raw(file: OpenedFile) -> tuple[bytes, int, list[Place]]:
    """Return (digest, size in bytes, places) of a raw file, as its bytes say. Raises as `reading` does."""
    from concurrent.futures import ThreadPoolExecutor  # 10 ms, with the logging that it brings

    whole = blake3()
    chunks: list[tuple[int, bytes]] = []
    with ThreadPoolExecutor(2) as pool:
        for part in name_chunks(reading(file), pool, whole):
            chunks += [(len(data), name) for name, data in part]
    return whole.digest(), sum(length for length, _ in chunks), places_of(chunks)
