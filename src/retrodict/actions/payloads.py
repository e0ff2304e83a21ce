"""Values into the record, and out of it. No verb."""

from __future__ import annotations

from typing import Any

from retrodict.predictions import Payload, payload
from retrodict.workspace import Batch, Workspace

RIDES_ALONG = 1 << 20  # bytes; larger ones go into the object store first


def store(workspace: Workspace, batch: Batch, value: Any) -> Payload:
    """Let a value ride with the events of `batch`.

    Raises:
        UnsupportedPayloadError: It cannot be kept bit for bit.
    """
    encoded = payload.encode(value)
    large = len(encoded.batch) > RIDES_ALONG
    return Payload(
        codec=encoded.codec,
        schema=batch.blob(encoded.schema),
        batch=workspace.objects.put(encoded.batch) if large else batch.blob(encoded.batch),
        meta=encoded.meta,
    )


def load(workspace: Workspace, kept: Payload) -> Any:
    """Return a value of the record.

    Raises:
        MissingObjectError, AlteredObjectError: Its bytes are not held as they were.
        FormatError: They are no payload.
    """
    schema, batch = workspace.objects.get(kept.schema), workspace.objects.get(kept.batch)
    return payload.decode(kept.codec, schema, batch, kept.meta)
