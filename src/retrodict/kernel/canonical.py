"""Canonical encoding of entries: RFC 8785 (JCS) over the part of JSON that entries may use.

Keys are ASCII, integers lie within ±(2^53-1), and there are no floats: JSON cannot carry -0.0, NaN or 2^53+1, so
values live in payload objects. For this part the standard library's encoder with sorted keys is RFC 8785 to the byte
(a test holds it equal to the `rfc8785` package).
"""

from __future__ import annotations

import json
import re
from typing import cast

from retrodict.kernel.errors import FormatError, UsageError

MAX_INTEGER = 2**53 - 1
MAX_ENTRY_BYTES = 65_535  # tlog-tiles prefixes an entry with a 16-bit length


def _shape(byte: int) -> int:
    char = chr(byte)
    return ord("0" if char in "0123456789" else "," if char in "[:, \t\r\n" else "-" if char == "-" else "x")


_encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Digits as "0", what may stand before a number as ",", and all else as "x": so long numbers are found without a parser.
_SHAPES = bytes.maketrans(bytes(range(256)), bytes(_shape(byte) for byte in range(256)))
_LONG = (b",0000000000000000", b",-0000000000000000")


def encode(value: object) -> bytes:
    """Return the canonical bytes of `value` (dict, list, tuple, str, int, bool, None).

    Raises:
        UsageError: A float, an integer out of range, a key that is not ASCII text, or text that is not Unicode.
    """
    try:
        if not _is_plain(value):
            _check(value, "")
        return _encoder.encode(value).encode()
    except RecursionError:
        raise UsageError("an entry cannot hold values nested this deeply") from None


def _is_plain(value: object) -> bool:
    """Say whether `value` surely passes `_check`: the common case, three times as fast."""
    kind = type(value)
    if kind is str:
        return cast("str", value).isascii()
    if kind is dict:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str or not key.isascii():
                return False
            if type(item) is str:
                if not item.isascii():
                    return False
            elif not _is_plain(item):
                return False
        return True
    if kind is list:
        return all(map(_is_plain, cast("list[object]", value)))
    return value is None or kind is bool or (kind is int and -MAX_INTEGER <= cast("int", value) <= MAX_INTEGER)


def _check(value: object, where: str) -> None:
    match value:
        case None | bool():
            return
        case str():
            if not value.isascii() and _LONE_SURROGATE.search(value):
                raise UsageError(f"text at {where or '.'} is not Unicode: {value!r}")
        case int():
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise UsageError(f"the integer at {where or '.'} is outside ±(2^53-1): {value}")
        case dict():
            for key, item in value.items():
                if not (isinstance(key, str) and key.isascii()):
                    raise UsageError(f"a key at {where or '.'} is not ASCII text: {key!r}")
                _check(item, f"{where}.{key}")
        case list() | tuple():
            for i, item in enumerate(value):
                _check(item, f"{where}[{i}]")
        case _:
            raise UsageError(f"an entry cannot hold {type(value).__name__} (at {where or '.'}): {value!r}")


def decode(data: bytes) -> object:
    """Return the value of canonical bytes.

    Raises:
        FormatError: Not JSON, a duplicate key, a float, or an integer out of range.
    """
    try:
        # To look at each integer costs more than all the rest, and almost never could one be too large.
        shapes = b"," + data.translate(_SHAPES)
        decoder = _DECODERS[any(long in shapes for long in _LONG)]
        return decoder.decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not canonical JSON: {error}") from error


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_float(text: str) -> float:
    raise ValueError(f"a float: {text}")


def _integer(text: str) -> int:
    value = int(text) if len(text) <= 17 else MAX_INTEGER + 1
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError(f"an integer outside ±(2^53-1): {text}")
    return value


# With `parse_int` for where no integer is long, and for where one may be.
_DECODERS = [
    json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_no_float, parse_constant=_no_float, parse_int=integer)
    for integer in (int, _integer)
]
