"""From any prediction back to everything that caused it, proved by running it again.

`import retrodict as rd` is cheap: names are fetched from `retrodict.api` when they are first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    # By name, so that the package root stays outside the staircase of rooms.
    api = importlib.import_module("retrodict.api")
    try:
        return getattr(api, name)
    except AttributeError:
        raise AttributeError(f"module 'retrodict' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted([*globals(), *importlib.import_module("retrodict.api").__all__])
