"""W3C Trace Context: what is well-formed is taken over, the rest is ignored."""

from __future__ import annotations

import pytest

from retrodict.serving import format_traceparent, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_what_is_written_is_read() -> None:
    assert parse_traceparent(format_traceparent(TRACE, SPAN)) == (TRACE, SPAN)


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-later", f" 00-{TRACE}-{SPAN}-01 "])
def test_other_flags_and_later_versions_are_read(header: str) -> None:
    assert parse_traceparent(header) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_malformed_headers_are_ignored(header: str | None) -> None:
    assert parse_traceparent(header) == (None, None)
