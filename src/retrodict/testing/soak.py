"""Mixed load for a while: memory and file handles stay flat, and the log verifies.

python -m retrodict.testing.soak --seconds 3600
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrodict.actions.add import add
from retrodict.actions.explain import explain
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.predictions import search
from retrodict.actions.run import run
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.testing.kills import AGENT, prepare
from retrodict.workspace import Workspace, publish

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What a soak came to.

    Attributes:
        done: How often each thing was done.
        memory_bytes: Resident memory, median of the second quarter and of the last.
        handles: Open file descriptors, likewise.
        findings: What `verify` found altered or missing in the end.
    """

    done: dict[str, int]
    memory_bytes: tuple[float, float]
    handles: tuple[float, float]
    findings: tuple[str, ...]


def soak(folder: Path, seconds: float) -> Soaked:
    """Load a workspace that `kills.prepare` made in `folder`, from three threads."""
    done: Counter[str] = Counter()
    lock, stop = threading.Lock(), threading.Event()
    failures: list[BaseException] = []
    samples: list[tuple[int, int]] = []
    with open_workspace(folder / "project", folder / "state", SystemClock(), agent=AGENT) as workspace:

        def repeat(*work: Callable[[Workspace, int], str]) -> None:
            number = 0
            try:
                while not stop.is_set():
                    name = work[number % len(work)](workspace, number)
                    with lock:
                        done[name] += 1
                    number += 1
            except BaseException as error:
                failures.append(error)
                stop.set()

        _add(workspace, 0)  # what the runs read
        threads = [
            threading.Thread(target=repeat, args=(_predict, _predict, _predict, _search)),
            threading.Thread(target=repeat, args=(_predict, _publish, _add, _explain)),
            threading.Thread(target=repeat, args=(_run, _explain, _search, _rest)),
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop.wait(max(0.05, seconds / 400)):
            samples.append(_sample())
        stop.set()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
    with open_workspace(folder / "project", folder / "state", SystemClock(), agent=AGENT) as workspace:
        found = [f"{f.what}: {f.message}" for f in verify(workspace).findings if f.level in ("altered", "missing")]
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    return Soaked(
        done=dict(done),
        memory_bytes=(statistics.median(s[0] for s in early), statistics.median(s[0] for s in late)),
        handles=(statistics.median(s[1] for s in early), statistics.median(s[1] for s in late)),
        findings=tuple(found),
    )


def _sample() -> tuple[int, int]:
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * _PAGE
    return resident, len(os.listdir("/proc/self/fd"))


def _predict(workspace: Workspace, number: int) -> str:
    predict(workspace, "twice", [{"x": number}], caller="a customer")
    return "predict"


def _publish(workspace: Workspace, number: int) -> str:
    del number
    publish(workspace)
    return "publish"


def _add(workspace: Workspace, number: int) -> str:
    path = workspace.root / f"data-{number % 5}.csv"
    path.write_text(f"a,b\n{number},2\n")
    add(workspace, [path])
    return "add"


def _search(workspace: Workspace, number: int) -> str:
    del number
    search(workspace, limit=5)
    return "search"


def _explain(workspace: Workspace, number: int) -> str:
    del number
    found = search(workspace, limit=1).rows
    if found:
        explain(workspace, found[0].reference)
    return "explain"


def _run(workspace: Workspace, number: int) -> str:
    script = f"cat data-0.csv > out-{number % 5}.txt"
    run(workspace, ["sh", "-c", script], cwd=workspace.root, environment={"PATH": os.defpath})
    return "run"


def _rest(workspace: Workspace, number: int) -> str:
    del workspace, number
    time.sleep(0.2)
    return "rest"


def main() -> None:
    """Soak for as long as the command line says."""
    parser = argparse.ArgumentParser(description="Mixed load: memory and file handles stay flat, the log verifies.")
    parser.add_argument("--seconds", type=float, default=3600)
    seconds = parser.parse_args().seconds
    folder = Path(tempfile.mkdtemp(prefix="retrodict-soak-"))
    prepare(folder)
    result = soak(folder, seconds)
    shutil.rmtree(folder)
    print(result)
    flat = result.memory_bytes[1] < 1.05 * result.memory_bytes[0] + 5e6 and result.handles[1] <= result.handles[0] + 2
    sys.exit(0 if flat and not result.findings else 1)


if __name__ == "__main__":
    main()
