"""`lock`: pin what is tracked in `retrodict.lock/`, for git to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrodict import datasets, pins
from retrodict.actions import pinning, worktree
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
        ignored_in: The file in which git was told, now, to leave what is pinned alone; None: nothing was new to it.
        in_git: Pinned paths that git keeps, too.
    """

    folder: str
    pins: tuple[Pinned, ...]
    ignored_in: str | None
    in_git: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedOff:
    """The folder is not wanted here; `removed` is how many pins it had."""

    folder: str
    removed: int


def off(workspace: Workspace) -> LockedOff:
    """Remove the folder with its pins, and remember that it is not wanted: `lock` begins it again.

    Raises:
        UnavailableError: That cannot be written.
    """
    pinning.turn(workspace.folder, on=False)
    folder = workspace.root / pins.FOLDER
    return LockedOff(folder=str(folder), removed=pins.remove_all(workspace.root))


def lock(workspace: Workspace) -> Locked:
    """Write the current version of everything that is tracked into `retrodict.lock/`, and remove what is not.

    From then on `add`, `untrack` and `import-url` keep it in step. In a git work tree they begin it by themselves.

    Raises:
        PinError: The folder cannot be written.
    """
    pinning.turn(workspace.folder, on=True)
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
    changed, in_git = worktree.keep_out(workspace.root, [row.path for row in rows if row.change != "removed"])
    return Locked(
        folder=str(workspace.root / pins.FOLDER),
        pins=tuple(rows),
        ignored_in=changed,
        in_git=tuple(in_git),
    )
