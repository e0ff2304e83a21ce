"""Requests that wait together are scored together where the model allows, and recorded as the call that they were."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.server.running import Running, tensor

from retrodict.actions import payloads
from retrodict.actions.alias import alias
from retrodict.actions.coverage import coverage
from retrodict.actions.explain import explain
from retrodict.actions.predictions import search
from retrodict.actions.register import register
from retrodict.actions.replay import replay
from retrodict.kernel.types import EventId
from retrodict.models import load_model
from retrodict.predictions import calls, payload
from retrodict.predictions import payloads as kept_payloads
from retrodict.server import scheduler
from retrodict.server.scheduler import Reply, Scheduler
from retrodict.serving import Asker, Service
from retrodict.testing.workbench import make_workspace, register_object, register_source
from retrodict.workspace import Workspace

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
TARGET = (FRAME["a"] + FRAME["b"] > 0).astype(int)
# The first question holds the model up, so that the others wait together.
GATE = """
import pathlib, time
FOLDER = pathlib.Path({folder!r})
def gate():
    if not (FOLDER / "asked").exists():
        (FOLDER / "asked").touch()
        while not (FOLDER / "open").exists():
            time.sleep(0.01)
"""
TWICE = GATE + "def predict(x):\n    gate()\n    return x * 2\n"
PICKY = (
    GATE
    + "def predict(x):\n    gate()\n    if (x < 0).any():\n        raise ValueError('below zero')\n    return x * 2\n"
)
LIAR = GATE + "def predict(x):\n    gate()\n    return x[:1] * 2\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with make_workspace(tmp_path) as made:
        yield made


def serve(workspace: Workspace, source: str) -> Running:
    folder = workspace.root / "gate"
    folder.mkdir()
    path = workspace.root / "m.py"
    path.write_text(source.format(folder=str(folder)))
    register(workspace, f"{path}:predict", "m", row_wise=True)
    return Running(workspace, ["m"])


def together(served: Running, questions: list[dict[str, Any]], headers: list[dict[str, str]]) -> list[Any]:
    """Ask one question, which holds the model up; then all the others at once; return the others' answers."""
    folder = served.workspace.root / "gate"
    first = threading.Thread(target=served.infer, args=("m", questions[0]))
    first.start()
    wait_until((folder / "asked").exists)
    answers: list[Any] = [None] * len(questions)

    def one(number: int) -> None:
        answers[number] = served.infer("m", questions[number], **headers[number])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    wait_until(lambda: metric(served, "retrodict_requests_under_way") >= len(questions) + 1)
    (folder / "open").touch()
    for thread in (first, *threads):
        thread.join(30)
    return answers


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    pytest.fail("it never came to that")


def metric(served: Running, name: str) -> float:
    text = served.client.get("/metrics").text
    # The request for the metrics is itself under way.
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1]) - 1


def test_who_waits_together_is_scored_together_and_each_gets_their_own(workspace: Workspace) -> None:
    served = serve(workspace, TWICE)
    try:
        questions: list[dict[str, Any]] = [
            {"id": f"q-{i}", "inputs": [tensor("x", "INT64", [10 * i, 10 * i + 1])]} for i in range(5)
        ]
        questions[4] = {"id": "q-4", "inputs": [tensor("x", "INT64", [40])]}
        traces = [f"{i + 1:032x}" for i in range(5)]
        headers = [{"x-caller": f"caller {i}", "traceparent": f"00-{traces[i]}-{'b' * 16}-01"} for i in range(5)]
        answers = [answer.json() for answer in together(served, questions, headers)]
    finally:
        served.stop()
    for i, answer in enumerate(answers):
        assert answer["id"] == f"q-{i}"
        assert answer["outputs"][0]["data"] == [2 * x for x in questions[i]["inputs"][0]["data"]]
        assert answer["parameters"]["trace"] == traces[i]
    indexes = {answer["parameters"]["prediction"].partition(".")[0] for answer in answers}
    assert len(indexes) == 1
    (index,) = map(int, indexes)
    (call,) = calls(workspace.views.database(), entry=index)
    assert (call.rows, len(call.parts)) == (9, 5)
    sequenced = workspace.ledger.event(index)
    inputs, outputs, _ = kept_payloads(sequenced.event)
    assert outputs is not None
    seen, said = payloads.load(workspace, inputs), payloads.load(workspace, outputs)
    for i, answer in enumerate(answers):
        row = int(answer["parameters"]["prediction"].partition(".")[2])
        rows = slice(row, row + len(questions[i]["inputs"][0]["data"]))
        assert seen[rows].tolist() == questions[i]["inputs"][0]["data"]
        assert said[rows].tolist() == answer["outputs"][0]["data"]
        part = call.part(row)
        assert part is not None
        assert (part.request_id, part.trace, part.parent_span) == (f"q-{i}", traces[i], "b" * 16)
        found = search(workspace, caller=f"caller {i}").rows
        assert {(r.index, r.row) for r in found} == {(index, r) for r in range(rows.start, rows.stop)}
        assert calls(workspace.views.database(), trace=traces[i]) == [call]
    # A row of it is explained as its own caller's, and replayed with the whole call.
    reference = answers[2]["parameters"]["prediction"]
    explanation = explain(workspace, reference)
    assert (explanation.subject.caller, explanation.subject.trace) == ("caller 2", traces[2])
    assert replay(workspace, reference).verdict == "replicated"


def test_what_does_not_fit_together_is_asked_apart(workspace: Workspace) -> None:
    served = serve(workspace, TWICE)
    try:
        kinds: list[tuple[str, list[Any]]] = [("INT64", [1]), ("FP64", [1.5]), ("INT64", [2]), ("FP64", [2.5])]
        questions = [{"inputs": [tensor("x", datatype, data)]} for datatype, data in kinds]
        answers = [answer.json() for answer in together(served, questions, [{}] * 4)]
    finally:
        served.stop()
    assert [answer["outputs"][0]["data"] for answer in answers] == [[2], [3.0], [4], [5.0]]
    indexes = [answer["parameters"]["prediction"].partition(".")[0] for answer in answers]
    assert indexes[0] == indexes[2] != indexes[1] == indexes[3]


def test_a_row_that_fails_spoils_nobody_elses_answer(workspace: Workspace) -> None:
    served = serve(workspace, PICKY)
    try:
        questions = [{"inputs": [tensor("x", "INT64", [value])]} for value in (1, -1, 3)]
        answers = together(served, questions, [{}] * 3)
    finally:
        served.stop()
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert [answers[i].json()["outputs"][0]["data"] for i in (0, 2)] == [[2], [6]]
    found = calls(workspace.views.database())
    failed = [call for call in found if call.status == "error"]
    assert [len(call.parts) for call in failed] == [3, 0]  # what was tried together is on record too


def test_a_model_that_was_wrongly_called_row_wise_is_found_out(workspace: Workspace) -> None:
    served = serve(workspace, LIAR)
    try:
        questions = [{"inputs": [tensor("x", "INT64", [value])]} for value in (1, 2, 3)]
        answers = together(served, questions, [{}] * 3)
        assert [answer.json()["outputs"][0]["data"] for answer in answers] == [[2], [4], [6]]
        assert served.infer("m", questions[0]).status_code == 200
    finally:
        served.stop()


def test_a_model_that_is_not_row_wise_is_asked_question_by_question(workspace: Workspace) -> None:
    register_source(workspace, "m", "def predict(x):\n    return x * 2\n")
    served = Running(workspace, ["m"])
    answers: list[Any] = [None] * 12

    def one(value: int) -> None:
        answers[value] = served.infer("m", {"inputs": [tensor("x", "INT64", [value])]}).json()

    threads = [threading.Thread(target=one, args=(value,)) for value in range(12)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        served.stop()
    assert [answer["outputs"][0]["data"] for answer in answers] == [[2 * value] for value in range(12)]
    assert len({answer["parameters"]["prediction"] for answer in answers}) == 12
    assert all(answer["parameters"]["prediction"].endswith(".0") for answer in answers)
    assert not any(call.parts for call in calls(workspace.views.database()))


def ask_from_threads(served: Running, questions: list[list[float]]) -> list[threading.Thread]:
    threads = [
        threading.Thread(target=served.infer, args=("m", {"inputs": [tensor("x", "FP64", question)]}))
        for question in questions
    ]
    for thread in threads:
        thread.start()
    return threads


def test_a_model_that_waits_for_others_is_asked_by_several_threads_at_once(workspace: Workspace) -> None:
    # Nobody is answered before four are asked at the same time.
    source = "import threading\nBARRIER = threading.Barrier(4)\ndef predict(x):\n    BARRIER.wait(60)\n    return x\n"
    register_source(workspace, "m", source)
    served = Running(workspace, ["m"])
    try:
        for thread in ask_from_threads(served, [[1.0], [2.0], [3.0], [4.0]]):
            thread.join(60)
            assert not thread.is_alive()
        assert [call.status for call in calls(workspace.views.database())] == ["ok"] * 4
    finally:
        served.stop()


def test_a_call_that_hangs_keeps_nobody_else_waiting(workspace: Workspace) -> None:
    folder = workspace.root / "gate"
    folder.mkdir()
    source = GATE.format(folder=str(folder)) + "def predict(x):\n    if x[0] < 0:\n        gate()\n    return x * 2\n"
    register_source(workspace, "m", source)
    served = Running(workspace, ["m"])
    try:
        quick = {"inputs": [tensor("x", "FP64", [1.0])]}
        for _ in range(20):  # it is known to be quick
            assert served.infer("m", quick).status_code == 200
        (hanging,) = ask_from_threads(served, [[-1.0]])
        wait_until(lambda: (folder / "asked").exists())
        for thread in ask_from_threads(served, [[1.0]] * 12):
            thread.join(30)
            assert not thread.is_alive()
        assert hanging.is_alive()
        (folder / "open").touch()
        hanging.join(30)
        assert not hanging.is_alive()
    finally:
        (folder / "open").touch()
        served.stop()


def test_who_was_answered_before_a_call_hangs_is_told(workspace: Workspace) -> None:
    folder = workspace.root / "gate"
    folder.mkdir()
    source = GATE.format(folder=str(folder)) + "def predict(x):\n    if x[0] < 0:\n        gate()\n    return x * 2\n"
    register_source(workspace, "m", source)

    async def ask_all(pool: ThreadPoolExecutor) -> None:
        scheduler = Scheduler(Service(workspace), pool)

        def ask(value: float) -> asyncio.Future[Reply]:
            return scheduler.ask("m", {"x": np.array([value])}, Asker(rows=1))

        for _ in range(20):  # it is known to be quick, and to hold nobody up
            await asyncio.gather(ask(1.0), ask(1.0))
        answers = [ask(value) for value in (*range(8), -1.0, *range(8))]  # in one turn
        hanging = answers.pop(8)
        try:
            replies = await asyncio.wait_for(asyncio.gather(*answers), 30)
            assert [reply.answer.output[0] for reply in replies] == [2.0 * value for value in (*range(8), *range(8))]
            assert not hanging.done()
        finally:
            (folder / "open").touch()
        assert (await hanging).answer.output[0] == -2.0

    with ThreadPoolExecutor(8) as pool:
        asyncio.run(ask_all(pool))
    assert len(calls(workspace.views.database())) == 57


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nKEPT = np.zeros(1)\ndef predict(x):\n    KEPT[:] = x * 2\n    return KEPT\n",
        "import numpy as np\nKEPT = np.zeros(9)\ndef predict(x):\n    KEPT[3:4] = x * 2\n    return KEPT[3:4]\n",
        "KEPT = {'y': [0.0]}\ndef predict(x):\n    KEPT['y'][0] = float(x[0] * 2)\n    return KEPT\n",
        "import pandas as pd\nKEPT = [0]\ndef predict(x):\n    KEPT[0] = x[0] * 2\n    return pd.Series([KEPT])\n",
    ],
    ids=["array", "view", "dict", "cell"],
)
def test_an_answer_is_what_was_recorded_though_the_model_reuses_what_it_returned(
    workspace: Workspace, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUICK_S", "HELD_UP_S"):  # such a model cannot be asked by several threads, however busy they are here
        monkeypatch.setattr(scheduler, name, 60.0)
    register_source(workspace, "m", source)

    async def ask_all(pool: ThreadPoolExecutor) -> list[Reply]:
        asks = Scheduler(Service(workspace), pool)
        for _ in range(20):  # it is known to be quick, and asked by one thread
            await asks.ask("m", {"x": np.array([-1.0])}, Asker(rows=1))
        asked = [asks.ask("m", {"x": np.array([float(value)])}, Asker(rows=1)) for value in range(40)]
        return list(await asyncio.gather(*asked))

    with ThreadPoolExecutor(8) as pool:
        replies = asyncio.run(ask_all(pool))
    for value, reply in enumerate(replies):
        told = reply.answer.output
        said = payload.row(told, 0)
        assert np.ravel(list(said.values())).tolist() == [2.0 * value]
        assert reply.answer.index is not None
        _, outputs, _ = kept_payloads(workspace.ledger.event(reply.answer.index).event)
        assert outputs is not None
        assert said == payload.row(payloads.load(workspace, outputs), 0)


def test_a_frame_of_many_callers_is_kept_as_sent_and_as_seen(workspace: Workspace) -> None:
    register_object(workspace, "credit", LogisticRegression().fit(FRAME, TARGET), example=FRAME.head(3))
    served = Running(workspace, ["credit"])
    answers: dict[int, Any] = {}

    def one(caller: int) -> None:
        for i in range(caller, 60, 6):
            body = {"inputs": [tensor("x", "FP64", FRAME.iloc[i].tolist(), [1, 3])]}
            answers[i] = served.infer("credit", body).json()

    threads = [threading.Thread(target=one, args=(caller,)) for caller in range(6)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        served.stop()
    for i, answer in answers.items():
        index, _, row = answer["parameters"]["prediction"].partition(".")
        event = workspace.ledger.event(int(index)).event
        assert workspace.ledger.find(EventId(answer["parameters"]["prediction_id"])) is not None
        inputs, outputs, raw = kept_payloads(event)
        assert raw is not None
        assert outputs is not None
        np.testing.assert_array_equal(payloads.load(workspace, raw)["x"][int(row)], FRAME.iloc[i].to_numpy())
        np.testing.assert_array_equal(payloads.load(workspace, inputs).iloc[int(row)], FRAME.iloc[i])
        assert payloads.load(workspace, outputs)[int(row)] == answer["outputs"][0]["data"][0]


@pytest.mark.parametrize(
    ("model", "method", "is_row_wise"),
    [
        (LogisticRegression(), "predict_proba", True),
        (make_pipeline(StandardScaler(), LogisticRegression()), "predict", True),
        (RandomForestClassifier(n_estimators=3), "predict", True),
        (make_pipeline(FunctionTransformer(), LogisticRegression()), "predict", False),
        (LogisticRegression(), "score", False),
    ],
)
def test_estimators_of_scikit_learns_own_are_row_wise(
    workspace: Workspace, model: Any, method: str, is_row_wise: bool
) -> None:
    registered = register_object(workspace, "m", model.fit(FRAME, TARGET), method=method)
    workspace.objects.checkout(registered.content, workspace.root / "out")
    assert load_model(workspace.root / "out").is_row_wise is is_row_wise


def test_register_says_what_is_row_wise_and_the_folder_keeps_it(workspace: Workspace) -> None:
    path = workspace.root / "m.py"
    path.write_text("def predict(x):\n    return x\n")
    for number, row_wise in enumerate((None, True, False)):
        registered = register(workspace, str(path), "m", row_wise=row_wise)
        folder = workspace.root / str(number)
        workspace.objects.checkout(registered.content, folder)
        assert load_model(folder).is_row_wise is bool(row_wise)
        again = register(workspace, str(folder), f"again-{number}")  # an MLmodel folder is taken as it is
        assert again.content == registered.content


def test_an_alias_moves_under_load_without_a_lost_request(workspace: Workspace) -> None:
    slow = "import time\ntime.sleep(0.5)\ndef predict(x):\n    return x * {}\n"  # half a second to load
    register_source(workspace, "m", slow.format(1))
    alias(workspace, "m@live", "1", reason="first")
    served = Running(workspace, ["m@live"])
    answers: list[tuple[int, str, int]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = served.infer("m", {"inputs": [tensor("x", "INT64", [7])]})
            body = answer.json()
            answers.append((answer.status_code, body["model_version"], body["outputs"][0]["data"][0]))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    try:
        for thread in threads:
            thread.start()
        for version in (2, 3):
            register_source(workspace, "m", slow.format(version))
            wait_until(lambda: len(answers) > 20)
            alias(workspace, "m@live", str(version), reason="next")
            moved = served.infer("m", {"inputs": [tensor("x", "INT64", [7])]}).json()
            assert moved["model_version"] == str(version)  # who asks after the move is answered by the new one
            answers.clear()
            wait_until(lambda: len(answers) > 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
        served.stop()
    assert {status for status, _, _ in answers} == {200}
    assert all(value == 7 * int(version) for _, version, value in answers)
    for call in calls(workspace.views.database()):
        assert call.requested == "m@live"
        event = workspace.ledger.event(call.index).event
        _, outputs, _ = kept_payloads(event)
        assert outputs is not None
        assert payloads.load(workspace, outputs).tolist()[0] == 7 * int(call.model_version)


def test_who_asks_after_an_alias_was_moved_is_answered_by_the_new_version_within_a_turn_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HELD_UP_S", "TURN_S"):  # what takes long here is the move of the alias
        monkeypatch.setattr(scheduler, name, 60.0)
    hook = types.SimpleNamespace(called=lambda: None)
    monkeypatch.setitem(sys.modules, "hook", hook)
    source = "def predict(x):\n    import hook\n    hook.called()\n    return x * {}\n"
    for version in (1, 2):
        register_source(workspace, "m", source.format(version))
    alias(workspace, "m@live", "1", reason="first")

    async def ask_all(pool: ThreadPoolExecutor) -> list[Reply]:
        asks = Scheduler(Service(workspace), pool)
        loop, later = asyncio.get_running_loop(), list[asyncio.Future[Reply]]()
        is_asked = threading.Event()

        def ask() -> asyncio.Future[Reply]:
            return asks.ask("m@live", {"x": np.array([1.0])}, Asker(rows=1))

        for _ in range(20):  # it is known to be quick, and asked by one thread
            await ask()

        def ask_later() -> None:
            later.append(ask())
            is_asked.set()

        def moves() -> None:
            if not is_asked.is_set():
                alias(workspace, "m@live", "2", reason="next")
                loop.call_soon_threadsafe(ask_later)
                is_asked.wait(60)

        hook.called = moves
        return [await ask(), *[await answer for answer in later]]

    with ThreadPoolExecutor(8) as pool:
        replies = asyncio.run(ask_all(pool))
    assert [reply.answer.version.version for reply in replies] == [1, 2]
    assert [reply.answer.output.tolist() for reply in replies] == [[1.0], [2.0]]


def test_a_span_that_asked_and_is_not_on_record_is_missing(workspace: Workspace) -> None:
    register_source(workspace, "m", "def predict(x):\n    return x\n")
    served = Running(workspace, ["m"])
    try:
        trace = "c" * 32
        body = {"inputs": [tensor("x", "INT64", [1])]}
        first = served.infer("m", body, traceparent=f"00-{trace}-{'d' * 16}-01")
        served.infer("m", body, traceparent=first.headers["traceparent"])  # asked by a call that is on record
    finally:
        served.stop()
    (missing,) = coverage(workspace).missing
    assert (missing.trace, missing.span, missing.calls, missing.known) == (trace, "d" * 16, 1, 2)
