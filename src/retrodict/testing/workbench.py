"""A workspace with models in it, made as a person would make it. Needs the extra `models`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.register import Registered, register
from retrodict.kernel.clock import SystemClock
from retrodict.workspace import Workspace

AGENT = "Ada <ada@example.org>"


def make_workspace(folder: Path) -> Workspace:
    """Return a new workspace in `folder`/project, its keys in `folder`/state."""
    init(folder / "project", folder / "state", SystemClock(), agent=AGENT)
    return reopen(folder)


def reopen(folder: Path) -> Workspace:
    """Open the workspace that `make_workspace` made in `folder`."""
    return open_workspace(folder / "project", folder / "state", SystemClock(), agent=AGENT)


def register_object(
    workspace: Workspace, name: str, model: Any, *, example: Any = None, method: str = "predict"
) -> Registered:
    """Pickle `model` and register it; the signature is taken from the frame `example`."""
    path = workspace.root / f"{name}.pkl"
    path.write_bytes(pickle.dumps(model))
    given = None
    if example is not None:
        given = workspace.root / f"{name}.parquet"
        example.to_parquet(given)
    return register(workspace, str(path), name, example=given, method=method)


def register_source(workspace: Workspace, name: str, source: str) -> Registered:
    """Register the function `predict` of a Python file."""
    path = workspace.root / f"{name}.py"
    path.write_text(source)
    return register(workspace, f"{path}:predict", name)
