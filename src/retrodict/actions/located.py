"""What a reference leads to: the bytes of a version, or of a file or folder inside one. No verb."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from retrodict import datasets
from retrodict.actions import names
from retrodict.kernel.errors import AmbiguousReferenceError, UnknownReferenceError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, EventId
from retrodict.models import records as models
from retrodict.objects import TreeEntry
from retrodict.predictions.errors import ErasedError, SealedValuesError
from retrodict.streams import queries as streams
from retrodict.workspace import Workspace, forgotten_by, sealed_key

if TYPE_CHECKING:
    from retrodict.actions.attaching import Attached
    from retrodict.buckets import Pin

# What is attached, derived or personal is seldom asked for: `attaching`, `derivation` and `looks`, 40 ms together, are
# loaded where it is.


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes that a reference names.

    Attributes:
        printed: How tables print the reference; it can be pasted.
        event: The event that made the version; None: an object was named by its digest.
        digest: Of the file, the link's target, or the tree; of what is pinned in a bucket: of the listing.
        kind: What it is: "file", "executable", "symlink" or "tree"; "bucket": what is pinned in a bucket, or a folder
            of that; "pinned": one object of it.
        inside: Its path inside the version; b"" for all of it.
        home: Where it lay, relative to the workspace; None where it lay outside, or nowhere.
        key: Of a personal file.
        attached: Of what is pinned in a bucket.
    """

    printed: str
    event: EventId | None
    digest: Digest
    kind: str
    inside: bytes
    home: str | None
    key: str | None
    attached: Attached | None = None

    @property
    def pins(self) -> Mapping[str, Pin]:
        """What is pinned there, by names in it; one object has the name ""."""
        assert self.attached is not None
        inside = os.fsdecode(self.inside)
        if self.kind == "pinned":
            return {"": self.attached.listing.names[inside]}
        return self.attached.listing.below(inside)

    @property
    def name(self) -> str:
        """The file's own name, as far as it has one: its ending says what the bytes are."""
        return os.fsdecode(self.inside) or self.home or self.printed.rpartition("@")[0] or self.printed


def locate(workspace: Workspace, reference: str, *, environment: Mapping[str, str] | None = None) -> Content:
    """Return what `reference` leads to; after a folder's reference may stand `/` and a path in it.

    Args:
        workspace: Where it is.
        reference: As a person wrote it.
        environment: The variables with which a derived version whose bytes were let go is made again; None: it is not.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there; or the folder holds nothing under the path.
        UsageError: It names no bytes.
    """
    text = reference.rstrip("/") or reference
    try:
        return _version(workspace, text, environment)
    except UnknownReferenceError as error:
        unknown = error
    end = text.rfind("/")
    while end > 0:
        head, tail = text[:end], text[end + 1 :]
        try:
            found = _version(workspace, head, environment)
        except UnknownReferenceError:
            end = text.rfind("/", 0, end)
            continue
        try:
            return below(workspace, found, os.fsencode(tail))
        except UnknownReferenceError:
            if "@" in tail and _is_known(workspace, text.rpartition("@")[0]):
                raise unknown from None  # a dataset's name: it has no such version
            raise
    raise unknown


def _is_known(workspace: Workspace, name: str) -> bool:
    with suppress(UsageError):
        return names.resolve(workspace, name).event is not None
    return False


def entry_in(workspace: Workspace, version: datasets.DatasetVersion, path: bytes) -> TreeEntry | None:
    """Return what lies at a path in a version; None: nothing, or the version is a file."""
    entry: TreeEntry | None = None
    digest, is_folder = version.content, version.type == "tree"
    for part in path.split(b"/"):
        entry = workspace.objects.tree_entry(digest, part) if is_folder else None
        if entry is None:
            return None
        digest, is_folder = entry.digest, entry.kind == "tree"
    return entry


def below(workspace: Workspace, folder: Content, path: bytes) -> Content:
    """Return what lies at `path` in a folder.

    Raises:
        UnknownReferenceError: Nothing does.
        UsageError: It is no folder.
    """
    refuse_personal(folder)
    if folder.attached is not None:
        return _pinned_below(folder, os.fsdecode(path))
    digest, kind = folder.digest, folder.kind
    done: list[bytes] = []
    for part in path.split(b"/"):
        if kind != "tree":
            where = os.fsdecode(b"/".join(done))
            raise UsageError(f"{where or folder.printed} is no folder, so nothing lies in it")
        entry = workspace.objects.tree_entry(digest, part)
        if entry is None:
            known = [os.fsdecode(entry.name) for entry in workspace.objects.list_tree(digest)]
            whole = os.fsdecode(path)
            prefix = "/".join([folder.printed, *map(os.fsdecode, done)])
            near = tuple(f"{prefix}/{name}" for name in names.near(os.fsdecode(part), known))
            raise UnknownReferenceError(f"{folder.printed}/{whole}", near)
        digest, kind = entry.digest, entry.kind
        done.append(part)
    home = None if folder.home is None else f"{folder.home}/{os.fsdecode(path)}"
    printed = f"{folder.printed}/{os.fsdecode(path)}"
    inside = folder.inside + b"/" + path if folder.inside else path
    return replace(folder, printed=printed, digest=digest, kind=kind, inside=inside, home=home)


def _pinned_below(folder: Content, path: str) -> Content:
    if folder.kind == "pinned":
        raise UsageError(f"{folder.printed} is no folder, so nothing lies in it")
    known, printed = folder.pins, f"{folder.printed}/{path}"
    inside = folder.inside + b"/" + os.fsencode(path) if folder.inside else os.fsencode(path)
    if path in known:
        return replace(folder, printed=printed, inside=inside, kind="pinned")
    if any(name.startswith(f"{path}/") for name in known):
        return replace(folder, printed=printed, inside=inside)
    raise UnknownReferenceError(printed, tuple(f"{folder.printed}/{name}" for name in names.near(path, list(known))))


def bring(
    workspace: Workspace,
    content: Content,
    environment: Mapping[str, str],
    *,
    place: str | None = None,
    progress: Progress | None = None,
) -> Content:
    """Return what is pinned in a bucket as a file or folder whose bytes are held, fetched where they are not.

    What is pinned in no bucket is returned as it is.

    Args:
        place: As `attaching.bring` has it.

    Raises:
        UsageError: It cannot lie in a folder.
        BucketError, PinGoneError, PinAlteredError: See there.
    """
    attached = content.attached
    if attached is None:
        return content
    from retrodict.actions import attaching

    attaching.refuse_unkept(attached)
    folder = {} if content.kind == "pinned" else attaching.as_folder(content.pins)
    found = attaching.bring(workspace, attached, content.pins, environment=environment, place=place, progress=progress)
    if content.kind == "pinned":
        return replace(content, digest=found[""], kind="file", attached=None)
    tree = attaching.as_tree(workspace, folder, found)
    return replace(content, digest=tree, kind="tree", attached=None)


def refuse_personal(found: Content) -> None:
    """Do nothing, unless it is a personal folder: what it holds, its names too, is sealed.

    Raises:
        SealedValuesError: It is.
    """
    if found.kind == "tree" and found.key is not None:
        raise SealedValuesError(
            f"{found.printed} is a personal folder, and its names are sealed", hint="`retrodict checkout` opens it."
        )


def _version(workspace: Workspace, reference: str, environment: Mapping[str, str] | None) -> Content:
    try:
        resolved = names.resolve(workspace, reference)
    except AmbiguousReferenceError as error:
        # The name of a run or a model may be that of a dataset too; only one of them has the bytes that were asked for.
        datasets_only = [c for c in error.candidates if c.startswith("dataset:")]
        if len(datasets_only) != 1 or reference.startswith("b3-"):
            raise
        resolved = names.resolve(workspace, datasets_only[0])
    database = workspace.views.database()
    content, home = resolved.object, None
    is_folder = False  # what a personal folder is kept as is no tree
    named = datasets.find(database, event=resolved.event) if resolved.event else []
    for dataset in named or (datasets.find(database, content=content) if content else []):
        is_folder = dataset.type == "tree"
        if dataset.is_attached and named:
            from retrodict.actions import attaching

            return Content(
                printed=dataset.label,
                event=dataset.event,
                digest=dataset.content,
                kind="bucket",
                inside=b"",
                home=None,
                key=None,
                attached=attaching.read(workspace, dataset),
            )
    if resolved.event is not None:
        for dataset in named:
            content, home = dataset.content, dataset.path or None
            is_derived = environment is not None and dataset.recipe is not None
            if is_derived and workspace.objects.state(content) == "missing":
                from retrodict.actions import derivation

                derivation.materialize(workspace, dataset, environment or {})
        for model in models.find(database, event=resolved.event):
            content = model.content
    if content is None:
        hint = "Name a dataset, a model or an object (b3-...); `show` lists them."
        if resolved.event is not None and streams.append_of(database, resolved.event) is not None:
            hint = (
                f"It names records of a stream: `retrodict stream read {reference}` gives them, `--out FILE` as a file."
            )
            appended = workspace.logs.find(resolved.event)
            if appended is not None and appended.event.body.get("table") is not None:
                hint = (
                    f"It names a version of a table: `retrodict table at {reference}` gives its records, "
                    "`retrodict table diff FIRST SECOND` says what changed."
                )
        raise UsageError(f"{reference} names no bytes", hint=hint)
    return Content(
        printed=named[0].label if named else resolved.printed,
        event=resolved.event,
        digest=content,
        kind="tree" if is_folder or workspace.objects.is_tree(content) else "file",
        inside=b"",
        home=home,
        key=sealed_key(workspace, content),
    )


def stream(workspace: Workspace, content: Content) -> Iterator[bytes]:
    """Yield the bytes of a file, verified piece by piece; a personal one is opened, and that it was is recorded.

    Raises:
        UsageError: It is a folder.
        MissingObjectError, AlteredObjectError: Its bytes are not held as they were.
        ErasedError, SealedValuesError: It is personal, and its key is gone or not here, or no look can be recorded.
    """
    if content.kind in ("tree", "bucket"):
        if content.attached is not None:
            from retrodict.actions import attaching

            attaching.refuse_unkept(content.attached)
        raise UsageError(
            f"{content.printed} is a folder", hint=f"`retrodict ls {content.printed}` lists what is in it."
        )
    if content.key is None:
        return workspace.objects.stream(content.digest)
    from retrodict.actions import looks

    looks.record_file(workspace, content.digest)
    opened = (
        None
        if workspace.keys is None
        else workspace.keys.open_file(content.key, workspace.objects.stream(content.digest))
    )
    if opened is None:
        entry = forgotten_by(workspace, content.key)
        raise (
            SealedValuesError("sealed: the key of this file is not held here") if entry is None else ErasedError(entry)
        )
    return iter(opened)


def files_below(workspace: Workspace, digest: Digest) -> Iterator[tuple[bytes, TreeEntry]]:
    """Yield (path, entry) of every file and link in a tree."""
    return ((path, entry) for path, entry in workspace.objects.walk(digest) if entry.kind != "tree")
