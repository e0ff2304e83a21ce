"""What can go wrong between a call and its record."""

from __future__ import annotations

from retrodict.kernel.errors import UsageError


class UnsupportedPayloadError(UsageError):
    """A value that a record could not give back bit for bit."""

    slug = "unsupported-payload"
    hint = "Pass frames, arrays, or numbers, text and bytes in lists and dicts; convert other objects to these first."

    def __init__(self, where: str, type_name: str) -> None:
        super().__init__(f"{where} cannot be recorded: it is {type_name}")
        self.where = where
        self.type_name = type_name
