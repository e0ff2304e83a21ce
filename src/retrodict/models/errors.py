"""What can go wrong between a file and an answer."""

from __future__ import annotations

from retrodict.kernel.errors import PERSONAL, UnavailableError, UsageError


class UnloadableModelError(UnavailableError):
    """A file or folder that cannot be made into a model here."""

    slug = "unloadable-model"
    hint = "`retrodict register --help` lists what can be one; docs/models.md has the details."

    def __init__(self, path: str, cause: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path} cannot be loaded as a model: {cause}", hint=hint)
        self.path = path
        self.cause = cause


NO_COLUMN = "no such column"
UNKNOWN_COLUMN = "a column that the model does not know"


WHOLE = "the input"  # the field, where it is none of several


class InputError(UsageError):
    """An input that does not fit the model's signature."""

    slug = "input"
    hint = "`retrodict show MODEL` prints the signature."

    def __init__(self, field: str, expected: str, value: str) -> None:
        where = field if field == WHOLE else f"input {field}"
        super().__init__(f"{where}: expected {expected}, got {value}")
        self.field = field
        self.expected = expected
        self.value = value

    def without_value(self) -> InputError:
        """Return the same refusal of somebody's values: errors end up in logs, so it does not show them."""
        if self.value in (NO_COLUMN, UNKNOWN_COLUMN):
            return self
        return InputError(self.field, self.expected, f"something else ({PERSONAL})")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
