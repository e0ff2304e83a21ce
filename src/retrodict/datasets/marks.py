"""What is said of versions after they were added: tags, the end of tracking; and where bytes came from.

`dataset.tagged`, `dataset.untracked`, `origin.fetched` and `bucket.fetched`, and what `dataset.added` says of another
system's record: their bodies, their projection, its queries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, EventId

if TYPE_CHECKING:
    import apsw


_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_LOOKS_LIKE_A_VERSION = re.compile(r"v?\d+(\.\d+)*\Z|\d{4}-\d{2}(-\d{2})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One setting of a tag: `version_event` is the version that it stands at; `event`, `index` are of the setting."""

    event: EventId
    index: int
    name: str
    label: str
    version_event: EventId
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One `origin.fetched`: what lay at a URL, and where it was written."""

    event: EventId
    index: int
    path: str
    content: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketFetched:
    """One `bucket.fetched`: `objects` lists what bytes were found under which VersionIds, for a version."""

    event: EventId
    index: int
    version: EventId
    objects: Digest


def check_label(label: str) -> None:
    """Check that `label` can be a tag.

    Raises:
        UsageError: It could not be told from a version or a date, or would not survive in a reference.
    """
    if not _LABEL.match(label):
        raise UsageError(
            f"{label!r} cannot be a tag", hint="Use letters, digits, '.', '_' and '-', at most 100 of them."
        )
    if _LOOKS_LIKE_A_VERSION.match(label):
        raise UsageError(f"{label!r} cannot be a tag: it looks like a version or a date")


def tagged_body(*, name: str, label: str, version: EventId) -> dict[str, object]:
    """Return the body of `dataset.tagged`; `version` is the event that added it."""
    return {"name": name, "label": label, "version": version}


def untracked_body(*, name: str, versions: Sequence[EventId]) -> dict[str, object]:
    """Return the body of `dataset.untracked`; `versions` are the events of those that were current."""
    return {"name": name, "versions": list(versions)}


def fetched_body(
    *,
    url: Mapping[str, str] | None,
    content: Digest,
    size_bytes: int,
    etag: str | None,
    last_modified: str | None,
    date: str | None,
) -> dict[str, object]:
    """Return the body of `origin.fetched`."""
    return {
        "url": url,
        "content": content,
        "size_bytes": size_bytes,
        "etag": etag,
        "last_modified": last_modified,
        "date": date,
    }


def bucket_fetched_body(*, version: EventId, objects: Digest, files: int, size_bytes: int) -> dict[str, object]:
    """Return the body of `bucket.fetched`; `objects` is the list of keys, VersionIds and contents."""
    return {"version": version, "objects": objects, "files": files, "size_bytes": size_bytes}


def tags(db: apsw.Connection, name: str | None = None) -> list[Tag]:
    """Return every setting of the tags (of a dataset), oldest first."""
    query = "SELECT event, entry, name, label, version, is_current FROM marks_tags"
    if name is not None:
        query += " WHERE name = ?"
    return [
        Tag(
            event=EventId(row[0]),
            index=row[1],
            name=row[2],
            label=row[3],
            version_event=EventId(row[4]),
            is_current=bool(row[5]),
        )
        for row in db.execute(f"{query} ORDER BY entry", () if name is None else (name,))
    ]


def fetched(db: apsw.Connection, path: str) -> list[Fetched]:
    """Return what was fetched to a path of the workspace, newest first."""
    query = "SELECT event, entry, content FROM marks_fetched WHERE path = ? ORDER BY entry DESC"
    rows = db.execute(query, (path.encode("utf-8", "surrogateescape"),))
    return [Fetched(event=EventId(row[0]), index=row[1], path=path, content=Digest(row[2])) for row in rows]


def bucket_fetched(db: apsw.Connection, name: str) -> list[BucketFetched]:
    """Return what was fetched for the versions of an attached bucket, oldest first."""
    query = (
        "SELECT b.event, b.entry, b.version, b.objects FROM marks_buckets b "
        "JOIN datasets_versions v ON v.event = b.version WHERE v.name = ? ORDER BY b.entry"
    )
    return [
        BucketFetched(event=EventId(row[0]), index=row[1], version=EventId(row[2]), objects=Digest(row[3]))
        for row in db.execute(query, (name,))
    ]


def imported(db: apsw.Connection, system: str) -> dict[str, EventId]:
    """Return what was taken over from another system's record: its key there -> the event here."""
    rows = db.execute("SELECT key, event FROM marks_imported WHERE system = ? ORDER BY entry", (system,))
    return {str(row[0]): EventId(str(row[1])) for row in rows}
