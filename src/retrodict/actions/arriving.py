"""What `pull`, `fetch` and `clone` share: taking packs and logs from a remote, each checked on arrival. No verb."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from retrodict.actions.remotes import Transfer, is_first_key
from retrodict.backups import Contents, DamagedBackupError, DamagedRemoteError, Depot, Head, side_by_side
from retrodict.kernel import merkle
from retrodict.kernel.errors import FormatError
from retrodict.kernel.note import Checkpoint, SignatureError, decode_checkpoint, verify_note
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import EventId
from retrodict.keys import LogVerifier
from retrodict.ledger import Arrival, Extent, ForkError, HeldLog, OldStoreError, Piece, RefusedLogError, extend
from retrodict.workspace import Batch, Layout, LogFile, Workspace, destroy_forgotten, log_keys, log_path

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


def wanted_packs(workspace: Workspace, depot: Depot, contents: Contents) -> list[str]:
    """Return the packs that heads name and of which something is not held here, in these packs or in others."""
    held = set(workspace.objects.packs())
    named = {part.name for heads in contents.heads.values() for head in heads for part in head.packs}
    packs = sorted(named - held)
    if not held:
        return packs
    there = side_by_side(depot.names, packs)
    return sorted(key for key, names in there if not names or not workspace.objects.holds_all(names))


def take_packs(workspace: Workspace, depot: Depot, keys: Sequence[str], progress: Progress | None) -> tuple[int, int]:
    """Take packs; return how many, and their bytes. Those that arrived before one is refused stay.

    Raises:
        DamagedRemoteError: One is missing or altered.
    """
    transfer = Transfer(progress, "packs of objects received", len(keys))
    for key, data in side_by_side(depot.pack, keys):
        workspace.objects.take_pack(key, data)
        transfer.add(len(data))
    return transfer.count, transfer.size_bytes


def check_own(workspace: Workspace, depot: Depot, contents: Contents) -> None:
    """Do nothing where the remote's copies of the own log are parts of it.

    Raises:
        OldStoreError: There are more entries: this store is old.
        ForkError: They are of another history.
    """
    own = workspace.logs.held()[0]
    size = own.ledger.size()
    for head in contents.heads.get(own.hash, ()):
        where = f"{depot.place} ({head.origin})"
        if head.size > size:
            raise OldStoreError(size, head.size, where)
        if own.ledger.root(head.size).hex() != head.root:
            raise ForkError(size, head.size, where)


def take_logs(
    workspace: Workspace, depot: Depot, contents: Contents, progress: Progress | None
) -> tuple[list[PulledLog], list[Refused]]:
    """Take the logs of others, and record in the own log what came; what they call forgotten is destroyed here too.

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
        for head in heads:  # the one that has come furthest first; whoever writes the remote may have forged it
            try:
                file = layout.log(log_hash) or layout.new_log(head.origin, head.key)
                pulled = _take_log(workspace, depot, head, held, file)
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


def _take_log(workspace: Workspace, depot: Depot, head: Head, held: HeldLog | None, file: LogFile) -> PulledLog | None:
    """Take what is new of one log; None where nothing is.

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
    extent = _extend(workspace, depot, head, checkpoint, key, held, file, size)
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
    workspace: Workspace,
    depot: Depot,
    best: Head,
    checkpoint: Checkpoint,
    key: LogVerifier,
    held: HeldLog | None,
    file: LogFile,
    size: int,
) -> Extent:
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

    def is_known(event: EventId) -> bool:
        return any(log.ledger.find(event) is not None for log in workspace.logs.held() if log.hash != file.hash)

    path = log_path(workspace.folder, file)
    path.parent.mkdir(exist_ok=True)
    if held is None:
        _remove(path)  # of a pull that was killed before it could list the file
    try:
        return extend(
            path,
            Arrival(checkpoint=checkpoint, key=key, where=depot.place),
            pieces(),
            follow=LogVerifier.from_text,
            latest_tick=workspace.clock.now_ns() // 1000 + _DAY_US,
            is_known=is_known,
            is_new=held is None,
        )
    except BaseException as error:
        if held is None:
            _remove(path)
        if not isinstance(error, ForkError):
            raise
        if held is None or _root(depot, best) != checkpoint.root:
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
