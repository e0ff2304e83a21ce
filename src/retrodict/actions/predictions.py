"""`predictions`: search the audit trail by who, when, what and any value."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from retrodict import predictions as records
from retrodict.actions import names, payloads, people
from retrodict.actions.looks import NOT_POSSIBLE, Look
from retrodict.kernel.clock import parse_rfc3339, rfc3339
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.types import EventId
from retrodict.predictions import Call, Kept, SealedPayload, Segment, media, payload, personal
from retrodict.predictions.errors import ErasedError, SealedValuesError
from retrodict.workspace import Workspace, agent_name

_FACTS = ("date", "model", "version", "caller", "status", "reference")
_CHUNK_ROWS = 2000
_MAX_COLUMNS = 1900  # SQLite's limit for a table is 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """One row of one call.

    Attributes:
        reference: What to paste: `12.3`.
        kind: "made" here, "declared" by another system, or "fetched" from a third party.
        version: `v2`, or what the other system calls it.
        caller: Who asked; None where nobody said.
        subject: Pseudonym of whom it is about; None where its values are nobody's.
        inputs: As the model saw them, by column; None where they are not held, or sealed. Columns that are personal
            are there only where a look at them was asked for.
        outputs: What it answered; None where it failed, or where they are not held.
        gap: Why something is None that should not be.
    """

    reference: str
    event: EventId
    index: int
    row: int
    kind: str
    date: str
    model: str
    version: str
    caller: str | None
    status: str
    subject: str | None
    inputs: Mapping[str, object] | None
    outputs: Mapping[str, object] | None
    gap: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Rows of the audit trail.

    Attributes:
        is_cut: There may be more than the limit let through.
        strangers: Where one person was asked for: how many people of the record nobody here can name, since their keys
            are held by other clones. The one who was asked for may be among them.
    """

    rows: tuple[PredictionRow, ...]
    is_cut: bool
    strangers: int = 0


def search(
    workspace: Workspace,
    *,
    where: str | None = None,
    model: str | None = None,
    version: str | None = None,
    caller: str | None = None,
    since: str | None = None,
    until: str | None = None,
    limit: int = 100,
    parts: bool = False,
    oldest_first: bool = False,
    subject: str | None = None,
    unseal: bool = False,
) -> Predictions:
    """Return the rows that fit everything given.

    Args:
        where: An SQL condition over the columns of inputs and outputs and date, model, version, caller, status,
            reference, e.g. `amount > 4000 AND decision = 'decline'`. A name that inputs and outputs share means the
            input; the output is "output.NAME" then.
        model: A model's name, or a reference to one version.
        version: `v2`, `2`, or what another system calls it.
        caller: Who asked, by name.
        since: First instant that counts (RFC 3339 or a date); `until` the first that no longer does.
        limit: At most so many rows.
        parts: List the parts of composed answers too.
        subject: Only rows about this person, by who they are, with their personal values: a look, which is recorded.
        unseal: Open everybody's personal values; whose rows are returned is recorded as looked at.

    Raises:
        UsageError: The condition is not SQL or names a column that there is not; a time is none.
        UnknownReferenceError: There is no such model.
    """
    if limit < 1:
        raise UsageError(f"a limit of {limit} lets nothing through")
    found: list[PredictionRow] = []
    condition = None if where is None else _Condition(where)
    look = Look(workspace, "predictions")
    opener = _Opener(workspace, look, subject, is_open=unseal or subject is not None)
    for chunk in _chunks(_rows(workspace, opener, model, version, caller, since, until, parts, oldest_first)):
        found += chunk if condition is None else condition.filter(chunk)
        if len(found) > limit:
            break
    if condition is not None:
        condition.check()
    if not found and model is not None:
        names.check_model(workspace, model)
    rows = tuple(found[:limit])
    look.record(opener.note(rows))
    return Predictions(
        rows=rows, is_cut=len(found) > limit, strangers=0 if subject is None else people.strangers(workspace)
    )


def read_prediction(
    workspace: Workspace, reference: str, *, unseal: bool = False, caller: str | None = None
) -> Predictions:
    """Return the rows of one call, or the one row that `reference` names.

    Args:
        unseal: With personal values; recorded as a look before it returns.
        caller: Who looks, as they say, where that is not the agent.

    Raises:
        UsageError: It is no prediction.
        UnknownReferenceError, AmbiguousReferenceError: See there.
    """
    call, wanted = names.call(workspace, reference)
    look = Look(workspace, "server", caller=caller)
    opener = _Opener(workspace, look, None, is_open=unseal)
    askers = {call.caller, *(part.caller for part in call.parts)}
    known = {asker: None if asker is None else agent_name(workspace, asker) for asker in askers}
    rows = tuple(row for row in _rows_of(opener, call, known, None) if wanted in (None, row.row))
    look.record(opener.note(rows))
    return Predictions(rows=rows, is_cut=False)


def _rows(
    workspace: Workspace,
    opener: _Opener,
    model: str | None,
    version: str | None,
    caller: str | None,
    since: str | None,
    until: str | None,
    parts: bool,
    oldest_first: bool,
) -> Iterator[PredictionRow]:
    database = workspace.views.database()
    name, number = _wanted(workspace, model, version)
    pseudonym = None
    if caller is not None:
        pseudonym = _pseudonym(workspace, caller)
        if pseudonym is None:
            return
    known: dict[str | None, str | None] = {}
    for call in records.calls(
        database,
        model_name=name,
        model_version=number,
        caller=pseudonym,
        since=None if since is None else rfc3339(parse_rfc3339(since)),
        until=None if until is None else rfc3339(parse_rfc3339(until)),
        top_level=not parts,
        newest_first=not oldest_first,
    ):
        for asker in {call.caller, *(part.caller for part in call.parts)} - known.keys():
            known[asker] = None if asker is None else agent_name(workspace, asker)
        if opener.is_wanted(call):
            yield from _rows_of(opener, call, known, pseudonym)


def _rows_of(
    opener: _Opener, call: Call, known: Mapping[str | None, str | None], pseudonym: str | None
) -> Iterator[PredictionRow]:
    """Yield the rows of a call; those that `pseudonym` asked, where that is given."""
    inputs, outputs, gap = opener.values(call)
    for row in range(call.rows):
        asker = call.caller_of(row)
        if pseudonym is not None and asker != pseudonym:
            continue  # somebody else's row of a call that scored several questions together
        if not inputs.is_wanted(row):
            continue
        yield PredictionRow(
            reference=f"{call.index}.{row}",
            event=call.event,
            index=call.index,
            row=row,
            kind=call.kind,
            date=call.received,
            model=call.model_name,
            version=f"v{call.model_version}" if call.model is not None else call.model_version,
            caller=known[asker],
            status=call.status,
            subject=inputs.subject(row),
            inputs=inputs.row(row),
            outputs=outputs.row(row),
            gap=gap or inputs.gap(row) or outputs.gap(row),
        )


def _wanted(workspace: Workspace, model: str | None, version: str | None) -> tuple[str | None, str | None]:
    number = version[1:] if version is not None and version[:1] in "vV" and version[1:].isdigit() else version
    if model is None or "@" not in model:
        return model, number
    if version is not None:
        raise UsageError(f"{model} names a version already", hint="Give the version once.")
    meant = names.model_version(workspace, model)
    return meant.name, str(meant.version)


def _pseudonym(workspace: Workspace, name: str) -> str | None:
    query = (
        "SELECT caller FROM predictions_calls WHERE caller IS NOT NULL "
        "UNION SELECT caller FROM predictions_parts WHERE caller IS NOT NULL"
    )
    for row in workspace.views.database().execute(query).fetchall():
        pseudonym = str(row[0])
        if name in {pseudonym, agent_name(workspace, pseudonym)}:
            return pseudonym
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Values:
    """The rows of a payload, as far as they may be shown.

    Attributes:
        rows: By their number.
        owners: Pseudonyms, by row; empty where they are nobody's.
        gaps: Why a row is not there, by its number.
        wanted: The rows that were asked for; None: all.
    """

    rows: Mapping[int, dict[str, object]]
    owners: Mapping[int, str]
    gaps: Mapping[int, str]
    wanted: frozenset[int] | None = None

    def row(self, row: int) -> dict[str, object] | None:
        return self.rows.get(row)

    def subject(self, row: int) -> str | None:
        return self.owners.get(row)

    def gap(self, row: int) -> str | None:
        return self.gaps.get(row)

    def is_wanted(self, row: int) -> bool:
        return self.wanted is None or row in self.wanted


class _Opener:
    """Reads the values of calls: what is personal only where a look at it was asked for, and can be recorded."""

    def __init__(self, workspace: Workspace, look: Look, identity: str | None, *, is_open: bool) -> None:
        self._workspace = workspace
        self._look = look
        self._is_open = is_open
        self._opened: set[str] = set()
        self._subjects: set[str] | None = None
        self._entries: set[int] = set()
        if identity is not None:
            keys = workspace.keys
            found = [] if keys is None else keys.find_subjects(identity)
            self._subjects = {subject.subject for subject in found}
            database = workspace.views.database()
            self._entries = {entry for name in self._subjects for entry in records.entries_about(database, name)}

    def is_wanted(self, call: Call) -> bool:
        return self._subjects is None or call.index in self._entries

    def note(self, rows: Sequence[PredictionRow]) -> tuple[EventId, ...]:
        """Take note of whose personal values are shown, and return of which calls they are."""
        owners: set[str] = set()
        calls: dict[EventId, None] = {}
        for row in rows if self._is_open else ():
            of = self._opened.intersection((row.subject or "").split())
            if of:
                owners |= of
                calls[row.event] = None
        self._look.text_of(owners)
        return tuple(calls)

    def values(self, call: Call) -> tuple[_Values, _Values, str | None]:
        """Return inputs and outputs, and why one of them is not there."""
        inputs, outputs, _ = records.payloads(self._workspace.logs.event(call.index).event)
        gap = None
        found: list[_Values] = []
        for kept in (inputs, outputs):
            try:
                found.append(self._read(kept))
            except RetrodictError as error:
                found.append(_Values(rows={}, owners={}, gaps={}))
                gap = error.message
        return found[0], found[1], gap

    def _read(self, kept: Kept | None) -> _Values:
        if kept is None:
            return _Values(rows={}, owners={}, gaps={})
        if not isinstance(kept, SealedPayload):
            listed = payload.to_records(payloads.load(self._workspace, kept))
            return _Values(rows=dict(enumerate(listed)), owners={}, gaps={})
        rows: dict[int, dict[str, object]] = {}
        if kept.clear is not None:
            rows = dict(enumerate(payload.to_records(payloads.load(self._workspace, kept.clear))))
        owners: dict[int, str] = {}
        gaps: dict[int, str] = {}
        wanted: set[int] = set()
        for segment in kept.parts(self._workspace.objects.get):
            numbers = [row for first, count in segment.rows for row in range(first, first + count)]
            owners |= dict.fromkeys(numbers, " ".join(segment.subjects))
            if self._subjects is not None and not self._subjects & set(segment.subjects):
                continue
            wanted.update(numbers)
            try:
                opened = self._segment(segment)
            except RetrodictError as error:
                gaps |= dict.fromkeys(numbers, error.message)
                continue
            rows |= dict(zip(numbers, opened, strict=True)) if opened is not None else {}
            if opened is None:
                gaps |= dict.fromkeys(numbers, self._look.how)
        return _Values(
            rows=rows, owners=owners, gaps=gaps, wanted=None if self._subjects is None else frozenset(wanted)
        )

    def _segment(self, segment: Segment) -> list[dict[str, object]] | None:
        erased = personal.erased_by(self._workspace, segment)
        if erased is not None:
            raise ErasedError(erased)
        if not self._is_open:
            return None
        if not self._look.is_possible:
            raise SealedValuesError(NOT_POSSIBLE)
        opened = payload.to_records(personal.segment_value(self._workspace, segment))
        self._opened.update(segment.subjects)
        return opened


def _chunks(rows: Iterable[PredictionRow]) -> Iterator[list[PredictionRow]]:
    chunk: list[PredictionRow] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) >= _CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


_NO_COLUMN = re.compile(r'no such column: "?(?P<name>.+?)"?( - should .*)?\Z')


class _Condition:
    """An SQL condition, tried by SQLite on a table of some rows at a time. It can read that table and nothing else."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._columns: dict[str, str] = {name: name for name in _FACTS}  # by lower case, as SQLite compares
        self._absent: set[str] = set()
        self._is_sealed = False

    def filter(self, rows: Sequence[PredictionRow]) -> list[PredictionRow]:
        """Return the rows for which the condition holds."""
        self._is_sealed = self._is_sealed or any(row.subject is not None and row.gap is not None for row in rows)
        tables = [self._cells(row) for row in rows]
        for cells in tables:
            for name in cells:
                self._columns.setdefault(name.lower(), name)
        while True:
            try:
                return [rows[i] for i in self._select(tables)]
            except apsw.Error as error:
                unknown = _NO_COLUMN.match(str(error))
                if unknown is None or unknown["name"].lower() in self._absent:
                    raise UsageError(f"`where` is not an SQL condition: {error}", hint=self._hint()) from error
                # A column that only other calls have: nothing, here. `check` says so if nobody has it.
                self._absent.add(unknown["name"].lower())

    def check(self) -> None:
        """Raise UsageError if the condition names a column that no row has."""
        unknown = sorted(self._absent - set(self._columns))
        if unknown:
            raise UsageError(f"`where`: there is no column {', '.join(unknown)}", hint=self._hint())

    def _hint(self) -> str:
        shown = list(self._columns.values())
        more = f" and {len(shown) - 40} more" if len(shown) > 40 else ""
        sealed = (
            " Personal ones are opened by --subject and --unseal (`subject=`, `unseal=`)." if self._is_sealed else ""
        )
        return f"The columns are {', '.join(shown[:40])}{more}.{sealed}"

    def _cells(self, row: PredictionRow) -> dict[str, object]:
        cells: dict[str, object] = {name: getattr(row, name) for name in _FACTS}
        taken = set(cells)
        for prefix, values in (("input", row.inputs), ("output", row.outputs)):
            for name, value in (values or {}).items():
                column = f"{prefix}.{name}" if name.lower() in taken else name
                if len(cells) < _MAX_COLUMNS:
                    cells[column] = value
                    taken.add(name.lower())
        return cells

    def _select(self, tables: Sequence[Mapping[str, object]]) -> list[int]:
        columns = {**{name: name for name in self._absent}, **self._columns}
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in columns.values())
        db = apsw.Connection(":memory:")
        try:
            db.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)  # else a misspelt "name" is a text
            db.execute(f"CREATE TABLE predictions ({quoted})")
            db.executemany(
                f"INSERT INTO predictions VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
                ([_sql_value(cells.get(name)) for name in columns.values()] for cells in tables),
            )
            db.authorizer = _only_reads
            # On lines of its own, so that a comment in it ends there.
            query = f"SELECT rowid - 1 FROM predictions WHERE (\n{self._where}\n) ORDER BY rowid"  # noqa: S608
            return [row[0] for row in db.execute(query)]
        finally:
            db.authorizer = None
            db.close()


def _only_reads(action: int, _1: str | None, name: str | None, _3: str | None, _4: str | None) -> int:
    reads = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE}
    return apsw.SQLITE_OK if action in reads and name != "load_extension" else apsw.SQLITE_DENY


def _sql_value(value: object) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    return json.dumps(value, default=media.about)


# ---- as CSV ----------------------------------------------------------------------------------------------------------


def to_csv(found: Predictions) -> str:
    """Return rows as `date,model,model version,feature inputs,output`; inputs and output as JSON."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(records.CSV_COLUMNS)
    for row in found.rows:
        writer.writerow([row.date, row.model, row.version, _json(row.inputs), _json(_bare(row.outputs))])
    return file.getvalue()


def _json(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=media.about)


def _bare(outputs: Mapping[str, object] | None) -> object:
    """Return an unnamed output without the name that we gave it."""
    return outputs["value"] if outputs is not None and set(outputs) == {"value"} else outputs
