"""Attached buckets: what their versions pin, which of its bytes are held, and how the others come. No verb."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from retrodict import datasets, provenance
from retrodict.actions.contents import SHOWN_LINES
from retrodict.buckets import Bucket, Change, Listing, Pin, PinAlteredError, State, changed_keys
from retrodict.datasets import DatasetVersion
from retrodict.kernel import canonical
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.kernel.words import count
from retrodict.lakes import FORMATS, Lake
from retrodict.objects import Added, Folder, TreeEntry
from retrodict.workspace import Batch, Workspace, edges_or_list, open_text, refuse_writing, sealed_text

ELSEWHERE: Final = "elsewhere, pinned where they are"
_SMALL: Final = 1 << 20  # smaller objects are read side by side, into memory
_ABREAST: Final = 16
_IN_AN_ENTRY: Final = 5_000  # of more objects, each so many are recorded once they are held

Where = Literal["held", "elsewhere", "missing"]


@dataclass(frozen=True, slots=True)
class Attached:
    """A version of what is attached (a bucket or a table), as far as this workspace knows it.

    Attributes:
        listing: What it pins.
        contents: By key and VersionId, what bytes were found there; they need not be held any more.
    """

    version: DatasetVersion
    listing: Listing
    contents: Mapping[tuple[str, str], Digest]

    def content(self, pin: Pin) -> Digest | None:
        """Return what the bytes of a pinned object are; None where nobody has read them."""
        return pin.digest or self.contents.get((pin.key, pin.version_id))


def read(workspace: Workspace, version: DatasetVersion) -> Attached:
    """Return what a version pins.

    Raises:
        MissingObjectError, AlteredObjectError, FormatError: Its listing cannot be read.
    """
    listing = Listing.decode(workspace.objects.get(version.content))
    return Attached(version, listing, contents(workspace, version.name))


def contents(workspace: Workspace, name: str) -> Mapping[tuple[str, str], Digest]:
    """Return what bytes were found by key and VersionId, for any version of a name."""
    found: dict[tuple[str, str], Digest] = {}
    for fetched in datasets.bucket_fetched(workspace.views.database(), name):
        try:
            rows = json.loads(workspace.objects.get(fetched.objects))
        except RetrodictError:  # of another log, and not fetched: those bytes are not held either
            continue
        found |= {(row["key"], row["version"]): Digest(row["content"]) for row in rows}
    return found


def where(workspace: Workspace, attached: Attached, pin: Pin) -> Where:
    """Say where the bytes of a pinned object are; missing: they were held once."""
    content = attached.content(pin)
    if content is None:
        return "elsewhere"
    if workspace.objects.has(content):
        return "held"
    return "missing" if attached.version.type in ("bucket", "table") else "elsewhere"


def held(workspace: Workspace, attached: Attached) -> int:
    """Return of how many pinned objects the bytes are held."""
    return sum(where(workspace, attached, pin) == "held" for pin in attached.listing.pins.values())


def address(workspace: Workspace, event: EventId) -> tuple[str, str | None]:
    """Return the bucket of a version, and its end-point where it has one of its own.

    Raises:
        UsageError: It is sealed under a key that is not held here.
    """
    sequenced = workspace.logs.find(event)
    assert sequenced is not None
    url, endpoint = (open_text(workspace, sealed_text(sequenced.event.body[name])) for name in ("source", "endpoint"))
    if url is None or url.startswith("("):
        raise UsageError(
            "the address of what is attached is sealed, and its key is not held here",
            hint="Whoever attached it can give the key: `retrodict keys share`.",
        )
    return url, endpoint


def opened(workspace: Workspace, version: DatasetVersion, environment: Mapping[str, str]) -> Bucket:
    """Open the bucket of a version, where it was when it was attached."""
    url, endpoint = address(workspace, version.event)
    return Bucket(url, environment, endpoint=endpoint)


def is_bucket(workspace: Workspace, what: str) -> bool:
    """Say whether the name of what is attached is that of a bucket."""
    heads = datasets.current(workspace.views.database(), what.removeprefix("dataset:"))
    return bool(heads) and heads[-1].type == "bucket"


def lake(workspace: Workspace, version: DatasetVersion, environment: Mapping[str, str]) -> Lake:
    """Open the table of a version, where it was when it was attached.

    Raises:
        UsageError: Of a table of a database only what was kept can be read.
        LakeError: See there.
    """
    if version.type == "table":
        raise UsageError(
            f"the rows of {version.label} were kept, and are not held any more",
            hint="Look in the remotes: `retrodict fetch`.",
        )
    url, endpoint = address(workspace, version.event)
    form = next((form for form in FORMATS if form == version.type), None)
    return Lake(url if "://" in url else str(workspace.root / url), environment, endpoint=endpoint, format=form)


def store(workspace: Workspace, listing: Listing, base: Digest | None) -> Added:
    """Store a listing; `base` is the one before it, with which it shares most of its lines."""
    folder = workspace.folder / "tmp"
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="listing-") as file:
        file.writelines(listing.encode())
        file.flush()
        return workspace.objects.add(Path(file.name), base=base)


def current(changes: Iterable[Change]) -> State:
    """Return what a bucket holds after all its changes."""
    pins, at = dict[str, Pin](), ""
    for change in changes:
        at = max(at, change.modified)
        if change.pin is None:
            pins.pop(change.key, None)
        else:
            pins[change.key] = change.pin
    return State(as_of=at, pins=pins)


def refuse_unkept(attached: Attached) -> None:
    """Do nothing, unless the rows of a database's table were only digested.

    Raises:
        UsageError: They were.
    """
    if attached.version.type == "table" and not attached.listing.pins:
        raise UsageError(
            f"the rows of {attached.version.label} were not kept, only digested",
            hint=f"`retrodict attach {attached.version.name} --keep` keeps those that are there now.",
        )


class PinnedHere:
    """The files of attached tables that lie in the workspace: which version pins the bytes that a run read there."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._versions: dict[str, list[DatasetVersion]] | None = None  # by where the table lies, newest first
        self._listings: dict[Digest, Listing] = {}

    def maker(self, digest: Digest, path: str | None) -> EventId | None:
        """Return the newest version that pins these bytes at this path; None where none does."""
        if path is None:
            return None
        if self._versions is None:
            self._versions = {}
            for version in reversed(datasets.versions(self._workspace.views.database())):
                if version.type in FORMATS and self._workspace.objects.has(version.content):
                    try:
                        place, _ = address(self._workspace, version.event)
                    except UsageError:  # sealed under a key that is not held here
                        continue
                    self._versions.setdefault(place, []).append(version)
        for place, versions in self._versions.items():
            if not path.startswith(f"{place}/"):
                continue
            for version in versions:
                listing = self._listings.get(version.content)
                if listing is None:
                    listing = Listing.decode(self._workspace.objects.get(version.content))
                    self._listings[version.content] = listing
                pin = listing.pins.get(path[len(place) + 1 :])
                if pin is not None and pin.digest == digest:
                    return version.event
        return None


def bring(
    workspace: Workspace,
    attached: Attached,
    wanted: Mapping[str, Pin],
    *,
    environment: Mapping[str, str],
    place: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Digest]:
    """Have the bytes of pinned objects held, and say in the log which they are; return them by name.

    What is held is not asked for again. An interrupted transfer keeps, and records, all but the last few thousand.

    Args:
        wanted: Pinned objects, by the names that they get.
        place: Where they will lie in the workspace, so that what reads them there leads back; None: nowhere.

    Raises:
        BucketError, PinGoneError, PinAlteredError: See there; what came before it is kept.
    """
    database = workspace.views.database()
    found: dict[str, Digest] = {}
    lacking: dict[str, Pin] = {}
    told: dict[str, Pin] = {}  # what has to be recorded: bytes that are new, or in a place that is
    for name, pin in wanted.items():
        content = attached.content(pin)
        if content is not None and workspace.objects.has(content):
            found[name] = content
            is_new_place = place is not None and not workspace.read_only
            if is_new_place and provenance.maker(database, Ref(content), _path(place or "", name)) is None:
                told[name] = pin
        else:
            lacking[name] = pin
    done: dict[str, Digest] = {name: found[name] for name in told}
    pins = {**told, **lacking}
    if lacking:
        refuse_writing(workspace)
        open_ = opened if attached.version.type == "bucket" else lake
        bucket: Bucket | Lake = open_(workspace, attached.version, environment)
        try:
            for name, content in _fetched(workspace, bucket, lacking, attached):
                done[name] = content
                if progress is not None:
                    progress(len(found) + len(done), len(wanted), "objects")
                if len(done) >= _IN_AN_ENTRY:
                    found |= _record(workspace, attached.version, pins, done, place)
                    done = {}
        finally:
            if done:
                found |= _record(workspace, attached.version, pins, done, place)
    elif done:
        found |= _record(workspace, attached.version, pins, done, place)
    return found


def _path(place: str, name: str) -> str:
    return f"{place}/{name}" if name else place


def _fetched(
    workspace: Workspace, bucket: Bucket | Lake, lacking: Mapping[str, Pin], attached: Attached
) -> Iterator[tuple[str, Digest]]:
    """Store pinned objects; yield the name and the content of each once it is durable."""
    small = [name for name, pin in lacking.items() if pin.size_bytes <= _SMALL]
    with ThreadPoolExecutor(_ABREAST) as pool:
        for start in range(0, len(small), 4 * _ABREAST):
            names = small[start : start + 4 * _ABREAST]
            blobs = list(pool.map(lambda name: b"".join(bucket.read(lacking[name])), names))
            for name, content in zip(names, workspace.objects.put_many(blobs), strict=True):
                yield name, _checked(bucket, attached, lacking[name], content)
    folder = workspace.folder / "tmp"
    folder.mkdir(exist_ok=True)
    for name, pin in lacking.items():
        if pin.size_bytes > _SMALL:
            with tempfile.NamedTemporaryFile(dir=folder, prefix="bucket-") as file:
                for block in bucket.read(pin):
                    file.write(block)
                file.flush()
                content = workspace.objects.add(Path(file.name)).digest
            yield name, _checked(bucket, attached, pin, content)


def _checked(bucket: Bucket | Lake, attached: Attached, pin: Pin, content: Digest) -> Digest:
    """Return what came, if it is what came the first time."""
    known = attached.content(pin)
    if known not in (None, content):
        raise PinAlteredError(bucket.url, pin, f"{content}, where {known} was fetched before")
    return content


def _record(
    workspace: Workspace,
    version: DatasetVersion,
    pins: Mapping[str, Pin],
    done: Mapping[str, Digest],
    place: str | None,
) -> Mapping[str, Digest]:
    """Record what bytes were found under which VersionIds."""
    batch = Batch(workspace)
    rows = [
        {"key": pins[name].key, "version": pins[name].version_id, "content": content} for name, content in done.items()
    ]
    makes = [
        Edge(
            ref=Ref(content),
            role="fetched",
            evidence="observed",
            path=None if place is None else _path(place, name),
        )
        for name, content in done.items()
    ]
    batch.event(
        "bucket.fetched",
        uses=(Edge(ref=Ref(version.content), role="listing", evidence="observed", made_by=version.event),),
        makes=edges_or_list(batch, makes),
        body=datasets.bucket_fetched_body(
            version=version.event,
            objects=batch.blob(canonical.encode(rows)),
            files=len(done),
            size_bytes=sum(pins[name].size_bytes for name in done),
        ),
    )
    batch.append()
    return done


def as_folder(pins: Mapping[str, Pin]) -> dict[bytes, object]:
    """Return how pinned objects lie in folders, by their names: folders in folders, and at the end the names.

    Raises:
        UsageError: A name cannot be a path: it leads elsewhere, or is a file and a folder.
    """
    root: dict[bytes, object] = {}
    for name in sorted(pins, key=str.encode):
        *folders, last = name.encode().split(b"/")
        if not last and pins[name].size_bytes == 0:  # what consoles make for an empty folder
            continue
        inside: dict[bytes, object] | object = root
        for part in (*folders, last):
            if part in (b"", b".", b"..") or b"\0" in part or not isinstance(inside, dict):
                raise UsageError(
                    f"the key {pins[name].key!r} cannot be a path beside the others",
                    hint="Check out a part that has none of this kind, or `retrodict cat` it.",
                )
            above, inside = inside, inside.setdefault(part, {})
        if inside:
            raise UsageError(f"the key {pins[name].key!r} is a file and a folder", hint="Check out a part without it.")
        above[last] = name
    return root


def as_tree(workspace: Workspace, folder: Mapping[bytes, object], found: Mapping[str, Digest]) -> Digest:
    """Store a folder of objects that are held; return its name."""

    def entries(inside: Mapping[bytes, object]) -> Folder:
        result: dict[bytes, TreeEntry | Folder] = {}
        for name, item in inside.items():
            if isinstance(item, dict):
                result[name] = entries(item)
            else:
                digest = found[str(item)]
                result[name] = TreeEntry(name=name, kind="file", digest=digest, size=workspace.objects.size(digest))
        return result

    return workspace.objects.put_folders(entries(folder))


def difference(
    workspace: Workspace, old: DatasetVersion, new: DatasetVersion, *, most: int = SHOWN_LINES
) -> tuple[str, ...]:
    """Return what changed between two versions: a sentence, then the names that differ."""
    try:
        before, after = (Listing.decode(workspace.objects.get(version.content)) for version in (old, new))
    except RetrodictError:
        return ("what changed cannot be said: a listing is not held",)
    added, removed, changed = changed_keys(before, after)
    lines = [*(f"- {name}" for name in removed), *(f"+ {name}" for name in added), *(f"~ {name}" for name in changed)]
    if after.table is not None and not (before.pins and after.pins):
        return (", ".join(table_changes(before.table or {}, after.table)) or "its rows are the same ones",)
    says = f"{count(len(lines), 'object')} of {max(len(before.pins), len(after.pins)):,} changed"
    rest = len(lines) - most
    return (says, *lines) if rest <= 0 else (says, *lines[:most], f"... and {count(rest, 'object')} more")


def table_changes(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return what differs between two states of a table as their listings say it, in words; none: nothing."""
    says = []
    if before.get("rows") != after.get("rows") and None not in (before.get("rows"), after.get("rows")):
        says.append(f"{before['rows']:,} -> {after['rows']:,} rows")
    old, new = columns(before), columns(after)
    says += [f"column {name} added" for name in new if name not in old]
    says += [f"column {name} removed" for name in old if name not in new]
    says += [f"column {name}: {old[name]} -> {new[name]}" for name in new if name in old and old[name] != new[name]]
    if before.get("digest") != after.get("digest") and not says:
        says.append("other rows, as many as before")
    return says


def commit(sealed: str | None) -> str | None:
    """Return what made a table's version and who, as its own log says (the opened text of the event's `commit`)."""
    try:
        said = json.loads(sealed or "null")
    except ValueError:  # the key is not held here
        return None
    if not isinstance(said, dict):
        return None
    parts = [str(part) for part in (said.get("operation"), said.get("who")) if part]
    log = said.get("log")
    engine = (log.get("engineInfo") or log.get("engine-name")) if isinstance(log, dict) else None
    return ", ".join([*parts, f"with {engine}"] if engine else parts) or None


def columns(table: Mapping[str, object]) -> dict[str, str]:
    """Return the names and types of a table's columns, as its listing says them."""
    said = table.get("columns")
    return {str(one["name"]): str(one["type"]) for one in said} if isinstance(said, list) else {}
