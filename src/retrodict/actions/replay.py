"""`replay`: a prediction again, with the model versions, inputs and environment on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from retrodict import predictions
from retrodict.actions import names, replaying
from retrodict.actions.looks import NOT_POSSIBLE
from retrodict.environments import Mode
from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.protocols import Progress
from retrodict.ledger import ForkError, OldStoreError
from retrodict.replay import Replay, Tolerance, replay_prediction
from retrodict.workspace import Batch, CopiedWorkspaceError, Workspace


def replay(
    workspace: Workspace,
    reference: str,
    *,
    environment: Mode = "auto",
    tolerance: float | None = None,
    repeat: int = 1,
    variables: Mapping[str, str] | None = None,
    uv_cache: Path | None = None,
    ask_third_parties: bool = False,
    progress: Progress | None = None,
) -> Replay:
    """Make the prediction that `reference` names again, the whole call; record the outcome where that is possible.

    A store that cannot be written, is full or is an old one put back is no reason to withhold what was found, unless it
    is about people: looking at their values is recorded.

    Args:
        environment: "auto", "present" or "rebuild"; see `replay_prediction`.
        tolerance: Largest difference of two numbers that counts as `reproduced`.
        repeat: How often.
        variables: The environment variables; those that change results are set as they are on record.
        uv_cache: Where environments are built and kept; None: in the workspace.
        ask_third_parties: Ask third parties too, to say what they answer now.

    Raises:
        UsageError: It is no prediction.
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    call, _ = names.call(workspace, reference)
    about = predictions.subjects(workspace.views.database(), call.index)
    sealed = Replay(verdict="could not tell", reason=NOT_POSSIBLE, reference=str(call.index), prediction=call.event)
    if about and (workspace.read_only or not workspace.agent):
        return sealed
    found = replay_prediction(
        workspace,
        call.event,
        environment=environment,
        tolerance=None if tolerance is None else Tolerance(absolute=tolerance),
        repeat=repeat,
        variables=variables,
        uv_cache=uv_cache,
        ask_third_parties=ask_third_parties,
        progress=progress,
    )
    if not workspace.agent:
        return found
    try:
        batch = Batch(workspace)
        replaying.record(batch, found, tolerance)
        return replace(found, entry=batch.append()[-1].index)
    except (UnavailableError, CopiedWorkspaceError, OldStoreError, ForkError) as error:
        return sealed if about else replace(found, unrecorded=error.message)
