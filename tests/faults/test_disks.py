"""Real disks that fail under real commands: full, read-only, EIO at a chosen system call (strace), a clock set back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from retrodict.actions.add import add
from retrodict.actions.init import init
from retrodict.actions.open import open_workspace
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.note import decode_checkpoint
from retrodict.testing.clock import START_NS, FixedClock
from retrodict.testing.workbench import AGENT, make_workspace, reopen
from retrodict.workspace import publish


def variables(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "RETRODICT_STATE": str(folder / "state"),
        "RETRODICT_AGENT": AGENT,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def retrodict(folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, "retrodict", "-C", str(folder / "project"), *arguments]
    return subprocess.run(command, env=variables(folder), capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    with make_workspace(tmp_path) as workspace:
        (workspace.root / "data.csv").write_text("a,b\n1,2\n")
        add(workspace, [workspace.root / "data.csv"])
    return tmp_path


def good(folder: Path, entries: int) -> int:
    """Verify, and return how many entries there are: at least `entries`."""
    with reopen(folder) as workspace:
        found = verify(workspace)
        assert [f for f in found.findings if f.level in ("altered", "missing")] == []
        assert found.entries >= entries
        return found.entries


@pytest.mark.strace
@pytest.mark.parametrize(
    ("call", "number"),
    [
        *(("fsync", n) for n in (1, 2, 3, 4)),
        *(("pwrite64", n) for n in (1, 3, 8)),
        ("write", 1),
        *(("rename", n) for n in (1, 2)),
        ("ftruncate", 1),
    ],
)
def test_eio_at_a_system_call_is_told_and_loses_nothing(project: Path, call: str, number: int) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    before = good(project, 1)
    (project / "project" / "new.csv").write_text(f"{call} {number}\n")
    # Only files below the project and the keys: writing to a terminal or a pipe is not what is to fail.
    paths = [f"--trace-path={path}" for path in _files(project)]
    strace = ("strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={number}")
    traced = (*strace, *paths) if call == "write" else strace
    done = retrodict(project, "add", "new.csv", before=traced)
    assert done.returncode in ((0, 2) if call == "write" else (2,)), done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    after = good(project, before)
    if done.returncode == 0:
        assert after > before
    again = retrodict(project, "add", "new.csv")
    assert again.returncode == 0, again.stderr


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".db", ".key")]


def _mounted(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script where mounts are private."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    command = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", "-ec", script]
    done = subprocess.run(command, env=variables(folder), capture_output=True, text=True, timeout=200, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr}")
    return done


def test_a_disk_that_fills_up_loses_nothing_and_reads_go_on(project: Path) -> None:
    before = good(project, 1)
    script = f"""
    cp -a {project}/project {project}/kept
    mount -t tmpfs -o size=1200k none {project}/project
    cp -a {project}/kept/. {project}/project/
    cd {project}/project
    for n in 1 2 3 4 5 6 7 8 9 10 11 12; do
      head -c 200000 /dev/urandom > {project}/big-$n
      retrodict add {project}/big-$n --name big-$n >> {project}/out 2>> {project}/err || echo failed $? >> {project}/out
    done
    retrodict log --json > {project}/log
    retrodict verify >> {project}/out || true
    cp -a .retrodict {project}/saved
    """
    done = _mounted(script, project)
    assert done.returncode == 0, done.stderr
    out, err = (project / "out").read_text(), (project / "err").read_text()
    assert "failed 2" in out
    assert "Traceback" not in err
    assert "unexpected" not in err
    acknowledged = out.count("stored)")
    shutil.rmtree(project / "project" / ".retrodict")
    shutil.copytree(project / "saved", project / "project" / ".retrodict")
    good(project, before + acknowledged)
    assert retrodict(project, "add", str(project / "big-12"), "--name", "at-last").returncode == 0


def test_a_disk_that_turns_read_only_is_told_and_read(project: Path) -> None:
    script = f"""
    mount --bind {project} {project}
    mount -o remount,bind,ro {project}
    cd {project}/project
    retrodict log > /dev/null
    retrodict verify > /dev/null
    retrodict add data.csv --name other && exit 9
    exit 0
    """
    done = _mounted(script, project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "read-only" in done.stderr


def test_a_clock_that_is_set_back_breaks_no_order(tmp_path: Path) -> None:
    clock = FixedClock()
    init(tmp_path / "project", tmp_path / "state", clock, agent=AGENT)
    path = tmp_path / "project" / "data.csv"
    for number, now_ns in enumerate((START_NS, START_NS - 10**18, START_NS + 10**15, 0, START_NS)):
        clock.set(now_ns)
        path.write_text(str(number))
        with open_workspace(tmp_path / "project", tmp_path / "state", clock, agent=AGENT) as workspace:
            add(workspace, [path])
    with open_workspace(tmp_path / "project", tmp_path / "state", clock, agent=AGENT) as workspace:
        entries = list(workspace.ledger.read())
        ticks = [entry.event.tick for entry in entries]
        assert ticks == sorted(set(ticks))
        times = [entry.event.at for entry in entries]
        assert times != sorted(times)  # what the clock said is kept as it was
        assert verify(workspace).answer == "yes"
        database = workspace.views.database()
        versions = database.execute("SELECT version, is_current FROM datasets_versions ORDER BY version").fetchall()
        assert versions == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 1)]


PUBLISH = """
import sys
from pathlib import Path
from retrodict.actions.add import add
from retrodict.testing.workbench import reopen
from retrodict.workspace import publish

for number in range(12):
    with reopen(Path(sys.argv[1])) as workspace:
        path = workspace.root / f"{sys.argv[2]}.csv"
        path.write_text(str(number))
        add(workspace, [path])
        publish(workspace)
        print(workspace.ledger.checkpoint().decode().split(chr(10))[1], flush=True)
"""


def test_processes_that_publish_at_once_make_one_history(project: Path) -> None:
    command = [sys.executable, "-c", PUBLISH, str(project)]
    writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("a", "b", "c")]
    told = [writer.communicate(timeout=200)[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    with reopen(project) as workspace:
        assert workspace.state is not None
        shown, kept = workspace.ledger.checkpoint(), workspace.state.checkpoint()
        assert shown is not None
        assert shown == kept
        size = decode_checkpoint(shown).size
        assert size == workspace.ledger.size()
        assert max(int(line) for lines in told for line in lines) <= size
        assert all(len(lines) == 12 for lines in told)
        assert verify(workspace).answer == "yes"


def test_threads_that_publish_at_once_make_one_history(project: Path) -> None:
    with reopen(project) as workspace:

        def work(number: int) -> None:
            path = project / "project" / f"{number}.csv"
            path.write_text(str(number))
            add(workspace, [path])
            publish(workspace)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert verify(workspace).answer == "yes"
    assert SystemClock().now_ns() > 0
