"""`push`: bring the logs that are held here, and what their entries name, to a remote."""

from __future__ import annotations

from retrodict.actions.remotes import find_remote
from retrodict.actions.sending import Pushed, send
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
    return send(workspace, name, depot, again=again, progress=progress)
