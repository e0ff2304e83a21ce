"""`attach`: pin what a versioned bucket holds, and held; nothing is copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from retrodict import datasets
from retrodict.actions import attaching
from retrodict.buckets import PERIODS, Bucket, Change, Listing, Past, Period, State, changed_keys
from retrodict.datasets import DatasetVersion
from retrodict.kernel.clock import parse_rfc3339
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.workspace import Batch, Workspace

_MOST_STATES = 10_000
How = Literal["listed", "history"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedVersion:
    """A version that was recorded.

    Attributes:
        as_of: When its last object was set or removed, by the bucket's clock; None: the bucket is empty.
        how: "listed": the bucket holds this now; "history": it says that it did.
        files, size_bytes: Of what is pinned.
        added, removed, changed: How many names differ from the version before.
    """

    reference: str
    version: int
    index: int
    content: Digest
    as_of: str | None
    how: How
    files: int
    size_bytes: int
    added: int
    removed: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What a bucket holds, pinned.

    Attributes:
        reference: Of the version that pins what it holds now.
        url: Of the bucket.
        by: Changes in one of these (UTC) make one version.
        versions: Those that were recorded now, oldest first; none: nothing has changed.
        gone: Objects that versions before pin and the bucket no longer has: `REFERENCE/NAME`, at most a hundred.
        gone_objects: How many there are.
    """

    reference: str
    name: str
    url: str
    by: Period
    versions: tuple[AttachedVersion, ...]
    gone: tuple[str, ...]
    gone_objects: int


def attach(
    workspace: Workspace,
    what: str,
    *,
    name: str | None = None,
    environment: Mapping[str, str],
    by: str | None = None,
    since: str | None = None,
    history: bool = True,
    reason: str | None = None,
    progress: Progress | None = None,
) -> Attached:
    """Pin every object of a bucket by its VersionId, what it held before as versions of their own; again: what is new.

    Args:
        what: s3://BUCKET[/PREFIX], or the name of what is attached.
        name: Of the dataset; default: BUCKET[/PREFIX].
        environment: Where the bucket's credentials, region and end-point are looked for.
        by: Changes in one `buckets.Period` make one version; None: the finest that gives no more than a hundred.
        since: No version is made of what was over before this instant (RFC 3339).
        history: False: only of what the bucket holds now.
        reason: Why it is attached.
        progress: Told of versions.

    Raises:
        UsageError: It is no bucket; another one has the name; there is nothing in it; its history is too long.
        UnversionedBucketError, BucketError: See there.
    """
    period = next((period for period in PERIODS if period == by), None)
    if period is None and by is not None:
        raise UsageError(f"{by!r} is no period", hint=f"There are {', '.join(PERIODS)}.")
    database = workspace.views.database()
    if "://" in what:
        bucket = Bucket(what, environment)
        label = name or bucket.url.removeprefix("s3://")
        heads = datasets.current(database, label)
    else:
        label = what.removeprefix("dataset:")
        heads = datasets.current(database, label)
        if not heads or heads[-1].type != "bucket" or name is not None:
            raise UsageError(f"{what} is no attached bucket", hint="Give s3://BUCKET[/PREFIX], and its name with --as.")
        bucket = attaching.opened(workspace, heads[-1], environment)
    datasets.check_name(label)
    _check_place(workspace, label, bucket, heads)
    bucket.check()
    changes = list(bucket.changes())
    now = attaching.current(changes)
    listing = Listing(bucket.prefix, now.pins)
    last = attaching.read(workspace, heads[-1]).listing if len(heads) == 1 else None
    # Where a name was set on both sides, what the bucket holds now follows both.
    past = Past(changes, after=None if last is None else last.pins, by=period)
    begin = None if since is None else parse_rfc3339(since)
    wanted = [begin is None or parse_rfc3339(at) >= begin for at in past.instants[:-1]]  # the last one is now
    if not history or len(heads) > 1:
        wanted = []
    if sum(wanted) > _MOST_STATES:
        raise UsageError(
            f"the history of {bucket.url} would be {sum(wanted)} versions",
            hint="Give --by with a longer period, --since, or --no-history.",
        )
    if not heads and not any(wanted) and not now.pins:
        raise UsageError(f"{bucket.url} holds nothing", hint="Look at the address; a prefix is a folder of keys.")
    before = datasets.versions(database, label)
    row: Iterator[tuple[State, How]] = (
        (state, "history") for state, is_wanted in zip(past, wanted, strict=False) if is_wanted
    )
    is_new = last is None or last.pins != listing.pins or not heads[-1].is_tracked
    if is_new:
        row = chain(row, [(now, "listed")])
    total = sum(wanted) + is_new
    versions = _record(workspace, label, bucket, row, heads, last, reason, total, progress) if total else []
    gone = _gone(workspace, before, changes)
    version = versions[-1].reference if versions else heads[-1].label
    return Attached(
        reference=version,
        name=label,
        url=bucket.url,
        by=past.by,
        versions=tuple(versions),
        gone=tuple(gone[:100]),
        gone_objects=len(gone),
    )


def _check_place(workspace: Workspace, label: str, bucket: Bucket, heads: Sequence[DatasetVersion]) -> None:
    """Do nothing, unless the versions of a name are not of this bucket.

    Raises:
        UsageError: They are not.
    """
    for head in heads:
        if head.type != "bucket":
            raise UsageError(f"{label!r} is the name of other data", hint="Give the bucket another one with --as.")
        there = attaching.address(workspace, head.event)
        if there != (bucket.url, bucket.endpoint):
            raise UsageError(
                f"{label!r} is the name of {there[0]}" + (f" at {there[1]}" if there[1] else ""),
                hint="Give this one another name with --as.",
            )


def _record(
    workspace: Workspace,
    label: str,
    bucket: Bucket,
    row: Iterable[tuple[State, How]],
    heads: Sequence[DatasetVersion],
    last: Listing | None,
    reason: str | None,
    total: int,
    progress: Progress | None,
) -> list[AttachedVersion]:
    batch = Batch(workspace)
    source, endpoint = batch.seal(bucket.url), batch.seal(bucket.endpoint)
    number = datasets.next_version(workspace.views.database(), label)
    replaces: list[EventId] = [head.event for head in heads]
    base = heads[-1].content if heads else None
    made: list[AttachedVersion] = []
    before = last or Listing(bucket.prefix, {})
    for done, (state, how) in enumerate(row, 1):
        listing = Listing(bucket.prefix, state.pins)
        stored = attaching.store(workspace, listing, base)
        base = stored.digest
        event = batch.event(
            "dataset.attached",
            uses=(),
            makes=(
                Edge(ref=Ref(stored.digest), role="dataset", evidence="observed" if how == "listed" else "declared"),
            ),
            body=datasets.attached_body(
                name=label,
                version=number,
                content=stored.digest,
                recipes=stored.recipes,
                files=len(listing.pins),
                size_bytes=listing.size_bytes,
                source=source,
                endpoint=endpoint,
                as_of=state.as_of or None,
                how=how,
            ),
            reason=reason,
            replaces=replaces,
        )
        added, removed, changed = changed_keys(before, listing)
        made.append(
            AttachedVersion(
                reference=f"dataset:{label}@v{number}",
                version=number,
                index=-1,
                content=stored.digest,
                as_of=state.as_of or None,
                how=how,
                files=len(listing.pins),
                size_bytes=listing.size_bytes,
                added=len(added),
                removed=len(removed),
                changed=len(changed),
            )
        )
        before, replaces, number = listing, [event.id], number + 1
        if progress is not None:
            progress(done, total, "versions")
    indexes = [s.index for s in batch.append() if s.event.kind == "dataset.attached"]
    return [replace(version, index=index) for version, index in zip(made, indexes, strict=True)]


def _gone(workspace: Workspace, versions: Sequence[DatasetVersion], changes: Sequence[Change]) -> list[str]:
    """Return what versions pin that the bucket no longer has, and whose bytes are not held either."""
    there = {(c.pin.key, c.pin.version_id): c.pin.content for c in changes if c.pin is not None}
    found, seen = list[str](), set[bytes]()
    contents = None
    for version in versions:
        if version.type != "bucket" or not workspace.objects.has(version.content):
            continue
        listing = Listing.decode_without(workspace.objects.get(version.content), seen)
        for name, pin in listing.names.items():
            if there.get((pin.key, pin.version_id)) == pin.content:
                continue
            contents = attaching.contents(workspace, version.name) if contents is None else contents
            if attaching.where(workspace, attaching.Attached(version, listing, contents), pin) != "held":
                found.append(f"{version.label}/{name}")
    return found
