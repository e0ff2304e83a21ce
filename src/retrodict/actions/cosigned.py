"""The newest checkpoint, and those that witnesses have cosigned, as the log has kept them. No verb."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from retrodict.kernel.errors import IntegrityError, UnavailableError
from retrodict.kernel.note import Checkpoint, decode_checkpoint, verify_note
from retrodict.workspace import Workspace, publish


class NoCheckpointError(UnavailableError):
    """There is no checkpoint such as was asked for."""

    slug = "no-checkpoint"


def newest_checkpoint(workspace: Workspace) -> Checkpoint:
    """Publish what is sequenced, where the key is here, and return the newest checkpoint.

    Raises:
        NoCheckpointError: Nothing is signed yet.
    """
    publish(workspace)
    note = workspace.ledger.checkpoint()
    if note is None:
        raise NoCheckpointError(
            "nothing of this log is signed yet", hint="Publish on the machine that holds the signing key."
        )
    return decode_checkpoint(note)


def cosigned_body(checkpoint: Checkpoint) -> dict[str, object]:
    """Return the body of `checkpoint.witnessed`."""
    names = sorted({s.name for s in checkpoint.signatures if s.name != checkpoint.origin})
    return {"note": checkpoint.encode().decode(), "size": checkpoint.size, "witnesses": names}


def kept_checkpoints(workspace: Workspace) -> Iterator[Checkpoint]:
    """Yield the kept checkpoints, newest first, without the views, which `verify` does not trust."""
    for sequenced in workspace.ledger.entries_of("checkpoint.witnessed"):
        with contextlib.suppress(IntegrityError, KeyError):
            checkpoint = decode_checkpoint(str(sequenced.event.body["note"]).encode())
            if checkpoint.origin == workspace.ledger.origin:
                yield checkpoint


def cosigned_checkpoints(workspace: Workspace, *, above: int = -1) -> Iterator[Checkpoint]:
    """Yield the kept checkpoints that cover entry number `above`, newest first; no cosignature was verified.

    Those that the log's key of today has not signed, where that is known here, are passed over: who checks them has it.
    """
    verifier = None if workspace.state is None else workspace.state.verifier
    query = "SELECT idx FROM workspace_witnessed WHERE size > ? ORDER BY idx DESC"
    for (index,) in workspace.views.database().execute(query, (above,)).fetchall():
        with contextlib.suppress(IntegrityError, KeyError):  # for `verify` to name
            checkpoint = decode_checkpoint(str(workspace.logs.event(int(str(index))).event.body["note"]).encode())
            if verifier is not None:
                verify_note(checkpoint, [verifier])
            if checkpoint.origin == workspace.ledger.origin and checkpoint.size > above:
                yield checkpoint
