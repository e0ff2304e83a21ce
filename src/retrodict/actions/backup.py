"""`backup to`: copy what is new to another place, and read back what was copied."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from retrodict import backups
from retrodict.actions.backing import BackupRecord, refuse_workspace
from retrodict.actions.sending import send_log
from retrodict.backups import BackupAheadError, DamagedBackupError, Depot, Manifest, Part, Vault, hash_of
from retrodict.kernel import clock as clocks
from retrodict.kernel.errors import AlteredObjectError, UnavailableError
from retrodict.kernel.note import decode_checkpoint
from retrodict.kernel.protocols import Progress, Remote
from retrodict.kernel.types import Finding
from retrodict.ledger import Extent, Payload
from retrodict.objects import digest_of
from retrodict.workspace import Workspace, open_text, publish, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a backup did.

    Attributes:
        destination: Where it lies.
        number: Of this backup there, from 1; of the last one where nothing was new.
        is_new: Something was copied.
        entries: Length of the log that is there now; `new_entries` came with this backup.
        new_bytes: How much was written; all of it was read back.
        entry: The `backup.made` event, or None where nothing was new.
        findings: What is altered here and was not copied.
    """

    destination: str
    number: int
    is_new: bool
    entries: int
    new_entries: int
    new_bytes: int
    entry: int | None
    findings: tuple[Finding, ...]


def backup(
    workspace: Workspace, remote: Remote, *, closing: bool = False, progress: Progress | None = None
) -> BackedUp:
    """Copy the log and the objects to `remote`, as far as they are not there yet. Keys are not copied.

    That a backup was made is an entry too. It is copied at once, so that a store that is lost after its last backup was
    signed no further than that backup.

    Args:
        closing: Another part of the same backup has been recorded: copy its entry, and record no more.

    Raises:
        UsageError: The place is a part of the store, or a workspace's folder.
        ForeignBackupError: Something else lies there.
        BackupAheadError: What lies there is not what this log continues.
        DamagedBackupError: Something there is missing or altered.
        RemoteError: It cannot be reached.
        CopiedWorkspaceError, ReadOnlyStoreError, OldStoreError, ForkError: Nothing can be recorded here.
    """
    refuse_writing(workspace)
    refuse_workspace(workspace, remote.place)
    vault = Vault(remote)
    with _alone(workspace):
        findings: list[Finding] = []
        before, after = _copy(workspace, vault, findings, progress, closing=closing)
        _copy_received(workspace, vault, findings)
        recorded = None
        if not closing:
            recorded = _record(workspace, vault)
            _, after = _copy(workspace, vault, [], progress, closing=True)
        added = [manifest for manifest in vault.manifests() if before is None or manifest.number > before.number]
        return BackedUp(
            destination=vault.place,
            number=after.number,
            is_new=bool(added),
            entries=after.size,
            new_entries=after.size - (0 if before is None else before.size),
            new_bytes=sum(part.size_bytes for manifest in added for part in (*manifest.segments, *manifest.packs)),
            entry=recorded,
            findings=tuple(findings),
        )


def _copy(
    workspace: Workspace, vault: Vault, findings: list[Finding], progress: Progress | None, *, closing: bool
) -> tuple[Manifest | None, Manifest]:
    """Copy what is new; return the manifest that was the last one, and the one that is now."""
    publish(workspace)
    chain = vault.manifests()
    vault.refuse_others(chain, workspace.id)
    before = chain[-1] if chain else None
    # What an entry names is durable before the entry: packs that are listed after it hold all of it.
    extent = workspace.ledger.extent()
    _refuse_another_history(workspace, vault, before, extent)
    held = vault.held(chain)
    lost = [part for manifest in chain for part in manifest.segments if part.name not in held]
    if lost:
        raise DamagedBackupError(f"{vault.place} lacks {len(lost)} of its segments of the log")
    named = {part.name for manifest in chain for part in manifest.packs}
    wanted = [name for name in workspace.objects.packs() if name not in named or name not in held]
    if before is not None and not wanted and not _is_worth_it(workspace, before, extent, closing=closing):
        return before, before
    packs = [part for part in _copy_packs(workspace, vault, wanted, findings, progress) if part.name not in named]
    segments = _copy_log(workspace, vault, before, extent, findings, progress)
    note = workspace.ledger.checkpoint()
    if note is not None and decode_checkpoint(note).size > extent.size:
        note = None if before is None or before.note is None else before.note.encode()  # another process signed more
    manifest = Manifest(
        number=len(chain) + 1,
        previous=None if before is None else hash_of(before.encode()),
        at=clocks.rfc3339(workspace.clock.now_ns()),
        workspace=workspace.id,
        origin=workspace.ledger.origin,
        size=extent.size,
        root=extent.root.hex(),
        note=None if note is None else note.decode(),
        payloads=extent.payloads,
        last_payload=extent.last_payload,
        segments=tuple(segments),
        packs=tuple(packs),
        closing=closing,
    )
    vault.finish(manifest)
    vault.remove_torn([*chain, manifest])
    return before, manifest


def _copy_received(workspace: Workspace, vault: Vault, findings: list[Finding]) -> None:
    """Copy what is new of the logs of others, as `push` does."""
    others = workspace.logs.held()[1:]
    if not others:
        return
    depot = Depot(vault.remote)
    contents = depot.contents()
    for log in others:
        note, heads = log.ledger.checkpoint(), contents.heads.get(log.hash, ())
        signed = 0 if note is None else decode_checkpoint(note).size
        if heads and heads[0].size >= signed:
            continue
        if send_log(workspace, depot, log, contents, ()) is None:
            message = f"the log {log.ledger.origin} is not signed by a key that is known, so that it was not copied"
            findings.append(Finding(level="missing", what=log.name, message=message))


@contextlib.contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Let one backup of a workspace run at a time."""
    try:
        fd = os.open(workspace.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UnavailableError(f"{workspace.folder} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _refuse_another_history(workspace: Workspace, vault: Vault, before: Manifest | None, extent: Extent) -> None:
    if before is None:
        return
    if before.size > extent.size:
        raise BackupAheadError(
            f"{vault.place} holds {before.size} entries, and the log here has {extent.size}: this store is older"
        )
    if workspace.ledger.root(before.size).hex() != before.root:
        raise BackupAheadError(
            f"{vault.place} holds another history: its {before.size} entries are not those of the log"
        )


def _is_worth_it(workspace: Workspace, before: Manifest, extent: Extent, *, closing: bool) -> bool:
    """Say whether the log has said anything since, other than that it was backed up."""
    if closing:
        return extent.size > before.size
    return any(
        event.kind != "agent.named" and (event.kind != "backup.made" or event.body["what"] != "store")
        for event in (sequenced.event for sequenced in workspace.ledger.read(before.size, extent.size))
    )


def _copy_packs(
    workspace: Workspace, vault: Vault, wanted: list[str], findings: list[Finding], progress: Progress | None
) -> Iterator[Part]:
    for done, name in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted), "packs of objects")
        try:
            yield vault.add_pack(name, workspace.objects.pack_size(name), partial(workspace.objects.pack, name))
        except AlteredObjectError as error:
            findings.append(Finding(level="altered", what=f"objects/packs/{name}.pack", message=error.message))


def _copy_log(
    workspace: Workspace,
    vault: Vault,
    before: Manifest | None,
    extent: Extent,
    findings: list[Finding],
    progress: Progress | None,
) -> list[Part]:
    start = 0 if before is None else before.size
    after = 0 if before is None else before.payloads
    if before is not None and before.last_payload is not None:
        # Payloads are numbered as they arrive; where the last one is not where it was, all of them are copied again.
        after = after if workspace.ledger.payload(after) == before.last_payload else 0

    def payloads() -> Iterator[Payload]:
        for payload in workspace.ledger.payloads(after, extent.payloads):
            if digest_of(payload.data) == payload.digest:
                yield payload
            else:
                message = "its bytes in the log have another digest"
                findings.append(Finding(level="altered", what=payload.digest, message=message))

    entries = (sequenced.data for sequenced in workspace.ledger.read(start, extent.size))
    parts, copied = [], start
    for segment in backups.segments(entries, payloads()):
        if progress is not None:
            progress(copied, extent.size, "entries")
        vault.add_segment(segment)
        parts.append(segment.part)
        copied += segment.entries
    return parts


def _record(workspace: Workspace, vault: Vault) -> int | None:
    """Record the last backup, unless that is done already (a process may have been killed before) or cannot be."""
    made = [manifest for manifest in vault.manifests() if not manifest.closing]
    if not made or workspace.state is None or workspace.state.signer is None:
        return None  # without keys the place cannot be sealed
    for known in backups.of_number(workspace.views.database(), made[-1].number):
        if open_text(workspace, known.destination) == vault.place:
            return None
    return BackupRecord(workspace, vault.place).append("store", made[-1].number, made[-1].size, made[-1].root)
