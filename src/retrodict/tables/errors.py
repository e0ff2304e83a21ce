"""What a table refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from retrodict.kernel.errors import PERSONAL, IntegrityError, UnavailableError, UsageError


class RefusedRowsError(UsageError):
    """Rows that a table does not take.

    Attributes:
        without_values: The message without what stands in them; None: it shows nothing of that.
    """

    slug = "refused-rows"

    def __init__(self, message: str, *, hint: str | None = None, without_values: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.without_values = without_values


@contextlib.contextmanager
def values_unshown(of_people: bool) -> Iterator[None]:
    """Show nothing of what stands in rows that are refused, where they are about people: errors end up in logs."""
    try:
        yield
    except RefusedRowsError as error:
        if not of_people or error.without_values is None:
            raise
        raise type(error)(f"{error.without_values} ({PERSONAL})", hint=error.hint) from None


class BadCellError(RefusedRowsError):
    """A value that its column cannot hold, or columns that are not the table's."""

    slug = "bad-cell"
    hint = "Nothing was changed: mend it, and try again; `retrodict table show NAME` lists the columns."


class BadKeyError(RefusedRowsError):
    """A key with nothing in it, a NaN, or one that stands there twice: it would not name one record."""

    slug = "bad-key"
    hint = "Nothing was changed: mend these rows, and try again."


class NoSuchRecordError(UsageError):
    """No record has this key now."""

    slug = "no-such-record"
    hint = "`retrodict table history NAME KEY` says whether one had it; `table put` makes one."


class RecordConflictError(UsageError):
    """Somebody has changed the same record since it was read: nothing of this change was recorded."""

    slug = "record-conflict"
    hint = "Look at the record (`retrodict table history NAME KEY`), and make the change again if it is still right."


class TablePolicyError(UsageError):
    """The table asks for something that this change does not have: a reason, or a second person."""

    slug = "table-policy"


class SealedRecordsError(UnavailableError):
    """Personal values whose keys are not held here are needed to change a table, or to find a record by its key."""

    slug = "sealed-records"


class TableFoldError(IntegrityError):
    """The changes of a table contradict each other: this release writes no such ones."""

    slug = "bad-changes"
