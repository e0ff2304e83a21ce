"""Where things lie: paths as the record writes them. No verb."""

from __future__ import annotations

import os
from pathlib import Path

from retrodict.workspace import FOLDER, Workspace

# Names a run, by its `run.started`, to the processes that are a part of it.
RUN_VARIABLE = "RETRODICT_RUN"


def workspace_path(workspace: Workspace, path: Path) -> str | None:
    """Return `path` relative to the workspace with "/", or None where it lies outside."""
    absolute = os.path.abspath(path)
    # The folder is made real, the last name is not: what a link leads to is versioned under the link's own name.
    parent = os.path.realpath(os.path.dirname(absolute))
    relative = os.path.relpath(os.path.join(parent, os.path.basename(absolute)), os.path.realpath(workspace.root))
    return None if relative == ".." or relative.startswith("../") else relative


def is_ignored(path: str) -> bool:
    """Say whether a folder's entry is left out of a version: stores of tools, and what Python leaves behind."""
    return path.rsplit("/", 1)[-1] in {FOLDER, ".git", "__pycache__", ".DS_Store"}
