"""`dataset.added`, `dataset.derived` and `dataset.attached`: their bodies, their queries."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, EntryNumber, EventId

if TYPE_CHECKING:
    import apsw


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersion:
    """One version of a named file or folder.

    Attributes:
        event: The `dataset.added`, `dataset.derived` or `dataset.attached` event; `index` is its entry.
        content: The file or the tree; of what is attached the listing that pins it.
        path: Where it lay, relative to the workspace ("" where it lay outside).
        key: Of a personal file: what opens `content`, which is its ciphertext; None: it is not personal.
        is_current: No later version has replaced it.
        is_tracked: Nobody has said since that it is no longer followed.
        recipe: Of a derived version: the object that says how to make it again (`recipe.py`); None: it was added.
        cpu_us: Of a derived version: the CPU time that making it took, in microseconds.
    """

    event: EventId
    index: int
    name: str
    version: int
    content: Digest
    type: Literal["file", "tree", "bucket", "delta", "iceberg", "table"]
    files: int
    size_bytes: int
    path: str
    key: str | None
    at: str
    agent: str
    is_current: bool
    is_tracked: bool
    recipe: Digest | None
    cpu_us: int | None

    @property
    def is_attached(self) -> bool:
        """Whether it is pinned where it lies: a bucket, a table in files, a table of a database."""
        return self.type not in ("file", "tree")

    @property
    def label(self) -> str:
        """What to paste: `dataset:NAME@vN`."""
        return f"dataset:{self.name}@v{self.version}"


def check_name(name: str) -> None:
    """Check that a dataset can be called `name`: it has to fit into a line of a table, and into a reference.

    Raises:
        UsageError: It is empty, no text, or has characters that are not printed.
    """
    if not name.strip() or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise UsageError(
            f"{name!r} cannot be a dataset's name: it is empty, or has characters that cannot be printed",
            hint="Give it another one with --name.",
        )


def refuse_attached(heads: Sequence[DatasetVersion]) -> None:
    """Do nothing, unless a name's versions are attached ones: only `attach` makes further ones.

    Raises:
        UsageError: They are.
    """
    if any(head.is_attached for head in heads):
        thing = "bucket" if heads[0].type == "bucket" else "table"
        raise UsageError(
            f"{heads[0].name!r} is the name of an attached {thing}", hint="Give it another one with --name."
        )


def added_body(
    *,
    name: str,
    version: int,
    content: Digest,
    type: Literal["file", "tree"],  # noqa: A002 - the field's name on disk
    recipes: Digest | None,
    files: int,
    size_bytes: int,
    source: Mapping[str, str] | None,
    sealed: Mapping[str, object] | None,
    imported: Mapping[str, object] | None = None,
    superseded_by: EventId | None = None,
) -> dict[str, object]:
    """Return the body of `dataset.added`.

    Args:
        sealed: Of a personal one, its `key`, and the list of its `files`.
        imported: What another system's record says of it, where it was taken over from there.
        superseded_by: The later version that was on record before this one; it is not current then.
    """
    return {
        "name": name,
        "version": version,
        "strategy": "copies",
        "content": content,
        "type": type,
        "recipes": recipes,
        "files": files,
        "size_bytes": size_bytes,
        "source": source,
        "sealed": sealed,
        "imported": imported,
        "superseded_by": superseded_by,
    }


def derived_body(
    *,
    name: str,
    version: int,
    content: Digest,
    type: Literal["file", "tree"],  # noqa: A002 - the field's name on disk
    recipes: Digest | None,
    files: int,
    size_bytes: int,
    recipe: Digest,
    environment: Digest,
    capture: Mapping[str, str] | None,
    resources: Mapping[str, int],
) -> dict[str, object]:
    """Return the body of `dataset.derived`."""
    return {
        "name": name,
        "version": version,
        "strategy": "derived",
        "content": content,
        "type": type,
        "recipes": recipes,
        "files": files,
        "size_bytes": size_bytes,
        "recipe": recipe,
        "environment": environment,
        "capture": capture,
        "resources": resources,
    }


def attached_body(
    *,
    name: str,
    version: int,
    content: Digest,
    recipes: Digest | None,
    files: int,
    size_bytes: int,
    source: Mapping[str, str] | None,
    endpoint: Mapping[str, str] | None,
    as_of: str | None,
    how: Literal["listed", "history"],
    type: Literal["bucket", "delta", "iceberg", "table"] = "bucket",  # noqa: A002 - the field's name on disk
    commit: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return the body of `dataset.attached`; `files` and `size_bytes` are of what is pinned.

    Args:
        commit: Of a table in files, sealed: what its own log says of the version, as JSON.
    """
    return {
        "name": name,
        "version": version,
        "strategy": "attached",
        "content": content,
        "type": type,
        "recipes": recipes,
        "files": files,
        "size_bytes": size_bytes,
        "source": source,
        "endpoint": endpoint,
        "as_of": as_of,
        "how": how,
        "commit": commit,
    }


def rederived_body(
    *,
    version: EventId,
    verdict: str,
    content: Digest | None,
    environment: Digest | None,
    resources: Mapping[str, int] | None,
    why: Mapping[str, str] | None,
) -> dict[str, object]:
    """Return the body of `dataset.rederived`."""
    return {
        "version": version,
        "verdict": verdict,
        "content": content,
        "environment": environment,
        "resources": resources,
        "why": why,
    }


_COLUMNS = (
    "event, entry, name, version, content, type, files, size_bytes, path, at, agent, is_current, key, recipe, cpu_us, "
    "NOT EXISTS (SELECT 1 FROM marks_untracked WHERE marks_untracked.version = event)"
)


def _rows(db: apsw.Connection, where: str, parameters: tuple[object, ...]) -> list[DatasetVersion]:
    query = f"SELECT {_COLUMNS} FROM datasets_versions WHERE {where} ORDER BY name, version, entry"  # noqa: S608
    return [
        DatasetVersion(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            name=row[2],
            version=row[3],
            content=Digest(row[4]),
            type=row[5],
            files=row[6],
            size_bytes=row[7],
            path=row[8] if isinstance(row[8], str) else row[8].decode("utf-8", "surrogateescape"),
            at=row[9],
            agent=row[10],
            is_current=bool(row[11]),
            key=row[12],
            recipe=None if row[13] is None else Digest(row[13]),
            cpu_us=row[14],
            is_tracked=bool(row[15]),
        )
        for row in db.execute(query, parameters)
    ]


def versions(db: apsw.Connection, name: str | None = None) -> list[DatasetVersion]:
    """Return all versions (of `name`), by name and version."""
    return _rows(db, "name = ?", (name,)) if name is not None else _rows(db, "1", ())


def next_version(db: apsw.Connection, name: str) -> int:
    """Return the number that the next version of `name` gets: one more than the highest there is."""
    return max((v.version for v in versions(db, name)), default=0) + 1


def current(db: apsw.Connection, name: str) -> list[DatasetVersion]:
    """Return the versions of `name` that none has replaced: one, or several after a conflict."""
    return _rows(db, "name = ? AND is_current", (name,))


def find(db: apsw.Connection, *, event: EventId | None = None, content: Digest | None = None) -> list[DatasetVersion]:
    """Return the versions that an event added, or that have this content."""
    return _rows(db, "event = ?", (event,)) if event is not None else _rows(db, "content = ?", (content,))


def verdicts(db: apsw.Connection, version: EventId) -> list[tuple[int, str, str]]:
    """Return what came out each time that a derived version was made again: entry, verdict, when; newest last."""
    query = "SELECT entry, verdict, at FROM datasets_rederived WHERE version = ? ORDER BY entry"
    return [(row[0], row[1], row[2]) for row in db.execute(query, (version,))]


def released(db: apsw.Connection) -> dict[Digest, int]:
    """Return which objects were let go, and the last entry that says so."""
    return {Digest(row[0]): row[1] for row in db.execute("SELECT content, entry FROM datasets_released")}
