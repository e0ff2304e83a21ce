"""`ls`: what is versioned, and what lies in a version."""

from __future__ import annotations

import os
from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions import located
from retrodict.kernel.types import Digest
from retrodict.objects import display
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One name.

    Attributes:
        reference: What to paste.
        name: Of a dataset, or the path in the version.
        kind: "file", "executable", "symlink" or "tree".
        size_bytes: Of a folder: of everything in it.
        files: How many files; None where that is not counted.
        version: Of a dataset.
        tags: Of a dataset's version.
        is_tracked: Of a dataset: `status` and the lock folder still follow it.
    """

    reference: str
    name: str
    kind: str
    content: Digest
    size_bytes: int
    files: int | None
    version: int | None
    tags: tuple[str, ...]
    is_tracked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is versioned (`of` is None), or what lies in one version."""

    of: str | None
    rows: tuple[Listed, ...]


def ls(workspace: Workspace, reference: str | None = None, path: str | None = None, *, deep: bool = False) -> Listing:
    """List the datasets; or what lies in a version, or at a path in it.

    Args:
        workspace: Where they are.
        reference: A version, with or without a path in it; None: all datasets.
        path: A path in the version.
        deep: With everything in the folders that are listed.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It names no bytes.
    """
    if reference is None:
        return Listing(of=None, rows=tuple(_datasets(workspace)))
    found = located.locate(workspace, reference)
    if path is not None and path.strip("/") not in ("", "."):
        found = located.below(workspace, found, os.fsencode(path.strip("/")))
    located.refuse_personal(found)
    if found.kind != "tree":
        return Listing(of=found.printed, rows=(_row(found.printed, found.name, found, _size(workspace, found)),))
    if deep:
        entries = list(workspace.objects.walk(found.digest))
    else:
        entries = [(entry.name, entry) for entry in workspace.objects.list_tree(found.digest)]
    rows = tuple(
        Listed(
            reference=f"{found.printed}/{display(name)}",
            name=display(name),
            kind=entry.kind,
            content=entry.digest,
            size_bytes=entry.size,
            files=None,
            version=None,
            tags=(),
            is_tracked=True,
        )
        for name, entry in entries
    )
    return Listing(of=found.printed, rows=rows)


def _size(workspace: Workspace, found: located.Content) -> int:
    if found.event is not None and not found.inside:
        for version in datasets.find(workspace.views.database(), event=found.event):
            return version.size_bytes
    return workspace.objects.size(found.digest)


def _row(reference: str, name: str, found: located.Content, size: int) -> Listed:
    return Listed(
        reference=reference,
        name=name,
        kind=found.kind,
        content=found.digest,
        size_bytes=size,
        files=1,
        version=None,
        tags=(),
        is_tracked=True,
    )


def _datasets(workspace: Workspace) -> list[Listed]:
    database = workspace.views.database()
    tags: dict[str, list[str]] = {}
    for tag in datasets.tags(database):
        if tag.is_current:
            tags.setdefault(tag.version_event, []).append(tag.label)
    rows = []
    for version in datasets.versions(database):
        if version.is_current:
            rows.append(
                Listed(
                    reference=version.label,
                    name=version.name,
                    kind=version.type,
                    content=version.content,
                    size_bytes=version.size_bytes,
                    files=version.files,
                    version=version.version,
                    tags=tuple(tags.get(version.event, ())),
                    is_tracked=version.is_tracked,
                )
            )
    return rows
