"""Fail every durable step of every write path, one after the other, and look what a restarted process sees.

    python -m retrodict.testing.faults             # every step, every way: an hour and a half of processor time
    python -m retrodict.testing.faults --every 20  # a sample

With TMPDIR=/dev/shm it waits for no disk: what was not synced is no concern here (see HAZARD).

A step is a system call that makes something durable, or part of it: what `kernel.durable` does to files (create, write,
unlink), whoever syncs, renames or links one, and what SQLite does (write, sync, truncate, delete). A scenario
(`scenarios`) runs in a process of its own, which says what was acknowledged to it. At step n it dies, before the step
took effect ("lost"), after it ("landed"), or half-way through ("torn", writes only); or the step is refused once with
EIO and the process goes on ("refused"). After that every acknowledged entry must be there, the store must verify, it
must take a new entry, and what lies beside the log must be whole or absent.

HAZARD: the processor and the kernel survive these deaths. What the loss of power leaves of unsynced bytes is `disk`'s.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw

from retrodict.actions.add import add
from retrodict.backups import sealed
from retrodict.kernel.durable import RealDisk
from retrodict.kernel.errors import RetrodictError
from retrodict.testing.elsewhere import elsewhere
from retrodict.testing.forks import forked, rehearse
from retrodict.testing.scenarios import SCENARIOS, bad, make, opened, settle_in
from retrodict.workspace import Workspace

Way = Literal["lost", "landed", "torn", "refused"]
WAYS: tuple[Way, ...] = ("lost", "landed", "torn", "refused")
DIED, DIED_WRITING = 86, 87  # exit codes of a process that died at its step; the second: which a write can tear

_ALL, _NOTHING = ".all", ".nothing"  # folders of what scenarios begin with that make nothing before

T = TypeVar("T")


class Steps:
    """Counts the durable steps of this process, and fails one of them."""

    def __init__(self, number: int, way: Way) -> None:
        self.number = number
        self.way = way
        self.done = 0

    def take(self, effect: Callable[[], T], torn: Callable[[], object] | None, error: Callable[[], Exception]) -> T:
        """Do one step, unless it is the one that fails."""
        self.done += 1
        if self.done != self.number:
            return effect()
        if self.way == "refused":
            raise error()
        if self.way == "landed":
            effect()
        if self.way == "torn" and torn is not None:
            torn()
        os._exit(DIED if torn is None else DIED_WRITING)

    def install(self) -> None:
        """Stand between this process and the disk, for good."""

        def refused() -> OSError:
            return OSError(errno.EIO, os.strerror(errno.EIO))

        def counted(of: object, name: str, torn: Callable[..., object] | None = None) -> None:
            call = getattr(of, name)

            def step(*arguments: Any, **options: Any) -> Any:
                half = None if torn is None else (lambda: torn(*arguments))
                return self.take(lambda: call(*arguments, **options), half, refused)

            setattr(of, name, step)

        write = RealDisk.write

        def half(disk: RealDisk, fd: int, data: bytes | memoryview) -> None:
            view = memoryview(data).cast("B")
            write(disk, fd, view[: len(view) // 2])

        counted(RealDisk, "create")
        counted(RealDisk, "write", half)
        counted(RealDisk, "unlink")
        for name in ("fsync", "rename", "replace", "link"):  # whoever calls them
            counted(os, name)
        self._vfs = _Files(self)  # kept: SQLite knows it by name only
        sys.excepthook = lambda *_: None  # apsw prints what was refused while it closed a file


class _Files(apsw.VFS):
    """SQLite's way to the disk."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        super().__init__("steps", "unix", makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        """Open a file; one of a temporary table is nobody's concern."""
        return _File(self.steps, name, flags)

    def excepthook(self, etype: object, evalue: object, etraceback: object) -> bool:
        """Print nothing: what is raised here is meant."""
        del etype, evalue, etraceback
        return True

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's signature
        """Remove a journal: in `keys.db` that is the commit."""
        self.steps.take(lambda: super(_Files, self).xDelete(name, syncdir), None, _refused)


class _File(apsw.VFSFile):
    def __init__(self, steps: Steps, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._steps = steps

    def xLock(self, level: int) -> None:  # noqa: N802
        """Take a lock; that a reader cannot have it all for itself when it closes is no error to SQLite."""
        try:
            super().xLock(level)
        except apsw.IOError as error:
            raise apsw.BusyError("read-only") from error

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        def write(data: bytes) -> None:
            super(_File, self).xWrite(data, offset)

        self._steps.take(lambda: write(data), lambda: write(data[: len(data) // 2]), _refused)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._steps.take(lambda: super(_File, self).xSync(flags), None, _refused)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._steps.take(lambda: super(_File, self).xTruncate(size), None, _refused)


def _refused() -> Exception:
    return apsw.IOError("the disk failed")


def prepare(folder: Path, scenarios: Sequence[str] = tuple(SCENARIOS)) -> None:
    """Make what the scenarios begin with, each in a folder of its name; nothing has it open afterwards.

    It also imports what they import, as thousands of processes will be forked from this one.
    """
    sealed.LOG_N = 10  # the least that is read back: the passphrase is not what is to be kept here
    folder.mkdir(parents=True)
    (folder / _ALL).mkdir()
    rehearse(lambda: make(folder / _ALL))
    (folder / _NOTHING).mkdir()
    for name in scenarios:
        rehearse(partial(_prepare_one, folder, name))


def _prepare_one(folder: Path, name: str) -> None:
    """Make what a scenario begins with, and let it run once without a fault.

    In a process of its own: one that has read something personal makes nothing for others any more.
    """
    before = SCENARIOS[name].before
    if before is not None:
        shutil.copytree(folder / _ALL, folder / name, symlinks=True)
        settle_in(folder / name)
        before(folder / name)
    tried = folder / "rehearsed"
    with _begun(folder, tried, name):
        SCENARIOS[name].work(tried, lambda *_: None)
        if _look(tried, name, [], []):
            raise RuntimeError(f"{name} leaves something wrong where nothing fails")
    shutil.rmtree(tried)


@contextmanager
def _begun(prepared: Path, folder: Path, name: str) -> Iterator[None]:
    """Put what the scenario begins with into `folder`, with the others that it asks."""
    scenario = SCENARIOS[name]
    begins = _NOTHING if scenario.begins_empty else _ALL
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared / (begins if scenario.before is None else name), folder, symlinks=True)
    settle_in(folder)
    with elsewhere(folder, (folder / "log.key").read_text()) if scenario.asks_others else nullcontext():
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a scenario with one fault came to.

    Attributes:
        fired: The step was reached.
        is_write: So that half of it can be done. Not known of one that was refused.
        problems: What does not hold afterwards, in words.
    """

    fired: bool
    is_write: bool
    problems: tuple[str, ...]


def attempt(prepared: Path, folder: Path, scenario: str, number: int, way: Way) -> Outcome:
    """Run a scenario on a copy of the prepared workspace in `folder`, fail its step `number`, and look."""

    def work() -> int:
        steps, facts = Steps(number, way), list[str]()

        def tell(workspace: Workspace, *more: str) -> None:
            facts.extend(more)
            leaves = [[s.index, s.leaf_hash.hex()] for s in workspace.ledger.read()]
            os.write(1, json.dumps([leaves, facts]).encode() + b"\n")

        tempfile.tempdir = str(folder)  # what lies there when it dies goes with it
        steps.install()
        try:
            SCENARIOS[scenario].work(folder, tell)
        except RetrodictError:
            if steps.done < number:
                raise  # otherwise it was refused, and said so
        except apsw.IOError as error:
            # SQLite says nothing of a checkpoint that fails while a file is closed; apsw hands on what this kit raised.
            if "Connection.close" not in [frame.name for frame in traceback.extract_tb(error.__traceback__)]:
                raise
        return DIED if steps.done >= number else 0

    with _begun(prepared, folder, scenario):
        code, told = forked(work)
        if code not in (0, DIED, DIED_WRITING):
            problem = f"exit {code}: {told.decode(errors='replace')[-1500:]}"
            return Outcome(fired=True, is_write=False, problems=(problem,))
        lines = [line for line in told.split(b"\n") if line.startswith(b"[")]
        leaves, facts = json.loads(lines[-1]) if lines else ([], [])
        seen, found = forked(lambda: _look(folder, scenario, leaves, facts))
    return Outcome(
        fired=code != 0,
        is_write=code == DIED_WRITING,
        problems=() if seen == 0 else (found.decode(errors="replace")[-2500:],),
    )


def _look(folder: Path, name: str, leaves: Sequence[tuple[int, str]], facts: Sequence[str]) -> int:
    """Open the store as the next process would, and look for the entries and the facts that were told."""
    scenario = SCENARIOS[name]
    if scenario.begins_empty and not (folder / "project" / ".retrodict" / "format.json").exists():
        # What was cut off before it was there is nowhere: a second try makes it.
        scenario.work(folder, lambda *_: None)
    with opened(folder) as workspace:
        for index, leaf in leaves:
            if workspace.ledger.event(index).leaf_hash.hex() != leaf:
                print(f"entry {index} is another one", flush=True)
                return 2
        path = folder / "project" / "after.txt"
        path.write_text("after")
        add(workspace, [path], reason="the record goes on")
    with opened(folder) as workspace:
        found = [] if scenario.mends else bad(workspace)
        if scenario.after is not None:
            found += scenario.after(folder, workspace, facts)
    print("\n".join(found), flush=True)
    return 3 if found else 0


def table(
    prepared: Path, folder: Path, *, every: int = 1, first: int = 1, scenarios: Sequence[str] = tuple(SCENARIOS)
) -> Iterator[tuple[str, int, Way, Outcome]]:
    """Yield what came of every `every`th step of each scenario, from step `first` on.

    With `every` 1 each step fails each way that it can; otherwise the ways take turns. A scenario ends at its first
    problem.
    """
    for scenario in scenarios:
        number, turn = first, 0
        while True:
            outcomes: list[Outcome] = []
            for way in WAYS if every == 1 else (WAYS[turn % len(WAYS)],):
                if way == "torn" and every == 1 and not outcomes[0].is_write:
                    continue  # then it is lost
                outcomes.append(attempt(prepared, folder, scenario, number, way))
                yield scenario, number, way, outcomes[-1]
            if any(outcome.problems for outcome in outcomes) or not any(outcome.fired for outcome in outcomes):
                break
            number, turn = number + every, turn + 1


def _children_s() -> float:
    """Return the seconds of processor time of the processes that were forked."""
    used = os.times()
    return used.children_user + used.children_system


def main() -> None:
    """Fail them all, and say what came of it."""
    parser = argparse.ArgumentParser(description="Fail every durable step, and look what a restarted process sees.")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--scenario", choices=SCENARIOS, action="append")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="retrodict-faults-"))
    prepare(base / "prepared", options.scenario or tuple(SCENARIOS))
    count, bad, last = Counter[str](), 0, "nothing"
    with suppress(KeyboardInterrupt):  # what was done by then is said
        for wanted in options.scenario or SCENARIOS:
            for scenario, number, way, outcome in table(
                base / "prepared", base / "tried", every=options.every, first=options.first, scenarios=[wanted]
            ):
                last = f"{scenario}, step {number}"
                count[scenario] += outcome.fired
                for problem in outcome.problems:
                    bad += 1
                    print(f"{last}, {way}:\n{problem}", flush=True)
            print(f"{last}: {count[wanted]} faults, {time.process_time() + _children_s():.0f} s", flush=True)
        last = "the end"
    print(f"{sum(count.values())} faults {dict(count)}, up to {last}; {bad} that left something wrong")
    shutil.rmtree(base)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
