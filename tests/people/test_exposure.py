"""What a run, or a process, asks and records after it has read something personal is sealed as what it derived."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrodict as rd
from retrodict import predictions, runs
from retrodict.actions import forget, forget_files, table_change
from retrodict.actions.add import add
from retrodict.actions.dispute import dispute
from retrodict.actions.explain import explain
from retrodict.actions.predictions import search
from retrodict.actions.register import register
from retrodict.actions.replay import replay
from retrodict.actions.run import Ran, run
from retrodict.actions.stream_append import append_values
from retrodict.actions.streams import create
from retrodict.actions.verify import verify
from retrodict.exposure import ExposedError
from retrodict.serving import Service
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace

WORD = "PLANTED" + "VALUE"  # in two: the code that runs beside a model is kept, and this is it
AGE = 604_821_937  # of this file alone: the code of all tests that are loaded is kept
NEEDLES = [
    WORD.encode(),
    str(AGE).encode(),
    str(AGE + 1).encode(),
    AGE.to_bytes(8, "little"),
    (AGE + 1).to_bytes(8, "little"),
    (-AGE).to_bytes(8, "little", signed=True),
]
MODEL = """
def predict(frame):
    if (frame["age"] < 0).any():
        raise ValueError(f"no such age: {frame.to_dict('records')}")
    return frame.assign(older=frame["age"] + 1)[["older"]]
"""
BEGIN = """
import subprocess, sys
import numpy as np, pandas as pd
import retrodict as rd

def asked(word, age):
    model = rd.load("plain")
    model.predict(pd.DataFrame({"age": [age], "word": [word]}))
    try:
        model.predict(pd.DataFrame({"age": [-age], "word": [word]}))
    except Exception as error:
        print(type(error).__name__)
    rd.record_prediction(system="old", model="m", model_version="1", inputs=[[word, age]], outputs=[[age + 1]])
    try:
        rd.remote_step("nobody", f"http://127.0.0.1:9/{word}", {"word": word, "age": age})
    except Exception as error:
        print(type(error).__name__)

asked("harmless", 5)
"""
READ = {
    "itself": 'text = open("people.csv").read().splitlines()[1]\n',
    "child": 'text = subprocess.run(["tail", "-1", "people.csv"], capture_output=True, text=True).stdout.strip()\n',
    "a copy of it": 'text = pd.read_csv("copy.csv", header=None).iloc[1].str.cat(sep=",")\n',
    "other": 'text = open("other.csv").read().splitlines()[1]\n',
}
ASK = 'word, age = text.split(",")\nasked(word, int(age))\n'
WRITE = """
from retrodict.exposure import ExposedError

open("made.jsonl", "w").write('{"age": %s}' % age)
commands = ["predict plain --input -", "stream append s -", f"table put t age={age}"]
for words in map(str.split, commands):
    given = "age,word\\n%s,%s\\n" % (age, word) if words[0] == "predict" else '{"age": %s}\\n' % age
    done = subprocess.run([sys.executable, "-m", "retrodict", *words], input=given, capture_output=True, text=True)
    assert ("about nobody" in done.stderr) == (words[0] != "predict"), done

def version():
    with rd.new_version("zeros") as array:
        array[0] = int(age)

records = [{"age": int(age)}]
for refused in (lambda: rd.append_stream("s", records), lambda: rd.table("t").put(records), version):
    try:
        refused()
    except ExposedError as error:
        continue
    raise AssertionError(refused)
assert rd.write_array("numbers", np.array([int(age)])).is_personal
assert rd.add("made.jsonl")[0].is_personal
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        for name in ("people", "copy", "other"):
            (made.root / f"{name}.csv").write_text(f"who,age\n{WORD},{AGE}\n" if name != "other" else "who,age\nno,7\n")
        (made.root / "plain.py").write_text(MODEL)
        pd.DataFrame({"age": [5], "word": ["x"]}).to_csv(made.root / "example.csv", index=False)
        register(made, f"{made.root / 'plain.py'}:predict", "plain", example=made.root / "example.csv")
        create(made, "s")
        table_change.create(made, "t", ["age"], types={"age": "int64"})
        rd.write_array("zeros", np.zeros(2, np.int64), workspace=made)
        add(made, [made.root / "people.csv"], personal=True)
        yield made


def ran(workspace: Workspace, *argv: str, mode: str = "auto") -> Ran:
    state = workspace.root.parent / "state"
    variables = {**os.environ, "RETRODICT_STATE": str(state), "RETRODICT_AGENT": "Ada <ada@example.org>"}
    return run(workspace, argv, cwd=workspace.root, environment=variables, mode=mode)  # type: ignore[arg-type]


def scripted(workspace: Workspace, *parts: str, mode: str = "auto") -> Ran:
    (workspace.root / "script.py").write_text("".join(parts))
    done = ran(workspace, sys.executable, "script.py", mode=mode)
    assert done.exit_code == 0
    return done


def in_the_clear(workspace: Workspace) -> list[str]:
    """Return where planted values are kept: in files as they lie, and in objects as they are when they are read."""
    found = []
    for folder in (workspace.folder, workspace.root.parent / "state"):
        for path in folder.rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            found += [f"{path}: {needle!r}" for needle in NEEDLES if needle in data]
    for i in range(256):
        for digest in workspace.objects.resolve_prefix(f"b3-{i:02x}"):
            data = b"".join(workspace.objects.stream(digest))
            found += [f"{digest}: {needle!r}" for needle in NEEDLES if needle in data]
    for digest, data in workspace.ledger.blobs():
        found += [f"{digest}: {needle!r}" for needle in NEEDLES if needle in data]
    return found


def derived(workspace: Workspace) -> list[int]:
    """Return the entries of the calls that are sealed as derived."""
    database = workspace.views.database()
    return [call.index for call in predictions.calls(database) if predictions.subjects(database, call.index)]


@pytest.mark.parametrize("how", ["itself", "child"])
def test_what_a_run_asks_after_it_has_read_is_sealed_and_forgotten_with_what_it_made(
    workspace: Workspace, how: str
) -> None:
    done = scripted(workspace, BEGIN, READ[how], ASK, WRITE if how == "itself" else "")
    calls = predictions.calls(workspace.views.database())
    sealed = derived(workspace)
    assert sealed == [call.index for call in calls][4:]  # all but those that it asked before
    assert len(sealed) == (5 if how == "itself" else 4)
    asked, failed, recorded, fetched = sealed[:4]
    kinds = [workspace.logs.event(entry).event.kind for entry in sealed[:4]]
    assert kinds == ["prediction.made", "prediction.made", "prediction.declared", "prediction.fetched"]
    dispute(workspace, f"{asked}.0", reason=f"{WORD} is wrong")
    assert replay(workspace, str(asked)).verdict == "replicated"
    assert in_the_clear(workspace) == []
    rows = search(workspace).rows
    assert {row.gap for row in rows if row.index in sealed} == {"personal: --subject or --unseal shows it"}
    opened = {row.index: row for row in search(workspace, unseal=True).rows}
    assert opened[asked].inputs == {"age": AGE, "word": WORD}
    assert opened[asked].outputs == {"older": AGE + 1}
    assert workspace.ledger.event(workspace.ledger.size() - 1).event.kind == "personal.viewed"
    assert WORD in str(explain(workspace, f"{asked}.0"))
    assert verify(workspace).answer == "yes"

    found = forget_files.reach(workspace, "dataset:people.csv")
    assert (found.runs, found.asked) == ((done.entry,), tuple(sealed))
    forget_files.forget(workspace, "dataset:people.csv", reason="order")
    assert all(row.inputs for row in search(workspace, unseal=True).rows if row.index == asked)
    gone = forget_files.forget(workspace, "dataset:people.csv", reason="order", derived=True)
    assert gone.reach.asked == tuple(sealed)
    left = [row for row in search(workspace, unseal=True).rows if row.index in sealed]
    assert {row.gap for row in left} == {f"erased by entry {gone.index}"}
    assert replay(workspace, str(asked)).verdict == "could not tell"
    shown = str([explain(workspace, f"{entry}.0") for entry in (asked, failed, recorded, fetched)])
    assert [needle for needle in (WORD, str(AGE)) if needle in shown] == []
    assert verify(workspace).answer == "yes"
    assert in_the_clear(workspace) == []


def test_a_run_that_read_nothing_personal_stays_in_the_clear(workspace: Workspace) -> None:
    scripted(workspace, BEGIN, READ["other"], ASK, 'rd.append_stream("s", [1])\nrd.table("t").put({"age": 7})\n')
    assert derived(workspace) == []
    assert forget_files.reach(workspace, "dataset:people.csv").asked == ()


def test_where_nobody_can_say_what_was_read_it_counts_as_read(workspace: Workspace) -> None:
    scripted(workspace, BEGIN, mode="audit-hook")
    assert len(derived(workspace)) == 4


def test_very_bytes_elsewhere_and_runs_round_it_count_too(workspace: Workspace) -> None:
    inner = [sys.executable, "-m", "retrodict", "run", "--", sys.executable, "inner.py"]
    (workspace.root / "inner.py").write_text(BEGIN)
    scripted(workspace, BEGIN, READ["a copy of it"], ASK, f"subprocess.run({inner!r}, check=True)\n")
    sealed = derived(workspace)
    assert len(sealed) == 8
    assert in_the_clear(workspace) == []
    assert forget_files.reach(workspace, "dataset:people.csv").asked == tuple(sealed)


def with_people(workspace: Workspace) -> None:
    create(workspace, "visits", subject="who")
    append_values(workspace, "visits", [{"who": WORD, "age": AGE}, {"who": "bob", "age": 30}])
    rd.write_array("scan", np.full(3, AGE), personal=True, workspace=workspace)


def test_what_a_process_reads_by_itself_seals_what_it_asks_then(workspace: Workspace) -> None:
    """Without a run only what went through us is known, and which look it was."""
    with_people(workspace)
    service = Service(workspace)
    question = pd.DataFrame({"age": [AGE], "word": [WORD]})
    service.predict("plain", pd.DataFrame({"age": [5], "word": ["x"]}))
    assert derived(workspace) == []
    rd.read_stream("visits@0:1", workspace=workspace)
    first = service.predict("plain", question).index
    rd.open_array("scan", workspace=workspace)
    second = service.predict("plain", question).index
    with pytest.raises(ExposedError, match="this process"):
        append_values(workspace, "s", [AGE])
    assert derived(workspace) == [first, second]
    assert in_the_clear(workspace) == []
    assert forget_files.reach(workspace, "dataset:scan").asked == (second,)
    assert forget.reach(workspace, "bob").asked == ()
    assert forget.reach(workspace, WORD).asked == (first, second)
    gone = forget.forget(workspace, WORD, derived=True)
    left = [row for row in search(workspace, unseal=True).rows if row.index in (first, second)]
    assert {row.gap for row in left} == {f"erased by entry {gone.index}"}


def test_a_run_of_this_process_is_believed_about_what_it_opens(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("RETRODICT_STATE", str(workspace.root.parent / "state"))
    with rd.open(workspace.root, agent="Ada <ada@example.org>") as own:
        service = Service(own)
        question = pd.DataFrame({"age": [AGE], "word": [WORD]})
        with rd.run("r", workspace=own) as done:
            service.predict("plain", pd.DataFrame({"age": [5], "word": ["x"]}))
            assert derived(own) == []
            Path("people.csv").read_bytes()
            first = service.predict("plain", question).index
            done.log_params(oldest=AGE)
        Path("made.csv").write_text(f"{AGE}\n")
        with rd.run("again", params={"oldest": AGE}, workspace=own):
            assert rd.add("made.csv", workspace=own)[0].is_personal
        second = service.predict("plain", question).index  # it has not unlearnt it
        assert derived(own) == [first, second]
        assert [found.params for found in runs.runs(own.views.database())] == [{}, {}]
        found = forget_files.reach(own, "dataset:people.csv")
        assert done.record is not None
        assert (found.runs, found.asked) == ((done.record.entry,), (first, second))
        assert in_the_clear(own) == []
