"""Backups: what lies at a destination, what is written there and read back, and what the log says about it."""

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
