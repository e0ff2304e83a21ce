"""Any frozen record as JSON.

Floats stand by their shortest repr, which keeps -0.0; NaN (with its payload) and infinities are `{"f64": "<hex>"}`, the
eight bytes of the number, big-endian. Bytes are hex, dates ISO 8601, keys of mappings text.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import struct
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath

from retrodict.kernel.types import EntryNumber


def to_json(record: object, *, indent: int | None = 2) -> str:
    """Return `record` (a frozen dataclass, or a sequence or mapping of them) as JSON text, fields in their order."""
    return json.dumps(plain(record), indent=indent, ensure_ascii=False, allow_nan=False)


def plain(value: object) -> object:
    """Return `value` as what JSON knows."""
    match value:
        case Enum():
            return plain(value.value)
        case EntryNumber() if value.is_of_another_log:
            return str(value)  # a number would name an entry of this log
        case None | bool() | int():
            return value
        case str():
            # Lone surrogates, which stand for bytes that are no text, cannot be written as UTF-8.
            return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        case float():
            return float(value) if math.isfinite(value) else {"f64": struct.pack(">d", value).hex()}
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case dt.date() | dt.time():
            return value.isoformat()
        case PurePath():
            return plain(str(value))
        case Mapping():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=str)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    item = getattr(value, "item", None)  # a NumPy scalar
    if callable(item):
        return plain(item())
    return str(value)
