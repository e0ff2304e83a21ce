"""`checkout` without a reference: bring the working copy to what `retrodict.lock/` says."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrodict import datasets, pins
from retrodict.actions import derivation, pinning
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import Ignored
from retrodict.actions.ways import in_the_way, leads_out, wanted_places, would_be_lost
from retrodict.kernel.errors import MissingObjectError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.objects import display
from retrodict.pins import Pin
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What became of one name.

    Attributes:
        change: "written": its bytes were put to where they belong. "removed": it is not pinned, and its bytes are held.
        reference: That brings it back.
        kept: Files that lie in the folder, belong to no version, and were left.
    """

    name: str
    path: str
    reference: str
    change: Literal["written", "unchanged", "removed"]
    size_bytes: int
    kept: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedCheckout:
    """What was done; nothing but what stands here was touched."""

    placed: tuple[Placed, ...]


def checkout_pinned(
    workspace: Workspace, *, environment: Mapping[str, str], progress: Progress | None = None
) -> PinnedCheckout:
    """Write what is pinned to its places, every byte verified, and remove what is versioned and not pinned.

    First everything is looked at; nothing is written where something is missing or would be lost.

    Args:
        workspace: Whose working copy it is.
        environment: The variables with which a derived version whose bytes were let go is made again.
        progress: Told of files.

    Raises:
        PinError: A pin cannot be followed, or git not be told to leave its data alone.
        MissingObjectError: Bytes that are pinned are not held.
        UsageError: There is no `retrodict.lock/`; bytes that nobody holds are in the way; a path leaves the project.
        AlteredObjectError: Bytes are not what they were; what was written before stays.
    """
    if not pins.is_used(workspace.root):
        raise UsageError(f"there is no {pins.FOLDER} here", hint="Name a version, or let `retrodict lock` write it.")
    found = pins.read(workspace.root)
    files, objects = PersonalFiles(workspace), workspace.objects
    for pin in found.values():
        place = _place(workspace, pin)
        if not objects.has(pin.content):
            for version in datasets.find(workspace.views.database(), content=pin.content):
                if version.recipe is not None:
                    derivation.materialize(workspace, version, environment)
        if not objects.has(pin.content):
            raise MissingObjectError(pin.content)
        if objects.is_tree(pin.content) != (pin.type == "tree"):
            raise pins.PinError(f"{pin.name!r} is pinned as a {pin.type}, and its content is none")
        if pin.type == "file" and place.is_dir():
            raise UsageError(f"{display(place)} is a folder, and a file is pinned there", hint="Move it away.")
        below = [(name, e.kind, e.digest) for name, e in objects.walk(pin.content)] if pin.type == "tree" else []
        for path in in_the_way(workspace, files, wanted_places(pin.content, place, below)):
            raise would_be_lost(path, place)
    pinning.keep_out(workspace, [pin.path for pin in found.values()])  # in a new clone git does not know yet
    placed = [*_unpinned(workspace, files, found)]
    for pin in found.values():
        place = _place(workspace, pin)
        was_there = os.path.lexists(place)
        written = objects.checkout(pin.content, place, progress=progress)
        removed, kept = _surplus(workspace, files, pin, place) if pin.type == "tree" else (0, ())
        is_changed = bool(written or removed or not was_there)
        placed.append(
            Placed(
                name=pin.name,
                path=pin.path,
                reference=_reference(workspace, pin),
                change="written" if is_changed else "unchanged",
                size_bytes=written,
                kept=kept,
            )
        )
    return PinnedCheckout(placed=tuple(placed))


def _place(workspace: Workspace, pin: Pin) -> Path:
    """Return where a pin's bytes go.

    Raises:
        PinError: A link on the way there leads out of the project.
    """
    outside = leads_out(workspace.root, pin.path)
    if outside is not None:
        raise pins.PinError(f"the way to {pin.path!r} leads through a link to {outside}")
    return workspace.root / pin.path


def _reference(workspace: Workspace, pin: Pin) -> str:
    for version in reversed(datasets.find(workspace.views.database(), content=pin.content)):
        if version.name == pin.name:
            return version.label
    return pin.content[:15]


def _surplus(workspace: Workspace, files: PersonalFiles, pin: Pin, place: Path) -> tuple[int, tuple[str, ...]]:
    """Remove what lies in a folder, is held, and is not in the pinned version; return how many, and what was left."""
    top = os.fsencode(place)
    entries = dict(workspace.objects.walk(pin.content))
    removed, kept = 0, []
    ignored = Ignored(workspace.root, place)
    folders = []
    for folder, below, names in os.walk(top):
        skip = ignored(b"" if folder == top else os.path.relpath(folder, top))
        links = [one for one in below if os.path.islink(os.path.join(folder, one))]
        below[:] = [one for one in below if one not in links and not skip(one, True)]
        folders.append((folder, [one for one in (*names, *links) if not skip(one, False)]))
    for folder, names in reversed(folders):
        relative = os.path.relpath(folder, top)
        for name in names:
            inner = name if relative == b"." else relative + b"/" + name
            if inner in entries:
                continue
            path = os.path.join(folder, name)
            if _is_held(workspace, files, Path(os.fsdecode(path))):
                os.unlink(path)
                removed += 1
            else:
                kept.append(display(inner))
        if relative != b"." and relative not in entries and not os.listdir(folder):
            os.rmdir(folder)
            removed += 1
    return removed, tuple(sorted(kept))


def _is_held(workspace: Workspace, files: PersonalFiles, path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or files.find(path) is not None:
        return False
    return workspace.objects.has(files.hash(path))


def _unpinned(workspace: Workspace, files: PersonalFiles, found: dict[str, Pin]) -> list[Placed]:
    """Remove what is tracked, not pinned (another branch's), and lies there as one of its versions is held."""
    database = workspace.views.database()
    taken = {pin.path for pin in found.values()}
    placed = []
    for version in datasets.versions(database):
        if not (version.is_current and version.is_tracked and version.path and version.key is None):
            continue
        place = workspace.root / version.path
        is_shared = any(path == version.path or path.startswith(version.path + "/") for path in taken)
        if version.name in found or is_shared or not os.path.lexists(place):
            continue
        past = {v.content: v for v in datasets.versions(database, version.name)}
        present = _removable(workspace, files, place, past.keys())
        if present is None:
            continue
        size = past[present].size_bytes
        _remove(workspace, place, present)
        placed.append(
            Placed(
                name=version.name,
                path=version.path,
                reference=past[present].label,
                change="removed",
                size_bytes=size,
                kept=(),
            )
        )
    return placed


def _removable(workspace: Workspace, files: PersonalFiles, place: Path, contents: Collection[Digest]) -> Digest | None:
    """Return the version that lies at a place, whole and with nothing else; None where it is none, or is not held."""
    if place.is_symlink():
        return None
    if place.is_file():
        present = files.hash(place)
        return present if present in contents and workspace.objects.has(present) else None
    for content in contents:
        if workspace.objects.has(content) and workspace.objects.is_tree(content) and _is_as(workspace, place, content):
            return Digest(content)
    return None


def _is_as(workspace: Workspace, place: Path, content: Digest) -> bool:
    """Say whether a folder holds every file of a tree as it is, and no other."""
    entries = {path: entry for path, entry in workspace.objects.walk(content) if entry.kind != "tree"}
    top = os.fsencode(place)
    found = set()
    ignored = Ignored(workspace.root, place)
    for folder, below, names in os.walk(top):
        skip = ignored(b"" if folder == top else os.path.relpath(folder, top))
        links = [one for one in below if os.path.islink(os.path.join(folder, one))]
        below[:] = [one for one in below if one not in links and not skip(one, True)]
        for name in [*names, *links]:
            if skip(name, False):
                continue
            path = os.path.join(folder, name)
            inner = os.path.relpath(path, top)
            entry = entries.get(inner)
            if entry is None:
                return False
            if entry.kind != "symlink":
                if os.path.islink(path) or workspace.objects.hash_file(Path(os.fsdecode(path))) != entry.digest:
                    return False
            elif not os.path.islink(path):
                return False
            found.add(inner)
    return found == entries.keys()


def _remove(workspace: Workspace, place: Path, content: Digest) -> None:
    """Remove a version from the working copy; what no version has (ignored files) stays."""
    if place.is_file():
        place.unlink()
        return
    folders = [b""]
    top = os.fsencode(place)
    for path, entry in workspace.objects.walk(content):
        if entry.kind == "tree":
            folders.append(path)
        else:
            os.unlink(os.path.join(top, path))
    for path in reversed(folders):
        folder = os.path.join(top, path)
        if not os.listdir(folder):
            os.rmdir(folder)
