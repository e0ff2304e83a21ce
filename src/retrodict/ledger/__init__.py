"""The log of events: append, read, publish, prove, verify."""

from retrodict.ledger.copy import Extent, Payload, Piece
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
    "Extent",
    "ForkError",
    "Ledger",
    "LedgerBusyError",
    "LedgerStoppedError",
    "OldStoreError",
    "Payload",
    "Piece",
    "ReplacedKeyError",
    "Sequenced",
    "WitnessError",
]
