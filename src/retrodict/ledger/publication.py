"""A log as static files that any web server can serve: C2SP tlog-tiles.

Tiles and bundles of entries come first, the checkpoint last: whoever fetches a checkpoint finds everything under it,
and a publication that is cut off is not seen and goes on next time. What a published checkpoint covers never changes,
so only what is new is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retrodict.kernel.durable import REAL_DISK, Disk, sync_folder, write_file
from retrodict.kernel.errors import UnavailableError, UsageError
from retrodict.kernel.note import Checkpoint, decode_checkpoint
from retrodict.kernel.protocols import Progress
from retrodict.ledger.errors import ForkError, OldStoreError
from retrodict.ledger.log import Ledger
from retrodict.ledger.tiles import HEIGHT, WIDTH, path


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What was written: `before` is how many entries the folder showed, `files` how many files are new."""

    before: int
    files: int


def publish_files(
    ledger: Ledger,
    checkpoint: Checkpoint,
    folder: Path,
    *,
    again: bool = False,
    progress: Progress | None = None,
    disk: Disk = REAL_DISK,
) -> Publication:
    """Lay the log out in `folder` up to `checkpoint`, and show the checkpoint; durable when it returns.

    Args:
        ledger: The log.
        checkpoint: Signed, of this log. One that is smaller than the one shown is refused.
        folder: Made where it is not there.
        again: Write what the folder should hold already, too.
        progress: Told how many files are done.
        disk: The system calls.

    Raises:
        UsageError: The folder shows another log, or a longer one than `checkpoint`.
        ForkError: The folder shows another history of this log.
        OldStoreError: The folder shows more of this log than the log has.
        UnavailableError: A file cannot be written.
    """
    try:
        with _held(folder, disk):
            return _publish(ledger, checkpoint, folder, again, progress, disk)
    except OSError as error:
        raise UnavailableError(f"{error.filename or folder} cannot be written: {error.strerror}") from error


def _publish(
    ledger: Ledger, checkpoint: Checkpoint, folder: Path, again: bool, progress: Progress | None, disk: Disk
) -> Publication:
    before = _shown(ledger, checkpoint, folder)
    wanted = list(_files(0 if again else before, checkpoint.size))
    for done, (level, index, width) in enumerate(wanted):
        data = ledger.entry_bundle(index, width) if level == "entries" else ledger.tile(int(level), index, width)
        target = folder / path(level, index, width)
        _make(target.parent, folder, disk)
        write_file(target, data, disk=disk)
        if progress is not None:
            progress(done + 1, len(wanted), "files")
    write_file(folder / "checkpoint", checkpoint.encode(), disk=disk)
    for level, index, width in _files(before, checkpoint.size):
        if width == WIDTH:  # nobody needs the beginnings of a tile that is complete
            shutil.rmtree(folder / f"{path(level, index)}.p", ignore_errors=True)
    return Publication(before=before, files=len(wanted) + 1)


@contextlib.contextmanager
def _held(folder: Path, disk: Disk) -> Iterator[None]:
    """Make the folder, and hold it: of two who publish at once, the one that has less must not come last."""
    _make(folder, folder, disk)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _shown(ledger: Ledger, checkpoint: Checkpoint, folder: Path) -> int:
    """Return how many entries the folder shows; refuse what `checkpoint` does not continue."""
    try:
        shown = decode_checkpoint((folder / "checkpoint").read_bytes())
    except FileNotFoundError:
        return 0
    if shown.origin != ledger.origin:
        raise UsageError(f"{folder} shows another log, {shown.origin}", hint="Give each log a folder of its own.")
    size = ledger.size()
    if shown.size > size:
        raise OldStoreError(size, shown.size, f"the checkpoint in {folder}")
    if ledger.root(shown.size) != shown.root:
        raise ForkError(size, shown.size, f"the checkpoint in {folder}")
    if shown.size > checkpoint.size:
        raise UsageError(f"{folder} shows {shown.size} entries already; this checkpoint covers {checkpoint.size}")
    return shown.size


def _files(before: int, size: int) -> Iterator[tuple[int | str, int, int]]:
    """Yield level, index and width of the tiles and bundles that a log of `size` has and one of `before` has not."""
    level = 0
    while size >> (HEIGHT * level):
        old, new = before >> (HEIGHT * level), size >> (HEIGHT * level)
        for index in range(old // WIDTH, -(-new // WIDTH)):
            width = min(WIDTH, new - index * WIDTH)
            if index * WIDTH + width > old:
                yield level, index, width
                if level == 0:
                    yield "entries", index, width
        level += 1


def _make(folder: Path, root: Path, disk: Disk) -> None:
    """Make a folder durably, with those above it up to `root` (whose own place is the caller's)."""
    if folder.is_dir():
        return
    if folder != root:
        _make(folder.parent, root, disk)
        os.mkdir(folder)
        sync_folder(folder.parent, disk)
    else:
        folder.mkdir(parents=True, exist_ok=True)
