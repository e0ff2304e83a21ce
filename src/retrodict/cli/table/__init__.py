"""`retrodict table`: records with history."""

from __future__ import annotations

from retrodict.cli.table import changing, deciding, proving, reading  # noqa: F401 - which add their commands
from retrodict.cli.table.group import command

__all__ = ["command"]
