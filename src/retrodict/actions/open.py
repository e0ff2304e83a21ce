"""Opens a workspace with every projection that this release has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retrodict import datasets, predictions, provenance, runs, workspace
from retrodict.kernel.protocols import Clock
from retrodict.models import records as models
from retrodict.views import Projection
from retrodict.workspace import Workspace

PROJECTIONS: Sequence[Projection] = (
    datasets.PROJECTION,
    models.PROJECTION,
    predictions.PROJECTION,
    provenance.PROJECTION,
    runs.PROJECTION,
)


def open_workspace(
    start: Path, state_root: Path, clock: Clock, *, agent: str = "", read_only: bool = False
) -> Workspace:
    """Open the workspace that `start` lies in.

    Args:
        start: A folder in the workspace.
        state_root: Where keys live, outside of every workspace.
        agent: Who acts, as they say; needed to record anything.
        read_only: Write nothing: no index is mended, no view caught up, nothing signed.

    Raises:
        NoWorkspaceError: There is none.
    """
    root = workspace.find_root(start)
    return workspace.open_workspace(root, state_root, clock, PROJECTIONS, agent=agent, read_only=read_only)
