"""What must not be loaded: start-up is kept fast by what is absent, which can be tested without a clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import retrodict
from retrodict import api
from retrodict.cli.door import VERBS

# Each costs between 10 and 600 ms of CPU.
HEAVY = {
    "apsw", "cryptography", "duckdb", "httpx", "jinja2", "numpy", "pandas", "polars", "pyarrow", "rich", "scipy",
    "shap", "sklearn", "uvicorn", "yaml", "asyncio", "http.client", "sqlite3", "multiprocessing",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRODICT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("RETRODICT_AGENT", "Ada")


def _loaded(code: str, cwd: Path) -> set[str]:
    """Return the names of the modules that are loaded when `code` has run in a new interpreter."""
    tail = "\nimport sys, json; sys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def _command(*arguments: str) -> str:
    return f"""
import sys
sys.argv = ["retrodict", *{list(arguments)!r}]
from retrodict.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["completion", "bash"]])
def test_what_needs_no_workspace_loads_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    assert _loaded(_command(*arguments), tmp_path) & HEAVY == set()


def test_importing_the_package_loads_next_to_nothing(tmp_path: Path) -> None:
    before = _loaded("", tmp_path)
    after = _loaded("import retrodict", tmp_path)
    assert after & HEAVY == set()
    assert len(after - before) < 40, sorted(after - before)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_help_loads_nothing_heavy(tmp_path: Path, verb: str) -> None:
    loaded = _loaded(_command(verb, "--help"), tmp_path)
    assert loaded & HEAVY == set()
    others = {f"retrodict.cli.{module}" for module, _ in VERBS.values()} - {f"retrodict.cli.{VERBS[verb][0]}"}
    assert loaded & others == set(), "another verb was loaded too"


def test_what_is_done_all_day_loads_no_more_than_it_uses(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    _loaded(_command("init", "project"), tmp_path)
    (project / "data.csv").write_text("a\n1\n")
    drawing = {"rich", "retrodict.render.text"}
    attached = {"retrodict.buckets", "retrodict.lakes", "retrodict.actions.attaching", "tempfile"}
    rare = {
        "retrodict.capture",
        "retrodict.serving",
        "retrodict.models.loading",
        "retrodict.actions.explain",
    }
    travelling = {"retrodict.streams.line", "retrodict.keys.ssh"}
    unused = {
        "add data.csv": drawing | rare,
        "checkout data.csv copy.csv": drawing | attached | rare | {"retrodict.actions.looks"},
        "status": drawing | attached | rare,
        f"push {tmp_path / 'hub'}": drawing | attached | rare | travelling,
        f"pull {tmp_path / 'hub'}": drawing | attached | rare | travelling,
        "show data.csv": {"retrodict.serving", "retrodict.models.loading"},
        "show data.csv --json": drawing | {"retrodict.serving", "retrodict.models.loading"},
        "history data.csv --json": drawing,
        "log": attached | rare | {"logging"},
        "log --json": drawing | attached | rare | {"logging"},
    }
    for words, absent in unused.items():
        loaded = _loaded(_command("-C", "project", *words.split()), tmp_path)
        assert loaded & (HEAVY - {"apsw", "cryptography", "rich"}) == set(), words
        assert loaded & absent == set(), words


def test_the_package_hands_on_what_the_python_door_offers() -> None:
    assert sorted(retrodict._API) == sorted(api.__all__)
    assert all(getattr(retrodict, name) is getattr(api, name) for name in api.__all__)
    assert set(api.__all__) <= set(dir(retrodict))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = retrodict.nothing


def test_asking_the_package_for_a_room_does_not_open_the_python_door(tmp_path: Path) -> None:
    loaded = _loaded("from retrodict import datasets, provenance", tmp_path)
    assert not {module for module in loaded if module.startswith("retrodict.api")}
