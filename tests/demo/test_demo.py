"""The demonstration, from one end to the other: what it claims is so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Demonstration


def test_the_story_is_told_to_its_end(demonstration: Demonstration) -> None:
    told = " ".join(demonstration.told.split())
    assert re.findall(r"^(\d+)\. ", demonstration.told, re.MULTILINE) == [str(n) for n in range(1, 14)]
    assert "300 applications sent over HTTP by a plain client; 72 are declined" in told
    assert "a limit of 230 DM; somebody with a similar application got 4780 DM" in told
    assert "57 get another decision: 24 who were declined are approved, and 33 who were approved" in told
    assert "The same applicant now: approve, a limit of 1150 DM" in told
    assert "replicated: every bit" in told
    assert "Everything is as the record says." in told
    assert "The record and the bytes contradict each other." in told
    seconds = re.search(r"Done in (\d+) s", told)
    assert seconds is not None


def test_the_explanation_leads_to_the_code_table(demonstration: Demonstration) -> None:
    record = json.loads(demonstration.run("explain", demonstration.disputed, "--json").stdout)
    assert len(record["answers"]) == 9
    origin = json.dumps(record["answers"][5])
    assert "dataset:data/credit_codes.csv@v1" in origin
    assert "Groemping" in origin


def test_the_table_reached_every_answer_of_version_1(demonstration: Demonstration) -> None:
    arguments = ("lineage", "dataset:data/credit_codes.csv@v1", "--down", "--limit", "2000", "--json")
    record = json.loads(demonstration.run(*arguments).stdout)
    made = [node["label"] for node in record["nodes"] if node["event_kind"] == "prediction.made"]
    assert sum("(credit@v1," in label for label in made) == 300


def test_the_commands_to_try_next_work_as_printed(demonstration: Demonstration) -> None:
    _, _, tail = demonstration.told.partition("To try next")
    commands = [line.strip() for line in tail.splitlines() if line.startswith("  ")]
    assert len(commands) >= 8
    done = demonstration.shell("set -e\n" + "\n".join(commands))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert (demonstration.folder / "versus.html").exists()


def test_no_folder_beside_its_own_is_touched(demonstration: Demonstration) -> None:
    assert (demonstration.folder.parent / "credit-altered" / "precious").exists()


@pytest.mark.parametrize(
    ("folder", "git", "says"),
    [
        ("occupied", True, "is not empty"),
        ("/dev/null/demo", True, "cannot be used"),
        ("free", False, "needs git"),
    ],
)
def test_what_keeps_it_from_starting_is_said_in_one_line(
    tmp_path: Path, newcomer: dict[str, str], folder: str, git: bool, says: str
) -> None:
    for module in ("httpx", "shap", "sklearn", "pandas"):
        pytest.importorskip(module)
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "precious").touch()
    done = subprocess.run(
        [sys.executable, "-m", "retrodict", "demo", "credit", "--dir", folder, "--json"],
        cwd=tmp_path,
        env=newcomer if git else {**newcomer, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert "unexpected" not in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["occupied"]
    assert [path.name for path in (tmp_path / "occupied").iterdir()] == ["precious"]
