"""Object stores that a test makes, looks into and damages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import Disk
from retrodict.kernel.types import Finding
from retrodict.objects import ObjectStore

CACHE_KEY = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Room:
    """A folder with room for a store and for files whose blocks it can share.

    Attributes:
        folder: Where the files lie; the store lies in "objects".
        disk: The one that shares.
        shares: It really does, not by copying.
    """

    folder: Path
    disk: Disk
    shares: bool

    @property
    def store(self) -> Path:
        """Where the store lies."""
        return self.folder / "objects"

    def make(self) -> ObjectStore:
        """Return an empty store."""
        return ObjectStore.create(self.store, SystemClock(), disk=self.disk, cache_key=CACHE_KEY)

    def open(self, *, read_only: bool = False) -> ObjectStore:
        """Return the store again."""
        return ObjectStore.open(self.store, SystemClock(), disk=self.disk, read_only=read_only, cache_key=CACHE_KEY)

    def file(self, name: str, data: bytes) -> Path:
        """Write a file beside the store."""
        path = self.folder / name
        path.write_bytes(data)
        return path


def findings(folder: Path, *, read_only: bool = True) -> list[Finding]:
    """Return all that `verify` finds in a store."""
    with ObjectStore.open(folder, SystemClock(), read_only=read_only, cache_key=CACHE_KEY) as store:
        return list(store.verify())


def bad(folder: Path) -> list[Finding]:
    """Return what `verify` finds altered or missing in a store."""
    return [finding for finding in findings(folder) if finding.level in ("altered", "missing")]


def patch(path: Path, offset: int, bits: int) -> None:
    """Flip `bits` of one byte of a file."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def changed(value: object) -> list[object]:
    """Return other values that a column of an index may be changed to."""
    match value:
        case int():
            return [value + 1000, -1 - value, 1 << 40]
        case bytes():
            return [bytes([value[0] ^ 1]) + value[1:], value[:-1] + bytes([value[-1] ^ 128]), b""]
    raise AssertionError(value)


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of a store's index, without the numbers that may differ after it was built again."""
    db = apsw.Connection(str(folder / "index.db"))
    try:
        return {
            "objects": db.execute(
                "SELECT o.name, p.name, offset, kind, codec, stored, o.size FROM objects o JOIN packs p ON p.id = pack"
                " ORDER BY 1, 2, 3"
            ).fetchall(),
            "packs": db.execute("SELECT name, size FROM packs ORDER BY 1").fetchall(),
            "recipes": db.execute("SELECT * FROM recipes ORDER BY 1, 2").fetchall(),
        }
    finally:
        db.close()
