"""The folder that a run has while it goes on, and those that killed recorders left behind.

`.retrodict/run-ID`, ID being the `run.started` event, is locked by its recorder: what is not locked was left behind. A
folder gets its name only when its lock is held, so that nobody takes a new one for an old one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from retrodict.kernel.types import EventId, is_event_id
from retrodict.objects.errors import StoreWriteError
from retrodict.runs import RUNNING, running_at
from retrodict.workspace import Workspace


@contextlib.contextmanager
def running_folder(workspace: Workspace, started: EventId) -> Iterator[Path]:
    """Give a run a folder for what it keeps aside; it is gone afterwards.

    Raises:
        StoreWriteError: It cannot be made.
    """
    folder = running_at(workspace.folder, started)
    with contextlib.ExitStack() as locks:
        try:
            unnamed = Path(tempfile.mkdtemp(prefix="new-run-", dir=workspace.folder))
            locks.enter_context(_locked(unnamed))
            os.rename(unnamed, folder)
        except OSError as error:
            raise StoreWriteError(str(workspace.folder), error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def left_behind(workspace: Workspace) -> Iterator[list[tuple[EventId, Path]]]:
    """Give the runs whose recorder was killed: their `run.started` events and folders, which stay until removed."""
    with contextlib.ExitStack() as locks:
        found = []
        for name in sorted(os.listdir(workspace.folder)):
            started, folder = name.removeprefix(RUNNING), workspace.folder / name
            if name.startswith(RUNNING) and is_event_id(started):
                with contextlib.suppress(OSError):  # it goes on, or is gone by now
                    locks.enter_context(_locked(folder))
                    found.append((EventId(started), folder))
        yield found


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
