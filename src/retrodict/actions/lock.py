"""`lock`: pin what is tracked in `retrodict.lock/`, for git to keep."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Literal

from retrodict import datasets, pins
from retrodict.actions.pinning import pin_of
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A tracked name. "not pinned": it lay outside of the project, is personal, or has two current versions."""

    name: str
    path: str
    reference: str
    change: Literal["new", "moved", "unchanged", "removed", "not pinned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What the folder holds now.

    Attributes:
        folder: The folder.
        pins: A row for each name; "removed": the record does not track it.
        not_ignored: Paths that git would take for its own: they belong into `.gitignore`.
    """

    folder: str
    pins: tuple[Pinned, ...]
    not_ignored: tuple[str, ...]


def lock(workspace: Workspace) -> Locked:
    """Write the current version of everything that is tracked into `retrodict.lock/`, and remove what is not.

    From then on `add`, `untrack` and `import-url` keep it in step.

    Raises:
        PinError: The folder cannot be written.
    """
    rows: list[Pinned] = []
    versions = datasets.versions(workspace.views.database())
    current = [version for version in versions if version.is_current and version.is_tracked]
    kept = set()
    for version in current:
        found = pin_of(version) if sum(v.name == version.name for v in current) == 1 else None
        change: Literal["new", "moved", "unchanged", "removed", "not pinned"] = "not pinned"
        if found is not None:
            kept.add(pins.file_name(version.name))
            is_known = (workspace.root / pins.FOLDER / pins.file_name(version.name)).exists()
            change = ("moved" if is_known else "new") if pins.write(workspace.root, found) else "unchanged"
        rows.append(Pinned(name=version.name, path=version.path, reference=version.label, change=change))
    (workspace.root / pins.FOLDER).mkdir(exist_ok=True)
    for version in versions:
        if pins.file_name(version.name) not in kept and pins.remove(workspace.root, version.name):
            rows.append(Pinned(name=version.name, path=version.path, reference=version.label, change="removed"))
    paths = [row.path for row in rows if row.change in ("new", "moved", "unchanged")]
    return Locked(
        folder=str(workspace.root / pins.FOLDER), pins=tuple(rows), not_ignored=_not_ignored(workspace, paths)
    )


def _not_ignored(workspace: Workspace, paths: list[str]) -> tuple[str, ...]:
    """Return the paths that git does not ignore; none where there is no git."""
    if not paths:
        return ()
    command = ["git", "check-ignore", "-z", "--stdin", "--no-index"]
    asked = b"\0".join(os.fsencode(path) for path in paths)
    try:
        done = subprocess.run(command, cwd=workspace.root, input=asked, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ()
    if done.returncode > 1:  # no repository
        return ()
    ignored = {os.fsdecode(path) for path in done.stdout.split(b"\0")}
    return tuple(path for path in paths if path not in ignored)
