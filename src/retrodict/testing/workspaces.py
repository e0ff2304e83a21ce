"""A small real workspace, made by the real actions: data added, a script run, a model registered, a question asked.

The model is four lines of plain Python, so that nothing but retrodict itself is tested, and in about a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrodict.actions.add import add
from retrodict.actions.alias import alias
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.register import register
from retrodict.actions.run import run
from retrodict.kernel.types import EventId
from retrodict.testing.clock import FixedClock
from retrodict.workspace import Workspace

AGENT = "Ada Lovelace <ada@example.com>"

TRAIN = """\
import csv, json, pathlib
rows = [(float(r["x"]), float(r["y"])) for r in csv.DictReader(open("data/points.csv"))]
slope = sum(x * y for x, y in rows) / sum(x * x for x, y in rows)
pathlib.Path("model/weights.json").write_text(json.dumps({"slope": slope}))
pathlib.Path("metrics.json").write_text(json.dumps({"error": sum(abs(y - slope * x) for x, y in rows)}))
"""
SCORE = """\
import json, pathlib
slope = json.loads((pathlib.Path(__file__).parent / "weights.json").read_text())["slope"]
def predict(rows):
    return [slope * row["x"] for row in rows]
"""
POINTS = "x,y\n1,2\n2,4.5\n3,5.5\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built; open it with `open`.

    Attributes:
        root: The project's folder; `state` holds the keys.
        dataset, model: References: `dataset:data/points.csv@v1`, `line@v1` (also `line@champion`).
        run: The `run.finished` event of the training.
        prediction: The `prediction.made` event; its question was `[{"x": 4.0}]`.
        output: What was answered.
    """

    root: Path
    state: Path
    clock: FixedClock
    dataset: str
    model: str
    run: EventId
    prediction: EventId
    output: float

    def open(self, *, agent: str = AGENT) -> Workspace:
        """Open the workspace; close it after use (it is a context manager)."""
        return open_workspace(self.root, self.state, self.clock, agent=agent)


def build(folder: Path, *, variables: Mapping[str, str] | None = None) -> Built:
    """Build the workspace in `folder/project`, with its keys in `folder/state`.

    Args:
        folder: Exists and is empty.
        variables: What the script's environment has; this process's variables unless given.
    """
    root, state, clock = folder / "project", folder / "state", FixedClock()
    (root / "data").mkdir(parents=True)
    (root / "model").mkdir()
    (root / "data" / "points.csv").write_text(POINTS)
    (root / "train.py").write_text(TRAIN)
    (root / "model" / "score.py").write_text(SCORE)
    init(root, state, clock, agent=AGENT)
    with open_workspace(root, state, clock, agent=AGENT) as workspace:
        (added,) = add(workspace, [root / "data" / "points.csv"], source="made up", reason="to fit a line")
        ran = run(
            workspace,
            [sys.executable, "train.py"],
            cwd=root,
            environment=dict(os.environ) if variables is None else variables,
        )
        if ran.exit_code:
            raise RuntimeError(f"the training script ended with {ran.exit_code}")
        registered = register(workspace, str(root / "model"), "line", metrics=root / "metrics.json")
        alias(workspace, "line@champion", "v1", reason="the first")
        answer = predict(workspace, "line@champion", [{"x": 4.0}], caller="a customer")
        (row,) = answer.outputs
        (output,) = row.values()
    assert isinstance(output, float)
    return Built(
        root=root,
        state=state,
        clock=clock,
        dataset=added.reference,
        model=registered.reference,
        run=ran.event,
        prediction=answer.event,
        output=output,
    )
