"""A process of a run is told what the run has read so far: all that was opened before it asked."""

from __future__ import annotations

import sys

from retrodict.capture import Reads

from .conftest import Project

ASK = """
import os, subprocess
from retrodict.capture import Reads
reads = Reads()
first = {os.path.basename(read.path): read for read in reads.ask()}
assert b"python" in b" ".join(first) and b"stdin.txt" in first, first
assert not list(reads.ask())
for i in range(40):
    if i % 2:
        open(f"{i}.txt").read()
    else:
        subprocess.run(["cat", f"{i}.txt"], stdout=subprocess.PIPE)
    found = {os.path.basename(read.path): read for read in reads.ask()}
    assert f"{i}.txt".encode() in found, (i, found)
    assert found[f"{i}.txt".encode()].found.size == 7
before = found[b"39.txt"].found
open("39.txt", "w").write("another")
open("new.txt", "w").write("x")
assert b"new.txt" not in {os.path.basename(read.path) for read in reads.ask()}
assert open(reads.kept[before.content], "rb").read() == b"content"
os.rename("38.txt", "moved.txt")
os.link("37.txt", "linked.txt")
assert {os.path.basename(read.path) for read in reads.ask()} >= {b"38.txt", b"37.txt"}
assert not reads.is_blind
reads.again()
assert len({read.path for read in reads.ask()}) > 40
print("asked")
"""


def test_whatever_was_opened_before_the_question_is_in_the_answer(project: Project) -> None:
    for i in range(40):
        project.write(f"{i}.txt", "content")
    project.write("stdin.txt")
    project.write("ask.py", ASK)
    printed: list[bytes] = []
    seen = project.shell(f"exec {sys.executable} ask.py < stdin.txt", output=lambda _, data: printed.append(data))
    assert (seen.exit_code, b"".join(printed)) == (0, b"asked\n")


def test_outside_of_a_run_nobody_answers() -> None:
    assert Reads().ask() is None
