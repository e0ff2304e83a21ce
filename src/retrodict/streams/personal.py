"""Records about people: each sealed by itself, under the key of the person whom it is about.

A sealed record is a line of JSON (`docs/formats/stream.md`), whatever the format of the stream: it is what the tree
over the stream covers, so digests and proofs hold, and stay whole, whoever can open it. What it seals are the record's
canonical bytes, so that it is given back bit for bit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from retrodict.kernel.errors import FormatError
from retrodict.keys import KeyRing, Subject
from retrodict.streams.errors import RecordError
from retrodict.streams.formats import Format, Parsed, blocked, fields
from retrodict.streams.records import Personal
from retrodict.workspace import Workspace, forgotten_by

NOT_HELD = "sealed: its key is not held"
ERASED = "erased by entry"  # and its number
TEXT_OR_WHOLE = frozenset({"string", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A sealed record, as it can be read here.

    Attributes:
        subject: The pseudonym of whom it is about.
        plain: Its canonical bytes; None: they are out of reach.
        clear: The fields that are not personal; Arrow's as canonical cells.
        why: Why `plain` is None: "erased by entry N", or that it is sealed.
    """

    subject: str
    plain: bytes | None
    clear: Mapping[str, Any]
    why: str


class _Sealed(NamedTuple):
    key: str
    subject: str
    data: bytes
    clear: Mapping[str, Any]


def column_names(form: Format, schema: bytes | None) -> list[str]:
    """Return the columns that a schema names; none for JSON Lines."""
    if schema is None:
        return []
    return fields(schema) if form == "csv" else [str(name) for name, _ in json.loads(schema)["columns"]]


def seal(keys: KeyRing, form: Format, personal: Personal, parsed: Parsed) -> tuple[Parsed, dict[str, None]]:
    """Return records sealed for the people whom they are about, and a dict of these, filled as blocks are read.

    Raises:
        RecordError: A column is missing; while blocks are read: a record does not say whom it is about.
        StateDirectoryError, KeyNotHeldError: There are no keys to seal with.
    """
    columns = column_names(form, parsed.schema)
    if parsed.schema is not None:
        for name in (personal.subject, *(personal.columns or ())):
            if name not in columns:
                raise RecordError(f"there is no column {name!r}, which the stream was created to seal")
    if form == "arrow" and parsed.schema is not None:
        kinds = dict(json.loads(parsed.schema)["columns"])
        if kinds[personal.subject] not in TEXT_OR_WHOLE:
            raise RecordError(
                f"{personal.subject!r} says whom a record is about, and is neither text nor whole numbers"
            )
    people: dict[str, None] = {}
    known: dict[str, Subject] = {}

    def lines() -> Iterator[bytes]:
        at = 0
        for block in parsed.blocks:
            found = [_taken_apart(form, columns, personal, text, at + i) for i, text in enumerate(block.records, 1)]
            at += len(found)
            unknown = sorted({identity for identity, _ in found} - known.keys())
            known.update(zip(unknown, keys.subjects(unknown), strict=True))
            of = [known[identity] for identity, _ in found]
            people.update(dict.fromkeys(subject.subject for subject in of))
            rows = [(subject.key, text) for subject, text in zip(of, block.records, strict=True)]
            for subject, (_, clear), data in zip(of, found, keys.seal_rows(rows), strict=True):
                yield _encode(_Sealed(key=subject.key, subject=subject.subject, data=data, clear=clear))

    return Parsed(schema=parsed.schema, blocks=blocked(lines())), people


def _taken_apart(
    form: Format, columns: Sequence[str], personal: Personal, record: bytes, number: int
) -> tuple[str, dict[str, Any]]:
    """Return whom a record is about, and its fields that are not personal."""
    values: Any = fields(record) if form == "csv" else json.loads(record)
    if form != "jsonl":
        values = dict(zip(columns, values, strict=True))
    found = values.get(personal.subject) if isinstance(values, dict) else None
    if isinstance(found, float) and found.is_integer():
        found = int(found)  # the same person as without the point
    if found == "" or isinstance(found, bool) or not isinstance(found, str | int):
        raise RecordError(
            f"record {number} does not say whom it is about: text or a whole number in {personal.subject!r}"
        )
    return str(found), {name: value for name, value in values.items() if not personal.hides(name)}


def _encode(sealed: _Sealed) -> bytes:
    line = {
        "clear": sealed.clear,
        "key": sealed.key,
        "of": sealed.subject,
        "sealed": base64.b64encode(sealed.data).decode(),
    }
    try:
        return json.dumps(line, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    except ValueError as error:
        raise RecordError("a number that is not personal is too large to be kept in the clear") from error


def _decode(record: bytes) -> _Sealed:
    try:
        line = json.loads(record)
        if not isinstance(line["clear"], dict):
            raise ValueError("its clear fields are none")
        data = base64.b64decode(line["sealed"], validate=True)
        return _Sealed(key=str(line["key"]), subject=str(line["of"]), data=data, clear=line["clear"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"a block of a stream holds no sealed record: {error}") from error


def subjects(records: Iterable[bytes]) -> list[str]:
    """Return whom sealed records are about: a pseudonym for each.

    Raises:
        FormatError: One is no sealed record.
    """
    return [_decode(record).subject for record in records]


def open_records(workspace: Workspace, records: Sequence[bytes], *, withheld: str | None = None) -> list[Opened]:
    """Return sealed records, opened where their keys are held.

    Args:
        withheld: Why nothing may be opened, though it could be; None: it may.

    Raises:
        FormatError: One is no sealed record.
        IntegrityError: A key or a record is altered.
    """
    sealed = [_decode(record) for record in records]
    plain, why = open_rows(workspace, [(item.key, item.data) for item in sealed], withheld=withheld)
    return [
        Opened(subject=item.subject, plain=text, clear=item.clear, why=why.get(item.key, ""))
        for item, text in zip(sealed, plain, strict=True)
    ]


def open_rows(
    workspace: Workspace, rows: Sequence[tuple[str, bytes]], *, withheld: str | None = None
) -> tuple[list[bytes | None], dict[str, str]]:
    """Return what was sealed under the key that each comes with, and of the keys that open nothing here, why.

    "erased by entry N", where it was destroyed. Arguments and errors are those of `open_records`.
    """
    plain: list[bytes | None] = [None] * len(rows)
    if workspace.keys is not None and withheld is None:
        plain = workspace.keys.open_rows(rows)
    why = {}
    for key in {key for (key, _), text in zip(rows, plain, strict=True) if text is None}:
        entry = forgotten_by(workspace, key)
        why[key] = withheld or NOT_HELD if entry is None else f"{ERASED} {entry}"
    return plain, why
