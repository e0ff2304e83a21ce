"""`status`: what has changed since it was versioned, and how the record stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrodict import datasets, predictions
from retrodict.actions import pinning
from retrodict.actions.conflicts import Conflict, find_conflicts
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import Ignored
from retrodict.actions.unsaved import Unsaved, find_unsaved
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.note import decode_checkpoint
from retrodict.models import records as models
from retrodict.workspace import Workspace, forgotten_by

State = Literal["changed", "missing", "conflict", "unreadable", "forgotten"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStatus:
    """A dataset's file or folder, against its current version.

    Attributes:
        state: "forgotten": very bytes that were forgotten lie there still, in the clear. A folder of which single files
            were forgotten is "changed", too, where anything else is different.
        files: Of such a folder, how many of those files lie there still; their names are sealed, and not said.
    """

    path: str
    dataset: str
    state: State
    files: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketStatus:
    """An attached bucket, against its current version.

    Attributes:
        added, removed, changed: How many names differ; 0 where there is a problem.
        problem: Why it could not be asked; None: it was.
    """

    dataset: str
    url: str
    added: int
    removed: int
    changed: int
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a workspace stands.

    Attributes:
        root: The project's folder.
        entries: Length of the log; `published` of them are under a signed checkpoint.
        key: The log's public key, as `verify --key` takes it; None where the keys are not here.
        datasets: How many names are versioned; `paths` are those that are not as their current version.
        is_changed: Whether there are any of those, or a bucket that has changed.
        conflicts: Names that were set on both sides; `settle` ends each.
        logs: How many logs of others are held.
        unsaved: How much of the log exists only here.
    """

    root: str
    workspace: str
    origin: str
    key: str | None
    entries: int
    published: int
    datasets: int
    models: int
    open_disputes: int
    read_only: bool
    paths: tuple[PathStatus, ...]
    is_changed: bool
    unsaved: Unsaved
    conflicts: tuple[Conflict, ...] = ()
    logs: int = 0
    buckets: tuple[BucketStatus, ...] = ()


def status(workspace: Workspace, *, buckets: Mapping[str, str] | None = None) -> Status:
    """Compare what lies in the project with the current versions of the datasets, or with those that are pinned.

    Args:
        buckets: Ask attached buckets, too, with these variables; None: they are not asked.
    """
    database = workspace.views.database()
    current = [version for version in datasets.versions(database) if version.is_current and version.is_tracked]
    heads: dict[str, int] = {}
    for version in current:
        heads[version.name] = heads.get(version.name, 0) + 1
    paths: list[PathStatus] = []
    files = PersonalFiles(workspace)
    for version in pinning.as_pinned(workspace, current):
        label = f"dataset:{version.name}@v{version.version}"
        if heads[version.name] > 1:
            paths.append(PathStatus(path=version.path, dataset=label, state="conflict"))
            continue
        if not version.path:
            continue
        path = workspace.root / version.path
        is_forgotten = version.key is not None and forgotten_by(workspace, version.key) is not None
        if not path.exists() and not path.is_symlink():
            if is_forgotten:
                continue  # nobody can bring it back
            paths.append(PathStatus(path=version.path, dataset=label, state="missing"))
            continue
        try:
            if is_forgotten:
                state: State = "forgotten" if files.holds_forgotten(path) else "changed"
                paths.append(PathStatus(path=version.path, dataset=label, state=state))
                continue
            differs, forgotten = _compared(workspace, files, path, version)
            if differs:
                paths.append(PathStatus(path=version.path, dataset=label, state="changed"))
            if forgotten:
                paths.append(PathStatus(path=version.path, dataset=label, state="forgotten", files=forgotten))
        except (OSError, RetrodictError):
            paths.append(PathStatus(path=version.path, dataset=label, state="unreadable"))
    asked = () if buckets is None else tuple(_ask(workspace, v, buckets) for v in current if v.type == "bucket")
    note = workspace.ledger.checkpoint()
    return Status(
        root=str(workspace.root),
        workspace=workspace.id,
        origin=workspace.ledger.origin,
        key=None if workspace.state is None or workspace.state.verifier is None else str(workspace.state.verifier),
        entries=workspace.ledger.size(),
        published=0 if note is None else decode_checkpoint(note).size,
        datasets=len(heads),
        models=len({version.name for version in models.versions(database)}),
        open_disputes=len(predictions.disputes(database, open_only=True)),
        read_only=workspace.read_only,
        paths=tuple(paths),
        is_changed=bool(paths) or any(one.added or one.removed or one.changed for one in asked),
        unsaved=find_unsaved(workspace),
        conflicts=find_conflicts(workspace),
        logs=len(workspace.logs.held()) - 1,
        buckets=asked,
    )


def _ask(workspace: Workspace, version: datasets.DatasetVersion, environment: Mapping[str, str]) -> BucketStatus:
    from retrodict.actions import attaching  # 20 ms, as buckets seldom are asked
    from retrodict.buckets import Listing, changed_keys

    url, changed, problem = "", (0, 0, 0), None
    try:
        bucket = attaching.opened(workspace, version, environment)
        url = bucket.url
        bucket.check()
        now = Listing(bucket.prefix, attaching.current(bucket.changes()).pins)
        added, removed, others = changed_keys(attaching.read(workspace, version).listing, now)
        changed = len(added), len(removed), len(others)
    except RetrodictError as error:
        problem = error.message
    return BucketStatus(
        dataset=version.label, url=url, added=changed[0], removed=changed[1], changed=changed[2], problem=problem
    )


def _compared(
    workspace: Workspace, files: PersonalFiles, path: Path, version: datasets.DatasetVersion
) -> tuple[bool, int]:
    """Say whether a file or folder is no longer what a version names; nothing is stored.

    That files of a personal folder were forgotten makes no difference; returned is how many of them lie there still.
    """
    content = version.content
    if not path.is_dir():
        return files.find(path) != content and files.hash(path) != content, 0
    if version.key is not None and version.type == "tree":
        return files.compare_folder(path, content, version.key)
    is_private = (lambda file: files.is_personal(Path(os.fsdecode(file)))) if files.is_any else None
    ignored = Ignored(workspace.root, path)
    return workspace.objects.hash_folder(path, ignore=ignored, is_private=is_private) != content, 0
