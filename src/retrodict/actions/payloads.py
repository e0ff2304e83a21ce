"""Values into the record, and out of it. No verb."""

from __future__ import annotations

from typing import Any

from retrodict.predictions import Kept, payload, personal
from retrodict.predictions.personal import Owners
from retrodict.workspace import Batch, Workspace


def store(
    workspace: Workspace, batch: Batch, value: Any, owners: Owners | None = None, *, is_derived: bool = False
) -> Kept:
    """Let a value ride with the events of `batch`; sealed for its owners, if it has any.

    Raises:
        UnsupportedPayloadError: It cannot be kept bit for bit.
    """
    encoded, rows = payload.encode(value), payload.rows(value)
    keys = workspace.keys
    return personal.store(workspace.objects, keys, batch.blobs, encoded, rows, owners, is_derived=is_derived)


def load(workspace: Workspace, kept: Kept) -> Any:
    """Return a value of the record, for a machine to use; `looks` is for people's eyes.

    Raises:
        MissingObjectError, AlteredObjectError: Its bytes are not held as they were.
        ErasedError, SealedValuesError: They are personal, and cannot be opened.
        FormatError: They are no payload.
    """
    return personal.value(workspace, kept)
