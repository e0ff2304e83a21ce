"""`history`: all versions of a dataset, who made them and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions import attaching, looks, names
from retrodict.actions.authorship import Authors, How
from retrodict.actions.looks import Look
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, EventId
from retrodict.workspace import Workspace, agent_name, open_text, sealed_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One version.

    Attributes:
        entry: Of the event that added or derived it.
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
    content: Digest
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
    """The versions of one name, newest first; `is_tracked`: `status` follows it."""

    name: str
    is_tracked: bool
    versions: tuple[Past, ...]


def history(workspace: Workspace, name: str) -> History:
    """Return the versions of the dataset that `name` (or a reference to a version of it) names.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It is no dataset.
    """
    database = workspace.views.database()
    found = datasets.versions(database, name.removeprefix("dataset:"))
    if not found:
        event = names.resolve(workspace, name).event
        named = [] if event is None else datasets.find(database, event=event)
        if not named:
            raise UsageError(f"{name} is no dataset", hint="`retrodict ls` lists them.")
        found = datasets.versions(database, named[0].name)
    tags: dict[str, list[str]] = {}
    for tag in datasets.tags(database, found[0].name):
        if tag.is_current:
            tags.setdefault(tag.version_event, []).append(tag.label)
    look, authors = Look(workspace, "show"), Authors(workspace)
    rows = []
    for version in reversed(found):
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
                content=version.content,
                type=version.type,
                files=version.files,
                size_bytes=version.size_bytes,
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
    return History(name=found[0].name, is_tracked=any(v.is_tracked for v in current), versions=tuple(rows))


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
