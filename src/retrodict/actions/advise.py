"""`advise`: what each strategy would cost for one's own data and its history, and which one fits."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias

from retrodict import capture, datasets, provenance, runs
from retrodict.actions.places import tools_stores, workspace_path
from retrodict.datasets import DatasetVersion
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Ref
from retrodict.objects import ObjectStore
from retrodict.streams import queries as streams
from retrodict.workspace import Workspace

Strategy: TypeAlias = Literal["whole copies", "copies", "offsets", "tensors", "derived"]
_MOST_VERSIONS = 20
_BLOCK = 1 << 20
_LINES = (".jsonl", ".ndjson", ".csv", ".tsv", ".log")
_ARRAYS = (".npy", ".zarr")
_CHUNK = 64 << 10  # as `tensors` cuts where it is not told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One strategy, measured.

    Attributes:
        strategy: "whole copies" is what keeping every version by itself would cost, for comparison.
        stored_bytes: For all versions together; None: it does not fit the data.
        seconds: CPU time of storing all of them, or of making the newest again; None: not measured.
        says: What it rests on, or why it does not fit.
    """

    strategy: Strategy
    stored_bytes: int | None
    seconds: float | None
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What fits, and why.

    Attributes:
        what: The dataset, or the path.
        versions: How many were looked at, and where they come from ("the log", "git", "the disk").
    """

    what: str
    versions: int
    history: Literal["the log", "git", "the disk"]
    plain_bytes: int
    options: tuple[Option, ...]
    recommended: Strategy
    because: str


def advise(workspace: Workspace, what: str, *, cwd: Path, environment: Mapping[str, str]) -> Advice:
    """Measure what the strategies would cost.

    Args:
        what: A dataset's name, or a path; of a path that is no dataset, git's versions are looked at.
        cwd: Where a relative path begins.
        environment: For git.

    Raises:
        UsageError: There is no such dataset and no such path.
    """
    database = workspace.views.database()
    path = cwd / what
    known = datasets.versions(database, what) or datasets.versions(database, workspace_path(workspace, path) or "\0")
    with tempfile.TemporaryDirectory(prefix="retrodict-advise-") as name:
        folder = Path(name)
        history: Literal["the log", "git", "the disk"]
        if known:
            history, files = "the log", list(_of_log(workspace, known[-_MOST_VERSIONS:], folder))
        elif path.exists():
            files = list(_of_git(path, folder, environment))
            history = "git" if files else "the disk"
            files = files or [path]
        elif streams.streams(database, what):
            raise UsageError(
                f"{what} is a stream: each of its versions is an offset, and nothing is stored twice",
                hint=f"`retrodict stream show {what}` says what it has.",
            )
        else:
            raise UsageError(f"{what} is no dataset and no path", hint="`retrodict status` lists the datasets.")
        if not files:
            raise UsageError(f"no version of {what} is held", hint="Name a path, to measure what lies there.")
        options = [*_copies(workspace, files, folder), *_by_kind(workspace, files, folder)]
        if known:
            options += _derived(workspace, known[-1])
        plain = options[0].stored_bytes or 0
        recommended, because = _choose(options, len(files))
        return Advice(
            what=known[-1].name if known else what,
            versions=len(files),
            history=history,
            plain_bytes=plain,
            options=tuple(options),
            recommended=recommended,
            because=because,
        )


def _of_log(workspace: Workspace, versions: Sequence[DatasetVersion], folder: Path) -> Iterator[Path]:
    for version in versions:
        if version.key is None and not version.is_attached and workspace.objects.state(version.content) == "held":
            place = folder / f"v{version.version}" / Path(version.path or version.name).name
            place.parent.mkdir()
            workspace.objects.checkout(version.content, place)
            yield place


def _of_git(path: Path, folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the versions of a file that git has committed, oldest first."""
    if path.is_dir():
        return

    git = capture.Git("git", os.fsencode(path.parent), environment)
    commits = (git.ask("log", "--format=%H", "-n", str(_MOST_VERSIONS), "--", path.name) or b"").split()
    for i, commit in enumerate(reversed(commits)):
        data = git.ask("show", f"{commit.decode()}:./{path.name}")
        if data is not None:
            place = folder / f"c{i}" / path.name
            place.parent.mkdir()
            place.write_bytes(data)
            yield place


def _stored(workspace: Workspace, files: Sequence[Path], folder: Path) -> tuple[int, int, float]:
    """Store versions, one after the other, in a store of their own.

    Returns:
        Their bytes, the bytes there, and the CPU time in seconds.
    """
    began = time.process_time()
    with ObjectStore.create(folder, workspace.clock) as store:
        plain = sum(store.add(path, ignore=tools_stores).size_bytes for path in files)
        taken = time.process_time() - began
        return plain, store.dead(set()).stored_bytes, taken


def _copies(workspace: Workspace, files: Sequence[Path], folder: Path) -> Iterator[Option]:
    plain, stored, taken = _stored(workspace, files, folder / "all")
    says = "every version kept by itself, for comparison"
    yield Option(strategy="whole copies", stored_bytes=plain, seconds=None, says=says)
    says = "chunks and files that versions share are stored once, the rest compressed where that pays"
    yield Option(strategy="copies", stored_bytes=stored, seconds=taken, says=says)


def _by_kind(workspace: Workspace, files: Sequence[Path], folder: Path) -> Iterator[Option]:
    last = files[-1]
    if last.suffix in _LINES and last.is_file():
        wrong = next((i for i, (old, new) in enumerate(pairwise(files)) if not _extends(old, new)), None)
        if wrong is not None:
            says = f"version {wrong + 2} of {len(files)} changes what came before: it is no stream"
            yield Option(strategy="offsets", stored_bytes=None, seconds=None, says=says)
        else:
            says = "each version begins with the one before" if len(files) > 1 else "there is one version to judge by"
            _, stored, taken = _stored(workspace, [last], folder / "last")
            yield Option(strategy="offsets", stored_bytes=stored, seconds=taken, says=says)
    if last.suffix in _ARRAYS or (last / "zarr.json").is_file():
        if last.is_dir():
            _, stored, taken = _stored(workspace, files, folder / "chunks")
        else:
            stored, taken = _stored_in_chunks(workspace, files, folder / "chunks")
        says = "only the chunks that changed are stored anew"
        says += "" if last.is_dir() else f" (judged by pieces of {_CHUNK >> 10} KiB)"
        yield Option(strategy="tensors", stored_bytes=stored, seconds=taken, says=says)


def _extends(old: Path, new: Path) -> bool:
    with old.open("rb") as before, new.open("rb") as after:
        while block := before.read(_BLOCK):
            if after.read(len(block)) != block:
                return False
    return True


def _stored_in_chunks(workspace: Workspace, files: Sequence[Path], folder: Path) -> tuple[int, float]:
    """Store the pieces that versions of an array are made of, each once; return the bytes and the CPU seconds."""
    began = time.process_time()
    with ObjectStore.create(folder, workspace.clock) as store:
        for path in files:
            with path.open("rb") as file:
                store.put_many(iter(lambda opened=file: opened.read(_CHUNK), b""))  # type: ignore[misc]
        return store.dead(set()).stored_bytes, time.process_time() - began


def _derived(workspace: Workspace, version: DatasetVersion) -> Iterator[Option]:
    """Say what making it again costs, where a recipe or a run on record made it."""
    database = workspace.views.database()
    if version.recipe is not None:
        proven = [verdict for _, verdict, _ in datasets.verdicts(database, version.event)][-1:] == ["replicated"]
        says = "its recipe was proven bit for bit" if proven else "it has a recipe, which `derive verify` can prove"
        yield Option(strategy="derived", stored_bytes=0, seconds=(version.cpu_us or 0) / 1e6, says=says)
        return
    makers = [
        workspace.logs.event(index)
        for how, index in provenance.neighbours(database, Ref(version.content), limit=20)
        if how == "made it"
    ]
    sequenced = next((s for s in reversed(makers) if s.event.kind == "run.finished"), None)
    run = None if sequenced is None else runs.find(database, sequenced.event.id)
    if run is None or sequenced is None:
        return
    took = sequenced.event.body.get("resources")
    seconds = (took["user_us"] + took["system_us"]) / 1e6 if isinstance(took, Mapping) else None
    says = f"run {run.name} ({run.index}) made it: `retrodict derive` can make its command a recipe"
    yield Option(strategy="derived", stored_bytes=0, seconds=seconds, says=says)


def _choose(options: Sequence[Option], versions: int) -> tuple[Strategy, str]:
    by = {option.strategy: option for option in options}
    copies = by["copies"].stored_bytes or 0
    whole = by["whole copies"].stored_bytes or 0
    derived = by.get("derived")
    if derived is not None and derived.seconds is not None and derived.seconds * 20e6 < copies:
        return "derived", f"making it again takes {derived.seconds:.1f} s of CPU, keeping it {copies / 1e6:,.1f} MB"
    stream = by.get("offsets")
    if stream is not None and stream.stored_bytes is not None and versions > 1:
        return "offsets", "it only grows: an offset names a version, and nothing is stored twice"
    tensor = by.get("tensors")
    if tensor is not None and tensor.stored_bytes is not None:
        return "tensors", "it is an array: slices of any version can be read without restoring it"
    if versions == 1:
        return "copies", "there is one version to judge by; nothing speaks for another strategy yet"
    return "copies", f"all its versions take {copies / max(whole, 1):.0%} of what whole copies would"
