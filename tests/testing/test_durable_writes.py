"""`kernel.durable.write_file` on a disk that fails at any of its steps, and that forgets what was not synced."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retrodict.kernel.durable import write_file, write_named
from retrodict.testing.disk import STEPS, Crash, Fault, FlakyDisk, Step

# What `write_file` does, in this order: create, write, sync the file, rename, sync the folder.
FAULTS: list[tuple[Step, int]] = [("create", 1), ("write", 1), ("sync", 1), ("rename", 1), ("sync", 2)]


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize(("step", "occurrence"), FAULTS)
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_crash_at_any_step_leaves_the_old_or_the_new_bytes(
    tmp_path: Path, before: bytes | None, step: Step, occurrence: int, landed: bool
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    disk = FlakyDisk(Fault(step=step, occurrence=occurrence, landed=landed))
    with pytest.raises(Crash):
        write_file(path, b"new", disk=disk)
    disk.healed()
    after = path.read_bytes() if path.exists() else None
    durable = (step, occurrence, landed) == ("sync", 2, True)  # the folder was synced: nothing may be lost
    assert after in ({b"new"} if durable else {before, b"new"})
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith(".tmp-")} <= {"file"}


@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize(("step", "occurrence"), FAULTS)
def test_an_error_at_any_step_is_told_and_leaves_no_temporary_file(
    tmp_path: Path, step: Step, occurrence: int, landed: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    disk = FlakyDisk(Fault(step=step, occurrence=occurrence, landed=landed, errno=errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        write_file(path, b"new", disk=disk)
    assert path.read_bytes() in (b"old", b"new")
    left_over = [p.name for p in tmp_path.iterdir() if p != path]
    # A file that was made although its creation "failed" is known to nobody; it is never read.
    assert all(name.startswith(".tmp-") for name in left_over)
    assert len(left_over) == (1 if (step, landed) == ("create", True) else 0)


def test_what_was_acknowledged_survives_the_loss_of_power(tmp_path: Path) -> None:
    path = tmp_path / "file"
    disk = FlakyDisk()
    write_file(path, b"new", disk=disk)
    disk.healed()
    assert path.read_bytes() == b"new"


def test_the_disk_forgets_what_nobody_synced(tmp_path: Path) -> None:
    """The kit itself: a writer that leaves out either sync is found out."""
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def careless(disk: FlakyDisk, *, sync_file: bool, sync_folder: bool) -> None:
        fd = disk.create(tmp_path / "new", 0o644)
        disk.write(fd, b"new")
        if sync_file:
            disk.sync(fd)
        os.close(fd)
        disk.rename(tmp_path / "new", target)
        if sync_folder:
            folder = os.open(tmp_path, os.O_RDONLY)
            disk.sync(folder)
            os.close(folder)
        disk.healed()

    careless(FlakyDisk(), sync_file=False, sync_folder=True)
    assert target.read_bytes() == b""
    target.write_bytes(b"old")
    careless(FlakyDisk(), sync_file=True, sync_folder=False)
    assert target.read_bytes() == b"old"
    careless(FlakyDisk(), sync_file=True, sync_folder=True)
    assert target.read_bytes() == b"new"


def test_a_sync_after_a_failed_sync_proves_nothing(tmp_path: Path) -> None:
    disk = FlakyDisk(Fault(step="sync", errno=errno.EIO))
    fd = disk.create(tmp_path / "file", 0o644)
    disk.write(fd, b"new")
    with pytest.raises(OSError, match="Input/output"):
        disk.sync(fd)
    disk.sync(fd)
    os.close(fd)
    folder = os.open(tmp_path, os.O_RDONLY)
    disk.sync(folder)
    os.close(folder)
    disk.healed()
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("step", STEPS)
def test_a_dead_process_does_nothing_more(tmp_path: Path, step: Step) -> None:
    disk = FlakyDisk(Fault(step="create"))
    with pytest.raises(Crash):
        disk.create(tmp_path / "a", 0o644)
    folder = os.open(tmp_path, os.O_RDONLY)
    calls: dict[Step, Callable[[], object]] = {
        "create": lambda: disk.create(tmp_path / "b", 0o644),
        "write": lambda: disk.write(folder, b"x"),
        "clone": lambda: disk.clone(folder, folder),
        "sync": lambda: disk.sync(folder),
        "rename": lambda: disk.rename(tmp_path / "a", tmp_path / "b"),
        "unlink": lambda: disk.unlink(tmp_path / "a"),
    }
    with pytest.raises(Crash):
        calls[step]()
    os.close(folder)
    assert list(tmp_path.iterdir()) == []


def test_what_is_interrupted_leaves_the_old_bytes_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def parts() -> Iterator[memoryview]:
        yield memoryview(b"new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_named(path, parts())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_pipe_that_was_named_is_written_to(tmp_path: Path) -> None:
    path, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(path)
    link.symlink_to(path)
    for named in (path, link):
        with ThreadPoolExecutor() as pool:
            read = pool.submit(path.read_bytes)
            write_named(named, (memoryview(b"a"), memoryview(b"b" * 100_000)))
            assert read.result() == b"a" + b"b" * 100_000
    assert path.is_fifo()
    assert link.is_symlink()
    write_named(Path(os.devnull), (memoryview(b"a"),))


def test_the_output_that_was_named_is_written_to_unless_it_is_a_file(tmp_path: Path) -> None:
    code = "from pathlib import Path; from retrodict.kernel import durable; durable.write_named(Path({!r}), [b'x'])"
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        command = [sys.executable, "-c", code.format(name)]
        assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == b"x"
        with (tmp_path / "file").open("wb") as file:
            file.write(b"before")
            file.flush()
            done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=False)
        assert "open already" in done.stderr
        assert (tmp_path / "file").read_bytes() == b"before"
    assert Path("/dev/stdout").is_symlink()
