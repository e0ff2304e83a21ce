"""What a table refuses."""

from __future__ import annotations

from retrodict.kernel.errors import IntegrityError, UnavailableError, UsageError


class BadCellError(UsageError):
    """A value that its column cannot hold, or columns that are not the table's."""

    slug = "bad-cell"
    hint = "Nothing was changed: mend it, and try again; `retrodict table show NAME` lists the columns."


class BadKeyError(UsageError):
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
