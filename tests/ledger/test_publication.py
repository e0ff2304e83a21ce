"""The log as static files: whole at every instant, written once, and never over another history."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrodict.kernel import merkle, note
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UnavailableError, UsageError
from retrodict.kernel.types import Event
from retrodict.keys import LogVerifier, StateDirectory
from retrodict.ledger import ForkError, Ledger, OldStoreError, tiles
from retrodict.ledger.publication import publish_files
from retrodict.testing.disk import Crash, Fault, FlakyDisk, Step

Draft = Callable[..., Event]


def grow(ledger: Ledger, state: StateDirectory, draft: Draft, size: int) -> note.Checkpoint:
    ledger.append([draft() for _ in range(size - ledger.size())])
    assert state.signer is not None
    return ledger.publish(state.signer, state, follow=LogVerifier.from_text)


def shown(folder: Path) -> int:
    """Read what is published as a stranger does, by the files alone; return its size."""
    checkpoint = note.decode_checkpoint((folder / "checkpoint").read_bytes())
    leaves: list[bytes] = []
    for index in range(-(-checkpoint.size // 256)):
        width = min(256, checkpoint.size - index * 256)
        bundle = (folder / tiles.path("entries", index, width)).read_bytes()
        while bundle:
            size = int.from_bytes(bundle[:2], "big")
            leaves.append(merkle.leaf_hash(bundle[2 : 2 + size]))
            bundle = bundle[2 + size :]
    level = 0
    hashes = leaves
    while hashes:
        for index in range(-(-len(hashes) // 256)):
            part = hashes[index * 256 : (index + 1) * 256]
            assert (folder / tiles.path(level, index, len(part))).read_bytes() == b"".join(part)
        hashes = [merkle.tree_hash(hashes[i : i + 256]) for i in range(0, len(hashes) - 255, 256)]
        level += 1
    assert len(leaves) == checkpoint.size
    assert merkle.tree_hash(leaves) == checkpoint.root
    return checkpoint.size


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_every_size_can_be_read_and_only_what_is_new_is_written(
    ledger: Ledger, state: StateDirectory, draft: Draft, tmp_path: Path
) -> None:
    folder = tmp_path / "www" / "log"
    before = 0
    for size in (1, 2, 255, 256, 257, 512, 700):
        old = times(folder)
        done = publish_files(ledger, grow(ledger, state, draft, size), folder)
        new = times(folder)
        assert (done.before, shown(folder)) == (before, size)
        written = {name for name in new if new[name] != old.get(name)}
        assert done.files == len(written)
        assert all(name == "checkpoint" or name not in old for name in written)
        before = size
    whole = [p for p in folder.rglob("*.p") if p.with_suffix("").exists()]
    assert whole == []  # beginnings of complete tiles are cleared away
    assert publish_files(ledger, grow(ledger, state, draft, 700), folder).files == 1
    (folder / "tile" / "0" / "001").write_bytes(b"damaged")
    assert publish_files(ledger, grow(ledger, state, draft, 701), folder, again=True).before == 700
    assert shown(folder) == 701


class CutError(Exception):
    pass


def test_a_publication_that_is_cut_off_is_not_seen_and_goes_on(
    ledger: Ledger, state: StateDirectory, draft: Draft, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    publish_files(ledger, grow(ledger, state, draft, 300), folder)
    checkpoint = grow(ledger, state, draft, 800)
    for last in range(1, 8):

        def cut(done: int, total: int | None, what: str, last: int = last) -> None:
            if done == last:
                raise CutError

        with pytest.raises(CutError):
            publish_files(ledger, checkpoint, folder, progress=cut)
        assert shown(folder) == 300
    publish_files(ledger, checkpoint, folder)
    assert shown(folder) == 800


def test_nothing_is_published_over_another_history(
    ledger: Ledger, state: StateDirectory, draft: Draft, path: Path, tmp_path: Path, clock: SystemClock
) -> None:
    folder = tmp_path / "log"
    first = grow(ledger, state, draft, 3)
    ledger.close()
    fork = tmp_path / "fork.db"
    shutil.copy(path, fork)
    reopened = Ledger.open(path, clock)
    publish_files(reopened, grow(reopened, state, draft, 5), folder)
    before = times(folder)
    with pytest.raises(UsageError, match="shows 5 entries already"):
        publish_files(reopened, first, folder)
    reopened.close()
    old = Ledger.open(fork, clock)
    with pytest.raises(OldStoreError, match="the log has 3 entries"):
        publish_files(old, first, folder)
    old.append([draft() for _ in range(2)])
    with pytest.raises(ForkError):
        publish_files(old, first, folder)
    old.close()
    (tmp_path / "otherstore").mkdir()
    another = StateDirectory.create(tmp_path / "other", "f" * 16, tmp_path / "otherstore", clock)
    other = Ledger.create(tmp_path / "other.db", another.origin, clock)
    with pytest.raises(UsageError, match="shows another log"):
        publish_files(other, grow(other, another, draft, 9), folder)
    other.close()
    assert times(folder) == before


@pytest.mark.parametrize("step", ["create", "write", "sync", "rename"])
@pytest.mark.parametrize("code", [None, errno.EIO], ids=["dies", "EIO"])
def test_a_fault_at_any_step_leaves_a_whole_log_and_the_next_one_finishes(
    step: Step, code: int | None, ledger: Ledger, state: StateDirectory, draft: Draft, tmp_path: Path
) -> None:
    publish_files(ledger, grow(ledger, state, draft, 300), tmp_path / "before")
    checkpoint = grow(ledger, state, draft, 520)
    counting = FlakyDisk()
    shutil.copytree(tmp_path / "before", tmp_path / "counted")
    publish_files(ledger, checkpoint, tmp_path / "counted", disk=counting)
    assert counting.used[step] >= 6
    for occurrence in range(1, counting.used[step] + 1):
        for landed in (False, True):
            folder = tmp_path / f"{occurrence}-{landed}"
            shutil.copytree(tmp_path / "before", folder)
            disk = FlakyDisk(Fault(step=step, occurrence=occurrence, landed=landed, errno=code))
            with pytest.raises(Crash if code is None else UnavailableError):
                publish_files(ledger, checkpoint, folder, disk=disk)
            disk.healed()
            assert shown(folder) in (300, 520)
            publish_files(ledger, checkpoint, folder)
            assert shown(folder) == 520


def test_of_two_who_publish_at_once_the_one_with_less_does_not_come_last(
    ledger: Ledger, state: StateDirectory, draft: Draft, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    checkpoints = [grow(ledger, state, draft, size) for size in (3, 300, 600, 900)]

    def publish(checkpoint: note.Checkpoint) -> None:
        with contextlib.suppress(UsageError):
            publish_files(ledger, checkpoint, folder)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, checkpoints))
    assert shown(folder) == 900


def test_a_place_that_cannot_be_written_is_said(
    ledger: Ledger, state: StateDirectory, draft: Draft, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be written"):
        publish_files(ledger, grow(ledger, state, draft, 1), tmp_path / "file" / "log")


def test_a_leaf_is_found_by_its_hash(ledger: Ledger, state: StateDirectory, draft: Draft) -> None:
    grow(ledger, state, draft, 600)
    for index in (0, 255, 256, 511, 512, 599):
        assert ledger.find_leaf(ledger.event(index).leaf_hash) == index
        assert ledger.find_leaf(ledger.event(index).leaf_hash[:8]) == index
    assert ledger.find_leaf(hashlib.sha256(b"none").digest()) is None
    across = ledger.event(0).leaf_hash[16:] + ledger.event(1).leaf_hash[:16]
    assert ledger.find_leaf(across) is None
