"""`pull`: take the logs of others, and what their entries name, from a remote."""

from __future__ import annotations

from retrodict.actions.arriving import Pulled, receive
from retrodict.actions.remotes import find_remote
from retrodict.kernel.protocols import Progress
from retrodict.workspace import Workspace


def pull(
    workspace: Workspace, remote: str | None = None, *, only_logs: bool = False, progress: Progress | None = None
) -> Pulled:
    """Take what a remote holds and this workspace does not. Raises as `arriving.receive` does.

    Args:
        remote: Its name or address; None: the only one.
        only_logs: Leave the objects there; `fetch` takes them later.
    """
    name, depot = find_remote(workspace, remote)
    return receive(workspace, name, depot, only_logs=only_logs, progress=progress)
