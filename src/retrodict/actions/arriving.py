"""What `pull`, `fetch` and `clone` share: taking packs and logs from a remote, each checked on arrival. No verb."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from retrodict.actions.conflicts import Conflict, find_conflicts
from retrodict.actions.holding import confirm_destroyed
from retrodict.actions.needs import roots
from retrodict.actions.remotes import Transfer, is_first_key, signed_heads
from retrodict.backups import Contents, DamagedBackupError, DamagedRemoteError, Depot, Head, side_by_side
from retrodict.kernel import merkle
from retrodict.kernel.errors import FormatError, IntegrityError, UsageError
from retrodict.kernel.note import Checkpoint, SignatureError, decode_checkpoint, verify_note
from retrodict.kernel.protocols import Clock, Progress
from retrodict.kernel.types import EventId
from retrodict.keys import LogVerifier
from retrodict.ledger import Arrival, Extent, ForkError, HeldLog, OldStoreError, Piece, RefusedLogError, extend
from retrodict.workspace import (
    Batch,
    Layout,
    LogFile,
    Workspace,
    alone,
    destroy_forgotten,
    log_keys,
    log_path,
    refuse_writing,
)

_DAY_US = 24 * 3600 * 1_000_000  # a tick is a time in microseconds; one a day ahead is of a clock that is wrong

_NO_NEWS = frozenset({"log.pulled", "agent.named"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledLog:
    """A log of others as it is held now; `new_entries` came just now. `is_new`: it was not held before."""

    name: str
    origin: str
    entries: int
    new_entries: int
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something in the remote that was not taken, and why."""

    what: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull did.

    Attributes:
        remote: The name that was given, `place` the address.
        logs: The logs of which something came.
        new_packs: How many packs of objects came, `new_bytes` with how many bytes.
        refused: What is there and was not taken.
        conflicts: Names that were set on both sides; `settle` ends each.
    """

    remote: str
    place: str
    logs: tuple[PulledLog, ...]
    new_packs: int
    new_bytes: int
    refused: tuple[Refused, ...]
    conflicts: tuple[Conflict, ...]


def receive(
    workspace: Workspace, name: str, depot: Depot, *, only_logs: bool = False, progress: Progress | None
) -> Pulled:
    """Take what a place holds and this workspace does not; each log becomes one to read, under its own name.

    Objects come before the entries that name them. What was taken before this was cut off is not taken again.

    Args:
        name: What the place is called.
        only_logs: Leave the objects there; `fetch` takes them later.

    Raises:
        OldStoreError, ForkError: The place has more, or another history, of the own log.
        DamagedRemoteError: A pack is missing or altered; no log was taken.
        RemoteError: It cannot be reached.
        CopiedWorkspaceError, ReadOnlyStoreError: Nothing can be recorded here.
        UsageError: No log lies there.
    """
    refuse_writing(workspace)
    with alone(workspace.folder):
        contents = some_contents(depot)
        check_own(workspace, depot, contents)
        packs = size = 0
        if not only_logs:
            packs, size = take_wanted(workspace, depot, contents, progress)
        logs, refused = take_logs(workspace, depot, contents, progress)
    return Pulled(
        remote=name,
        place=depot.place,
        logs=tuple(logs),
        new_packs=packs,
        new_bytes=size,
        refused=tuple(refused),
        conflicts=find_conflicts(workspace),
    )


def some_contents(depot: Depot) -> Contents:
    """Return what lies in a place.

    Raises:
        UsageError: No log does, not even a damaged one.
    """
    contents = depot.contents()
    if not contents.heads and not contents.damaged:
        raise UsageError(f"no log lies in {depot.place}", hint="`retrodict push` brings one there.")
    return contents


def take_wanted(workspace: Workspace, depot: Depot, contents: Contents, progress: Progress | None) -> tuple[int, int]:
    """Take the packs of which something is needed that is not held here. Returns and raises as `take_packs` does."""
    packs = size = 0
    while keys := _wanted(workspace, depot, contents):
        count, received = take_packs(workspace, depot, keys, progress)
        packs, size = packs + count, size + received
    return packs, size


def lacking_packs(workspace: Workspace, depot: Depot, contents: Contents) -> dict[str, set[bytes]]:
    """Return the packs that heads name and of which something is not held here, in these packs or in others.

    Each comes with the names of that; without any where the place does not say what is in it.
    """
    held = set(workspace.objects.packs())
    named = {part.name for heads in contents.heads.values() for head in heads for part in head.packs}
    packs = sorted(named - held)
    if not held:
        return {key: set() for key in packs}
    there = {key: (bool(names), workspace.objects.missing(names)) for key, names in side_by_side(depot.names, packs)}
    return {key: missing for key, (is_said, missing) in sorted(there.items()) if missing or not is_said}


def _wanted(workspace: Workspace, depot: Depot, contents: Contents) -> list[str]:
    """Return the packs to take next: what is needed from them, and from others, is known once they are here."""
    lacking = lacking_packs(workspace, depot, contents)
    has_swept = any(True for log in workspace.logs.held() for _ in islice(log.ledger.entries_of("store.swept"), 1))
    if not lacking or not has_swept:
        return list(lacking)
    # What is lacking may have been swept here: only what an entry needs is wanted.
    candidates = set[bytes]().union(*lacking.values())
    try:
        named = roots(workspace, also=candidates, arriving=_arriving(workspace, depot, contents)).needed
        needed = workspace.objects.needed(named)
    except IntegrityError:  # something altered may need it
        return list(lacking)
    return [key for key, names in lacking.items() if not names or not names.isdisjoint(needed)]


def _arriving(workspace: Workspace, depot: Depot, contents: Contents) -> Iterator[bytes]:
    """Yield the entries and payloads that lie in a place and not here, as far as they can be read."""
    held = {log.hash: log.ledger.extent() for log in workspace.logs.held()}
    for log_hash, heads in contents.heads.items():
        extent = held.get(log_hash)
        entries, payloads = (0, 0) if extent is None else (extent.size, extent.payloads)
        stretches = [stretch for head in heads for stretch in head.stretches]
        for name in dict.fromkeys(s.name for s in stretches if s.entries > entries or s.payloads > payloads):
            with contextlib.suppress(DamagedRemoteError, DamagedBackupError):  # refused by name when it is taken
                piece = depot.stretch(log_hash, name)
                yield from piece.entries
                yield from (payload.data for payload in piece.payloads)


def take_packs(workspace: Workspace, depot: Depot, keys: Sequence[str], progress: Progress | None) -> tuple[int, int]:
    """Take packs; return how many, and their bytes. Those that arrived before one is refused stay.

    Raises:
        DamagedRemoteError: One is missing or altered.
    """
    transfer = Transfer(progress, "packs of objects received", len(keys))

    def take(key: str) -> int:
        workspace.objects.take_pack(key, transfer.passing(depot.pack(key)))
        return workspace.objects.pack_size(key)

    for _, size_bytes in side_by_side(take, keys):
        transfer.add(size_bytes)
    return transfer.count, transfer.size_bytes


def check_own(workspace: Workspace, depot: Depot, contents: Contents) -> None:
    """Do nothing where the remote's copies of the own log are parts of it.

    Raises:
        OldStoreError: There are more entries: this store is old.
        ForkError: They are of another history.
    """
    own = workspace.logs.held()[0]
    size = own.ledger.size()
    for head in signed_heads(workspace, own, contents.heads.get(own.hash, ())):
        where = f"{depot.place} ({head.origin})"
        if head.size > size:
            raise OldStoreError(size, head.size, where)
        if own.ledger.root(head.size).hex() != head.root:
            raise ForkError(size, head.size, where)


def take_logs(
    workspace: Workspace, depot: Depot, contents: Contents, progress: Progress | None
) -> tuple[list[PulledLog], list[Refused]]:
    """Take the logs of others, and record in the own log what came; what they call forgotten is destroyed here too.

    That it is gone is recorded for those with whom it was shared.

    The lock of the folder is held. Each log comes whole or not at all; one that is refused does not stop the others.
    """
    layout = Layout.read(workspace.folder)
    own = workspace.logs.held()[0]
    taken: list[PulledLog] = []
    refused = [Refused(what=name, because=why) for name, why in contents.damaged.items()]
    for done, (log_hash, heads) in enumerate(sorted(contents.heads.items())):
        if progress is not None:
            progress(done, len(contents.heads), "logs")
        if log_hash == own.hash:
            continue
        held = next((log for log in workspace.logs.held() if log.hash == log_hash), None)

        def is_known(event: EventId, log_hash: str = log_hash) -> bool:
            others = (log for log in workspace.logs.held() if log.hash != log_hash)
            return any(log.ledger.find(event) is not None for log in others)

        for head in heads:  # the one that has come furthest first; whoever writes the remote may have forged it
            try:
                file = layout.log(log_hash) or layout.new_log(head.origin, head.key)
                pulled = take_log(workspace.folder, workspace.clock, depot, head, held, file, is_known)
            except (ForkError, RefusedLogError, DamagedRemoteError, DamagedBackupError, FormatError) as error:
                refused.append(Refused(what=head.origin, because=error.message))
                if isinstance(error, ForkError):
                    break
                continue
            if pulled is not None:
                taken.append(pulled)
                layout = _listed(workspace, own, layout, file)
            break
    if taken:
        layout.write(workspace.folder)  # also where no log is new: other processes see by it that there is more
    _record(workspace, depot)
    if taken:
        destroy_forgotten(workspace)
    confirm_destroyed(workspace)
    return taken, refused


def _listed(workspace: Workspace, own: HeldLog, layout: Layout, file: LogFile) -> Layout:
    if layout.log(file.hash) is not None:
        return layout
    own_log = layout.own_log
    if own_log is None:
        verifier = None if workspace.state is None else workspace.state.verifier
        key = None if verifier is None else str(verifier)
        own_log = Layout(workspace=layout.workspace).new_log(own.ledger.origin, key, layout.own)
    return replace(layout, own_log=own_log, others=(*layout.others, file))


def take_log(
    folder: Path,
    clock: Clock,
    depot: Depot,
    head: Head,
    held: HeldLog | None,
    file: LogFile,
    is_known: Callable[[EventId], bool],
) -> PulledLog | None:
    """Take what is new of one log; None where nothing is.

    Args:
        folder: `.retrodict`, in which it is to lie as `file` says.
        held: The log as it is held; None: it is new.
        is_known: Whether an event lies in another log here.

    Raises:
        ForkError: Its key has signed another history than the one that is held.
        RefusedLogError: Its key has not signed it, or it breaks the rules.
        DamagedRemoteError: A part is missing or altered.
    """
    checkpoint = decode_checkpoint(head.note.encode())
    if (checkpoint.origin, checkpoint.size, checkpoint.root.hex()) != (head.origin, head.size, head.root):
        raise RefusedLogError(head.origin, depot.place, "its checkpoint is not what its head says")
    key = LogVerifier.from_text(head.key)
    if file.origin != head.origin or not is_first_key(key, head.origin):
        raise RefusedLogError(head.origin, depot.place, "its name does not hold the hash of its key")
    size = 0 if held is None else held.ledger.size()
    note = None if held is None else held.ledger.checkpoint()
    signed = 0 if note is None else decode_checkpoint(note).size
    if held is not None and head.size <= size and held.ledger.root(head.size) != checkpoint.root:
        _check_signed(checkpoint, log_keys(held, key), depot)
        raise ForkError(size, head.size, f"{depot.place} ({head.origin})")
    if held is not None and head.size <= signed:
        return None
    arrival = Arrival(checkpoint=checkpoint, key=key, where=depot.place)
    extent = _extend(log_path(folder, file), clock, depot, head, arrival, held, is_known)
    return PulledLog(
        name=file.tag,
        origin=head.origin,
        entries=extent.size,
        new_entries=extent.size - size,
        is_new=held is None,
    )


def _check_signed(checkpoint: Checkpoint, known: Sequence[LogVerifier], depot: Depot) -> None:
    try:
        verify_note(checkpoint, known)
    except SignatureError as error:
        raise RefusedLogError(checkpoint.origin, depot.place, error.message) from error


def _extend(
    path: Path,
    clock: Clock,
    depot: Depot,
    best: Head,
    arrival: Arrival,
    held: HeldLog | None,
    is_known: Callable[[EventId], bool],
) -> Extent:
    size = 0 if held is None else held.ledger.size()
    payloads = 0 if held is None else held.ledger.extent().payloads

    def pieces() -> Iterator[Piece]:
        before = 0
        for stretch in best.stretches:
            if stretch.entries > size or stretch.payloads > payloads:
                piece = depot.stretch(best.log, stretch.name)
                if len(piece.entries) != stretch.entries - before:
                    raise RefusedLogError(
                        best.origin, depot.place, f"{stretch.name} holds other entries than it should"
                    )
                yield Piece(piece.entries[max(0, size - before) :], piece.payloads)
            before = stretch.entries

    path.parent.mkdir(exist_ok=True)
    if held is None:
        _remove(path)  # of a pull that was killed before it could list the file
    try:
        return extend(
            path,
            arrival,
            pieces(),
            follow=LogVerifier.from_text,
            latest_tick=clock.now_ns() // 1000 + _DAY_US,
            is_known=is_known,
            is_new=held is None,
        )
    except BaseException as error:
        if held is None:
            _remove(path)
        if not isinstance(error, ForkError):
            raise
        if held is None or _root(depot, best) != arrival.checkpoint.root:
            why = "its entries are not those that its checkpoint signs"
            raise RefusedLogError(best.origin, depot.place, why) from error
        raise


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _root(depot: Depot, head: Head) -> bytes:
    """Return the root over all entries that a head names."""
    leaves = [
        merkle.leaf_hash(data) for stretch in head.stretches for data in depot.stretch(head.log, stretch.name).entries
    ]
    return merkle.tree_hash(leaves[: head.size])


def _record(workspace: Workspace, depot: Depot) -> None:
    """Append `log.pulled` for each log of which more has come than the own log says: a pull may have been killed.

    That others have pulled is no news: two who pull from each other come to an end.
    """
    said: dict[str, int] = {}
    for sequenced in (*workspace.ledger.entries_of("log.pulled"), *workspace.ledger.entries_of("workspace.copied")):
        origin = str(sequenced.event.body["origin"])
        said[origin] = max(said.get(origin, 0), int(str(sequenced.event.body["size"])))
    batch = Batch(workspace)
    is_new = False
    for log in workspace.logs.held()[1:]:
        note = log.ledger.checkpoint()
        checkpoint = None if note is None else decode_checkpoint(note)
        if note is None or checkpoint is None:
            continue
        new = log.ledger.read(said.get(checkpoint.origin, 0), checkpoint.size)
        if checkpoint.origin in said and all(entry.event.kind in _NO_NEWS for entry in new):
            continue
        body = {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "note": note.decode(),
            "key": log.key,
            "remote": batch.seal(depot.place),
        }
        batch.event("log.pulled", uses=(), makes=(), body=body)
        is_new = True
    if is_new:
        batch.append()
