"""A command line in this process: what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from retrodict.cli import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def record(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project's folder, in which commands run; keys live beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RETRODICT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("RETRODICT_AGENT", "Ada Tester <ada@example.org>")
    monkeypatch.delenv("RETRODICT_DEBUG", raising=False)
    return folder


@pytest.fixture
def retrodict(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command as a shell would."""

    def run(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        os.chdir(project)  # `-C` has effect for one command
        monkeypatch.setattr(sys, "argv", ["retrodict", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capfd.readouterr()
        code = exited.value.code
        return Outcome(code if isinstance(code, int) else 0, out, err)

    return run
