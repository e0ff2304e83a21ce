"""`init`: make a workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrodict import workspace
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
    """

    root: str
    workspace: str
    origin: str
    key: str


def init(root: Path, state_root: Path, clock: Clock, *, agent: str) -> Initialized:
    """Make a workspace in `root`, which is made where it does not exist.

    Raises:
        UsageError: There is one already.
        UnavailableError: The folder or the state directory cannot be written.
    """
    with workspace.create(root, state_root, clock, PROJECTIONS, agent=agent) as made:
        assert made.state is not None
        return Initialized(root=str(root), workspace=made.id, origin=made.ledger.origin, key=str(made.state.verifier))
