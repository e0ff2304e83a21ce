"""`table prove`, `check-proof`: one record is in a version, shown without the others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from retrodict.actions.tabling import key_values, version_of
from retrodict.kernel import merkle
from retrodict.kernel.clock import rfc3339
from retrodict.kernel.errors import FormatError, UsageError
from retrodict.tables import history, lines, proofs, queries, records
from retrodict.tables.errors import NoSuchRecordError
from retrodict.workspace import Batch, Workspace, edges_or_list

_ROOT = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableProof:
    """A record of a version with its inclusion proof (RFC 9162): who has the root can check it, with nothing of ours.

    Attributes:
        root: Of the tree over the records of the version, in the order of their creation; entry `index` says so.
        place: Which of its `records` it is, from 0.
        prefix: What the leaf hash puts between its zero byte and the record: the BLAKE3 of `schema`, hex.
        schema: The columns of `record` by their ids, with their types; `columns` are their names.
        record: The last change of the record: its canonical bytes, as text.
        proof: Hashes, hex, from the leaf's sibling up.
    """

    reference: str
    name: str
    records: int
    root: str
    index: int
    place: int
    prefix: str
    schema: str
    columns: Mapping[str, str]
    record: str
    proof: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableProofChecked:
    """Whether a record is in the version that a proof names."""

    answer: Literal["yes", "no"]
    reference: str
    records: int
    root: str
    values: Mapping[str, object]


def prove(workspace: Workspace, reference: str, key: str | Sequence[object] | Mapping[str, object]) -> TableProof:
    """Return a record of a version with the proof that it is in it; the first time, the log commits to the version.

    Raises:
        NoSuchRecordError: It is not.
    """
    found = version_of(workspace, reference)
    log, db = found.log, workspace.views.database()
    values = key_values(found.table, found.columns, key)
    shown = "/".join(map(str, values.values()))
    columns = lines.columns_at(db, log)
    last = history.last_change(workspace, log, columns, values)
    walked: list[dict[str, Any]] = [] if last is None else history.walked(log, columns, last)
    chain = [change for change in walked if change[lines.OFFSET] < found.stop]
    if not chain or chain[-1]["_op"] == lines.DELETE:
        raise NoSuchRecordError(f"{found.reference} has no record {shown}")
    offset: int = chain[-1][lines.OFFSET]
    offsets, hashes = proofs.record_leaves(log, found.stop)
    root = proofs.root(hashes).hex()
    state = lines.root_at(db, log, found.stop)
    committed = queries.commitment(db, found.table.stream, state)
    if committed is None or committed[1] != root:
        batch = Batch(workspace)
        event = batch.event(
            "table.committed",
            uses=edges_or_list(batch, log.line.lineage(0, found.stop)),
            makes=(),
            body=records.committed_body(
                stream=found.table.stream,
                branch=log.branch,
                offset=found.stop,
                rows=len(hashes),
                root=state,
                records=root,
            ),
        )
        index = next(s.index for s in batch.append() if s.event.id == event.id)
    else:
        index = committed[0]
    place = offsets.index(offset)
    prefix, schema = proofs.schema_text(log, offset)
    return TableProof(
        reference=found.reference,
        name=found.table.name,
        records=len(hashes),
        root=f"sha256:{root}",
        index=index,
        place=place,
        prefix=prefix,
        schema=schema,
        columns={str(column.id): column.name for column in found.columns},
        record=log.line.record(offset).decode(),
        proof=tuple(node.hex() for node in proofs.inclusion(hashes, place)),
    )


def check_proof(text: str, expected: str | None = None) -> TableProofChecked:
    """Check a proof that `table prove --json` printed, with nothing but it and the root that one has.

    Raises:
        FormatError: It is no proof.
        UsageError: `expected` is no root.
    """
    from blake3 import blake3  # a door without a workspace: loaded when asked for

    try:
        value = json.loads(text)
        held = _ROOT.match(str(value["root"]))
        path = [bytes.fromhex(item) for item in value["proof"]]
        place, size, record, schema = int(value["place"]), int(value["records"]), str(value["record"]), value["schema"]
        prefix = blake3(str(schema).encode()).digest()
        kinds: dict[str, object] = dict(json.loads(schema)["columns"])
        cells = dict(zip(kinds, json.loads(record), strict=True))
        if held is None:
            raise ValueError("a field is missing")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"it is no proof of a record: {error}", hint="`table prove --json` makes one.") from error
    wanted = held if expected is None else _ROOT.match(expected.strip())
    if wanted is None:
        raise UsageError(f"{expected!r} is no root of a table", hint="`retrodict table prove` prints one.")
    leaf = merkle.leaf_hash(prefix + record.encode())
    is_in = merkle.verify_inclusion(place, size, leaf, path, bytes.fromhex(wanted["hex"]))
    columns = value.get("columns", {})
    return TableProofChecked(
        answer="yes" if is_in else "no",
        reference=str(value.get("reference")),
        records=size,
        root=f"sha256:{wanted['hex']}",
        values={
            str(columns.get(name, name)): _plain(cell, kinds[name])
            for name, cell in cells.items()
            if not name.startswith("_")
        },
    )


def _plain(cell: object, kind: object) -> object:
    """Return a cell as people write it; canonical bytes have days for a date, microseconds for an instant."""
    if not isinstance(cell, int):
        return cell
    try:
        match kind:
            case "date32":
                return (date(1970, 1, 1) + timedelta(days=cell)).isoformat()
            case ["timestamp", "us", _]:
                return rfc3339(cell * 1000)
            case _:
                return cell
    except (OverflowError, ValueError):  # outside the years 1 to 9999
        return cell
