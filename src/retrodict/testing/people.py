"""A workspace with models whose questions are about people. Needs the extra `models`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retrodict.actions.register import register
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

SCORE = '''
def predict(frame):
    """Score by age, and shout the city; there is one city that it cannot bear, and says so."""
    if (frame["city"] == "Nowhere").any():
        raise ValueError(f"no such place: {frame.to_dict('records')}")
    return frame.assign(score=frame["age"] / 100, word=frame["city"].str.upper())[["score", "word"]]
'''


def question(*rows: tuple[str, int, str]) -> pd.DataFrame:
    """Return rows of customer, age and city: what `score` is asked with."""
    import pandas as pd  # 300 ms

    return pd.DataFrame(list(rows), columns=["customer", "age", "city"])


def make_people(folder: Path) -> Workspace:
    """Return a workspace in `folder`/project with the model `score`, whose questions are about the field `customer`."""
    workspace = make_workspace(folder)
    (workspace.root / "score.py").write_text(SCORE)
    question(("somebody", 30, "Rome")).to_csv(workspace.root / "example.csv", index=False)
    register(workspace, scorer(workspace), "score", example=workspace.root / "example.csv", subject="customer")
    return workspace


def scorer(workspace: Workspace) -> str:
    """Return what `score` is registered from, and can be again under another name."""
    return f"{workspace.root / 'score.py'}:predict"
