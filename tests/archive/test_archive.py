"""Workspaces that earlier releases wrote: each archive is read, verified and replayed by this release."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from tests.conftest import variables

ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.gz"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as found:
        found.extractall(tmp_path, filter="data")
    return tmp_path


def retrodict(folder: Path, line: str) -> str:
    environment = variables(folder) | {"RETRODICT_AGENT": "reader"}
    done = subprocess.run(
        [Path(sys.executable).with_name("retrodict"), *line.split()],
        cwd=folder / "project",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"retrodict {line}: {done.stdout}{done.stderr}"
    return done.stdout


def test_there_is_an_archive() -> None:
    assert ARCHIVES


def test_what_it_holds_is_told_as_it_was(archive: Path) -> None:
    told = json.loads((archive / "told.json").read_text())
    entries = json.loads(retrodict(archive, "log -n 1000 --json"))["rows"]
    assert len(entries) == told["entries"]
    predictions = [json.loads(line) for line in retrodict(archive, "predictions --json").splitlines()]
    for was, now in zip(map(json.loads, told["predictions"].splitlines()), predictions, strict=True):
        assert was.items() <= now.items()  # a newer release may tell more
    assert retrodict(archive, f"lineage {told['prediction']}") == told["lineage"]
    assert json.loads(retrodict(archive, "show loans.csv --json"))["reference"] == told["loans"]


def test_it_verifies_and_its_prediction_is_explained(archive: Path) -> None:
    told = json.loads((archive / "told.json").read_text())
    assert json.loads(retrodict(archive, "verify --json"))["answer"] == "yes"
    text = retrodict(archive, f"explain {told['prediction']}.0")
    assert "Ada Archivist" in text
    assert "loans.csv" in text


def test_its_versions_come_back(archive: Path) -> None:
    retrodict(archive, "checkout images@v1 images")
    assert retrodict(archive, "stream read events@10:11") == '{"n": 10}\n'
    assert (archive / "project/images/sub/small").read_bytes() == b"small"
    assert (archive / "project/images/large").stat().st_size == 300_000
    retrodict(archive, "checkout people.csv")
    assert (archive / "project/people.csv").read_text() == "name\nAda\n"
    retrodict(archive, "checkout clean.csv")


def test_it_is_written_on(archive: Path) -> None:
    (archive / "project/more.csv").write_text("a\n1\n")
    retrodict(archive, "add more.csv")
    assert json.loads(retrodict(archive, "verify --json"))["answer"] == "yes"
