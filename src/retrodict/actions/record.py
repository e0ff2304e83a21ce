"""`record`: an answer that another system gave, as that system says. Declared, not observed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from retrodict import exposure
from retrodict.actions import names, payloads
from retrodict.kernel.clock import parse_rfc3339, rfc3339
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.models.records import ModelVersion
from retrodict.models.subjects import as_identities, missing, take_subjects
from retrodict.predictions import declared_body, payload
from retrodict.predictions.personal import Owners
from retrodict.workspace import Batch, UnwritableStateError, Workspace

_TRACE: Final = re.compile(r"(?!0{32})[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was recorded.

    Attributes:
        reference: What to paste: `41.0` for a single row, else `41`.
        leaf_hash: Of the entry, 64 hex digits.
    """

    reference: str
    event: EventId
    index: int
    leaf_hash: str
    trace: str


def record_prediction(
    workspace: Workspace,
    *,
    system: str,
    model: str,
    inputs: Any,
    outputs: Any,
    model_version: str | None = None,
    caller: str | None = None,
    at: str | None = None,
    trace: str | None = None,
    subject: str | Sequence[str] | None = None,
) -> Recorded:
    """Record what `system` answered.

    Args:
        system: Who gave the answer and says so, e.g. "mainframe".
        model: The model's name, or a reference to a version in this workspace (then `model_version` is not given).
        inputs: What was asked; one or many rows, kept bit for bit.
        outputs: What was answered; None where the system did not say.
        model_version: As the system calls it.
        at: When the question came, RFC 3339; None: now.
        trace: W3C trace, 32 hex digits; None: a new one.
        subject: Whom the rows are about (one person, or one for each). For a model that was registered with a subject,
            the field in the inputs says it, too.

    Raises:
        UsageError: `at` is no time, `trace` no trace, or inputs and outputs have different numbers of rows.
        InputError: The model's questions are about people, and this one does not say about whom.
        UnknownReferenceError: `model` looks like a reference and means nothing.
        UnsupportedPayloadError: A value cannot be kept.
        ReadOnlyStoreError: The workspace cannot be written.
    """
    if not system or not model:
        raise UsageError("a recorded prediction names its system and its model")
    if trace is not None and not _TRACE.fullmatch(trace):
        raise UsageError(f"{trace!r} is no trace", hint="W3C Trace Context: 32 hex digits, a to f small, not all 0.")
    batch = Batch(workspace)
    registered = None
    if model_version is None:
        registered = names.model_version(workspace, model)
    inputs, owners = _people(workspace, registered, inputs, subject)
    owners = owners or exposure.owners(workspace)
    rows = payload.rows(inputs)
    if outputs is not None and payload.rows(outputs) != rows:
        raise UsageError(f"rows of inputs: {rows}, and of outputs: {payload.rows(outputs)}")
    received = rfc3339(workspace.clock.now_ns() if at is None else parse_rfc3339(at))
    trace = trace or workspace.clock.random_bytes(16).hex()
    uses = exposure.edges(owners)
    if registered is not None:
        uses.append(Edge(ref=Ref(registered.content), role="model", evidence="declared", made_by=registered.event))
    event = batch.event(
        "prediction.declared",
        uses=uses,
        makes=(),
        body=declared_body(
            system=system,
            model=None if registered is None else registered.event,
            model_name=model if registered is None else registered.name,
            model_version=str(registered.version) if registered is not None else str(model_version),
            rows=rows,
            inputs=payloads.store(workspace, batch, inputs, owners),
            outputs=None if outputs is None else payloads.store(workspace, batch, outputs, owners, is_derived=True),
            caller=None if caller is None else batch.agent(caller),
            trace=trace,
            received=received,
            log=None,
            lines=None,
        ),
    )
    done = batch.append()[-1]
    return Recorded(
        reference=f"{done.index}.0" if rows == 1 else str(done.index),
        event=event.id,
        index=done.index,
        leaf_hash=done.leaf_hash.hex(),
        trace=trace,
    )


def _people(
    workspace: Workspace, registered: ModelVersion | None, inputs: Any, subject: str | Sequence[str] | None
) -> tuple[Any, Owners | None]:
    """Return the inputs without the field that says whom they are about, and who that is; None: nobody."""
    declared = None if registered is None else registered.personal
    if declared is None and subject is None:
        return inputs, None
    taken = None if declared is None else take_subjects(inputs, declared.subject, None)
    if taken is not None:
        inputs, names = taken
    elif subject is not None:
        names = as_identities(subject, payload.rows(inputs))
    else:
        assert declared is not None
        raise missing(declared.subject)
    if workspace.keys is None:
        raise UnwritableStateError("nobody's values can be sealed: the keys of this workspace are out of reach")
    columns = None if declared is None or declared.columns is None else frozenset({*declared.columns, declared.subject})
    return inputs, Owners(rows=tuple(workspace.keys.subjects(names)), personal=columns)
