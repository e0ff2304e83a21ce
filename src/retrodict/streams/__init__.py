"""Append-only streams (strategy *offsets*): a version is NAME@OFFSET, and carries the digest of its prefix."""

from retrodict.streams.errors import KafkaError, OffsetError, RecordError, StreamMismatchError
from retrodict.streams.formats import FORMATS, Format, Parsed, parse, parse_table, read_batch, read_schema
from retrodict.streams.line import Line, Prepared, append, compact, locked, own_branch, prepare
from retrodict.streams.personal import Opened, column_names, open_records, seal
from retrodict.streams.records import MAIN, PROJECTION, Append, Branch, Personal, Position, Stream

__all__ = [
    "FORMATS",
    "MAIN",
    "PROJECTION",
    "Append",
    "Branch",
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
    "column_names",
    "compact",
    "locked",
    "open_records",
    "own_branch",
    "parse",
    "parse_table",
    "prepare",
    "read_batch",
    "read_schema",
    "seal",
]
