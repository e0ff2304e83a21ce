"""What can go wrong with a workspace."""

from __future__ import annotations

from retrodict.kernel.errors import UnavailableError, UsageError


class UnwritableStateError(UnavailableError):
    """The keys of the workspace, in a state directory or a key file, are not to be had."""

    slug = "no-keys"
    hint = "Work as the user who made the workspace, set RETRODICT_STATE to where its keys are, or give --key-file."


class ForeignKeyFileError(UsageError):
    """A key file of another workspace."""

    slug = "foreign-key-file"
    hint = "`retrodict keys export-signing` writes one where this workspace's own keys are."

    def __init__(self, path: str, origin: str, expected: str) -> None:
        super().__init__(f"the key file {path} is of {origin}, and this workspace's log is {expected}")


class CopiedWorkspaceError(UsageError):
    """A write, under keys that are another store's, to a copy of it."""

    slug = "copied-workspace"
    hint = (
        "Any command whose work is to record something lets the copy begin a log of its own, with keys of its own; "
        "leave out the key file, which is bound to one store."
    )

    def __init__(self, folder: str) -> None:
        super().__init__(f"{folder} is a copy of a workspace that is still there: two histories would fork its log")
