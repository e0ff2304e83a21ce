"""Where the records of a stream, or the values of a tensor, were read from. No verb."""

from __future__ import annotations

import os
from pathlib import Path

from retrodict import provenance
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import workspace_path
from retrodict.kernel.types import Edge, Ref
from retrodict.objects.errors import ChangedFileError
from retrodict.workspace import Workspace


def source_of(workspace: Workspace, path: Path, then: os.stat_result, *, is_personal: bool = False) -> list[Edge]:
    """Return the edge to a file whose bytes the store holds: something here made or added them. Of a folder: none.

    Args:
        path: Of the file, which has been read.
        then: What it was before that.
        is_personal: The digest of its bytes in the clear is remembered nowhere.

    Raises:
        ChangedFileError: It has changed since: other bytes may have been read.
    """
    if path.is_dir():
        return []
    files = PersonalFiles(workspace)
    digest = files.find(path)
    if digest is None:
        is_personal = is_personal or files.is_declared(path)
        digest = workspace.objects.hash_file(path, remember=not is_personal)
    if not workspace.objects.has(digest):
        return []
    if state_of(path.stat()) != state_of(then):
        raise ChangedFileError(str(path))
    place = workspace_path(workspace, path)
    maker = provenance.maker(workspace.views.database(), Ref(digest), place)
    return [Edge(ref=Ref(digest), role="source", evidence="observed", path=place, made_by=maker)]


def state_of(stat: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does, or when another one takes its place."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
