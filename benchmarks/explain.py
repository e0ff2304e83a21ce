"""Explain one of N predictions, and, to see whether the time depends on N, one of N/10 before that.

    python benchmarks/explain.py [PREDICTIONS]

Budget: one of 10 million, views caught up, without running anything again: < 300 ms. The predictions are copies of a
real one with inputs of their own, appended through the real ledger; what is explained lies in the first, middle and
last tenth of the log. With `--replay` the models run, and the other calls that are asked again are drawn.
"""

from __future__ import annotations

import os
import statistics
import struct
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

AT_ONCE = 5000
MODEL = "def predict(frame):\n    return (frame['income'] > 2 * frame['amount']).to_numpy()\n"
ASKED_AGAIN = 20


def applicant(income: float) -> Any:
    """Return one row of what the model takes."""
    import pandas as pd

    return pd.DataFrame({"income": [income], "amount": [1.0], "purpose": ["car"]})


def copies(model: Event, start: int, stop: int) -> Iterator[tuple[list[Event], dict[Digest, bytes]]]:
    """Yield calls like `model` in batches, each with an input of its own (of the same answer), and their payloads."""
    clock = SystemClock()
    mark = struct.pack("<d", 1234.5)
    before, after = payload.encode(applicant(1234.5)).batch.split(mark)
    for begin in range(start, stop, AT_ONCE):
        events, blobs = [], {}
        for i in range(begin, min(stop, begin + AT_ONCE)):
            batch = before + struct.pack("<d", -0.5 * i) + after
            blobs[digest_of(batch)] = batch
            inputs = {**model.body["inputs"], "batch": digest_of(batch)}  # type: ignore[dict-item]
            at = rfc3339(clock.now_ns())
            body = {**model.body, "inputs": inputs, "received": at, "trace": clock.random_bytes(16).hex()}
            events.append(replace(model, id=event_id(clock), at=at, tick=0, body=body))
        yield events, blobs


def main(predictions: int = 100_000) -> None:
    with tempfile.TemporaryDirectory(dir=".") as name:
        built = build(Path(name).absolute())
        (built.root / "decide.py").write_text(MODEL)
        with built.open() as workspace:
            register(workspace, str(built.root / "decide.py"), "decide")
            found = workspace.ledger.find(predict(workspace, "decide", applicant(0.0)).event)
            assert found is not None
        done = 0
        for size in (predictions // 10, predictions):
            measure.title(f"Explain one of {size:,} predictions")
            _fill(built, found.event, done, size)
            done = size
            _explain(built, [found.index + 1 + size * tenth // 20 for tenth in (1, 10, 19)])


def _fill(built: Built, model: Event, start: int, stop: int) -> None:
    with built.open() as workspace:

        def fill() -> None:
            for events, blobs in copies(model, start, stop):
                workspace.ledger.append(events, blobs)

        measure.figure("appended", (stop - start) / measure.work(fill).wall_s, "calls/s")
        caught_up = measure.work(workspace.views.database)
        measure.figure("views caught up", (stop - start) / caught_up.wall_s, "calls/s")
    for file in ("ledger.db", "views.db"):
        size = (built.root / ".retrodict" / file).stat().st_size
        measure.figure(f"{file} per call", size / stop, "B")


def _explain(built: Built, indexes: list[int]) -> None:
    with built.open() as workspace:
        times = [measure.work(lambda index=index: explain(workspace, f"{index}.0")) for index in indexes * 3]
    middle = statistics.median(t.wall_s for t in times)
    measure.figure("in a process that is open, median", 1000 * middle, "ms")
    env = os.environ | {"RETRODICT_STATE": str(built.state)}

    def run(*arguments: str) -> measure.Spent:
        return measure.command(measure.retrodict(*arguments), cwd=built.root, env=env)

    ways = {"retrodict --version": lambda: run("--version")}
    ways |= {f"retrodict explain {index}.0": lambda index=index: run("explain", f"{index}.0") for index in indexes}
    again = ("explain", f"{indexes[1]}.0", "--replay", "--sample", str(ASKED_AGAIN))
    ways[f"retrodict {' '.join(again)}"] = lambda: run(*again)
    measure.table(measure.side_by_side(ways, repetitions=5))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
