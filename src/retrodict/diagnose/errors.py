"""What cannot be diagnosed."""

from __future__ import annotations

from retrodict.kernel.errors import UsageError


class NotTabularError(UsageError):
    """Inputs or answers that are not rows of named values."""

    slug = "not-tabular"
    hint = "Attribution and comparison need rows of named values: a frame, a matrix, or columns of one length."

    def __init__(self, what: str, value: object) -> None:
        super().__init__(f"{what} is a {type(value).__name__}, not rows of named values")


class UnlikeInputsError(UsageError):
    """Two tables of inputs that cannot be mixed: other names, or values that do not fit the other's types."""

    slug = "unlike-inputs"
    hint = "Only calls with the same inputs can be mixed row by row."
