"""The demonstration, from one end to the other: what it claims is so."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

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
