"""The log of events: append, read, publish, prove, verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.ledger.copy import Arrival, Extent, Payload, Piece, extend
    from retrodict.ledger.errors import (
        AlteredEntryError,
        DuplicateEventError,
        ForkError,
        LedgerBusyError,
        LedgerStoppedError,
        OldStoreError,
        RefusedLogError,
        ReplacedKeyError,
        WitnessError,
    )
    from retrodict.ledger.log import CheckpointKeeper, Ledger, Sequenced
    from retrodict.ledger.logs import HeldLog, Logs, key_hash

_HOMES = {
    "AlteredEntryError": "errors",
    "Arrival": "copy",
    "CheckpointKeeper": "log",
    "DuplicateEventError": "errors",
    "Extent": "copy",
    "ForkError": "errors",
    "HeldLog": "logs",
    "Ledger": "log",
    "LedgerBusyError": "errors",
    "LedgerStoppedError": "errors",
    "Logs": "logs",
    "OldStoreError": "errors",
    "Payload": "copy",
    "Piece": "copy",
    "RefusedLogError": "errors",
    "ReplacedKeyError": "errors",
    "Sequenced": "log",
    "WitnessError": "errors",
    "extend": "copy",
    "key_hash": "logs",
}

__all__ = [
    "AlteredEntryError",
    "Arrival",
    "CheckpointKeeper",
    "DuplicateEventError",
    "Extent",
    "ForkError",
    "HeldLog",
    "Ledger",
    "LedgerBusyError",
    "LedgerStoppedError",
    "Logs",
    "OldStoreError",
    "Payload",
    "Piece",
    "RefusedLogError",
    "ReplacedKeyError",
    "Sequenced",
    "WitnessError",
    "extend",
    "key_hash",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
