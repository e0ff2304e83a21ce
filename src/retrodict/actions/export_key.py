"""`keys export-signing`: give a service the keys of this workspace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrodict.workspace import UnwritableStateError, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyExported:
    """A key file.

    Attributes:
        origin: The log that it signs.
        key: The log's public key.
    """

    file: Path
    origin: str
    key: str


def export_key(workspace: Workspace, file: Path) -> KeyExported:
    """Write a key file, and its companions beside it, readable for their owner alone.

    A rotation of the log's key makes it worthless: a new one is due then.

    Raises:
        UsageError: There is a file of that name.
        UnwritableStateError: The keys are not here.
        StateDirectoryError: It cannot be written.
    """
    state = workspace.state
    if state is None or state.signer is None:
        raise UnwritableStateError(f"there are no keys to export: {workspace.keyless}")
    file = file.absolute()
    state.export_key_file(file)
    return KeyExported(file=file, origin=state.origin, key=str(state.verifier))
