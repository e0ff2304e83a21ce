"""`run`: run anything, and find what it read and wrote, with nothing declared."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from retrodict import capture, provenance, runs
from retrodict.actions.places import workspace_path
from retrodict.capture import Access, Capture
from retrodict.kernel import clock as clocks
from retrodict.kernel import entry as entries
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import MAX_EDGES, Digest, Edge, EdgeList, EventId, Ref
from retrodict.objects import TreeEntry
from retrodict.workspace import Batch, Workspace

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
    mode: str = "auto",
    passthrough: Callable[[int, bytes], None] | None = None,
) -> Ran:
    """Run `argv` and record what happened; a command that fails is recorded too.

    Args:
        params: Recorded; `{k}` in an argument is replaced by its value.
        mode: Which supervisor sees the run: "auto", "seccomp", "strace" or "audit-hook".
        passthrough: Gets what the command prints, as it prints it: (1 or 2, bytes).

    Raises:
        UsageError: No command, or it cannot be started in `cwd`.
        UnavailableError: The supervisor that was asked for is not to be had.
    """
    if not argv:
        raise UsageError("there is no command to run", hint="retrodict run -- python train.py")
    params = dict(params or {})
    argv = [_with_params(argument, params) for argument in argv]
    name = name or _name(argv)
    place = workspace_path(workspace, cwd)
    batch = Batch(workspace)
    started = batch.event(
        "run.started",
        uses=(),
        makes=(),
        body=runs.started_body(name=name, argv=argv, cwd=str(cwd) if place is None else place, params=params),
        reason=reason,
    )
    batch.append()
    printed: dict[int, list[bytes]] = {1: [], 2: []}

    def output(fd: int, data: bytes) -> None:
        printed.setdefault(fd, []).append(data)
        if passthrough is not None:
            passthrough(fd, data)

    folder = Path(tempfile.mkdtemp(prefix="run-", dir=workspace.folder))
    try:
        seen = capture.supervise(argv, cwd=cwd, environment=environment, preserve_to=folder, mode=mode, output=output)
        return _record(workspace, started.id, name, argv, params, seen, printed, environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(
    workspace: Workspace,
    started: EventId,
    name: str,
    argv: Sequence[str],
    params: Mapping[str, str],
    seen: Capture,
    printed: Mapping[int, Sequence[bytes]],
    environment: Mapping[str, str],
) -> Ran:
    batch = Batch(workspace)
    database = workspace.views.database()
    warnings = list(seen.warnings)
    uses: list[Edge] = []
    inputs: list[File] = []
    for access in seen.inputs:
        stored = _store(workspace, access, warnings)
        if stored is None:
            continue
        path = workspace_path(workspace, Path(os.fsdecode(access.path)))
        maker = provenance.maker(database, Ref(stored), path)
        edge, file = _edge(workspace, batch, access, stored, path, _input_role(access), maker)
        uses.append(edge)
        inputs.append(file)
    makes: list[Edge] = []
    outputs: list[File] = []
    for access in seen.outputs:
        stored = _store(workspace, access, warnings)
        if stored is not None:
            path = workspace_path(workspace, Path(os.fsdecode(access.path)))
            edge, file = _edge(workspace, batch, access, stored, path, "output", None)
            makes.append(edge)
            outputs.append(file)
    facts = capture.snapshot_code(workspace.root, [access.path for access in seen.inputs if access.is_code])
    code = _code_tree(workspace, facts.files)
    if code is not None:
        uses.append(Edge(ref=Ref(code), role="code", evidence="observed"))
    diff = None if not facts.diff else workspace.objects.put(facts.diff)
    code_facts = batch.blob(_json({**facts.as_json(), "diff": diff}))
    snapshot = capture.snapshot_environment(_python(seen), environment)
    environment_digest = batch.blob(_json(snapshot))
    uses.append(Edge(ref=Ref(environment_digest), role="environment", evidence="observed"))
    details = {
        "mode": seen.mode,
        "completeness": seen.completeness,
        "processes": seen.processes,
        "programs": [[_shown(program.path), [_shown(a) for a in program.argv]] for program in seen.programs],
        "connections": list(seen.connections),
        "temporary": [_shown(path) for path in seen.temporary],
        "deleted": [_shown(path) for path in seen.deleted],
        "environment_files": len(seen.environment_files),
        "warnings": warnings,
    }
    event = batch.event(
        "run.finished",
        uses=_listed(batch, uses),
        makes=_listed(batch, makes),
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
            metrics=None,
            resources={
                key.replace("_s", "_us"): round(value * 1e6) if key.endswith("_s") else int(value)
                for key, value in asdict(seen.resources).items()
            },
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


def _with_params(argument: str, params: Mapping[str, str]) -> str:
    for key, value in params.items():
        argument = argument.replace("{" + key + "}", value)
    return argument


def _name(argv: Sequence[str]) -> str:
    """Return the script's name where an interpreter runs one, else the program's."""
    for argument in argv[1:]:
        if argument.endswith((".py", ".sh", ".R", ".ipynb", ".jl")):
            return Path(argument).stem
    return Path(argv[0]).name


def _store(workspace: Workspace, access: Access, warnings: list[str]) -> Digest | None:
    """Keep a file's bytes: those that were read, where the run overwrote them later."""
    path = Path(os.fsdecode(access.path))
    if access.lost:
        warnings.append(
            f"what was read from {_shown(access.path)} is lost: the run overwrote it, and it was too big to keep"
        )
        return None
    if access.changed_while_read:
        warnings.append(f"{_shown(access.path)} changed while the run read it")
    try:
        return workspace.objects.put_file(path if access.preserved is None else Path(access.preserved))
    except (OSError, UsageError) as error:
        warnings.append(f"{_shown(access.path)} could not be kept: {error}")
        return None


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
    made = None if maker is None else workspace.ledger.find(maker)
    file = File(
        path=_shown(access.path) if path is None else path,
        role=role,
        digest=digest,
        size_bytes=workspace.objects.size(digest),
        maker=None if made is None else made.index,
    )
    return edge, file


def _code_tree(workspace: Workspace, files: Mapping[str, Path]) -> Digest | None:
    """Store the code as a tree: `files` maps the path in the tree to the file."""
    root: dict[str, object] = {}
    for name, path in sorted(files.items()):
        folder = root
        *parents, last = name.split("/")
        for parent in parents:
            folder = folder.setdefault(parent, {})  # type: ignore[assignment]
        folder[last] = path
    return _tree(workspace, root)[0] if root else None


def _tree(workspace: Workspace, folder: Mapping[str, object]) -> tuple[Digest, int]:
    listed: list[TreeEntry] = []
    for name, item in folder.items():
        if isinstance(item, Path):
            digest = workspace.objects.put_file(item)
            size = workspace.objects.size(digest)
            kind = "executable" if os.access(item, os.X_OK) else "file"
        else:
            assert isinstance(item, dict)
            digest, size = _tree(workspace, item)
            kind = "tree"
        listed.append(TreeEntry(name=os.fsencode(name), kind=kind, digest=digest, size=size))  # type: ignore[arg-type]
    return workspace.objects.put_tree(listed), sum(entry.size for entry in listed)


def _listed(batch: Batch, edges: Sequence[Edge]) -> Sequence[Edge | EdgeList]:
    if len(edges) <= MAX_EDGES:
        return edges
    return (EdgeList(digest=batch.blob(entries.encode_edge_list(edges))),)


def _python(seen: Capture) -> str | None:
    """Return the interpreter that the run used, the first of them."""
    for program in seen.programs:
        path = os.fsdecode(program.path)
        if os.path.basename(path).startswith(("python", "pypy")):
            return path
    return sys.executable


def _decoded(chunks: Iterable[bytes]) -> str | None:
    text = b"".join(chunks).decode("utf-8", "replace")
    return text or None


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
