"""The command behaves as it would alone, whatever happens to those who watch it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import retrodict
from retrodict.capture import SPOOL_NAME, CaptureUnavailableError, NoCommandError, recover, supervise

pytestmark = pytest.mark.usefixtures("seccomp")

OUTER = """
import json, os, sys
from pathlib import Path
from retrodict.capture import supervise
held = os.environ.get("HELD")
c = supervise(sys.argv[2:], cwd=Path.cwd(), environment=os.environ, preserve_to=Path(held) if held else None,
              output=(lambda fd, data: None) if os.environ.get("TEE") else None, mode="seccomp")
Path(sys.argv[1]).write_text(json.dumps(c.as_json()))
sys.exit(c.exit_code)
"""
# Opens ten files a step, for three seconds, and says how far it came.
BUSY = """
import os, sys, time
end, n = time.time() + float(sys.argv[1]), 0
while time.time() < end:
    for i in range(10):
        open(f"in{i}.txt").read()
    with open(f"out{n % 50}.txt", "w") as f:
        f.write("x")
    os.replace(f"out{n % 50}.txt", f"kept{n % 50}.txt")
    n += 1
open("done.txt", "w").write(str(n))
"""


def outer(project: Any, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a recorder of its own, so that it can be killed."""
    script = project.root.parent / "outer.py"
    script.write_text(OUTER)
    variables = os.environ | options.pop("variables", {})
    record = str(project.root.parent / "record.json")
    return subprocess.Popen([sys.executable, script, record, *argv], cwd=project.root, env=variables, **options)


def record_of(project: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.root.parent / "record.json").read_text())
    return found


def until(claim: Any, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def parents(*, zombies: bool = False) -> dict[int, tuple[int, str]]:
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{entry}/stat").read_text()
            name, _, rest = text.partition("(")[2].rpartition(") ")
            if rest[0] == "Z" and not zombies:
                continue
            found[int(entry)] = (int(rest.split()[1]), name)
    return found


def guards_of(recorder: int) -> list[int]:
    """The guards of a recorder, parent first: at the start that is the keeper, later the worker."""
    tree = parents()
    found: list[int] = []
    layer = {recorder}
    while layer:
        layer = {p for p, (parent, name) in tree.items() if parent in layer and name == "rd-guard"}
        found += sorted(layer)
    return found


def test_exit_codes_pass_through(project: Any) -> None:
    assert project.shell("exit 7").exit_code == 7
    assert project.shell("kill -9 $$").exit_code == 128 + 9
    assert project.shell("kill -TERM $$").exit_code == 128 + 15


def test_a_program_that_fails_is_recorded_too(project: Any) -> None:
    project.write("a.txt")
    capture = project.shell("cat a.txt > b.txt; kill -SEGV $$")
    assert capture.exit_code == 128 + 11
    assert "b.txt" in project.names(capture.outputs)


def test_a_program_that_is_not_there_answers_as_a_shell_would(project: Any, capfd: Any) -> None:
    project.write("not-executable")
    assert project.run("no-such-program-anywhere").exit_code == 127
    assert project.run("./not-executable").exit_code == 126
    assert "no-such-program-anywhere" in capfd.readouterr().err


def test_nothing_to_run_is_refused_in_one_line(project: Any) -> None:
    with pytest.raises(NoCommandError, match="no command"):
        project.run()
    with pytest.raises(NoCommandError, match="no folder"):
        project.run("true", cwd=project.root / "missing")


def test_the_command_gets_exactly_its_environment_folder_and_descriptors(project: Any) -> None:
    code = "import os, json; json.dump([dict(os.environ), os.getcwd(), sorted(os.listdir('/proc/self/fd')), "
    code += "os.getpgrp() == os.getpgid(os.getppid()) or os.getsid(0)], open('told.json', 'w'))"
    variables = {"PATH": os.defpath, "ONLY": "this", "LC_ALL": "C.UTF-8"}
    supervise([sys.executable, "-c", code], cwd=project.root, environment=variables, mode="seccomp")
    environment, folder, descriptors, session = json.loads((project.root / "told.json").read_text())
    assert environment == variables
    assert folder == str(project.root)
    alone = subprocess.run(
        [sys.executable, "-c", "import os; print(len(os.listdir('/proc/self/fd')))"],
        capture_output=True,
        close_fds=False,
        check=True,
    )
    assert len(descriptors) <= int(alone.stdout) + 1
    assert session == os.getsid(0) or session is True


def test_output_is_passed_on_as_it_comes_and_copied(project: Any, capfd: Any) -> None:
    got: list[tuple[int, bytes]] = []
    project.shell("echo one; echo two >&2; printf three", output=lambda fd, data: got.append((fd, data)))
    assert b"".join(d for fd, d in got if fd == 1) == b"one\nthree"
    assert b"".join(d for fd, d in got if fd == 2) == b"two\n"
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("one\nthree", "two\n")


def test_a_large_output_is_copied_whole(project: Any, capfd: Any) -> None:
    got: list[bytes] = []
    project.python("import sys; sys.stdout.write('x' * 3_000_000)", output=lambda fd, data: got.append(data))
    assert sum(map(len, got)) == 3_000_000
    assert len(capfd.readouterr().out) == 3_000_000


def test_a_reader_that_goes_away_ends_the_command_as_a_pipe_does(project: Any) -> None:
    process = outer(project, "yes", stdout=subprocess.PIPE, variables={"TEE": "1"})
    assert process.stdout is not None
    assert process.stdout.read(2) == b"y\n"
    process.stdout.close()
    assert process.wait(20) == 128 + signal.SIGPIPE


@contextlib.contextmanager
def terminal(project: Any, *argv: str, tee: bool) -> Iterator[tuple[int, int]]:
    script = project.root.parent / "outer.py"
    script.write_text(OUTER)
    child, master = pty.fork()
    if child == 0:
        os.chdir(project.root)
        environment = os.environ | ({"TEE": "1"} if tee else {})
        os.execve(
            sys.executable, [sys.executable, str(script), str(project.root.parent / "record.json"), *argv], environment
        )
    try:
        yield child, master
    finally:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(master)


def read_until(master: int, text: bytes) -> bytes:
    seen = b""
    end = time.monotonic() + 20
    while text not in seen:
        assert time.monotonic() < end, seen
        if select.select([master], [], [], 0.5)[0]:
            try:
                seen += os.read(master, 4096)
            except OSError:
                break
    return seen


@pytest.mark.parametrize("tee", [False, True])
def test_a_terminal_stays_a_terminal(project: Any, tee: bool) -> None:
    code = "import os, sys; print(os.isatty(0), os.isatty(1), os.isatty(2), os.get_terminal_size(1).columns > 0 or 1)"
    with terminal(project, sys.executable, "-c", code, tee=tee) as (_, master):
        assert b"True True True True\r\n" in read_until(master, b"\n").replace(b"1\r\n", b"True\r\n")


@pytest.mark.parametrize("tee", [False, True])
def test_ctrl_c_reaches_the_command_once_and_the_record_is_made(project: Any, tee: bool) -> None:
    code = "import signal, time\nn = []\nsignal.signal(2, lambda *_: n.append(1))\nprint('ready', flush=True)\n"
    code += "end = time.time() + 20\nwhile not n and time.time() < end: time.sleep(0.05)\n"
    code += "time.sleep(0.5)\nopen('count.txt', 'w').write(str(len(n)))\nraise SystemExit(5)"
    with terminal(project, sys.executable, "-c", code, tee=tee) as (child, master):
        read_until(master, b"ready")
        os.write(master, b"\x03")
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 5
    assert (project.root / "count.txt").read_text() == "1"
    assert record_of(project)["exit_code"] == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_recorder_goes_to_the_command(project: Any, number: int) -> None:
    process = outer(project, "sh", "-c", "echo ready; exec sleep 30", stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    process.stdout.close()
    assert record_of(project)["exit_code"] == 128 + number


def test_a_signal_that_is_ignored_stays_ignored(project: Any) -> None:
    code = "import signal; open('told.txt', 'w').write(str(signal.getsignal(signal.SIGHUP)))"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        project.python(code)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "SIG_IGN" in (project.root / "told.txt").read_text() or (project.root / "told.txt").read_text() == "1"


def busy(project: Any, seconds: float = 2.0, **options: Any) -> subprocess.Popen[bytes]:
    for i in range(10):
        project.write(f"in{i}.txt", str(i))
    project.held.mkdir()
    variables = {"HELD": str(project.held), "PYTHONDONTWRITEBYTECODE": "1"} | options.pop("variables", {})
    process = outer(project, sys.executable, "-c", BUSY, str(seconds), variables=variables, **options)
    until(lambda: (project.root / "kept3.txt").exists())
    return process


def test_a_recorder_that_is_killed_leaves_the_command_right_and_the_record_whole(project: Any) -> None:
    process = busy(project, variables={"TEE": "1"})
    process.kill()
    process.wait()
    spool = project.held / SPOOL_NAME
    assert recover(spool, project=project.root, environment=os.environ) is None, "the command still runs"
    until(lambda: (project.root / "done.txt").exists())
    capture = None
    end = time.monotonic() + 10
    while capture is None:
        assert time.monotonic() < end
        capture = recover(spool, project=project.root, environment=os.environ)
        time.sleep(0.05)
    assert not any("not complete" in warning for warning in capture.warnings)
    assert capture.exit_code == 0
    assert project.names(a for a in capture.inputs if not a.is_code) >= {f"in{i}.txt" for i in range(10)}
    assert {"done.txt", "kept0.txt", "kept49.txt"} <= project.names(capture.outputs)


@pytest.mark.parametrize("which", ["parent", "child"])
def test_a_guard_that_is_killed_again_and_again_hangs_nobody_and_loses_nothing(project: Any, which: str) -> None:
    process = busy(project, 1.8)
    kills = 0
    for _ in range(5):
        guards = guards_of(process.pid)
        if len(guards) == 2:
            os.kill(guards[0] if which == "parent" else guards[-1], signal.SIGKILL)
            kills += 1
        time.sleep(0.2)
    assert process.wait(30) == 0
    assert kills >= 3
    record = record_of(project)
    names = {Path(str(a["path"])).name for a in record["inputs"]}
    assert names >= {f"in{i}.txt" for i in range(10)}
    assert {"done.txt", "kept0.txt", "kept49.txt"} <= {Path(str(a["path"])).name for a in record["outputs"]}
    assert (project.root / "done.txt").exists()


def test_a_guard_that_is_stopped_is_replaced(project: Any) -> None:
    process = busy(project, 3.5)
    os.kill(guards_of(process.pid)[-1], signal.SIGSTOP)
    assert process.wait(30) == 0
    assert any("guard was replaced" in w for w in record_of(project)["warnings"])


def test_both_guards_killed_hangs_nobody_and_is_said(project: Any) -> None:
    process = busy(project, 2.0)
    guards = guards_of(process.pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: else one may bear another meanwhile
        for guard in guards:
            os.kill(guard, number)
    assert process.wait(30) != 125  # the command saw its opens fail, and ended as it chose to
    assert any("not complete" in w for w in record_of(project)["warnings"])


def test_nothing_is_left_behind(project: Any) -> None:
    before = {p for p, (parent, _) in parents(zombies=True).items() if parent == os.getpid()}
    descriptors = sorted(os.listdir("/proc/self/fd"))
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)]
    for _ in range(3):
        project.shell("(true &); true | cat", output=lambda fd, data: None)
    assert {p for p, (parent, _) in parents(zombies=True).items() if parent == os.getpid()} <= before
    assert sorted(os.listdir("/proc/self/fd")) == descriptors
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)]


def test_a_process_left_in_the_background_is_waited_for_briefly_and_said(project: Any) -> None:
    begun = time.monotonic()
    capture = project.shell("(sleep 8; echo late > late.txt) & echo early > early.txt")
    assert time.monotonic() - begun < 7
    assert any("still running" in w for w in capture.warnings)
    assert "early.txt" in project.names(capture.outputs)


def test_what_ends_shortly_after_the_command_belongs_to_it(project: Any) -> None:
    capture = project.shell("(sleep 0.3; echo late > late.txt) & true")
    assert "late.txt" in project.names(capture.outputs)


NESTED = """
import json, os, sys
from pathlib import Path
from retrodict.capture import supervise
Path("held").mkdir(exist_ok=True)
seen = []
c = supervise(["sh", "-c", sys.argv[1]], cwd=Path.cwd(), environment=os.environ, preserve_to=Path("held"),
              mode="seccomp", output=(lambda fd, data: seen.append(data)) if "tee" in sys.argv else None)
Path("inner.json").write_text(json.dumps(c.as_json()))
sys.exit(c.exit_code)
"""


@pytest.mark.parametrize("tee", ["", "tee"])
def test_a_run_inside_a_run_sees_its_own_part_and_the_outer_sees_all(project: Any, tee: str) -> None:
    project.write("a.txt")
    project.write("b.txt")
    project.write("nested.py", NESTED)
    command = (
        f"cat a.txt > c.txt; {sys.executable} nested.py 'cat b.txt c.txt > d.txt; exit 3' {tee}; echo $? > code.txt"
    )
    capture = project.shell(command)
    inner = json.loads((project.root / "inner.json").read_text())
    assert {Path(a["path"]).name for a in inner["inputs"]} == {"b.txt", "c.txt"}
    assert {Path(a["path"]).name for a in inner["outputs"]} - {"stdout", "stderr"} == {"d.txt"}
    assert inner["exit_code"] == 3
    assert (project.root / "code.txt").read_text() == "3\n"
    assert {"a.txt", "b.txt"} <= project.names(capture.inputs)
    assert {"c.txt", "d.txt", "code.txt"} <= project.names(capture.outputs)
    assert "c.txt" not in project.names(capture.inputs)


def test_an_inner_run_keeps_what_the_outer_run_made_and_it_overwrites(project: Any) -> None:
    project.write("nested.py", NESTED)
    command = f"echo made > c.txt; {sys.executable} nested.py 'cat c.txt; echo other > c.txt'"
    project.shell(command)
    inner = json.loads((project.root / "inner.json").read_text())
    (access,) = inner["inputs"]
    assert not access["lost"]


def test_captures_beside_each_other_do_not_mix(project: Any, tmp_path: Path) -> None:
    project.write("a.txt")
    one = outer(project, "sh", "-c", "cat a.txt > one.txt; sleep 0.3; cat one.txt")
    capture = project.shell("cat a.txt > two.txt; sleep 0.3")
    assert one.wait(20) == 0
    assert "two.txt" not in str(record_of(project)["outputs"])
    assert "one.txt" not in project.names(capture.outputs)


def test_many_processes_at_once(project: Any) -> None:
    for i in range(60):
        project.write(f"in{i}")
    capture = project.shell("seq 0 59 | xargs -P 6 -I N cp inN outN")
    inherited = {i.target for i in capture.inherited}
    assert project.names(capture.inputs) == {f"in{i}" for i in range(60)}
    assert project.names(a for a in capture.outputs if a.path not in inherited) == {f"out{i}" for i in range(60)}
    assert capture.processes >= 63


def test_it_works_from_a_thread(project: Any) -> None:
    project.write("a.txt", "content")
    found: list[Any] = []
    got: list[bytes] = []
    thread = threading.Thread(
        target=lambda: found.append(project.shell("cat a.txt", output=lambda stream, data: got.append(data)))
    )
    thread.start()
    thread.join()
    assert project.names(found[0].inputs) == {"a.txt"}
    assert b"".join(got) == b"content"


def test_it_works_for_an_unprivileged_user(project: Any) -> None:
    python = sys.executable
    options: dict[str, Any] = {}
    source = project.root.parent / "source"  # the checkout may lie where that user cannot look
    shutil.copytree(Path(retrodict.__file__).parent, source / "retrodict")
    if os.geteuid() == 0:
        options = {"user": 65534, "group": 65534, "extra_groups": []}
        for folder in (project.root, *project.root.parents):
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:  # pytest's own are for one user only
                folder.chmod(0o711)
        project.root.chmod(0o777)
        project.root.parent.chmod(0o777)
        found = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
        usable = [python for python in found if _may_run(python, source, options)]
        if not usable:
            pytest.skip("no Python here that another user may run and that is at least 3.11")
        python = usable[0]
    project.write("a.txt", "b\n")
    project.write("secret.txt").chmod(0)
    script = project.root.parent / "outer.py"
    script.write_text(OUTER)
    command = "cat a.txt > b.txt; cat secret.txt 2>/dev/null; sort a.txt; true"
    answer = subprocess.run(
        [python, script, project.root.parent / "record.json", "sh", "-c", command],
        cwd=project.root,
        env={"PATH": os.defpath, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        **options,
    )
    assert answer.returncode == 0
    record = record_of(project)
    assert {Path(a["path"]).name for a in record["inputs"]} == {"a.txt"}
    assert "b.txt" in {Path(a["path"]).name for a in record["outputs"]}
    assert not [w for w in record["warnings"] if "could not be read" in w]


def _may_run(python: str, source: Path, options: dict[str, Any]) -> bool:
    try:
        code = "import sys, retrodict.capture; sys.exit(sys.version_info < (3, 11))"
        variables = {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([python, "-c", code], env=variables, check=False, **options).returncode == 0
    except OSError:
        return False


def test_a_mode_that_is_not_there_is_said(project: Any) -> None:
    with pytest.raises(CaptureUnavailableError, match="strace is not installed"):
        supervise(
            ["true"],
            cwd=project.root,
            environment={"PATH": "/nowhere"},
            mode="strace",
            output=lambda stream, data: None,
        )
    assert not [p for p, (parent, name) in parents(zombies=True).items() if parent == os.getpid() and name == "rd-tee"]


def test_an_exit_code_is_never_lost_to_orphans_that_end_beside_it(project: Any) -> None:
    command = "for i in 1 2 3 4 5 6 7 8 9; do (true &); done; exit 7"
    assert [project.shell(command).exit_code for _ in range(60)] == [7] * 60
