"""W3C Trace Context, as far as a prediction needs it. Source: https://www.w3.org/TR/trace-context/ section 3.2."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")


def parse_traceparent(text: str | None) -> tuple[str, str] | tuple[None, None]:
    """Return the trace (32 hex digits) and the span (16) that a `traceparent` header names.

    None for each where there is no header, or it is malformed and must be ignored.
    """
    found = _TRACEPARENT.match((text or "").strip())
    if found is None:
        return None, None
    version, trace, span, _, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace.strip("0") or not span.strip("0"):
        return None, None
    return trace, span


def format_traceparent(trace: str, span: str) -> str:
    """Return the header that says so; always sampled: every prediction is recorded."""
    return f"00-{trace}-{span}-01"
