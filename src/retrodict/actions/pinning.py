"""Keeps `retrodict.lock/` in step with what is recorded, where a project has it. No verb."""

from __future__ import annotations

from collections.abc import Sequence

from retrodict import datasets, pins
from retrodict.datasets import DatasetVersion
from retrodict.pins import Pin
from retrodict.workspace import Workspace


def pin_of(version: DatasetVersion) -> Pin | None:
    """Return how a version is pinned; None where it lay outside of the project, or is personal."""
    if not version.path or version.key is not None or version.type == "bucket":
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

    Raises:
        PinError: The folder cannot be written.
    """
    if not pins.is_used(workspace.root):
        return
    for name in names:
        heads = datasets.current(workspace.views.database(), name)
        found = pin_of(heads[0]) if len(heads) == 1 and heads[0].is_tracked else None
        if found is not None:
            pins.write(workspace.root, found)


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


def unpin(workspace: Workspace, name: str) -> None:
    """Remove the pin of a name."""
    pins.remove(workspace.root, name)
