"""What runs make of records about people is sealed, and forgetting a person names files, versions, models, answers."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

import retrodict as rd
from retrodict import datasets
from retrodict.actions import table_change
from retrodict.actions.add import add
from retrodict.actions.derive import derive
from retrodict.actions.forget import forget, reach
from retrodict.actions.register import register
from retrodict.actions.run import Ran, run
from retrodict.actions.stream_append import append_values
from retrodict.actions.streams import create
from retrodict.kernel.errors import UsageError
from retrodict.render import text
from retrodict.serving import Service
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace, sealed_key

FIT = """\
import retrodict as rd
ages = [row["age"] for row in {source}]
open("ages.txt", "w").write(str(ages))
open("model.py", "w").write(f"def predict(rows):\\n    return [{{max(ages)}}] * len(rows)\\n")
"""
AGAIN = 'open("sum.txt", "w").write(str(sum(map(int, open("ages.txt").read().strip("[]").split(",")))))\n'
LOOK = """\
import subprocess, sys
words = [sys.executable, "-m", "retrodict", *sys.argv[1:]]
open("shown.txt", "wb").write(subprocess.run(words, capture_output=True, check=True).stdout)
"""


def ran(workspace: Workspace, *words: str) -> Ran:
    state = workspace.root.parent / "state"
    variables = {**os.environ, "RETRODICT_STATE": str(state), "RETRODICT_AGENT": "Ada <ada@example.org>"}
    return run(workspace, [sys.executable, *words], cwd=workspace.root, environment=variables)


def with_records(workspace: Workspace, source: str) -> None:
    rows = [{"who": "ann", "age": 71}, {"who": "bob", "age": 30}]
    if source == "table":
        table_change.create(workspace, "t", ["who"], types={"who": "text", "age": "int64"}, subject="who")
        rd.table("t", workspace=workspace).put(rows)
    else:
        create(workspace, "t", subject="who")
        append_values(workspace, "t", rows)


@pytest.mark.parametrize("source", ["table", "stream"])
def test_what_was_made_of_a_persons_records_is_sealed_and_named(tmp_path: Path, source: str) -> None:
    with make_workspace(tmp_path) as workspace:
        with_records(workspace, source)
        asked = {"table": 'rd.table("t").at("v1").to_list()', "stream": 'rd.read_stream("t")'}[source]
        (workspace.root / "fit.py").write_text(FIT.format(source=asked))
        (workspace.root / "again.py").write_text(AGAIN)
        fitted, summed = ran(workspace, "fit.py"), ran(workspace, "again.py")
        assert fitted.exit_code == summed.exit_code == 0
        assert all(sealed_key(workspace, file.digest) for done in (fitted, summed) for file in done.outputs)
        with pytest.raises(UsageError, match="personal"):
            register(workspace, f"{workspace.root / 'model.py'}:predict", "oldest")
        add(workspace, [workspace.root / "sum.txt"])
        with pytest.raises(UsageError, match="personal"):
            derive(workspace, "d", ["sum.txt"], command=["true"], cwd=workspace.root, environment={})
        add(workspace, [workspace.root / "model.py"], personal=False, reason="one number")
        register(workspace, f"{workspace.root / 'model.py'}:predict", "oldest")
        Service(workspace).predict("oldest", [[1.0]])

        found = reach(workspace, "ann")
        assert found.runs == (fitted.entry, summed.entry)
        assert found.made == ("dataset:sum.txt@v1", "dataset:model.py@v1")
        assert found.derived >= 3
        assert (found.trained, found.answers) == (("oldest@v1",), 1)
        shown = io.StringIO()
        Console(file=shown, width=200).print(text.reach(found))
        assert "models trained  oldest@v1: what they learned stays" in shown.getvalue()
        assert "confirmed" not in shown.getvalue()  # nothing is destroyed yet
        ring, sealed = workspace.keys, [str(sealed_key(workspace, file.digest)) for file in summed.outputs]
        assert ring is not None
        assert all(ring.holds(key) for key in sealed)
        whole = reach(workspace, "ann", derived=True)
        assert whole.keys == found.keys + whole.derived_keys
        assert (whole.derived_keys > len(sealed), found.derived_keys) == (True, 0)
        done = forget(workspace, "ann", derived=True)
        assert not any(ring.holds(key) for key in sealed)
        assert ring.find_subjects("bob")  # of whom it was, too
        assert workspace.ledger.event(done.index).event.body["derived"] is True
        assert done.destroyed == whole.keys
        roles = [edge.role for edge in workspace.ledger.event(done.index).event.uses]  # type: ignore[union-attr]
        assert roles.count("run") == roles.count("made-dataset-version") == 2
        assert roles.count("trained-model-version") == 1


def test_a_run_that_read_others_records_alone_is_not_named(tmp_path: Path) -> None:
    with make_workspace(tmp_path) as workspace:
        with_records(workspace, "stream")
        (workspace.root / "fit.py").write_text(FIT.format(source='rd.read_stream("t@1:2")'))
        done = ran(workspace, "fit.py")
        assert reach(workspace, "ann").runs == ()
        assert reach(workspace, "bob").runs == (done.entry,)


@pytest.mark.parametrize("words", [["table", "history", "t", "ann"], ["stream", "read", "t"]])
def test_what_a_command_shows_to_a_run_makes_it_personal(tmp_path: Path, words: list[str]) -> None:
    with make_workspace(tmp_path) as workspace:
        with_records(workspace, words[0])
        (workspace.root / "look.py").write_text(LOOK)
        done = ran(workspace, "look.py", *words)
        assert "71" in (workspace.root / "shown.txt").read_text()
        (shown,) = [file for file in done.outputs if file.path == "shown.txt"]
        assert sealed_key(workspace, shown.digest) is not None
        assert reach(workspace, "ann").runs == (done.entry,)
        assert datasets.versions(workspace.views.database()) == []
