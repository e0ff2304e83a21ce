"""`run.started`, `run.read` and `run.finished`: their bodies, their projection, their queries."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retrodict.kernel.types import Digest, EntryNumber, EventId
from retrodict.ledger import Sequenced

if TYPE_CHECKING:
    import apsw


RUNNING: Final = "run-"  # how the folders begin that runs have while they go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution.

    Attributes:
        started_event: The `run.started` event.
        event: The `run.finished` event; None while it runs, or when its recorder died.
        index: The entry of the last of the two.
        argv: The command; bytes that are not UTF-8 as surrogates.
        exit_code: Of the command; 128 + n when signal n ended it.
        completeness: How sure the record is to have seen everything; see `docs/capture.md`.
        code: The tree of the code; `code_facts` and `environment` are JSON objects.
    """

    started_event: EventId
    event: EventId | None
    index: int
    name: str
    argv: tuple[str, ...]
    cwd: str
    params: Mapping[str, str]
    started: str
    finished: str | None
    duration_ns: int | None
    exit_code: int | None
    completeness: str | None
    code: Digest | None
    code_facts: Digest | None
    environment: Digest | None
    metrics: Digest | None
    agent: str


def started_body(*, name: str, argv: Sequence[str], cwd: str, params: Mapping[str, str]) -> dict[str, object]:
    """Return the body of `run.started`; `cwd` is relative to the workspace where it lies inside."""
    return {"name": name, "argv": [_text(a) for a in argv], "cwd": _text(cwd), "params": dict(params)}


def read_body(
    *,
    run: EventId,
    what: str,
    digest: str,
    is_personal: bool = False,
    table: Mapping[str, object] | None = None,
    range_: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return the body of `run.read`: a version that a run has read by itself, not as a file.

    Args:
        run: The `run.started`.
        what: The version, as references are written; `digest` names its content.
        is_personal: It holds values about people, so what the run makes is personal.
        table: Of a version of a table: the "stream" of its changes, the "branch", and after how many ("offset").
        range_: Of records of a stream: the "stream", the "branch", the first ("start"), and the one after the last.
    """
    body: dict[str, object] = {"run": run, "what": what, "digest": digest}
    if is_personal:
        body["personal"] = True
    if table is not None:
        body["table"] = table
    if range_ is not None:
        body["range"] = range_
    return body


def finished_body(
    *,
    run: EventId,
    exit_code: int,
    started: str,
    finished: str,
    duration_ns: int,
    completeness: str,
    params: Mapping[str, str],
    capture: Mapping[str, str] | None,
    code: Digest | None,
    code_facts: Digest | None,
    environment: Digest | None,
    stdout: Mapping[str, str] | None,
    stderr: Mapping[str, str] | None,
    metrics: Digest | None,
    resources: Mapping[str, int],
    sealed: Digest | None,
) -> dict[str, object]:
    """Return the body of `run.finished`."""
    return {
        "run": run,
        "exit_code": exit_code,
        "started": started,
        "finished": finished,
        "duration_ns": duration_ns,
        "completeness": completeness,
        "params": dict(params),
        "capture": capture,
        "code": code,
        "code_facts": code_facts,
        "environment": environment,
        "stdout": stdout,
        "stderr": stderr,
        "metrics": metrics,
        "resources": dict(resources),
        "sealed": sealed,
    }


def _text(text: str) -> object:
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"b64": base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()}
    return text


def _untext(value: object) -> str:
    if isinstance(value, Mapping):
        return base64.b64decode(str(value["b64"])).decode("utf-8", "surrogateescape")
    return str(value)


def declared_body(
    *,
    name: str,
    command: str,
    cwd: str,
    params: Digest,
    unheld: Digest | None,
    imported: Mapping[str, object],
) -> dict[str, object]:
    """Return the body of `run.declared`; `params` is an object, and so is the list of what is not held."""
    return {
        "name": name,
        "command": command,
        "cwd": _text(cwd),
        "params": params,
        "unheld": unheld,
        "imported": imported,
    }


class RunProjection:
    """Tables `runs_runs`, a row for each run, begun by its start and completed by its end, and `runs_reads`."""

    name = "runs"
    version = 4
    tables: Mapping[str, str] = {
        "runs_runs": "CREATE TABLE runs_runs (started_event TEXT PRIMARY KEY, event TEXT, entry INTEGER NOT NULL, "
        "name TEXT NOT NULL, argv TEXT NOT NULL, cwd TEXT NOT NULL, params TEXT NOT NULL, started TEXT NOT NULL, "
        "finished TEXT, duration_ns INTEGER, exit_code INTEGER, completeness TEXT, code TEXT, code_facts TEXT, "
        "environment TEXT, metrics TEXT, agent TEXT NOT NULL) WITHOUT ROWID",
        "runs_reads": "CREATE TABLE runs_reads (event TEXT PRIMARY KEY, entry INTEGER NOT NULL, run TEXT NOT NULL) "
        "WITHOUT ROWID",
    }
    indexes: Sequence[str] = (
        "CREATE INDEX runs_reads_by_run ON runs_reads (run, entry)",
        "CREATE INDEX runs_by_event ON runs_runs (event)",
        "CREATE INDEX runs_by_name ON runs_runs (name)",
    )

    def apply(self, db: apsw.Connection, entry: Sequenced, blob: Callable[[Digest], bytes]) -> None:
        """Fold one entry."""
        event, body = entry.event, entry.event.body
        if event.kind == "run.started":
            db.execute(
                "INSERT INTO runs_runs (started_event, entry, name, argv, cwd, params, started, agent) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    event.id,
                    entry.index,
                    str(body["name"]),
                    json.dumps(body["argv"]),
                    json.dumps(body["cwd"]),
                    json.dumps(body["params"], sort_keys=True),
                    event.at,
                    event.agent,
                ),
            )
        elif event.kind == "run.read" or (event.kind == "personal.viewed" and "run" in body):
            db.execute("INSERT INTO runs_reads VALUES (?, ?, ?)", (event.id, entry.index, str(body["run"])))
        elif event.kind == "run.finished":
            columns = "finished duration_ns exit_code completeness code code_facts environment metrics"
            db.execute(
                f"UPDATE runs_runs SET event = ?, entry = ?, params = ?, "  # noqa: S608
                f"{', '.join(f'{c} = ?' for c in columns.split())} WHERE started_event = ? AND entry >> 32 = ?",
                (
                    event.id,
                    entry.index,
                    json.dumps(body["params"], sort_keys=True),
                    *(body[c] for c in columns.split()),
                    str(body["run"]),
                    entry.index >> 32,  # another log's end is not that of this run
                ),
            )
        elif event.kind == "run.declared":
            imported = body["imported"]
            assert isinstance(imported, Mapping)
            done = str(imported["authored"])  # it had ended by then
            db.execute(
                "INSERT INTO runs_runs (started_event, event, entry, name, argv, cwd, params, started, finished, "
                "exit_code, completeness, agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
                (
                    event.id,
                    event.id,
                    entry.index,
                    str(body["name"]),
                    json.dumps(["sh", "-c", body["command"]]),
                    json.dumps(body["cwd"]),
                    blob(Digest(str(body["params"]))).decode(),
                    done,
                    done,
                    "self-reported",
                    event.agent,
                ),
            )


PROJECTION = RunProjection()
_COLUMNS = (
    "started_event, event, entry, name, argv, cwd, params, started, finished, duration_ns, exit_code, completeness, "
    "code, code_facts, environment, metrics, agent"
)


def _rows(db: apsw.Connection, tail: str, parameters: tuple[object, ...]) -> list[Run]:
    query = f"SELECT {_COLUMNS} FROM runs_runs {tail}"  # noqa: S608
    return [
        Run(
            started_event=EventId(row[0]),
            event=row[1],
            index=EntryNumber(row[2]),
            name=row[3],
            argv=tuple(_untext(a) for a in json.loads(row[4])),
            cwd=_untext(json.loads(row[5])),
            params=json.loads(row[6]),
            started=row[7],
            finished=row[8],
            duration_ns=row[9],
            exit_code=row[10],
            completeness=row[11],
            code=row[12],
            code_facts=row[13],
            environment=row[14],
            metrics=row[15],
            agent=row[16],
        )
        for row in db.execute(query, parameters)
    ]


def runs(db: apsw.Connection, name: str | None = None) -> list[Run]:
    """Return all runs (named `name`), oldest first."""
    if name is None:
        return _rows(db, "ORDER BY started, started_event", ())
    return _rows(db, "WHERE name = ? ORDER BY started, started_event", (name,))


def find(db: apsw.Connection, event: EventId) -> Run | None:
    """Return the run that an event started or finished."""
    found = _rows(db, "WHERE started_event = ? OR event = ?", (event, event))
    return found[0] if found else None


def reads(db: apsw.Connection, run: EventId) -> list[int]:
    """Return the entries that say what a run has read, or looked at, by itself; by its `run.started`."""
    query = "SELECT entry FROM runs_reads WHERE run = ? ORDER BY entry"
    return [int(str(row[0])) for row in db.execute(query, (run,)).fetchall()]


def running_at(folder: Path, started: EventId) -> Path:
    """Return the folder that a run has in `.retrodict` while it goes on."""
    return folder / f"{RUNNING}{started}"


def command_line(argv: Sequence[str]) -> str:
    """Return the command as a shell would take it."""
    return shlex.join(argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for argument in argv)
