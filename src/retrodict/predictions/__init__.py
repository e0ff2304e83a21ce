"""Answers that models gave: every call with its inputs and outputs bit for bit, and the disputes about them."""

from retrodict.predictions.records import (
    PROJECTION,
    Call,
    Dispute,
    Part,
    Payload,
    calls,
    declared_body,
    disputes,
    fetched_body,
    made_body,
    payloads,
    sample,
)

__all__ = [
    "PROJECTION",
    "Call",
    "Dispute",
    "Part",
    "Payload",
    "calls",
    "declared_body",
    "disputes",
    "fetched_body",
    "made_body",
    "payloads",
    "sample",
]
