"""Whom each row of a question is about: found in its data, by the field that the model's registration names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retrodict.models.errors import InputError
from retrodict.models.signature import Signature

_EXPECTED = "whom each row is about: one text or number a row"


def take_subjects(data: Any, field: str, signature: Signature | None) -> tuple[Any, list[str]] | None:
    """Return the question as the model takes it, and whom each of its rows is about; None where it does not say.

    Args:
        data: Rows with a column, key or tensor `field`: a frame, a list of records, one record, or a dict of columns.
        field: Taken out, unless the model's signature has it.
        signature: Of the model; where it is not known, the model is not given the field.

    Raises:
        InputError: A row is about nobody.
    """
    is_kept = signature is not None and any(spec.name == field for spec in signature.inputs)
    found = _column(data, field)
    if found is None:
        return None
    items, rest = found
    identities = [identity_of(item) for item in items]
    for row, identity in enumerate(identities):
        if identity is None:
            raise InputError(repr(field), _EXPECTED, f"nothing in row {row}")
    return (data if is_kept else rest()), [identity for identity in identities if identity is not None]


def missing(field: str) -> InputError:
    """Return the error for a question that does not say whom it is about."""
    return InputError(repr(field), _EXPECTED, "no such column (the model was registered with --subject)")


def as_identities(subject: str | Sequence[str], rows: int) -> list[str]:
    """Return whom each of `rows` rows is about, where that was said beside the question.

    Raises:
        InputError: There are more or fewer of them than rows.
    """
    found = [subject] * rows if isinstance(subject, str) else [str(item) for item in subject]
    if len(found) != rows or not all(found):
        raise InputError("subject", f"one for each of the {rows} rows", str(len(found)))
    return found


def _column(data: Any, field: str) -> tuple[Sequence[object], Any] | None:
    """Return the cells of a field, and what makes the data without it."""
    kind, library = type(data).__name__, type(data).__module__.partition(".")[0]
    if kind == "DataFrame" and library == "pandas" and field in data.columns:
        return data[field].tolist(), lambda: data.drop(columns=field)
    if kind == "DataFrame" and library == "polars" and field in data.columns:
        return data[field].to_list(), lambda: data.drop(field)
    if library == "pyarrow" and kind in {"Table", "RecordBatch"} and field in data.schema.names:
        return data.column(field).to_pylist(), lambda: data.drop_columns([field])
    if isinstance(data, Mapping) and field in data:
        cells = data[field]
        if hasattr(cells, "tolist"):
            cells = cells.tolist()
        items = list(_flat(cells)) if isinstance(cells, list | tuple) else [cells]
        return items, lambda: _bare({key: item for key, item in data.items() if key != field})
    if isinstance(data, list | tuple) and data and all(isinstance(item, Mapping) for item in data):
        if not any(field in item for item in data):
            return None
        items = [item.get(field) for item in data]
        return items, lambda: [{key: cell for key, cell in item.items() if key != field} for item in data]
    return None


def _flat(cells: Sequence[object]) -> Sequence[object]:
    return [item[0] if isinstance(item, list) and len(item) == 1 else item for item in cells]


def _bare(columns: dict[str, Any]) -> Any:
    """Return a single array as itself: that is what a model of one tensor takes."""
    ((_, only),) = columns.items() if len(columns) == 1 else ((None, None),)
    return only if only is not None and getattr(only, "ndim", 0) > 1 else columns


def identity_of(item: object) -> str | None:
    """Return what a cell says as text; None where it says nothing."""
    if item is None or item != item or str(item) in {"", "<NA>", "NaT"}:
        return None
    if isinstance(item, bytes):
        return item.decode("utf-8", "surrogateescape")
    if isinstance(item, float) and item.is_integer():
        return str(int(item))  # a column with gaps, or JSON: the same person as without
    return str(item)
