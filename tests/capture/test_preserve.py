"""Nothing that a run read is overwritten without being held first."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("seccomp")

REWRITES = {
    "in place": "f = open('data.csv', 'r+'); f.read(); f.seek(0); f.write('NEW'); f.truncate()",
    "read, then truncated": "t = open('data.csv').read(); open('data.csv', 'w').write('NEW')",
    "read, then replaced": "open('data.csv').read(); open('t', 'w').write('NEW'); import os; "
    "os.replace('t', 'data.csv')",
    "read, then deleted and made anew": "open('data.csv').read(); import os; os.remove('data.csv'); "
    "open('data.csv', 'w').write('NEW')",
    "appended, then read": "open('data.csv', 'a').write('NEW'); open('data.csv').read()",
    "by memory map": "import mmap; f = open('data.csv', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[:]; "
    "m[:3] = b'NEW'; m.flush()",
    "truncated by name": "open('data.csv').read(); import os; os.truncate('data.csv', 1)",
    "moved away, and written there": "import os; os.rename('data.csv', 'b.csv'); open('b.csv', 'r+').write('NEW'); "
    "open('data.csv', 'w').write('NEW')",
    "through a hard link": "import os; os.link('data.csv', 'b.csv'); open('data.csv').read(); "
    "open('b.csv', 'w').write('N')",
    "by another program": "open('data.csv').read(); import subprocess; "
    "subprocess.run(['sh', '-c', 'echo NEW > data.csv'], check=True)",
}


@pytest.mark.parametrize("how", REWRITES)
def test_an_input_that_is_overwritten_keeps_its_bytes(project: Any, how: str) -> None:
    old = "x,y\n1,2\n" * 5000
    project.write("data.csv", old)
    capture = project.python(REWRITES[how])
    assert capture.exit_code == 0
    (access,) = capture.inputs
    assert project.names([access]) == {"data.csv"}
    assert not access.lost
    assert access.preserved is not None
    assert Path(access.preserved).read_text() == old
    assert "data.csv" in project.names(capture.outputs)
    assert (project.root / "data.csv").read_text() != old


def test_on_a_file_system_in_memory_too_where_times_stand_still(project: Any) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "data.csv")
        path.write_text("x,y\n1,2\n" * 5000)
        os.symlink(path, project.root / "data.csv")
        capture = project.python(REWRITES["by memory map"])
        (access,) = [access for access in capture.inputs if os.fsdecode(access.path) == str(path)]
        assert Path(access.preserved).read_text() == "x,y\n1,2\n" * 5000
        assert str(path).encode() in [output.path for output in capture.outputs]


def test_the_original_is_that_of_the_start_not_of_a_later_write(project: Any) -> None:
    project.write("data.csv", "first")
    capture = project.shell("cat data.csv; echo second > data.csv; cat data.csv; echo third >> data.csv")
    (access,) = capture.inputs
    assert Path(access.preserved).read_text() == "first"


def test_what_the_run_made_itself_is_not_held(project: Any) -> None:
    project.shell("echo 1 > a; sleep 0.02; cat a; echo 2 > a; cat a; rm a; echo 3 > b; cat b; echo 4 > c; mv c b")
    assert len(list(project.held.iterdir())) <= 1  # made in the very tick in which the run began


def test_what_was_never_read_is_not_held(project: Any) -> None:
    project.write("old-output.bin", b"x" * 100_000)
    project.shell("echo new > old-output.bin; rm old-output.bin")
    assert list(project.held.iterdir()) == []


def test_a_change_of_mode_does_not_hide_an_original(project: Any) -> None:
    project.write("data.csv", "old").chmod(0o444)
    capture = project.shell("cat data.csv; chmod 644 data.csv; echo new > data.csv")
    (access,) = capture.inputs
    assert Path(access.preserved).read_text() == "old"


def test_beyond_the_limit_the_input_is_lost_and_said(project: Any) -> None:
    project.write("data.bin", b"x" * 100_000)
    capture = project.python("f = open('data.bin', 'r+'); f.read(); f.write('y')", preserve_limit_bytes=50_000)
    (access,) = capture.inputs
    if access.preserved:
        pytest.skip("this file system clones, which costs nothing and has no limit")
    assert access.lost
    assert any("data.bin" in w and "larger" in w for w in capture.warnings)
    assert list(project.held.iterdir()) == []


def test_without_a_place_to_hold_it_the_input_is_lost_and_said(project: Any) -> None:
    project.write("data.csv", "old")
    capture = project.shell("cat data.csv; echo new > data.csv", preserve_to=None)
    assert capture.inputs[0].lost
    assert any("data.csv" in w for w in capture.warnings)


def test_an_input_that_is_read_and_only_appended_to_elsewhere_is_untouched(project: Any) -> None:
    project.write("data.csv", "old")
    capture = project.shell("cat data.csv >> log.txt")
    (access,) = capture.inputs
    assert (access.preserved, access.lost) == (None, False)


def test_a_large_original_is_copied_while_the_command_waits(project: Any) -> None:
    path = project.root / "big.bin"
    with open(path, "wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    before = path.read_bytes()
    capture = project.python("f = open('big.bin', 'r+b'); f.seek(1000); f.write(b'new')")
    (access,) = capture.inputs
    assert Path(access.preserved).read_bytes() == before
    assert capture.exit_code == 0
    assert not any("guard" in w for w in capture.warnings)
