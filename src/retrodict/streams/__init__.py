"""Append-only streams (strategy *offsets*): a version is NAME@OFFSET, and carries the digest of its prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.streams.errors import CompactedError, KafkaError, OffsetError, RecordError, StreamMismatchError
    from retrodict.streams.formats import (
        FORMATS,
        Format,
        Parsed,
        named_type,
        parse,
        parse_table,
        read_batch,
        read_schema,
        type_name,
    )
    from retrodict.streams.line import (
        ARROW,
        Line,
        Prepared,
        append,
        append_locked,
        compact,
        drop,
        locked,
        own_branch,
        prepare,
    )
    from retrodict.streams.personal import Opened, column_names, open_records, seal
    from retrodict.streams.projection import MAIN, PROJECTION
    from retrodict.streams.records import Append, Branch, Personal, Position, Stream

_HOMES = {
    "ARROW": "line",
    "Append": "records",
    "Branch": "records",
    "CompactedError": "errors",
    "FORMATS": "formats",
    "Format": "formats",
    "KafkaError": "errors",
    "Line": "line",
    "MAIN": "projection",
    "OffsetError": "errors",
    "Opened": "personal",
    "PROJECTION": "projection",
    "Parsed": "formats",
    "Personal": "records",
    "Position": "records",
    "Prepared": "line",
    "RecordError": "errors",
    "Stream": "records",
    "StreamMismatchError": "errors",
    "append": "line",
    "append_locked": "line",
    "column_names": "personal",
    "compact": "line",
    "drop": "line",
    "locked": "line",
    "named_type": "formats",
    "open_records": "personal",
    "own_branch": "line",
    "parse": "formats",
    "parse_table": "formats",
    "prepare": "line",
    "read_batch": "formats",
    "read_schema": "formats",
    "seal": "personal",
    "type_name": "formats",
}

__all__ = [
    "ARROW",
    "FORMATS",
    "MAIN",
    "PROJECTION",
    "Append",
    "Branch",
    "CompactedError",
    "Format",
    "KafkaError",
    "Line",
    "OffsetError",
    "Opened",
    "Parsed",
    "Personal",
    "Position",
    "Prepared",
    "RecordError",
    "Stream",
    "StreamMismatchError",
    "append",
    "append_locked",
    "column_names",
    "compact",
    "drop",
    "locked",
    "named_type",
    "open_records",
    "own_branch",
    "parse",
    "parse_table",
    "prepare",
    "read_batch",
    "read_schema",
    "seal",
    "type_name",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
