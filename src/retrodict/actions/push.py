"""`push`: bring the logs that are held here, and what their entries name, to a remote."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from retrodict.actions.remotes import find_remote, read_remotes, write_remotes
from retrodict.actions.sending import Pushed, send
from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.protocols import Progress
from retrodict.workspace import Workspace


def push(
    workspace: Workspace, remote: str | None = None, *, again: bool = False, progress: Progress | None = None
) -> Pushed:
    """Bring to a remote what it does not hold. Raises as `sending.send` does.

    Args:
        remote: Its name or address; None: the only one.
        again: Read everything back that is there already, and bring anew what is damaged.
    """
    name, depot = find_remote(workspace, remote)
    pushed = send(workspace, name, depot, again=again, progress=progress)
    _remember(workspace, name, pushed)
    return pushed


def _remember(workspace: Workspace, name: str, pushed: Pushed) -> None:
    """Keep how much of the own log lies in a remote that has a name: of that nobody is warned."""
    own = next((log for log in pushed.logs if log.is_own), None)
    if own is None or pushed.findings:
        return
    known = read_remotes(workspace)
    now = [replace(one, origin=own.origin, pushed=own.entries) if one.name == name else one for one in known]
    if now != known:
        with contextlib.suppress(UnavailableError):  # it was pushed all the same
            write_remotes(workspace, now)
