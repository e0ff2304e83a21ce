"""A backup at its destination: what is there, what is written, and what is read back.

`packs/HASH.pack`, `segments/HASH`, `manifests/NUMBER-HASH`: nothing is ever rewritten, and the manifest comes last, so
a backup that was cut off is the one before it, and what it did copy is used by the next one once it has been read back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from retrodict.backups.errors import DamagedBackupError, ForeignBackupError
from retrodict.backups.layout import Manifest, Part, Segment, hash_of, read_segment
from retrodict.kernel.errors import FormatError, UsageError
from retrodict.kernel.protocols import Progress, Remote
from retrodict.ledger import Piece
from retrodict.objects import checked

_MANIFEST = re.compile(r"manifests/(?P<number>[0-9]{12})-(?P<hash>[0-9a-f]{64})\Z")
_AT_ONCE = 8


def pack_name(part: str) -> str:
    """Return where a pack lies."""
    return f"packs/{part}.pack"


def segment_name(part: str) -> str:
    """Return where a segment lies."""
    return f"segments/{part}"


def _manifest_name(manifest: Manifest) -> str:
    return f"manifests/{manifest.number:012d}-{hash_of(manifest.encode())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entered:
    name: str
    number: int
    hash: str


class Vault:
    """One destination. What was read of it once is not read again: its files never change."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._known: dict[str, Manifest] = {}

    @property
    def place(self) -> str:
        """Where it is, without credentials."""
        return self.remote.place

    def manifests(self, at: int | None = None) -> list[Manifest]:
        """Return the manifests of the last backup (or of backup number `at`) and of all before it, oldest first.

        Raises:
            DamagedBackupError: One is missing or altered.
            UsageError: There is no backup of that number.
        """
        entered = sorted(
            (
                _Entered(name=name, number=int(match["number"]), hash=match["hash"])
                for name in self.remote.list("manifests/")
                if (match := _MANIFEST.match(name))
            ),
            key=lambda entry: entry.number,
        )
        if at is not None:
            entered = [entry for entry in entered if entry.number <= at]
            if not entered or entered[-1].number != at:
                raise UsageError(
                    f"{self.place} holds no backup number {at}", hint="`backup drill` says which there are."
                )
        missing = [entry for entry in entered if entry.name not in self._known]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for entry, manifest in zip(missing, pool.map(self._manifest, missing), strict=True):
                self._known[entry.name] = manifest
        found: list[Manifest] = []
        previous: str | None = None
        for number, entry in enumerate(entered, 1):
            manifest = self._known[entry.name]
            if (manifest.number, manifest.previous, entry.number) != (number, previous, number):
                raise DamagedBackupError(f"{self.place}: the manifest of backup {number} is missing, or there are two")
            if found and (manifest.workspace, manifest.origin) != (found[-1].workspace, found[-1].origin):
                raise DamagedBackupError(f"{self.place}: {entry.name} is of another workspace")
            found.append(manifest)
            previous = entry.hash
        return found

    def _manifest(self, entry: _Entered) -> Manifest:
        try:
            return Manifest.decode(self._whole(entry.name, entry.hash))
        except FormatError as error:
            raise DamagedBackupError(f"{self.place}: {entry.name}: {error.message}", hint=error.hint) from error

    def held(self, manifests: Sequence[Manifest]) -> set[str]:
        """Return the names of the parts that a chain of manifests has, and that are there in their full length."""
        there = self.remote.list("packs/") | self.remote.list("segments/")
        return {
            part.name
            for manifest in manifests
            for naming, parts in ((pack_name, manifest.packs), (segment_name, manifest.segments))
            for part in parts
            if there.get(naming(part.name)) == part.size_bytes
        }

    def add_pack(self, name: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]]) -> Part:
        """Bring a pack there, unless a backup that was cut off has; verified on arrival."""
        self._bring(pack_name(name), name[-64:], size_bytes, parts)
        return Part(name=name, size_bytes=size_bytes)

    def add_segment(self, segment: Segment) -> None:
        """Bring a segment there, verified on arrival."""
        name, data = segment.part.name, segment.data
        self._bring(segment_name(name), name, len(data), lambda: (memoryview(data),))

    def _bring(self, name: str, expected: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]]) -> None:
        try:
            self._read_back(name, expected)
        except DamagedBackupError:
            self.remote.put_parts(name, size_bytes, parts)
            self._read_back(name, expected)

    def _read_back(self, name: str, expected: str) -> None:
        for _ in self._parts(name, expected):
            pass

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: from now on the backup is made. Then remove segments that backups cut off have left."""
        data, name = manifest.encode(), _manifest_name(manifest)
        self.remote.put(name, data)
        self._read_back(name, hash_of(data))
        self._known[name] = manifest

    def remove_torn(self, manifests: Sequence[Manifest]) -> None:
        """Remove segments that no manifest names: a backup that was cut off has left them."""
        named = {segment_name(part.name) for manifest in manifests for part in manifest.segments}
        for name in self.remote.list("segments/"):
            if name not in named:
                self.remote.delete(name)

    def _whole(self, name: str, expected: str) -> bytes:
        return b"".join(map(bytes, self._parts(name, expected)))

    def _parts(self, name: str, expected: str) -> Iterator[memoryview]:
        parts = self.remote.parts(name)
        if parts is None:
            raise DamagedBackupError(f"{self.place}: {name} is missing")
        problem = f"{self.place}: {name} is altered: its bytes are not those of its name"
        return checked(parts, expected, lambda: DamagedBackupError(problem))

    def pieces(self, manifests: Sequence[Manifest], progress: Progress | None = None) -> Iterator[Piece]:
        """Yield the whole log that a chain of manifests makes up. Raises `DamagedBackupError`."""
        parts = [part for manifest in manifests for part in manifest.segments]
        for done, part in enumerate(parts):
            if progress is not None:
                progress(done, len(parts), "segments of the log")
            yield read_segment(self._whole(segment_name(part.name), part.name))

    def packs(
        self, manifests: Sequence[Manifest], progress: Progress | None = None
    ) -> Iterator[tuple[str, Iterator[memoryview]]]:
        """Yield every pack and raw file of a chain of manifests: its key, and its parts, each good until the next.

        Raises:
            DamagedBackupError: One is missing, or, at the end of its parts, altered.
        """
        parts = list(dict.fromkeys(part.name for manifest in manifests for part in manifest.packs))
        for done, name in enumerate(parts):
            if progress is not None:
                progress(done, len(parts), "packs of objects")
            yield name, self._parts(pack_name(name), name[-64:])

    def refuse_others(self, manifests: Sequence[Manifest], workspace: str) -> None:
        """Do nothing where the destination is empty or this workspace's.

        Raises:
            ForeignBackupError: It is another's.
        """
        if manifests and manifests[-1].workspace != workspace:
            raise ForeignBackupError(f"{self.place} holds the backup of another workspace ({manifests[-1].workspace})")
