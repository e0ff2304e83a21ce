"""`run`: run anything, and find what it read and wrote, with nothing declared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrodict import capture, datasets, exposure, provenance, runs
from retrodict.actions import attaching
from retrodict.actions.keeping import code_tree, keep
from retrodict.actions.personal_files import PersonalFiles, SealedFile
from retrodict.actions.places import RUN_VARIABLE, workspace_path
from retrodict.actions.running import left_behind, running_folder
from retrodict.capture import SPOOL_NAME, Access, Capture
from retrodict.kernel import clock as clocks
from retrodict.kernel.errors import RetrodictError, UnavailableError, UsageError
from retrodict.kernel.types import Digest, Edge, Event, EventId, Ref
from retrodict.objects import display
from retrodict.workspace import Batch, Workspace, edges_or_list

_PARAMS_FILES = frozenset({"params.json", "params.yaml", "params.yml", "params.toml"})


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that a run read or wrote.

    Attributes:
        path: Relative to the workspace where it lies inside, else absolute.
        role: "input", "params", "code-input", "program" or "output".
        maker: The entry of the event that made these bytes, where that is known.
    """

    path: str
    role: str
    digest: Digest
    size_bytes: int
    maker: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One run, recorded.

    Attributes:
        entry: Of its `run.finished` event; what other commands take.
        exit_code: Of the command; 128 + n when signal n ended it.
        completeness: How sure the record is to have seen everything; `mode` says which supervisor saw it.
        warnings: What the record does not know, one sentence each.
    """

    entry: int
    event: EventId
    name: str
    command: str
    exit_code: int
    duration_ns: int
    mode: str
    completeness: str
    inputs: tuple[File, ...]
    outputs: tuple[File, ...]
    code: Digest | None
    environment: Digest
    warnings: tuple[str, ...]


def run(
    workspace: Workspace,
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    name: str | None = None,
    params: Mapping[str, str] | None = None,
    reason: str | None = None,
    mode: Literal["auto", "seccomp", "strace", "audit-hook"] = "auto",
    caches: Path | None = None,
) -> Ran:
    """Run `argv` and record what happened; a command that fails is recorded too.

    Before it begins, what a killed recorder left of an earlier run is recorded as that run's end.

    Args:
        params: Recorded; `{k}` in an argument is replaced by its value.
        mode: Which supervisor sees the run; "auto" takes the best that works here.
        caches: A folder of the user's, outside the workspace, for what interpreters told of themselves.

    Raises:
        NoCommandError: There is no command, or `cwd` is no folder.
        CaptureUnavailableError: The supervisor that was asked for does not work here.
    """
    if not argv:
        raise capture.NoCommandError("there is no command to run", hint="retrodict run -- python train.py")
    finish_left_behind(workspace, environment, caches=caches)
    params = dict(params or {})
    argv = [_with_params(argument, params) for argument in argv]
    name = name or _name(argv)
    started = begin(workspace, name, argv, cwd=cwd, params=params, reason=reason)
    printed: dict[int, list[bytes]] = {1: [], 2: []}

    def output(fd: int, data: bytes) -> None:
        printed[fd].append(data)

    with running_folder(workspace, started) as folder:
        # By this, versions that the command reads through us, and not as files, find the run that they are inputs of.
        within = {**environment, RUN_VARIABLE: started}
        seen = capture.supervise(argv, cwd=cwd, environment=within, preserve_to=folder, mode=mode, output=output)
        return finish(workspace, started, name, argv, params, seen, printed, environment, caches=caches)


def finish_left_behind(workspace: Workspace, environment: Mapping[str, str], *, caches: Path | None = None) -> None:
    """Record the end of runs whose recorder was killed, from what the guards wrote and what lies on the disk now.

    A run that still goes on is left alone. Where nobody watched from outside (no seccomp), nothing was written: such a
    run stays without an end.
    """
    with left_behind(workspace) as found:
        for started, folder in found:
            run = runs.find(workspace.views.database(), started)
            spool = folder / SPOOL_NAME
            if run is not None and run.event is None and spool.exists():
                seen = capture.recover(spool, project=workspace.root / run.cwd, environment=environment)
                if seen is None:
                    continue
                finish(workspace, started, run.name, run.argv, run.params, seen, {}, environment, caches=caches)
            shutil.rmtree(folder, ignore_errors=True)


def begin(
    workspace: Workspace,
    name: str,
    argv: Sequence[str],
    *,
    cwd: Path,
    params: Mapping[str, str],
    reason: str | None,
) -> EventId:
    """Record `run.started`."""
    place = workspace_path(workspace, cwd)
    batch = Batch(workspace)
    if exposure.find(workspace) is not None:
        params = {}  # they may tell of people: `finish` seals them
    started = batch.event(
        "run.started",
        uses=exposure.before(workspace),
        makes=(),
        body=runs.started_body(name=name, argv=argv, cwd=str(cwd) if place is None else place, params=params),
        reason=reason,
    )
    batch.append()
    return started.id


def finish(
    workspace: Workspace,
    started: EventId,
    name: str,
    argv: Sequence[str],
    params: Mapping[str, str],
    seen: Capture,
    printed: Mapping[int, Sequence[bytes]],
    environment: Mapping[str, str],
    *,
    metrics: bytes | None = None,
    caches: Path | None = None,
) -> Ran:
    """Record `run.finished` with everything that was seen of it.

    Args:
        printed: What it wrote, by descriptor: 1 and 2.
        metrics: A JSON object with the figures that it reported.
        caches: As for `run`.
    """
    batch = Batch(workspace)
    database = workspace.views.database()
    warnings = list(seen.warnings)
    files = PersonalFiles(workspace)
    reads = [workspace.logs.event(index).event for index in runs.reads(database, started)]
    reads_personal = any(read.kind == "personal.viewed" or read.body.get("personal") is True for read in reads)
    reads_personal = reads_personal or exposure.find(workspace) is not None  # a run round it, or this very process
    sealed = _sealed(files, seen, warnings, reads_personal=reads_personal)
    kept = {path: item.stored.digest for path, item in sealed.items()}
    plain = [_held_at(access) for access in (*seen.inputs, *seen.outputs) if not access.lost]
    is_personal = reads_personal or any(_held_at(access) in sealed for access in seen.inputs)
    if is_personal:
        plain = [path for path in plain if path not in {_held_at(access) for access in seen.outputs}]
    kept |= keep(workspace, [path for path in plain if path not in sealed], warnings)
    folders, tables = _Folders(workspace, files), attaching.PinnedHere(workspace)
    uses: list[Edge] = []
    inputs: list[File] = []
    for access in seen.inputs:
        warnings += _shortcomings(access)
        digest = None if access.lost else kept.get(_held_at(access))
        if digest is not None:
            path = workspace_path(workspace, Path(os.fsdecode(access.path)))
            maker = provenance.maker(database, Ref(digest), path) or folders.maker(digest, path)
            maker = maker or tables.maker(digest, path)
            path = None if files.is_named_apart(Path(os.fsdecode(access.path))) else path
            edge, file = _edge(workspace, batch, access, digest, path, _input_role(access), maker)
            uses.append(edge)
            inputs.append(file)
    uses += _read_by_itself(workspace, reads)
    makes: list[Edge] = []
    outputs: list[File] = []
    for access in seen.outputs:
        digest = kept.get(_held_at(access))
        if digest is not None:
            where = Path(os.fsdecode(access.path))
            path = None if files.is_named_apart(where) else workspace_path(workspace, where)
            edge, file = _edge(workspace, batch, access, digest, path, "output", None)
            makes.append(edge)
            outputs.append(file)
    read = [access.path for access in seen.inputs if access.is_code]
    facts = capture.snapshot_code(workspace.root, read, environment=environment)
    code_files = [file for file in facts.files if not files.is_personal(Path(os.fsdecode(file.path)))]
    is_all_code = len(code_files) == len(facts.files)
    if not is_all_code:
        warnings.append("personal files are left out of the code, and so are its uncommitted changes")
    code = code_tree(workspace, code_files, warnings)
    if code is not None:
        uses.append(Edge(ref=Ref(code), role="code", evidence="observed"))
    diff = None if not facts.diff or not is_all_code else workspace.objects.put(facts.diff)
    left_out = [text for text in facts.left_out if not _names_apart(files, facts.root, text)]
    code_facts = batch.blob(_json({**facts.as_json(), "left_out": left_out, "diff": diff}))
    snapshot = capture.snapshot_environment(
        capture.interpreter(seen.programs, environment), variables=environment, remembered=caches
    )
    environment_digest = batch.blob(_json(snapshot.as_json()))
    uses.append(Edge(ref=Ref(environment_digest), role="environment", evidence="observed"))
    details = {**seen.as_json(), "environment_files": len(seen.environment_files), "warnings": warnings}
    if is_personal:  # what it has logged since it began may tell of people
        begun = workspace.logs.find(started)
        known: Any = {} if begun is None else begun.event.body["params"]
        details["params"] = {key: value for key, value in params.items() if key not in known}
        params = {key: value for key, value in params.items() if key in known}
    opens = {item.stored.digest: item.key for item in sealed.values()}
    figures = None
    if metrics is not None and is_personal:  # figures of people are personal, too
        hidden = batch.seal(metrics.decode())
        assert hidden is not None
        figures = Digest(hidden["sealed"])
        opens[figures] = hidden["key"]
    elif metrics is not None:
        figures = batch.blob(metrics)
    event = batch.event(
        "run.finished",
        uses=edges_or_list(batch, uses),
        makes=edges_or_list(batch, makes),
        body=runs.finished_body(
            run=started,
            exit_code=seen.exit_code,
            started=clocks.rfc3339(seen.started_ns),
            finished=clocks.rfc3339(seen.finished_ns),
            duration_ns=seen.finished_ns - seen.started_ns,
            completeness=seen.completeness,
            params=params,
            # Paths outside the workspace may name people: the details are sealed like every free text.
            capture=batch.seal(json.dumps(details)),
            code=code,
            code_facts=code_facts,
            environment=environment_digest,
            stdout=batch.seal(_decoded(printed.get(1, ()))),
            stderr=batch.seal(_decoded(printed.get(2, ()))),
            metrics=figures,
            resources={
                "user_us": round(seen.resources.user_s * 1e6),
                "system_us": round(seen.resources.system_s * 1e6),
                "peak_rss_bytes": seen.resources.peak_rss_bytes,
            },
            sealed=None if not opens else batch.blob(_json([{"ref": ref, "key": key} for ref, key in opens.items()])),
        ),
    )
    index = batch.append()[-1].index
    return Ran(
        entry=index,
        event=event.id,
        name=name,
        command=runs.command_line(argv),
        exit_code=seen.exit_code,
        duration_ns=seen.finished_ns - seen.started_ns,
        mode=seen.mode,
        completeness=seen.completeness,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        code=code,
        environment=environment_digest,
        warnings=tuple(warnings),
    )


def _read_by_itself(workspace: Workspace, reads: Sequence[Event]) -> list[Edge]:
    """Return the edges to what a run has read or looked at by itself, each once."""
    found: dict[tuple[Ref, EventId | None, str], Edge] = {}
    known: set[Ref] = set()
    for read in sorted(reads, key=lambda read: read.kind != "run.read"):
        for edge in provenance.edges(read.uses, workspace.objects.get):
            # What is read for itself is looked at, too, and a look says less closely at which records.
            if read.kind == "run.read" or edge.ref not in known:
                found.setdefault((edge.ref, edge.made_by, str(edge.extra)), edge)
        if read.kind == "run.read":
            known |= {ref for ref, *_ in found}
    return list(found.values())


def _sealed(
    files: PersonalFiles, seen: Capture, warnings: list[str], *, reads_personal: bool
) -> dict[Path, SealedFile]:
    """Seal the personal files that a run read, and then everything that it wrote: that was made from them.

    Args:
        reads_personal: It has read personal values by itself, not as a file.
    """
    found: dict[Path, SealedFile] = {}
    if not files.is_any and not reads_personal:
        return found

    def seal(access: Access) -> None:
        path = _held_at(access)
        try:
            found[path] = files.seal(path)
        except (OSError, UsageError, UnavailableError) as error:
            warnings.append(f"{os.fsencode(path).decode('utf-8', 'replace')} could not be kept: {error}")

    for access in seen.inputs:
        is_personal = files.is_declared(Path(os.fsdecode(access.path))) or files.is_personal(_held_at(access))
        if is_personal and not access.lost:
            seal(access)
            if files.find_forgotten(_held_at(access)) is not None:
                path = Path(os.fsdecode(access.path))
                where = "a file of a personal folder" if files.is_named_apart(path) else display(access.path)
                warnings.append(f"{where} was forgotten and lies there still: it was read, and is kept again, sealed")
    if found or reads_personal:
        for access in seen.outputs:
            seal(access)
    return found


def _with_params(argument: str, params: Mapping[str, str]) -> str:
    for key, value in params.items():
        argument = argument.replace("{" + key + "}", value)
    return argument


def _name(argv: Sequence[str]) -> str:
    """Return the script's name where an interpreter runs one, else the program's."""
    scripts = [a for a in argv[1:] if a.endswith((".py", ".sh", ".R", ".ipynb", ".jl"))]
    name = Path(scripts[0]).stem if scripts else Path(argv[0]).name
    return os.fsencode(name).decode("utf-8", "replace")  # the record's names are text; the command is kept as it is


def _names_apart(files: PersonalFiles, root: bytes, left_out: str) -> bool:
    """Say whether what the code's limits cut off is a file in a personal folder, whose name is nobody's business."""
    return files.is_named_apart(Path(os.fsdecode(root), left_out.rpartition(": untracked")[0]))


class _Folders:
    """The versioned folders: a file that lies in one as its current version has it was made by that version's event."""

    def __init__(self, workspace: Workspace, files: PersonalFiles) -> None:
        self._objects = workspace.objects
        self._files = files
        known = datasets.versions(workspace.views.database())
        self._roots = [v for v in known if v.is_current and v.type == "tree" and v.path]
        self._listed: dict[Digest, dict[bytes, Digest]] = {}
        self._sealed: dict[Digest, dict[bytes, str | None]] = {}

    def maker(self, digest: Digest, path: str | None) -> EventId | None:
        """Return the event that added the folder in which `path` has these bytes, or None."""
        for root in self._roots:
            if path is not None and path.startswith(root.path + "/"):
                below = os.fsencode(path[len(root.path) + 1 :])
                if root.key is not None:
                    if self._open(root.content, root.key).get(below) == digest:
                        return root.event
                    continue
                found: Digest | None = root.content
                for name in below.split(b"/"):
                    found = None if found is None else self._list(found).get(name)
                if found == digest:
                    return root.event
        return None

    def _open(self, content: Digest, key: str) -> dict[bytes, str | None]:
        if content not in self._sealed:
            try:
                self._sealed[content] = {m.path: m.ref for m in self._files.members(content, key)}
            except RetrodictError:
                self._sealed[content] = {}  # its key is not held: nothing is known from it
        return self._sealed[content]

    def _list(self, tree: Digest) -> dict[bytes, Digest]:
        if tree not in self._listed:
            try:
                self._listed[tree] = {entry.name: entry.digest for entry in self._objects.list_tree(tree)}
            except RetrodictError:
                self._listed[tree] = {}  # a file, or a listing that is not held: nothing is known from it
        return self._listed[tree]


def _held_at(access: Access) -> Path:
    """Return where the bytes lie that were read: kept aside, where the run overwrote them later."""
    return Path(os.fsdecode(access.path) if access.preserved is None else access.preserved)


def _shortcomings(access: Access) -> list[str]:
    name = access.path.decode("utf-8", "replace")
    if access.lost:
        return [f"what was read from {name} is lost: the run overwrote it, and it was too big to keep aside"]
    return [f"{name} changed while the run read it"] if access.changed_while_read else []


def _input_role(access: Access) -> str:
    if access.how == "executed":
        return "program"
    if access.is_code:
        return "code-input"
    return "params" if os.path.basename(os.fsdecode(access.path)) in _PARAMS_FILES else "input"


def _edge(
    workspace: Workspace,
    batch: Batch,
    access: Access,
    digest: Digest,
    path: str | None,
    role: str,
    maker: EventId | None,
) -> tuple[Edge, File]:
    absolute = os.fsdecode(access.path)
    extra = {} if path is not None else {"sealed_path": batch.seal(absolute)}
    edge = Edge(ref=Ref(digest), role=role, evidence="observed", path=path, made_by=maker, extra=extra)
    made = None if maker is None else workspace.logs.find(maker)
    file = File(
        path=_shown(access.path) if path is None else path,
        role=role,
        digest=digest,
        size_bytes=workspace.objects.size(digest),
        maker=None if made is None else made.index,
    )
    return edge, file


def _decoded(chunks: Iterable[bytes]) -> str | None:
    text = b"".join(chunks).decode("utf-8", "replace")
    return text or None


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
