"""Backups: what lies at a destination, what is written there and read back, and what the log says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.backups.errors import BackupAheadError, DamagedBackupError, ForeignBackupError, PassphraseError
    from retrodict.backups.layout import Manifest, Part, Segment, hash_of, segments
    from retrodict.backups.records import (
        PROJECTION,
        MadeBackup,
        count_from,
        last,
        made,
        made_body,
        of_number,
        restored_entries,
        restored_size,
    )
    from retrodict.backups.sealed import Keys, open_keys, seal_keys
    from retrodict.backups.vault import Vault

_HOMES = {
    "BackupAheadError": "errors",
    "DamagedBackupError": "errors",
    "ForeignBackupError": "errors",
    "Keys": "sealed",
    "MadeBackup": "records",
    "Manifest": "layout",
    "PROJECTION": "records",
    "Part": "layout",
    "PassphraseError": "errors",
    "Segment": "layout",
    "Vault": "vault",
    "count_from": "records",
    "hash_of": "layout",
    "last": "records",
    "made": "records",
    "made_body": "records",
    "of_number": "records",
    "open_keys": "sealed",
    "restored_entries": "records",
    "restored_size": "records",
    "seal_keys": "sealed",
    "segments": "layout",
}

__all__ = [
    "PROJECTION",
    "BackupAheadError",
    "DamagedBackupError",
    "ForeignBackupError",
    "Keys",
    "MadeBackup",
    "Manifest",
    "Part",
    "PassphraseError",
    "Segment",
    "Vault",
    "count_from",
    "hash_of",
    "last",
    "made",
    "made_body",
    "of_number",
    "open_keys",
    "restored_entries",
    "restored_size",
    "seal_keys",
    "segments",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
