"""What stands where bytes are to be written: nothing that nobody holds is overwritten. No verb."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from retrodict import pins
from retrodict.actions import worktree
from retrodict.actions.personal_files import PersonalFiles
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest
from retrodict.objects import display
from retrodict.workspace import Workspace

_STORES: Final = (".git", ".retrodict", pins.FOLDER)


def leads_out(root: Path, path: str) -> str | None:
    """Return where a link on the way to a path of the project leads, where that is no part of the project.

    A link in the path's own place is a person's, who may keep data on another disk, unless git brought it: with a
    repository comes what its author wanted, and a link to a folder of the reader's would be written through.

    Args:
        root: The project's folder.
        path: Relative to it, as the record has it.
    """
    place = root / path
    ways = [os.path.realpath(place.parent)]
    if place.is_symlink() and worktree.keeps(root, path):
        ways.append(os.path.realpath(place))
    for way in ways:
        if os.path.relpath(way, os.path.realpath(root)).split("/")[0] in ("..", *_STORES):
            return way
    return None


def wanted_places(
    content: Digest, destination: Path, below: Iterable[tuple[bytes, str, Digest]]
) -> Iterator[tuple[Path, Digest]]:
    """Yield the places that a checkout writes to, and what goes there.

    Args:
        content: What goes to `destination`.
        destination: A file's or folder's place.
        below: Name, kind and content of everything in the folder, folders before what is in them.
    """
    yield destination, content
    linked: set[bytes] = set()  # what lies behind a link is not touched: the link itself makes way
    for name, kind, digest in below:
        path = destination / os.fsdecode(name)
        if os.path.dirname(name) in linked or (kind == "tree" and path.is_symlink()):
            linked.add(name)
        else:
            yield path, digest


def in_the_way(workspace: Workspace, files: PersonalFiles, wanted: Iterable[tuple[Path, Digest]]) -> Iterator[Path]:
    """Yield the files that would be replaced and whose bytes are not held."""
    objects = workspace.objects
    for path, digest in wanted:
        if path.is_file() and not path.is_symlink() and files.find(path) is None:
            present = files.hash(path)
            if present != digest and not objects.has(present):
                yield path


def would_be_lost(path: Path, destination: Path) -> UsageError:
    """Return the error for a file that is in the way."""
    return UsageError(
        f"{display(path)} holds bytes that are not versioned and would be lost",
        hint=f"`retrodict add {shlex.quote(display(destination))}` first, or give another destination.",
    )
