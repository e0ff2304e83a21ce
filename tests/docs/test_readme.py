"""The README's first screen and its commands, as they stand."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Demonstration

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TRAIN = """\
import json
import pickle

import pandas as pd
from sklearn.linear_model import LogisticRegression

table = pd.read_csv("data/customers.csv")
model = LogisticRegression().fit(table[["months", "calls"]], table["left"])
with open("model.pkl", "wb") as file:
    pickle.dump(model, file)
with open("metrics.json", "w") as file:
    json.dump({"accuracy": model.score(table[["months", "calls"]], table["left"])}, file)
"""


def _block(language: str, containing: str) -> str:
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if containing in block)


def test_the_explanation_is_what_the_demonstration_prints(
    demonstration: Demonstration, matches: Callable[[tuple[str, ...], str], bool]
) -> None:
    command, *shown = _block("console", "retrodict explain").splitlines()
    written = command.removeprefix("$ retrodict explain ")
    done = demonstration.run("explain", demonstration.disputed)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.replace(demonstration.disputed, written)
    assert matches(tuple(line for line in shown if line.strip()), re.sub(r"\n\n+", "\n", printed)), printed
    left_out = len([line for line in printed.splitlines() if line.strip()]) - sum(line != "..." for line in shown)
    said = re.search(r"Here (\d+) of its lines are left out", README)
    assert said is not None
    assert abs(left_out - int(said[1])) < 15, f"{left_out} lines are left out"


def test_make_demo_and_the_lines_without_make_do_what_they_say() -> None:
    planned = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "retrodict demo credit" in planned
    assert "retrodict demo credit" in _block("sh", "pip install")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name in re.findall(r"\.\[(\w+)\]", README) if name not in extras] == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of somebody's, as the README supposes it."""
    pytest.importorskip("sklearn")
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    rows = [(months, calls, int(3 * calls > months)) for months in range(1, 60, 3) for calls in range(10)]
    (folder / "data" / "customers.csv").write_text(
        "months,calls,left\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    )
    (folder / "train.py").write_text(TRAIN)
    (folder / "question.csv").write_text("months,calls\n3,7\n")
    return folder


def test_the_commands_for_a_project_of_ones_own_run(
    project: Path, tmp_path: Path, newcomer: dict[str, str], run_page: Callable[[str, Path, Mapping[str, str]], str]
) -> None:
    commands = [line for line in _block("console", "retrodict init").splitlines() if line.startswith("$ ")]
    script = _block("python", "import retrodict")
    page = "\n".join(["```console", *commands, "$ python snippet.py", "```", ""])
    (project / "snippet.py").write_text(script + "print(found.shape[0], str(explanation).splitlines()[0])\n")
    printed = run_page(page, project, newcomer)
    assert "replicated: every bit" in printed
    assert "Everything is as the record says" in printed
    assert (project / "explanation.html").stat().st_size > 10_000
    assert "2 Prediction " in printed  # the snippet found both answers and explained the newer one
