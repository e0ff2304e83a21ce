"""`add`: version files and folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from retrodict import datasets
from retrodict.actions import dataset_subjects, pinning
from retrodict.actions.dataset_subjects import Indexed
from retrodict.actions.personal_files import PersonalFiles, SealedFile, listed, sealed_body
from retrodict.actions.places import Ignored, workspace_path
from retrodict.datasets import Declared
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.keys import is_private_key
from retrodict.objects import display
from retrodict.workspace import FOLDER, Batch, Workspace, edges_or_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """One version, new or known.

    Attributes:
        reference: What to paste: `dataset:NAME@vN`.
        is_new: False where the bytes are those of the current version: nothing was recorded then.
        new_bytes: What this version added to the store.
        is_personal: It is sealed: `content` is its ciphertext.
        people: How many different people its rows are about; None where that was not asked, or nothing was recorded.
            `unnamed`: how many rows name nobody. `unread`: the files that are no tables, or have no such field.
    """

    reference: str
    name: str
    version: int
    event: EventId
    index: int
    content: Digest
    type: Literal["file", "tree"]
    files: int
    size_bytes: int
    new_bytes: int
    is_personal: bool
    is_new: bool
    people: int | None = None
    unnamed: int = 0
    unread: tuple[str, ...] = ()


def add(
    workspace: Workspace,
    paths: Sequence[Path],
    *,
    name: str | None = None,
    source: str | None = None,
    reason: str | None = None,
    personal: bool | None = None,
    subject: str | None = None,
    columns: Sequence[str] | None = None,
    remember: bool = False,
    progress: Progress | None = None,
) -> tuple[Added, ...]:
    """Version each of `paths` under its path (or `name`); all of them are recorded in one append.

    Args:
        source: Where the bytes come from, as the agent says (sealed).
        reason: Why they are added, or why they changed (sealed).
        personal: True: they are about people, sealed whole: a file under a key for each version, a folder under one for
            each of its files, and its names under one for each version. False: they are not, or no longer, for a reason
            that is given. None: as they were, or as what they were made from.
        subject: The field of tables that says whom a row is about: the files are personal, and it is known whose rows
            they hold. "": they are, and it is not. None: as the version before.
        columns: With `subject`: the columns that are personal beside it; None: all.
        remember: Keep again what was forgotten, for a reason that is given.

    Raises:
        PersonalFileError: A folder that is not personal holds personal files.
        ForgottenFileError: The very bytes of a file were forgotten.
        NoSubjectsError: No table has the field, or the columns.
        UsageError: A path does not exist, holds something that cannot be kept, or several share one name; a name that
            could not be written into a reference.
    """
    if name is not None and len(paths) != 1:
        raise UsageError("--name names one path, and there are several", hint="Add them one by one.")
    for path in paths:  # all of them before the first is stored
        if not os.path.exists(path):
            raise UsageError(f"{path} is a link that leads nowhere" if path.is_symlink() else f"{path} does not exist")
    if personal is False and not (reason or "").strip():
        raise UsageError("what was personal is declared clean for a reason", hint='Add --reason "...".')
    if remember and not (reason or "").strip():
        raise UsageError("what was forgotten is kept again for a reason", hint='Add --reason "...".')
    if not subject and columns is not None:
        raise UsageError(
            "columns are personal beside the field that says whom a row is about", hint="Add --subject FIELD."
        )
    if subject is not None and personal is False:
        raise UsageError("what says whom it is about is personal", hint="Leave out --subject or --not-personal.")
    asked = None if not subject else Declared(field=subject, columns=None if columns is None else tuple(columns))
    batch = Batch(workspace)
    database = workspace.views.database()
    files = PersonalFiles(workspace)
    clean: list[Path] = []
    results: list[Added | None] = []  # None: recorded below, once its entry is known
    pending: list[tuple[int, Added]] = []
    for path in paths:
        relative = workspace_path(workspace, path)
        if relative == "." or FOLDER in (relative or "").split("/"):
            raise UsageError(
                f"{path} holds the workspace's own store and cannot be added", hint="Add folders and files inside it."
            )
        label = name if name is not None else relative or path.name
        datasets.check_name(label)
        if any(done and done.name == label for done in results) or any(item.name == label for _, item in pending):
            raise UsageError(f"two of the paths would be versions of {label!r}", hint="Give them names, one by one.")
        heads = datasets.current(database, label)
        datasets.refuse_attached(heads)
        if remember:
            files.recall(path)
        else:
            files.refuse_forgotten(path)
        before = [None if head.key is None else dataset_subjects.declared(workspace, head.event) for head in heads]
        sealed: SealedFile | None = None
        declared: Declared | None = None
        indexed: Indexed | None = None
        uses: list[Edge] = []
        if (
            personal
            or subject is not None
            or (personal is None and (files.is_personal(path) or any(head.key for head in heads)))
        ):
            sealed = files.seal(path)
            stored = sealed.stored
            declared = asked if subject is not None else next((found for found in before if found is not None), None)
        else:
            if personal is False:
                was = [head.content for head in heads if head.key is not None] + [
                    found for _, found in files.copies(path)
                ]
                if was:
                    clean.append(path)
                uses = [Edge(ref=Ref(ref), role="sealed-as", evidence="declared") for ref in dict.fromkeys(was)]
            else:
                files.refuse(path)
            _refuse_keys(workspace, path)
            base = heads[-1].content if heads and heads[-1].key is None else None
            stored = workspace.objects.add(path, ignore=Ignored(workspace.root, path), base=base, progress=progress)
        same = next((head for head in heads if head.content == stored.digest), None)
        is_same = same is not None and same.is_tracked and len(heads) == 1
        if same is not None and is_same and (sealed is None or declared == before[0]):
            results.append(
                Added(
                    reference=f"dataset:{label}@v{same.version}",
                    name=label,
                    version=same.version,
                    event=same.event,
                    index=same.index,
                    content=same.content,
                    type=stored.kind,
                    files=stored.files,
                    size_bytes=stored.size_bytes,
                    new_bytes=stored.new_bytes,
                    is_personal=sealed is not None,
                    is_new=False,
                )
            )
            continue
        if sealed is not None and declared is not None:
            indexed = dataset_subjects.index(workspace, files, path, sealed, declared, heads)
        version = datasets.next_version(database, label)
        event = batch.event(
            "dataset.added",
            uses=edges_or_list(batch, uses),
            makes=(Edge(ref=Ref(stored.digest), role="dataset", evidence="observed", path=relative),),
            body=datasets.added_body(
                name=label,
                version=version,
                content=stored.digest,
                type=stored.kind,
                recipes=stored.recipes,
                files=stored.files,
                size_bytes=stored.size_bytes,
                source=batch.seal(source or None),
                sealed=None if sealed is None else _sealed(batch, sealed, declared, indexed),
            ),
            reason=reason,
            replaces=[head.event for head in heads],
        )
        pending.append(
            (
                len(results),
                Added(
                    reference=f"dataset:{label}@v{version}",
                    name=label,
                    version=version,
                    event=event.id,
                    index=-1,
                    content=stored.digest,
                    type=stored.kind,
                    files=stored.files,
                    size_bytes=stored.size_bytes,
                    new_bytes=stored.new_bytes,
                    is_personal=sealed is not None,
                    is_new=True,
                    people=None if indexed is None else indexed.people,
                    unnamed=0 if indexed is None else indexed.unnamed,
                    unread=() if indexed is None else tuple(display(os.fsencode(file)) for file in indexed.unread),
                ),
            )
        )
        results.append(None)
    if pending:
        appended = batch.append()
        for path in clean:
            files.declare_clean(path)
        indexes = {sequenced.event.id: sequenced.index for sequenced in appended}
        for position, item in pending:
            results[position] = replace(item, index=indexes[item.event])
    pinning.pin(workspace, [result.name for result in results if result is not None])
    return tuple(result for result in results if result is not None)


def _refuse_keys(workspace: Workspace, path: Path) -> None:
    """Raise `UsageError` where a private key would stand in the store in the clear."""
    if path.is_dir():
        is_key = workspace.state is not None and workspace.state.lies_in(path)
    else:
        with open(path, "rb") as file:
            is_key = is_private_key(path, file.read(100))
    if is_key:
        raise UsageError(
            f"{path} holds a private key, and whoever reads the store would have it", hint="Keep it elsewhere."
        )


def _sealed(batch: Batch, sealed: SealedFile, declared: Declared | None, indexed: Indexed | None) -> dict[str, object]:
    said = sealed_body(batch, sealed.key, sealed.parts)
    if declared is not None and indexed is not None:
        said["subjects"] = {
            "field": declared.field,
            "columns": None if declared.columns is None else list(declared.columns),
            "indexes": listed(batch, [{"ref": ref, "index": index} for ref, index in indexed.indexes]),
        }
    return said
