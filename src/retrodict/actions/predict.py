"""`predict`: ask a model; the answer is durably on record before it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import EventId
from retrodict.models import read_example
from retrodict.predictions import payload
from retrodict.serving import Service, parse_traceparent
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """An answer, and where it is on record.

    Attributes:
        reference: What to paste: `41.0` for a single row, else `41`.
        model: The version that answered: `credit@v2`.
        leaf_hash: Of the entry, 64 hex digits: what a receipt is made of.
        outputs: What it answered, row by row.
    """

    reference: str
    event: EventId
    index: int
    leaf_hash: str
    trace: str
    model: str
    requested: str
    outputs: tuple[Mapping[str, object], ...]


def predict(
    workspace: Workspace,
    reference: str,
    data: Any,
    *,
    caller: str | None = None,
    subject: str | None = None,
    source: Path | None = None,
    traceparent: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Predicted:
    """Ask the version that `reference` means (`credit`, `credit@v2`, `credit@champion`).

    Args:
        data: Rows as the model takes them; see `read_input`.
        caller: Who asks.
        subject: Whom all rows are about, where `data` does not say it.
        source: The file that `data` was read from.
        traceparent: The span that asks, as W3C Trace Context writes it; None: what `variables` have as TRACEPARENT,
            where that is well formed.
        variables: The environment variables, of which those that can change an answer are recorded.

    Raises:
        UsageError: `traceparent` is malformed.
        UnknownReferenceError, AmbiguousReferenceError: See there.
        InputError: The model does not take such data; nothing is recorded.
        PersonalFileError: `source` is personal, and the model about nobody.
        ModelFailedError: The model raised; that is on record.
    """
    trace, span = parse_traceparent((variables or {}).get("TRACEPARENT") if traceparent is None else traceparent)
    if traceparent is not None and trace is None:
        raise UsageError(f"{traceparent!r} names no span", hint="Write 00-TRACE-SPAN-01, of 32 and 16 hex digits.")
    service = Service(workspace, variables)
    if source is not None and service.resolve(reference).personal is None:
        from retrodict.actions.personal_files import PersonalFiles  # 30 ms

        PersonalFiles(workspace).refuse(source)
    answer = service.predict(reference, data, caller=caller, trace=trace, parent_span=span, subject=subject)
    assert answer.index is not None
    assert answer.leaf_hash is not None
    rows = payload.rows(data)
    return Predicted(
        reference=f"{answer.index}.0" if rows == 1 else str(answer.index),
        event=answer.prediction,
        index=answer.index,
        leaf_hash=answer.leaf_hash.hex(),
        trace=answer.trace,
        model=answer.version.label,
        requested=reference,
        outputs=tuple(payload.to_records(answer.output)),
    )


def read_input(source: Path | bytes) -> Any:
    """Return the rows in a file, or in what came through a pipe: CSV, JSON (one row or a list) or Parquet.

    Raises:
        UsageError: There is no such file, or it is none of these.
    """
    if isinstance(source, Path):
        if not source.exists():
            raise UsageError(f"there is no {source}", hint="Give a file with rows, or - for standard input.")
        return read_example(source)
    start = source.lstrip()[:4]
    if not start:
        raise UsageError("the input is empty", hint="Send rows as CSV or JSON.")
    suffix = ".parquet" if start == b"PAR1" else ".json" if start[:1] in b"[{" else ".csv"
    path = Path(f"standard input{suffix}")
    try:
        return read_example(path, source)
    except UsageError as error:
        raise UsageError(error.message.replace(str(path), "standard input"), hint=error.hint) from error
