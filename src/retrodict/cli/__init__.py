"""The command line: parse, call one action, render its record. Only the verb that was asked for is loaded."""

from retrodict.cli.door import main

__all__ = ["main"]
