"""How the benchmarks here measure and print: CPU of a whole process tree, wall time, medians, ratios.

CPU seconds are user + system time of the command and of all its descendants that it waited for (`wait4`); they hold
on a busy machine far better than wall time does. Nothing here asserts: a person, or CI's log, compares.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What some work took: seconds of wall time and of CPU, and the largest process in bytes (0: not known)."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int = 0


def command(argv: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Spent:
    """Run a command to its end; its output goes nowhere. Bytecode is kept, as it is where retrodict is installed.

    Raises:
        RuntimeError: It failed.
    """
    env = {name: value for name, value in (env or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    with subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{argv} ended with {process.returncode}: {errors.decode(errors='replace')[-2000:]}")
    # A child begins with its parent's peak (it is a fork of it), so a smaller one of its own cannot be told.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rss = usage.ru_maxrss * 1024 if usage.ru_maxrss > own else 0
    return Spent(wall_s=wall, cpu_s=usage.ru_utime + usage.ru_stime, peak_rss_bytes=rss)


def work(function: Callable[[], object]) -> Spent:
    """Run a function in this process; CPU includes its threads and the children that it waited for."""
    before, started = _cpu(), time.perf_counter()
    function()
    return Spent(wall_s=time.perf_counter() - started, cpu_s=_cpu() - before)


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def median(runs: Sequence[Spent]) -> Spent:
    """Return the median of each figure."""
    return Spent(
        wall_s=statistics.median(run.wall_s for run in runs),
        cpu_s=statistics.median(run.cpu_s for run in runs),
        peak_rss_bytes=int(statistics.median(run.peak_rss_bytes for run in runs)),
    )


def side_by_side(
    ways: dict[str, Callable[[], Spent]], *, repetitions: int = 5, warm_up: bool = True
) -> dict[str, Spent]:
    """Run every way in turn, A B A B ..., so that a change of the machine's speed meets all of them; give medians."""
    if warm_up:
        for way in ways.values():
            way()
    runs: dict[str, list[Spent]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            runs[name].append(way())
    return {name: median(found) for name, found in runs.items()}


def title(text: str) -> None:
    """Print the name of a benchmark."""
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def table(found: dict[str, Spent], *, against: str | None = None) -> None:
    """Print medians, one line a way, with the ratio of CPU to that of `against`."""
    width = max(map(len, found))
    for name, spent in found.items():
        ratio = "" if against is None else f"   x{spent.cpu_s / max(found[against].cpu_s, 1e-9):.2f}"
        rss = f"   {spent.peak_rss_bytes / 1e6:6.0f} MB" if spent.peak_rss_bytes else ""
        print(f"{name:<{width}}   wall {spent.wall_s * 1000:9.1f} ms   cpu {spent.cpu_s * 1000:9.1f} ms{rss}{ratio}")
    sys.stdout.flush()


def figure(name: str, value: float, unit: str) -> None:
    """Print one number."""
    print(f"{name:<48} {value:12,.1f} {unit}", flush=True)


def retrodict(*arguments: str) -> list[str]:
    """Return the command line of the retrodict that is installed beside this interpreter."""
    return [str(Path(sys.executable).with_name("retrodict")), *arguments]


def settings(folder: Path) -> dict[str, str]:
    """Return an environment in which the keys lie in `folder`, and somebody acts."""
    return os.environ | {"RETRODICT_STATE": str(folder / "state"), "RETRODICT_AGENT": "benchmark"}


def fsyncs_per_second(folder: Path, *, seconds: float = 1.0) -> float:
    """Return how often one thread can append 4 KiB and fsync: what the disk below allows at all."""
    count, block = 0, b"\0" * 4096
    fd = os.open(folder / "fsync-probe", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.write(fd, block)
            os.fsync(fd)
            count += 1
    finally:
        os.close(fd)
        os.unlink(folder / "fsync-probe")
    return count / seconds
