"""Streams under several writers, kill -9, and any order of what can be done, against a plain list."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.streams.conftest import AGENT, open_at

from retrodict.actions import stream_append, stream_read, streams
from retrodict.actions.init import init
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.streams import RecordError
from retrodict.workspace import close

WRITER = """\
import io, sys
from pathlib import Path
from tests.streams.conftest import append, open_at
name = sys.argv[2]
with open_at(Path(sys.argv[1])) as workspace:
    for i in range(int(sys.argv[3])):
        size = 1 + i % 3 if i % 7 else 4000
        done = append(workspace, "s", b"".join(b'["%s",%d,%d]\\n' % (name.encode(), i, j) for j in range(size)))
        print(name, i, done.start, done.stop, flush=True)
"""


def writer(root: Path, name: str, count: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", WRITER, str(root), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_nothing_acknowledged_is_lost_when_writers_are_killed(root: Path) -> None:
    with open_at(root) as workspace:
        streams.create(workspace, "s")
    writers = [writer(root, name, 40) for name in "abc"]
    victim = writer(root, "k", 10_000)
    assert victim.stdout is not None
    told = [victim.stdout.readline() for _ in range(10)]
    victim.send_signal(signal.SIGKILL)
    told += victim.stdout.readlines()
    victim.wait()
    for process in writers:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        told += out.splitlines()
    with open_at(root) as workspace:
        values = stream_read.values(stream_read.read(workspace, "s"))
        streams.check(workspace, "s")
        assert verify(workspace).answer != "no"
    taken: set[int] = set()
    for line in told:
        name, i, start, stop = line.split()
        assert values[int(start) : int(stop)] == [[name, int(i), j] for j in range(int(stop) - int(start))]
        assert taken.isdisjoint(range(int(start), int(stop)))
        taken |= set(range(int(start), int(stop)))
    assert len([line for line in told if line[0] != "k"]) == 120


def test_follow_gives_what_is_appended_and_moves_its_consumer(newcomer: dict[str, str], tmp_path: Path) -> None:
    def run(*words: str, given: str | None = None) -> None:
        subprocess.run(
            ["retrodict", *words], cwd=tmp_path, env=newcomer, input=given, text=True, check=True, capture_output=True
        )

    run("init")
    run("stream", "create", "s")
    run("stream", "append", "s", "-", given='{"i":0}\n')
    with subprocess.Popen(
        ["retrodict", "stream", "read", "s", "--follow", "--consumer", "c"],
        cwd=tmp_path,
        env=newcomer,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == '{"i":0}\n'
        run("stream", "append", "s", "-", given='{"i":1}\n{"i":2}\n')
        assert [following.stdout.readline() for _ in range(2)] == ['{"i":1}\n', '{"i":2}\n']
        following.send_signal(signal.SIGINT)
        following.wait(timeout=30)
    done = subprocess.run(
        ["retrodict", "stream", "read", "s"], cwd=tmp_path, env=newcomer, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 3


def test_what_comes_through_a_pipe_is_acknowledged_while_it_stays_open(
    newcomer: dict[str, str], tmp_path: Path
) -> None:
    for words in (["init"], ["stream", "create", "s"]):
        subprocess.run(["retrodict", *words], cwd=tmp_path, env=newcomer, check=True, capture_output=True)
    with subprocess.Popen(
        ["retrodict", "stream", "append", "s", "-"],
        cwd=tmp_path,
        env=newcomer,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as appending:
        assert appending.stdin is not None
        assert appending.stdout is not None
        for i in range(2):
            appending.stdin.write(f'{{"i":{i}}}\n')
            appending.stdin.flush()
            assert select.select([appending.stdout], [], [], 60)[0]
            assert appending.stdout.readline().startswith(f"s@{i + 1} ")
        appending.kill()
    done = subprocess.run(
        ["retrodict", "stream", "read", "s"], cwd=tmp_path, env=newcomer, capture_output=True, text=True, check=True
    )
    assert done.stdout == '{"i":0}\n{"i":1}\n'


class Streams(RuleBasedStateMachine):
    """A stream against a list."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "project"
        init(self.root, self.root.parent / "state", SystemClock(), agent=AGENT)
        self.workspace = open_at(self.root)
        streams.create(self.workspace, "s")
        self.values: list[object] = []
        self.digests = {0: streams.digest(self.workspace, "s@0").digest}
        self.positions: dict[str, int] = {}

    @rule(size=st.one_of(st.integers(0, 5), st.sampled_from([1023, 1024, 1025, 2100])))
    def append(self, size: int) -> None:
        new = [[len(self.values) + i] for i in range(size)]
        text = b"".join(json.dumps(value).encode() + b"\n" for value in new)
        done = stream_append.append(self.workspace, "s", io.BytesIO(text))
        self.values += new
        assert (done.start, done.stop) == (len(self.values) - size, len(self.values))
        assert self.digests.setdefault(done.stop, done.digest) == done.digest

    @rule(size=st.integers(1, 5))
    def append_that_fails(self, size: int) -> None:
        text = b"1\n" * size + b"{\n"
        with pytest.raises(RecordError):
            stream_append.append(self.workspace, "s", io.BytesIO(text))

    @rule(a=st.integers(-10, 5000), b=st.integers(-10, 5000))
    def read(self, a: int, b: int) -> None:
        size = len(self.values)
        if -size <= a <= size and -size <= b <= size and a % (size + 1 if a < 0 else 1 << 60) <= size:
            expected = self.values[a:b]
            if expected or (a if a >= 0 else size + a) <= (b if b >= 0 else size + b):
                assert stream_read.values(stream_read.read(self.workspace, f"s@{a}:{b}")) == expected

    @rule(at_least=st.sampled_from([2, 3, 1000, 100_000]))
    def compact(self, at_least: int) -> None:
        stream_append.compact(self.workspace, "s", at_least=at_least)

    @rule(consumer=st.sampled_from("ab"), share=st.floats(0, 1))
    def consume(self, consumer: str, share: float) -> None:
        offset = int(len(self.values) * share)
        streams.position(self.workspace, "s", consumer, offset=offset)
        self.positions[consumer] = offset

    @rule()
    def crash(self) -> None:
        """Open it anew from what is on the disk, as after a kill; the views are lost."""
        close(self.workspace)
        for path in self.workspace.folder.glob("views.db*"):
            path.unlink()
        self.workspace = open_at(self.root)

    @rule(share=st.floats(0, 1))
    def look_at_an_old_version(self, share: float) -> None:
        size = sorted(self.digests)[int(share * (len(self.digests) - 1))]
        assert streams.digest(self.workspace, f"s@{size}").digest == self.digests[size]

    @invariant()
    def everything_is_there(self) -> None:
        if hasattr(self, "workspace"):
            assert streams.list_streams(self.workspace).rows[0].records == len(self.values)
            for consumer, offset in self.positions.items():
                assert streams.position(self.workspace, "s", consumer).offset == offset

    def teardown(self) -> None:
        if hasattr(self, "workspace"):
            assert stream_read.values(stream_read.read(self.workspace, "s")) == self.values
            assert streams.check(self.workspace, "s").digest == self.digests[len(self.values)]
            close(self.workspace)
            self.folder.cleanup()


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=6, stateful_step_count=15, deadline=None)
