"""What can go wrong with views; damage to their file is none of it, since they are rebuilt."""

from __future__ import annotations

from retrodict.kernel.errors import FormatError, IntegrityError, UsageError


class MalformedProjectionError(UsageError):
    """A projection breaks the rules for its tables."""

    slug = "malformed-projection"
    hint = "This is a defect of retrodict or of an extension: report it."


class UnfoldableEntryError(FormatError):
    """An entry whose body is not as its kind lays it out."""

    slug = "unfoldable-entry"
    hint = "A newer release may have written it: update retrodict."

    def __init__(self, index: int, kind: str, projection: str, cause: BaseException) -> None:
        super().__init__(f"entry {index} ({kind}) cannot be folded into the view {projection}: {cause!r}")
        self.index = index


class DamagedViewsError(IntegrityError):
    """The file of the views is not what this release wrote; it is rebuilt, and `verify` names it."""

    slug = "damaged-views"
    hint = "Nothing is lost: delete the file, and the next command rebuilds it."
