"""`restore`: bring a workspace back from a backup."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrodict import keys
from retrodict.actions import open as opening
from retrodict.actions.backing import build, fetch_keys, last_backup
from retrodict.backups import DamagedBackupError, ForeignBackupError, Keys, Manifest, Vault
from retrodict.kernel.errors import UsageError
from retrodict.kernel.note import SignatureError, decode_checkpoint, verify_note
from retrodict.kernel.protocols import Clock, Progress, Remote
from retrodict.ledger import Ledger
from retrodict.workspace import FOLDER, Batch, Workspace

Standing = Literal["continues", "begins a log", "behind", "copy", "no keys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was brought back.

    Attributes:
        root: The project's folder; its files are written with `checkout`.
        number, made_at: The backup that it comes from.
        entries: Length of the log.
        standing: "continues": it takes the place of what was lost. "begins a log": with a key of its own.
            "behind": a later checkpoint was signed than this holds: it is read, and never signed over. "copy": the
            original still stands. "no keys": nothing is signed, and texts stay sealed.
        lost: How many entries were signed and are not in the backup.
        are_texts_sealed: No keys of sealed texts were brought back: reasons, names and the like cannot be read.
        key: The log's public key, where the private one is here.
    """

    root: str
    destination: str
    number: int
    made_at: str
    workspace: str
    entries: int
    standing: Standing
    lost: int
    are_texts_sealed: bool
    key: str | None


def restore(
    remote: Remote,
    into: Path,
    state_root: Path,
    clock: Clock,
    *,
    agent: str,
    at: int | None = None,
    keys_from: Remote | None = None,
    passphrase: bytes = b"",
    new_log: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Build the workspace of a backup in `into`; every byte is checked against its name on the way.

    Args:
        into: The project's folder; it may have files, but no workspace.
        state_root: Where keys live. Keys that are there already are used as they are.
        at: The number of the backup; None: the last.
        keys_from: Where `backup_keys` wrote the keys, opened with `passphrase`.
        new_log: Go on although later entries were signed and are lost: under a new key and a new name of the log.

    Raises:
        UsageError: There is no backup, or a workspace in `into`.
        DamagedBackupError: The backup is altered or lacks something. Nothing is left behind.
        PassphraseError, ForeignBackupError: The keys do not open, or are another workspace's.
        ForkError: The checkpoint kept apart is of another history than the backup.
    """
    folder = into / FOLDER
    if folder.exists():
        raise UsageError(f"{into} is a workspace already", hint="Restore into another folder, or move this one away.")
    vault = Vault(remote)
    chain = last_backup(vault, at)
    last = chain[-1]
    backed_up = None if keys_from is None else fetch_keys(keys_from, last.workspace, passphrase)
    if backed_up is not None and backed_up.origin != last.origin:
        raise ForeignBackupError(f"the keys are those of the log {backed_up.origin}, the backup is of {last.origin}")
    here = keys.StateDirectory.open(state_root / last.workspace, last.workspace, folder, clock)
    ring = b"" if backed_up is None else backed_up.ring
    signed, note = _last_signed(here, backed_up, last)
    workspace_id = last.workspace
    standing: Standing = "begins a log"
    key: keys.LogVerifier | None
    if new_log:
        workspace_id, key = _begin_log(vault, chain, into, state_root, clock, here, backed_up, note, agent, progress)
    else:
        build(vault, chain, folder, clock, ring=ring, progress=progress)
        try:
            if backed_up is not None:
                here = keys.StateDirectory.restore(
                    state_root / last.workspace,
                    last.workspace,
                    folder,
                    signing_key=backed_up.signing_key,
                    wrapping_key=backed_up.wrapping_key,
                    checkpoint=note,
                )
            _check_signature(here, last, folder, clock, is_behind=signed > last.size)
            standing = _standing(here, folder, is_behind=signed > last.size)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        # From here on it stays, whatever fails: once it is signed again, the key's checkpoint is ahead of the backup.
        if standing in ("continues", "no keys"):
            # Opening it takes its place, and destroys again what the log calls forgotten.
            with opening.open_workspace(into, state_root, clock, agent=agent) as workspace:
                if standing == "continues" and here.wrapping_key is not None:
                    _say(workspace, vault, last, None)
        key = here.verifier
    return Restored(
        root=str(into),
        destination=vault.place,
        number=last.number,
        made_at=last.at,
        workspace=workspace_id,
        entries=last.size,
        standing=standing,
        lost=max(0, signed - last.size),
        are_texts_sealed=not ring,
        key=None if key is None else str(key),
    )


def _standing(here: keys.StateDirectory, folder: Path, *, is_behind: bool) -> Standing:
    if here.signer is None:
        return "no keys"
    if here.standing(folder) == "copy":
        return "copy"
    return "behind" if is_behind else "continues"


def _last_signed(here: keys.StateDirectory, backed_up: Keys | None, last: Manifest) -> tuple[int, bytes | None]:
    """Return the latest checkpoint that is known to have been signed, with its size."""
    notes = [
        here.checkpoint() if here.signer is not None else None,
        None if backed_up is None else backed_up.checkpoint,
        None if last.note is None else last.note.encode(),
    ]
    sized = [(decode_checkpoint(note).size, note) for note in notes if note is not None]
    return max(sized, key=lambda pair: pair[0], default=(0, None))


def _check_signature(
    state: keys.StateDirectory, last: Manifest, folder: Path, clock: Clock, *, is_behind: bool
) -> None:
    """Check that the log's key, where it is here, has signed what was backed up."""
    if state.verifier is None or last.note is None:
        return
    checkpoint = decode_checkpoint(last.note.encode())
    if is_behind and all(signature.key_id != state.verifier.key_id for signature in checkpoint.signatures):
        return  # signed before the key was replaced; the statement that leads here from that key is among the lost
    ledger = Ledger.open(folder / "ledger.db", clock)
    try:
        verify_note(checkpoint, ledger.key_chain(state.verifier, keys.LogVerifier.from_text))
    except SignatureError as error:
        raise DamagedBackupError(f"the backup is not what the log's key has signed: {error.message}") from error
    finally:
        ledger.close()


def _begin_log(
    vault: Vault,
    chain: list[Manifest],
    into: Path,
    state_root: Path,
    clock: Clock,
    here: keys.StateDirectory,
    backed_up: Keys | None,
    note: bytes | None,
    agent: str,
    progress: Progress | None,
) -> tuple[str, keys.LogVerifier]:
    """Make it go on under a new key and a new name of the log; return the workspace's id, and that key."""
    last = chain[-1]
    wrapping = here.wrapping_key or (None if backed_up is None else backed_up.wrapping_key)
    workspace_id = clock.random_bytes(16).hex()
    folder = into / FOLDER
    state = keys.StateDirectory.create(state_root / workspace_id, workspace_id, folder, clock, wrapping_key=wrapping)
    ring = b"" if backed_up is None else backed_up.ring
    try:
        build(vault, chain, folder, clock, origin=state.origin, workspace_id=workspace_id, ring=ring, progress=progress)
        _check_signature(here, last, folder, clock, is_behind=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(state_root / workspace_id, ignore_errors=True)
        raise
    with opening.open_workspace(into, state_root, clock, agent=agent) as workspace:
        _say(workspace, vault, last, note)
    assert state.verifier is not None
    return workspace_id, state.verifier


def _say(workspace: Workspace, vault: Vault, last: Manifest, signed: bytes | None) -> None:
    """Record what a log was restored from; `signed`, where it begins anew, is the last that the old key signed."""
    batch = Batch(workspace)
    body = {
        "workspace": workspace.id,
        "number": last.number,
        "made_at": last.at,
        "size": last.size,
        "root": last.root,
        "destination": batch.seal(vault.place),
        "continues": None if signed is None else {"origin": last.origin, "note": last.note, "signed": signed.decode()},
    }
    batch.event("log.restored", uses=(), makes=(), body=body)
    batch.append()
