"""A disk that fails under SQLite: what was acknowledged stays, and this process writes no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.types import Digest, Event
from retrodict.ledger import Ledger, LedgerStoppedError

Draft = Callable[..., Event]
BLOB = Digest("b3-" + "ab" * 32)


class FaultyFiles(apsw.VFS):
    """The system's files, but one write or sync fails: before it took effect, or after (`landed`)."""

    def __init__(self) -> None:
        self.countdown = -1
        self.step = ""
        self.landed = False
        super().__init__("faulty", "unix", makedefault=True)

    def arm(self, step: str, occurrence: int, *, landed: bool) -> None:
        self.step, self.countdown, self.landed = step, occurrence, landed

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return FaultyFile(self, name, flags)

    def strikes(self, step: str) -> bool:
        if step == self.step:
            self.countdown -= 1
        return step == self.step and self.countdown == 0


class FaultyFile(apsw.VFSFile):
    def __init__(self, files: FaultyFiles, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self.files = files

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        struck = self.files.strikes("write")
        if not struck or self.files.landed:
            super().xWrite(data, offset)
        if struck:
            raise apsw.IOError("the disk failed to write")

    def xSync(self, flags: int) -> None:  # noqa: N802
        struck = self.files.strikes("sync")
        if not struck or self.files.landed:
            super().xSync(flags)
        if struck:
            raise apsw.IOError("the disk failed to sync")


@pytest.fixture
def files() -> Iterator[FaultyFiles]:
    files = FaultyFiles()
    yield files
    files.unregister()


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize(
    ("step", "occurrence"), [("write", 1), ("write", 2), ("write", 5), ("sync", 1), ("sync", 2), ("sync", 3)]
)
def test_a_disk_that_fails_loses_nothing_acknowledged(
    tmp_path: Path,
    files: FaultyFiles,
    draft: Draft,
    clock: SystemClock,
    step: str,
    occurrence: int,
    landed: bool,
) -> None:
    ledger = Ledger.create(tmp_path / "l.db", "example.com/log", clock)
    acknowledged = ledger.append([draft() for _ in range(255)])
    files.arm(step, occurrence, landed=landed)
    for _ in range(12):  # among them the one that completes a tile
        try:
            acknowledged += ledger.append([draft()], {BLOB: bytes(3000)})
        except LedgerStoppedError:
            break
    else:
        pytest.fail("the fault never came up")
    with pytest.raises(LedgerStoppedError):
        ledger.append([draft()])
    files.arm("", 0, landed=False)
    again = Ledger.open(tmp_path / "l.db", clock)
    found = list(again.read())
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1  # the one whose fate was not known
    again.append([draft()])
    assert [f.level for f in again.verify(None)] == ["unprotected"]
    again.close()
    ledger.close()
