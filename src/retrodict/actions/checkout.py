"""`checkout`: any version back, byte for byte."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from retrodict import datasets
from retrodict.actions import names
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.models import records as models
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOut:
    """What was written where; `size_bytes` of it, each byte verified as it was written."""

    reference: str
    content: Digest
    destination: str
    size_bytes: int


def _files(workspace: Workspace, content: Digest) -> dict[str, Digest] | None:
    """Return the files and links below a tree by their paths; None: it is a file itself."""
    try:
        return {
            os.fsdecode(path): entry.digest for path, entry in workspace.objects.walk(content) if entry.kind != "tree"
        }
    except UsageError:
        return None


def _refuse_loss(workspace: Workspace, path: Path, content: Digest) -> None:
    """Refuse to replace a file whose bytes the store does not hold."""
    if not path.is_file() or path.is_symlink():
        return
    present = workspace.objects.hash_file(path)
    if present != content and not workspace.objects.has(present):
        raise UsageError(
            f"{path} holds bytes that are not versioned and would be lost",
            hint=f"`retrodict add {shlex.quote(str(path))}` first, or give another destination.",
        )


def checkout(
    workspace: Workspace, reference: str, destination: Path | None = None, *, progress: Progress | None = None
) -> CheckedOut:
    """Write the bytes that `reference` names to `destination`, by default to where the dataset lay.

    Files that are in the way are replaced only if their bytes are held, so that nothing is lost.

    Raises:
        UsageError: The reference names no bytes, or there is no destination, or bytes that nobody holds are in the way.
        MissingObjectError: Its bytes are not held. AlteredObjectError: They are not what they were.
    """
    resolved = names.resolve(workspace, reference)
    database = workspace.views.database()
    content, home = resolved.object, None
    if resolved.event is not None:
        for dataset in datasets.find(database, event=resolved.event):
            content, home = dataset.content, dataset.path or None
        for model in models.find(database, event=resolved.event):
            content = model.content
    if content is None:
        raise UsageError(
            f"{reference} names no bytes", hint="Name a dataset, a model or an object (b3-...); `show` lists them."
        )
    if destination is None:
        if home is None:
            raise UsageError(f"{reference} has no place of its own", hint="Say where to write it: checkout REF DEST.")
        destination = workspace.root / home
    files = _files(workspace, content)
    if files is None and destination.is_dir():
        raise UsageError(
            f"{destination} is a folder", hint=f"Name the file: checkout {reference} {destination / 'FILE'}."
        )
    for path in (destination,) if files is None else (destination / name for name in files):
        _refuse_loss(workspace, path, content if files is None else files[str(path.relative_to(destination))])
    size = workspace.objects.checkout(content, destination, progress=progress)
    return CheckedOut(reference=reference, content=content, destination=str(destination), size_bytes=size)
