"""An answer is given only after its record is durable, and the record says what happened."""

from __future__ import annotations

import contextvars
import errno
import importlib
import os
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from retrodict.actions import payloads
from retrodict.actions.alias import alias
from retrodict.actions.predictions import search
from retrodict.actions.register import register
from retrodict.kernel.entry import decode_edge_list
from retrodict.kernel.errors import ReadOnlyStoreError, UnknownReferenceError
from retrodict.kernel.types import EdgeList
from retrodict.ledger import Ledger, Sequenced
from retrodict.models import InputError, UnloadableModelError, current_loader
from retrodict.objects.errors import ChangedFileError, StoreWriteError
from retrodict.predictions import calls, payload
from retrodict.predictions import payloads as kept_payloads
from retrodict.serving import Answer, Asker, ModelFailedError, Service
from retrodict.testing.workbench import make_workspace, register_object, register_source
from retrodict.workspace import Workspace, agent_name, open_text, sealed_text

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
TARGET = (FRAME["a"] + FRAME["b"] > 0).astype(int)
CHAIN = """
import pandas as pd
import retrodict

def predict(frame):
    first = retrodict.load("credit@champion").predict(frame)
    second = retrodict.load("credit@v2").predict(frame)
    return pd.DataFrame({"first": first[:, 1], "second": second[:, 1]})
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        for strength in (1.0, 0.01):
            model = LogisticRegression(C=strength).fit(FRAME, TARGET)
            register_object(made, "credit", model, example=FRAME.head(3), method="predict_proba")
        alias(made, "credit@champion", "1", reason="first")
        yield made


def made(workspace: Workspace) -> list[Sequenced]:
    return [s for s in workspace.ledger.read() if s.event.kind == "prediction.made"]


def test_a_model_that_cannot_be_written_out_is_told_and_asked_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_source(workspace, "twice", "def predict(x):\n    return x * 2\n")
    service = Service(workspace)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", full)
        with pytest.raises(StoreWriteError, match="No space left"):
            service.predict("twice", [{"x": 1}])
    assert service.predict("twice", [{"x": 1}]).output == [{"x": 1}, {"x": 1}]


def test_the_record_gives_back_what_was_asked_and_answered(workspace: Workspace) -> None:
    answer = (
        Service(workspace).load("credit@champion").predict(FRAME, caller="Bob", trace="ab" * 16, parent_span="cd" * 8)
    )
    (sequenced,) = made(workspace)
    body = sequenced.event.body
    assert (answer.index, answer.leaf_hash, answer.prediction) == (
        sequenced.index,
        sequenced.leaf_hash,
        sequenced.event.id,
    )
    inputs, outputs, raw = kept_payloads(sequenced.event)
    pd.testing.assert_frame_equal(payloads.load(workspace, inputs), FRAME)
    assert outputs is not None
    np.testing.assert_array_equal(payloads.load(workspace, outputs), answer.output)
    assert raw is None
    assert (body["requested"], body["model"], body["rows"]) == ("credit@champion", answer.version.event, 60)
    assert (body["trace"], body["parent_span"], body["parent"]) == ("ab" * 16, "cd" * 8, None)
    assert agent_name(workspace, str(body["caller"])) == "Bob"


def test_input_that_had_to_be_fitted_is_kept_as_it_was_sent_too(workspace: Workspace) -> None:
    sent = pd.DataFrame({"c": [1, 2], "b": [3, 4], "a": [5, 6]})
    Service(workspace).predict("credit", sent)
    inputs, _, raw = kept_payloads(made(workspace)[0].event)
    assert raw is not None
    pd.testing.assert_frame_equal(payloads.load(workspace, raw), sent)
    pd.testing.assert_frame_equal(payloads.load(workspace, inputs), sent[["a", "b", "c"]].astype("float64"))


def test_an_alias_that_moves_is_followed_by_the_next_question(workspace: Workspace) -> None:
    model = Service(workspace).load("credit@champion")
    before = model.predict(FRAME)
    alias(workspace, "credit@champion", "2", reason="better")
    after = model.predict(FRAME)
    assert (before.version.version, after.version.version) == (1, 2)
    assert not np.array_equal(before.output, after.output)


def test_calls_share_one_edge_list_that_names_model_and_environment(workspace: Workspace) -> None:
    service = Service(workspace, {"OMP_NUM_THREADS": "1"})
    for _ in range(3):
        service.predict("credit@v1", FRAME)
    lists = {edge for s in made(workspace) for edge in s.event.uses}
    (shared,) = lists
    assert isinstance(shared, EdgeList)
    edges = {edge.role: edge for edge in decode_edge_list(workspace.objects.get(shared.digest))}
    version = service.resolve("credit@v1")
    assert (str(edges["model"].ref), edges["model"].made_by) == (version.content, version.event)
    assert edges["environment"].ref == made(workspace)[0].event.body["environment"]
    assert b'"OMP_NUM_THREADS":"1"' in workspace.objects.get(service.environment)


def test_a_chain_is_one_family_children_first(workspace: Workspace) -> None:
    register_source(workspace, "chain", CHAIN)
    size = workspace.ledger.size()
    answer = Service(workspace).predict("chain", FRAME, caller="Bob")
    family = [s for s in workspace.ledger.read(size) if s.event.kind == "prediction.made"]
    parent = family[-1].event
    assert [s.event.body["requested"] for s in family] == ["credit@champion", "credit@v2", "chain"]
    assert answer.index == family[-1].index
    children = [s.event for s in family[:-1]]
    assert [str(e.ref) for e in parent.uses if not isinstance(e, EdgeList)] == [c.id for c in children]
    for child in children:
        assert child.body["parent"] == parent.id
        assert child.body["parent_span"] == parent.body["span"]
        assert child.body["trace"] == parent.body["trace"]
        assert child.body["caller"] == parent.body["caller"]


def test_a_failure_is_on_record_with_its_inputs_and_text(workspace: Workspace) -> None:
    register_source(workspace, "broken", "def predict(frame):\n    raise ZeroDivisionError('by zero, as it happens')\n")
    with pytest.raises(ModelFailedError, match="broken@v1 failed: ZeroDivisionError: by zero") as raised:
        Service(workspace).predict("broken", [1, 2])
    (sequenced,) = made(workspace)
    body = sequenced.event.body
    assert (raised.value.index, raised.value.prediction) == (sequenced.index, sequenced.event.id)
    assert (body["status"], body["outputs"]) == ("error", None)
    assert payloads.load(workspace, kept_payloads(sequenced.event)[0]) == [1, 2]
    text = open_text(workspace, sealed_text(body["error"]))
    assert text is not None
    assert "by zero, as it happens" in text


def test_an_answer_that_cannot_be_kept_is_a_failure(workspace: Workspace) -> None:
    register_source(workspace, "odd", "def predict(frame):\n    return object()\n")
    with pytest.raises(ModelFailedError, match="cannot be recorded"):
        Service(workspace).predict("odd", [1])
    assert made(workspace)[0].event.body["status"] == "error"


def test_a_part_that_fails_is_on_record_with_the_whole(workspace: Workspace) -> None:
    register_source(workspace, "broken", "def predict(frame):\n    return 1 / 0\n")
    register_source(
        workspace, "outer", "import retrodict\ndef predict(x):\n    return retrodict.load('broken').predict(x)\n"
    )
    register_source(
        workspace,
        "careful",
        "import retrodict\ndef predict(x):\n    try:\n        return retrodict.load('broken').predict(x)\n"
        "    except Exception:\n        return -1\n",
    )
    service = Service(workspace)
    with pytest.raises(ModelFailedError, match="outer@v1 failed"):
        service.predict("outer", [1])
    assert service.predict("careful", [1]).output == -1
    found = [(s.event.body["requested"], s.event.body["status"]) for s in made(workspace)]
    assert found == [("broken", "error"), ("outer", "error"), ("broken", "error"), ("careful", "ok")]


def test_wrong_input_is_refused_and_not_recorded(workspace: Workspace) -> None:
    size = workspace.ledger.size()
    service = Service(workspace)
    with pytest.raises(InputError, match="'c'"):
        service.predict("credit", FRAME[["a", "b"]])
    with pytest.raises(InputError, match="double"):
        service.predict("credit", FRAME.assign(a="x"))
    assert workspace.ledger.size() == size


def test_a_name_that_means_nothing_gets_near_matches(workspace: Workspace) -> None:
    service = Service(workspace)
    with pytest.raises(UnknownReferenceError) as raised:
        service.load("credt")
    assert raised.value.near == ("credit",)
    with pytest.raises(UnknownReferenceError) as raised:
        service.load("credit@campion")
    assert "credit@champion" in raised.value.near
    assert service.load(service.resolve("credit@v1").event).version.version == 1


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(workspace: Workspace) -> None:
    model = Service(workspace).load("credit@v1")
    expected = model.predict(FRAME).output
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: (i, model.predict(FRAME.iloc[i : i + 1])), list(range(60)) * 3))
    assert len({answer.index for _, answer in answers}) == 180
    for i, answer in answers:
        np.testing.assert_allclose(answer.output[0], expected[i])
        assert answer.index is not None
        inputs, _, _ = kept_payloads(workspace.ledger.event(answer.index).event)
        pd.testing.assert_frame_equal(payloads.load(workspace, inputs), FRAME.iloc[i : i + 1])


THREADED = """
import contextvars
import threading
import retrodict

def ask(frame, box):
    box.append(retrodict.load("credit@v1").predict(frame))

def predict(frame):
    box = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(ask, frame, box))
    thread.start()
    thread.join()
    return box[0]
"""


def test_a_part_in_a_thread_that_copies_the_context_is_a_child(workspace: Workspace) -> None:
    register_source(workspace, "threaded", THREADED)
    Service(workspace).predict("threaded", FRAME)
    child, parent = (s.event for s in made(workspace))
    assert child.body["parent"] == parent.id


def test_a_part_that_answers_after_the_whole_is_recorded_by_itself(workspace: Workspace) -> None:
    register_source(
        workspace,
        "late",
        THREADED.replace("    thread.join()\n    return box[0]\n", "    return 0\n")
        .replace(
            "def ask(frame, box):\n",
            "GATE = threading.Event()\nDONE = threading.Event()\ndef ask(frame, box):\n    GATE.wait(20)\n",
        )
        .replace("    box.append(", "    box.append(")
        .rstrip()
        + "\n",
    )
    service = Service(workspace)
    others = set(threading.enumerate())
    service.predict("late", FRAME)
    model: Any = service._deployments.of(service.resolve("late")).model.model
    model.__globals__["GATE"].set()
    for thread in set(threading.enumerate()) - others:
        if not thread.daemon:
            thread.join(20)
    parent, child = (s.event for s in made(workspace))
    assert child.body["requested"] == "credit@v1"
    assert child.body["parent"] == parent.id
    assert child.body["trace"] == parent.body["trace"]


def test_an_answer_is_withheld_when_its_record_fails(workspace: Workspace) -> None:
    service = Service(workspace)
    service.predict("credit@v1", FRAME)
    ready = service.ready("credit@v1")
    ledger = Ledger.open(workspace.folder / "ledger.db", workspace.clock, read_only=True)
    service.workspace = replace(workspace, ledger=ledger)
    with pytest.raises(ReadOnlyStoreError):
        service.predict("credit@v1", FRAME)
    with pytest.raises(ReadOnlyStoreError):
        service.record([service.ask(ready, FRAME, [Asker(rows=len(FRAME))])])
    ledger.close()
    assert len(made(workspace)) == 1


def test_code_that_runs_beside_the_models_is_kept(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "rules_for_serving.py").write_text("LIMIT = 3\n")
    monkeypatch.syspath_prepend(str(beside))
    register_source(
        workspace, "ruled", "def predict(x):\n    import rules_for_serving\n    return rules_for_serving.LIMIT\n"
    )
    service = Service(workspace)
    service.predict("ruled", [1])
    service.predict("ruled", [2])
    tree = made(workspace)[-1].event.body["serving_code"]
    names = {path.decode(): entry for path, entry in workspace.objects.walk(str(tree))}  # type: ignore[arg-type]
    assert workspace.objects.get(names["rules_for_serving.py"].digest) == b"LIMIT = 3\n"
    assert not any("sklearn" in name or name.startswith("retrodict") for name in names)


def test_code_that_runs_beside_the_models_is_kept_as_it_was_loaded(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    rules, more = tmp_path / "rules_as_loaded.py", tmp_path / "more_rules_as_loaded.py"
    rules.write_text("LIMIT = 3\n")
    more.write_text("")
    register_source(
        workspace,
        "ruled",
        "def predict(x):\n    import rules_as_loaded\n    return rules_as_loaded.LIMIT\n",
    )
    service = Service(workspace)

    def code() -> tuple[Any, bytes]:
        output = service.predict("ruled", [1]).output
        tree = made(workspace)[-1].event.body["serving_code"]
        names = dict(workspace.objects.walk(str(tree)))  # type: ignore[arg-type]
        return output, workspace.objects.get(names[b"rules_as_loaded.py"].digest)

    assert code() == (3, b"LIMIT = 3\n")
    rules.write_text("LIMIT = 44\n")
    importlib.import_module(more.stem)  # everything is looked at again
    assert code() == (3, b"LIMIT = 3\n")
    importlib.reload(sys.modules[rules.stem])
    assert code() == (44, b"LIMIT = 44\n")


def test_a_models_folder_that_was_altered_is_not_run(workspace: Workspace) -> None:
    register_source(workspace, "plain", "def predict(x):\n    return 'true'\n")
    first = Service(workspace)
    assert first.predict("plain", [1]).output == "true"
    for path in (workspace.folder / "tmp" / "models").rglob("plain.py"):
        path.write_text("def predict(x):\n    return 'false'\n")
    planted = next((workspace.folder / "tmp" / "models").rglob("plain.py")).parent / "__pycache__"
    planted.mkdir(exist_ok=True)
    (planted / "plain.cpython-311.pyc").write_bytes(b"nonsense")
    assert Service(workspace).predict("plain", [1]).output == "true"
    assert not planted.exists()


def test_a_read_only_workspace_cannot_serve(workspace: Workspace) -> None:
    with pytest.raises(ReadOnlyStoreError):
        Service(replace(workspace, read_only=True))


def test_a_model_that_changes_its_input_does_not_change_the_record(workspace: Workspace) -> None:
    register_source(workspace, "greedy", "def predict(frame):\n    frame['a'] = 0.0\n    return len(frame)\n")
    Service(workspace).predict("greedy", FRAME.copy())
    inputs, _, _ = kept_payloads(made(workspace)[0].event)
    pd.testing.assert_frame_equal(payloads.load(workspace, inputs), FRAME)


def test_answers_are_told_once_the_record_is_durable(workspace: Workspace) -> None:
    register_source(workspace, "broken", "def predict(frame):\n    return 1 / 0\n")
    service = Service(workspace)
    asked = [service.ask(service.ready("credit@v1"), FRAME, [Asker(rows=len(FRAME))])]
    asked.append(service.ask(service.ready("broken"), [1], [Asker(rows=1)]))
    told: queue.Queue[Any] = queue.Queue()
    service.submit(asked, told.put)
    answer, failure = told.get(timeout=20)
    assert isinstance(answer, Answer)
    assert isinstance(failure, ModelFailedError)
    assert (answer.index, failure.index) == tuple(s.index for s in made(workspace))


def test_questions_that_are_asked_together_are_one_call_with_parts(workspace: Workspace) -> None:
    service = Service(workspace)
    askers = [
        Asker(rows=1, caller="Ann", trace="a" * 32, parent_span="b" * 16, request_id="q-1"),
        Asker(rows=2, caller="Bob"),
    ]
    (answer,) = service.record([service.ask(service.ready("credit@v1"), FRAME.head(3), askers)])
    assert isinstance(answer, Answer)
    (call,) = calls(workspace.views.database(), entry=answer.index)
    assert [(p.first_row, p.rows, p.parent_span, p.request_id) for p in call.parts] == [
        (0, 1, "b" * 16, "q-1"),
        (1, 2, None, None),
    ]
    assert call.parts == answer.parts
    assert (call.caller, call.rows) == (None, 3)
    assert call.trace_of(0) == "a" * 32
    assert len({call.trace, call.trace_of(0), call.trace_of(1)}) == 3
    assert call.caller_of(1) == call.caller_of(2) != call.caller_of(0)
    for caller, rows in (("Ann", [0]), ("Bob", [1, 2])):
        found = search(workspace, caller=caller, oldest_first=True).rows
        assert [(row.index, row.row, row.caller) for row in found] == [(answer.index, row, caller) for row in rows]
    assert calls(workspace.views.database(), trace="a" * 32) == [call]


def test_no_context_is_left_behind(workspace: Workspace) -> None:
    before = contextvars.copy_context()
    Service(workspace).predict("credit@v1", FRAME)
    after = contextvars.copy_context()
    assert {k: v for k, v in after.items() if v is not None} == {k: v for k, v in before.items() if v is not None}


def test_a_model_that_asks_itself_while_it_is_loaded_is_refused(workspace: Workspace) -> None:
    register_source(workspace, "narcissus", "def predict(x):\n    return x\n")
    source = (
        "import retrodict\ntry:\n    SELF = retrodict.load('narcissus').predict(1)\nexcept LookupError:\n    pass\n"
    )
    path = workspace.root / "narcissus.py"
    path.write_text(source + "def predict(x):\n    return x\n")
    token = current_loader.set(lambda _: Absent())
    try:
        register(workspace, f"{path}:predict", "narcissus")
    finally:
        current_loader.reset(token)
    with pytest.raises(UnloadableModelError, match="asks itself"):
        Service(workspace).load("narcissus")


class Absent:
    """Stands for every model while one is registered."""

    def predict(self, data: object) -> object:
        raise LookupError(data)


@pytest.mark.parametrize(
    "source",
    [
        "KEPT = np.zeros(1)\ndef predict(x):\n    KEPT[:] = x * 2\n    return KEPT\n",
        "KEPT = {'y': [0.0]}\ndef predict(x):\n    KEPT['y'][0] = float(x[0] * 2)\n    return KEPT\n",
        "KEPT = pd.DataFrame({'y': [0.0]})\ndef predict(x):\n    KEPT.loc[0, 'y'] = float(x[0] * 2)\n    return KEPT\n",
    ],
    ids=["array", "dict", "frame"],
)
def test_an_answer_stays_what_it_was_when_the_model_is_asked_again(workspace: Workspace, source: str) -> None:
    register_source(workspace, "m", "import numpy as np\nimport pandas as pd\n" + source)
    service = Service(workspace)
    answers = [service.predict("m", np.array([float(value)])) for value in range(3)]
    for value, answer in enumerate(answers):
        told = answer.output
        assert (told if isinstance(told, np.ndarray) else told["y"])[0] == 2.0 * value
        assert answer.index is not None
        _, outputs, _ = kept_payloads(workspace.ledger.event(answer.index).event)
        assert outputs is not None
        assert payload.row(told, 0) == payload.row(payloads.load(workspace, outputs), 0)


def test_who_writes_into_an_answer_changes_nobody_elses(workspace: Workspace) -> None:
    register_source(workspace, "m", "import numpy as np\nSCORE = np.array([0.5])\ndef predict(x):\n    return SCORE\n")
    service = Service(workspace)
    first = service.predict("m", np.array([1.0])).output
    first *= 100
    assert service.predict("m", np.array([1.0])).output[0] == 0.5


def test_a_model_that_changes_while_it_is_registered_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        f"from pathlib import Path\nPath({str(path)!r}).write_text('def predict(x): return 2')\n"
        "def predict(x): return 1\n"
    )
    with pytest.raises(ChangedFileError, match=r"m\.py"):
        register(workspace, str(path), "m")
