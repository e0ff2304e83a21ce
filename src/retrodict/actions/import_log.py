"""`predictions import`: take over a log that another system kept, as declared."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrodict import exposure, provenance
from retrodict import predictions as records
from retrodict.actions import payloads
from retrodict.actions.personal_files import PersonalFiles
from retrodict.kernel.clock import parse_rfc3339, rfc3339
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, Edge, Ref
from retrodict.workspace import Batch, Workspace

_ROWS_IN_AN_EVENT = 1024
_FIELDS = ("date", "model", "version", "inputs", "outputs", "caller")
_OWN = dict(zip(_FIELDS, records.CSV_COLUMNS, strict=False))  # it has no caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A log that was taken over.

    Attributes:
        log: The file, kept as it is.
        rows: How many answers; `events` entries hold them, from `first` to `last`.
    """

    log: Digest
    system: str
    rows: int
    events: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """One answer of a log."""

    number: int
    date: str
    model: str
    version: str
    caller: str | None
    inputs: object
    output: object


def import_log(
    workspace: Workspace, path: Path, *, columns: Mapping[str, str] | None = None, system: str | None = None
) -> Imported:
    """Take over the answers in a CSV file, as declared; the whole file or nothing.

    Args:
        path: As `predictions --csv` writes it (`date,model,model version,feature inputs,output`, with or without a
            header), or any CSV file with `columns`.
        columns: For each of date, model, version, inputs, outputs and (optional) caller the columns that hold it,
            separated by commas; "=text" is the same for all lines, "*" every column that is not named otherwise.
        system: Who kept the log; its file's name unless given.

    Raises:
        UsageError: There is no such file, it is no CSV file, a line lacks something; names the line. Or it was taken
            over before.
        PersonalFileError: The file is personal, or was made by a run that had read personal values.
        ExposedError: This run has read personal values, and `columns` or `system` may tell of them.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})") from error
    lines = list(_read_log(path, text, columns))
    if not lines:
        raise UsageError(f"{path} holds no answers")
    PersonalFiles(workspace).refuse(path)
    if system is not None or any(text.startswith("=") for text in (columns or {}).values()):
        exposure.refuse(workspace, "what is given beside the log")
    log = workspace.objects.put_file(path)
    earlier = _taken_over(workspace, log)
    if earlier is not None:
        raise UsageError(f"{path} was taken over already: its first answer is entry {earlier}")
    system = system or path.name
    batch = Batch(workspace)
    first = last = None
    edge = Edge(ref=Ref(log), role="log", evidence="declared")
    for group in _groups(lines):
        event = batch.event(
            "prediction.declared",
            uses=(edge,),
            makes=(),
            body=records.declared_body(
                system=system,
                model=None,
                model_name=group[0].model,
                model_version=group[0].version,
                rows=len(group),
                inputs=payloads.store(workspace, batch, [line.inputs for line in group]),
                outputs=payloads.store(workspace, batch, [line.output for line in group]),
                caller=None if group[0].caller is None else batch.agent(group[0].caller),
                trace=None,
                received=group[0].date,
                log=log,
                lines=(group[0].number, group[-1].number),
            ),
        )
        first, last = first or event.id, event.id
    indexes = {sequenced.event.id: sequenced.index for sequenced in batch.append()}
    assert first is not None
    assert last is not None
    return Imported(
        log=log,
        system=system,
        rows=len(lines),
        events=sum(1 for _ in _groups(lines)),
        first=indexes[first],
        last=indexes[last],
    )


def _taken_over(workspace: Workspace, log: Digest) -> int | None:
    """Return the first entry that was taken over from this file."""
    for _, index in provenance.neighbours(workspace.views.database(), Ref(log), limit=1):
        if workspace.logs.event(index).event.kind == "prediction.declared":
            return index
    return None


def _groups(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    """Yield runs of lines that one entry can stand for."""
    group: list[_Line] = []
    for line in lines:
        if group and (
            (line.date, line.model, line.version, line.caller)
            != (group[0].date, group[0].model, group[0].version, group[0].caller)
            or len(group) >= _ROWS_IN_AN_EVENT
        ):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _read_log(path: Path, text: str, columns: Mapping[str, str] | None) -> Iterator[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise UsageError(f"{path} is empty")
        mapping = dict(columns) if columns is not None else _OWN
        if columns is None and [name.strip().lower() for name in header] != list(records.CSV_COLUMNS):
            if len(header) != len(records.CSV_COLUMNS) or not _is_time(header[0]):
                raise UsageError(
                    f"{path} does not begin with {','.join(records.CSV_COLUMNS)}",
                    hint="Say with --map which columns hold what, e.g. --map date=time --map inputs=age,amount.",
                )
            fields, header = header, list(records.CSV_COLUMNS)
            parse = _parser(path, header, mapping)
            yield parse(1, fields)
        else:
            header = [name.strip().lower() for name in header] if columns is None else header
            parse = _parser(path, header, mapping)
        for fields in reader:
            if fields:
                yield parse(reader.line_num, fields)
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def _parser(path: Path, header: Sequence[str], mapping: Mapping[str, str]) -> Callable[[int, Sequence[str]], _Line]:
    """Return what reads one line, having checked that the columns are there."""
    for field in mapping:
        if field not in _FIELDS:
            raise UsageError(f"--map knows no {field!r}", hint=f"Map {', '.join(_FIELDS)}.")
    for field in ("date", "model", "version", "inputs", "outputs"):
        if field not in mapping:
            raise UsageError(f"--map does not say where {field} is", hint=f"Add --map {field}=COLUMN.")
    named = {name for value in mapping.values() if not value.startswith("=") for name in value.split(",")}
    for name in sorted(named - {"*"} - set(header)):
        raise UsageError(f"{path} has no column {name!r}", hint=f"It has {', '.join(header)}.")
    rest = [name for name in header if name not in named]
    places = {name: i for i, name in enumerate(header)}

    def cells(field: str, fields: Sequence[str]) -> dict[str, str]:
        value = mapping[field]
        if value.startswith("="):
            return {field: value[1:]}
        return {name: fields[places[name]] for name in (rest if value == "*" else value.split(","))}

    def one(field: str, fields: Sequence[str]) -> str:
        return ",".join(cells(field, fields).values()).strip()

    def many(field: str, fields: Sequence[str]) -> object:
        found = cells(field, fields)
        if len(found) == 1 and mapping[field] != "*":
            ((name, text),) = found.items()
            value = _json_value(text)
            return value if isinstance(value, dict | list) or field == "outputs" else {name: _plain(text)}
        return {name: _plain(text) for name, text in found.items()}

    def parse(number: int, fields: Sequence[str]) -> _Line:
        if len(fields) != len(header):
            raise UsageError(f"{path}, line {number}: {len(fields)} fields, and the header has {len(header)}")
        try:
            date = rfc3339(parse_rfc3339(one("date", fields)))
        except UsageError as error:
            raise UsageError(f"{path}, line {number}: {error.message}", hint=error.hint) from error
        model, version = one("model", fields), one("version", fields)
        if not model or not version:
            raise UsageError(f"{path}, line {number}: the model or its version is not named")
        return _Line(
            number=number,
            date=date,
            model=model,
            version=version,
            caller=(one("caller", fields) or None) if "caller" in mapping else None,
            inputs=many("inputs", fields),
            output=many("outputs", fields),
        )

    return parse


def _is_time(text: str) -> bool:
    try:
        parse_rfc3339(text.strip())
    except UsageError:
        return False
    return True


def _json_value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _plain(text)


def _plain(text: str) -> object:
    """Return a number where the text is just how one is written, None where it is empty, else the text."""
    for kind in (int, float):
        try:
            if repr(kind(text)) == text:
                return kind(text)
        except ValueError:
            continue
    return text or None
