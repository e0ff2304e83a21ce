"""What the store cannot do."""

from __future__ import annotations

from retrodict.kernel.errors import IntegrityError, UnavailableError, UsageError


class ChangedFileError(UnavailableError):
    """A file did not hold still while it was read."""

    slug = "changed-file"
    hint = "Try again when nothing writes to it."

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changed while it was read")
        self.path = path


class UnreadableFileError(UnavailableError):
    """The system refuses to read a file or folder."""

    slug = "unreadable-file"
    hint = "Look at its rights; of a folder with sockets or devices, version the parts that hold files."

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"{path} cannot be read: {error.strerror or error}")
        self.path = path


class StoreWriteError(UnavailableError):
    """The disk did not take what was to be stored; nothing was acknowledged."""

    slug = "store-write"
    hint = "Make room or mend the disk, then do it again; nothing half-written is left behind."

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__(f"cannot write to {where}: {getattr(error, 'strerror', None) or error}")
        self.where = where


class StoreReadError(UnavailableError):
    """The disk does not give back what is stored."""

    slug = "store-read"
    hint = "The disk under the store fails or a right is missing; nothing is known to be altered."

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__(f"cannot read {where}: {getattr(error, 'strerror', None) or error}")
        self.where = where


class StoreBusyError(UnavailableError):
    """Another process held the index for longer than we wait."""

    slug = "store-busy"
    hint = "Another process writes to this store; try again when it is done."


class DamagedIndexError(IntegrityError):
    """The index is not a database any more. It holds nothing that the packs and raw files do not hold."""

    slug = "damaged-index"
    hint = "Delete index.db, index.db-wal and index.db-shm: the next opening builds them again."


class CheckoutConflictError(UsageError):
    """Something stands in the way that a checkout may not remove."""

    slug = "checkout-conflict"
    hint = "Move it away, or check out somewhere else."
