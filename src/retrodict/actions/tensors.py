"""`tensor create`, `import`, `list`, `show`, `read`, `diff`, and new versions of a few chunks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrodict import datasets, exposure, runs
from retrodict.actions import looks, names
from retrodict.actions.held_source import source_of
from retrodict.actions.personal_files import PersonalFiles, sealed_body
from retrodict.actions.sealed_tensors import SealedObjects
from retrodict.kernel.durable import write_named
from retrodict.kernel.errors import (
    MissingExtraError,
    RetrodictError,
    UnavailableError,
    UnknownReferenceError,
    UsageError,
)
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.tensors import IDS, NoTensorError, TensorConflictError
from retrodict.workspace import Batch, Workspace

if TYPE_CHECKING:
    import numpy as np

    from retrodict.tensors.array import Difference, SampleId
    from retrodict.tensors.store import Changes, Objects, ObjectsStore

_SHOWN_IDS = 5
_SLICE = re.compile(r"(?P<start>-?\d+)?(?P<colon>:)?(?P<stop>-?\d+)?(?::(?P<step>\d+))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorShown:
    """One version of a tensor.

    Attributes:
        reference: What to paste: `dataset:NAME@vN`.
        samples: The length of the first axis.
        ids: The first sample ids; empty where there are none, or they are personal. `has_ids` says which.
        is_personal: It is sealed whole.
        index: The entry that added it; `is_new` False: the bytes were those of the current version already.
    """

    reference: str
    name: str
    version: int
    content: Digest
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    samples: int
    has_ids: bool
    ids: tuple[str | int, ...]
    size_bytes: int
    index: int
    is_new: bool = False
    is_personal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """The newest version of each tensor."""

    rows: tuple[TensorShown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRead:
    """A slice of a version. `values` is nested lists, None where they went to the file `path`."""

    reference: str
    shape: tuple[int, ...]
    dtype: str
    values: object
    path: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDiff:
    """What differs between two versions; see `retrodict.tensors.array.Difference`."""

    first: str
    second: str
    is_same: bool
    difference: Difference


def needed() -> None:
    """Do nothing where zarr is installed.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import zarr  # noqa: F401 - 400 ms, and an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("an array by version", "tensors") from error


def find(workspace: Workspace, reference: str) -> datasets.DatasetVersion:
    """Return the version that a reference means.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It is no dataset.
        NoTensorError: It holds no array.
        ErasedError, SealedValuesError: It is personal, and was forgotten, or its key is not held here.
    """
    resolved = names.resolve(workspace, reference)
    found = [] if resolved.event is None else datasets.find(workspace.views.database(), event=resolved.event)
    if not found:
        raise UsageError(f"{reference} is no dataset", hint="`retrodict tensor list` lists the tensors.")
    if found[0].key is not None:
        _opened(workspace, found[0])  # says why, where it cannot be
    if not _is_tensor(workspace, found[0]):
        raise NoTensorError(f"{reference} holds no array of Zarr version 3")
    return found[0]


def _is_tensor(workspace: Workspace, version: datasets.DatasetVersion) -> bool:
    if version.type != "tree" or not workspace.objects.has(version.content):
        return False
    objects, root = _opened(workspace, version)
    return objects.tree_entry(root, b"zarr.json") is not None


def _opened(workspace: Workspace, version: datasets.DatasetVersion) -> tuple[Objects, Digest]:
    """Return where the files of a version lie, and its tree there.

    Raises:
        ErasedError, SealedValuesError: It is personal, and its key is gone, or not held here.
    """
    if version.key is None:
        return workspace.objects, version.content
    if version.type != "tree":
        raise NoTensorError(f"{label(version)} is a file")
    objects = SealedObjects(workspace)
    return objects, objects.opened(version.content, version.key)


def note_look(workspace: Workspace, *versions: datasets.DatasetVersion) -> None:
    """Record that personal versions are looked at; before they are.

    Raises:
        SealedValuesError: That cannot be recorded here.
    """
    for version in versions:
        if version.key is not None:
            looks.record_file(workspace, version.content, by="tensor")


def open_store(workspace: Workspace, version: datasets.DatasetVersion) -> ObjectsStore:
    """Return the store of a version, to be read.

    Raises:
        MissingExtraError: zarr is not installed.
    """
    needed()
    from retrodict.tensors.store import Files, ObjectsStore  # brings zarr

    objects, root = _opened(workspace, version)
    return ObjectsStore(objects, Files(objects, root))


def label(version: datasets.DatasetVersion) -> str:
    """Return what to paste for a version."""
    return f"dataset:{version.name}@v{version.version}"


def note_read(workspace: Workspace, version: datasets.DatasetVersion, run: EventId) -> None:
    """Record that a run has read a version: it becomes one of the run's inputs."""
    batch = Batch(workspace)
    edge = Edge(ref=Ref(version.content), role="tensor", evidence="observed", made_by=version.event)
    is_personal = version.key is not None
    body = runs.read_body(run=run, what=label(version), digest=version.content, is_personal=is_personal)
    event = batch.event("run.read", uses=(edge,), makes=(), body=body)
    batch.append()
    if is_personal:
        exposure.note(workspace, event.id)


def list_tensors(workspace: Workspace) -> Tensors:
    """Return the newest version of each tensor."""
    rows = []
    for version in datasets.versions(workspace.views.database()):
        # A group, or an older version of Zarr; or it is personal, and cannot be opened here.
        with contextlib.suppress(NoTensorError, UnavailableError):
            if version.is_current and _is_tensor(workspace, version):
                rows.append(_shown(workspace, version))
    return Tensors(rows=tuple(rows))


def show(workspace: Workspace, reference: str) -> TensorShown:
    """Return one version. Raises as `find` does."""
    return _shown(workspace, find(workspace, reference))


def _shown(workspace: Workspace, version: datasets.DatasetVersion, *, is_new: bool = False) -> TensorShown:
    store = open_store(workspace, version)
    from retrodict.tensors.array import facts, ids_of, open_array  # brings zarr

    found, ids = facts(open_array(store)), ids_of(store)
    return TensorShown(
        reference=label(version),
        name=version.name,
        version=version.version,
        content=version.content,
        shape=found.shape,
        dtype=found.dtype,
        chunks=found.chunks,
        samples=found.shape[0] if found.shape else 1,
        has_ids=ids is not None,
        ids=tuple(ids or ())[:_SHOWN_IDS] if version.key is None else (),
        size_bytes=version.size_bytes,
        index=version.index,
        is_new=is_new,
        is_personal=version.key is not None,
    )


def create(
    workspace: Workspace,
    name: str,
    shape: Sequence[int],
    dtype: str,
    *,
    chunks: Sequence[int] | None = None,
    fill: float = 0,
    ids: Path | None = None,
    personal: bool = False,
    reason: str | None = None,
) -> TensorShown:
    """Make a tensor in which every value is `fill`.

    Args:
        personal: It will be about people: each version is sealed, as personal folders are.

    Raises:
        UsageError: There is one of this name, or no such array can be.
    """
    if datasets.current(workspace.views.database(), name):
        raise UsageError(f"there is {name} already", hint="`rd.new_version` changes a part of it.")
    draft = Draft(workspace, name, None, personal=personal)
    from retrodict.tensors import array  # brings zarr

    array.create(draft.store, shape, dtype, chunks=chunks, fill=fill)
    return draft.save(ids=None if ids is None else read_ids(ids), reason=reason)


def import_array(
    workspace: Workspace,
    name: str,
    path: Path,
    *,
    chunks: Sequence[int] | None = None,
    ids: Path | None = None,
    personal: bool | None = None,
    reason: str | None = None,
) -> TensorShown:
    """Version an array: a `.npy` file, or the folder of a Zarr v3 array; only chunks that are new are kept.

    Args:
        chunks: The shape of chunks, for a `.npy` file; by default as the version before it has, else at most 64 KiB.
        ids: A file with a name for each sample along the first axis: `.npy`, or text with one on each line. By default
            those of the version before it, where there are as many.
        personal: It is about people: sealed, as personal folders are. False: it is not, or no longer, for a reason that
            is given. None: as the version before it, or the files that it comes from.

    Raises:
        NoTensorError: It is neither.
        UsageError: It does not exist, or there are other ids than samples.
    """
    datasets.check_name(name)
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    heads = datasets.current(workspace.views.database(), name)
    files = PersonalFiles(workspace)
    if personal is False and not (reason or "").strip():
        raise UsageError("what was personal is declared clean for a reason", hint='Add --reason "...".')
    if personal is None:
        given_files = [path] if ids is None else [path, ids]
        personal = any(head.key is not None for head in heads) or any(map(files.is_personal, given_files))
        if not personal:
            files.refuse(path)
    base = heads[0] if len(heads) == 1 and _is_readable(workspace, heads[0]) else None
    given, then = None if ids is None else read_ids(ids), path.stat()
    if path.is_dir():
        if chunks is not None:
            raise UsageError("the chunks of a Zarr folder stay as they are", hint="Leave --chunks out.")
        if personal:
            draft = Draft(workspace, name, base, personal=True)
            draft.take(path)
        else:
            stored = workspace.objects.add(path)
            draft = Draft(workspace, name, base, content=stored.digest, files=stored.files)
    else:
        draft = Draft(workspace, name, base, personal=personal)
        _fill(draft, path, chunks)
    if given is None and base is not None:
        from retrodict.tensors.array import ids_of  # brings zarr

        before = ids_of(open_store(workspace, base))
        given = before if before is not None and len(before) == draft.samples() else None
    return draft.save(ids=given, reason=reason, uses=source_of(workspace, path, then, is_personal=personal))


def write_array(
    workspace: Workspace,
    name: str,
    values: Any,
    *,
    chunks: Sequence[int] | None = None,
    ids: Sequence[SampleId] | None = None,
    personal: bool | None = None,
    reason: str | None = None,
) -> TensorShown:
    """Version an array of numpy, or what numpy makes one of; only chunks that are new are kept.

    Args, Raises: as `import_array`.
    """
    needed()
    import numpy as np  # an extra

    datasets.check_name(name)
    heads = datasets.current(workspace.views.database(), name)
    if personal is False and not (reason or "").strip():
        raise UsageError("what was personal is declared clean for a reason", hint="Give `reason`.")
    if personal is None:
        personal = any(head.key is not None for head in heads) or exposure.find(workspace) is not None
    base = heads[0] if len(heads) == 1 and _is_readable(workspace, heads[0]) else None
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise UsageError("the values are no array: their parts are of several shapes") from error
    draft = Draft(workspace, name, base, personal=personal)
    _fill_from(draft, array, chunks)
    return draft.save(ids=ids, reason=reason)


def _is_readable(workspace: Workspace, version: datasets.DatasetVersion) -> bool:
    try:
        return _is_tensor(workspace, version)
    except (NoTensorError, UnavailableError):  # it was forgotten: the next version goes on without it
        return False


def _fill(draft: Draft, path: Path, chunks: Sequence[int] | None) -> None:
    import numpy as np  # an extra

    try:
        source = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        is_npy = path.is_file() and _begins(path) == b"\x93NUMPY"
        because = f": {error}" if is_npy else ""  # of any other file numpy says that it may be a pickle
        raise NoTensorError(f"{path} is no .npy file with numbers{because}") from error
    if not isinstance(source, np.ndarray):
        raise NoTensorError(f"{path} holds several arrays, and a tensor is one")
    _fill_from(draft, source, chunks)


def _fill_from(draft: Draft, source: Any, chunks: Sequence[int] | None) -> None:
    from retrodict.tensors import array  # brings zarr

    if chunks is None and draft.base is not None:
        before = array.open_array(open_store(draft.workspace, draft.base))
        if before.shape[1:] == source.shape[1:] and before.dtype == source.dtype:
            chunks = before.chunks
    made = array.create(draft.store, source.shape, source.dtype, chunks=chunks, fill=0)
    array.fill(made, source)


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)


def read_ids(path: Path) -> list[SampleId]:
    """Read sample ids from a file: a `.npy` of text or whole numbers, `.jsonl`, or text with one id on each line.

    Raises:
        UsageError: It cannot be read, or holds what cannot be an id.
    """
    needed()
    import numpy as np  # an extra

    from retrodict.tensors.array import check_ids  # brings zarr

    try:
        if path.suffix == ".npy":
            found = [item.item() for item in np.load(path, allow_pickle=False).reshape(-1)]
        elif path.suffix == ".jsonl":
            found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        else:
            found = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"no sample ids can be read from {path}: {error}") from error
    check_ids(found)
    return found


class Draft:
    """The next version of a tensor, while it is written; nothing is on record before `save`.

    Attributes:
        store: What zarr writes through.
        base: The version that it was begun from; None: there is none.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        base: datasets.DatasetVersion | None,
        *,
        content: Digest | None = None,
        files: int = 0,
        goes_on: bool = False,
        personal: bool = False,
    ) -> None:
        """Begin with the files of `base` (`goes_on`), of a tree that is stored, or with none.

        Args:
            personal: Seal it; what goes on from a personal version is sealed anyway.
        """
        needed()
        from retrodict.tensors.store import Changes, Files, ObjectsStore  # brings zarr

        datasets.check_name(name)
        self.workspace = workspace
        self.name = name
        self.base = base
        self._goes_on = goes_on
        self._files = base.files if goes_on and base is not None else files
        self._sealed: SealedObjects | None = None
        objects: Objects = workspace.objects
        if goes_on and base is not None:
            objects, content = _opened(workspace, base)
        elif personal:
            objects = SealedObjects(workspace)
        if isinstance(objects, SealedObjects):
            self._sealed = objects
        # Chunks are stored as they come: what is read inside the block may be personal.
        check = partial(exposure.refuse, workspace, f"the tensor {name}") if goes_on and self._sealed is None else None
        self._changes: Changes = Changes(objects, Files(objects, content), check)
        self.store: ObjectsStore = ObjectsStore(objects, self._changes.files, self._changes)

    def take(self, folder: Path) -> None:
        """Begin with the files of a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._changes.set(path.relative_to(folder).as_posix(), path.read_bytes())

    def samples(self) -> int:
        """Return the length of the first axis."""
        from retrodict.tensors.array import open_array  # brings zarr

        shape = open_array(self.store).shape
        return shape[0] if shape else 1

    def save(self, *, ids: Sequence[SampleId] | None, reason: str | None, uses: Sequence[Edge] = ()) -> TensorShown:
        """Record the version; durable when it returns.

        Args:
            ids: For each sample; None: those that are there, if any.

        Raises:
            UsageError: There are other ids than samples.
            TensorConflictError: Another version came in between, and changed what this one changes.
        """
        from retrodict.tensors.array import check_ids, encode_ids, ids_of  # brings zarr

        if ids is not None:
            check_ids(ids)
            self._changes.set(IDS, encode_ids(ids))
        found = ids_of(self.store)
        if found is not None and len(found) != self.samples():
            raise UsageError(
                f"{self.name} has {self.samples()} samples, and there are {len(found)} sample ids",
                hint="Give an id for each: --ids, or `ids=` of `rd.new_version`.",
            )
        workspace = self.workspace
        self._changes.flush()
        with _locked(workspace):
            database = workspace.views.database()
            heads = datasets.current(database, self.name)
            files, onto = self._files, self._changes.files
            if self._goes_on and self.base is not None and [head.event for head in heads] != [self.base.event]:
                files, onto = self._moved_on(heads)
            content, more = self._changes.save(onto)
            objects: Objects = workspace.objects if self._sealed is None else self._sealed
            size_bytes = sum(entry.size for entry in objects.list_tree(content))
            sealed = None if self._sealed is None else self._sealed.seal(content)
            content = content if sealed is None else sealed.stored.digest
            same = next((head for head in heads if head.content == content), None)
            if same is not None and len(heads) == 1:
                return _shown(workspace, same)
            version = datasets.next_version(database, self.name)
            uses = [*uses, *self._base_edges(heads)]
            batch = Batch(workspace)
            event = batch.event(
                "dataset.added",
                uses=uses,
                makes=(Edge(ref=Ref(content), role="dataset", evidence="observed"),),
                body={
                    **datasets.added_body(
                        name=self.name,
                        version=version,
                        content=content,
                        type="tree",
                        recipes=None if sealed is None else sealed.stored.recipes,
                        files=files + more,
                        size_bytes=size_bytes,
                        source=None,
                        sealed=None if sealed is None else sealed_body(batch, sealed.key, sealed.parts),
                    ),
                    "strategy": "tensors",
                },
                reason=reason,
                replaces=[head.event for head in heads],
            )
            batch.append()
        (added,) = datasets.find(workspace.views.database(), event=event.id)
        return _shown(workspace, added, is_new=True)

    def _base_edges(self, heads: Sequence[datasets.DatasetVersion]) -> list[Edge]:
        """Return the edges to the versions whose chunks go on in this one."""
        if not self._goes_on or self.base is None:
            return []
        versions = {version.event: version for version in (self.base, *heads)}
        return [
            Edge(ref=Ref(version.content), role="version", evidence="observed", made_by=version.event)
            for version in versions.values()
        ]

    def _moved_on(self, heads: Sequence[datasets.DatasetVersion]) -> tuple[int, Any]:
        """Return the newest version's files, where nothing that changed there has changed here."""
        from retrodict.tensors.store import Files  # brings zarr

        head = heads[0] if len(heads) == 1 else None
        sealed_too = head is not None and (head.key is None) == (self._sealed is None)
        if head is None or not sealed_too or not _is_tensor(self.workspace, head):
            raise TensorConflictError(f"{self.name} was given another kind of version, or several, in between")
        root = head.content if self._sealed is None else self._sealed.opened(head.content, head.key or "")
        objects: Objects = self.workspace.objects if self._sealed is None else self._sealed
        now, before = Files(objects, root), self._changes.files
        theirs = {key: entry.digest for key, entry in now.walk()}
        ours = {key: entry.digest for key, entry in before.walk()}
        both = sorted(key for key in self._changes.changed if theirs.get(key) != ours.get(key))
        shape = {"zarr.json", IDS} & self._changes.changed.keys()
        if both or (shape and any(theirs.get(key) != ours.get(key) for key in theirs.keys() | ours.keys())):
            what = ", ".join(both[:3]) or "its shape or ids"
            raise TensorConflictError(f"{self.name} is at v{head.version} by now, which has changed {what} too")
        return head.files, now


@contextlib.contextmanager
def _locked(workspace: Workspace) -> Iterator[None]:
    """Be the only one who records a version of a tensor; the kernel frees the lock of a process that dies."""
    descriptor = os.open(workspace.folder / "tensors.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def begin(workspace: Workspace, name: str) -> Draft:
    """Begin the next version of a tensor from its newest.

    Raises:
        UnknownReferenceError: There is none of this name.
        UsageError: It has two newest versions, or holds no array.
    """
    asked = name.removeprefix("dataset:")
    heads = datasets.current(workspace.views.database(), asked)
    if not heads:
        known = sorted({version.name for version in datasets.versions(workspace.views.database())})
        raise UnknownReferenceError(asked, names.near(asked, known))
    if len(heads) > 1:
        raise UsageError(f"{asked} has {len(heads)} newest versions", hint="Settle which one it is first.")
    base = find(workspace, label(heads[0]))
    note_look(workspace, base)
    return Draft(workspace, asked, base, goes_on=True)


def read(workspace: Workspace, reference: str, slices: str = "", *, out: Path | None = None) -> TensorRead:
    """Read a slice of a version, without a checkout.

    Args:
        slices: As in numpy: `0:10,:,3`; nothing: all of it.
        out: A `.npy` file to write it to.

    Raises:
        UsageError: It is no slice of this array, or the file cannot be written. And as `find` does.
    """
    version = find(workspace, reference)
    store = open_store(workspace, version)
    note_look(workspace, version)
    import numpy as np  # an extra

    from retrodict.tensors.array import open_array  # brings zarr

    array = open_array(store)
    index = parse_slices(slices)
    try:
        values = np.asarray(array[index] if index else array[...])
    except (IndexError, ValueError) as error:
        raise UsageError(f"[{slices}] is no part of an array of shape {list(array.shape)}: {error}") from error
    if out is not None:
        try:
            write_named(out, _npy(values))
        except OSError as error:
            raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    return TensorRead(
        reference=label(version),
        shape=values.shape,
        dtype=str(values.dtype),
        values=values.tolist() if out is None else None,
        path=None if out is None else str(out),
    )


def _npy(values: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    """Yield an array as a .npy file. Unlike numpy's own writer it can go into a pipe, and copies nothing."""
    import numpy as np  # an extra

    if values.dtype.hasobject:  # its bytes are addresses
        raise UsageError(f"a .npy file cannot hold {values.dtype}")
    values = np.asarray(values, order="C")
    head = BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(values))
    yield head.getbuffer()
    if values.nbytes:
        yield values.reshape(-1).view(np.uint8).data


def parse_slices(text: str) -> tuple[slice | int, ...]:
    """Return what is between the brackets of numpy's indexing: whole numbers and slices.

    Raises:
        UsageError: It is something else.

    >>> parse_slices("0:10,:,3")
    (slice(0, 10, None), slice(None, None, None), 3)
    """
    parts: list[slice | int] = []
    for part in text.strip("[] ").split(",") if text.strip("[] ") else []:
        match = _SLICE.match(part.strip())
        if match is None or not (match["colon"] or match["start"]):
            raise UsageError(f"{part!r} is no slice", hint="Write 3, 0:10, 5: or 0:100:2 for each axis, with commas.")
        start, stop, step = (None if match[name] is None else int(match[name]) for name in ("start", "stop", "step"))
        if match["colon"] is None:
            assert start is not None
            parts.append(start)
        else:
            parts.append(slice(start, stop, step))
    return tuple(parts)


def diff(workspace: Workspace, first: str, second: str) -> TensorDiff:
    """Say which samples differ between two versions. Raises as `find` does."""
    one, other = find(workspace, first), find(workspace, second)
    a, b = open_store(workspace, one), open_store(workspace, other)
    note_look(workspace, one, other)
    from retrodict.tensors.array import compare  # brings zarr

    found = compare(a, b)
    is_same = not (found.layout or found.added or found.removed or found.changed or found.moved)
    return TensorDiff(first=label(one), second=label(other), is_same=is_same, difference=found)


def compared(workspace: Workspace, first: str, second: str) -> Difference | None:
    """Return which samples differ, where both references are tensors that can be read without a look; else None."""
    with contextlib.suppress(RetrodictError):
        one, other = find(workspace, first), find(workspace, second)
        if one.key is None and other.key is None:
            return diff(workspace, first, second).difference
    return None
