"""`checkout`: any version back, byte for byte."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retrodict import datasets
from retrodict.actions import looks, names
from retrodict.actions.personal_files import PersonalFiles
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.models import records as models
from retrodict.objects import display
from retrodict.workspace import Workspace, sealed_key


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOut:
    """What was written where; `size_bytes` of it, each byte verified as it was written."""

    reference: str
    content: Digest
    destination: str
    size_bytes: int


def checkout(
    workspace: Workspace, reference: str, destination: Path | None = None, *, progress: Progress | None = None
) -> CheckedOut:
    """Write the bytes that `reference` names to `destination`, by default to where the dataset lay.

    A file that is in the way, also inside a folder, is replaced only if its bytes are held, so that nothing is lost.

    Raises:
        UsageError: The reference names no bytes, or there is no destination, or bytes that nobody holds are in the way.
        ErasedError, SealedValuesError: It is personal, and its key is gone or not here, or no look can be recorded.
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
    files = PersonalFiles(workspace)
    for path in _in_the_way(workspace, files, content, destination):
        raise UsageError(
            f"{display(path)} holds bytes that are not versioned and would be lost",
            hint=f"`retrodict add {shlex.quote(display(destination))}` first, or give another destination.",
        )
    key = sealed_key(workspace, content)
    if key is None:
        size = workspace.objects.checkout(content, destination, progress=progress)
    else:
        looks.record_file(workspace, content)
        size = files.unseal(content, key, destination)
    return CheckedOut(reference=reference, content=content, destination=str(destination), size_bytes=size)


def _in_the_way(workspace: Workspace, files: PersonalFiles, content: Digest, destination: Path) -> Iterator[Path]:
    """Yield the files that a checkout would replace and whose bytes are not held."""
    objects = workspace.objects
    wanted: list[tuple[Path, Digest]] = [(destination, content)]
    try:
        below = objects.walk(content)
        linked: set[bytes] = set()  # what lies behind a link is not touched: the link itself makes way
        for name, entry in below:
            path = destination / os.fsdecode(name)
            if os.path.dirname(name) in linked or (entry.kind == "tree" and path.is_symlink()):
                linked.add(name)
            else:
                wanted.append((path, entry.digest))
    except UsageError:  # a file
        if destination.is_dir():
            hint = f"Name the file: {destination / 'FILE'}."
            raise UsageError(f"{display(destination)} is a folder", hint=hint) from None
    for path, digest in wanted:
        if path.is_file() and not path.is_symlink() and files.find(path) is None:
            present = files.hash(path)
            if present != digest and not objects.has(present):
                yield path
