"""What can go wrong between a file and an answer."""

from __future__ import annotations

from retrodict.kernel.errors import UnavailableError, UsageError


class UnloadableModelError(UnavailableError):
    """A file or folder that cannot be made into a model here."""

    slug = "unloadable-model"
    hint = "A model is a pickle (.pkl, .joblib, .skops), a folder with an MLmodel file, or FILE.py:CALLABLE."

    def __init__(self, path: str, cause: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path} cannot be loaded as a model: {cause}", hint=hint)
        self.path = path
        self.cause = cause


class InputError(UsageError):
    """An input that does not fit the model's signature."""

    slug = "input"
    hint = "`retrodict show MODEL` prints the signature."

    def __init__(self, field: str, expected: str, value: str) -> None:
        super().__init__(f"input {field}: expected {expected}, got {value}")
        self.field = field
        self.expected = expected
        self.value = value
