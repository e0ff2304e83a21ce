"""Bytes from a URL into the store and to their place, with what the origin said of them. No verb."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from retrodict import datasets, origins
from retrodict.actions.personal_files import PersonalFileError, PersonalFiles
from retrodict.actions.places import workspace_path
from retrodict.actions.ways import in_the_way, would_be_lost
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, Event, Ref
from retrodict.objects import display
from retrodict.workspace import FOLDER, Batch, Workspace, open_text, sealed_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What lies at a URL now.

    Attributes:
        path: Where its bytes belong, relative to the workspace.
        content, size_bytes: Of the bytes, which are in the store.
        answer: What the origin said; None: that they are still what was fetched before.
        before: The `origin.fetched` of that.
        recipes: As `Added` has it.
        new_bytes: By how much the store grew.
    """

    path: str
    content: Digest
    size_bytes: int
    answer: origins.Answer | None
    before: datasets.Fetched | None
    recipes: Digest | None
    new_bytes: int


def place_for(workspace: Workspace, url: str, destination: Path | None, folder: Path) -> tuple[Path, str]:
    """Return where the file goes, and that relative to the workspace.

    Raises:
        UsageError: It lies outside, or in the workspace's own store; the URL says no name.
    """
    if destination is None:
        destination = folder / origins.file_name(url)
    elif destination.is_dir():
        destination = destination / origins.file_name(url)
    relative = workspace_path(workspace, destination)
    if relative is None or relative == "." or {FOLDER, ".git"} & set(relative.split("/")):
        raise UsageError(f"{display(destination)} is no place for a file of this workspace")
    return destination, relative


def take(workspace: Workspace, url: str, place: Path, relative: str, progress: Progress | None) -> Taken:
    """Ask the origin, and store what it gives; the place in the working copy is looked at, and not written.

    Raises:
        UsageError: Bytes that nobody holds are in the way; a URL of another kind.
        PersonalFileError: What lies there is personal.
        OriginError: The origin does not give its bytes.
    """
    files = PersonalFiles(workspace)
    if files.is_declared(place) or files.find(place) is not None:
        raise PersonalFileError(f"{display(place)} is personal, and what is fetched is kept in the clear")
    if place.is_dir():
        raise UsageError(f"{display(place)} is a folder")
    for path in in_the_way(workspace, files, [(place, Digest(""))]):
        raise would_be_lost(path, place)
    before = _before(workspace, url, relative)
    etag = last_modified = None
    if before is not None:
        sequenced = workspace.ledger.find(before.event)
        assert sequenced is not None
        told = sequenced.event.body
        etag, last_modified = (None if told[name] is None else str(told[name]) for name in ("etag", "last_modified"))
    folder = workspace.folder / "tmp"
    folder.mkdir(exist_ok=True)
    part = folder / f"fetch-{hashlib.sha256(origins.without_login(url).encode()).hexdigest()[:32]}"
    answer = origins.fetch(url, part, etag=etag, last_modified=last_modified, sleep=time.sleep, progress=progress)
    if answer is None:
        assert before is not None
        size = workspace.objects.size(before.content)
        return Taken(
            path=relative,
            content=before.content,
            size_bytes=size,
            answer=None,
            before=before,
            recipes=None,
            new_bytes=0,
        )
    stored = workspace.objects.add(part)
    origins.forget_part(part)
    return Taken(
        path=relative,
        content=stored.digest,
        size_bytes=stored.size_bytes,
        answer=answer,
        before=before,
        recipes=stored.recipes,
        new_bytes=stored.new_bytes,
    )


def _before(workspace: Workspace, url: str, relative: str) -> datasets.Fetched | None:
    """Return what was fetched from the same URL to the same place before, and is still held."""
    for found in datasets.fetched(workspace.views.database(), relative):
        sequenced = workspace.ledger.find(found.event)
        assert sequenced is not None
        was = open_text(workspace, sealed_text(sequenced.event.body["url"]))
        if was == origins.without_login(url):
            return found if workspace.objects.has(found.content) else None
    return None


def record(batch: Batch, url: str, taken: Taken) -> Event:
    """Record what an origin gave."""
    answer = taken.answer
    assert answer is not None
    return batch.event(
        "origin.fetched",
        uses=(),
        makes=(Edge(ref=Ref(taken.content), role="fetched", evidence="observed", path=taken.path),),
        body=datasets.fetched_body(
            url=batch.seal(origins.without_login(url)),
            content=taken.content,
            size_bytes=taken.size_bytes,
            etag=answer.etag,
            last_modified=answer.last_modified,
            date=answer.date,
        ),
    )
