"""Opens a workspace with every projection that this release has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from retrodict import backups, datasets, keys, predictions, provenance, runs, workspace
from retrodict.kernel.protocols import Clock
from retrodict.models import projection as models
from retrodict.rows import projection as rows
from retrodict.streams import projection as streams
from retrodict.tables import projection as tables
from retrodict.views import Projection
from retrodict.workspace import Workspace

if TYPE_CHECKING:
    from retrodict.keys import SshSigner

PROJECTIONS: Sequence[Projection] = (
    backups.PROJECTION,
    datasets.PROJECTION,
    datasets.MARKS,
    models.PROJECTION,
    predictions.PROJECTION,
    provenance.PROJECTION,
    rows.PROJECTION,
    runs.PROJECTION,
    streams.PROJECTION,
    tables.PROJECTION,
)


def open_signer(named: str) -> SshSigner:
    """Return the key by which events are signed. Raises as `keys.open_signer` does."""
    return keys.open_signer(named)


def open_workspace(
    start: Path,
    state_root: Path,
    clock: Clock,
    *,
    agent: str = "",
    signer: SshSigner | None = None,
    read_only: bool = False,
    key_file: Path | None = None,
    begins_log: bool = False,
    run: Callable[[], str | None] | None = None,
) -> Workspace:
    """Open the workspace that `start` lies in.

    Args:
        start: A folder in the workspace.
        state_root: Where keys live, outside of every workspace.
        agent: Who acts, as they say; needed to record anything.
        signer: With what they sign their events; None: not at all.
        read_only: Write nothing: no index is mended, no view caught up, nothing signed.
        key_file: The key file that a service was given, in place of what lies in `state_root`.
        begins_log: Something is to be recorded: a copy of a workspace begins a log of its own.
        run: Gives the run that whoever acts is a part of; see `Workspace`.

    Raises:
        NoWorkspaceError: There is none.
        StateDirectoryError, ForeignKeyFileError: The key file cannot be read, or is another workspace's.
    """
    root = workspace.find_root(start)
    opened = workspace.open_workspace(
        root,
        state_root,
        clock,
        PROJECTIONS,
        agent=agent,
        signer=signer,
        read_only=read_only,
        key_file=key_file,
        begins_log=begins_log,
    )
    return opened if run is None else replace(opened, run=run)
