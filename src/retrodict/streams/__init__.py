"""Append-only streams (strategy *offsets*): a version is NAME@OFFSET, and carries the digest of its prefix."""

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
from retrodict.streams.projection import PROJECTION
from retrodict.streams.records import MAIN, Append, Branch, Personal, Position, Stream

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
