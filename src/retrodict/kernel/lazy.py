"""Rooms whose names are loaded when they are first used (PEP 562): a command pays for what it needs, and no more."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def load(room: str, homes: Mapping[str, str], name: str) -> Any:
    """Return what a room exports under a name; its `__getattr__`.

    Args:
        room: The package's full name.
        homes: Exported name -> the module in the room that has it; "" where the name is that of a module itself.
        name: The one asked for.

    Raises:
        AttributeError: The room exports no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {room!r} has no attribute {name!r}")
    module = importlib.import_module(f"{room}.{homes[name] or name}")
    found = getattr(module, name) if homes[name] else module
    setattr(sys.modules[room], name, found)  # the next use costs nothing
    return found
