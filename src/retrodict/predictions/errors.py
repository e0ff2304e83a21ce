"""What can go wrong between a call and its record."""

from __future__ import annotations

from retrodict.kernel.errors import UnavailableError, UsageError


class UnsupportedPayloadError(UsageError):
    """A value that a record could not give back bit for bit."""

    slug = "unsupported-payload"
    hint = "Pass frames, arrays, or numbers, text and bytes in lists and dicts; convert other objects to these first."

    def __init__(self, where: str, type_name: str) -> None:
        super().__init__(f"{where} cannot be recorded: it is {type_name}")
        self.where = where
        self.type_name = type_name


class ErasedError(UnavailableError):
    """Values of a person who was forgotten: their key was destroyed."""

    slug = "erased"
    hint = "`retrodict show` on that entry says when, why and what else it reached."

    def __init__(self, entry: int) -> None:
        super().__init__(f"erased by entry {entry}")
        self.entry = entry


class SealedValuesError(UnavailableError):
    """Personal values that cannot be opened, or may not be looked at, here."""

    slug = "sealed-values"
    hint = "Look where the workspace can be written; `retrodict keys` brings keys from a clone that holds them."
