"""`log publish`: the log as static files that any web server can serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrodict.actions.cosigned import NoCheckpointError, cosigned_checkpoints, newest_checkpoint
from retrodict.kernel.protocols import Progress
from retrodict.ledger.publication import publish_files
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a folder shows now.

    Attributes:
        size: How many entries; `before` of them were shown already.
        files: How many files were written.
        witnesses: The names under which the checkpoint bears cosignatures.
        key: The log's public key, where it is known here; give it to readers by another way than the web server.
    """

    folder: str
    origin: str
    size: int
    before: int
    files: int
    witnesses: tuple[str, ...]
    key: str | None


def log_publish(
    workspace: Workspace,
    folder: Path,
    *,
    witnessed: bool = False,
    again: bool = False,
    progress: Progress | None = None,
) -> Published:
    """Lay the log out in `folder` as C2SP tlog-tiles, up to the newest checkpoint; only what is new is written.

    Args:
        folder: Made where it is not there; one that shows another log or history is refused.
        witnessed: Show the newest checkpoint that a witness has cosigned, instead of the newest one.
        again: Write also what should be there already.
        progress: Told how many files are done.

    Raises:
        NoCheckpointError: See there.
        UsageError, ForkError, OldStoreError, UnavailableError: As `publish_files` raises them.
    """
    if witnessed:
        checkpoint = next(cosigned_checkpoints(workspace), None)
        if checkpoint is None:
            raise NoCheckpointError(
                "no witness has cosigned this log", hint="`retrodict log witness URL` asks one to do so."
            )
    else:
        checkpoint = newest_checkpoint(workspace)
    done = publish_files(workspace.ledger, checkpoint, folder, again=again, progress=progress)
    verifier = None if workspace.state is None else workspace.state.verifier
    return Published(
        folder=str(folder),
        origin=checkpoint.origin,
        size=checkpoint.size,
        before=done.before,
        files=done.files,
        witnesses=tuple(s.name for s in checkpoint.signatures if s.name != checkpoint.origin),
        key=None if verifier is None else str(verifier),
    )
