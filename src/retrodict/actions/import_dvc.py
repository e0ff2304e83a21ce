"""`import dvc`: every version of every commit of a DVC repository, and every stage that ran."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrodict import datasets, runs
from retrodict.actions import pinning
from retrodict.dvc import Commit, DvcError, Out, Stage, Storage, read_history
from retrodict.dvc.git import Repository
from retrodict.dvc.storage import Held
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.objects import Added
from retrodict.objects.errors import StoreWriteError
from retrodict.workspace import FOLDER, Batch, Workspace, edges_or_list

_SYSTEM = "dvc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedVersion:
    """One version; `authored` and `author` are those of the git commit that has it first."""

    reference: str
    path: str
    md5: str
    commit: str
    authored: str
    author: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """One stage, as `dvc.lock` says that it ran."""

    entry: int
    name: str
    command: str
    commit: str
    authored: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotImported:
    """What could not be taken over, and why."""

    path: str
    md5: str | None
    commit: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDvc:
    """What was taken over.

    Attributes:
        repository: Its folder.
        commits: How many were read.
        known: How many versions and runs had been taken over before.
        missing: Bytes that are not held in the cache, in git or in a remote, or are not what they are named; files of
            DVC's that cannot be read; remotes that cannot be asked (without a commit).
    """

    repository: str
    commits: int
    versions: tuple[ImportedVersion, ...]
    runs: tuple[ImportedRun, ...]
    known: int
    missing: tuple[NotImported, ...]


def import_dvc(
    workspace: Workspace, folder: Path, *, remotes: bool = True, progress: Progress | None = None
) -> ImportedDvc:
    """Take over the DVC repository in `folder`, which is only read.

    Versions are named by their paths in the repository, and numbered in the order of the commits, parents first. What
    was taken over before is known by path and md5. A version that is found only later than one that came after it is
    recorded, and is not current.

    Raises:
        UsageError: There is no DVC repository, or no git repository round it.
        UnavailableError: git is not installed.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="Name a DVC repository's.")
    found = next((place for place in (folder, *folder.absolute().parents) if (place / ".dvc").is_dir()), None)
    if found is None:
        raise UsageError(f"{folder} is no DVC repository: there is no folder .dvc in it", hint="Name its folder.")
    with Repository(found) as repository, tempfile.TemporaryDirectory(dir=_tmp(workspace)) as tmp:
        history = list(read_history(repository))
        taking = _Taking(workspace, Storage(found, repository, remotes=remotes), history, Path(tmp))
        for number, commit in enumerate(history):
            taking.take(commit)
            if progress is not None:
                progress(number + 1, len(history), "commits")
        taking.tell_unread_remotes()
    pinning.pin(workspace, sorted({version.path for version in taking.versions}))
    return ImportedDvc(
        repository=str(found),
        commits=len(history),
        versions=tuple(taking.versions),
        runs=tuple(taking.runs),
        known=len(taking.met),
        missing=tuple(taking.missing.values()),
    )


def _tmp(workspace: Workspace) -> Path:
    folder = workspace.folder / "tmp"
    folder.mkdir(exist_ok=True)
    return folder


class _Taking:
    """One import: what is known, what is new, what is missing."""

    def __init__(self, workspace: Workspace, storage: Storage, history: Sequence[Commit], tmp: Path) -> None:
        self._workspace = workspace
        self._storage = storage
        self._laid = _Laid(storage, tmp)
        database = workspace.views.database()
        self._known = datasets.imported(database, _SYSTEM)  # key -> the event
        self._contents: dict[str, Digest] = {}  # md5 -> the object
        for event in self._known.values():
            for version in datasets.find(database, event=event):
                sequenced = workspace.ledger.find(event)
                assert sequenced is not None
                told = sequenced.event.body["imported"]
                assert isinstance(told, Mapping)
                self._contents[str(told["md5"])] = version.content
        self._order = {commit.id: number for number, commit in enumerate(history)}
        self._new: set[str] = set()
        self.met: set[str] = set()  # known keys that the history has
        self._pending: list[ImportedVersion] = []  # of the batch that is being made
        self.versions: list[ImportedVersion] = []
        self.runs: list[ImportedRun] = []
        self.missing: dict[str, NotImported] = {}

    def take(self, commit: Commit) -> None:
        """Take over what a commit has first."""
        for path, why in commit.unread:
            self._miss(f"file:{path}:{why}", path, None, commit, f"not a file of DVC's: {why}")
        found = {out.path: stored for out in commit.outs if (stored := self._stored(out, commit)) is not None}
        batch = Batch(self._workspace)
        author = batch.agent(commit.author)
        made = {out.path for stage in commit.stages for out in stage.outs}
        for out in commit.outs:
            if out.path not in made and out.path in found:
                self._version(batch, out, found[out.path], commit, author, None)
        ran: list[tuple[EventId, Stage]] = []
        for stage in _in_order(commit.stages):
            event, is_new = self._run(batch, stage, commit, author)
            if is_new:
                ran.append((event, stage))
            for out in stage.outs:
                if out.path in found:
                    self._version(batch, out, found.pop(out.path), commit, author, event)
        if not self._pending and not ran:
            return
        indexes = {sequenced.event.id: sequenced.index for sequenced in batch.append()}
        self.versions += self._pending
        self._pending = []
        self.runs += [
            ImportedRun(
                entry=indexes[event],
                name=stage.name,
                command=stage.command,
                commit=commit.id,
                authored=commit.authored,
            )
            for event, stage in ran
        ]

    def _stored(self, out: Out, commit: Commit) -> Added | None:
        """Take in the bytes of an output; None where it is known, or cannot be taken over, which is noted."""
        key = _key(out)
        if key in self._known:
            if key not in self._new:
                self.met.add(key)
            return None
        if out.path is None or out.md5 is None:
            why = "it lies outside of the repository" if out.path is None else "it has no md5"
            self._miss(key, out.written, out.md5, commit, why)
            return None
        if {FOLDER, ".git"} & set(out.path.split("/")):
            self._miss(key, out.path, out.md5, commit, "its path is one of git's or of retrodict's own")
            return None
        try:
            datasets.check_name(out.path)
            stored = self._workspace.objects.add(self._laid.lay(out))
        except StoreWriteError:  # it is not DVC that lacks something
            raise
        except RetrodictError as error:
            self._miss(key, out.path, out.md5, commit, error.message)
            return None
        self._contents[out.md5] = stored.digest
        return stored

    def tell_unread_remotes(self) -> None:
        """Say which remotes were not asked, where something is missing."""
        if self.missing:
            for why in self._storage.unread:
                self.missing[f"remote:{why}"] = NotImported(path="", md5=None, commit="", why=why)

    def _miss(self, key: str, path: str, md5: str | None, commit: Commit, why: str) -> None:
        self.missing.setdefault(key, NotImported(path=path, md5=md5, commit=commit.id, why=why))

    def _version(self, batch: Batch, out: Out, stored: Added, commit: Commit, author: str, run: EventId | None) -> None:
        """Record one version; `run`: the stage that made it."""
        assert out.path is not None
        assert out.md5 is not None
        database = self._workspace.views.database()
        heads = datasets.current(database, out.path)
        later = next((head for head in heads if self._is_later(head, commit)), None)
        version = datasets.next_version(database, out.path)
        event = batch.event(
            "dataset.added",
            uses=()
            if run is None
            else (Edge(ref=Ref(stored.digest), role="output", evidence="declared", path=out.path, made_by=run),),
            makes=(Edge(ref=Ref(stored.digest), role="dataset", evidence="observed", path=out.path),),
            body=datasets.added_body(
                name=out.path,
                version=version,
                content=stored.digest,
                type=stored.kind,
                recipes=stored.recipes,
                files=stored.files,
                size_bytes=stored.size_bytes,
                source=batch.seal(commit.sources.get(out.path)),
                sealed=None,
                imported={**self._told(batch, _key(out), commit, author), "md5": out.md5, "path": out.path},
                superseded_by=None if later is None else later.event,
            ),
            replaces=[] if later is not None else [head.event for head in heads],
        )
        self._known[_key(out)] = event.id
        self._new.add(_key(out))
        self._pending.append(
            ImportedVersion(
                reference=f"dataset:{out.path}@v{version}",
                path=out.path,
                md5=out.md5,
                commit=commit.id,
                authored=commit.authored,
                author=commit.author,
                files=stored.files,
                size_bytes=stored.size_bytes,
            )
        )

    def _told(self, batch: Batch, key: str, commit: Commit, author: str) -> dict[str, object]:
        return {
            "system": _SYSTEM,
            "key": key,
            "commit": commit.id,
            "authored": commit.authored,
            "author": author,
            "message": batch.seal(commit.message or None),
        }

    def _is_later(self, head: datasets.DatasetVersion, commit: Commit) -> bool:
        """Say whether a current version came after a commit: by the history, or by the clock if it is not of it."""
        sequenced = self._workspace.ledger.find(head.event)
        assert sequenced is not None
        match sequenced.event.body.get("imported"):
            case {"commit": str(other)}:
                return self._order.get(other, -1) > self._order[commit.id]
        return head.at > commit.authored

    def _run(self, batch: Batch, stage: Stage, commit: Commit, author: str) -> tuple[EventId, bool]:
        """Return the event of a stage that ran, and whether it is new."""
        said = json.dumps(
            [
                stage.command,
                stage.folder,
                sorted(stage.params.items()),
                [(out.written, out.md5) for out in stage.deps],
                [(out.written, out.md5) for out in stage.outs],
            ]
        )
        key = f"run:{stage.file}:{stage.name}:{hashlib.sha256(said.encode()).hexdigest()[:32]}"
        if key in self._known:
            if key not in self._new:
                self.met.add(key)
            return self._known[key], False
        unheld: list[dict[str, str | None]] = []
        uses = self._edges(stage.deps, "input", unheld)
        makes = self._edges(stage.outs, "output", unheld)
        event = batch.event(
            "run.declared",
            uses=edges_or_list(batch, uses),
            makes=edges_or_list(batch, makes),
            body=runs.declared_body(
                name=stage.name,
                command=stage.command,
                cwd=stage.folder,
                params=batch.blob(json.dumps(stage.params, sort_keys=True).encode()),
                unheld=batch.blob(json.dumps(unheld).encode()) if unheld else None,
                imported=self._told(batch, key, commit, author),
            ),
        )
        self._known[key] = event.id
        self._new.add(key)
        return event.id, True

    def _edges(self, outs: tuple[Out, ...], role: str, unheld: list[dict[str, str | None]]) -> list[Edge]:
        """Return the edges to what is held; the rest is noted."""
        edges = []
        for out in outs:
            content = None if out.md5 is None else self._contents.get(out.md5)
            if content is None and out.md5 is not None and not out.is_folder:
                try:  # a script, say, which git keeps
                    content = self._workspace.objects.add(self._laid.lay(out)).digest
                    self._contents[out.md5] = content
                except StoreWriteError:
                    raise
                except RetrodictError:
                    pass
            if content is None or out.path is None:
                unheld.append({"role": role, "path": out.path or out.written, "md5": out.md5})
                continue
            made_by = self._known.get(_key(out)) if role == "input" else None
            edges.append(Edge(ref=Ref(content), role=role, evidence="declared", path=out.path, made_by=made_by))
        return edges


def _key(out: Out) -> str:
    """Return what a version is known by."""
    return f"out:{out.path or out.written}:{out.md5}"


def _in_order(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages, each behind those whose outputs it reads."""
    found: list[Stage] = []
    left = list(stages)
    while left:
        unmade = {out.path for stage in left for out in stage.outs}
        ready = [stage for stage in left if not unmade & {dep.path for dep in stage.deps}]
        found += ready or left  # a circle: DVC does not make one
        left = [stage for stage in left if stage not in found]
    return found


class _Laid:
    """Lays outputs out in a folder of our own, to be added as any folder is; only what changed is written."""

    def __init__(self, storage: Storage, root: Path) -> None:
        self._storage = storage
        self._root = root
        self._places: dict[str, Path] = {}
        self._holds: dict[str, dict[str, str]] = {}

    def lay(self, out: Out) -> Path:
        """Return where the bytes of an output lie now.

        Raises:
            DvcError: They are not held, or are not what they are named.
        """
        label = f"{out.is_folder}:{out.path or out.written}"
        place = self._places.setdefault(label, self._root / str(len(self._places)))
        if not out.is_folder:
            place.unlink(missing_ok=True)
            _write(self._storage.read(out), place)
            if out.is_executable:
                place.chmod(0o755)
            return place
        wanted = dict(self._storage.listing(out))
        holds = self._holds.setdefault(label, {})
        place.mkdir(exist_ok=True)
        for path in [path for path, md5 in holds.items() if wanted.get(path) != md5]:
            (place / path).unlink()
            del holds[path]
            folder = (place / path).parent
            while folder != place and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent
        for path, md5 in wanted.items():
            if path not in holds:
                target = place / path
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _write(self._storage.member(out, path, md5), target)
                except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                    raise DvcError(f"the listing {out.md5} of {out.written} has {path!r} as file and folder") from error
                holds[path] = md5
        return place


def _write(held: Held, place: Path) -> None:
    try:
        if held.data is not None:
            place.write_bytes(held.data)
        elif held.path is not None:
            shutil.copyfile(held.path, place)
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StoreWriteError(str(place), error) from error
        raise DvcError(f"{os.fsdecode(place.name)} cannot be written: {error.strerror}") from error
