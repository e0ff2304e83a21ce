"""`checkout`: any version back, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from retrodict import datasets, pins
from retrodict.actions import located, pinning
from retrodict.actions.forgetting import Forgetting, find_forgetting
from retrodict.actions.located import Content
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import workspace_path
from retrodict.actions.ways import leads_out, would_be_lost
from retrodict.kernel.errors import AlteredObjectError, MissingObjectError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.keys import Member
from retrodict.objects import TreeEntry, display
from retrodict.objects.tree import EntryKind
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOut:
    """What was written where; `size_bytes` of it, each byte verified as it was written.

    Attributes:
        forgotten: Its key was destroyed, so that nothing was written; None: it was not.
        left_out: Of a personal folder: the files that were forgotten, by their names.
        stay: What the current version has, this one has not, and lies in the folder still; a folder ends with "/".
    """

    reference: str
    content: Digest
    destination: str
    size_bytes: int
    forgotten: Forgetting | None = None
    left_out: Mapping[str, Forgetting] = field(default_factory=dict)
    stay: tuple[str, ...] = ()


def checkout(
    workspace: Workspace,
    reference: str,
    destination: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> CheckedOut:
    """Write the bytes that `reference` names to `destination`, by default to where they lay.

    The bytes of a derived version that were let go are made again, and those of an attached bucket that are not held
    are fetched, with the variables of `environment`. A file that is in the way, also inside a folder, is replaced only
    if its bytes are held, so that nothing is lost.

    Raises:
        UsageError: The reference names no bytes, or there is no destination, a link leads out of the project to it, or
            bytes that nobody holds are in the way.
        SealedValuesError: It is personal, and its key is not held here, or no look can be recorded.
        PinError: Git cannot be told to leave the data alone.
        MissingObjectError: Its bytes are not held. AlteredObjectError: They are not what they were.
    """
    found = located.locate(workspace, reference, environment=environment)
    if found.attached is not None:
        if destination is None:
            raise UsageError(
                f"{reference} lies in a bucket, and has no place here", hint="Say where to write it: checkout REF DEST."
            )
        place = workspace_path(workspace, destination)
        found = located.bring(workspace, found, environment or {}, place=place, progress=progress)
    content, key, is_folder = found.digest, found.key, False
    if destination is None:
        if found.home is None:
            raise UsageError(f"{reference} has no place of its own", hint="Say where to write it: checkout REF DEST.")
        destination = workspace.root / found.home
        outside = leads_out(workspace.root, found.home)
        if outside is not None:
            raise UsageError(
                f"the way to {found.home!r} leads through a link to {outside}",
                hint=f"To write there, say so: {outside}.",
            )
        if pins.is_used(workspace.root):
            pinning.keep_out(workspace, [found.home])  # in a new clone git does not know yet
    files = PersonalFiles(workspace)

    def allow(replaced: Iterable[tuple[bytes, Digest | None]]) -> None:
        for name, known in replaced:
            path = Path(os.fsdecode(name))
            if files.find(path) is None and not workspace.objects.has(known or files.hash(path)):
                raise would_be_lost(path, destination)

    if found.kind in ("executable", "symlink"):
        return _entry(workspace, found, destination, allow)
    if key is not None:
        forgotten = find_forgetting(workspace, key)
        if forgotten is not None:
            return CheckedOut(
                reference=reference,
                content=content,
                destination=str(destination),
                size_bytes=0,
                forgotten=forgotten,
            )
        is_folder = found.kind == "tree"
    if key is None and not workspace.objects.has(content):
        raise MissingObjectError(content)
    if not is_folder and destination.is_dir() and not workspace.objects.is_tree(content):
        raise UsageError(f"{display(destination)} is a folder", hint=f"Name the file: {destination / 'FILE'}.")
    left_out: dict[str, Forgetting] = {}
    stay: tuple[str, ...] = ()
    if key is None:
        others: list[bytes] = []
        size = workspace.objects.checkout(content, destination, allow=allow, others=others.append, progress=progress)
        if others and found.home is not None and destination == workspace.root / found.home:
            stay = tuple(sorted(_staying(workspace, found, others)))
    else:
        from retrodict.actions import looks  # 10 ms, and seldom needed

        # None of the files of a personal folder is what it is sealed as.
        members = files.members(content, key) if is_folder else ()
        places = [destination, *_not_behind_links(destination, members)]
        allow((os.fsencode(place), None) for place in places if place.is_file() and not place.is_symlink())
        looks.record_file(workspace, content)
        if is_folder:
            size, erased = files.unseal_folder(content, key, destination)
            for member in erased:
                because = find_forgetting(workspace, member.key or "")
                if because is not None:
                    left_out[display(member.path)] = because
        else:
            size = files.unseal(content, key, destination)
    return CheckedOut(
        reference=reference,
        content=content,
        destination=str(destination),
        size_bytes=size,
        left_out=left_out,
        stay=stay,
    )


def _staying(workspace: Workspace, found: Content, others: Iterable[bytes]) -> Iterator[str]:
    """Yield which of `others`, what lies in a folder and the version that was written has not, the current one has."""
    for version in datasets.versions(workspace.views.database()):
        if not version.is_current or version.path != found.home or version.type != "tree" or version.key is not None:
            continue
        try:
            for folder, paths in groupby(others, os.path.dirname):
                content = version.content
                if folder:
                    inside = located.entry_in(workspace, version, folder)
                    if inside is None or inside.kind != "tree":
                        continue
                    content = inside.digest
                for entry in workspace.objects.tree_entries(content, {os.path.basename(path) for path in paths}):
                    yield display(os.path.join(folder, entry.name)) + ("/" if entry.kind == "tree" else "")
        except (AlteredObjectError, MissingObjectError):
            return  # what was asked for is written; `verify` names what is wrong with the other version


def _not_behind_links(destination: Path, members: Iterable[Member]) -> Iterator[Path]:
    """Yield where the parts of a folder go: what lies behind a link is not touched, since the link itself makes way."""
    linked: set[bytes] = set()
    for member in members:  # a folder comes before what is in it
        place = destination / os.fsdecode(member.path)
        if os.path.dirname(member.path) in linked or (member.kind == "tree" and place.is_symlink()):
            linked.add(member.path)
        else:
            yield place


def _entry(
    workspace: Workspace,
    found: Content,
    destination: Path,
    allow: Callable[[Iterable[tuple[bytes, Digest | None]]], None],
) -> CheckedOut:
    """Write one name of a folder that is more than its bytes: a link, or a file that can be run."""
    name, size = os.fsencode(destination.name), workspace.objects.size(found.digest)
    kind: EntryKind = "symlink" if found.kind == "symlink" else "executable"
    alone = workspace.objects.put_tree([TreeEntry(name=name, kind=kind, digest=found.digest, size=size)])
    written = workspace.objects.checkout(alone, destination.parent, allow=allow)
    return CheckedOut(reference=found.printed, content=found.digest, destination=str(destination), size_bytes=written)
