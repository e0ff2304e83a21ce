"""`backup keys to`: the keys of a workspace, sealed under a passphrase, in a place apart from the store."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict import backups
from retrodict.actions.backing import BackupRecord, key_file_hash, refuse_workspace, sealed_keys
from retrodict.backups import DamagedBackupError, Keys
from retrodict.kernel import clock as clocks
from retrodict.kernel.errors import UsageError
from retrodict.kernel.protocols import Remote
from retrodict.workspace import UnwritableStateError, Workspace, publish, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUpKeys:
    """Where the keys lie now, and under which name; `entry` is the `backup.made` event."""

    destination: str
    name: str
    entry: int


def backup_keys(
    workspace: Workspace, remote: Remote, passphrase: bytes, *, beside_the_store: bool = False
) -> BackedUpKeys:
    """Seal the keys and write them to `remote`.

    The ones that lay there before are removed, so that what was destroyed here does not live on there.

    Args:
        beside_the_store: The place may hold a backup of the store too.

    Raises:
        UnwritableStateError: There are no keys here.
        UsageError: The store is backed up to the same place; or that is a part of the store, or a workspace's folder.
        PassphraseError: It is empty.
        RemoteError: The place cannot be reached.
    """
    refuse_writing(workspace)
    refuse_workspace(workspace, remote.place)
    publish(workspace)
    state, ring = workspace.state, workspace.keys
    if state is None or state.signer is None or ring is None:
        raise UnwritableStateError("there are no keys here that could be backed up")
    if not beside_the_store and remote.list("manifests/"):
        raise UsageError(
            f"{remote.place} holds a backup of the store: whoever has both needs only the passphrase",
            hint="Give another place, or --beside-the-store.",
        )
    extent = workspace.ledger.extent()
    # Before the keys are copied, so that the key of its own text is among them.
    made = BackupRecord(workspace, remote.place)
    sealed = backups.seal_keys(
        Keys(
            workspace=workspace.id,
            origin=workspace.ledger.origin,
            signing_key=state.signer.secret_text,
            wrapping_key=state.wrapping_key,
            checkpoint=state.checkpoint(),
            ring=ring.copy(),
        ),
        passphrase,
        workspace.clock,
        at=clocks.rfc3339(workspace.clock.now_ns()),
    )
    name = f"keys/{workspace.id}-{backups.hash_of(sealed)}"
    remote.put(name, sealed)
    if remote.get(name) != sealed:
        raise DamagedBackupError(f"{remote.place}: {name} is not what was written")
    older = [old for old in sealed_keys(remote, workspace.id) if old != name]
    for old in older:
        remote.delete(old)
    entry = made.append(
        "keys",
        None,
        extent.size,
        extent.root.hex(),
        file=key_file_hash(name),
        removed=[key_file_hash(old) for old in older],
    )
    return BackedUpKeys(destination=remote.place, name=name, entry=entry)
