"""`export`: what is held about a person, for that person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from retrodict import predictions
from retrodict.actions import looks, people
from retrodict.actions.dataset_subjects import PersonRows
from retrodict.actions.looks import Look
from retrodict.actions.personal_files import PersonalFiles
from retrodict.actions.stream_people import RecordsAbout, records_about, table_log
from retrodict.actions.table_read import plain_value
from retrodict.datasets import subjects as tables
from retrodict.kernel import clock as clocks
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.ledger import Sequenced
from retrodict.models.subjects import identity_of
from retrodict.predictions import Kept
from retrodict.streams import open_records
from retrodict.tables import lines
from retrodict.tables.personal import CLOSED, Seen
from retrodict.workspace import Batch, Workspace, agent_name, open_text, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedDispute:
    """A complaint, and how it ended."""

    entry: int
    at: str
    reason: str | None
    resolved_at: str | None
    resolution: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedRow:
    """One row of one prediction.

    Attributes:
        reference: `12.3`.
        model: The version that answered: `credit@v2`.
        part_of: The entry of the answer that this one was a part of.
        inputs: As the model saw them; `sent` as they were sent, where that differs.
        outputs: What it answered; None where it failed.
        gap: Why something of it is not given out.
        leaf_hash: Of the entry, by which it is found in the log.
    """

    reference: str
    at: str
    model: str
    requested: str
    caller: str | None
    part_of: int | None
    status: str
    inputs: Mapping[str, object] | None
    sent: Mapping[str, object] | None
    outputs: Mapping[str, object] | None
    error: str | None
    gap: str | None
    disputes: tuple[ExportedDispute, ...]
    leaf_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedRecord:
    """One record of a stream, or one change of a table.

    Attributes:
        reference: `clicks@17:18`.
        at: When it was appended.
        record: As it was given (Arrow: its cells, in the canonical form); None where it cannot be given out.
        gap: Why not.
        leaf_hash: Of the append's entry, by which it is found in the log.
    """

    reference: str
    at: str
    record: str | None
    gap: str | None
    leaf_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFileRow:
    """One row of personal files; `datasets` are the versions that it stands in: `dataset:NAME@vN`."""

    datasets: tuple[str, ...]
    row: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Everything that is held about a person.

    Attributes:
        origin: The log that it comes from.
        subjects: Their pseudonyms there.
        files: Their rows in personal files, each once; the columns that are personal.
        withheld: Entries of predictions that are kept together with other people's and cannot be parted.
        unread: Versions of datasets whose rows could not be read, and why.
        unknown: Personal datasets of which it is not known whose rows they hold, wholly or in part.
    """

    subject: str
    written: str
    origin: str
    subjects: tuple[str, ...]
    predictions: tuple[ExportedRow, ...]
    records: tuple[ExportedRecord, ...]
    files: tuple[ExportedFileRow, ...]
    withheld: tuple[int, ...]
    unread: Mapping[str, str]
    unknown: tuple[str, ...]
    event: EventId
    index: int


def export(workspace: Workspace, identity: str, *, reason: str | None = None) -> Exported:
    """Return what is held about a person; recorded before it is given out.

    Raises:
        UnknownSubjectError: Nobody here is called so.
    """
    refuse_writing(workspace)
    subjects, held = people.found_anywhere(workspace, identity)
    if not subjects and workspace.keys is not None:  # so that a later `forget` can name this export
        subjects = workspace.keys.subjects([identity])
    names = {subject.subject for subject in subjects}
    look = Look(workspace, "export")
    rows: list[ExportedRow] = []
    withheld: list[int] = []
    calls: list[EventId] = []
    for about in people.calls_about(workspace, names):
        mine = people.rows_of(workspace, about.sequenced, names)
        calls += [about.sequenced.event.id] if mine else []
        rows += [_row(workspace, look, about, row, names) for row in mine]
        if people.is_joint(workspace, about.sequenced, names):
            withheld.append(about.sequenced.index)
    records = tuple(_records(workspace, names))
    files, unread, read = _file_rows(workspace, held, identity)
    batch = Batch(workspace)
    event = batch.event(
        "subject.exported",
        uses=(),
        makes=(),
        body={"subjects": sorted(names), "rows": len(rows), "records": len(records), "file_rows": len(files)},
        reason=reason,
    )
    index = batch.append()[-1].index
    if rows or records or files:
        look.text_of(names)
        uses = [Edge(ref=Ref(content), role="dataset", evidence="observed") for content in read]
        look.record(tuple(calls), uses=uses)
    return Exported(
        subject=identity,
        written=clocks.rfc3339(workspace.clock.now_ns()),
        origin=workspace.ledger.origin,
        subjects=tuple(sorted(names)),
        predictions=tuple(rows),
        records=records,
        files=files,
        withheld=tuple(withheld),
        unread=unread,
        unknown=held.unknown,
        event=event.id,
        index=index,
    )


def _records(workspace: Workspace, names: set[str]) -> Iterator[ExportedRecord]:
    for about in records_about(workspace, names):
        name, line, append = about.line.stream.name, about.line, about.append
        leaf = workspace.logs.event(append.index).leaf_hash.hex()
        if about.gap is not None:
            reference = f"{name}@{append.start}:{append.stop}"
            yield ExportedRecord(reference=reference, at=append.at, record=None, gap=about.gap, leaf_hash=leaf)
        mine = set(about.offsets)
        if line.stream.format == "changes" and mine:
            yield from _changes(workspace, about, leaf)
            continue
        for offset, record in line.offsets(append.start, append.stop) if mine else ():
            if offset in mine:
                (item,) = open_records(workspace, [record])
                yield ExportedRecord(
                    reference=f"{name}@{offset}:{offset + 1}",
                    at=append.at,
                    record=None if item.plain is None else item.plain.decode(),
                    gap=item.why or None,
                    leaf_hash=leaf,
                )


def _changes(workspace: Workspace, about: RecordsAbout, leaf: str) -> Iterator[ExportedRecord]:
    """Yield what changes of a table hold about a person: the whole record after each, by the names of its columns."""
    log = table_log(about.line)
    version = lines.version_at(workspace.views.database(), log, about.append.start)
    columns = lines.columns_at(workspace.views.database(), log, version.version)
    log = replace(log, seen=Seen(withheld=None))
    for row in lines.taken(log, about.offsets, columns).to_pylist():
        gap, offset = row.pop(CLOSED, None), row[lines.OFFSET]
        values = {column.name: row[str(column.id)] for column in columns}
        yield ExportedRecord(
            reference=f"{log.table.name}@{offset}:{offset + 1}",
            at=about.append.at,
            record=None if gap is not None else json.dumps(values, default=plain_value, ensure_ascii=False),
            gap=gap,
            leaf_hash=leaf,
        )


def _file_rows(
    workspace: Workspace, held: PersonRows, identity: str
) -> tuple[tuple[ExportedFileRow, ...], dict[str, str], tuple[Digest, ...]]:
    """Return a person's rows in personal files, which versions could not be read, and the files that were."""
    files = PersonalFiles(workspace)
    read: dict[Digest, list[dict[str, object]]] = {}
    found: dict[str, tuple[dict[str, object], dict[str, None]]] = {}
    unread: dict[str, str] = {}
    for version in held.versions:
        label = version.version.label
        for file in version.files:
            try:
                if file.content not in read:
                    data = files.open(file.content, file.key)
                    read[file.content] = tables.rows_about(data, file.index, version.declared, identity, identity_of)
            except RetrodictError as error:
                unread[label] = error.message
                continue
            for row in read[file.content]:
                found.setdefault(json.dumps(row, sort_keys=True), (row, {}))[1][label] = None
    rows = tuple(ExportedFileRow(datasets=tuple(labels), row=row) for row, labels in found.values())
    return rows, unread, tuple(read)


def _row(workspace: Workspace, look: Look, about: people.About, row: int, names: set[str]) -> ExportedRow:
    sequenced, body = about.sequenced, about.sequenced.event.body
    inputs, outputs, raw = predictions.payloads(sequenced.event)
    gaps: list[str] = []

    def read(kept: Kept | None) -> Mapping[str, object] | None:
        if kept is None:
            return None
        try:
            if not looks.is_only_about(workspace, kept, row, names):
                gaps.append("kept together with other people's values")
                return None
            return look.row(kept, row)
        except (RetrodictError, IndexError) as error:
            gaps.append(str(error))
            return None

    parent = body.get("parent")
    above = None if parent is None else workspace.logs.find(EventId(str(parent)))
    caller = body.get("caller")
    found = [read(kept) for kept in (inputs, raw, outputs)]
    error = None
    if body.get("error") is not None:
        is_mine = not about.others
        error = (
            looks.error_text(workspace, sequenced) if is_mine else "(not given out: it may show other people's values)"
        )
    return ExportedRow(
        reference=f"{sequenced.index}.{row}",
        at=str(body["received"]),
        model=f"{body['model_name']}@v{body['model_version']}",
        requested=str(body["requested"]),
        caller=None if caller is None else agent_name(workspace, str(caller)),
        part_of=None if above is None else above.index,
        status=str(body["status"]),
        inputs=found[0],
        sent=found[1],
        outputs=found[2],
        error=error,
        gap="; ".join(dict.fromkeys(gaps)) or None,
        disputes=tuple(_disputes(workspace, sequenced, row)),
        leaf_hash=sequenced.leaf_hash.hex(),
    )


def _disputes(workspace: Workspace, sequenced: Sequenced, row: int) -> list[ExportedDispute]:
    result = []
    for dispute in predictions.disputes(workspace.views.database(), prediction=sequenced.event.id):
        if dispute.row not in (None, row):
            continue
        begun = workspace.logs.event(dispute.index)
        ended = None if dispute.resolution_index is None else workspace.logs.event(dispute.resolution_index)
        result.append(
            ExportedDispute(
                entry=dispute.index,
                at=dispute.at,
                reason=open_text(workspace, begun.event.reason),
                resolved_at=None if ended is None else ended.event.at,
                resolution=None if ended is None else open_text(workspace, ended.event.reason),
            )
        )
    return result
