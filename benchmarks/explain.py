"""Explain one of N predictions, without running anything again.

    python benchmarks/explain.py [PREDICTIONS]

Budget: one of 10 million, views caught up: < 300 ms. The predictions are copies of a real one with inputs of their own,
appended through the real ledger; what is explained lies in the first, middle and last tenth of the log.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import measure

from retrodict.actions.explain import explain
from retrodict.actions.predict import predict
from retrodict.actions.register import register
from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.types import Digest, Event
from retrodict.objects import digest_of
from retrodict.predictions import payload
from retrodict.testing.workspaces import Built, build

AT_ONCE = 2000
MODEL = "def predict(frame):\n    return (frame['income'] > 2 * frame['amount']).to_numpy()\n"


def applicant(i: int) -> Any:
    """Return one row of what the model takes."""
    import pandas as pd

    return pd.DataFrame({"income": [i * 0.5], "amount": [1.0], "purpose": ["car"]})


def copies(model: Event, count: int) -> Iterator[tuple[list[Event], dict[Digest, bytes]]]:
    """Yield `count` calls like `model` in batches, each with an input of its own, and the payloads of the inputs."""
    clock = SystemClock()
    for start in range(0, count, AT_ONCE):
        events, blobs = [], {}
        for i in range(start, min(count, start + AT_ONCE)):
            batch = payload.encode(applicant(i)).batch
            blobs[digest_of(batch)] = batch
            inputs = {**model.body["inputs"], "batch": digest_of(batch)}  # type: ignore[dict-item]
            at = rfc3339(clock.now_ns())
            body = {**model.body, "inputs": inputs, "received": at, "trace": clock.random_bytes(16).hex()}
            events.append(replace(model, id=event_id(clock), at=at, tick=0, body=body))
        yield events, blobs


def main(predictions: int = 100_000) -> None:
    measure.title(f"Explain one of {predictions:,} predictions")
    with tempfile.TemporaryDirectory(dir=".") as name:
        built = build(Path(name).absolute())
        (built.root / "decide.py").write_text(MODEL)
        with built.open() as workspace:
            register(workspace, str(built.root / "decide.py"), "decide")
            found = workspace.ledger.find(predict(workspace, "decide", applicant(0)).event)
            assert found is not None
            first = workspace.ledger.size()

            def fill() -> None:
                for events, blobs in copies(found.event, predictions):
                    workspace.ledger.append(events, blobs)

            measure.figure("appended", predictions / measure.work(fill).wall_s, "calls/s")
            caught_up = measure.work(workspace.views.database)
            measure.figure("views caught up", predictions / max(caught_up.wall_s, 1e-9), "calls/s")
            indexes = [first + predictions * tenth // 20 for tenth in (1, 10, 19)]
            times = [measure.work(lambda index=index: explain(workspace, f"{index}.0")) for index in indexes * 3]
            measure.figure(
                "explain, in a process that is open, median", 1000 * statistics.median(t.wall_s for t in times), "ms"
            )
        sizes = {file: (built.root / ".retrodict" / file).stat().st_size for file in ("ledger.db", "views.db")}
        for file, size in sizes.items():
            measure.figure(f"{file} per call", size / predictions, "B")
        _whole_command(built, indexes)


def _whole_command(built: Built, indexes: list[int]) -> None:
    env = os.environ | {"RETRODICT_STATE": str(built.state)}

    def run(*arguments: str) -> measure.Spent:
        return measure.command(measure.retrodict(*arguments), cwd=built.root, env=env)

    ways = {"retrodict --version": lambda: run("--version")}
    ways |= {f"retrodict explain {index}.0": lambda index=index: run("explain", f"{index}.0") for index in indexes}
    measure.table(measure.side_by_side(ways, repetitions=5))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
