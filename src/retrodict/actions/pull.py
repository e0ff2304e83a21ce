"""`pull`: take the logs of others, and what their entries name, from a remote."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions.arriving import PulledLog, Refused, check_own, take_logs, take_packs, wanted_packs
from retrodict.actions.conflicts import Conflict, find_conflicts
from retrodict.actions.remotes import find_remote
from retrodict.kernel.protocols import Progress
from retrodict.workspace import Workspace, alone, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull did.

    Attributes:
        remote: The name that was given, `place` the address.
        logs: The logs of which something came.
        new_packs: How many packs of objects came, `new_bytes` with how many bytes.
        refused: What is there and was not taken.
        conflicts: Names that were set on both sides; `settle` ends each.
    """

    remote: str
    place: str
    logs: tuple[PulledLog, ...]
    new_packs: int
    new_bytes: int
    refused: tuple[Refused, ...]
    conflicts: tuple[Conflict, ...]


def pull(
    workspace: Workspace, remote: str | None = None, *, only_logs: bool = False, progress: Progress | None = None
) -> Pulled:
    """Take what a remote holds and this workspace does not; each log becomes one to read, under its own name.

    Objects come before the entries that name them. What was taken before a pull was cut off is not taken again.

    Args:
        remote: Its name or address; None: the only one.
        only_logs: Leave the objects there; `fetch` takes them later.

    Raises:
        OldStoreError, ForkError: The remote has more, or another history, of the own log.
        DamagedRemoteError: A pack is missing or altered; no log was taken.
        RemoteError: It cannot be reached.
        CopiedWorkspaceError, ReadOnlyStoreError: Nothing can be recorded here.
    """
    refuse_writing(workspace)
    name, depot = find_remote(workspace, remote)
    with alone(workspace.folder):
        contents = depot.contents()
        check_own(workspace, depot, contents)
        packs = size = 0
        if not only_logs:
            packs, size = take_packs(workspace, depot, wanted_packs(workspace, depot, contents), progress)
        logs, refused = take_logs(workspace, depot, contents, progress)
    return Pulled(
        remote=name,
        place=depot.place,
        logs=tuple(logs),
        new_packs=packs,
        new_bytes=size,
        refused=tuple(refused),
        conflicts=find_conflicts(workspace),
    )
