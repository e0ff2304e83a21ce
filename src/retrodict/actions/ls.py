"""`ls`: what is versioned, and what lies in a version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions import attaching, located
from retrodict.kernel.types import Digest
from retrodict.objects import display
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One name.

    Attributes:
        reference: What to paste.
        name: Of a dataset, or the path in the version.
        kind: "file", "executable", "symlink", "tree", or "bucket".
        content: None where nobody has fetched it.
        size_bytes: Of a folder: of everything in it.
        files: How many files; None where that is not counted.
        version: Of a dataset.
        tags: Of a dataset's version.
        is_tracked: Of a dataset: `status` and the lock folder still follow it.
        where: Of what is pinned in a bucket: "held"; "elsewhere": never fetched; "missing": held once. None: of others.
        version_id, etag, modified: Of what is pinned in a bucket, as it says.
    """

    reference: str
    name: str
    kind: str
    content: Digest | None
    size_bytes: int
    files: int | None
    version: int | None
    tags: tuple[str, ...]
    is_tracked: bool
    where: attaching.Where | None = None
    version_id: str | None = None
    etag: str | None = None
    modified: str | None = None


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
    if found.attached is not None:
        return Listing(of=found.printed, rows=tuple(_pinned(workspace, found, found.attached, deep=deep)))
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


def _pinned(
    workspace: Workspace, found: located.Content, attached: attaching.Attached, *, deep: bool
) -> Iterator[Listed]:
    """Yield what is pinned: the objects of a folder, and its folders with what lies in them added up, or all of it."""
    folders: dict[str, list[int]] = {}
    for name, pin in found.pins.items():
        if not deep and "/" in name.rstrip("/"):
            folders.setdefault(name[: name.index("/", 1)], []).append(pin.size_bytes)
            continue
        yield Listed(
            reference=f"{found.printed}/{name}" if name else found.printed,
            name=name or found.name,
            kind="file",
            content=attached.content(pin),
            size_bytes=pin.size_bytes,
            files=None,
            version=None,
            tags=(),
            is_tracked=True,
            where=attaching.where(workspace, attached, pin),
            version_id=pin.version_id,
            etag=pin.etag,
            modified=pin.modified,
        )
    for name, sizes in folders.items():
        yield Listed(
            reference=f"{found.printed}/{name}",
            name=name,
            kind="bucket",
            content=None,
            size_bytes=sum(sizes),
            files=len(sizes),
            version=None,
            tags=(),
            is_tracked=True,
        )


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
