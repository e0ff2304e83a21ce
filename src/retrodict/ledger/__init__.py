"""The log of events: append, read, publish, prove, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
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

_HOMES = {
    "AlteredEntryError": "errors",
    "CheckpointKeeper": "log",
    "DuplicateEventError": "errors",
    "Extent": "copy",
    "ForkError": "errors",
    "Ledger": "log",
    "LedgerBusyError": "errors",
    "LedgerStoppedError": "errors",
    "OldStoreError": "errors",
    "Payload": "copy",
    "Piece": "copy",
    "ReplacedKeyError": "errors",
    "Sequenced": "log",
    "WitnessError": "errors",
}

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


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
