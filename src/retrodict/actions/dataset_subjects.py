"""Whose rows stand in which versions of personal files: indexes, sealed as the files are, under their keys. No verb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from retrodict import datasets
from retrodict.actions.personal_files import PersonalFiles, SealedFile
from retrodict.datasets import DatasetVersion, Declared, NoSubjectsError, subjects
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.types import Digest, EventId
from retrodict.models.subjects import identity_of
from retrodict.workspace import Workspace, forgotten_by, sealed_objects, subject_indexes

_TOGETHER_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """The people of a version.

    Attributes:
        indexes: Of each file that was looked into its object, and that of its sealed index.
        people: How many different people there are; `unnamed` how many rows name nobody.
        unread: The files that are no tables, or have no such column.
    """

    indexes: tuple[tuple[Digest, Digest], ...]
    people: int
    unnamed: int
    unread: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRows:
    """A person's rows in one file; `is_alone`: there are no others in it. `index` is its index, opened."""

    content: Digest
    key: str
    rows: int
    is_alone: bool
    index: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRows:
    """A person's rows in one version of a dataset."""

    version: DatasetVersion
    declared: Declared
    files: tuple[FileRows, ...]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(file.rows for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRows:
    """All of a person's rows in personal files, as far as it is known.

    Attributes:
        unknown: The datasets of which it is not known whose rows they hold, wholly or in part.
    """

    versions: tuple[VersionRows, ...]
    unknown: tuple[str, ...]


def declared(workspace: Workspace, event: EventId) -> Declared | None:
    """Return what was declared of a version."""
    return Declared.of(_body(workspace, event).get("sealed"))


def index(
    workspace: Workspace,
    files: PersonalFiles,
    path: Path,
    sealed: SealedFile,
    wanted: Declared,
    heads: Iterable[DatasetVersion],
) -> Indexed:
    """Index what was sealed; files that an earlier version holds are not read again.

    Raises:
        NoSubjectsError: None of it is a table with such columns.
        UsageError: A file changed after it was sealed.
    """
    keys = workspace.keys
    assert keys is not None  # it was sealed with them
    parts = list(zip(sealed.parts, sealed.paths, strict=True)) or [((sealed.stored.digest, sealed.key), path)]
    known: dict[Digest, Digest] = {}
    for head in heads:
        if declared(workspace, head.event) == wanted:
            known |= _indexes(_body(workspace, head.event), workspace)
    found: dict[Digest, Digest] = {}
    opened: list[bytes] = []
    unread: list[tuple[Path, NoSubjectsError]] = []
    new: dict[Digest, bytes] = {}

    def keep() -> None:
        found.update(zip(new, workspace.objects.put_many(new.values()), strict=True))
        new.clear()

    for (ref, key), file in parts:
        if ref in found or ref in new:
            continue
        held = keys.open_sealed(key, workspace.objects.get(known[ref])) if ref in known else None
        if held is not None:
            found[ref] = known[ref]
            opened.append(held)
            continue
        try:
            made = subjects.index(file, wanted, identity_of)
        except NoSubjectsError as error:
            unread.append((file, error))
            continue
        if files.find(file) != ref:
            raise UsageError(f"{file} changed while it was read", hint="Try again.")
        opened.append(made)
        new[ref] = keys.seal_under(key, made)
        if sum(map(len, new.values())) > _TOGETHER_BYTES:
            keep()
    keep()
    if not found:
        raise unread[0][1] if unread else NoSubjectsError(f"{path} holds no table")
    people, unnamed = subjects.counts(opened)
    return Indexed(
        indexes=tuple(sorted(found.items())),
        people=people,
        unnamed=unnamed,
        unread=tuple(file for file, _ in unread),
    )


def rows_of(workspace: Workspace, identity: str) -> PersonRows:
    """Return where a person's rows stand. What was forgotten, and what is not personal, is not looked at."""
    versions: list[VersionRows] = []
    unknown: dict[str, None] = {}
    seen: dict[Digest, FileRows | None] = {}
    for version in datasets.versions(workspace.views.database()):
        if version.key is None:
            continue
        body = _body(workspace, version.event)
        wanted = Declared.of(body.get("sealed"))
        indexes = _indexes(body, workspace)
        files: list[FileRows] = []
        for ref, key in sealed_objects(body, workspace.objects.get):
            content = Digest(ref)
            if (version.type == "tree" and content == version.content) or forgotten_by(workspace, key) is not None:
                continue
            if wanted is None:
                unknown[version.name] = None
                break  # nothing is known of its other files either
            if content not in indexes:
                unknown[version.name] = None
                continue
            place = indexes[content]
            if place not in seen:
                try:
                    seen[place] = _file_rows(workspace, content, key, place, identity)
                except RetrodictError:  # its key is not held, or its bytes are not as they were
                    unknown[version.name] = None
                    continue
            if (file := seen[place]) is not None:
                files.append(file)
        if files and wanted is not None:
            versions.append(VersionRows(version=version, declared=wanted, files=tuple(files)))
    return PersonRows(versions=tuple(versions), unknown=tuple(unknown))


def _file_rows(workspace: Workspace, content: Digest, key: str, place: Digest, identity: str) -> FileRows | None:
    opened = None if workspace.keys is None else workspace.keys.open_sealed(key, workspace.objects.get(place))
    if opened is None:
        raise UsageError("its key is not held here")
    held = subjects.held(opened, identity)
    if held is None:
        return None
    return FileRows(content=content, key=key, rows=held.rows, is_alone=held.is_alone, index=opened)


def _body(workspace: Workspace, event: EventId) -> Mapping[str, object]:
    sequenced = workspace.logs.find(event)
    assert sequenced is not None
    return sequenced.event.body


def _indexes(body: Mapping[str, object], workspace: Workspace) -> dict[Digest, Digest]:
    return {Digest(ref): Digest(found) for ref, found in subject_indexes(body, workspace.objects.get)}
