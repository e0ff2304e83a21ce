from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from retrodict.capture import Capture, CaptureUnavailableError, supervise

PYTHON = sys.executable


@dataclass
class Project:
    """A folder in which commands run under capture."""

    root: Path
    held: Path
    captures: list[Capture] = field(default_factory=list)

    def run(self, *argv: str, **options: Any) -> Capture:
        self.held.mkdir(exist_ok=True)
        options.setdefault("preserve_to", self.held)
        options.setdefault("mode", "seccomp")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"} | options.pop("variables", {})
        capture = supervise(argv, cwd=options.pop("cwd", self.root), environment=environment, **options)
        for left in self.held.glob("*.spool"):
            left.unlink()
        self.captures.append(capture)
        return capture

    def python(self, code: str, **options: Any) -> Capture:
        return self.run(PYTHON, "-c", code, **options)

    def shell(self, code: str, **options: Any) -> Capture:
        return self.run("sh", "-c", code, **options)

    def write(self, name: str, content: str | bytes = "x") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def names(self, accesses: Any) -> set[str]:
        """Names below the project, of accesses or paths; what lies elsewhere keeps its whole path."""
        paths = [os.fsdecode(getattr(a, "path", a)) for a in accesses]
        root = f"{self.root}/"
        return {p.removeprefix(root) for p in paths}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = (tmp_path / "project").resolve()
    root.mkdir()
    return Project(root=root, held=tmp_path / "held")


@pytest.fixture(scope="session")
def strace() -> None:
    """Needs a strace that may trace."""
    try:
        supervise(["true"], cwd=Path("/"), environment={"PATH": os.environ["PATH"]}, mode="strace")
    except CaptureUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"strace must work in CI: {error}")
        pytest.skip(f"strace is not available here: {error}")
