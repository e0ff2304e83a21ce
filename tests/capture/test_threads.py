"""A run is started from a process of many threads: their locks must not be held by whoever watches the command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.capture import Capture, CaptureUnavailableError, supervise

# Garbage in cycles, whose finalizers take a lock that other threads hold most of the time, as pools, caches and loggers
# have it. A fork of such a process has the lock, held by nobody who could let go of it.
BUSY = """
import gc, logging, os, sys, threading, time
from pathlib import Path
from retrodict import capture

lock, done = threading.RLock(), threading.Event()

class Pooled:
    def __init__(self):
        self.itself = self

    def __del__(self):
        with lock:
            pass

def churn():
    while not done.is_set():
        with lock:
            garbage = [Pooled() for _ in range(20)]
            logging.getLogger("busy").debug("%d", len(garbage))
            time.sleep(0.0005)

gc.set_threshold(100)
threads = [threading.Thread(target=churn, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
here, mode, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def work():
    for number in range(times):
        printed = []
        folder = here / f"kept-{number}"
        folder.mkdir()
        seen = capture.supervise(
            ["sh", "-c", "cat read > written; echo out; echo err >&2; exit 3"],
            cwd=here, environment=dict(os.environ), preserve_to=folder, mode=mode,
            output=lambda stream, data: printed.append((stream, data)),
        )
        assert seen.exit_code == 3, seen.exit_code
        assert sorted(printed) == [(1, b"out\\n"), (2, b"err\\n")], printed
        assert seen.mode == mode or mode == "auto", seen.mode
        if mode != "audit-hook":
            assert os.fsencode(here / "read") in [access.path for access in seen.inputs], seen.inputs
            assert os.fsencode(here / "written") in [access.path for access in seen.outputs], seen.outputs

runner = threading.Thread(target=work)
runner.start()
runner.join()
done.set()
os._exit(0 if "all is done" else 1)
"""


@pytest.mark.parametrize(("mode", "times"), [("seccomp", 25), ("audit-hook", 10)])
def test_a_run_from_a_process_of_busy_threads_ends(tmp_path: Path, mode: str, times: int) -> None:
    (tmp_path / "read").write_text("read")
    command = [sys.executable, "-c", BUSY, str(tmp_path), mode, str(times)]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as process:
        try:
            _, said = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            pytest.fail("it hangs")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said.decode()


@pytest.fixture
def another_thread() -> Iterator[None]:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


def supervised(folder: Path, script: str, *, mode: str = "seccomp", keep: bool = True) -> Capture:
    kept = folder / "kept"
    kept.mkdir()
    return supervise(
        ["sh", "-c", script],
        cwd=folder,
        environment=os.environ,
        preserve_to=kept if keep else None,
        mode=mode,  # type: ignore[arg-type]
    )


SUPERVISOR = "$(ps -o ppid= -p $(ps -o ppid= -p $(ps -o ppid= -p $$)))"  # behind the two guards


@pytest.mark.usefixtures("another_thread")
def test_what_the_guards_saw_is_kept_when_the_process_that_supervises_is_killed(tmp_path: Path) -> None:
    (tmp_path / "read").write_text("read")
    seen = supervised(tmp_path, f"kill -9 {SUPERVISOR}; cat read > written; exit 4")
    assert seen.exit_code == 4
    assert os.fsencode(tmp_path / "written") in [access.path for access in seen.outputs]
    assert any("recorder was killed" in warning for warning in seen.warnings)


@pytest.mark.usefixtures("another_thread")
def test_when_the_process_that_supervises_is_killed_and_nothing_was_kept_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(CaptureUnavailableError, match="killed"):
        supervised(tmp_path, f"kill -9 {SUPERVISOR}", keep=False)


@pytest.mark.usefixtures("another_thread")
def test_a_signal_to_a_process_of_threads_reaches_the_command(tmp_path: Path) -> None:
    seen = supervised(tmp_path, f"trap 'exit 7' TERM; kill -TERM {os.getpid()}; while true; do sleep 0.05; done")
    assert seen.exit_code == 7


@pytest.mark.usefixtures("another_thread")
def test_the_command_inherits_what_it_would_inherit_from_this_process(tmp_path: Path) -> None:
    (tmp_path / "inherited").write_text("inherited")
    number = os.open(tmp_path / "inherited", os.O_RDONLY)
    hidden = os.open(tmp_path / "inherited", os.O_RDONLY)
    os.set_inheritable(number, True)
    script = f"cat /proc/self/fd/{number} > copy; ls /proc/self/fd > descriptors"
    try:
        subprocess.run(["sh", "-c", script], cwd=tmp_path, close_fds=False, check=True)
        plainly = (tmp_path / "descriptors").read_text()
        seen = supervised(tmp_path, script)
    finally:
        os.close(number)
        os.close(hidden)
    assert (tmp_path / "copy").read_text() == "inherited"
    assert (tmp_path / "descriptors").read_text() == plainly
    assert os.fsencode(tmp_path / "inherited") in {item.target for item in seen.inherited if item.descriptor == number}


@pytest.mark.usefixtures("another_thread")
def test_a_mode_that_is_not_to_be_had_is_named_by_that_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaptureUnavailableError, match="strace is not installed") as refused:
        supervised(tmp_path, "true", mode="strace")
    assert refused.value.mode == "strace"


def test_a_process_without_threads_starts_no_other_interpreter(tmp_path: Path) -> None:
    """It would cost as much as everything else that a run costs."""
    run = (
        "import sys; from retrodict.cli import main; sys.argv[1:] = ['run', '--', 'true']\n"
        "try: main()\n"
        "finally: print([name for name in ('tee', 'apart') if 'retrodict.capture.' + name in sys.modules])"
    )
    variables = {**os.environ, "RETRODICT_STATE": str(tmp_path / "state")}
    for command in (["-m", "retrodict", "init"], ["-c", run]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=variables, check=True, capture_output=True)
    assert done.stdout.endswith(b"['tee']\n"), done.stdout
