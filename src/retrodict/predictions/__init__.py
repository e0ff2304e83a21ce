"""Answers that models gave: every call with its inputs and outputs bit for bit, and the disputes about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.predictions.projection import PROJECTION
    from retrodict.predictions.records import (
        CSV_COLUMNS,
        Call,
        Dispute,
        Kept,
        Part,
        Payload,
        SealedPayload,
        Segment,
        answered,
        calls,
        declared_body,
        disputes,
        entries_about,
        fetched_body,
        kept,
        made_body,
        payloads,
        people,
        sample,
        subjects,
    )

_HOMES = {
    "CSV_COLUMNS": "records",
    "Call": "records",
    "Dispute": "records",
    "Kept": "records",
    "PROJECTION": "projection",
    "Part": "records",
    "Payload": "records",
    "SealedPayload": "records",
    "Segment": "records",
    "answered": "records",
    "calls": "records",
    "declared_body": "records",
    "disputes": "records",
    "entries_about": "records",
    "people": "records",
    "fetched_body": "records",
    "kept": "records",
    "made_body": "records",
    "payloads": "records",
    "sample": "records",
    "subjects": "records",
}

__all__ = [
    "CSV_COLUMNS",
    "PROJECTION",
    "Call",
    "Dispute",
    "Kept",
    "Part",
    "Payload",
    "SealedPayload",
    "Segment",
    "answered",
    "calls",
    "declared_body",
    "disputes",
    "entries_about",
    "fetched_body",
    "kept",
    "made_body",
    "payloads",
    "people",
    "sample",
    "subjects",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
