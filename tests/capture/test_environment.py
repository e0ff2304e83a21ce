"""The environment of a run, told by the run's own interpreter."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from retrodict.capture import EnvironmentFacts, InterpreterError, snapshot_environment

VARIABLES = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "3", "API_TOKEN": "secret"}


def distributions(facts: EnvironmentFacts) -> list[dict[str, Any]]:
    found: Any = facts.facts["distributions"]
    return list(found)


def refuse(text: str) -> None:
    raise AssertionError(f"a float: {text}")


def test_it_tells_the_interpreter_and_the_machine_without_floats() -> None:
    told = json.loads(json.dumps(snapshot_environment(None, variables=VARIABLES).as_json()), parse_float=refuse)
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["executable"] == sys.executable
    assert told["machine"] == os.uname().machine
    assert told["kernel"] == os.uname().release
    assert told["cpu"]["model"]
    assert told["libc"]


def test_only_variables_that_change_results_are_told() -> None:
    facts = snapshot_environment(None, variables=VARIABLES)
    assert facts.variables == {"OMP_NUM_THREADS": "3"}
    assert "secret" not in json.dumps(facts.as_json())


def test_every_distribution_is_told_with_the_digest_of_its_files() -> None:
    facts = snapshot_environment(None, variables=VARIABLES)
    told = {d["name"].lower(): d for d in distributions(facts)}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if "site-packages" not in str(distribution.locate_file("")):
            continue
        assert told[name.lower()]["version"] == distribution.version
    record = next(f for f in importlib.metadata.files("pytest") or () if f.name == "RECORD").locate()
    # The bytes: pip ends the lines of a RECORD with CR LF, and reading them as text would lose that.
    assert told["pytest"]["record_sha256"] == hashlib.sha256(Path(str(record)).read_bytes()).hexdigest()
    assert told["retrodict"]["editable"] is True


def test_another_virtual_environment_tells_its_own(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    folder = packages / "only_here-1.5.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: only-here\nVersion: 1.5\n\nName: not-me\n")
    (folder / "RECORD").write_text("x,,\n")
    url = {"url": "https://user:pass@example.org/x.whl", "archive_info": {}}
    (folder / "direct_url.json").write_text(json.dumps(url))
    facts = snapshot_environment(str(tmp_path / "venv/bin/python"), variables=VARIABLES)
    (told,) = distributions(facts)
    assert (told["name"], told["version"], told["editable"]) == ("only-here", "1.5", False)
    assert told["direct_url"]["url"] == "https://example.org/x.whl"
    assert facts.facts["prefix"] == str(tmp_path / "venv")


def test_a_noisy_site_does_not_spoil_the_answer(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello from the site')")
    facts = snapshot_environment(None, variables=VARIABLES | {"PYTHONPATH": str(tmp_path)})
    assert facts.facts["implementation"]


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/true"])
def test_an_interpreter_that_cannot_answer_is_named(python: str) -> None:
    with pytest.raises(InterpreterError, match=python):
        snapshot_environment(python, variables=VARIABLES)


def test_it_is_quick(capfd: Any) -> None:
    def cpu_s() -> float:
        took = os.times()
        return took.children_user + took.children_system

    begun, started = cpu_s(), time.monotonic()
    snapshot_environment(None, variables=VARIABLES)
    assert cpu_s() - begun < 0.5
    assert time.monotonic() - started < 10


def test_an_interpreter_is_asked_again_only_when_something_has_changed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv/bin/python")
    (packages,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    described = packages / "mine-1.0.dist-info/METADATA"
    described.parent.mkdir()
    described.write_text("Name: mine\nVersion: 1.0\n\n")
    remembered = tmp_path / "interpreters"

    def told() -> tuple[object, list[str]]:
        facts = snapshot_environment(python, variables=VARIABLES, remembered=remembered)
        return facts.facts["python"], [f"{d['name']} {d['version']}" for d in distributions(facts)]

    version = ".".join(map(str, sys.version_info[:3]))
    assert told() == (version, ["mine 1.0"])
    (memory,) = remembered.iterdir()
    memory.write_text(memory.read_text().replace(f'"python": "{version}"', '"python": "remembered"'))
    assert told() == (version, ["mine 1.0"]), "what changed right before the answer may change unseen"

    def remember_something_else() -> None:
        memory.write_text(memory.read_text().replace(f'"python": "{version}"', '"python": "remembered"'))
        os.utime(memory, (time.time() + 10, time.time() + 10))  # as if it had been told long after the last change

    remember_something_else()
    assert told() == ("remembered", ["mine 1.0"])
    described.write_text("Name: mine\nVersion: 1.1\n\n")
    assert told() == (version, ["mine 1.1"])
    remember_something_else()
    (packages / "new.pth").write_text("")
    assert told()[0] == version
    memory.write_text("{")
    assert told()[0] == version
