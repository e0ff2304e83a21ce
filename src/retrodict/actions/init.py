"""`init`: make a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrodict import workspace
from retrodict.actions import pinning
from retrodict.actions.open import PROJECTIONS
from retrodict.kernel.protocols import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialized:
    """A new workspace.

    Attributes:
        root: The project's folder.
        workspace: Its random id.
        origin: The name of its log.
        key: The log's public key, to give to whoever shall check the log (`verify --key`).
        pins: `retrodict.lock/` was begun, since the folder lies in a git work tree.
    """

    root: str
    workspace: str
    origin: str
    key: str
    pins: bool


def init(root: Path, state_root: Path, clock: Clock, *, agent: str, pins: bool = True) -> Initialized:
    """Make a workspace in `root`, which is made where it does not exist.

    Args:
        pins: False: `retrodict.lock/` is not wanted, also in a git work tree.

    Raises:
        UsageError: There is one already.
        UnavailableError: The folder or the state directory cannot be written.
    """
    with workspace.create(root, state_root, clock, PROJECTIONS, agent=agent) as made:
        assert made.state is not None
        if not pins:
            pinning.turn(made.folder, on=False)
        return Initialized(
            root=str(root),
            workspace=made.id,
            origin=made.ledger.origin,
            key=str(made.state.verifier),
            pins=pinning.begin(root, made.folder),
        )
