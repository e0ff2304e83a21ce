"""W3C Trace Context, as far as a prediction needs it. Source: https://www.w3.org/TR/trace-context/ section 3.2."""

from __future__ import annotations

import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


class TraceContext(NamedTuple):
    """Where a request comes from: the trace (32 hex digits) and the span that sent it (16)."""

    trace: str
    span: str


def parse_traceparent(text: str | None) -> TraceContext | None:
    """Return what a `traceparent` header says; None where there is none, or it is malformed and must be ignored."""
    found = _TRACEPARENT.match((text or "").strip())
    if found is None:
        return None
    version, trace, span, _, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace.strip("0") or not span.strip("0"):
        return None
    return TraceContext(trace, span)


def format_traceparent(context: TraceContext) -> str:
    """Return the header that says so; always sampled: every prediction is recorded."""
    return f"00-{context.trace}-{context.span}-01"
