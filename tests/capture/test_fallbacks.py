"""Where seccomp is not to be had, the record says what saw the run instead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from retrodict.capture import strace as strace_mode

SCRIPT = """
import os, sqlite3, subprocess, sys
sys.path.insert(0, "lib")
from helper import shout
text = open("a.txt").read()
with open("b.txt", "w") as out:
    out.write(shout(text))
os.rename("b.txt", "c.txt")
open("gone.txt", "w").write("x")
os.remove("gone.txt")
db = sqlite3.connect("d.db")
db.execute("SELECT * FROM t").fetchall()
sys.exit(4)
"""


def prepare(project: Any) -> None:
    import sqlite3

    project.write("script.py", SCRIPT)
    project.write("lib/helper.py", "def shout(text):\n    return text.upper()\n")
    project.write("a.txt", "content")
    db = sqlite3.connect(project.root / "d.db")
    db.execute("CREATE TABLE t (x)")
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("mode", "grade"), [("seccomp", "os-trace"), ("strace", "os-trace"), ("audit-hook", "in-process")]
)
def test_every_mode_sees_a_plain_script_the_same(
    project: Any, mode: str, grade: str, request: pytest.FixtureRequest, capfd: Any
) -> None:
    if mode != "audit-hook":
        request.getfixturevalue(mode)
    prepare(project)
    got: list[bytes] = []
    capture = project.run(sys.executable, "script.py", mode=mode, output=lambda fd, data: got.append(data))
    assert (capture.exit_code, capture.mode, capture.completeness) == (4, mode, grade)
    assert project.names(a for a in capture.inputs if not a.is_code) == {"a.txt", "d.db"}
    assert project.names(a for a in capture.inputs if a.is_code) == {"script.py", "lib/helper.py"}
    inherited = {i.target for i in capture.inherited}
    assert project.names(a for a in capture.outputs if a.path not in inherited) == {"c.txt"}
    assert {"b.txt", "gone.txt"} <= project.names(capture.temporary)
    assert any(b"python" in p.path for p in capture.programs)


@pytest.mark.parametrize("mode", ["strace", "audit-hook"])
def test_what_cannot_be_held_is_lost_and_said(project: Any, mode: str, request: pytest.FixtureRequest) -> None:
    if mode == "strace":
        request.getfixturevalue(mode)
    project.write("a.txt", "old")
    capture = project.python("open('a.txt').read(); open('a.txt', 'w').write('new content')", mode=mode)
    (access,) = capture.inputs
    assert access.lost
    assert any("lost" in w for w in capture.warnings)


def test_strace_knows_an_input_that_was_deleted(project: Any, strace: None) -> None:
    project.write("a.txt", "old")
    capture = project.shell("cat a.txt > b.txt; rm a.txt; echo x > c.txt; cat c.txt; rm c.txt", mode="strace")
    (access,) = capture.inputs
    assert project.names([access]) == {"a.txt"}
    assert access.lost


def test_strace_sees_every_process_and_odd_names(project: Any, strace: None) -> None:
    import os

    with open(os.fsencode(project.root) + b'/\xff ".csv', "w") as file:
        file.write("x")
    project.write("sub/b.txt")
    capture = project.shell("cat *.csv > out; (cd sub; cp b.txt c.txt; mv c.txt ../d.txt); ln out hard", mode="strace")
    assert [a.path for a in capture.inputs][1:] == [os.fsencode(project.root) + b'/\xff ".csv']
    assert project.names(capture.inputs[:1]) == {"sub/b.txt"}
    inherited = {i.target for i in capture.inherited}
    assert project.names(a for a in capture.outputs if a.path not in inherited) == {"out", "d.txt", "hard"}


def test_the_audit_hook_keeps_the_sites_own_customization(project: Any) -> None:
    project.write("site/sitecustomize.py", "import os\nopen('customized.txt', 'w').write('yes')\n")
    capture = project.python(
        "import sys; assert 'sitecustomize' in sys.modules",
        mode="audit-hook",
        variables={"PYTHONPATH": str(project.root / "site")},
    )
    assert capture.exit_code == 0
    assert (project.root / "customized.txt").read_text() == "yes"


def test_the_audit_hook_says_when_it_saw_nothing(project: Any) -> None:
    project.write("a.txt")
    capture = project.run("cat", "a.txt", mode="audit-hook")
    assert capture.exit_code == 0
    assert capture.inputs == ()
    assert any("nothing was seen" in w for w in capture.warnings)


def test_unfinished_and_failed_calls_in_a_trace(tmp_path: Path) -> None:
    folder = str(tmp_path).encode()
    base = b"".join(b"\\x%02x" % c for c in folder)
    name = b"".join(b"\\x%02x" % c for c in b"a.txt")
    opened = b"".join(b"\\x%02x" % c for c in folder + b"/a.txt")
    lines = [
        b'10 1.000001 openat(AT_FDCWD<%b>, "%b", O_RDONLY|O_CLOEXEC <unfinished ...>' % (base, name),
        b"11 1.000002 +++ exited with 0 +++",
        b"10 1.000003 <... openat resumed>) = 3<%b>" % opened,
        b'10 1.000004 openat(AT_FDCWD<%b>, "%b", O_RDONLY) = -1 ENOENT (No such file or directory)' % (base, name),
        b'10 1.000005 openat(AT_FDCWD<%b>, "cut off',
    ]
    records = list(strace_mode.read_trace(lines, folder))
    assert [r[0] for r in records] == ["P", "P", "Q", "o"]
    assert records[-1][4] == folder + b"/a.txt"
    assert records[-1][1] == 1_000_003_000
