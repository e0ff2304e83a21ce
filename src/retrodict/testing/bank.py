"""A small bank: three runs under capture, two models and a chain of them, a wrong code table and its correction."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from retrodict.actions.add import add
from retrodict.actions.alias import alias
from retrodict.actions.dispute import dispute
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.register import register
from retrodict.actions.run import run
from retrodict.kernel.clock import SystemClock
from retrodict.serving import Service
from retrodict.workspace import Workspace, publish

FEATURES = """
import csv

INPUTS = ["status", "purpose", "amount", "months"]


def read_codes(path):
    with open(path, newline="") as file:
        return {row["code"]: int(row["rank"]) for row in csv.DictReader(file)}


def derive(status, codes):
    return [codes[code] for code in status]
"""
PREPARE = """
import csv

from features import derive, read_codes

codes = read_codes("data/codes.csv")
with open("data/raw.csv", newline="") as file:
    rows = list(csv.DictReader(file))
for row, rank in zip(rows, derive([row["status"] for row in rows], codes)):
    row["rank"] = rank
with open("work/prepared.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
"""
TRAIN = """
import json
import pickle
import shutil
from pathlib import Path

import pandas as pd
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

params = json.loads(Path("params.json").read_text())
table = pd.read_csv("work/prepared.csv")
usual = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(table[["rank", "months"]], table["amount"])
seen = table[["rank", "months"]].assign(over=table["amount"] / usual.predict(table[["rank", "months"]]))
score = make_pipeline(StandardScaler(), LogisticRegression(C=params["C"])).fit(seen, table["repaid"])
Path("metrics.json").write_text(json.dumps({"accuracy": round(score.score(seen, table["repaid"]), 4)}))
for name, model, method in (("usual", usual, "predict"), ("score", score, "predict_proba")):
    folder = Path("models", name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pkl").write_bytes(pickle.dumps(model, protocol=5))
    flavors = {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl", "predict_fn": method},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
    }
    (folder / "MLmodel").write_text(json.dumps({"flavors": flavors}))
chain = Path("models/credit")
chain.mkdir(exist_ok=True)
for part in ("pipeline/chain.py", "pipeline/features.py", "data/codes.csv"):
    shutil.copyfile(part, chain / Path(part).name)
(chain / "MLmodel").write_text(json.dumps({"flavors": {"python_function": {"loader_module": "chain", "code": "."}}}))
"""
CHAIN = """
from pathlib import Path

import numpy as np
import pandas as pd
from features import derive, read_codes

import retrodict as rd

CODES = read_codes(Path(__file__).parent / "codes.csv")


def predict(frame):
    seen = frame[["months"]].assign(rank=derive(frame["status"], CODES))[["rank", "months"]]
    usual = rd.load("usual@champion").predict(seen)
    probability = rd.load("score@champion").predict(seen.assign(over=frame["amount"] / usual))[:, 1]
    return pd.DataFrame(
        {
            "probability": probability,
            "decision": np.where(probability >= 0.5, "approve", "decline"),
            "limit": (usual * probability / (1 - probability)).astype("int64"),
        },
        index=frame.index,
    )


def _load_pyfunc(path):
    return Chain()


class Chain:
    def predict(self, frame, params=None):
        return predict(frame)
"""
CODES_WRONG = "code,label,rank\nA11,below 0,0\nA12,0 to 200,1\nA13,over 200,2\nA14,no account,3\n"
CODES_RIGHT = "code,label,rank\nA11,no account,0\nA12,below 0,3\nA13,0 to 200,1\nA14,over 200,2\n"
MODELS = ("usual", "score", "credit")


def applicants(n: int, seed: int) -> pd.DataFrame:
    """Return n people who want a credit."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "status": random.choice(["A11", "A12", "A13", "A14"], n),
            "purpose": random.choice(["car", "radio"], n),
            "amount": random.integers(500, 9000, n),
            "months": random.integers(6, 48, n),
        }
    )


@dataclass
class Bank:
    """The workspace, and the references of what happened in it."""

    workspace: Workspace
    root: Path
    disputed: str
    other: str
    batch: int
    dispute: str


def _git(root: Path, *arguments: str) -> None:
    known = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
    known |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com"}
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, env=os.environ | known)


def _pipeline(workspace: Workspace, root: Path) -> None:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    variables |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    for name in ("prepare", "train"):
        done = run(workspace, [sys.executable, f"pipeline/{name}.py"], cwd=root, environment=variables, name=name)
        assert done.exit_code == 0
    for model in MODELS:
        register(workspace, f"models/{model}", model, metrics=Path("metrics.json"), reason="the pipeline ran")


def build(folder: Path) -> Bank:
    """Make the whole story in `folder`; the working directory is changed for it."""
    root = folder / "bank"
    for name, text in {
        "pipeline/features.py": FEATURES,
        "pipeline/prepare.py": PREPARE,
        "pipeline/train.py": TRAIN,
        "pipeline/chain.py": CHAIN,
        "params.json": '{"C": 1.0}',
        "data/codes.csv": CODES_WRONG,
        ".gitignore": "data/\nwork/\nmodels/\nmetrics.json\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "work").mkdir()
    table = applicants(160, 1)
    rank = table["status"].map({"A11": 0, "A12": 3, "A13": 1, "A14": 2})
    noise = np.random.default_rng(2).normal(size=len(table))
    table["repaid"] = (rank + noise - table["amount"] / 4000 > 0).astype(int)
    table.to_csv(root / "data/raw.csv", index=False)
    _git(root, "init", "-q")
    _git(root, "add", ".")
    _git(root, "commit", "-qm", "first")
    (root / "params.json").write_text('{"C": 0.5}')
    os.chdir(root)
    init(root, folder / "state", SystemClock(), agent="Ada")
    workspace = open_workspace(root, folder / "state", SystemClock(), agent="Ada")
    add(workspace, [root / "data/raw.csv"], source="the bank's ledger, 1994", reason="to train on")
    add(workspace, [root / "data/codes.csv"], source="the table as published in 1994", reason="to train on")
    _pipeline(workspace, root)
    for model in MODELS:
        alias(workspace, f"{model}@champion", "v1", reason="first release")
    service = Service(workspace)
    people = applicants(25, 3)
    answers = [service.predict("credit@champion", people.iloc[[i]], caller="branch 7") for i in range(12)]
    batch = service.predict("credit@champion", people.iloc[12:])
    declined = [i for i, a in enumerate(answers) if a.output["decision"].iloc[0] == "decline"]
    approved = [i for i, a in enumerate(answers) if a.output["decision"].iloc[0] == "approve"]
    disputed, other = answers[declined[0]], answers[approved[0]]
    complaint = dispute(workspace, f"{disputed.index}.0", reason="My neighbour got twice as much")
    (root / "data/codes.csv").write_text(CODES_RIGHT)
    add(workspace, [root / "data/codes.csv"], source="Report 4/2019", reason="the 1994 table was wrong")
    _pipeline(workspace, root)
    publish(workspace)
    return Bank(
        workspace=workspace,
        root=root,
        disputed=f"{disputed.index}.0",
        other=f"{other.index}.0",
        batch=int(batch.index or 0),
        dispute=complaint.reference,
    )
