"""Keeps `retrodict.lock/` in step with what is recorded, where a project has it. No verb."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from retrodict import datasets, pins
from retrodict.actions import worktree
from retrodict.datasets import DatasetVersion
from retrodict.kernel.durable import write_file
from retrodict.kernel.errors import UnavailableError
from retrodict.pins import Pin
from retrodict.workspace import Workspace

OFF: Final = "lock-off"  # in `.retrodict`: the folder is not wanted
BEGUN: Final = "retrodict.lock/ pins what is tracked: commit it with the code (not wanted? `retrodict lock off`)"


def pin_of(version: DatasetVersion) -> Pin | None:
    """Return how a version is pinned; None where it lay outside of the project, or is personal."""
    if not version.path or version.key is not None or version.type not in ("file", "tree"):
        return None
    return Pin(
        name=version.name,
        path=version.path,
        content=version.content,
        type=version.type,
        files=version.files,
        size_bytes=version.size_bytes,
    )


def pin(workspace: Workspace, names: Sequence[str]) -> None:
    """Pin the current versions of `names`, and touch no other pin: git may have checked out another branch's.

    In a git work tree the folder is begun where there is none, unless `lock off` was said; and git is told to
    leave the data alone.

    Raises:
        PinError: The folder cannot be written.
    """
    root, database = workspace.root, workspace.views.database()
    if not pins.is_used(root):
        if not begin(root, workspace.folder):
            return
        workspace.notes.append(BEGUN)
        past = [version for version in datasets.versions(database) if version.is_current and version.is_tracked]
        names = [*names, *(v.name for v in past if v.path and os.path.lexists(root / v.path))]
    paths, known = [], set()
    for name in dict.fromkeys(names):
        heads = datasets.current(database, name)
        found = pin_of(heads[0]) if len(heads) == 1 and heads[0].is_tracked else None
        if found is not None:
            if (root / pins.FOLDER / pins.file_name(name)).exists():
                known.add(found.path)  # it was said when it was new
            pins.write(root, found)
        paths += [head.path for head in heads[:1] if head.is_tracked]  # personal data least of all belong into git
    kept = keep_out(workspace, paths)
    kept = [path for path in kept if path not in known]
    if kept:
        many = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
        workspace.notes.append(f"git keeps {', '.join(kept[:3])}{many} too; `git rm --cached` ends that")


def keep_out(workspace: Workspace, paths: Sequence[str]) -> list[str]:
    """Tell git to leave alone what lies at these paths, and say so; return those that it keeps already.

    Raises:
        PinError: The file that says so cannot be written.
    """
    try:
        changed, kept = worktree.keep_out(workspace.root, paths)
    except OSError as error:
        raise pins.PinError(f"{error.filename} cannot be written: {error.strerror}") from error
    if changed:
        workspace.notes.append(f"git is to leave these data alone: {changed} says so now")
    return kept


def begin(root: Path, folder: Path) -> bool:
    """Begin `retrodict.lock/` in a git work tree, unless it was said that it is not wanted; say whether it is there.

    Args:
        root: The project's folder; `folder` is `.retrodict` in it.

    Raises:
        PinError: The folder cannot be made.
    """
    if (folder / OFF).exists() or not worktree.is_within(root):
        return False
    try:
        (root / pins.FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise pins.PinError(f"{root / pins.FOLDER} cannot be made: {error.strerror}") from error
    return True


def turn(folder: Path, *, on: bool) -> None:
    """Remember whether the folder is wanted.

    Raises:
        UnavailableError: That cannot be written.
    """
    try:
        if on:
            (folder / OFF).unlink(missing_ok=True)
        else:
            write_file(folder / OFF, b"retrodict.lock/ is not wanted here; `retrodict lock` wants it again\n")
    except OSError as error:
        raise UnavailableError(f"{folder / OFF} cannot be written: {error.strerror}") from error


def as_pinned(workspace: Workspace, versions: Sequence[DatasetVersion]) -> list[DatasetVersion]:
    """Return what should lie in the working copy: of current versions those that are pinned, where a project pins.

    What another branch has, and this one does not, should not. What cannot be pinned, or is in conflict, stays.
    """
    try:
        found = pins.read(workspace.root)
    except pins.PinError:
        return list(versions)  # `checkout` names what is wrong
    if not pins.is_used(workspace.root):
        return list(versions)
    wanted = []
    for version in versions:
        is_alone = sum(other.name == version.name for other in versions) == 1
        if pin_of(version) is None or not is_alone:
            wanted.append(version)
        elif version.name in found:
            content = found[version.name].content
            past = datasets.versions(workspace.views.database(), version.name)
            wanted.append(next((v for v in reversed(past) if v.content == content), version))
    return wanted


def unpin(workspace: Workspace, name: str, path: str) -> None:
    """Remove the pin of a name, and let git take in what lies at `path`.

    Raises:
        PinError: It cannot be removed, or git not be told.
    """
    if pins.remove(workspace.root, name):
        try:
            worktree.let_in(workspace.root, path)
        except OSError as error:
            raise pins.PinError(f"git cannot be told to take {path} in: {error.strerror}") from error
