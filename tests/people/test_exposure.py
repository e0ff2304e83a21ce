"""What a run, or a process, asks and records after it has read something personal is sealed as what it derived."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrodict as rd
from retrodict import predictions, provenance, runs
from retrodict.actions import forget, forget_files, table_change
from retrodict.actions.add import add
from retrodict.actions.dispute import dispute
from retrodict.actions.explain import explain
from retrodict.actions.import_log import import_log
from retrodict.actions.predictions import search
from retrodict.actions.register import Address, register
from retrodict.actions.replay import replay
from retrodict.actions.run import Ran, run
from retrodict.actions.stream_append import append_values
from retrodict.actions.streams import create
from retrodict.actions.table_alter import alter
from retrodict.actions.tensors import import_array
from retrodict.actions.verify import verify
from retrodict.exposure import ExposedError
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Ref
from retrodict.predictions import personal
from retrodict.serving import Service
from retrodict.tables.changes import How
from retrodict.testing.workbench import make_workspace
from retrodict.workspace import Workspace, sealed_key

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
        with rd.run("again", params={"oldest": AGE}, workspace=own) as again:
            assert rd.add("made.csv", workspace=own)[0].is_personal
        second = service.predict("plain", question).index  # it has not unlearnt it
        assert derived(own) == [first, second]
        assert [found.params for found in runs.runs(own.views.database())] == [{}, {}]
        found = forget_files.reach(own, "dataset:people.csv")
        assert done.record is not None
        assert again.record is not None
        assert (found.runs, found.asked) == ((done.record.entry, again.record.entry), (first, second))
        assert in_the_clear(own) == []


LOOKS = {
    "command": 'words = ["predictions", "--where", "age > 100", "--unseal", "--json"]\n',
    "export": 'words = ["export", "--subject", word, "--out", "shown.json"]\n',
}
SHOWN = """
words = [sys.executable, "-m", "retrodict", *words]
text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
text = open("shown.json").read() if "export" in words else text
age = max(map(int, re.findall('"age": ([0-9]+)', text)))
open("made.txt", "w").write(f"{word} {age}")
asked(word, age)
"""


@pytest.mark.parametrize("look", ["search", "command", "export"])
def test_what_was_made_of_predictions_that_a_look_showed_is_forgotten_with_the_person(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    register(workspace, f"{workspace.root / 'plain.py'}:predict", "about", subject="word")
    service = Service(workspace)
    asked = [[(WORD, AGE)], [(WORD, AGE), ("bob", 7)], [("bob", 8)]]
    answers = [service.predict("about", pd.DataFrame(rows, columns=["word", "age"])) for rows in asked]
    calls = [answer.index for answer in answers if answer.index is not None]
    if look == "search":
        monkeypatch.chdir(workspace.root)
        monkeypatch.setenv("RETRODICT_STATE", str(workspace.root.parent / "state"))
        with rd.open(workspace.root, agent="Ada <ada@example.org>") as own, rd.run("r", workspace=own) as under_way:
            age = rd.search_predictions("age > 100", unseal=True, workspace=own)["input.age"][0]
            Path("made.txt").write_text(f"{WORD} {age}")
            rd.load("plain", workspace=own).predict(pd.DataFrame({"age": [age], "word": [WORD]}))
        assert under_way.record is not None
        done = under_way.record
    else:
        word = f"import re\nword = {WORD[:7]!r} + {WORD[7:]!r}\n"
        done = scripted(workspace, BEGIN, word, LOOKS[look], SHOWN)
    assert (workspace.root / "made.txt").read_text() == f"{WORD} {AGE}"
    sealed = tuple(entry for entry in derived(workspace) if entry not in calls)
    assert len(sealed) == (1 if look == "search" else 4)
    assert in_the_clear(workspace) == []

    looks = [e.event for e in map(workspace.ledger.event, range(workspace.ledger.size()))]
    (looked,) = [event for event in looks if event.kind == "personal.viewed"]
    for event in (looked, workspace.logs.event(done.entry).event):
        named = [edge.ref for edge in provenance.edges(event.uses, workspace.objects.get) if edge.role == "prediction"]
        assert sorted(named) == sorted(Ref(workspace.logs.event(entry).event.id) for entry in calls[:2])

    assert (forget.reach(workspace, "bob").runs, forget.reach(workspace, "bob").asked) == ((), ())
    found = forget.reach(workspace, WORD)
    assert (found.runs, found.asked, found.derived_keys) == ((done.entry,), sealed, 0)
    gone = forget.forget(workspace, WORD, derived=True)
    assert (gone.reach.runs, gone.reach.asked) == ((done.entry,), sealed)
    (made,) = [file for file in done.outputs if file.path == "made.txt"]
    keys = [str(sealed_key(workspace, made.digest))]
    keys += [
        key
        for entry in sealed
        for kept in predictions.payloads(workspace.logs.event(entry).event)
        for segment in personal.segments(kept, workspace.objects.get)
        for key in segment.keys
    ]
    assert len(keys) > len(sealed)
    assert workspace.keys is not None
    assert [key for key in keys if workspace.keys.holds(key)] == []
    (workspace.root / "made.txt").unlink()
    assert in_the_clear(workspace) == []
    assert verify(workspace).answer == "yes"


@pytest.mark.parametrize(("count", "named"), [(65, 65), (1001, 0)])
def test_a_look_at_many_predictions_names_them_up_to_a_bound_and_is_found_all_the_same(
    workspace: Workspace, count: int, named: int
) -> None:
    register(workspace, f"{workspace.root / 'plain.py'}:predict", "about", subject="word")
    service = Service(workspace)
    question = pd.DataFrame({"word": [WORD], "age": [AGE]})
    entries = [service.predict("about", question).index for _ in range(count)]
    calls = [Ref(workspace.logs.event(entry).event.id) for entry in entries if entry is not None]
    search(workspace, unseal=True, limit=count)
    looked = workspace.ledger.event(workspace.ledger.size() - 1).event
    found = [edge.ref for edge in provenance.edges(looked.uses, workspace.objects.get) if edge.role == "prediction"]
    assert (len(looked.uses), sorted(found)) == (min(named, 1), sorted(calls) if named else [])
    asked = service.predict("plain", pd.DataFrame({"age": [AGE], "word": [WORD]})).index
    assert forget.reach(workspace, WORD).asked == (asked,)


LOG = {"date": "date", "model": "=m", "version": "=1", "inputs": "age", "outputs": "age"}


def write_old(workspace: Workspace) -> None:
    """Write what there is before anybody has read of people: tables, and files that are about nobody."""
    table_change.create(workspace, "people", ["key"], types={"key": "text", "age": "int64"}, subject="key")
    for name, key in (("t", {"age": 5}), ("people", {"key": "5"})):
        table_change.put(workspace, name, key, how=How(verb="put"))
    old = workspace.root / "old"
    (old / "folder").mkdir(parents=True)
    for path in (old / "folder" / "model.py", old / "alone.py"):
        path.write_text("def predict(rows):\n    return [1] * len(rows)\n")
    for name in ("beside", "within"):
        (old / f"imports_{name}.py").write_text(f"import {name}\n\ndef predict(rows):\n    return [1] * len(rows)\n")
    (workspace.root / ".retrodictignore").write_text("left-out.txt\n")
    (old / "log.csv").write_text("date,age\n2024-01-01T00:00:00Z,1\n")
    np.save(old / "zeros.npy", np.zeros(1))
    time.sleep(0.05)  # file systems stamp with a coarse clock


def write_made(folder: Path) -> None:
    """Write what an exposed process makes."""
    folder.mkdir()
    (folder / "rows.csv").write_text(f"age,key\n{AGE},{WORD}\n")
    (folder / "log.csv").write_text(f"2024-01-01T00:00:00Z,m,1,[{AGE}],[{AGE + 1}]\n")
    (folder / "model.py").write_text(f"def predict(rows):\n    return [{AGE}] * len(rows)\n")
    (folder / "figures.json").write_text(f'{{"oldest": {AGE}}}')
    (folder / "ids.txt").write_text(f"{WORD}\n")
    np.save(folder / "array.npy", np.array([AGE]))


def lent(workspace: Workspace, how: str) -> str:
    """Let an old model take in what was made: a module that it imports, or something in its folder."""
    made, old = workspace.root / "made", workspace.root / "old"
    match how:
        case "module":
            shutil.copy(made / "model.py", old / "beside.py")
            return str(old / "imports_beside.py")
        case "package":
            shutil.copytree(made, old / "within")
            (old / "within" / "__init__.py").touch()
            return str(old / "imports_within.py")
        case "left out":
            (old / "folder" / "left-out.txt").write_text(WORD)
        case "linked":
            (old / "folder" / "linked").symlink_to(made)
    return str(old / "folder")


# What an exposed process tries, with a folder of files that it has made: and how it is refused; None: it is sealed.
TRIED: dict[str, tuple[str | None, Callable[[Workspace, Path], object]]] = {
    "table update": (
        "exposed",
        lambda w, made: table_change.update(w, "t", ["5"], {"age": AGE}, how=How(verb="update")),
    ),
    "table update of people": (
        None,
        lambda w, made: table_change.update(w, "people", ["5"], {"age": AGE}, how=How(verb="update")),
    ),
    "table delete": ("exposed", lambda w, made: table_change.delete(w, "t", [[AGE]], how=How(verb="delete"))),
    "table delete of people": (None, lambda w, made: table_change.delete(w, "people", [["5"]], how=How(verb="delete"))),
    "table import": ("exposed", lambda w, made: table_change.import_(w, "t", [{"age": AGE}], how=How(verb="import"))),
    "table import of a file": (
        "personal-file",
        lambda w, made: table_change.import_(w, "t", made / "rows.csv", how=How(verb="import")),
    ),
    "table import of people": (
        None,
        lambda w, made: table_change.import_(w, "people", made / "rows.csv", how=How(verb="import")),
    ),
    "table create": ("exposed", lambda w, made: table_change.create(w, "new", ["age"], source=[{"age": AGE}])),
    "table create of a file": (
        "personal-file",
        lambda w, made: table_change.create(w, "new", ["age"], source=made / "rows.csv"),
    ),
    "table create of columns": (
        "exposed",
        lambda w, made: table_change.create(w, "new", ["age"], types={WORD: "text"}),
    ),
    "table create of people": (
        None,
        lambda w, made: table_change.create(w, "new", ["age"], source=made / "rows.csv", subject="key"),
    ),
    "table alter": ("exposed", lambda w, made: alter(w, "t", add={WORD: "text"})),
    "tensor import": (None, lambda w, made: import_array(w, "new", made / "array.npy")),
    "tensor import with ids": (
        None,
        lambda w, made: import_array(w, "new", w.root / "old" / "zeros.npy", ids=made / "ids.txt"),
    ),
    "register": ("personal-file", lambda w, made: register(w, str(made / "model.py"), "new")),
    "register a module": ("personal-file", lambda w, made: register(w, lent(w, "module"), "new")),
    "register a package": ("personal-file", lambda w, made: register(w, lent(w, "package"), "new")),
    "register what is left out": ("personal-file", lambda w, made: register(w, lent(w, "left out"), "new")),
    "register what is linked": ("personal-file", lambda w, made: register(w, lent(w, "linked"), "new")),
    "register with figures": (
        "personal-file",
        lambda w, made: register(w, str(w.root / "old" / "alone.py"), "new", metrics=made / "figures.json"),
    ),
    "register with an example": (
        "personal-file",
        lambda w, made: register(w, str(w.root / "old" / "alone.py"), "new", example=made / "rows.csv"),
    ),
    "register with an example of people": (
        None,
        lambda w, made: register(w, str(w.root / "old" / "alone.py"), "new", example=made / "rows.csv", subject="key"),
    ),
    "register an address": (
        "exposed",
        lambda w, made: register(w, "", "new", remote=Address(url=f"http://127.0.0.1:9/{WORD}")),
    ),
    "predictions import": ("personal-file", lambda w, made: import_log(w, made / "log.csv")),
    "predictions import with a model": (
        "exposed",
        lambda w, made: import_log(w, w.root / "old" / "log.csv", columns={**LOG, "model": f"={WORD}"}),
    ),
    "predictions import with a system": (
        "exposed",
        lambda w, made: import_log(w, w.root / "old" / "log.csv", columns=LOG, system=WORD),
    ),
}


@pytest.mark.parametrize("what", TRIED)
def test_what_an_exposed_process_records_is_sealed_or_refused(workspace: Workspace, what: str) -> None:
    slug, attempt = TRIED[what]
    write_old(workspace)
    with_people(workspace)
    rd.read_stream("visits@0:1", workspace=workspace)
    made = workspace.root / "made"
    write_made(made)
    size = workspace.ledger.size()
    if slug is None:
        attempt(workspace, made)
        assert workspace.ledger.size() > size
    else:
        with pytest.raises(UsageError) as refused:
            attempt(workspace, made)
        assert refused.value.slug == slug
        assert workspace.ledger.size() == size
    assert in_the_clear(workspace) == []
