"""Makes workspaces and opens them.

On disk, below `.retrodict/`: `format.json` (random id, version of the layout, the logs where there are several),
`ledger.db` and `logs/`, `objects/`, `views.db`, `keys.db`. What must survive a restored store (signing key, last
checkpoint, the key that wraps the others) lies in a state directory outside, which the door passes in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from retrodict.kernel.durable import sync_folder, write_file
from retrodict.kernel.errors import (
    IntegrityError,
    NoWorkspaceError,
    UnavailableError,
    UsageError,
)
from retrodict.kernel.protocols import Clock
from retrodict.keys import KeyRing, Standing, StateDirectory, StateDirectoryError
from retrodict.ledger import HeldLog, Ledger, Logs
from retrodict.objects import ObjectStore
from retrodict.views import Projection, Views
from retrodict.workspace.batch import Batch
from retrodict.workspace.errors import ForeignKeyFileError
from retrodict.workspace.layout import FOLDER, FORMAT, LOGS, Layout, format_file, log_path
from retrodict.workspace.opened import Workspace, close
from retrodict.workspace.projections import PERSONAL, PROJECTION
from retrodict.workspace.texts import destroy_forgotten

if TYPE_CHECKING:
    from retrodict.keys import SshSigner


def find_root(start: Path) -> Path:
    """Return the nearest folder from `start` upwards that holds a workspace.

    Raises:
        NoWorkspaceError: There is none.
    """
    start = Path(os.path.abspath(start))
    for folder in (start, *start.parents):
        if (folder / FOLDER / "format.json").is_file():
            return folder
    raise NoWorkspaceError(str(start))


def create(root: Path, state_root: Path, clock: Clock, projections: Sequence[Projection], *, agent: str) -> Workspace:
    """Make a workspace in `root` and open it.

    `format.json` is written last: a folder without it is no workspace, and a second try begins anew.

    Raises:
        UsageError: There is one already.
        UnavailableError: `root` or the state directory cannot be written; what was made for it is removed.
    """
    folder = root / FOLDER
    if (folder / "format.json").exists():
        raise UsageError(f"{root} is a workspace already", hint="Nothing needs to be done.")
    made = [path for path in (folder, root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm", "keys.db", "views.db"):
            (folder / name).unlink(missing_ok=True)
        workspace_id = clock.random_bytes(16).hex()
        write_file(folder / ".gitignore", b"*\n")
    except OSError as error:
        _remove_empty(made)
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        state = StateDirectory.create(state_root / workspace_id, workspace_id, folder, clock)
    except UnavailableError:
        (folder / ".gitignore").unlink()
        _remove_empty(made)
        raise
    Ledger.create(folder / "ledger.db", state.origin, clock).close()
    if not (folder / "objects" / "format.json").exists():
        ObjectStore.create(folder / "objects", clock).close()
    try:
        write_file(folder / "format.json", format_file(workspace_id))
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    workspace = open_workspace(root, state_root, clock, projections, agent=agent)
    batch = Batch(workspace)
    batch.event("workspace.created", uses=(), makes=(), body={"workspace": workspace_id, "format": FORMAT})
    batch.append()
    return workspace


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove the folders that were made for nothing, innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def open_workspace(
    root: Path,
    state_root: Path,
    clock: Clock,
    projections: Sequence[Projection],
    *,
    agent: str = "",
    signer: SshSigner | None = None,
    read_only: bool = False,
    key_file: Path | None = None,
    begins_log: bool = False,
) -> Workspace:
    """Open the workspace in `root`; read-only where it cannot be written, or where that is asked for.

    Args:
        key_file: A key file, in place of the state directory.
        begins_log: Something is to be recorded: a copy of a workspace that is still there begins a log of its own.

    Raises:
        NoWorkspaceError: There is none in `root`.
        StateDirectoryError, ForeignKeyFileError: The key file cannot be read, or is another workspace's.
        NewerFormatError: It was written by a release that this one cannot read.
    """
    try:
        opened = _open(root, state_root, clock, projections, agent=agent, read_only=read_only, key_file=key_file)
    except UnavailableError:
        if read_only or agent:
            raise
        # Who only reads needs no room on the disk.
        opened = _open(root, state_root, clock, projections, agent=agent, read_only=True, key_file=key_file)
    if opened.is_copy and begins_log and not read_only and key_file is None and os.access(opened.folder, os.W_OK):
        begin_log(opened, state_root)
        close(opened)
        opened = _open(root, state_root, clock, projections, agent=agent, read_only=False, key_file=None)
        copied = next((log for log in opened.logs.held() if log.tag is not None), None)
        opened = replace(opened, copied=copied)
    opened = replace(opened, signer=signer)
    if begins_log and not opened.read_only and opened.ledger.size() == 0 and len(opened.logs.held()) > 1:
        _say_copied(opened)
    return opened


def _open(
    root: Path,
    state_root: Path,
    clock: Clock,
    projections: Sequence[Projection],
    *,
    agent: str,
    read_only: bool,
    key_file: Path | None,
) -> Workspace:
    folder = root / FOLDER
    layout = Layout.read(folder)
    workspace_id, path = layout.workspace, folder / layout.own
    read_only = read_only or not os.access(folder, os.W_OK) or not os.access(path, os.W_OK)
    state: StateDirectory | None = None
    keyless = None
    standing: Standing = "absent"
    try:
        if key_file is not None:
            state = StateDirectory.from_key_file(key_file, workspace_id, folder)
        else:
            state = StateDirectory.open(state_root / workspace_id, workspace_id, folder, clock)
        standing = state.standing(folder)
        if standing == "absent" and state.wrapping_key is None:  # a clone may open what others share with it, unsigned
            keyless = f"there is no key in {state_root / workspace_id}"
    except StateDirectoryError as error:
        if key_file is not None:
            raise
        state, keyless = None, error.message  # who reads needs no key
    is_copy = standing == "copy"
    ledger = Ledger.open(path, clock, read_only=read_only or is_copy)
    if key_file is not None and state is not None and state.origin != ledger.origin:
        origin = ledger.origin
        ledger.close()
        raise ForeignKeyFileError(str(key_file), state.origin, origin)
    if state is not None and standing == "moved" and not read_only:
        state.settle(folder)
    read_only = read_only or is_copy
    logs = Logs(ledger, ReceivedLogs(folder, workspace_id, ledger, clock))
    cache_key = None if state is None else state.cache_key
    objects = ObjectStore.open(folder / "objects", clock, sources=[logs], read_only=read_only, cache_key=cache_key)
    keys = KeyRing.open(folder / "keys.db", state, clock, read_only=read_only)
    views = Views.open(
        folder / "views.db", logs, objects.get, (PROJECTION, PERSONAL, *projections), read_only=read_only
    )
    workspace = Workspace(
        root=root,
        folder=folder,
        id=workspace_id,
        objects=objects,
        ledger=ledger,
        logs=logs,
        views=views,
        keys=keys,
        state=state,
        clock=clock,
        agent=agent,
        read_only=read_only,
        is_copy=is_copy,
        keyless=keyless,
    )
    if (folder / "keys.db").exists():
        with contextlib.suppress(IntegrityError, UnavailableError):  # `verify` must open what is damaged, to say so
            destroy_forgotten(workspace)
    return workspace


class ReceivedLogs:
    """Opens the logs of others that `format.json` lists; looks again where the file has changed.

    One that cannot be opened is left out, as if it had never come: `verify` names it.
    """

    def __init__(self, folder: Path, workspace_id: str, own: Ledger, clock: Clock) -> None:
        self._folder = folder
        self._format = folder / "format.json"  # looked at again and again
        self._workspace_id = workspace_id
        self._own = own
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._opened: dict[str, HeldLog] = {}

    def __call__(self) -> Sequence[HeldLog] | None:
        """Return the logs where they have changed since the last call, else None."""
        try:
            found = os.stat(self._format)
        except OSError:
            return None
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen == self._seen:
            return None
        with self._lock:
            try:
                layout = Layout.read(self._folder)
            except (NoWorkspaceError, IntegrityError):
                return None
            if layout.workspace != self._workspace_id:
                return None  # this copy has begun a log of its own since; this process goes on reading what it was
            for log in layout.others:
                if log.hash not in self._opened:
                    with contextlib.suppress(IntegrityError, UnavailableError):
                        ledger = Ledger.open(log_path(self._folder, log), self._clock, read_only=True)
                        self._opened[log.hash] = HeldLog(
                            hash=log.hash, tag=int(log.tag, 16), ledger=ledger, key=log.key
                        )
            others = [self._opened[log.hash] for log in layout.others if log.hash in self._opened]
            self._own.tick_floor = max((log.ledger.last_tick() for log in others), default=0)
            self._seen = seen
            return others


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others from changing which logs lie in a folder, or what a log of others holds.

    Raises:
        UnavailableError: The folder cannot be opened.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def begin_log(workspace: Workspace, state_root: Path) -> None:
    """Let a copy of a workspace begin a log of its own: with a key and an id of its own, beside the log it has read.

    The file of the log that was copied stays as it is, and is only read from now on. `format.json` is written last.

    Raises:
        UnavailableError: The folder or the state directory cannot be written.
    """
    folder, clock, old = workspace.folder, workspace.clock, workspace.state
    assert old is not None
    with alone(folder):
        layout = Layout.read(folder)
        if layout.workspace != workspace.id:
            return  # another process was faster
        new_id = clock.random_bytes(16).hex()
        state = StateDirectory.create(state_root / new_id, new_id, folder, clock, wrapping_key=old.wrapping_key)
        own = Layout(workspace=new_id).new_log(state.origin, str(state.verifier))
        key = None if old.verifier is None else str(old.verifier)
        copied = layout.new_log(workspace.ledger.origin, key, layout.own)
        try:
            (folder / LOGS).mkdir(exist_ok=True)
            _remove_torn(folder, layout)
            sync_folder(folder)
            Ledger.create(log_path(folder, own), own.origin, clock).close()
            sync_folder(folder / LOGS)
            replace(layout, workspace=new_id, own=own.file, own_log=own, others=(copied, *layout.others)).write(folder)
        except OSError as error:
            raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error


def _remove_torn(folder: Path, layout: Layout) -> None:
    """Remove files of logs that nothing lists: whoever was to list them was killed."""
    listed = {layout.own, *(log.file for log in layout.others)}
    for path in (folder / LOGS).iterdir():
        name = path.name.removesuffix("-wal").removesuffix("-shm")
        if f"{LOGS}/{name}" not in listed:
            path.unlink()


def _say_copied(workspace: Workspace) -> None:
    """Append the first event of a copy's own log."""
    layout = Layout.read(workspace.folder)
    copied = layout.others[0]
    log = next(log for log in workspace.logs.held() if log.hash == copied.hash)
    note = log.ledger.checkpoint()
    extent = log.ledger.extent()
    body = {
        "workspace": workspace.id,
        "origin": copied.origin,
        "size": extent.size,
        "root": extent.root.hex(),
        "note": None if note is None else note.decode(),
        "key": copied.key,
    }
    batch = Batch(workspace)
    batch.event("workspace.copied", uses=(), makes=(), body=body)
    batch.append()
