"""`fetch`: take objects from a remote: all of them, or what one thing needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from retrodict import provenance
from retrodict.actions import attaching, located, names
from retrodict.actions.arriving import lacking_packs, some_contents, take_packs, take_wanted
from retrodict.actions.remotes import find_remote
from retrodict.backups import Depot, side_by_side
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref, is_digest
from retrodict.ledger import Sequenced
from retrodict.workspace import Workspace, alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came.

    Attributes:
        remote: The name that was given, `place` the address.
        only: What it was for, as it was written; None: everything.
        new_packs, new_bytes: Packs of objects that came.
        missing: How many objects that are needed are not there either.
        objects: How many came from an attached bucket.
    """

    remote: str
    place: str
    only: str | None
    new_packs: int
    new_bytes: int
    missing: int
    objects: int = 0


def fetch(
    workspace: Workspace,
    remote: str | None = None,
    *,
    only: str | None = None,
    with_causes: bool = False,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Take objects that the logs name and that are not held here. No log is taken or written.

    What is pinned in an attached bucket comes from there, where `only` names it and no remote is named; what came is
    recorded.

    Args:
        remote: Its name or address; None: the only one.
        only: A reference: what it needs, and no more than the packs in which that lies.
        environment: Where the credentials of an attached bucket are looked for.
        with_causes: With everything that it rests on.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        DamagedRemoteError: A pack is missing or altered.
        RemoteError: It cannot be reached.
        BucketError, PinGoneError, PinAlteredError: See there.
    """
    if with_causes and only is None:
        raise UsageError("--with-causes is about one thing", hint="Name it with --only.")
    if only is not None and remote is None:
        pinned = _pinned(workspace, only)
        if pinned is not None:
            return _from_bucket(workspace, only, pinned, environment or {}, progress)
    name, depot = find_remote(workspace, remote)
    wanted = None if only is None else list(_needed(workspace, only, with_causes=with_causes))
    with alone(workspace.folder):
        missing = 0
        contents = some_contents(depot)
        if wanted is None:
            packs, size = take_wanted(workspace, depot, contents, progress)
        else:
            lacking = lacking_packs(workspace, depot, contents)
            packs, size, missing = _take_needed(workspace, depot, list(lacking), wanted, progress)
    return Fetched(remote=name, place=depot.place, only=only, new_packs=packs, new_bytes=size, missing=missing)


def _pinned(workspace: Workspace, reference: str) -> located.Content | None:
    """Return what a reference leads to in an attached bucket; None: elsewhere, or it cannot be asked."""
    try:
        found = located.locate(workspace, reference)
        if found.attached is None:
            return None
        attaching.address(workspace, found.attached.version.event)
    except RetrodictError:
        return None
    return found


def _from_bucket(
    workspace: Workspace,
    only: str,
    content: located.Content,
    environment: Mapping[str, str],
    progress: Progress | None,
) -> Fetched:
    attached, pins = content.attached, content.pins
    assert attached is not None
    lacking = {name: pin for name, pin in pins.items() if attaching.where(workspace, attached, pin) != "held"}
    attaching.bring(workspace, attached, lacking, environment=environment, progress=progress)
    url, _ = attaching.address(workspace, attached.version.event)
    return Fetched(
        remote="",
        place=url,
        only=only,
        new_packs=0,
        new_bytes=sum(pin.size_bytes for pin in lacking.values()),
        missing=0,
        objects=len(lacking),
    )


def _take_needed(
    workspace: Workspace, depot: Depot, keys: list[str], wanted: list[Digest], progress: Progress | None
) -> tuple[int, int, int]:
    """Take the packs that hold what is lacking, until nothing is: listings first, then what they list."""
    packs = size = 0
    held_in: dict[bytes, list[str]] | None = None
    rest = set(keys)
    while lacking := {name for digest in wanted for name in workspace.objects.lacking(digest)}:
        if held_in is None:
            held_in = {}
            for key, names_there in side_by_side(depot.names, keys):
                for name in names_there:
                    held_in.setdefault(name, []).append(key)
        due = sorted({next(iter(held_in[name])) for name in lacking if name in held_in} & rest)
        if not due:
            return packs, size, len(lacking)
        count, received = take_packs(workspace, depot, due, progress)
        rest -= set(due)
        packs, size = packs + count, size + received
    return packs, size, 0


def _needed(workspace: Workspace, reference: str, *, with_causes: bool) -> Iterator[Digest]:
    """Yield the objects that a reference needs: those that its event names in what it made and in its body."""
    resolved = names.resolve(workspace, reference)
    if resolved.object is not None:
        yield resolved.object
    if resolved.event is None:
        return
    events = [resolved.event]
    if with_causes:
        found = provenance.upstream(workspace.views.database(), Ref(resolved.event)).nodes
        events = [EventId(node.ref) for node in found if not is_digest(node.ref)]
    for event in events:
        sequenced = workspace.logs.find(event)
        if sequenced is not None:
            yield from _named(workspace, sequenced, with_uses=with_causes)


def _named(workspace: Workspace, sequenced: Sequenced, *, with_uses: bool) -> Iterator[Digest]:
    event = sequenced.event
    listed = (*event.uses, *event.makes) if with_uses else event.makes
    for item in listed:
        if not isinstance(item, Edge):
            yield item.digest
    try:
        edges = list(provenance.edges(listed, workspace.objects.get))
    except RetrodictError:
        edges = [item for item in listed if isinstance(item, Edge)]  # the list itself is fetched first
    yield from (Digest(edge.ref) for edge in edges if is_digest(edge.ref))
    yield from _in(event.body)


def _in(value: object) -> Iterator[Digest]:
    match value:
        case str() if is_digest(value):
            yield Digest(value)
        case Mapping():
            for item in value.values():
                yield from _in(item)
        case list() | tuple():
            for item in value:
                yield from _in(item)
