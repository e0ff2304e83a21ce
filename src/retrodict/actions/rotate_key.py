"""`rotate-key`: a new key takes the place of the one that signs the log, and the old one says so."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict import keys
from retrodict.kernel.note import sign_rotation
from retrodict.kernel.types import EventId
from retrodict.workspace import Batch, UnwritableStateError, Workspace, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The key that signs from now on, and the one before; both as `verify --key` takes them."""

    key: str
    before: str
    event: EventId
    index: int


def rotate_key(workspace: Workspace, *, reason: str | None = None) -> Rotated:
    """Make a new signing key, record it in a statement that the old key signs, and destroy the old one.

    Whoever has the old public key still verifies: the statement leads to the new one. The checkpoint after the event
    bears both signatures. A crash on the way leaves the old key in force until a checkpoint with both is kept.

    Raises:
        UnwritableStateError: There is no signing key here.
        CopiedWorkspaceError, ReadOnlyStoreError: The workspace cannot be written.
    """
    refuse_writing(workspace)
    state = workspace.state
    if state is None or state.signer is None:
        raise UnwritableStateError("there is no key here that could be replaced")
    with state.alone():
        old = state.signer
        new = state.prepare_successor(workspace.clock)
        batch = Batch(workspace)
        note = sign_rotation(state.origin, str(new.verifier), old)
        body = keys.rotation_body(key=new.verifier, before=old.verifier, note=note)
        event = batch.event("key.rotated", uses=(), makes=(), body=body, reason=reason)
        index = batch.append()[-1].index
        workspace.ledger.publish(new, state, follow=keys.LogVerifier.from_text, instead_of=old)
        state.settle_successor()
    return Rotated(key=str(new.verifier), before=str(old.verifier), event=event.id, index=index)
