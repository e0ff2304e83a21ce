"""`forget` of files: destroy the keys of personal files, and say first what they reached; proofs stay whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from retrodict import datasets
from retrodict.actions import names
from retrodict.actions.forgetting import find_forgetting
from retrodict.actions.holding import Holder, Holders, confirm_destroyed, listed_or_blob
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.reached import Derived, Reached
from retrodict.datasets import DatasetVersion
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.objects import display
from retrodict.workspace import (
    Batch,
    Workspace,
    destroy_forgotten,
    edges_or_list,
    forgotten_by,
    sealed_key,
    sealed_objects,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesReach:
    """What forgetting files reaches.

    Attributes:
        references: What was asked for.
        files: How many files can never be read again; `keys` with those of listings, and of what goes with them.
        versions: The versions of datasets that they are in, all of them: others can share a file.
        runs: The runs that read them, or what was made of them, by entry.
        asked: The predictions that those runs asked, or processes that had read the files, by entry.
        is_derived_too: What was derived is destroyed, too, and so are these predictions.
        printed: How many texts those runs printed or figures they logged; destroyed with what was derived.
        models: The versions made from them: what a model learned stays in it.
        predictions: How many answers these models gave.
        copies: Where the same bytes lie in the project, in the clear: those are the user's to delete.
    """

    references: tuple[str, ...]
    files: int
    keys: int
    versions: tuple[str, ...]
    runs: tuple[int, ...]
    derived: tuple[Derived, ...]
    asked: tuple[int, ...]
    is_derived_too: bool
    printed: int
    models: tuple[str, ...]
    predictions: int
    copies: tuple[str, ...]
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesForgotten:
    """Files that are forgotten; `destroyed` is how many keys this workspace held, and no longer does."""

    reach: FilesReach
    destroyed: int
    event: EventId
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    reach: FilesReach
    contents: tuple[Digest, ...]
    keys: tuple[str, ...]
    versions: tuple[EventId, ...]
    runs: tuple[EventId, ...]
    asked: tuple[EventId, ...]
    models: tuple[EventId, ...]


def reach(
    workspace: Workspace,
    reference: str,
    *,
    files: Sequence[str] = (),
    all_versions: bool = False,
    derived: bool = False,
) -> FilesReach:
    """Say what forgetting files would reach; changes nothing. Args and Raises: as `forget`."""
    return _find(workspace, reference, files, all_versions, derived).reach


def forget(
    workspace: Workspace,
    reference: str,
    *,
    reason: str,
    files: Sequence[str] = (),
    all_versions: bool = False,
    derived: bool = False,
) -> FilesForgotten:
    """Record what forgetting personal files reaches, then destroy their keys.

    Args:
        reference: A version of a personal file or folder, or the object that a file is sealed as.
        reason: Why; shown to whoever asks for the files later.
        files: Of a folder: only these, by their names in it, or all below one.
        all_versions: Every version of that name, not only the one.
        derived: Also what runs made of them and sealed, and what those runs printed.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It is not personal, or forgotten already; there is no such file in it; or no reason is given.
        SealedValuesError: Single files are named, and the listing of the folder cannot be opened here.
    """
    if not reason.strip():
        raise UsageError("what is forgotten is forgotten for a reason", hint='Add --reason "...".')
    found = _find(workspace, reference, files, all_versions, derived)
    batch = Batch(workspace)
    edges = [
        Edge(ref=Ref(event), role=role, evidence="observed")
        for role, events in (
            ("dataset-version", found.versions),
            ("run", found.runs),
            ("asked-prediction", found.asked),
            ("model-version", found.models),
        )
        for event in events
    ]
    event = batch.event(
        "file.forgotten",
        uses=edges_or_list(batch, edges),
        makes=(),
        body={
            "contents": listed_or_blob(batch, found.contents),
            "keys": listed_or_blob(batch, found.keys),
            "derived": derived,
            "predictions": found.reach.predictions,
            "holders": [holder.as_body() for holder in found.reach.holders],
        },
        reason=reason,
    )
    index = batch.append()[-1].index
    # A crash before the next line leaves keys that the log calls destroyed: whoever opens the workspace next ends it.
    destroyed = destroy_forgotten(workspace, found.keys)
    confirm_destroyed(workspace)
    return FilesForgotten(reach=found.reach, destroyed=destroyed, event=event.id, index=index)


def _find(
    workspace: Workspace, reference: str, wanted: Sequence[str], all_versions: bool, with_derived: bool
) -> _Found:
    database = workspace.views.database()
    files = PersonalFiles(workspace)
    asked = _versions(workspace, reference, all_versions)
    targets: dict[Digest, str] = {}
    for version in asked:
        targets |= _targets(workspace, files, version, wanted)
    if not asked:
        content = names.resolve(workspace, reference).object
        key = None if content is None else sealed_key(workspace, content)
        if content is None or key is None or wanted:
            raise _not_personal(reference)
        targets[content] = key
    gone = [key for key in targets.values() if forgotten_by(workspace, key) is not None]
    left = {content: key for content, key in targets.items() if key not in gone}
    # What was made of files that are gone can go later than they did.
    graph = Reached(workspace, targets if with_derived else left)
    derived = tuple(graph.derived(with_derived))
    keys = dict.fromkeys(left.values())
    contents = dict.fromkeys(left)
    if with_derived:
        for item in derived:
            if item.state == "destroyed":
                contents[item.ref] = None
                keys[sealed_key(workspace, item.ref) or ""] = None
        keys |= dict.fromkeys([*graph.printed, *graph.asked_keys])
    if not keys:
        raise UsageError(f"{reference} is {find_forgetting(workspace, gone[0]) if gone else 'empty'}")
    known = [version for version in datasets.versions(database) if version.key is not None]
    shared = [version for version in known if set(keys) & set(_sealed(workspace, version.event).values())]
    listings = {version.content for version in known if version.type == "tree"}
    reached = FilesReach(
        references=tuple(_label(version) for version in asked) or (reference,),
        files=sum(content not in listings for content in contents),
        keys=len(keys),
        versions=tuple(_label(version) for version in shared),
        runs=tuple(run.index for run in graph.runs),
        derived=derived,
        asked=tuple(sequenced.index for sequenced in graph.asked),
        is_derived_too=with_derived,
        printed=len(graph.printed),
        models=tuple(version.label for version in graph.models),
        predictions=graph.predictions,
        copies=tuple(_copies(workspace, files, set(contents))),
        holders=Holders(workspace).before(set(keys), since=min((version.index for version in shared), default=0)),
    )
    return _Found(
        reach=reached,
        contents=tuple(contents),
        keys=tuple(keys),
        versions=tuple(version.event for version in shared),
        runs=tuple(run.event.id for run in graph.runs),
        asked=tuple(sequenced.event.id for sequenced in graph.asked) if with_derived else (),
        models=tuple(version.event for version in graph.models),
    )


def _versions(workspace: Workspace, reference: str, all_versions: bool) -> list[DatasetVersion]:
    """Return the versions that are meant; none where an object is."""
    database = workspace.views.database()
    resolved = names.resolve(workspace, reference)
    if resolved.event is None:
        if all_versions:
            raise UsageError(f"{reference} is an object, which has no versions", hint="Name the dataset: dataset:NAME.")
        return []
    found = datasets.find(database, event=resolved.event)
    if all_versions:
        found = [version for dataset in found for version in datasets.versions(database, dataset.name)]
    found = [version for version in found if version.key is not None]
    if not found:
        raise _not_personal(reference)
    return found


def _targets(
    workspace: Workspace, files: PersonalFiles, version: DatasetVersion, wanted: Sequence[str]
) -> dict[Digest, str]:
    """Return the objects of a version that are meant, and what opens each."""
    if not wanted:
        return _sealed(workspace, version.event)
    if version.type != "tree" or version.key is None:
        raise UsageError(f"{_label(version)} is no folder, so that no file in it can be named")
    if forgotten_by(workspace, version.key) is not None:
        return {}
    members = files.members(version.content, version.key)
    found: dict[Digest, str] = {}
    for name in wanted:
        raw = os.fsencode(name.strip("/"))
        meant = {
            Digest(member.ref): member.key
            for member in members
            if member.ref is not None and member.key is not None and (member.path + b"/").startswith(raw + b"/")
        }
        if not meant:
            raise UsageError(
                f"{_label(version)} holds no {display(raw)}", hint="Name it as it is called in the folder."
            )
        found |= meant
    return found


def _sealed(workspace: Workspace, event: EventId) -> dict[Digest, str]:
    sequenced = workspace.logs.find(event)
    assert sequenced is not None
    return {Digest(ref): key for ref, key in sealed_objects(sequenced.event.body, workspace.objects.get)}


def _copies(workspace: Workspace, files: PersonalFiles, contents: set[Digest]) -> Iterator[str]:
    for path, found in files.copies(workspace.root):
        if found in contents:
            yield display(path.relative_to(workspace.root))


def _label(version: DatasetVersion) -> str:
    return f"dataset:{version.name}@v{version.version}"


def _not_personal(reference: str) -> UsageError:
    return UsageError(
        f"{reference} is not personal: no key seals it, so that none can be destroyed",
        hint="What stands in the clear stays in the record; name a file or folder that was added with --personal.",
    )
