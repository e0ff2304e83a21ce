"""What can go wrong with a log."""

from __future__ import annotations

from retrodict.kernel.errors import IntegrityError, UnavailableError, UsageError


class DuplicateEventError(UsageError):
    """An event's id is in the log already: what was appended before stands."""

    slug = "duplicate-event"
    hint = "If this is a retry, the first attempt succeeded; a new fact needs a new id."

    def __init__(self, event_id: str) -> None:
        super().__init__(f"the log holds an event {event_id} already")
        self.event_id = event_id


class LedgerBusyError(UnavailableError):
    """Another process held the log's write lock for too long. Nothing was written."""

    slug = "ledger-busy"
    hint = "Nothing was written. Find the process that holds the log, then try again."

    def __init__(self, path: str, waited_s: float) -> None:
        super().__init__(f"{path} was locked by another process for {waited_s:.0f} s")


class LedgerStoppedError(UnavailableError):
    """A write failed, so this process writes to the log no more."""

    slug = "ledger-stopped"
    hint = (
        "Whether the events of the failed write are in the log is not known: make sure that the disk has room and "
        "works, open the log again, and look for their ids."
    )

    def __init__(self, path: str, cause: BaseException) -> None:
        super().__init__(f"a write to {path} failed, and nothing more is written by this process: {cause}")


class WitnessError(UnavailableError):
    """A witness did not cosign, for a reason that is no fork."""

    slug = "witness"
    hint = "Ask the one who runs the witness to add this log's public key, which `retrodict log key` prints."

    def __init__(self, url: str, why: str, *, hint: str | None = None) -> None:
        super().__init__(f"the witness at {url} did not cosign: {why}", hint=hint)
        self.url = url


class ReplacedKeyError(UsageError):
    """A key is to sign for a log in which another one has taken its place."""

    slug = "replaced-key"
    hint = "Use the key that took its place; a service with a key file of its own needs a new one."

    def __init__(self, origin: str) -> None:
        super().__init__(f"this key of {origin} has been replaced by another, and signs no more")


class AlteredEntryError(IntegrityError):
    """An entry's bytes are not those that were logged."""

    slug = "altered-entry"

    def __init__(self, index: int) -> None:
        super().__init__(f"entry {index} is altered: its bytes do not have its leaf hash")
        self.index = index


class RefusedLogError(IntegrityError):
    """A log of others, where it lies, is not what such a log must be."""

    slug = "refused-log"
    hint = "Nothing of it was taken. Ask whoever writes it; everything else was taken."

    def __init__(self, origin: str, where: str, why: str) -> None:
        super().__init__(f"the log {origin} in {where} is refused: {why}")
        self.origin = origin


class OldStoreError(IntegrityError):
    """The log is shorter than a checkpoint that was signed for it: an old copy was put back, or its end was cut off."""

    slug = "old-store"
    hint = "Put the newer store back. Nothing is signed over what was signed before."

    def __init__(self, size: int, signed: int, where: str) -> None:
        super().__init__(f"the log has {size} entries, but {where} says that {signed} were signed: this store is old")
        self.size = size
        self.signed = signed


class ForkError(IntegrityError):
    """The log holds another history than a checkpoint that was signed for it."""

    slug = "fork"
    hint = "Compare this store with its other copies: one of them was changed. Nothing is signed over it."

    def __init__(self, size: int, signed: int, where: str) -> None:
        super().__init__(
            f"the first {signed} entries of the log (of {size}) are not those that {where} says were signed"
        )
        self.size = size
        self.signed = signed
