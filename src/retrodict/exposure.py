"""Whether a process, or the run that it is a part of, has read personal values: then what it makes is personal, too.

Of a run everything counts that its processes, and those of the runs round it, have opened so far: the guards are asked.
What is read through retrodict itself is noted, in the run's folder for its other processes. Without a run only that is
known, of this process alone. In doubt (nobody sees what a run opens, or not all of it) the answer is yes, where the
workspace knows of anything personal.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from retrodict import datasets, runs
from retrodict.kernel.clock import parse_rfc3339
from retrodict.kernel.errors import RetrodictError, UsageError
from retrodict.kernel.types import Edge, EventId, Ref, is_event_id
from retrodict.keys import Subject
from retrodict.workspace import UnwritableStateError, Workspace

if TYPE_CHECKING:
    from retrodict.capture import Read, Reads
    from retrodict.capture.spool import Record
    from retrodict.predictions.personal import Owners

ROLE = "exposure"  # of the edge to the run, or the look, by which personal values had been read before
WITHIN = "within"  # of the edge from a run to the run round it
_MARK = "personal"  # in the folder of a run: something personal was read by it


class ExposedError(UsageError):
    """What may tell of people would be kept in the clear: it comes from a run or a process that has read of them."""

    slug = "exposed"
    hint = (
        "If it is about people, keep it where that is declared: made with `--subject FIELD`, for a tensor with "
        "`--personal`. If it is about nobody: write it to a file, `retrodict add FILE --not-personal --reason ...` "
        "when the run has ended, and take it from there."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """That this process may have read personal values.

    Attributes:
        by: The `run.started` of the run that it is a part of; without one, the look that says what it has read.
        since_ns: What was written before is not made of them.
    """

    by: EventId
    since_ns: int

    @property
    def edge(self) -> Edge:
        """What an event says of it."""
        return Edge(ref=Ref(self.by), role=ROLE, evidence="observed")


class _Observed:
    """What an observer has seen so far, each record taken in once."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.reads = _no_reads()
        self._records = records
        self._at = 0

    def ask(self) -> Iterator[Read]:
        new = self._records[self._at :]
        self._at += len(new)
        return self.reads.take(new)

    def again(self) -> None:
        self._at = 0


@dataclass(frozen=True, slots=True)
class _Runs:
    """A run and the runs round it, the innermost first.

    Attributes:
        chain: By their `run.started`.
        marks: Where it is marked, for other processes, that one of them has read something personal.
        since_ns: When the outermost began.
    """

    chain: tuple[EventId, ...]
    marks: tuple[str, ...]
    since_ns: int


@dataclass(slots=True)
class _State:
    """What this process knows about one workspace.

    Attributes:
        last: The last look or run by which it has read personal values outside of a run that is still going on.
        around: Of each run that this process was a part of: itself and the runs round it; None: it is not known here.
        exposed: The runs that have read something personal.
        observed: What the observers of this process have seen of runs that are under way in it.
        version: Of the keys, when `paths`, `folders` and `sizes` of personal files were looked up.
        keys: With which this process seals what it makes, by what exposed it.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    last: Exposure | None = None
    around: dict[str, _Runs | None] = field(default_factory=dict)
    exposed: set[EventId] = field(default_factory=set)
    observed: dict[EventId, _Observed] = field(default_factory=dict)
    reads: Reads | None = None
    version: tuple[int, int] = (-1, -1)
    paths: frozenset[bytes] = frozenset()
    folders: tuple[bytes, ...] = ()
    sizes: frozenset[int] = frozenset()
    keys: dict[EventId, Subject] = field(default_factory=dict)


_lock = threading.Lock()
_states: dict[Path, _State] = {}


def find(workspace: Workspace) -> Exposure | None:
    """Return why what this process makes now is personal; None: it has read nothing personal."""
    run = workspace.run()
    state = _state(workspace)
    if not run:
        return state.last
    with state.lock:
        runs_ = _around(workspace, state, run)
        if runs_ is None:
            return state.last
        innermost = runs_.chain[0]
        if innermost not in state.exposed:
            if state.last is None and not _is_exposed(workspace, state, runs_):
                return None
            state.exposed.add(innermost)
            _mark(runs_)  # other processes of it need not look
        return _since(state, innermost, runs_.since_ns)


def owners(workspace: Workspace) -> Owners | None:
    """Return under what to seal a call that this process records now; None: it has read nothing personal.

    Raises:
        UnwritableStateError: There are no keys.
    """
    found = find(workspace)
    if found is None:
        return None
    if workspace.keys is None:
        raise UnwritableStateError(
            "what a run derives from personal values cannot be sealed: the keys are out of reach"
        )
    state = _state(workspace)
    with state.lock:
        known = state.keys.get(found.by)
        if known is None or not workspace.keys.holds(known.key):  # forgotten meanwhile
            known = state.keys[found.by] = Subject(subject=found.by, key=workspace.keys.make_keys(1)[0])
    from retrodict.predictions.personal import Owners  # 15 ms, for a command that adds files

    return Owners(rows=(known,), is_aligned=False)


def edges(of: Owners | None) -> list[Edge]:
    """Return the edges of a call that was sealed for what exposed its process, and not for people."""
    found = () if of is None else of.rows
    return [Edge(ref=Ref(o.subject), role=ROLE, evidence="observed") for o in found if is_event_id(o.subject)]


def refuse(workspace: Workspace, what: str) -> None:
    """Do nothing, unless this process has read personal values.

    Args:
        what: What would be written, e.g. "the stream clicks".

    Raises:
        ExposedError: It has.
    """
    if find(workspace) is not None:
        who = "this run" if workspace.run() else "this process"
        raise ExposedError(f"{what} is about nobody, and {who} has read personal values, or may have")


def before(workspace: Workspace) -> list[Edge]:
    """Return the edge from a run or a look that begins now to the run round it, or to what has exposed this process."""
    run = workspace.run()
    state = _state(workspace)
    around = None
    if run:
        with state.lock:
            around = _around(workspace, state, run)
    if around is not None:
        return [Edge(ref=Ref(around.chain[0]), role=WITHIN, evidence="observed")]
    return [] if state.last is None else [state.last.edge]


def note(workspace: Workspace, event: EventId) -> None:
    """Take note that this process is given personal values, as an event says; before it is given them."""
    run = workspace.run()
    state = _state(workspace)
    with state.lock:
        around = None if not run else _around(workspace, state, run)
        if around is None:
            state.last = _since(state, event, workspace.clock.now_ns())
            return
        state.exposed.update(around.chain)
        state.last = _since(state, around.chain[0], around.since_ns)
        _mark(around)


@contextlib.contextmanager
def observing(workspace: Workspace, run: EventId, records: Sequence[Record]) -> Iterator[None]:
    """Inside the block, a run of this process has read what these records say, to which an observer adds."""
    state = _state(workspace)
    state.observed[run] = _Observed(records)
    try:
        yield
    finally:
        with contextlib.suppress(RetrodictError):
            found = find(workspace)
            if found is not None and found.by == run:
                state.last = found  # what this process knows, it goes on knowing
        del state.observed[run]


def _since(state: _State, by: EventId, since_ns: int) -> Exposure:
    """Return an exposure that began when this process was first exposed."""
    return Exposure(by=by, since_ns=since_ns if state.last is None else min(since_ns, state.last.since_ns))


def _no_reads() -> Reads:
    from retrodict.capture import Reads  # of a room that only runs need

    return Reads()


def _state(workspace: Workspace) -> _State:
    state = _states.get(workspace.folder)
    if state is None:  # the first time that it is called so
        with _lock:
            state = _states.setdefault(Path(os.path.realpath(workspace.folder)), _State())
            _states[workspace.folder] = state
    return state


def _around(workspace: Workspace, state: _State, run: str) -> _Runs | None:
    """Return a run and the runs round it; None where it is not known here."""
    if run not in state.around:
        chain: list[EventId] = []
        since_ns, asked = 0, run
        while asked and (found := workspace.logs.find(EventId(asked))) is not None:
            if found.event.kind != "run.started":
                break
            since_ns = parse_rfc3339(found.event.at)
            chain.append(found.event.id)
            asked = next((edge.ref for edge in found.event.uses if isinstance(edge, Edge) and edge.role == WITHIN), "")
        marks = tuple(str(runs.running_at(workspace.folder, started) / _MARK) for started in chain)
        state.around[run] = _Runs(tuple(chain), marks, since_ns) if chain else None
    return state.around[run]


def _is_exposed(workspace: Workspace, state: _State, around: _Runs) -> bool:
    """Say whether a run, or one round it, has read something personal, or may have."""
    if any(map(os.path.exists, around.marks)):
        return True
    if not all(map(os.path.exists, map(os.path.dirname, around.marks))) and _was_noted(workspace, around.chain):
        return True
    _look_up(workspace, state)
    if not state.paths and not state.sizes:
        return False
    reads = state.reads = state.reads or _no_reads()
    found = reads.ask()
    observed = [state.observed[started] for started in around.chain if started in state.observed]
    if found is None and len(observed) < len(around.chain):
        return True
    if any(_is_personal(workspace, state, reads, read) for read in found or ()) or reads.is_blind:
        return True
    return any(_is_personal(workspace, state, one.reads, read) for one in observed for read in one.ask())


def _mark(around: _Runs) -> None:
    for mark in around.marks:
        with contextlib.suppress(OSError):  # that run has ended
            Path(mark).touch()


def _was_noted(workspace: Workspace, chain: Sequence[EventId]) -> bool:
    """Say whether the log has it that runs have read something personal: one has ended, and left this process."""
    database = workspace.views.database()
    events = [workspace.logs.event(entry).event for started in chain for entry in runs.reads(database, started)]
    return any(event.kind == "personal.viewed" or event.body.get("personal") is True for event in events)


def _look_up(workspace: Workspace, state: _State) -> None:
    """Learn which files are personal, where that may be others by now; then everything is compared anew."""
    version = (0, 0) if workspace.keys is None else workspace.keys.version()
    if version == state.version:
        return
    current = [
        v for v in datasets.versions(workspace.views.database()) if v.is_current and v.key is not None and v.path
    ]
    root = os.fsencode(workspace.root)
    places = [(os.path.realpath(root) + b"/" + os.fsencode(v.path), v.type == "tree") for v in current]
    places += [(os.path.realpath(path), is_folder) for path, is_folder in places]
    paths = frozenset(path for path, _ in places)
    sizes = frozenset() if workspace.keys is None else workspace.keys.file_sizes() - {0}
    if (paths, sizes) != (state.paths, state.sizes):
        for reads in (state.reads, *state.observed.values()):
            if reads is not None:
                reads.again()
    state.paths, state.sizes = paths, sizes
    state.folders = tuple(path + b"/" for path, is_folder in places if is_folder)
    state.version = version


def _is_personal(workspace: Workspace, state: _State, reads: Reads, read: Read) -> bool:
    """Say whether a file that was read is personal: by where it lay, or by its very bytes."""
    from retrodict.capture.files import status  # of a room that only runs need

    path, found = read.path, read.found
    if path in state.paths or path.startswith(state.folders):
        return True
    if found is None:
        found = status(path, follow=True)
        if found is None:
            return bool(state.sizes)
    if not found.is_regular or found.size not in state.sizes:
        return False
    now = status(path, follow=True)
    place = path if now is not None and now.content == found.content else reads.kept.get(found.content)
    if place is None or workspace.keys is None:
        return True  # it is gone, or another by now
    try:
        name = workspace.objects.hash_file(Path(os.fsdecode(place)), remember=False).encode()
    except (OSError, RetrodictError):
        return True
    return workspace.keys.find_file(name) is not None or workspace.keys.find_forgotten_file(name) is not None
