"""An audit extract as CSV that a spreadsheet opens, and in which nothing is a formula."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from retrodict.render.printable import printable

if TYPE_CHECKING:
    from retrodict.actions.table_audit import AuditLine

HEADER: Final = (
    "when (UTC)", "who", "claimed or authenticated", "why", "how", "table", "record", "operation", "column", "before",
    "after", "version", "change", "entry", "leaf hash", "true since", "transaction", "branch",
)  # fmt: skip
_LINES = 1000  # in a part
_LONGEST = 32_000  # characters; a cell of a spreadsheet holds 32,767
# What a spreadsheet takes for a formula where it begins a cell; behind a semicolon, a tab or a new line too, which some
# take for the end of a cell. Source: OWASP, CSV Injection.
_FORMULA = re.compile("(\\A|[;\t\n])(?=[=+\\-@\t\n＝＋－＠])")


def to_csv(lines: Iterable[AuditLine]) -> Iterator[bytes]:
    """Yield an extract in parts: RFC 4180, UTF-8 with the mark by which spreadsheets know it.

    Null is an empty cell, the empty text is `""`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    start = "\ufeff"
    for number, line in enumerate(lines, 1):
        writer.writerow(_row(line))
        if number % _LINES == 0:
            yield (start + text.getvalue()).encode()
            start = ""
            text.seek(0)
            text.truncate()
    yield (start + text.getvalue()).encode()


def _row(line: AuditLine) -> list[object]:
    key = line.key[0] if len(line.key) == 1 else ",".join(map(str, line.key)) or None
    found = (
        *(_moment(line.at), line.who, line.known, line.why, line.how, line.table, key, line.operation, line.column),
        *(line.before, line.after, line.version, line.change, line.entry, line.leaf_hash),
        *(None if line.valid_from is None else _moment(line.valid_from), line.tx, line.branch),
    )
    return [cell(value) for value in found]


def _moment(at: str) -> str:
    """Return an instant as spreadsheets read it, to the millisecond."""
    whole, _, rest = at.rstrip("Z").replace("T", " ").partition(".")
    return f"{whole}.{rest[:3]:0<3}"


def cell(value: object) -> object:
    """Return what stands in a cell; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    match value:
        case None:
            return ""
        case "":
            return '""'
        case bool():
            return "true" if value else "false"
        case int() | float() | decimal.Decimal():
            return value
        case dt.datetime():
            return _moment(value.isoformat().replace("+00:00", "Z"))
        case dt.date():
            return value.isoformat()
        case bytes():
            text = value.hex()
        case _:
            text = str(value)
    if len(text) > _LONGEST:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        text = f"{text[:_LONGEST]}… ({len(text):,} characters, SHA-256 {digest})"
    if text[0] == "'" or text == '""':
        return f"'{printable(text)}"
    return _FORMULA.sub(r"\1'", printable(text))
