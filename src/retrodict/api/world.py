"""What a door fetches from the world: the workspace, who acts, the environment; one opened workspace per process."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from retrodict import workspace as workspaces
from retrodict.actions.open import open_workspace
from retrodict.actions.places import RUN_VARIABLE
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import EventId
from retrodict.keys import open_signer
from retrodict.serving import Service
from retrodict.workspace import Workspace

CLOCK = SystemClock()

_lock = threading.Lock()
# By process, since an SQLite connection must not cross a fork.
_opened: dict[tuple[int, Path], Workspace] = {}
_services: dict[tuple[int, str], Service] = {}
_runs: list[EventId] = []  # under way in this process, the innermost last
_at_end: dict[tuple[int, EventId], list[Callable[[], None]]] = {}  # what is left to record of a run, by process


def state_root() -> Path:
    """Return where keys live: RETRODICT_STATE, else XDG_STATE_HOME/retrodict, else ~/.local/state/retrodict."""
    if own := os.environ.get("RETRODICT_STATE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser().absolute() / "retrodict"


def key_file() -> Path | None:
    """Return the key file in place of the state directory: RETRODICT_KEY_FILE, or none."""
    given = os.environ.get("RETRODICT_KEY_FILE")
    return Path(given).expanduser().absolute() if given else None


def agent() -> str:
    """Return who acts: RETRODICT_AGENT, git's author, or the login name."""
    if given := os.environ.get("RETRODICT_AGENT"):
        return given
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        author = subprocess.run(
            ["git", "var", "GIT_AUTHOR_IDENT"], capture_output=True, text=True, timeout=5, check=False
        )
        if author.returncode == 0 and ">" in author.stdout:
            return author.stdout[: author.stdout.index(">") + 1]
    import getpass

    with contextlib.suppress(OSError, KeyError):
        return getpass.getuser()
    return "unknown"


def variables() -> Mapping[str, str]:
    """Return the environment variables."""
    return os.environ


def folder() -> Path:
    """Return where to look for the workspace: RETRODICT_WORKSPACE, else the working directory."""
    return Path(os.environ.get("RETRODICT_WORKSPACE") or os.getcwd()).expanduser().absolute()


def current(given: Workspace | None = None, *, writes: bool = False) -> Workspace:
    """Return the workspace that was given, else the one that this process works in; it stays open until the exit.

    Args:
        writes: Something is to be recorded: a copy of a workspace begins a log of its own.

    Raises:
        NoWorkspaceError: There is none here.
    """
    return given if given is not None else at(workspaces.find_root(folder()), writes=writes)


def at(place: str | Path, *, writes: bool = False) -> Workspace:
    """Return the workspace whose root is `place`, opened once in this process; it stays open until the exit.

    Raises:
        NoWorkspaceError: There is none.
    """
    root = Path(place)
    key = (os.getpid(), root)
    with _lock:
        if writes and key in _opened and _opened[key].is_copy:
            workspaces.close(_opened.pop(key))
        if key not in _opened:
            own_key = os.environ.get("RETRODICT_SIGNING_KEY")
            signer = open_signer(own_key) if own_key else None
            _opened[key] = open_workspace(
                root,
                state_root(),
                CLOCK,
                agent=agent(),
                signer=signer,
                key_file=key_file(),
                begins_log=writes,
                run=innermost_run,
            )
        return _opened[key]


def service(given: Workspace | None = None) -> Service:
    """Return the service of a workspace in this process."""
    workspace = current(given, writes=True)
    key = (os.getpid(), str(workspace.folder))
    with _lock:
        held = _services.get(key)
        if held is None or held.workspace is not workspace:
            held = _services[key] = Service(workspace, variables())
        return held


def innermost_run() -> str | None:
    """Return the run that this process is a part of, by its `run.started`, as it was told."""
    return _runs[-1] if _runs else os.environ.get(RUN_VARIABLE)


def run_under_way(workspace: Workspace) -> EventId | None:
    """Return the run of this workspace that this process is a part of, by its `run.started`, or None."""
    named = innermost_run()
    if not named or workspace.read_only or workspace.logs.find(EventId(named)) is None:
        return None
    return EventId(named)


@contextlib.contextmanager
def within_run(started: EventId) -> Iterator[None]:
    """Let what this process reads be read by a run."""
    _runs.append(started)
    try:
        yield
    finally:
        _runs.remove(started)


def when_it_ends(run: EventId, action: Callable[[], None]) -> None:
    """Do something when this process has done its part of a run: at the end of `with`, or of the process."""
    with _lock:
        _at_end.setdefault((os.getpid(), run), []).append(action)


def ended(run: EventId) -> None:
    """Do what is left to do of a run."""
    with _lock:
        actions = _at_end.pop((os.getpid(), run), [])
    for action in actions:
        action()


def publish(workspace: Workspace) -> None:
    """Sign what was recorded. Where another process signs at this moment, or nobody can, the next one does."""
    with contextlib.suppress(RetrodictError):
        workspaces.publish(workspace)


@atexit.register
def close() -> None:
    """Publish and close what this process opened."""
    for process, run in list(_at_end):
        if process == os.getpid():
            with contextlib.suppress(RetrodictError):
                ended(run)
    with _lock:
        for (process, _), workspace in list(_opened.items()):
            if process == os.getpid():
                with contextlib.suppress(RetrodictError):
                    workspaces.close(workspace)
        _opened.clear()
        _services.clear()
