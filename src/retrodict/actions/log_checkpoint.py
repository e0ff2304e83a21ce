"""`log checkpoint` and `log key`: what others keep, to hold the log to what it said."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions.cosigned import newest_checkpoint
from retrodict.workspace import UnwritableStateError, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """The newest checkpoint; `note` is the signed text, `root` 64 hex digits."""

    origin: str
    size: int
    root: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The log's public key as a verifier key (C2SP signed-note)."""

    origin: str
    key: str


def log_checkpoint(workspace: Workspace) -> SignedCheckpoint:
    """Publish what is sequenced, where the key is here, and return the newest checkpoint.

    Raises:
        NoCheckpointError: Nothing is signed yet.
    """
    read = newest_checkpoint(workspace)
    return SignedCheckpoint(origin=read.origin, size=read.size, root=read.root.hex(), note=read.encode().decode())


def log_public_key(workspace: Workspace) -> PublicKey:
    """Return the public key that signs the log now.

    Raises:
        UnwritableStateError: There is no signing key here.
    """
    if workspace.state is None or workspace.state.verifier is None:
        raise UnwritableStateError("the key that signs this log is not here")
    return PublicKey(origin=workspace.ledger.origin, key=str(workspace.state.verifier))
