"""The log of events: append, read, publish, prove, verify."""

from retrodict.ledger.errors import (
    AlteredEntryError,
    DuplicateEventError,
    ForkError,
    LedgerBusyError,
    LedgerStoppedError,
    OldStoreError,
    ReplacedKeyError,
    WitnessError,
)
from retrodict.ledger.log import CheckpointKeeper, Ledger, Sequenced

__all__ = [
    "AlteredEntryError",
    "CheckpointKeeper",
    "DuplicateEventError",
    "ForkError",
    "Ledger",
    "LedgerBusyError",
    "LedgerStoppedError",
    "OldStoreError",
    "ReplacedKeyError",
    "Sequenced",
    "WitnessError",
]
