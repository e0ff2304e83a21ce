"""What the verbs about backups share: recording one, and building a store from one. No verb."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from retrodict import backups
from retrodict.actions.arriving import take_log
from retrodict.backups import DamagedBackupError, Depot, Keys, Manifest, PassphraseError, Vault
from retrodict.backups.records import What
from retrodict.kernel.durable import sync_folder, write_file
from retrodict.kernel.errors import UnavailableError, UsageError
from retrodict.kernel.note import decode_checkpoint
from retrodict.kernel.protocols import Clock, Progress, Remote
from retrodict.ledger import Ledger, key_hash
from retrodict.objects import ObjectStore, open_remote
from retrodict.workspace import FOLDER, Batch, Layout, Workspace, format_file

_SEALED = re.compile(r"keys/(?P<workspace>[0-9a-f]{32})-(?P<hash>[0-9a-f]{64})\Z")


def open_place(destination: str) -> Remote:
    """Return the place that a person names. Raises as `objects.open_remote` does."""
    return open_remote(destination)


def refuse_workspace(workspace: Workspace, place: str) -> None:
    """Raise `UsageError` where a backup would lie in the store that it is of, or among the files of a project."""
    folder = os.path.realpath(place) if place.startswith("/") else None
    if folder is None:
        return
    if Path(folder).is_relative_to(os.path.realpath(workspace.folder)):
        raise UsageError(f"{place} is a part of the store itself", hint="Give a place on another disk.")
    if os.path.isdir(os.path.join(folder, FOLDER)):
        raise UsageError(f"{place} is the folder of a workspace", hint="Give a place of its own, on another disk.")


class BackupRecord:
    """`backup.made`, to be appended; the keys of its texts are kept at once, so that a backup of keys holds them.

    Raises as `Batch` does.
    """

    def __init__(self, workspace: Workspace, place: str) -> None:
        """Seal where the backup lies."""
        self._origin = workspace.ledger.origin
        self._batch = Batch(workspace)
        destination = self._batch.seal(place)
        assert destination is not None
        self._destination = destination
        self._batch.agent(workspace.agent or "unknown")
        self._batch.keep_keys()

    def append(
        self,
        what: What,
        number: int | None,
        size: int,
        root: str,
        *,
        file: str | None = None,
        removed: Sequence[str] = (),
    ) -> int:
        """Record it; return the entry. Arguments as `backups.made_body` has them."""
        body = backups.made_body(
            what=what,
            number=number,
            origin=self._origin,
            size=size,
            root=root,
            destination=self._destination,
            file=file,
            removed=removed,
        )
        self._batch.event("backup.made", uses=(), makes=(), body=body)
        return self._batch.append()[-1].index


def last_backup(vault: Vault, at: int | None) -> list[Manifest]:
    """Return the chain of the last backup, or of backup number `at`.

    Raises:
        UsageError: There is none.
    """
    chain = vault.manifests(at)
    if not chain:
        raise UsageError(f"{vault.place} holds no backup", hint="`retrodict backup to` makes one.")
    return chain


def build(
    vault: Vault,
    chain: Sequence[Manifest],
    folder: Path,
    clock: Clock,
    *,
    origin: str | None = None,
    workspace_id: str | None = None,
    ring: bytes = b"",
    progress: Progress | None = None,
) -> None:
    """Make a store (`.retrodict`) at `folder`, which is there afterwards whole or not at all, as the folder around it.

    Args:
        origin: What the log is called from now on; None: as it was.
        workspace_id: Likewise.
        ring: `keys.db`.

    Raises:
        DamagedBackupError: The backup does not make the log that its last manifest names.
        UnavailableError: The disk or the destination fails.
    """
    last = chain[-1]
    building = folder.with_name(f"{folder.name}.restoring")
    was_there = folder.parent.exists()
    try:
        shutil.rmtree(building, ignore_errors=True)  # of a restore that was killed
        building.mkdir(parents=True)
        # A log of another name cannot show the checkpoints of the old one.
        note = last.note.encode() if last.note is not None and origin is None else None
        Ledger.restore(building / "ledger.db", origin or last.origin, vault.pieces(chain, progress), note)
        _check(building / "ledger.db", last, vault, clock)
        ObjectStore.restore(building / "objects", clock, vault.packs(chain, progress)).close()
        if ring:
            write_file(building / "keys.db", ring)
        write_file(building / ".gitignore", b"*\n")
        write_file(building / "format.json", format_file(workspace_id or last.workspace))
        _build_received(vault, building, workspace_id or last.workspace, clock)
        os.rename(building, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        if not was_there and not folder.exists():
            with contextlib.suppress(OSError):
                folder.parent.rmdir()


def _build_received(vault: Vault, folder: Path, workspace_id: str, clock: Clock) -> None:
    """Put the logs of others, which the log in `folder` says were received, beside it, as far as they lie there too."""
    ledger = Ledger.open(folder / "ledger.db", clock, read_only=True)
    try:
        said = [*ledger.entries_of("log.pulled"), *ledger.entries_of("workspace.copied")]
        origins = dict.fromkeys(str(sequenced.event.body["origin"]) for sequenced in said)
        if not origins:
            return
        depot = Depot(vault.remote)
        heads, layout = depot.contents().heads, Layout(workspace=workspace_id)
        layout = replace(layout, own_log=layout.new_log(ledger.origin, None, "ledger.db"))
        for origin in origins:
            for head in heads.get(key_hash(origin), ())[:1]:
                file = layout.new_log(head.origin, head.key)
                take_log(folder, clock, depot, head, None, file, lambda event: ledger.find(event) is not None)
                layout = replace(layout, others=(*layout.others, file))
        if layout.others:
            layout.write(folder)
    finally:
        ledger.close()


def _check(path: Path, last: Manifest, vault: Vault, clock: Clock) -> None:
    ledger = Ledger.open(path, clock)
    try:
        if ledger.size() != last.size or ledger.root().hex() != last.root:
            raise DamagedBackupError(
                f"{vault.place}: the log of backup {last.number} has {ledger.size()} entries and another root than its "
                f"manifest says ({last.size} entries)"
            )
        if last.note is not None:
            signed = decode_checkpoint(last.note.encode())
            if signed.origin != last.origin or signed.size > last.size or ledger.root(signed.size) != signed.root:
                raise DamagedBackupError(f"{vault.place}: the checkpoint of backup {last.number} is of another log")
    finally:
        ledger.close()


def sealed_keys(remote: Remote, workspace_id: str) -> list[str]:
    """Return the names under which keys of a workspace lie, sealed."""
    return sorted(
        name
        for name in remote.list("keys/")
        if (match := _SEALED.match(name)) is not None and match["workspace"] == workspace_id
    )


def key_file_hash(name: str) -> str:
    """Return the hash in the name of a file of sealed keys."""
    match = _SEALED.match(name)
    assert match is not None
    return match["hash"]


def fetch_keys(remote: Remote, workspace_id: str, passphrase: bytes) -> Keys:
    """Return the keys of a workspace that lie at `remote`.

    Raises:
        UsageError: There are none.
        PassphraseError: None opens.
    """
    found: list[Keys] = []
    problem: PassphraseError | None = None
    for name in sealed_keys(remote, workspace_id):
        data = remote.get(name)
        if data is not None:
            try:
                found.append(backups.open_keys(data, passphrase))
            except PassphraseError as error:
                problem = error
    if not found:
        raise problem or UsageError(
            f"{remote.place} holds no keys of this workspace", hint="Give the place that `backup keys to` was given."
        )
    # Two lie there only where a backup of keys was cut off before it could remove the older one.
    return max(found, key=lambda keys: 0 if keys.checkpoint is None else decode_checkpoint(keys.checkpoint).size)
