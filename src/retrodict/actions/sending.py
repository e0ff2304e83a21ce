"""What `push`, `bundle` and `backup` share: bringing logs, and what their entries name, to a place. No verb."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from retrodict import backups
from retrodict.actions.remotes import Transfer, first_key, signed_heads
from retrodict.backups import Contents, DamagedRemoteError, Depot, Head, Part, Stretch, side_by_side
from retrodict.kernel import clock as clocks
from retrodict.kernel.errors import AlteredObjectError, UnavailableError
from retrodict.kernel.note import decode_checkpoint
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Finding
from retrodict.ledger import ForkError, HeldLog, OldStoreError, Payload
from retrodict.objects import digest_of
from retrodict.workspace import Workspace, alone, publish


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedLog:
    """A log as it lies in the remote now; `new_entries` came with this push. `is_own`: it is this workspace's."""

    name: str
    origin: str
    entries: int
    new_entries: int
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push did.

    Attributes:
        remote: The name that was given, `place` the address.
        logs: Every log that is held here.
        new_packs: How many packs of objects were brought there; with the logs they are `new_bytes`.
        unsigned: How many entries of the own log stayed here, since nothing signed covers them.
        behind: Logs of which the remote has more than this workspace: `pull` brings it.
        findings: What is altered here and was not brought there; or is damaged there.
    """

    remote: str
    place: str
    logs: tuple[PushedLog, ...]
    new_packs: int
    new_bytes: int
    unsigned: int
    behind: tuple[str, ...]
    findings: tuple[Finding, ...]


def send(workspace: Workspace, name: str, depot: Depot, *, again: bool, progress: Progress | None) -> Pushed:
    """Bring to a place what it does not hold. Keys are not brought there; nothing of others is changed or lost.

    Args:
        name: What the place is called.
        again: Read everything back that is there already, and bring anew what is damaged.

    Raises:
        OldStoreError: The place has more of the own log than is here: this store is old.
        ForkError: The place has another history of one of the logs.
        UnavailableError: Nothing of the own log is signed.
        RemoteError: It cannot be reached.
    """
    publish(workspace)
    with alone(workspace.folder):
        contents = depot.contents()
        findings = [
            Finding(level="altered", what=head, message=f"{depot.place}: {because}")
            for head, because in contents.damaged.items()
        ]
        held = workspace.logs.held()
        heads = {log.hash: signed_heads(workspace, log, contents.heads.get(log.hash, ())) for log in held}
        contents = replace(contents, heads={**contents.heads, **heads})
        for log in held:
            _refuse_another_history(log, contents, depot)
        packs, sent_packs, sent = _push_packs(workspace, depot, contents, findings, again=again, progress=progress)
        pushed: list[PushedLog] = []
        behind: list[str] = []
        for log in held:
            best = contents.heads.get(log.hash, ())
            signed = _signed_size(log)
            before = best[0].size if best else 0
            if best and best[0].size > signed:
                behind.append(log.name)
                pushed.append(_pushed(log, before, 0))
                continue
            is_own = log.tag is None
            is_there = bool(best) and before == signed and (not is_own or best[0].packs == packs)
            if not is_there or again:
                written = send_log(workspace, depot, log, contents, packs if is_own else (), again=again)
                if written is not None:
                    sent += written
                else:
                    signed = before
            pushed.append(_pushed(log, max(signed, before), max(0, signed - before)))
    own = held[0]
    return Pushed(
        remote=name,
        place=depot.place,
        logs=tuple(pushed),
        new_packs=sent_packs,
        new_bytes=sent,
        unsigned=own.ledger.size() - pushed[0].entries,
        behind=tuple(behind),
        findings=tuple(findings),
    )


def _pushed(log: HeldLog, entries: int, new: int) -> PushedLog:
    return PushedLog(name=log.name, origin=log.ledger.origin, entries=entries, new_entries=new, is_own=log.tag is None)


def _signed_size(log: HeldLog) -> int:
    """Return how many entries the log's checkpoint covers.

    Raises:
        UnavailableError: Nothing of the own log is signed.
    """
    note = log.ledger.checkpoint()
    if note is None:
        if log.tag is None:
            raise UnavailableError(
                "nothing of this log is signed, and others take only what is",
                hint="Push from the machine that holds the signing key.",
            )
        return 0
    return decode_checkpoint(note).size


def _refuse_another_history(log: HeldLog, contents: Contents, depot: Depot) -> None:
    """Do nothing where the remote's copies of a log and the one here are parts of one history."""
    size = log.ledger.size()
    for head in contents.heads.get(log.hash, ()):
        where = f"{depot.place} ({head.origin})"
        if head.size > size:
            if log.tag is None:
                raise OldStoreError(size, head.size, where)
        elif head.origin != log.ledger.origin or log.ledger.root(head.size).hex() != head.root:
            raise ForkError(size, head.size, where)


def _push_packs(
    workspace: Workspace,
    depot: Depot,
    contents: Contents,
    findings: list[Finding],
    *,
    again: bool,
    progress: Progress | None,
) -> tuple[tuple[Part, ...], int, int]:
    """Bring the packs there; return those that are there now, how many were brought, and their bytes."""
    sizes, objects = dict(contents.packs), workspace.objects
    local = objects.packs()
    stated = {part.name: part.size_bytes for heads in contents.heads.values() for h in heads for part in h.packs}
    wanted = [key for key in local if again or key not in sizes or sizes[key] != stated.get(key, sizes[key])]

    transfer = Transfer(progress, "packs of objects sent", len(wanted))

    def send(key: str) -> int | Finding:
        if again and key in sizes:
            with contextlib.suppress(DamagedRemoteError):
                for _ in depot.pack(key):
                    pass
                return 0
        size = objects.pack_size(key)
        try:
            depot.put_pack(key, size, lambda: transfer.passing(objects.pack(key)), objects.names_in(key))
        except AlteredObjectError as error:
            return Finding(level="altered", what=f"objects/packs/{key}.pack", message=error.message)
        return size

    for key, result in side_by_side(send, wanted):
        if isinstance(result, Finding):
            findings.append(result)
        elif result:
            sizes[key] = result
        transfer.add(0 if isinstance(result, Finding) else result)
    if transfer.count:
        arrived = depot.remote.list("packs/")
        for key in wanted:
            if key in sizes and arrived.get(f"packs/{key}.pack") != sizes[key]:
                raise DamagedRemoteError(f"{depot.place}: packs/{key}.pack did not arrive whole")
    return (
        tuple(Part(name=key, size_bytes=sizes[key]) for key in sorted(local) if key in sizes),
        transfer.count,
        transfer.size_bytes,
    )


def send_log(
    workspace: Workspace, depot: Depot, log: HeldLog, contents: Contents, packs: Sequence[Part], *, again: bool = False
) -> int | None:
    """Bring a log there as far as it is signed; return the bytes sent; None where that cannot be shown to others."""
    key, note = first_key(workspace, log), log.ledger.checkpoint()
    if key is None or note is None:
        return None  # nobody could tell whose it is
    checkpoint = decode_checkpoint(note)
    if checkpoint.size > log.ledger.size() or log.ledger.root(checkpoint.size) != checkpoint.root:
        raise ForkError(log.ledger.size(), checkpoint.size, "its own checkpoint")
    extent = log.ledger.extent()
    best = contents.heads.get(log.hash, ())
    kept: list[Stretch] = []
    if best and not again and (not best[0].payloads or log.ledger.payload(best[0].payloads) == best[0].last_payload):
        kept = list(best[0].stretches)
    weight = sum(len(segment.data) for segment in _cut(log, kept, checkpoint.size, extent.payloads))
    # Each stretch outweighs all that come after it: so a log is a few files, however often it is pushed.
    while kept and kept[-1].size_bytes <= 2 * weight:
        weight += kept.pop().size_bytes
    sent = 0
    entries, payloads = (kept[-1].entries, kept[-1].payloads) if kept else (0, 0)
    for segment in _cut(log, kept, checkpoint.size, extent.payloads):
        piece = backups.read_segment(segment.data)
        entries += len(piece.entries)
        payloads = piece.payloads[-1].number if piece.payloads else payloads
        depot.put_stretch(log.hash, segment.part.name, segment.data)
        size = segment.part.size_bytes
        kept.append(Stretch(name=segment.part.name, size_bytes=size, entries=entries, payloads=payloads))
        sent += size
    head = Head(
        at=clocks.rfc3339(workspace.clock.now_ns()),
        origin=log.ledger.origin,
        key=str(key),
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        note=note.decode(),
        payloads=extent.payloads,
        last_payload=extent.last_payload,
        stretches=tuple(kept),
        packs=tuple(packs),
    )
    depot.put_head(head)
    depot.remove_superseded(head, contents, is_own=log.tag is None)
    return sent


def _cut(log: HeldLog, kept: Sequence[Stretch], size: int, upto: int) -> Iterator[backups.Segment]:
    start, after = (kept[-1].entries, kept[-1].payloads) if kept else (0, 0)

    def payloads() -> Iterator[Payload]:
        for payload in log.ledger.payloads(after, upto):
            if digest_of(payload.data) == payload.digest:  # `verify` names the others
                yield payload

    return backups.segments((sequenced.data for sequenced in log.ledger.read(start, size)), payloads())
