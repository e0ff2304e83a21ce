"""What can go wrong with a backup."""

from __future__ import annotations

from retrodict.kernel.errors import IntegrityError, UsageError


class ForeignBackupError(UsageError):
    """A destination holds the backup of another workspace, or something that is none."""

    slug = "foreign-backup"
    hint = "Give each workspace a place of its own."


class BackupAheadError(IntegrityError):
    """A backup holds entries that the log does not continue: this store is old, or another history."""

    slug = "backup-ahead"
    hint = "Nothing was written. Restore the backup to see what it holds, or back this store up to another place."


class DamagedBackupError(IntegrityError):
    """Bytes of a backup are gone, or are not those that were written."""

    slug = "damaged-backup"
    hint = "`--at NUMBER` takes an earlier backup from the same place; and make a new one elsewhere now."


class DamagedRemoteError(IntegrityError):
    """Bytes of a remote are gone, or are not those that were pushed."""

    slug = "damaged-remote"
    hint = "Nothing of it was taken. `retrodict push --again`, where what is damaged is held, brings it there anew."


class PassphraseError(UsageError):
    """Backed-up keys cannot be opened with the passphrase that was given."""

    slug = "passphrase"
    hint = "Nobody can open them without the passphrase that they were sealed under."
