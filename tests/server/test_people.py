"""Questions about people over HTTP: sealed, shown only to who has the right, and never in a refusal or the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.server.running import Running, tensor

from retrodict import predictions
from retrodict.actions.predictions import search
from retrodict.actions.register import register
from retrodict.kernel.errors import UsageError
from retrodict.predictions import SealedPayload
from retrodict.server import Tokens
from retrodict.testing.people import make_people, scorer
from retrodict.testing.workbench import register_source

TOKENS = "# who may what\np predict\nr  record read\n\ns read personal\n"
ARRAYS = "import numpy as np\n\ndef predict(x):\n    return np.asarray(x).sum(axis=1)\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("people")
    (folder / "tokens").write_text(TOKENS)
    with make_people(folder) as workspace:
        register(
            workspace,
            scorer(workspace),
            "together",
            example=workspace.root / "example.csv",
            subject="customer",
            row_wise=True,
        )
        register_source(workspace, "sums", ARRAYS)
        register(workspace, f"{workspace.root / 'sums.py'}:predict", "sums", subject="customer")
        served = Running(workspace, ["score", "together", "sums"], tokens=Tokens.read(folder / "tokens"))
        try:
            yield served
        finally:
            served.stop()


def asked(*rows: tuple[str, int, str]) -> dict[str, Any]:
    names, ages, cities = (list(column) for column in zip(*rows, strict=True))
    columns = (("customer", "BYTES", names), ("age", "INT64", ages), ("city", "BYTES", cities))
    return {"inputs": [tensor(*column) for column in columns]}


def read(running: Running, reference: str, token: str) -> Any:
    return running.client.get(f"/v1/predictions/{reference}", headers={"authorization": f"Bearer {token}"})


def test_metadata_list_the_tensor_that_says_whom_a_row_is_about(running: Running) -> None:
    may = {"authorization": "Bearer p"}
    listed = {n: running.client.get(f"/v2/models/{n}", headers=may).json()["inputs"] for n in ("score", "sums")}
    assert [one["name"] for one in listed["score"]] == ["age", "city", "customer"]
    assert listed["sums"] == [{"name": "customer", "datatype": "BYTES", "shape": [-1]}]


def test_personal_values_are_shown_only_to_a_token_with_that_right(running: Running) -> None:
    answer = running.infer("score", asked(("ann", 30, "Rome"), ("bob", 40, "Oslo")), authorization="Bearer p")
    reference = answer.json()["parameters"]["prediction"]
    assert read(running, reference, "p").status_code == 403
    (first, _) = read(running, reference, "r").json()["rows"]
    assert (first["inputs"], first["outputs"]) == (None, None)
    assert "personal" in first["gap"]
    size = running.workspace.ledger.size()
    (row,) = read(running, f"{reference}.1", "s").json()["rows"]
    assert (row["inputs"], row["outputs"]) == ({"age": 40, "city": "Oslo"}, {"score": 0.4, "word": "OSLO"})
    kinds = [running.workspace.ledger.event(i).event for i in range(size, running.workspace.ledger.size())]
    assert [event.body["by"] for event in kinds if event.kind == "personal.viewed"] == ["server"]
    assert all(event.body["caller"] for event in kinds if event.kind == "personal.viewed")
    assert read(running, "nothing", "r").status_code == 404
    assert read(running, "0", "r").status_code == 400


def test_rights_are_asked_for(running: Running) -> None:
    for token, status in (("r", 403), ("x", 401)):
        assert running.infer("score", asked(("ann", 30, "Rome")), authorization=f"Bearer {token}").status_code == status
    told = {"system": "old", "model": "score", "inputs": [{"customer": "ann", "age": 1, "city": "Rome"}]}
    for token, status in (("p", 403), ("r", 201)):
        headers = {"authorization": f"Bearer {token}"}
        assert running.client.post("/v1/predictions", json=told, headers=headers).status_code == status


def test_nothing_about_a_person_stands_in_a_refusal_or_in_the_log(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    bearer = "Bearer p"
    with caplog.at_level(logging.DEBUG):
        failed = running.infer("score", asked(("PLANTED", 918273645, "Nowhere")), authorization=bearer)
        unlike = asked(("PLANTED", 1, "Rome"))
        unlike["inputs"][1] = tensor("age", "BYTES", ["PLANTED"])
        wrong = running.infer("score", unlike, authorization=bearer)
        nobody = {"inputs": asked(("ann", 30, "PLANTED"))["inputs"][1:]}
        missing = running.infer("score", nobody, authorization=bearer)
        ill_formed = [
            running.infer("score", {"inputs": [tensor("age", *rest)]}, authorization=bearer)
            for rest in (("INT64", ["PLANTED"]), ("BYTES", [918273645]), ("INT8", [918273645]), ("INT64", "PLANTED"))
        ]
        told: dict[str, Any] = {"system": "old", "model": "score", "inputs": [{"age": 1}], "subject": {"PLANTED": 1}}
        ill_formed.append(running.client.post("/v1/predictions", json=told, headers={"authorization": "Bearer r"}))
        told |= {"inputs": [{"customer": "PLANTED", "age": "PLANTED"}, {"city": 918273645}], "subject": None}
        ill_formed.append(running.client.post("/v1/predictions", json=told, headers={"authorization": "Bearer r"}))
    assert (failed.status_code, wrong.status_code, missing.status_code) == (500, 400, 400)
    assert {answer.status_code for answer in ill_formed} == {400}
    assert "'customer'" in missing.json()["error"]
    said = (
        failed.text
        + wrong.text
        + missing.text
        + "".join(answer.text for answer in ill_formed)
        + caplog.text
        + json.dumps([vars(r) for r in caplog.records], default=str)
    )
    assert "PLANTED" not in said
    assert "918273645" not in said


def test_what_a_question_is_called_is_echoed_and_not_kept(running: Running) -> None:
    """It may be named after whom it is about."""
    start = running.workspace.ledger.size()

    def ask(model: str, number: int) -> str:
        named = {**asked(("ann", 30, "Rome")), "id": f"PLANTED/{number}"}
        return str(running.infer(model, named, authorization="Bearer p").json()["id"])

    with ThreadPoolExecutor(8) as pool:
        for model in ("score", "together"):
            assert list(pool.map(ask, [model] * 16, range(16))) == [f"PLANTED/{number}" for number in range(16)]
    assert not any(
        b"PLANTED" in running.workspace.ledger.entry(i) for i in range(start, running.workspace.ledger.size())
    )


def test_an_array_has_its_people_beside_it(running: Running) -> None:
    body = {
        "inputs": [
            tensor("x", "FP64", [1.0, 2.0, 3.0, 4.0], [2, 2]),
            tensor("customer", "BYTES", ["cy", "dee"], [2, 1]),
        ]
    }
    answer = running.infer("sums", body, authorization="Bearer p")
    assert answer.json()["outputs"][0]["data"] == [3.0, 7.0]
    (row,) = search(running.workspace, subject="dee").rows
    assert row.inputs == {"0": 3.0, "1": 4.0}
    only = {"inputs": body["inputs"][1:]}
    assert running.infer("sums", only, authorization="Bearer p").status_code == 400


def test_people_whose_questions_were_scored_together_are_sealed_apart(running: Running) -> None:
    def ask(i: int) -> int:
        answer = running.infer("together", asked((f"p{i}", i, "Rome")), authorization="Bearer p")
        return int(answer.status_code)

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(64))) == {200}
    for i in (0, 31, 63):
        (row,) = search(running.workspace, subject=f"p{i}").rows
        assert row.inputs == {"age": i, "city": "Rome"}
        inputs, _, _ = predictions.payloads(running.workspace.ledger.event(row.index).event)
        assert isinstance(inputs, SealedPayload)
        assert all(len(part.subjects) == 1 for part in inputs.parts(running.workspace.objects.get))


@pytest.mark.parametrize("text", ["", "# nothing\n", "token\n", "token fly\n", "a read\na predict\n"])
def test_a_file_of_tokens_that_is_none_is_refused_without_showing_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(UsageError) as refused:
        Tokens.read(tmp_path / "tokens")
    assert "token fly" not in str(refused.value)
    with pytest.raises(UsageError):
        Tokens.read(tmp_path / "absent")
