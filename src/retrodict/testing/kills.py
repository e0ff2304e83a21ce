"""Kill writers at random instants, thousands of times, and look whether anything that they were told is lost.

    python -m retrodict.testing.kills --count 10000

Several processes write to one workspace at once: they add files, ask a model, run a command, publish, and answer over
HTTP. Each writes down what was acknowledged to it, in a pipe, before it goes on; each is killed (-9) at a random
instant. Every acknowledged entry must be there afterwards, byte for byte, and `verify` must pass.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from retrodict.actions.add import add
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.register import register
from retrodict.actions.run import run
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.types import EventId
from retrodict.testing.forks import rehearse
from retrodict.workspace import Workspace, publish

AGENT = "Ada <ada@example.org>"
MODEL = "def predict(x):\n    return x * 2\n"
LIFE_S = (0.0, 0.15)  # a writer lives so long after it has begun
ASK = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [21]}]})

Tell = Callable[[EventId], None]


@dataclass(slots=True)
class Kills:
    """What came of it.

    Attributes:
        killed: By what the writer did.
        acknowledged: Events whose writers were told that they are durable.
        lost: Those that are not there.
        findings: What `verify` found altered or missing.
    """

    killed: Counter[str] = field(default_factory=Counter)
    acknowledged: set[EventId] = field(default_factory=set)
    lost: set[EventId] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Say whether nothing is lost or altered."""
        return not self.lost and not self.findings


def _adds(workspace: Workspace, tell: Tell, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    while True:
        path = workspace.root / f"data-{seed % 7}.bin"
        path.write_bytes(chance.randbytes(chance.choice([10, 3000, 400_000])))
        for added in add(workspace, [path]):
            tell(added.event)


def _predicts(workspace: Workspace, tell: Tell, seed: int) -> None:
    while True:
        tell(predict(workspace, "twice", [{"x": seed}], caller="a customer").event)


def _publishes(workspace: Workspace, tell: Tell, seed: int) -> None:
    while True:
        tell(predict(workspace, "twice", [{"x": seed}], caller="a customer").event)
        publish(workspace)


def _runs(workspace: Workspace, tell: Tell, seed: int) -> None:
    while True:
        command = ["sh", "-c", f"echo {seed} > out-{seed % 7}.txt"]
        tell(run(workspace, command, cwd=workspace.root, environment={"PATH": os.defpath}).event)


def _serves(workspace: Workspace, tell: Tell, seed: int) -> None:
    from retrodict.server import serve

    del seed, tell  # its clients are told
    serve(workspace, ["twice"], port=0, ready=lambda url: print(url, flush=True))


WRITERS: dict[str, tuple[Callable[[Workspace, Tell, int], None], int]] = {
    "add": (_adds, 30),
    "predict": (_predicts, 40),
    "publish": (_publishes, 20),
    "run": (_runs, 5),
    "serve": (_serves, 2),
}


class Writer:
    """A process that writes until it is killed."""

    def __init__(self, folder: Path, what: str, seed: int, life_s: float) -> None:
        self.what = what
        self._told = b""
        self.acknowledged: set[EventId] = set()
        self._clients: threading.Thread | None = None
        self._dies: float | None = None
        self._life_s = life_s
        self._begun = time.monotonic()
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            _write(folder, what, seed, writer)
        os.close(writer)
        self._pipe = reader
        os.set_blocking(reader, False)

    def is_due(self) -> bool:
        """Say whether it has lived long enough; read what it was told meanwhile."""
        self._read()
        now = time.monotonic()
        if self._dies is None and (self.acknowledged or self._clients or now - self._begun > 2 * self._life_s + 1):
            self._dies = now + self._life_s
        return self._dies is not None and now >= self._dies

    def kill(self) -> bool:
        """Kill it; say whether it was alive."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self._read()
        if self._clients is not None:
            self._clients.join(30)
        os.close(self._pipe)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    def _read(self) -> None:
        while select.select([self._pipe], [], [], 0)[0]:
            data = os.read(self._pipe, 65536)
            if not data:
                return
            *lines, self._told = (self._told + data).split(b"\n")
            for line in lines:
                if line.startswith(b"http"):
                    self._clients = threading.Thread(target=self._ask, args=(line.decode(),), daemon=True)
                    self._clients.start()
                else:
                    self.acknowledged.add(EventId(line.decode()))

    def _ask(self, url: str) -> None:
        connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
        try:
            while True:
                connection.request("POST", "/v2/models/twice/infer", ASK)
                answer = json.loads(connection.getresponse().read())
                self.acknowledged.add(EventId(answer["parameters"]["prediction_id"]))
        except (OSError, HTTPException, ValueError):
            return  # it was killed


def _write(folder: Path, what: str, seed: int, pipe: int) -> None:
    """Be the writer, in its own process; never return."""
    code = 1
    try:
        os.dup2(pipe, 1)
        log = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)

        def tell(event: EventId) -> None:
            os.write(1, event.encode() + b"\n")

        with open_workspace(folder / "project", folder / "state", SystemClock(), agent=AGENT) as workspace:
            WRITERS[what][0](workspace, tell, seed)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def prepare(folder: Path) -> None:
    """Make the workspace that is written to; nothing has it open afterwards."""

    def work() -> None:
        from retrodict.server import serve

        init(folder / "project", folder / "state", SystemClock(), agent=AGENT)
        with open_workspace(folder / "project", folder / "state", SystemClock(), agent=AGENT) as workspace:
            source = folder / "project" / "twice.py"
            source.write_text(MODEL)
            register(workspace, f"{source}:predict", "twice")
            for write in (_adds, _predicts, _publishes, _runs):
                with suppress(StopIteration):
                    write(workspace, _stop, 0)
            serve(workspace, ["twice"], port=0, ready=lambda _: os.kill(os.getpid(), signal.SIGTERM))

    rehearse(work)


def _stop(event: EventId) -> None:
    raise StopIteration(event)


def check(folder: Path, result: Kills) -> None:
    """Look for everything that was acknowledged, and verify."""
    with open_workspace(folder / "project", folder / "state", SystemClock(), agent=AGENT) as workspace:
        result.lost = {event for event in result.acknowledged if workspace.ledger.find(event) is None}
        found = verify(workspace)
    result.findings = [f"{f.what}: {f.message}" for f in found.findings if f.level in ("altered", "missing")]


def kill_writers(
    folder: Path, count: int, *, seed: int = 0, at_once: int = 3, kinds: Sequence[str] = tuple(WRITERS)
) -> Kills:
    """Kill `count` writers of a workspace in `folder`, `at_once` of which live at any time.

    Nothing may have the workspace open in this process: writers are forked from it.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    result = Kills()
    alive: list[Writer] = []
    weights = [WRITERS[kind][1] for kind in kinds]
    started = 0
    while sum(result.killed.values()) < count:
        while len(alive) < at_once and started < count + at_once:
            (kind,) = chance.choices(kinds, weights)
            alive.append(Writer(folder, kind, started, chance.uniform(*LIFE_S)))
            started += 1
        for writer in [writer for writer in alive if writer.is_due()]:
            alive.remove(writer)
            if not writer.kill():
                result.findings.append(f"a writer ({writer.what}) ended by itself: {(folder / 'stderr').read_text()}")
                return result
            result.killed[writer.what] += 1
            result.acknowledged |= writer.acknowledged
        time.sleep(0.002)
    for writer in alive:
        writer.kill()
        result.acknowledged |= writer.acknowledged
    return result


def main() -> None:
    """Kill as many as the command line says, and say what came of it."""
    parser = argparse.ArgumentParser(description="Kill writers, and look whether anything acknowledged is lost.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check-every", type=int, default=1000, help="verify after so many kills")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="retrodict-kills-"))
    prepare(folder)
    done, acknowledged = Counter[str](), set[EventId]()
    while sum(done.values()) < options.count:
        some = min(options.check_every, options.count - sum(done.values()))
        result = kill_writers(folder, some, seed=options.seed + sum(done.values()))
        done += result.killed
        acknowledged |= result.acknowledged
        result.acknowledged = acknowledged
        if result.is_good:
            check(folder, result)
        print(f"{sum(done.values())} killed {dict(done)}; {len(acknowledged)} acknowledged, {len(result.lost)} lost")
        if not result.is_good:
            print("\n".join(result.findings))
            print(f"kept: {folder}")
            sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
