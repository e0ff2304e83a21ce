"""Backups: what lies at a destination, what is written there and read back, and what the log says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.backups.depot import Contents, Depot, Head, Stretch, side_by_side
    from retrodict.backups.errors import (
        BackupAheadError,
        DamagedBackupError,
        DamagedRemoteError,
        ForeignBackupError,
        PassphraseError,
    )
    from retrodict.backups.layout import Manifest, Part, Segment, hash_of, read_segment, segments
    from retrodict.backups.projection import PROJECTION, restored_entries
    from retrodict.backups.records import (
        MadeBackup,
        count_from,
        last,
        made,
        made_body,
        of_number,
        restored_size,
    )
    from retrodict.backups.sealed import Keys, open_keys, seal_keys
    from retrodict.backups.vault import Vault

_HOMES = {
    "BackupAheadError": "errors",
    "Contents": "depot",
    "DamagedBackupError": "errors",
    "DamagedRemoteError": "errors",
    "Depot": "depot",
    "ForeignBackupError": "errors",
    "Head": "depot",
    "Keys": "sealed",
    "MadeBackup": "records",
    "Manifest": "layout",
    "PROJECTION": "projection",
    "Part": "layout",
    "PassphraseError": "errors",
    "Segment": "layout",
    "Stretch": "depot",
    "Vault": "vault",
    "count_from": "records",
    "hash_of": "layout",
    "last": "records",
    "made": "records",
    "made_body": "records",
    "of_number": "records",
    "open_keys": "sealed",
    "read_segment": "layout",
    "restored_entries": "projection",
    "restored_size": "records",
    "seal_keys": "sealed",
    "segments": "layout",
    "side_by_side": "depot",
}

__all__ = [
    "PROJECTION",
    "BackupAheadError",
    "Contents",
    "DamagedBackupError",
    "DamagedRemoteError",
    "Depot",
    "ForeignBackupError",
    "Head",
    "Keys",
    "MadeBackup",
    "Manifest",
    "Part",
    "PassphraseError",
    "Segment",
    "Stretch",
    "Vault",
    "count_from",
    "hash_of",
    "last",
    "made",
    "made_body",
    "of_number",
    "open_keys",
    "read_segment",
    "restored_entries",
    "restored_size",
    "seal_keys",
    "segments",
    "side_by_side",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
