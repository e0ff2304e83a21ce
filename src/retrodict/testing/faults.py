"""Fail every durable step of every write path, one after the other, and look what a restarted process sees.

    python -m retrodict.testing.faults             # every step, every way: about an hour of processor time
    python -m retrodict.testing.faults --every 20  # a sample

With TMPDIR=/dev/shm it waits for no disk: what was not synced is no concern here (see HAZARD).

A step is a system call that makes something durable, or part of it: what `kernel.durable` does to files (create, write,
sync, rename, unlink), and what SQLite does (write, sync, truncate, delete). A scenario runs in a process of its own,
which says what was acknowledged to it. At step n it dies, before the step took effect ("lost"), after it ("landed"), or
half-way through ("torn", writes only); or the step is refused once with EIO and the process goes on ("refused"). After
that every acknowledged entry must be there, the store must verify, and it must take a new entry.

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
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw

from retrodict import streams
from retrodict.actions import keys, table_change, tensors
from retrodict.actions.add import add
from retrodict.actions.backing import open_place
from retrodict.actions.backup import backup
from retrodict.actions.backup_keys import backup_keys
from retrodict.actions.bundle import bundle, take_bundle
from retrodict.actions.capture_db import catch_up, plan
from retrodict.actions.checkout import checkout
from retrodict.actions.clone import clone
from retrodict.actions.derive import derive
from retrodict.actions.dispute import dispute
from retrodict.actions.export import export
from retrodict.actions.forget import forget
from retrodict.actions.forget_files import forget as forget_files
from retrodict.actions.fsck import fsck
from retrodict.actions.gc import gc
from retrodict.actions.init import init
from retrodict.actions.log_publish import log_publish
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.pull import pull
from retrodict.actions.push import push
from retrodict.actions.register import register
from retrodict.actions.release import release
from retrodict.actions.restore import restore
from retrodict.actions.rotate_key import rotate_key
from retrodict.actions.run import run
from retrodict.actions.stream_append import append, compact
from retrodict.actions.streams import create, position
from retrodict.actions.tabling import table_named
from retrodict.actions.verify import verify
from retrodict.backups import sealed
from retrodict.databases.sqlite import SQLite
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import RealDisk
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Finding
from retrodict.tables import upkeep
from retrodict.tables.changes import How
from retrodict.testing.forks import forked, rehearse
from retrodict.testing.kills import AGENT, MODEL
from retrodict.workspace import Batch, Workspace, publish

Way = Literal["lost", "landed", "torn", "refused"]
WAYS: tuple[Way, ...] = ("lost", "landed", "torn", "refused")
DIED = 86  # the exit code of a process that died at its step
_ELSEWHERE = "x25519:0i8ALvUnUmNtNGXQBHBWXBMFgSgtBuO8KDRwFGZqwwM="

T = TypeVar("T")
Tell = Callable[[Workspace], None]


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
        os._exit(DIED)

    def install(self) -> None:
        """Stand between this process and the disk, for good."""
        files = RealDisk
        create, write, sync, rename, unlink = files.create, files.write, files.sync, files.rename, files.unlink

        def refused() -> OSError:
            return OSError(errno.EIO, os.strerror(errno.EIO))

        def counted(call: Callable[..., Any], torn: Callable[..., object] | None = None) -> Callable[..., Any]:
            def step(disk: RealDisk, *arguments: Any) -> Any:
                half = None if torn is None else (lambda: torn(disk, *arguments))
                return self.take(lambda: call(disk, *arguments), half, refused)

            return step

        def half(disk: RealDisk, fd: int, data: bytes | memoryview) -> None:
            view = memoryview(data).cast("B")
            write(disk, fd, view[: len(view) // 2])

        for name, call, torn in (
            ("create", create, None),
            ("write", write, half),
            ("sync", sync, None),
            ("rename", rename, None),
            ("unlink", unlink, None),
        ):
            setattr(files, name, counted(call, torn))
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


# Scenarios: each tells the workspace whatever was acknowledged so far, and yields nothing else.


def _opened(folder: Path) -> Workspace:
    return open_workspace(folder / "project", folder / "state", SystemClock(), agent=AGENT, begins_log=True)


def _init(folder: Path, tell: Tell) -> None:
    init(folder / "project", folder / "state", SystemClock(), agent=AGENT)
    with _opened(folder) as workspace:
        tell(workspace)


def _record(folder: Path, tell: Tell) -> None:
    """Data, a model, a question, a complaint: objects, index, log, keys, checkpoint."""
    (folder / "project" / "big.bin").write_bytes(bytes(range(256)) * 1200)
    with _opened(folder) as workspace:
        add(workspace, [folder / "project" / "big.bin"], reason="to fail with")
        tell(workspace)
        answer = predict(workspace, "twice", [{"x": 1}], caller="somebody else")
        tell(workspace)
        dispute(workspace, answer.reference, reason="it is wrong")
        tell(workspace)
        publish(workspace)
        predict(workspace, "twice", [{"x": 2}], caller="a customer")
        tell(workspace)


def _rotate(folder: Path, tell: Tell) -> None:
    with _opened(folder) as workspace:
        rotate_key(workspace, reason="to fail with")
        tell(workspace)


def _register(folder: Path, tell: Tell) -> None:
    source = folder / "project" / "thrice.py"
    source.write_text(MODEL.replace("2", "3"))
    with _opened(folder) as workspace:
        register(workspace, f"{source}:predict", "thrice")
        tell(workspace)


def _run(folder: Path, tell: Tell) -> None:
    with _opened(folder) as workspace:
        command = ["sh", "-c", "echo 1 > out.txt"]
        run(workspace, command, cwd=workspace.root, environment={"PATH": os.defpath})
        tell(workspace)


def _stream(folder: Path, tell: Tell) -> None:
    """A stream: a small append, one that is stored before its event, a position, and all put together."""
    with _opened(folder) as workspace:
        create(workspace, "s")
        for count in (3, 12_000):
            append(workspace, "s", BytesIO(b"".join(b'{"n":%d}\n' % n for n in range(count))))
            tell(workspace)
        position(workspace, "s", "a consumer", offset=5)
        compact(workspace, "s")
        tell(workspace)


def _views(folder: Path, tell: Tell) -> None:
    (folder / "project" / ".retrodict" / "views.db").unlink(missing_ok=True)
    with _opened(folder) as workspace:
        workspace.views.database()
        tell(workspace)


def _backup(folder: Path, tell: Tell) -> None:
    with _opened(folder) as workspace:
        backup(workspace, open_place(str(folder / "backup")))
        tell(workspace)
        backup_keys(workspace, open_place(str(folder / "keys")), b"passphrase")
        tell(workspace)


def _restore(folder: Path, tell: Tell) -> None:
    if not (folder / "lost").exists():
        shutil.move(folder / "project", folder / "lost")
        (folder / "project").mkdir()
    restore(
        open_place(str(folder / "saved")),
        folder / "project",
        folder / "state",
        SystemClock(),
        agent=AGENT,
        keys_from=open_place(str(folder / "saved-keys")),
        passphrase=b"passphrase",
    )
    with _opened(folder) as workspace:
        tell(workspace)


def _copy(folder: Path, tell: Tell) -> None:
    """The workspace is a copy of one that is still there; it begins a log of its own."""
    if not (folder / "original").exists():
        shutil.copytree(folder / "project", folder / "original", symlinks=True)
        _settle(folder, folder / "original")
    with _opened(folder) as workspace:
        tell(workspace)
        predict(workspace, "twice", [{"x": 1}])
        tell(workspace)


def _push(folder: Path, tell: Tell) -> None:
    with _opened(folder) as workspace:
        push(workspace, str(folder / "pushed"))
        tell(workspace)
        predict(workspace, "twice", [{"x": 1}])
        push(workspace, str(folder / "pushed"))
        tell(workspace)


def _pull(folder: Path, tell: Tell) -> None:
    with _opened(folder) as workspace:
        pull(workspace, str(folder / "hub"))
        tell(workspace)
        workspace.views.database()


def _forget(folder: Path, tell: Tell) -> None:
    """A person whose keys were given away is forgotten, and so says the log."""
    (folder / "project" / "people.csv").write_text("who,age\nann,30\n")
    with _opened(folder) as workspace:
        add(workspace, [folder / "project" / "people.csv"], subject="who")
        export(workspace, "ann")
        tell(workspace)
        keys.share(workspace, _ELSEWHERE, folder / "for.keys")
        tell(workspace)
        forget(workspace, "ann")
        tell(workspace)


def _files(folder: Path, tell: Tell) -> None:
    """Keys come from elsewhere; a folder about people is kept and written back, and one file of it is forgotten."""
    people = folder / "project" / "people"
    people.mkdir()
    for name in ("ann", "bob"):
        (people / f"{name}.csv").write_text(f"name\n{name}\n")
    with _opened(folder) as workspace:
        keys.receive(workspace, folder / "theirs.keys")
        tell(workspace)
        add(workspace, [people], personal=True)
        tell(workspace)
        checkout(workspace, "people", folder / "project" / "again")
        tell(workspace)
        forget_files(workspace, "dataset:people", files=["ann.csv"], reason="to fail with")
        tell(workspace)


def _table(folder: Path, tell: Tell) -> None:
    """A table about people is made, changed, snapshotted, and put together."""
    rows = [{"id": n, "who": f"p{n % 3}", "age": n} for n in range(6)]
    with _opened(folder) as workspace:
        table_change.create(workspace, "t", ["id"], source=rows, subject="who")
        tell(workspace)
        table_change.put(workspace, "t", {"id": 7, "who": "p7", "age": 7}, how=How(verb="put"))
        tell(workspace)
        table_change.delete(workspace, "t", ["2"], how=How(verb="delete", reason="it was wrong"))
        tell(workspace)
        of = table_named(workspace, "t")
        upkeep.snapshot(workspace, of)
        streams.compact(workspace, of.stream, at_least=100, may_go=lambda *_: [])
        tell(workspace)


def _tensor(folder: Path, tell: Tell) -> None:
    with _opened(folder) as workspace:
        for value, personal in ((1, False), (2, True)):
            tensors.write_array(workspace, "x", [[value] * 8] * 8, chunks=(4, 4), personal=personal, reason="to fail")
            tell(workspace)


def _derive(folder: Path, tell: Tell) -> None:
    source = folder / "project" / "in.txt"
    source.write_text("in")
    with _opened(folder) as workspace:
        add(workspace, [source])
        command = ["cp", "in.txt", "out.txt"]
        derive(workspace, "out.txt", ["in.txt"], command=command, cwd=workspace.root, environment={"PATH": os.defpath})
        tell(workspace)


def _sweep(folder: Path, tell: Tell) -> None:
    """A large file is let go, and swept out of what it shares a pack with."""
    names = ("large.bin", "kept.bin")
    for name in names:
        (folder / "project" / name).write_bytes(name.encode() * 40_000)
    with _opened(folder) as workspace:
        add(workspace, [folder / "project" / name for name in names])
        release(workspace, names[0], reason="to fail with", apply=True)
        tell(workspace)
        gc(workspace, apply=True, grace_s=0)
        tell(workspace)


def _mend(folder: Path, tell: Tell) -> None:
    """Every pack is altered, and mended from a backup."""
    for pack in sorted((folder / "project" / ".retrodict" / "objects").rglob("*.pack")):
        flipped = bytearray(pack.read_bytes())
        flipped[len(flipped) // 2] ^= 1
        pack.write_bytes(flipped)
    with _opened(folder) as workspace:
        fsck(workspace, repair_from=str(folder / "saved"), folder=folder)
        tell(workspace)


def _bundle(folder: Path, tell: Tell) -> None:
    with _opened(folder) as workspace:
        take_bundle(workspace, folder / "theirs.bundle")
        tell(workspace)
        bundle(workspace, folder / "ours.bundle")
        tell(workspace)


def _publish(folder: Path, tell: Tell) -> None:
    """The log is laid out as files, twice, the second time across the end of a tile."""
    with _opened(folder) as workspace:
        for count in (2, 260):
            batch = Batch(workspace)
            for number in range(count):
                batch.event("thing.happened", uses=(), makes=(), body={"number": number})
            batch.append()
            log_publish(workspace, folder / "published")
            tell(workspace)


def _capture(folder: Path, tell: Tell) -> None:
    """What another program changed in a database of its own becomes a table's history."""
    with _opened(folder) as workspace, closing(SQLite(folder / "loans.db")) as database:
        catch_up(workspace, database, ["loans"])
        tell(workspace)


SCENARIOS: dict[str, Callable[[Path, Tell], None]] = {
    "init": _init,
    "record": _record,
    "rotate": _rotate,
    "register": _register,
    "run": _run,
    "stream": _stream,
    "views": _views,
    "backup": _backup,
    "restore": _restore,
    "copy": _copy,
    "push": _push,
    "pull": _pull,
    "forget": _forget,
    "files": _files,
    "table": _table,
    "tensor": _tensor,
    "derive": _derive,
    "sweep": _sweep,
    "mend": _mend,
    "bundle": _bundle,
    "publish": _publish,
    "capture": _capture,
}


def prepare(folder: Path) -> None:
    """Make the workspace that scenarios begin with, and a backup of it; nothing has it open afterwards.

    It also imports what they import, as thousands of processes will be forked from this one.
    """
    sealed.LOG_N = 10  # the least that is read back: the passphrase is not what is to be kept here

    def work() -> None:
        _init(folder, lambda _: None)
        source = folder / "project" / "twice.py"
        source.write_text(MODEL)
        with _opened(folder) as workspace:
            register(workspace, f"{source}:predict", "twice")
            backup(workspace, open_place(str(folder / "saved")))
            backup_keys(workspace, open_place(str(folder / "saved-keys")), b"passphrase")
            backup(workspace, open_place(str(folder / "saved")), closing=True)
            key = keys.identity(workspace).key
        init(folder / "other", folder / "state-of-other", SystemClock(), agent="Somebody Else")
        (folder / "other" / "theirs.txt").write_text("theirs")
        with open_workspace(
            folder / "other", folder / "state-of-other", SystemClock(), agent="Somebody Else"
        ) as workspace:
            add(workspace, [folder / "other" / "theirs.txt"], reason="for others")
            push(workspace, str(folder / "hub"))
            bundle(workspace, folder / "theirs.bundle")
            keys.share(workspace, key, folder / "theirs.keys")
        with closing(apsw.Connection(str(folder / "loans.db"))) as loans:
            loans.execute("CREATE TABLE loans (id INTEGER PRIMARY KEY, sum REAL)")
        with closing(SQLite(folder / "loans.db")) as database:
            database.execute(plan(database, ["loans"]).statements)
        with closing(apsw.Connection(str(folder / "loans.db"))) as loans:
            loans.execute("INSERT INTO loans VALUES (1, 0.5), (2, 1.5); UPDATE loans SET sum = 2 WHERE id = 1")
        for name, scenario in SCENARIOS.items():
            tried = folder.with_name("rehearsed")
            _copy_of(folder, tried, name)
            scenario(tried, lambda _: None)
            _look(tried, name, [])
            shutil.rmtree(tried)

    rehearse(work)


def _copy_of(prepared: Path, folder: Path, scenario: str) -> None:
    """Put what the scenario begins with into `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    if scenario == "init":
        folder.mkdir(parents=True)
    else:
        shutil.copytree(prepared, folder, symlinks=True)
        _settle(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a scenario with one fault came to.

    Attributes:
        fired: The step was reached.
        problems: What does not hold afterwards, in words.
    """

    fired: bool
    problems: tuple[str, ...]


def attempt(prepared: Path, folder: Path, scenario: str, number: int, way: Way) -> Outcome:
    """Run a scenario on a copy of the prepared workspace in `folder`, fail its step `number`, and look."""
    _copy_of(prepared, folder, scenario)

    def tell(workspace: Workspace) -> None:
        leaves = [[s.index, s.leaf_hash.hex()] for s in workspace.ledger.read()]
        os.write(1, json.dumps(leaves).encode() + b"\n")

    def work() -> int:
        steps = Steps(number, way)
        steps.install()
        try:
            SCENARIOS[scenario](folder, tell)
        except RetrodictError:
            if steps.done < number:
                raise  # otherwise it was refused, and said so
        except apsw.IOError as error:
            # SQLite says nothing of a checkpoint that fails while a file is closed; apsw hands on what this kit raised.
            if "Connection.close" not in [frame.name for frame in traceback.extract_tb(error.__traceback__)]:
                raise
        return DIED if steps.done >= number else 0

    code, told = forked(work)
    if code not in (0, DIED):
        return Outcome(fired=True, problems=(f"exit {code}: {told.decode(errors='replace')[-1500:]}",))
    lines = [line for line in told.split(b"\n") if line.startswith(b"[")]
    acknowledged = json.loads(lines[-1]) if lines else []
    seen, found = forked(lambda: _look(folder, scenario, acknowledged))
    return Outcome(fired=code == DIED, problems=() if seen == 0 else (found.decode(errors="replace")[-2500:],))


def _settle(folder: Path, project: Path | None = None) -> None:
    """Let the copy be where its key was made: it was copied with its key. Or let another one be."""
    for place in (folder / "state").glob("*/place"):
        store = (project or folder / "project") / ".retrodict"
        status = store.stat()
        place.write_text(json.dumps({"path": str(store.resolve()), "device": status.st_dev, "inode": status.st_ino}))


def _look(folder: Path, scenario: str, acknowledged: list[tuple[int, str]]) -> int:
    """Open the store as the next process would."""
    if not (folder / "project" / ".retrodict" / "format.json").exists():
        # What was cut off before it was there is nowhere: a second try makes it.
        {"init": _init, "restore": _restore}[scenario](folder, lambda _: None)
    with _opened(folder) as workspace:
        for index, leaf in acknowledged:
            if workspace.ledger.event(index).leaf_hash.hex() != leaf:
                print(f"entry {index} is another one", flush=True)
                return 2
        path = folder / "project" / "after.txt"
        path.write_text("after")
        add(workspace, [path], reason="the record goes on")
    with _opened(folder) as workspace:
        if scenario == "mend":
            fsck(workspace, repair_from=str(folder / "saved"), folder=folder)
        found = verify(workspace)
        if scenario == "backup":
            backup(workspace, open_place(str(folder / "backup")))
        if scenario == "pull":
            pull(workspace, str(folder / "hub"))
            found = replace(found, findings=(*found.findings, *verify(workspace).findings))
        if scenario == "bundle":
            take_bundle(workspace, folder / "theirs.bundle")
            if (folder / "ours.bundle").exists():
                take_bundle(workspace, folder / "ours.bundle")
        if scenario == "capture":
            with closing(SQLite(folder / "loans.db")) as database:
                (caught,) = catch_up(workspace, database, ["loans"], compare=True).tables
            if caught.is_around:
                found = replace(found, findings=(Finding(level="altered", what="loans", message=str(caught)),))
        if scenario == "publish":
            laid = [_laid_out(workspace, folder / name) for name in ("published", "anew")]
            if not laid[1].items() <= laid[0].items():  # beginnings of tiles that were shown before may stay
                found = replace(
                    found, findings=(Finding(level="altered", what="published", message="not as it is laid out anew"),)
                )
        if scenario == "push":
            push(workspace, str(folder / "pushed"))
            clone(
                str(folder / "pushed"),
                folder / "cloned",
                folder / "state-of-clone",
                SystemClock(),
                agent=AGENT,
                folder=folder,
            )
    bad = [f for f in found.findings if f.level in ("altered", "missing")]
    print("\n".join(f"{f.level} {f.what}: {f.message}" for f in bad), flush=True)
    return 3 if bad else 0


def _laid_out(workspace: Workspace, folder: Path) -> dict[Path, bytes]:
    log_publish(workspace, folder)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(
    prepared: Path, folder: Path, *, every: int = 1, first: int = 1, scenarios: Sequence[str] = tuple(SCENARIOS)
) -> Iterator[tuple[str, int, Way, Outcome]]:
    """Yield what came of every `every`th step of each scenario, from step `first` on.

    With `every` 1 each step fails each way; otherwise the ways take turns. A scenario ends at its first problem.
    """
    for scenario in scenarios:
        number, turn = first, 0
        while True:
            outcomes = []
            for way in WAYS if every == 1 else (WAYS[turn % len(WAYS)],):
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
    prepare(base / "prepared")
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
