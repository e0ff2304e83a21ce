"""References: from what a person pastes to what the record means, and back to what tables print. No verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from retrodict import datasets, predictions, provenance, runs
from retrodict.kernel.errors import AmbiguousReferenceError, UnknownReferenceError, UsageError
from retrodict.kernel.types import Digest, EventId, is_event_id
from retrodict.ledger import Sequenced
from retrodict.models import records as models
from retrodict.models.records import ModelVersion
from retrodict.predictions import Call
from retrodict.provenance.reference import Candidate, Resolved
from retrodict.streams import MAIN
from retrodict.streams import queries as streams
from retrodict.tables import queries as tables
from retrodict.workspace import Workspace, agent_name, open_text, sealed_text

if TYPE_CHECKING:
    import apsw


class _Names:
    """The names that people give: datasets, models with their aliases, runs."""

    def __init__(self, workspace: Workspace) -> None:
        self._database = workspace.views.database()

    def lookup(self, kind: str | None, name: str, version: str | None) -> list[Candidate]:
        """Return what `name` (of one kind; at a version or alias) may mean; without a version: the current one."""
        found: list[Candidate] = []
        if kind in (None, "model"):
            found += [Candidate(event=v.event, printed=v.label) for v in _models(self._database, name, version)]
        if kind in (None, "dataset"):
            wanted = datasets.versions(self._database, name)
            if version is None or _number(version).isdigit():
                wanted = [
                    v for v in wanted if (v.is_current if version is None else str(v.version) == _number(version))
                ]
            else:
                tagged = datasets.tags(self._database, name)
                at = {tag.version_event for tag in tagged if tag.is_current and tag.label == version}
                wanted = [v for v in wanted if v.event in at]
            found += [Candidate(event=v.event, printed=f"dataset:{v.name}@v{v.version}") for v in wanted]
        if kind in (None, "stream", "table"):
            found += _streams(self._database, name, version, only_tables=kind == "table")
        if kind in (None, "run") and version is None:
            last = runs.runs(self._database, name)[-1:]
            found += [Candidate(event=run.event or run.started_event, printed=f"{run.index}") for run in last]
        return found

    def known(self) -> Sequence[str]:
        """Return every name there is, for near matches."""
        return sorted(
            {v.name for v in datasets.versions(self._database)}
            | {v.name for v in models.versions(self._database)}
            | {stream.name for stream in streams.streams(self._database)}
            | {run.name for run in runs.runs(self._database)}
        )


def _number(version: str) -> str:
    return version[1:] if version[:1] in "vV" and version[1:].isdigit() else version


def _streams(
    database: apsw.Connection, name: str, version: str | None, *, only_tables: bool = False
) -> list[Candidate]:
    """Return a stream, or the append that a version of it (`OFFSET`) ends in; a stream is its last append.

    Of a table, whose changes are a stream, `v3` is a version too.
    """
    found = []
    for stream in streams.streams(database, name):
        end = streams.last(database, stream.event, MAIN)
        if stream.format == "changes" and version is not None and not version.isdigit():
            number = _number(version)
            wanted = tables.numbered(database, stream.event, MAIN, int(number)) if number.isdigit() else []
            found += [Candidate(event=v.event, printed=f"table:{name}@v{v.version}") for v in wanted]
            continue
        if only_tables and stream.format != "changes":
            continue
        if version is None and end is None:
            found.append(Candidate(event=stream.event, printed=_stream_name(stream.name, stream.format)))
        elif version is not None and not version.isdigit():
            continue
        elif end is not None and 0 < (offset := end.stop if version is None else int(version)) <= end.stop:
            (append,) = streams.appends(database, stream.event, MAIN, start=offset - 1, stop=offset)
            at = str(offset)
            if stream.format == "changes":
                at = f"v{tables.versions(database, stream.event, MAIN, start=offset - 1, stop=offset)[0].version}"
            found.append(Candidate(event=append.event, printed=f"{_stream_name(stream.name, stream.format)}@{at}"))
    return found


def _stream_name(name: str, form: str) -> str:
    """Return how a stream is called; that of a table's changes is the table."""
    return f"{'table' if form == 'changes' else 'stream'}:{name}"


def _models(database: object, name: str, version: str | None) -> list[ModelVersion]:
    versions = models.versions(database, name)  # type: ignore[arg-type]
    if version is None:
        return [v for v in versions if v.is_current]
    number = _number(version)
    if number.isdigit():
        return [v for v in versions if str(v.version) == number]
    targets = {m.version_event for m in models.aliases(database, name, version) if m.is_current}  # type: ignore[arg-type]
    return [v for v in versions if v.event in targets]


def resolve(workspace: Workspace, text: str) -> Resolved:
    """Return what a reference means.

    Args:
        text: `12`, `12.3`, `name`, `name@v2`, `name@alias`, `kind:name@version`, an event id or a digest, whole or
            abbreviated as tables print them.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It names a row that is not there.
    """
    database = workspace.views.database()
    resolved = provenance.reference.resolve(
        workspace.logs, database, text, _Names(workspace), objects=workspace.objects.resolve_prefix
    )
    if resolved.row is not None and resolved.event is not None:
        sequenced = workspace.logs.find(resolved.event)
        found = [] if sequenced is None else predictions.calls(database, entry=sequenced.index)
        if not found:
            raise UsageError(f"{text} is no prediction, so it has no rows", hint="`retrodict predictions` lists them.")
        _check_row(text, found[0], resolved.row)
    return resolved


def model_version(workspace: Workspace, text: str) -> ModelVersion:
    """Return the model version that a reference means; a bare name means its newest version.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It means something that is no model.
    """
    database = workspace.views.database()
    name, _, version = text.removeprefix("model:").partition("@")
    found = _models(database, name, version or None)
    if not found:
        resolved = resolve(workspace, text)
        found = [] if resolved.event is None else models.find(database, event=resolved.event)
        if not found:
            raise UsageError(f"{text} is no model", hint="`retrodict models` lists them.")
    if len(found) > 1:
        raise AmbiguousReferenceError(text, tuple(v.event for v in found))
    return found[0]


def call(workspace: Workspace, text: str) -> tuple[Call, int | None]:
    """Return the call that a reference means, and the row where it names one.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It means something that is no prediction, or a row that the call does not have.
    """
    resolved = resolve(workspace, text)
    sequenced = None if resolved.event is None else workspace.logs.find(resolved.event)
    found = [] if sequenced is None else predictions.calls(workspace.views.database(), entry=sequenced.index)
    if not found:
        raise UsageError(f"{text} is no prediction", hint="`retrodict predictions` lists them.")
    return found[0], resolved.row


def dataset(workspace: Workspace, text: str) -> str:
    """Return the name of the dataset that a name, or any reference to one of its versions, means.

    Raises:
        UnknownReferenceError, AmbiguousReferenceError: See there.
        UsageError: It is no dataset.
    """
    database = workspace.views.database()
    name = text.removeprefix("dataset:")
    if datasets.current(database, name):
        return name
    event = resolve(workspace, text).event
    found = [] if event is None else datasets.find(database, event=event)
    if not found:
        raise UsageError(f"{text} is no dataset", hint="`retrodict ls` lists them.")
    return found[0].name


def _check_row(text: str, found: Call, row: int) -> None:
    if row >= found.rows:
        raise UsageError(
            f"{text}: that call has " + {0: "no rows", 1: "row 0 only"}.get(found.rows, f"rows 0 to {found.rows - 1}")
        )


def written(workspace: Workspace, start: str, *, only_models: bool = False) -> Sequence[str]:
    """Return every name that begins with `start`, as references are written: for the shell to complete."""
    database = workspace.views.database()
    versions = models.versions(database)
    found = {v.name for v in versions} | {v.label for v in versions}
    found |= {f"{move.name}@{move.alias}" for move in models.aliases(database)}
    if not only_models:
        found |= {f"{tag.name}@{tag.label}" for tag in datasets.tags(database) if tag.is_current}
        for dataset in datasets.versions(database):
            found |= {f"dataset:{dataset.name}", f"dataset:{dataset.name}@v{dataset.version}", dataset.name}
        found |= {run.name for run in runs.runs(database)}
        found |= {_stream_name(stream.name, stream.format) for stream in streams.streams(database)}
    return sorted(name for name in found if name.startswith(start))


def near(name: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names that `name` may be a misspelling of, best first."""
    import difflib  # 1 ms, of every command, for what was mistyped

    return tuple(difflib.get_close_matches(name, known, n=3, cutoff=0.5))


def short(digest: Digest | str) -> str:
    """Return a digest as tables print it; it can be pasted."""
    return digest[:15]


def label(workspace: Workspace, sequenced: Sequenced) -> str:
    """Return what an entry is about, in words that can be pasted where they name something."""
    event, body = sequenced.event, sequenced.event.body
    match event.kind:
        case "dataset.added" | "dataset.derived" | "dataset.attached":
            return f"dataset:{body['name']}@v{body['version']}"
        case "dataset.rederived":
            about = workspace.logs.find(EventId(str(body["version"])))
            return f"{'?' if about is None else label(workspace, about)}: {body['verdict']}"
        case "model.registered":
            return f"{body['name']}@v{body['version']}"
        case "stream.appended" | "stream.compacted" | "stream.materialized" | "stream.positioned" | "stream.moved":
            (stream,) = streams.streams(workspace.views.database(), event=EventId(str(body["stream"])))
            changes = body.get("table")
            offset = body.get("offset", body.get("stop"))
            if stream.format == "changes":
                offset = f"v{changes['version']}" if isinstance(changes, Mapping) else None
            return _stream_name(stream.name, stream.format) + ("" if offset is None else f"@{offset}")
        case "stream.created":
            return _stream_name(str(body["name"]), str(body["format"]))
        case "run.read":
            return str(body["what"])
        case "alias.set":
            target = workspace.logs.find(EventId(str(body["version"])))
            version = "?" if target is None else target.event.body.get("version", "?")
            return f"{body['name']}@{body['alias']} -> v{version}"
        case "dataset.tagged":
            target = workspace.ledger.find(EventId(str(body["version"])))
            version = "?" if target is None else target.event.body.get("version", "?")
            return f"dataset:{body['name']}@{body['label']} -> v{version}"
        case "dataset.untracked":
            return f"dataset:{body['name']}"
        case "bucket.fetched":
            about = workspace.logs.find(EventId(str(body["version"])))
            files = f"{body['files']} object{'' if body['files'] == 1 else 's'}"
            return f"{'?' if about is None else label(workspace, about)}: {files}"
        case "origin.fetched":
            return open_text(workspace, sealed_text(body["url"])) or ""
        case "run.started" | "run.declared":
            return f"run {body['name']}"
        case "run.finished":
            started = workspace.logs.find(EventId(str(body["run"])))
            name = "?" if started is None else started.event.body.get("name", "?")
            return f"run {name}, exit {body['exit_code']}"
        case "prediction.made" | "prediction.declared" | "prediction.fetched":
            number = body["model_version"]
            # What another system calls its version stands as it says it, also where it is registered here.
            version = f"v{number}" if event.kind == "prediction.made" else number
            rows = "1 row" if body["rows"] == 1 else f"{body['rows']} rows"
            if event.kind == "prediction.fetched":
                return f"{body['model_name']}, a third party, {rows}, {body['status']}"
            return f"{body['model_name']}@{version}, {rows}, {body['status']}"
        case "prediction.disputed" | "replay.finished":
            about = workspace.logs.find(EventId(str(body["prediction"])))
            row = body.get("row")
            place = "?" if about is None else f"{about.index}" + ("" if row is None else f".{row}")
            verdict = body.get("verdict")
            return f"prediction {place}" + ("" if verdict is None else f": {verdict}")
        case "dispute.resolved":
            about = workspace.logs.find(EventId(str(body["dispute"])))
            return f"dispute {'?' if about is None else about.index}"
        case "personal.viewed":
            return f"{body['by']}: {_people(body['subjects'])}" if body["subjects"] else str(body["by"])
        case "subject.forgotten" | "subject.exported":
            return _people(body["subjects"])
        case "file.forgotten":
            edges = provenance.edges(event.uses, workspace.objects.get)
            versions = [workspace.logs.find(EventId(edge.ref)) for edge in edges if edge.role == "dataset-version"]
            known = [label(workspace, version) for version in versions if version is not None]
            return ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")
        case "keys.shared":
            return f"to {body['to']}"
        case "keys.received":
            return f"from {body['from']}"
        case "keys.destroyed":
            forgotten = workspace.logs.find(EventId(str(body["forgotten"])))
            return f"as entry {'?' if forgotten is None else forgotten.index} says"
        case "checkpoint.witnessed":
            return f"{body['size']} entries"
        case "signer.added":
            return agent_name(workspace, str(body["agent"]))
        case "signer.revoked":
            added = workspace.logs.find(EventId(str(body["signer"])))
            return "?" if added is None else label(workspace, added)
        case "workspace.copied" | "log.pulled":
            return f"{body['origin']}, {body['size']} entries"
        case "backup.made" | "log.restored":
            number = "" if body["number"] is None else f"backup {body['number']}, "
            return f"{number}{body.get('what', 'store')}, {body['size']} entries"
        case _:
            return str(body.get("name", "")) if isinstance(body.get("name"), str) else ""


def _people(subjects: object) -> str:
    assert isinstance(subjects, list | tuple)
    named = [str(subject) for subject in subjects if not is_event_id(str(subject))]
    derived = [] if len(named) == len(subjects) else ["what was derived"]
    return ", ".join([*([named[0] if len(named) == 1 else f"{len(named)} people"] if named else []), *derived])


def check_model(workspace: Workspace, name: str) -> None:
    """Tell a model that was never asked from one that there is not: neither registered, nor named by another system.

    Raises:
        UnknownReferenceError: There is no such model.
    """
    database = workspace.views.database()
    known = {version.name for version in models.versions(database)}
    known |= {str(row[0]) for row in database.execute("SELECT DISTINCT model_name FROM predictions_calls")}
    if name.partition("@")[0] not in known:
        raise unknown(name, sorted(known))


def unknown(text: str, known: Sequence[str]) -> UnknownReferenceError:
    """Return the error for a name that is not there, with near matches."""
    return UnknownReferenceError(text, near(text, known))
