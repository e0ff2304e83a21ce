"""Keeps `retrodict.lock/` in step with what is recorded, where a project has it. No verb."""

from __future__ import annotations

from collections.abc import Sequence

from retrodict import datasets, pins
from retrodict.datasets import DatasetVersion
from retrodict.pins import Pin
from retrodict.workspace import Workspace


def pin_of(version: DatasetVersion) -> Pin | None:
    """Return how a version is pinned; None where it lay outside of the project, or is personal."""
    if not version.path or version.key is not None:
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


def unpin(workspace: Workspace, name: str) -> None:
    """Remove the pin of a name."""
    pins.remove(workspace.root, name)
