"""`history`: all versions of a dataset, or those in which one path inside it changed; who made them and why."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrodict import datasets
from retrodict.actions import attaching, located, looks, names
from retrodict.actions.authorship import Authors, How
from retrodict.actions.looks import Look
from retrodict.datasets import DatasetVersion
from retrodict.kernel.errors import MissingObjectError, UnknownReferenceError, UsageError
from retrodict.kernel.types import Digest, EventId
from retrodict.objects import TreeEntry
from retrodict.workspace import Workspace, agent_name, open_text, sealed_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One version.

    Attributes:
        entry: Of the event that added or derived it.
        content, type: Of the version, or of what lay under the path asked for; "removed": nothing did any more.
        at, agent: When and by whom it was recorded here.
        authored, author: When and by whom it was made, where another system's record says so (declared); of a bucket's
            version, when its last object was set or removed, by the bucket's clock.
        commit: The git commit of that record.
        source, reason: As given when it was added.
        origin: The URL that it was fetched from.
        is_current: No later version has replaced it.
        tags: That stand at it now.
        held: Of a bucket's or a table's version: of how many of its files the bytes are held; the others are elsewhere.
        commit_of_table: Of a table's version: what made it, and who, as its own log says.
    """

    reference: str
    version: int
    entry: int
    content: Digest | None
    type: str
    files: int
    size_bytes: int
    at: str
    agent: str
    authorship: How
    authored: str | None
    author: str | None
    commit: str | None
    source: str | None
    reason: str | None
    origin: str | None
    is_current: bool
    tags: tuple[str, ...]
    held: int | None = None
    commit_of_table: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The versions of one name, newest first; `is_tracked`: `status` follows it.

    Attributes:
        path: Inside the folder: only versions in which it changed are listed. None: all of it.
        not_held: Versions that could not be looked into for that.
    """

    name: str
    is_tracked: bool
    versions: tuple[Past, ...]
    path: str | None = None
    not_held: tuple[str, ...] = ()


def history(workspace: Workspace, name: str) -> History:
    """Return the versions of the dataset that `name` (or a reference to a version of it) names.

    After a folder may stand `/` and a path in it: then those in which that was added, changed or removed.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there; or no version has anything under the path.
        UsageError: It is no dataset; or a path in what is personal, or lies elsewhere.
    """
    database = workspace.views.database()
    path: str | None = None
    inside: dict[EventId, TreeEntry | None] = {}
    not_held: tuple[str, ...] = ()
    try:
        found = _versions(workspace, name)
    except UnknownReferenceError as error:
        found, path = _folder(workspace, name.rstrip("/"), error)
        inside, not_held = _changes(workspace, found, path)
        if not inside:
            raise
    tags: dict[str, list[str]] = {}
    for tag in datasets.tags(database, found[0].name):
        if tag.is_current:
            tags.setdefault(tag.version_event, []).append(tag.label)
    look, authors = Look(workspace, "show"), Authors(workspace)
    rows = []
    for version in reversed(found):
        if path is not None and version.event not in inside:
            continue
        part = inside.get(version.event)
        sequenced = workspace.ledger.find(version.event)
        assert sequenced is not None
        body = sequenced.event.body
        told = body.get("imported")
        imported: Mapping[str, object] = told if isinstance(told, Mapping) else {}
        if version.is_attached:
            imported = {"authored": body["as_of"]}
        author = imported.get("author")
        rows.append(
            Past(
                reference=version.label,
                version=version.version,
                entry=version.index,
                **(_whole(version) if path is None else _part(workspace, part)),
                at=version.at,
                agent=agent_name(workspace, version.agent),
                authorship=authors.of(sequenced).how,
                authored=None if imported.get("authored") is None else str(imported["authored"]),
                author=None if author is None else agent_name(workspace, str(author)),
                commit=None if imported.get("commit") is None else str(imported["commit"]),
                source=open_text(workspace, sealed_text(body.get("source"))),
                reason=looks.reason(workspace, look, sequenced),
                origin=_origin(workspace, version.event),
                is_current=version.is_current,
                tags=tuple(tags.get(version.event, ())),
                held=_held(workspace, version),
                commit_of_table=attaching.commit(open_text(workspace, sealed_text(body.get("commit")))),
            )
        )
    look.record()
    current = [version for version in found if version.is_current]
    return History(
        name=found[0].name,
        is_tracked=any(v.is_tracked for v in current),
        versions=tuple(rows),
        path=path,
        not_held=not_held,
    )


def _versions(workspace: Workspace, name: str) -> list[DatasetVersion]:
    return datasets.versions(workspace.views.database(), names.dataset(workspace, name))


def _folder(workspace: Workspace, text: str, error: UnknownReferenceError) -> tuple[list[DatasetVersion], str]:
    """Return the versions of the folder that a reference begins with, and the path behind it."""
    end = text.rfind("/")
    while end > 0:
        try:
            found = _versions(workspace, text[:end])
        except UnknownReferenceError:
            end = text.rfind("/", 0, end)
            continue
        if any(version.key is not None or version.is_attached for version in found):
            raise UsageError(f"the history of a part of {found[0].name} cannot be told: it is personal, or elsewhere")
        return found, text[end + 1 :]
    raise error


def _changes(
    workspace: Workspace, found: Sequence[DatasetVersion], path: str
) -> tuple[dict[EventId, TreeEntry | None], tuple[str, ...]]:
    """Return what lay under a path in each version in which that changed; and the versions that are not held."""
    changed: dict[EventId, TreeEntry | None] = {}
    not_held = []
    last: TreeEntry | None = None
    for version in found:
        try:
            entry = located.entry_in(workspace, version, os.fsencode(path))
        except MissingObjectError:
            not_held.append(version.label)
            continue
        if entry != last:
            changed[version.event] = last = entry
    return changed, tuple(not_held)


def _whole(version: DatasetVersion) -> Mapping[str, Any]:
    return {
        "content": version.content,
        "type": version.type,
        "files": version.files,
        "size_bytes": version.size_bytes,
    }


def _part(workspace: Workspace, entry: TreeEntry | None) -> Mapping[str, Any]:
    if entry is None:
        return {"content": None, "type": "removed", "files": 0, "size_bytes": 0}
    files = sum(1 for _ in located.files_below(workspace, entry.digest)) if entry.kind == "tree" else 1
    return {"content": entry.digest, "type": entry.kind, "files": files, "size_bytes": entry.size}


def _held(workspace: Workspace, version: datasets.DatasetVersion) -> int | None:
    if not version.is_attached or not workspace.objects.has(version.content):
        return None
    if version.type == "bucket" and not datasets.bucket_fetched(workspace.views.database(), version.name):
        return 0  # no listing needs to be read
    return attaching.held(workspace, attaching.read(workspace, version))


def _origin(workspace: Workspace, event: EventId) -> str | None:
    """Return the URL that a version was fetched from."""
    sequenced = workspace.ledger.find(event)
    assert sequenced is not None
    for edge in sequenced.event.uses:
        maker = getattr(edge, "made_by", None)
        fetched = None if maker is None else workspace.ledger.find(maker)
        if fetched is not None and fetched.event.kind == "origin.fetched":
            return open_text(workspace, sealed_text(fetched.event.body["url"]))
    return None
