"""`get`: a file from a URL, with its origin on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrodict import origins
from retrodict.actions import fetching
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What was fetched.

    Attributes:
        url: Without what authenticates.
        is_new: False: the origin says that it is what was fetched before; nothing was recorded.
        index: The entry that records it (of the earlier time, where nothing is new).
        etag, last_modified, date: As the origin says; None where it does not, or nothing is new.
    """

    url: str
    path: str
    content: Digest
    size_bytes: int
    is_new: bool
    index: int
    etag: str | None
    last_modified: str | None
    date: str | None


def get(
    workspace: Workspace,
    url: str,
    destination: Path | None = None,
    *,
    folder: Path,
    progress: Progress | None = None,
) -> Got:
    """Fetch `url` to `destination`; the bytes are stored, so that what used the file can be traced to its origin.

    Args:
        workspace: Where it is recorded.
        url: http, https, s3, gs or az.
        destination: Default: the file's name at the origin, in `folder`.
        folder: The working directory.
        progress: Told of bytes.

    Raises:
        UsageError, PersonalFileError, OriginError: See `fetching.take`.
    """
    place, relative = fetching.place_for(workspace, url, destination, folder)
    taken = fetching.take(workspace, url, place, relative, progress)
    if taken.answer is None:
        assert taken.before is not None
        index = taken.before.index
    else:
        batch = Batch(workspace)
        fetching.record(batch, url, taken)
        index = batch.append()[-1].index
    workspace.objects.checkout(taken.content, place)
    return Got(
        url=origins.public(url),
        path=relative,
        content=taken.content,
        size_bytes=taken.size_bytes,
        is_new=taken.answer is not None,
        index=index,
        etag=None if taken.answer is None else taken.answer.etag,
        last_modified=None if taken.answer is None else taken.answer.last_modified,
        date=None if taken.answer is None else taken.answer.date,
    )
