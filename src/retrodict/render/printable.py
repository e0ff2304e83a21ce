r"""Text for a terminal: what would steer it, or cannot be encoded, is written out as an escape.

Names, inputs and complaints come from others. A terminal would obey the escape sequences in them: hide a line, set a
title, answer into the shell.
"""

from __future__ import annotations

import re

# C0 without tab and newline, DEL, C1; what turns the direction of writing; lone surrogates.
_ESCAPED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return `text` with everything escaped that is no text.

    >>> printable("caf\udce9 \x1b[2J")
    'caf\\xe9 \\x1b[2J'
    """
    return _ESCAPED.sub(lambda found: _escape(ord(found[0])), text)


def is_unicode(text: str) -> bool:
    r"""Say whether `text` is all text; bytes of a command line that are not UTF-8 come in as lone surrogates.

    >>> is_unicode("café"), is_unicode("caf\udce9")
    (True, False)
    """
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _escape(point: int) -> str:
    if 0xDC80 <= point <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode stands it in
        return f"\\x{point - 0xDC00:02x}"
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"
