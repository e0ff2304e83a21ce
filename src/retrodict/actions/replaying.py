"""A replay on record. No verb."""

from __future__ import annotations

from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.replay import Replay
from retrodict.workspace import Batch


def record(batch: Batch, found: Replay, tolerance: float | None = None) -> EventId:
    """Add to `batch` that a prediction was made again, with what came of it."""
    event = batch.event(
        "replay.finished",
        uses=(Edge(ref=Ref(found.prediction), role="prediction", evidence="observed"),),
        makes=(),
        body={
            "prediction": found.prediction,
            "verdict": found.verdict,
            # A difference shows values of the prediction: sealed like every text.
            "found": batch.seal("\n".join((found.reason, *found.differences))),
            "environment": found.environment,
            "missing": list(found.missing),
            "tolerance": None if tolerance is None else repr(tolerance),
            "repetitions": found.repetitions,
            "duration_ns": found.duration_ns,
        },
    )
    return event.id
