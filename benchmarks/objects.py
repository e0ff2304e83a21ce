"""Version a folder of small files, and one big file, beside a copy and a plain hash of the same bytes.

    python benchmarks/objects.py [FILES] [BIG_FILE_MB] [SHARED_FILE_MB]

Budgets: add 100,000 small files, nothing changed, 100 changed: 5x faster than DVC (measured where `dvc` is installed).
A 2 GB file: <= 4x (BLAKE3 + one plain copy with fsync); again after an insertion in its middle: <= 3.5x BLAKE3, extra
bytes < 0.5 %.
One more file is added and checked out on file systems that share blocks and on one that does not, each mounted from a
file for that (which needs root; not measured elsewhere).
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import measure
from blake3 import blake3

from retrodict.kernel.clock import SystemClock
from retrodict.objects import ObjectStore
from retrodict.testing.mounts import NotMountedError, mounted
from retrodict.testing.stores import CACHE_KEY

RANDOM = random.Random(1)


def small_files(folder: Path, count: int) -> None:
    """Write `count` files of 1 to 4 KiB of compressible text into folders of 100."""
    for i in range(count):
        sub = folder / f"{i // 100:04d}"
        if i % 100 == 0:
            sub.mkdir(parents=True)
        words = " ".join(str(RANDOM.randrange(10**6)) for _ in range(RANDOM.randrange(150, 600)))
        (sub / f"{i % 100:02d}.txt").write_text(words)


def hash_all(folder: Path) -> None:
    """Hash every file, as b3sum does."""
    for path in folder.rglob("*"):
        if path.is_file():
            hash_file(path)


def hash_file(path: Path) -> None:
    """Hash one file on one thread."""
    hasher = blake3()
    hasher.update_mmap(path) if path.stat().st_size else hasher.update(b"")


def copy_and_sync(source: Path, target: Path) -> None:
    """Copy one file's bytes and force them to the disk."""
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        os.fsync(written.fileno())


def main(files: int = 20_000, big_mb: int = 256, shared_mb: int = 512) -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        _folder_of_small_files(Path(name), files)
    with tempfile.TemporaryDirectory(dir=".") as name:
        _one_big_file(Path(name), big_mb)
    for kind in ("ext4", "btrfs", "xfs"):
        with tempfile.TemporaryDirectory(dir=".") as name:
            try:
                with mounted(kind, Path(name), (4 * shared_mb + 512) << 20) as place:
                    _add_and_checkout(place, kind, shared_mb)
            except NotMountedError as error:
                print(f"Not measured on {kind}: {error}")


def _folder_of_small_files(folder: Path, files: int) -> None:
    measure.title(f"Objects: {files:,} small files")
    data = folder / "data"
    small_files(data, files)
    found: dict[str, list[measure.Spent]] = {}

    def note(name: str, function: Callable[[], object]) -> None:
        found.setdefault(name, []).append(measure.work(function))

    for i in range(3):
        note("BLAKE3 of every file", lambda: hash_all(data))
        note("plain copy (cp -r)", lambda: measure.command(["cp", "-r", str(data), str(folder / "copy")]))
        shutil.rmtree(folder / "copy")
        store = ObjectStore.create(folder / f"store-{i}", SystemClock(), cache_key=CACHE_KEY)
        note("add", lambda store=store: store.add(data))  # type: ignore[misc]
        note("add again, nothing changed", lambda store=store: store.add(data))  # type: ignore[misc]
        for path in sorted(data.rglob("*.txt"))[:: max(1, files // 100)]:
            path.write_text(path.read_text() + " changed")
        note("add again, 100 changed", lambda store=store: store.add(data))  # type: ignore[misc]
        store.close()
    if shutil.which("dvc") and shutil.which("git"):
        for _ in range(3):
            project = folder / "dvc"
            project.mkdir()
            shutil.copytree(data, project / "data")
            for argv in (["git", "init", "-q"], ["dvc", "init", "-q"]):
                measure.command(argv, cwd=project)
            for what in ("dvc add", "dvc add again, nothing changed"):
                found.setdefault(what, []).append(measure.command(["dvc", "add", "-q", "data"], cwd=project))
            shutil.rmtree(project)
    measure.table({name: measure.median(runs) for name, runs in found.items()}, against="BLAKE3 of every file")


def _one_big_file(folder: Path, big_mb: int) -> None:
    measure.title(f"Objects: one file of {big_mb:,} MB that does not compress")
    big = folder / "big"
    with big.open("wb") as file:
        for _ in range(big_mb):
            file.write(RANDOM.randbytes(1_000_000))
    found: dict[str, list[measure.Spent]] = {}
    extra = 0
    for i in range(3):
        store = ObjectStore.create(folder / f"store-{i}", SystemClock(), cache_key=CACHE_KEY)
        work: dict[str, Callable[[], object]] = {
            "BLAKE3": lambda: hash_file(big),
            "plain copy with fsync": lambda: copy_and_sync(big, folder / "copy"),
            "add": lambda store=store: store.add(big),  # type: ignore[misc]
        }
        for name, function in work.items():
            found.setdefault(name, []).append(measure.work(function))
        changed = folder / "changed"
        half = big_mb * 500_000
        with big.open("rb") as read, changed.open("wb") as written:
            written.write(read.read(half) + RANDOM.randbytes(1000))
            shutil.copyfileobj(read, written, 1 << 20)
        before = _size(folder / f"store-{i}")
        name = "add after an insertion in the middle"
        found.setdefault(name, []).append(measure.work(lambda store=store, path=changed: store.add(path)))  # type: ignore[misc]
        extra = _size(folder / f"store-{i}") - before
        store.close()
        shutil.rmtree(folder / f"store-{i}")
    medians = {name: measure.median(runs) for name, runs in found.items()}
    measure.table(medians, against="BLAKE3")
    plain = medians["BLAKE3"].wall_s + medians["plain copy with fsync"].wall_s
    measure.figure("add / (BLAKE3 + plain copy with fsync), wall", medians["add"].wall_s / plain, "x")
    measure.figure("extra bytes after the insertion", extra / (big_mb * 1e6) * 100, "%")


def _add_and_checkout(folder: Path, kind: str, size_mb: int) -> None:
    measure.title(f"Objects: one file of {size_mb:,} MB on {kind}")
    big = folder / "big"
    with big.open("wb") as file:
        for _ in range(size_mb):
            file.write(RANDOM.randbytes(1_000_000))
    with ObjectStore.create(folder / "empty", SystemClock(), cache_key=CACHE_KEY) as store:
        digest = store.hash_file(big)
    found: dict[str, list[measure.Spent]] = {}
    grown: dict[str, int] = {}
    for i in range(3):
        store = ObjectStore.create(folder / f"store-{i}", SystemClock(), cache_key=CACHE_KEY)
        work: dict[str, Callable[[], object]] = {
            "BLAKE3": lambda: hash_file(big),
            "add": lambda store=store: store.add(big),  # type: ignore[misc]
            "checkout": lambda store=store: store.checkout(digest, folder / "out"),  # type: ignore[misc]
        }
        for name, function in work.items():
            before = _used(folder)
            found.setdefault(name, []).append(measure.work(function))
            grown[name] = _used(folder) - before
        store.close()
        (folder / "out").unlink()
        shutil.rmtree(folder / f"store-{i}")
    measure.table({name: measure.median(runs) for name, runs in found.items()}, against="BLAKE3")
    for name in ("add", "checkout"):
        measure.figure(f"bytes that {name} took", grown[name] / 1e6, "MB")


def _used(place: Path) -> int:
    """Return how many bytes of a file system are taken, with what waits to be written."""
    subprocess.run(["sync", "-f", str(place)], check=True)
    stat = os.statvfs(place)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
