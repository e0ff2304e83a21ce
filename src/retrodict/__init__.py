"""From any prediction back to everything that caused it, proved by running it again.

`import retrodict as rd` is cheap: names are fetched from `retrodict.api` when they are first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Written out, since `from retrodict import ROOM` asks for the attribute first, and must not load the Python door.
_API = (
    "Model",
    "add",
    "append_stream",
    "explain",
    "init",
    "load",
    "new_version",
    "open",
    "open_array",
    "read",
    "read_stream",
    "record_prediction",
    "remote_step",
    "run",
    "samples",
    "search_predictions",
    "table",
    "write_array",
)


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'retrodict' has no attribute {name!r}")
    # By name, so that the package root stays outside the staircase of rooms.
    return getattr(importlib.import_module("retrodict.api"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_API])
