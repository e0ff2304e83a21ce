"""Records about people: of each change the personal values are sealed under the key of whom the record is about.

A change keeps its columns. The personal ones are null, and what they would hold stands in `_sealed`: the canonical
bytes of a row of these columns, in the order and the types of the change's schema. So what is clear is read as ever,
the fold and the proofs need no key, and a key that is destroyed erases every version of the record.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from retrodict.keys import KeyRing
from retrodict.streams.formats import rows
from retrodict.streams.personal import TEXT_OR_WHOLE
from retrodict.tables.errors import BadCellError, BadKeyError
from retrodict.tables.records import Column, Personal, Table

SEALED, KEY, OF = "_sealed", "_key", "_of"  # columns of a change
CLOSED = "_closed"  # added to what is read, where values are out of reach: why


@dataclass(slots=True, kw_only=True)
class Seen:
    """What is opened for somebody's eyes.

    Attributes:
        withheld: Why nothing may be opened for them; None: it may.
        people: The pseudonyms of whose values were opened.
    """

    withheld: str | None
    people: dict[str, None] = field(default_factory=dict)


class Gap(str):
    """What stands in the place of a personal value that is out of reach: why, in parentheses."""

    __slots__ = ()


def declared(columns: Sequence[Column], key: Sequence[int], subject: int, named: Sequence[int] | None) -> Personal:
    """Return what of a new table is personal.

    Args:
        subject: The column that says whom a record is about.
        named: The other personal columns; None: all.

    Raises:
        BadCellError: The subject is neither text nor whole numbers.
        BadKeyError: A key of several columns is partly personal.
    """
    (kind,) = (column.type for column in columns if column.id == subject)
    if kind not in TEXT_OR_WHOLE:
        raise BadCellError("the column that says whom a record is about is neither text nor whole numbers")
    hidden = {subject, *([column.id for column in columns] if named is None else named)}
    if 0 < len(hidden.intersection(key)) < len(key):
        raise BadKeyError(
            "a part of the key is personal, and another is not", hint="Name all columns of the key with --personal."
        )
    return Personal(subject=subject, clear=tuple(column.id for column in columns if column.id not in hidden))


def seal(keys: KeyRing, table: Table, made: Any) -> tuple[Any, list[str]]:
    """Return changes with their personal values sealed, and the pseudonyms of whom they are about.

    Raises:
        BadCellError: A record does not say whom it is about.
        StateDirectoryError, KeyNotHeldError: There are no keys to seal with.
    """
    import pyarrow as pa  # 57 ms

    assert table.personal is not None
    hidden = [name for name in made.schema.names if name.isdigit() and table.hides(int(name))]
    values = made.select(hidden).combine_chunks()
    identities = made[str(table.personal.subject)].to_pylist()
    empty = [True] * made.num_rows
    for name in hidden:
        empty = [so_far and is_null for so_far, is_null in zip(empty, values[name].is_null().to_pylist(), strict=True)]
    for number, (identity, is_empty) in enumerate(zip(identities, empty, strict=True), 1):
        # An erased record has nothing that could be sealed; so has its delete.
        if identity in (None, "") and not (is_empty and made["_op"][number - 1].as_py() == 3):
            raise BadCellError(f"record {number} does not say whom it is about, or that person was forgotten")
    about = [str(identity) for identity in identities if identity is not None]
    known = dict(zip(dict.fromkeys(about), keys.subjects(list(dict.fromkeys(about))), strict=True))
    batches = values.to_batches()
    texts = [text for batch in batches for text in rows(batch)]
    of = [None if identity is None else known[str(identity)] for identity in identities]
    sealed = iter(
        keys.seal_rows([(subject.key, text) for subject, text in zip(of, texts, strict=True) if subject is not None])
    )
    for name in hidden:
        kind = made.schema.field(name).type
        made = made.set_column(made.schema.get_field_index(name), name, pa.nulls(made.num_rows, kind))
    made = made.append_column(SEALED, pa.array([None if s is None else next(sealed) for s in of], pa.binary()))
    made = made.append_column(KEY, pa.array([None if s is None else s.key for s in of], pa.string()))
    made = made.append_column(OF, pa.array([None if s is None else s.subject for s in of], pa.string()))
    return made, sorted({subject.subject for subject in known.values()})


def layout_of(table: Table, schema: bytes | None) -> str:
    """Return the schema of the sealed rows of changes with this schema, as streams have schemas."""
    listed = [[name, kind] for name, kind in json.loads(schema or b"{}")["columns"]]
    return json.dumps({"columns": [[n, k] for n, k in listed if n.isdigit() and table.hides(int(n))]})


def listed(table: Table, found: Any, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return changes or records as mappings; personal values that are out of reach are a `Gap`."""
    made: list[dict[str, Any]] = found.to_pylist()
    if CLOSED in found.schema.names:
        hidden = [str(column.id) for column in columns if table.hides(column.id)]
        for row in made:
            if (why := row.pop(CLOSED)) is not None:
                row.update(dict.fromkeys(hidden, Gap(f"({why})")))
    return made
