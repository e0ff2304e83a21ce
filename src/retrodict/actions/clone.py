"""`clone`: make a workspace that holds what a remote holds."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from retrodict import datasets
from retrodict import workspace as workspaces
from retrodict.actions.arriving import PulledLog, Refused, some_contents, take_logs, take_wanted
from retrodict.actions.open import PROJECTIONS
from retrodict.actions.remotes import NamedRemote, full_address, write_remotes
from retrodict.backups import DamagedRemoteError, Depot
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Clock, Progress
from retrodict.models import records as models
from retrodict.objects import open_remote
from retrodict.workspace import FOLDER, alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloned:
    """A new workspace.

    Attributes:
        root: The project's folder.
        origin: Of its own log, which begins here; `key` is that log's public key.
        place: What was cloned; it is called `origin` here.
        logs: The logs that came.
        datasets, models: How many names there are.
        paths: Datasets that can be written with `checkout`: the names of those whose paths lie in the project.
    """

    root: str
    workspace: str
    origin: str
    key: str
    place: str
    logs: tuple[PulledLog, ...]
    new_packs: int
    new_bytes: int
    datasets: int
    models: int
    paths: tuple[str, ...]
    refused: tuple[Refused, ...]


def clone(
    url: str,
    into: Path,
    state_root: Path,
    clock: Clock,
    *,
    agent: str,
    folder: Path,
    only_logs: bool = False,
    progress: Progress | None = None,
) -> Cloned:
    """Make a workspace in `into` that holds the logs and objects of a remote, and has a log of its own.

    Keys of sealed texts and personal values do not come: `keys share --to` gives them.

    Args:
        url: The remote's address (a folder relative to `folder`).
        only_logs: Leave the objects there; `fetch` takes them later.

    Raises:
        UsageError: There is a workspace in `into` already, or nothing at `url`.
        DamagedRemoteError: A pack is missing or altered. Nothing is left behind.
        RemoteError: It cannot be reached.
    """
    if (into / FOLDER / "format.json").exists():
        raise UsageError(
            f"{into} is a workspace already", hint=f"Clone into another folder, or `retrodict pull {url}` there."
        )
    address = full_address(url, folder)
    depot = Depot(open_remote(address))
    contents = some_contents(depot)
    if not contents.heads:
        raise DamagedRemoteError(f"{depot.place}: {'; '.join(contents.damaged.values())}")
    was_there = into.exists()
    made = workspaces.create(into, state_root, clock, PROJECTIONS, agent=agent)
    is_done = False
    try:
        with made, alone(made.folder):
            write_remotes(made, [NamedRemote(name="origin", url=address)])
            packs = size = 0
            if not only_logs:
                packs, size = take_wanted(made, depot, contents, progress)
            logs, refused = take_logs(made, depot, contents, progress)
            database = made.views.database(progress)
            current = [version for version in datasets.versions(database) if version.is_current]
            assert made.state is not None
            is_done = True
            return Cloned(
                root=str(into),
                workspace=made.id,
                origin=made.ledger.origin,
                key=str(made.state.verifier),
                place=depot.place,
                logs=tuple(logs),
                new_packs=packs,
                new_bytes=size,
                datasets=len({version.name for version in current}),
                models=len({version.name for version in models.versions(database)}),
                paths=tuple(sorted({version.name for version in current if version.path and not version.key})),
                refused=tuple(refused),
            )
    finally:
        if not is_done:
            shutil.rmtree(into / FOLDER, ignore_errors=True)
            shutil.rmtree(state_root / made.id, ignore_errors=True)
            if not was_there:
                with contextlib.suppress(OSError):
                    into.rmdir()
