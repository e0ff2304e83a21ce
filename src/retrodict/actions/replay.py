"""`replay`: a prediction again, with the model versions, inputs and environment on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from retrodict import predictions
from retrodict.actions import names, replaying
from retrodict.actions.looks import NOT_POSSIBLE
from retrodict.kernel.protocols import Progress
from retrodict.replay import Replay, Tolerance, replay_prediction
from retrodict.replay.prediction import Environment
from retrodict.workspace import Batch, Workspace


def replay(
    workspace: Workspace,
    reference: str,
    *,
    environment: Environment = "auto",
    tolerance: float | None = None,
    repeat: int = 1,
    variables: Mapping[str, str] | None = None,
    uv_cache: Path | None = None,
    ask_third_parties: bool = False,
    progress: Progress | None = None,
) -> Replay:
    """Make the prediction that `reference` names again, the whole call; record the outcome where that is possible.

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
    is_recorded = not workspace.read_only and bool(workspace.agent)
    if not is_recorded and predictions.subjects(workspace.views.database(), call.index):
        return Replay(verdict="could not tell", reason=NOT_POSSIBLE, reference=str(call.index), prediction=call.event)
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
    if not is_recorded:
        return found
    batch = Batch(workspace)
    replaying.record(batch, found, tolerance)
    return replace(found, entry=batch.append()[-1].index)
