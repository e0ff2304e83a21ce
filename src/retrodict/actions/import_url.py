"""`import-url`: version a file that lies at a URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrodict import datasets, origins
from retrodict.actions import fetching, pinning
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedUrl:
    """What lies at a URL, as a version.

    Attributes:
        reference: Of the version that has its bytes.
        url: Without what authenticates.
        is_asked: The origin was asked whether it has changed, and said no.
        is_new: A version was recorded.
        etag, last_modified, date: As the origin says; None where it does not, or has not changed.
    """

    reference: str
    name: str
    version: int
    url: str
    path: str
    content: Digest
    size_bytes: int
    new_bytes: int
    is_asked: bool
    is_new: bool
    index: int
    etag: str | None
    last_modified: str | None
    date: str | None


def import_url(
    workspace: Workspace,
    url: str,
    destination: Path | None = None,
    *,
    folder: Path,
    name: str | None = None,
    reason: str | None = None,
    progress: Progress | None = None,
) -> ImportedUrl:
    """Fetch `url` to `destination` and version it; again, the origin is only asked whether it has changed.

    Args:
        workspace: Where it is recorded.
        url: http, https, s3, gs or az.
        destination: Default: the file's name at the origin, in `folder`.
        folder: The working directory.
        name: Of the dataset; default: its path.
        reason: Why it is imported.
        progress: Told of bytes.

    Raises:
        UsageError, PersonalFileError, OriginError: See `fetching.take`.
    """
    place, relative = fetching.place_for(workspace, url, destination, folder)
    label = name or relative
    datasets.check_name(label)
    datasets.refuse_attached(datasets.current(workspace.views.database(), label))
    taken = fetching.take(workspace, url, place, relative, progress)
    database = workspace.views.database()
    heads = datasets.current(database, label)
    same = next((head for head in heads if head.content == taken.content and head.is_tracked), None)
    batch = Batch(workspace)
    fetched: EventId | None = None
    if taken.answer is not None:
        fetched = fetching.record(batch, url, taken).id
    elif taken.before is not None:
        fetched = taken.before.event
    version, index = 0, -1
    if same is None or len(heads) != 1:
        version = datasets.next_version(database, label)
        batch.event(
            "dataset.added",
            uses=(Edge(ref=Ref(taken.content), role="origin", evidence="observed", made_by=fetched),),
            makes=(Edge(ref=Ref(taken.content), role="dataset", evidence="observed", path=relative),),
            body=datasets.added_body(
                name=label,
                version=version,
                content=taken.content,
                type="file",
                recipes=taken.recipes,
                files=1,
                size_bytes=taken.size_bytes,
                source=batch.seal(origins.public(url)),
                sealed=None,
            ),
            reason=reason,
            replaces=[head.event for head in heads],
        )
    else:
        version, index = same.version, same.index
    is_new = index < 0
    if is_new or taken.answer is not None:
        last = batch.append()[-1].index
        index = last if is_new else index
    workspace.objects.checkout(taken.content, place)
    pinning.pin(workspace, [label])
    return ImportedUrl(
        reference=f"dataset:{label}@v{version}",
        name=label,
        version=version,
        url=origins.public(url),
        path=relative,
        content=taken.content,
        size_bytes=taken.size_bytes,
        new_bytes=taken.new_bytes,
        is_asked=taken.answer is None,
        is_new=is_new,
        index=index,
        etag=None if taken.answer is None else taken.answer.etag,
        last_modified=None if taken.answer is None else taken.answer.last_modified,
        date=None if taken.answer is None else taken.answer.date,
    )
