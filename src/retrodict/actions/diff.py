"""`diff`: what changed between two versions, or between one and the working copy."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from retrodict import datasets
from retrodict.actions import attached_rows, attaching, located, pinning
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.places import Ignored
from retrodict.diffs import lines, tables, tensors
from retrodict.diffs.tables import TableChange
from retrodict.diffs.tensors import ArrayChange
from retrodict.kernel.errors import UnknownReferenceError, UsageError
from retrodict.kernel.types import Digest, EntryNumber, is_digest
from retrodict.objects import digest_of, display
from retrodict.workspace import Workspace, sealed_key

if TYPE_CHECKING:
    from retrodict.lakes import LakeRows
    from retrodict.tensors.array import Difference

_FOLDERS: Final = ("tree", "bucket")
WORKING_COPY: Final = "the working copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One name that changed, and as far as it can be told, what in it.

    Attributes:
        path: In the folder, or of the file; of what was removed where it was.
        path_before: Of what was renamed.
        change: "mode": only what kind of file it is.
        kind_before, kind_after: "file", "executable" or "symlink"; None where it is not there.
        table: Of CSV, TSV, JSON lines, Parquet and Arrow files.
        arrays: Of `.npy` and `.npz` files.
        text: Of texts: the first lines of a unified diff, of `text_lines`.
        note: Why nothing is told of what changed inside, where something might be expected.
    """

    path: str
    path_before: str | None
    change: Literal["added", "removed", "changed", "renamed", "mode"]
    kind_before: str | None
    kind_after: str | None
    content_before: Digest | None
    content_after: Digest | None
    size_before: int | None
    size_after: int | None
    table: TableChange | None
    arrays: tuple[ArrayChange, ...] | None
    text: tuple[str, ...] | None
    text_lines: int
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What changed from `before` to `after`; `is_changed`: anything.

    Attributes:
        samples: Of two versions of a tensor, which samples differ; the files are its chunks then.
        table: Of two versions of an attached table, in words, how its rows and columns differ.
        rows: Of a Delta table, which rows do.
    """

    before: str
    after: str
    is_changed: bool
    files: tuple[FileChange, ...]
    samples: Difference | None = None
    table: tuple[str, ...] = ()
    rows: LakeRows | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """A file or a link on one side."""

    digest: Digest
    kind: str
    size: int
    read: Callable[[], bytes] | None  # None: its bytes are not held
    is_personal: bool
    content: Digest | None = None  # where `digest` only stands for the bytes: what they are, if that is known


_Side = Mapping[bytes, _File]


def diff(
    workspace: Workspace,
    before: str | None = None,
    after: str | None = None,
    *,
    key: Sequence[str] = (),
    only_names: bool = False,
    context: int = 3,
    limit: int | None = 40,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Diff:
    """Compare two references; one and the working copy; or everything that is versioned and the working copy.

    Of two, a bare name (no `@`) that is a path below `folder` means what lies there now, as it does to git; a name that
    is none means the current version.

    Args:
        workspace: Where they are.
        before: A dataset's version, a model's, an object; `/` and a path may follow a folder's. None: everything.
        after: Another one; None: what lies at the place of the first in the working copy.
        key: Columns by which the rows of tables are told apart; none: by their order.
        only_names: Do not look into the files.
        context: Equal lines round those of a text that differ.
        limit: Rows and lines that are shown of each file; None: all.
        folder: Where paths begin; None: no name is one.
        environment: Where the credentials for an attached table are looked for; None: only what is held is read.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: What is named has no place in the working copy; a file and a folder are compared; a table has not
            the key's columns.
        RepeatedKeyError: A key cannot tell rows apart.
    """
    tabular, rows = tuple[str, ...](), None
    if before is None:
        old, new = _everything(workspace)
        titles = ("the current versions", WORKING_COPY)
    elif after is None:
        one = located.locate(workspace, before)
        if one.home is None:
            raise UsageError(f"{before} has no place in the working copy", hint="Name a second version.")
        old, new, titles = _compared(workspace, one, _Here(workspace.root / one.home, WORKING_COPY))
    else:
        first, second = (_here(workspace, name, folder) or located.locate(workspace, name) for name in (before, after))
        old, new, titles = _compared(workspace, first, second)
        earlier, later = (None if isinstance(side, _Here) or side.inside else side.attached for side in (first, second))
        if earlier is not None and later is not None:
            tabular, rows = attached_rows.compare(
                workspace, earlier, later, only_names=only_names, limit=limit, environment=environment
            )
            key = key or attached_rows.key_of(later)
    pairs = _pairs(old, new)
    is_strict = len(pairs) == 1  # of many files only some have the key's columns
    changes = tuple(_change(pair, key, only_names, context, limit, is_strict) for pair in pairs)
    return Diff(
        before=titles[0],
        after=titles[1],
        is_changed=bool(changes or tabular),
        files=changes,
        table=tabular,
        rows=rows,
    )


@dataclass(frozen=True, slots=True)
class _Here:
    """What lies at a place of the working copy now, and what it is called."""

    place: Path
    printed: str


def _here(workspace: Workspace, name: str, folder: Path | None) -> _Here | None:
    """Return what a bare name means that is a path; None: it is none, or the name of what is attached."""
    if folder is None or "@" in name or not os.path.lexists(folder / name):
        return None
    with suppress(UnknownReferenceError, UsageError):
        if located.locate(workspace, name).attached is not None:
            return None
    return _Here(Path(os.path.normpath(folder / name)), f"{name} in {WORKING_COPY}")


def _compared(
    workspace: Workspace, one: located.Content | _Here, other: located.Content | _Here
) -> tuple[_Side, _Side, tuple[str, str]]:
    """Return the files on both sides, and what the sides are called.

    Raises:
        UsageError: One is a folder, and the other a file.
    """
    titles = (one.printed, other.printed)
    named = next((side for side in (one, other) if not isinstance(side, _Here)), None)
    if isinstance(one, _Here) or isinstance(other, _Here) or (one.attached is None) != (other.attached is None):
        one, other = (side if isinstance(side, _Here) else _held(workspace, side) for side in (one, other))
    is_folder = [_is_folder(side, named) for side in (one, other)]
    if is_folder[0] != is_folder[1]:
        kinds = ("a file", "a folder")
        raise UsageError(f"{titles[0]} is {kinds[is_folder[0]]}, {titles[1]} is {kinds[is_folder[1]]}")
    trees = [side for side in (one, other) if not isinstance(side, _Here) and side.kind == "tree" and side.key is None]
    if len(trees) == 2:
        return *_changed_folders(workspace, trees[0].digest, trees[1].digest), titles
    # A single file is called alike on both sides.
    name = os.fsencode(os.path.basename(one.place if isinstance(one, _Here) else one.name))
    old, new = (
        _on_disk(workspace, side.place, name, named) if isinstance(side, _Here) else _stored(workspace, side, name)
        for side in (one, other)
    )
    return old, new, titles


def _is_folder(side: located.Content | _Here, named: located.Content | None) -> bool:
    if not isinstance(side, _Here):
        return side.kind in _FOLDERS
    if named is not None and not os.path.lexists(side.place):
        return named.kind == "tree"  # it is gone
    return side.place.is_dir() and not side.place.is_symlink()


def _everything(workspace: Workspace) -> tuple[_Side, _Side]:
    old: dict[bytes, _File] = {}
    new: dict[bytes, _File] = {}
    current = [v for v in datasets.versions(workspace.views.database()) if v.is_current and v.is_tracked and v.path]
    wanted: dict[str, datasets.DatasetVersion] = {}
    for version in pinning.as_pinned(workspace, current):
        if version.name not in wanted or not EntryNumber(version.index).is_of_another_log:
            wanted[version.name] = version  # of two that were set on both sides this workspace's, which lies there
    for version in wanted.values():
        content = located.locate(workspace, version.event)
        place, name = workspace.root / version.path, os.fsencode(version.path)
        for side, found in ((old, _stored(workspace, content, b"")), (new, _on_disk(workspace, place, b"", content))):
            for path, file in found.items():
                side[name + (b"/" + path if path else b"")] = file
    return old, new


def _stored(workspace: Workspace, content: located.Content, name: bytes) -> _Side:
    """Return the files of a version; a single one, or a folder whose names are sealed, is called `name`."""
    if content.attached is not None:
        return _pinned(workspace, content, name)
    if content.kind == "tree" and content.key is None:
        return {
            path: _object(workspace, entry.digest, entry.kind, entry.size)
            for path, entry in located.files_below(workspace, content.digest)
        }
    return {name: _object(workspace, content.digest, content.kind, workspace.objects.size(content.digest))}


def _held(workspace: Workspace, content: located.Content) -> located.Content:
    """Return what is pinned in a bucket as files, if all of them are held."""
    attached = content.attached
    if attached is not None and any(attaching.where(workspace, attached, p) != "held" for p in content.pins.values()):
        raise UsageError(
            f"bytes of {content.printed} are {attaching.ELSEWHERE}, so it cannot be compared with files",
            hint=f"`retrodict fetch --only {content.printed}` brings them.",
        )
    return located.bring(workspace, content, {})


def _pinned(workspace: Workspace, content: located.Content, name: bytes) -> _Side:
    """Return what a version pins, told apart by its digest, or by what the bucket says: tag and size."""
    attached, found = content.attached, dict[bytes, _File]()
    assert attached is not None
    for path, pin in content.pins.items():
        digest = attached.content(pin)
        read = None
        if digest is not None and attaching.where(workspace, attached, pin) == "held":
            read = functools.partial(workspace.objects.get, digest)
        said = pin.digest or Digest(f"{pin.etag} {pin.size_bytes}")
        found[os.fsencode(path) or name] = _File(said, "file", pin.size_bytes, read, is_personal=False, content=digest)
    return found


def _object(workspace: Workspace, digest: Digest, kind: str, size: int) -> _File:
    is_personal = sealed_key(workspace, digest) is not None
    return _File(digest, kind, size, lambda: workspace.objects.get(digest), is_personal)


def _changed_folders(workspace: Workspace, before: Digest, after: Digest) -> tuple[_Side, _Side]:
    """Return the files of two trees that are not the same; folders that both have are not opened."""
    old: dict[bytes, _File] = {}
    new: dict[bytes, _File] = {}
    pending = [(b"", before, after)] if before != after else []
    while pending:
        prefix, one, other = pending.pop()
        a, b = workspace.objects.tree_differences(one, other)
        for name in {*a, *b}:
            x, y = a.get(name), b.get(name)
            if x is not None and y is not None and x.digest == y.digest and x.kind == y.kind:
                continue
            path = prefix + name
            if x is not None and y is not None and x.kind == y.kind == "tree":
                pending.append((path + b"/", x.digest, y.digest))
                continue
            for side, entry in ((old, x), (new, y)):
                if entry is None:
                    continue
                if entry.kind == "tree":
                    for inner, found in located.files_below(workspace, entry.digest):
                        side[path + b"/" + inner] = _object(workspace, found.digest, found.kind, found.size)
                else:
                    side[path] = _object(workspace, entry.digest, entry.kind, entry.size)
    return old, new


def _on_disk(workspace: Workspace, place: Path, name: bytes, of: located.Content | None) -> _Side:
    """Return the files at a place of the working copy, through the stat cache; a single one is called `name`.

    Args:
        workspace: Whose working copy it is.
        place: Where they lie.
        name: Of a single file.
        of: The version that they are compared with, if it is one.
    """
    personal = PersonalFiles(workspace)
    found: dict[bytes, _File] = {}
    if not os.path.lexists(place):
        return found
    if of is not None and of.kind == "tree" and of.key is not None:
        known = personal.find_folder(place) if place.is_dir() else None
        found[name] = _File(known or Digest(""), "tree", 0, bytes, is_personal=True)
        return found
    if not place.is_dir():
        # What a link at a dataset's own place leads to is its content.
        found[name] = _on_disk_file(personal, place, kind="file")
        return found
    top = os.fsencode(place)
    ignored = Ignored(workspace.root, place)
    for folder, below, names in os.walk(top):
        skip = ignored(b"" if folder == top else os.path.relpath(folder, top))
        links = [one for one in below if os.path.islink(os.path.join(folder, one))]
        below[:] = [one for one in below if one not in links and not skip(one, True)]
        for one in [*names, *links]:
            path = os.path.join(folder, one)
            if not skip(one, False):
                found[os.path.relpath(path, top)] = _on_disk_file(personal, Path(os.fsdecode(path)))
    return found


def _on_disk_file(personal: PersonalFiles, path: Path, kind: str | None = None) -> _File:
    status = path.stat() if kind else path.lstat()
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(os.fsencode(path))
        return _File(digest_of(target), "symlink", len(target), lambda: target, is_personal=False)
    known = personal.find(path)
    digest = personal.hash(path) if known is None else known
    kind = kind or ("executable" if status.st_mode & stat.S_IXUSR else "file")
    return _File(digest, kind, status.st_size, path.read_bytes, is_personal=known is not None)


@dataclass(frozen=True, slots=True)
class _Pair:
    path: bytes
    path_before: bytes | None
    old: _File | None
    new: _File | None


def _pairs(old: _Side, new: _Side) -> list[_Pair]:
    """Return what differs, by path; bytes that only changed their name are one pair."""
    gone: dict[Digest, list[bytes]] = {}
    for path in sorted(old.keys() - new.keys()):
        if old[path].size:  # of empty files nobody can tell which became which
            gone.setdefault(old[path].digest, []).append(path)
    found = []
    renamed = set()
    for path in sorted(new):
        before, after = old.get(path), new[path]
        source = None
        if before is None and gone.get(after.digest):
            source = gone[after.digest].pop(0)
            renamed.add(source)
            before = old[source]
        elif before is not None and (before.digest, before.kind) == (after.digest, after.kind):
            continue
        found.append(_Pair(path, source, before, after))
    found += [_Pair(path, None, old[path], None) for path in old.keys() - new.keys() - renamed]
    return sorted(found, key=lambda pair: pair.path)


def _change(
    pair: _Pair, key: Sequence[str], only_names: bool, context: int, limit: int | None, is_strict: bool
) -> FileChange:
    old, new = pair.old, pair.new
    change: Literal["added", "removed", "changed", "renamed", "mode"]
    table, arrays, text, total, note = None, None, None, 0, None
    if old is None or new is None:
        change = "added" if old is None else "removed"
    elif pair.path_before is not None:
        change = "renamed"
    elif old.digest == new.digest:
        change = "mode"
    else:
        change = "changed"
        if old.is_personal or new.is_personal:
            note = "personal: not looked into"
        elif not only_names:
            table, arrays, text, total, note = _inside(pair.path, old, new, key, context, limit, is_strict)
    return FileChange(
        path=display(pair.path),
        path_before=None if pair.path_before is None else display(pair.path_before),
        change=change,
        kind_before=None if old is None else old.kind,
        kind_after=None if new is None else new.kind,
        content_before=_content(old),
        content_after=_content(new),
        size_before=None if old is None else old.size,
        size_after=None if new is None else new.size,
        table=table,
        arrays=arrays,
        text=text,
        text_lines=total,
        note=note,
    )


def _content(file: _File | None) -> Digest | None:
    if file is None or not file.digest:
        return None
    return file.digest if is_digest(file.digest) else file.content


_Inside = tuple[TableChange | None, tuple[ArrayChange, ...] | None, tuple[str, ...] | None, int, str | None]


def _inside(
    path: bytes, old: _File, new: _File, key: Sequence[str], context: int, limit: int | None, is_strict: bool
) -> _Inside:
    """Return what changed in a file: of its rows, its arrays or its lines; or why nothing is told."""
    if old.read is None or new.read is None:
        return None, None, None, 0, f"{attaching.ELSEWHERE}: not looked into"
    name, largest = os.fsdecode(path).lower(), max(old.size, new.size)
    if largest > tables.TABLE_BYTES:
        return None, None, None, 0, "too large to be looked into"
    if name.endswith(tables.SUFFIXES):
        before = tables.read(name, old.read())
        after = None if before is None else tables.read(name, new.read())
        if before is not None and after is not None:
            try:
                return tables.compare(before, after, key=key, limit=limit), None, None, 0, None
            except UsageError as error:
                if is_strict:
                    raise
                return tables.compare(before, after, limit=limit), None, None, 0, f"by order: {error.message}"
    if name.endswith(tensors.SUFFIXES):
        arrays = tensors.compare(old.read(), new.read())
        return None, arrays, None, 0, "no arrays that can be read without running code" if arrays is None else None
    if largest > lines.TEXT_BYTES:
        return None, None, None, 0, "too large to be compared line by line"
    a, b = lines.text_of(old.read()), lines.text_of(new.read())
    if a is None or b is None:
        return None, None, None, 0, None
    text, total = lines.unified(a, b, context=context, limit=limit)
    return None, None, text, total, None
