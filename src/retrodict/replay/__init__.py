"""Calls made again, and what came out compared with the record, bit for bit.

The names are fetched when they are first used (PEP 562): a worker imports this package in an interpreter that was
rebuilt from a record, and that has none of the dependencies of the rooms below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrodict.replay.compare import Cell, Comparison, Tolerance
    from retrodict.replay.prediction import Replay, ReplayedCall, replay_prediction

__all__ = ["Cell", "Comparison", "Replay", "ReplayedCall", "Tolerance", "replay_prediction"]

_COMPARE = frozenset({"Cell", "Comparison", "Tolerance"})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{'compare' if name in _COMPARE else 'prediction'}"), name)
