"""Tables under several writers, kill -9, and any order of what can be done, against a plain dict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.tables.conftest import AGENT, open_at

from retrodict.actions import (
    stream_append,
    stream_read,
    streams,
    table_change,
    table_compare,
    table_read,
    table_settle,
    tables,
)
from retrodict.actions.init import init
from retrodict.actions.tabling import How, Policy, table_named
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.tables import folding, upkeep
from retrodict.tables.changes import Change, ChangeSet, Source
from retrodict.tables.errors import NoSuchRecordError
from retrodict.workspace import close

HOW = How(verb="put")

WRITER = """\
import sys
from pathlib import Path
from retrodict.actions import table_change
from retrodict.actions.tabling import How
from tests.tables.conftest import open_at
name = sys.argv[2]
with open_at(Path(sys.argv[1]), name) as workspace:
    for i in range(int(sys.argv[3])):
        values = [{"id": f"{name}{i // 2}", "n": i}, {"id": "shared", "n": i}]
        done = table_change.put(workspace, "t", values, how=How(verb="put"))
        print(name, i, done.version, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_writers_are_killed(root: Path) -> None:
    with open_at(root) as workspace:
        table_change.create(workspace, "t", ["id"], types={"id": "text", "n": "int64"})
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def writer(name: str, count: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(root), name, str(count)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    writers = [writer(name, 12) for name in "ab"]
    victim = writer("k", 10_000)
    assert victim.stdout is not None
    told = [victim.stdout.readline() for _ in range(5)]
    victim.send_signal(signal.SIGKILL)
    told += victim.stdout.readlines()
    victim.wait()
    for process in writers:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        told += out.splitlines()
    with open_at(root) as workspace:
        now = {row["id"]: row["n"] for row in table_read.read(workspace, "t").to_pylist()}
        versions = [int(line.split()[2]) for line in told]
        assert len(set(versions)) == len(versions)
        assert {f"{name}{i}": now[f"{name}{i}"] for name in "ab" for i in range(6)} == {
            f"{name}{i}": 2 * i + 1 for name in "ab" for i in range(6)
        }
        for name, i, version in (line.split() for line in told):
            then = {row["id"]: row["n"] for row in table_read.read(workspace, f"t@v{version}").to_pylist()}
            assert then[f"{name}{int(i) // 2}"] == then["shared"] == int(i)
        history = table_read.history(workspace, "t", "shared").changes
        assert [c.version for c in history] == sorted({c.version for c in history})
        streams.check(workspace, "t")
        assert verify(workspace).answer != "no"


Row = dict[str, object]
KEYS = st.sampled_from(["1", "2", "3", "4", "5"])
VALUES = st.one_of(st.none(), st.text('ab,"\n', max_size=3), st.just(""))


class Tables(RuleBasedStateMachine):
    """A table against a dict: each version stays what it was."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "project"
        init(self.root, self.root.parent / "state", SystemClock(), agent=AGENT)
        self.workspace = open_at(self.root)
        self.other = open_at(self.root, "Grace <grace@example.com>")
        kinds = {"id": "int64", "a": "text", "b": "text"}
        table_change.create(self.workspace, "t", ["id"], types=kinds, policy=Policy(on_conflict="keep"))
        self.beside: list[tuple[str, Row | None, Row | None]] = []  # the key, the record as it was, as it is to be
        self.model: dict[str, dict[str, object]] = {}
        self.versions: list[dict[str, dict[str, object]]] = [{}]
        self.position = 0

    def told(self, done: ChangeSet, model: dict[str, dict[str, object]]) -> None:
        """Compare what a change says with the dict, and make the new version the dict's."""
        creates = len(model.keys() - self.model.keys())
        deletes = len(self.model.keys() - model.keys())
        updates = sum(model[key] != self.model[key] for key in model.keys() & self.model.keys())
        if done.index is not None:
            self.versions.append(model)
        else:
            assert model == self.model
        assert done.version == len(self.versions) - 1
        assert (done.creates - done.deletes, bool(updates or creates or deletes)) == (
            creates - deletes,
            done.index is not None or model != self.model,
        ) or done.stop - done.start > creates + updates + deletes
        self.model = model

    @rule(key=KEYS, a=VALUES, b=VALUES)
    def put(self, key: str, a: str | None, b: str | None) -> None:
        done = table_change.put(self.workspace, "t", {"id": key, "a": a, "b": b}, how=HOW)
        self.told(done, {**self.model, key: {"a": a, "b": b}})

    @precondition(lambda self: self.model)
    @rule(share=st.floats(0, 0.99), a=VALUES)
    def update(self, share: float, a: str | None) -> None:
        key = sorted(self.model)[int(share * len(self.model))]
        done = table_change.update(self.workspace, "t", key, {"a": a}, how=HOW)
        self.told(done, {**self.model, key: {**self.model[key], "a": a}})

    @precondition(lambda self: self.model)
    @rule(share=st.floats(0, 0.99))
    def delete(self, share: float) -> None:
        key = sorted(self.model)[int(share * len(self.model))]
        done = table_change.delete(self.workspace, "t", [key], how=HOW)
        self.told(done, {k: v for k, v in self.model.items() if k != key})

    @rule(rows=st.dictionaries(KEYS, st.tuples(VALUES, VALUES)), keep=st.booleans())
    def bring_in(self, rows: dict[str, tuple[str | None, str | None]], keep: bool) -> None:
        values = [{"id": int(key), "a": a, "b": b} for key, (a, b) in rows.items()]
        if not values:
            return
        done = table_change.import_(self.workspace, "t", values, how=HOW, keep_missing=keep)
        wanted: dict[str, dict[str, object]] = {key: {"a": a, "b": b} for key, (a, b) in rows.items()}
        self.told(done, {**self.model, **wanted} if keep else wanted)

    @rule(
        ops=st.lists(
            st.tuples(st.sampled_from(["create", "update", "delete", "rename", "truncate"]), KEYS, KEYS, VALUES)
        )
    )
    def capture(self, ops: list[tuple[str, str, str, str | None]]) -> None:
        model = dict(self.model)
        captured = []
        for op, key, other, value in ops:
            match op:
                case "create":
                    captured.append(Change(op="create", values={"id": int(key), "a": value}))
                    model[key] = {"a": value, "b": None}
                case "update":
                    captured.append(Change(op="update", key={"id": key}, values={"a": value}))
                    model[key] = {**model.get(key, {"b": None}), "a": value}
                case "rename":
                    captured.append(Change(op="update", key={"id": key}, values={"id": other}))
                    model[other] = model.pop(key, {"a": None, "b": None})
                case "delete":
                    captured.append(Change(op="delete", key={"id": key}))
                    model.pop(key, None)
                case _:
                    captured.append(Change(op="truncate"))
                    model = {}
        table = table_named(self.workspace, "t")
        source = Source(name="db", after=self.position or None, position=self.position + 1)
        self.position += 1
        self.told(folding.append(self.workspace, table, captured, How(verb="capture"), source=source), model)
        assert folding.append(self.workspace, table, captured, How(verb="capture"), source=source).index is None

    @rule(share=st.floats(0, 0.99), key=KEYS, a=VALUES, how=st.sampled_from(["update", "put", "delete", "import"]))
    def write_what_was_read_before(self, share: float, key: str, a: str | None, how: str) -> None:
        """Another writer changes a record as it was in some version: it stands beside one that has changed since."""
        number = int(share * len(self.versions))
        then = self.versions[number].get(key)
        if then is None and how in ("update", "delete"):
            return
        wanted = None if how == "delete" else {"a": a, "b": then["b"] if how == "update" and then else None}
        version, last = f"v{number}", self.last_change(key)
        if how == "update":
            done = table_change.update(self.other, "t", key, {"a": a}, how=HOW, if_version=version)
        elif how == "put":
            done = table_change.put(self.other, "t", {"id": key, "a": a}, how=HOW, if_version=version)
        elif how == "delete":
            done = table_change.delete(self.other, "t", [key], how=HOW, if_version=version)
        else:
            rows = [{"id": int(key), "a": a, "b": None}]
            done = table_change.import_(self.other, "t", rows, how=HOW, keep_missing=True, if_version=version)
        now = self.model.get(key)
        if last <= number:
            self.told(done, {k: v for k, v in {**self.model, key: wanted}.items() if v is not None})
        elif wanted in (then, now):
            assert (done.conflict, done.index) == (None, None)
        else:
            assert (done.conflicts, done.index) == (1, None)
            self.beside.append((key, then, wanted))

    def last_change(self, key: str) -> int:
        try:
            return table_read.history(self.workspace, "t", key).changes[-1].version
        except NoSuchRecordError:
            return 0

    def as_settled(self, key: str, then: Row | None, wanted: Row | None) -> Row | None:
        """Return what a record becomes by what stands beside it: of the record that is there, the changed cells."""
        now = self.model.get(key)
        if then is None or wanted is None or now is None:
            return wanted
        return {name: value if value != then[name] else now[name] for name, value in wanted.items()}

    @precondition(lambda self: self.beside)
    @rule(share=st.floats(0, 0.99), take=st.sampled_from(["ours", "theirs"]))
    def settle(self, share: float, take: Literal["ours", "theirs"]) -> None:
        number = int(share * len(self.beside))
        entry = table_settle.settle(self.workspace, "t").conflicts[number].index
        key, then, wanted = self.beside.pop(number)
        settled = self.as_settled(key, then, wanted) if take == "theirs" else self.model.get(key)
        done = table_settle.settle(self.workspace, "t", entry, take=take).done
        assert done is not None
        self.told(done, {k: v for k, v in {**self.model, key: settled}.items() if v is not None})

    @rule(at_least=st.sampled_from([2, 3, 1000]))
    def compact(self, at_least: int) -> None:
        stream_append.compact(self.workspace, "t", at_least=at_least)

    @rule()
    def snapshot(self) -> None:
        upkeep.snapshot(self.workspace, table_named(self.workspace, "t"))

    @precondition(lambda self: self.versions)
    @rule(share=st.floats(0, 0.99))
    def revert(self, share: float) -> None:
        number = int(share * len(self.versions))
        done = table_compare.revert(self.workspace, "t", f"v{number}", how=HOW)
        self.told(done, self.versions[number])

    @rule(keeps_index=st.booleans())
    def crash(self, keeps_index: bool) -> None:
        """Open it anew from what is on the disk, as after a kill; the views are lost."""
        close(self.workspace)
        close(self.other)
        for path in self.workspace.folder.glob("views.db*" if keeps_index else "*s.db*"):
            if not path.name.startswith("keys"):
                path.unlink()
        self.workspace = open_at(self.root)
        self.other = open_at(self.root, "Grace <grace@example.com>")

    @rule(share=st.floats(0, 0.99))
    def look_at_an_old_version(self, share: float) -> None:
        number = int(share * len(self.versions))
        assert self.held(f"t@v{number}") == self.versions[number]

    def held(self, reference: str) -> dict[str, dict[str, object]]:
        rows = table_read.read(self.workspace, reference).to_pylist()
        assert [row["_row"] for row in rows] == sorted({row["_row"] for row in rows})
        found = {str(row["id"]): {"a": row["a"], "b": row["b"]} for row in rows}
        assert len(found) == len(rows)
        return found

    @invariant()
    def everything_is_there(self) -> None:
        if hasattr(self, "workspace"):
            assert self.held("t") == self.model
            assert tables.list_tables(self.workspace).rows[0].records == len(self.model)
            standing = table_settle.settle(self.workspace, "t").conflicts
            assert [(str(s.key["id"]), s.theirs) for s in standing] == [
                (key, None if (row := self.as_settled(key, then, wanted)) is None else {"id": int(key), **row})
                for key, then, wanted in self.beside
            ]

    def teardown(self) -> None:
        if hasattr(self, "workspace"):
            for number, model in enumerate(self.versions):
                assert self.held(f"t@v{number}") == model
            changes_read = stream_read.values(stream_read.read(self.workspace, "t"))
            assert len(changes_read) == tables.list_tables(self.workspace).rows[0].changes
            streams.check(self.workspace, "t")
            assert verify(self.workspace).answer != "no"
            close(self.workspace)
            close(self.other)
            self.folder.cleanup()


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=8, stateful_step_count=15, deadline=None)
