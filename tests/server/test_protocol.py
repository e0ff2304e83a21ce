"""Open Inference Protocol v2 over real HTTP; every answer is on record, every refusal says what is wrong."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from tests.server.running import Running, tensor

from retrodict.actions import payloads
from retrodict.actions.alias import alias
from retrodict.actions.check_proof import check_proof
from retrodict.actions.log_proof import log_proof
from retrodict.actions.predictions import search
from retrodict.kernel.errors import UnknownReferenceError, UsageError
from retrodict.kernel.note import decode_checkpoint
from retrodict.predictions import payloads as kept_payloads
from retrodict.server import Limits, Server
from retrodict.server.errors import AddressError, OpenServerError
from retrodict.testing.workbench import make_workspace, register_object, register_source
from retrodict.workspace import agent_name

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
TARGET = (FRAME["a"] + FRAME["b"] > 0).astype(int)
MODEL = LogisticRegression().fit(FRAME, TARGET)
ECHO = "def predict(frame):\n    return frame\n"
CHAIN = """
import pandas as pd
import retrodict

def predict(frame):
    p = retrodict.load("credit").predict(frame)[:, 1]
    return pd.DataFrame({"p": p, "decision": ["yes" if x > 0.5 else "no" for x in p], "n": range(len(p))})
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with make_workspace(tmp_path_factory.mktemp("served")) as workspace:
        register_object(workspace, "credit", MODEL, example=FRAME.head(3), method="predict_proba")
        register_object(workspace, "bare", MODEL, method="predict")
        register_source(workspace, "echo", ECHO)
        register_source(workspace, "chain", CHAIN)
        register_source(workspace, "broken", "def predict(frame):\n    raise OSError('the disk of the model')\n")
        alias(workspace, "credit@champion", "1", reason="x")
        served = Running(
            workspace, ["credit@champion", "bare", "echo", "chain", "broken"], limits=Limits(body_bytes=1 << 20)
        )
        yield served
        served.stop()


def columns(rows: int = 2, datatype: str = "FP64") -> dict[str, Any]:
    return {"inputs": [tensor(name, datatype, FRAME[name].head(rows).tolist()) for name in FRAME.columns]}


def test_health_and_metadata(running: Running) -> None:
    get = running.client.get
    assert get("/v2/health/live").json() == {"live": True}
    assert get("/v2/health/ready").json() == {"ready": True}
    assert get("/v2").json()["name"] == get("/v2/").json()["name"] == "retrodict"
    about = get("/v2/models/credit").json()
    assert (about["name"], about["versions"], about["platform"]) == ("credit", ["1"], "sklearn")
    assert about["inputs"] == [{"name": n, "datatype": "FP64", "shape": [-1]} for n in "abc"]
    assert about["outputs"][0]["shape"] == [-1, 2]
    assert get("/v2/models/credit/versions/1").json()["versions"] == ["1"]
    assert get("/v2/models/credit/ready").json() == {"name": "credit", "ready": True}
    assert running.client.head("/v2/health/live").status_code == 200


def test_an_answer_names_its_record(running: Running) -> None:
    answer = running.infer("credit", {"id": "q-1", **columns()})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["id"], body["model_name"], body["model_version"]) == ("q-1", "credit", "1")
    (output,) = body["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP64", [2, 2])
    np.testing.assert_array_equal(np.reshape(output["data"], [2, 2]), MODEL.predict_proba(FRAME.head(2)))
    said = body["parameters"]
    sequenced = running.workspace.ledger.event(int(said["prediction"]))
    assert (sequenced.event.id, sequenced.leaf_hash.hex()) == (said["prediction_id"], said["leaf_hash"])
    receipt = log_proof(running.workspace, said["leaf_hash"])  # what the caller was given is enough to get a receipt
    assert (receipt.index, receipt.event) == (sequenced.index, sequenced.event.id)
    assert check_proof(receipt.receipt.encode(), sequenced.data, keys=[str(receipt.key)]).answer == "yes"
    inputs, _, _ = kept_payloads(sequenced.event)
    pd.testing.assert_frame_equal(payloads.load(running.workspace, inputs), FRAME.head(2))
    assert sequenced.event.body["requested"] == "credit@champion"
    assert agent_name(running.workspace, str(sequenced.event.body["caller"])) == "127.0.0.1"


def test_a_single_row_is_named_as_a_row(running: Running) -> None:
    assert running.infer("credit", columns(1)).json()["parameters"]["prediction"].endswith(".0")


def test_a_trace_goes_through(running: Running) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    answer = running.infer("chain", columns(), traceparent=f"00-{trace}-{span}-01")
    index = int(answer.json()["parameters"]["prediction"])
    body = running.workspace.ledger.event(index).event.body
    child = running.workspace.ledger.event(index - 1).event.body
    assert (body["trace"], body["parent_span"], child["trace"]) == (trace, span, trace)
    assert answer.headers["traceparent"] == f"00-{trace}-{body['span']}-01"


def test_one_output_tensor_for_each_column(running: Running) -> None:
    body = running.infer("chain", columns()).json()
    assert [(o["name"], o["datatype"], o["shape"]) for o in body["outputs"]] == [
        ("p", "FP64", [2]),
        ("decision", "BYTES", [2]),
        ("n", "INT64", [2]),
    ]
    body = running.infer("chain", {**columns(), "outputs": [{"name": "n"}]}).json()
    assert body["outputs"] == [{"name": "n", "datatype": "INT64", "shape": [2], "data": [0, 1]}]


def test_a_matrix_becomes_the_columns_of_the_signature_and_is_kept_as_sent(running: Running) -> None:
    matrix = FRAME.head(2).to_numpy()
    body = running.infer("credit", {"inputs": [tensor("x", "FP64", matrix.tolist(), [2, 3])]}).json()
    event = running.workspace.ledger.event(int(body["parameters"]["prediction"])).event
    inputs, _, raw = kept_payloads(event)
    assert raw is not None
    np.testing.assert_array_equal(payloads.load(running.workspace, raw)["x"], matrix)
    pd.testing.assert_frame_equal(payloads.load(running.workspace, inputs), FRAME.head(2))


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("BOOL", [True, False], "bool"),
        ("INT8", [-128, 127], "int8"),
        ("UINT64", [0, 2**64 - 1], "uint64"),
        ("INT64", [-(2**63), 2**53 + 1], "int64"),
        ("FP16", [0.5, -0.0], "float16"),
        ("FP32", [0.1, None], "float32"),
        ("FP64", [-0.0, 5e-324], "float64"),
    ],
)
def test_every_datatype_arrives_and_returns_bit_for_bit(
    running: Running, datatype: str, data: list[Any], dtype: str
) -> None:
    body = running.infer("echo", {"inputs": [tensor("x", datatype, data)]}).json()
    expected = np.array([np.nan if x is None else x for x in data], dtype)
    # repr tells -0.0 from 0.0; NaN returns as null.
    returned = ["nan" if x is None else repr(x) for x in body["outputs"][0]["data"]]
    assert returned == [repr(x) for x in expected.tolist()]
    assert body["outputs"][0]["datatype"] == datatype
    event = running.workspace.ledger.event(int(body["parameters"]["prediction"])).event
    seen = payloads.load(running.workspace, kept_payloads(event)[0])
    assert seen.dtype == expected.dtype
    assert seen.tobytes() == expected.tobytes()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_json_has_no_word_for_arrives_and_returns_all_the_same(running: Running, encoding: str) -> None:
    request = {"id": "\ud800", "inputs": [tensor("x", "FP64", [math.inf, -math.inf, math.nan, 2**64, 1.5])]}
    answer = running.infer("echo", json.dumps(request).encode(encoding)).text
    assert '"data":[Infinity,-Infinity,null,1.8446744073709552e+19,1.5]' in answer
    assert '"id":"\\ud800"' in answer


def test_text_arrives_and_returns(running: Running) -> None:
    body = running.infer("echo", {"inputs": [tensor("x", "BYTES", ["ü", None]), tensor("y", "INT32", [1, 2])]}).json()
    assert [(o["name"], o["datatype"], o["data"]) for o in body["outputs"]] == [
        ("x", "BYTES", ["ü", None]),
        ("y", "INT32", [1, 2]),
    ]


def test_nested_data_columns_as_matrices_and_gzip_are_taken(running: Running) -> None:
    nested = {"inputs": [tensor(n, "FP64", [[v] for v in FRAME[n].head(2)], [2, 1]) for n in FRAME.columns]}
    plain = running.infer("credit", columns()).json()["outputs"]
    assert running.infer("credit", nested).json()["outputs"] == plain
    packed = gzip.compress(json.dumps(columns()).encode())
    assert running.infer("credit", packed, **{"content-encoding": "gzip"}).json()["outputs"] == plain


BAD: list[tuple[object, str]] = [
    (b"{", "not JSON"),
    (b"[1]", "not a JSON object"),
    ({}, "inputs: expected a list of tensors, got nothing"),
    ({"inputs": [1]}, r"inputs\[0\]: expected a tensor"),
    ({"inputs": [{"shape": [1]}]}, r"inputs\[0\].name: expected a string"),
    ({"inputs": [tensor("a", "FP65", [1])]}, "a.datatype: expected one of BOOL"),
    ({"inputs": [tensor("a", "FP64", [1], [-1])]}, "a.shape: expected a list of sizes"),
    ({"inputs": [tensor("a", "FP64", [1], [2])]}, r"a.data: expected 2 values for the shape \[2\], got 1"),
    ({"inputs": [tensor("a", "FP64", [1, "x"])]}, r"a.data\[1\]: expected a number \(FP64\), got 'x'"),
    ({"inputs": [tensor("a", "FP64", [True])]}, r"a.data\[0\]: expected a number \(FP64\), got True"),
    ({"inputs": [tensor("a", "INT8", [300])]}, r"a.data\[0\]: expected a whole number from -128 to 127"),
    ({"inputs": [tensor("a", "INT8", [1.5])]}, "a.data"),
    ({"inputs": [tensor("a", "BOOL", [1])]}, "expected true or false"),
    ({"inputs": [tensor("a", "BYTES", [1])]}, "expected a string"),
    ({"inputs": [tensor("a", "FP64", [1]), tensor("a", "FP64", [1])]}, "no other input has"),
    ({"inputs": [tensor("a", "FP64", [1]), tensor("b", "FP64", [1, 2])]}, "b.shape: expected 1 rows"),
    ({"inputs": [tensor("a", "FP64", [1]), tensor("b", "FP64", [1])]}, "column 'c'"),
    ({"inputs": [*columns()["inputs"], tensor("d", "FP64", [1, 2])]}, "column 'd'"),
    ({"inputs": [tensor(n, "BYTES", ["x"]) for n in "abc"]}, "column 'a': expected double, got 'x'"),
    ({**columns(), "id": 7}, "id: expected a string"),
    ({**columns(), "outputs": "p"}, "outputs: expected a list"),
    ({**columns(), "outputs": [{}]}, "outputs: expected objects with a name"),
    ({**columns(), "parameters": 3}, "parameters: expected an object"),
    ({"inputs": [{**tensor("a", "FP64", []), "data": None, "parameters": {"binary_data_size": 8}}]}, "binary"),
    (b'{"inputs":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested|not JSON|expected"),
]


@pytest.mark.parametrize(("body", "says"), BAD, ids=[says for _, says in BAD])
def test_wrong_input_names_the_field_and_is_not_recorded(running: Running, body: object, says: str) -> None:
    size = running.workspace.ledger.size()
    answer = running.infer("credit", body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert re.search(says, answer.json()["error"])
    assert running.workspace.ledger.size() == size


def test_an_output_that_there_is_not_is_refused(running: Running) -> None:
    answer = running.infer("chain", {**columns(), "outputs": [{"name": "q"}]})
    assert (answer.status_code, "p, decision, n" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/none", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("GET", "/v2/models/credit/versions/9", 404),
        ("POST", "/v2/models/credit/versions/9/infer", 404),
        ("GET", "/v2/models/credit/infer", 405),
        ("POST", "/v2", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/v2/models/../../etc/passwd", 404),
    ],
)
def test_what_is_not_there_is_said_as_json(running: Running, method: str, path: str, status: int) -> None:
    answer = running.client.request(method, path, content=b"{}")
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert ("Did you mean credit@v" in answer.json()["error"]) == ("versions/9" in path)


def test_a_model_that_takes_no_question_without_rows_refuses_it(running: Running) -> None:
    answer = running.infer("broken", {"inputs": [{"name": "n", "shape": [0], "datatype": "FP64", "data": []}]})
    assert (answer.status_code, "broken@v1 failed" in answer.json()["error"]) == (400, True)
    assert running.client.get(f"/v1/predictions/{answer.json()['parameters']['prediction_id']}").status_code == 200


def test_a_failing_model_answers_500_and_names_the_record(running: Running) -> None:
    answer = running.infer("broken", columns())
    assert answer.status_code == 500
    assert "OSError: the disk of the model" in answer.json()["error"]
    index = int(answer.json()["parameters"]["prediction"])
    assert running.workspace.ledger.event(index).event.body["status"] == "error"


def test_a_body_that_is_too_long_is_refused(running: Running) -> None:
    assert running.infer("credit", b" " * (1 << 20 | 1)).status_code == 413
    bomb = gzip.compress(b" " * (1 << 22))
    assert running.infer("credit", bomb, **{"content-encoding": "gzip"}).status_code == 413
    assert running.infer("credit", bomb[:-9], **{"content-encoding": "gzip"}).status_code in {400, 413}
    assert running.infer("credit", b"x", **{"content-encoding": "gzip"}).status_code == 400
    assert running.infer("credit", b"x", **{"content-encoding": "br"}).status_code == 415


def test_an_answer_given_elsewhere_is_recorded(running: Running) -> None:
    request = {
        "system": "mainframe",
        "model": "limits",
        "model_version": "7",
        "inputs": [{"income": 12.5}],
        "outputs": [0.25],
        "at": "2019-11-07T20:34:00Z",
        "caller": "Ann",
    }
    answer = running.client.post("/v1/predictions", json=request)
    assert answer.status_code == 201
    (row,) = search(running.workspace, model="limits").rows
    assert (answer.json()["prediction"], row.caller, row.kind) == (row.reference, "Ann", "declared")
    for change, says in (
        ({"system": None}, "names its system"),
        ({"at": "soon"}, "not a time"),
        ({"outputs": [1, 2]}, "rows of inputs: 1, and of outputs: 2"),
        ({"model": 7}, "model: expected a string"),
        ({"caller": "c" * 201}, "caller: expected at most 200 characters"),
    ):
        refused = running.client.post("/v1/predictions", json={**request, **change})
        assert refused.status_code == 400
        assert says in refused.json()["error"]


def test_a_moved_alias_is_followed(tmp_path: Path) -> None:
    with make_workspace(tmp_path) as workspace:
        register_source(workspace, "m", "def predict(x):\n    return x * 1\n")
        alias(workspace, "m@live", "1", reason="x")
        served = Running(workspace, ["m@live"])
        try:
            ask = {"inputs": [tensor("x", "INT64", [5])]}
            assert served.infer("m", ask).json()["outputs"][0]["data"] == [5]
            register_source(workspace, "m", "def predict(x):\n    return x * 2\n")
            assert served.infer("m", ask).json()["model_version"] == "1"
            alias(workspace, "m@live", "2", reason="y")
            body = served.infer("m", ask).json()
            assert (body["model_version"], body["outputs"][0]["data"]) == ("2", [10])
            body = served.infer("m/versions/1", ask).json()
            assert (body["model_version"], body["outputs"][0]["data"]) == ("1", [5])
            counted = served.client.get("/metrics").text
            for name in (
                "retrodict_rows_total",
                "retrodict_questions_per_call_count",
                "retrodict_inference_seconds_count",
            ):
                assert f'{name}{{model="m"}} 4.0' in counted  # however the version was asked for
        finally:
            served.stop()
        note = workspace.ledger.checkpoint()
        assert note is not None
        assert decode_checkpoint(note).size == workspace.ledger.size()


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    with make_workspace(tmp_path) as workspace:
        register_source(workspace, "echo", ECHO)
        with pytest.raises(OpenServerError):
            Server(workspace, ["echo"], host="0.0.0.0", port=0)
        with pytest.raises(OpenServerError):
            Server(workspace, ["echo"], host="::", port=0)
        served = Running(workspace, ["echo"], token="geheim-ü")
        try:
            ask = {"inputs": [tensor("x", "INT64", [5])]}
            refused = served.infer("echo", ask)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            for wrong in ("Bearer x", "Basic geheim", "Bearer", "geheim"):
                assert served.infer("echo", ask, authorization=wrong).status_code == 401
            raw = {b"authorization": "Bearer geheim-ü".encode()}
            answer = served.client.post("/v2/models/echo/infer", json=ask, headers=raw)
            assert answer.status_code == 200
            assert served.client.get("/v2/health/live").status_code == 200
            assert served.client.get("/v2").status_code == 401
            assert workspace.ledger.event(workspace.ledger.size() - 1).event.kind == "prediction.made"
        finally:
            served.stop()


def test_what_cannot_be_served_is_said_before_anything_listens(tmp_path: Path) -> None:
    with make_workspace(tmp_path) as workspace:
        register_source(workspace, "echo", ECHO)
        with pytest.raises(UnknownReferenceError):
            Server(workspace, ["eco"], port=0)
        with pytest.raises(UsageError, match="named twice"):
            Server(workspace, ["echo", "echo@v1"], port=0)
        with pytest.raises(UsageError, match="no model"):
            Server(workspace, [], port=0)
        first = Server(workspace, ["echo"], port=0)
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(AddressError):
            Server(workspace, ["echo"], port=port)
        first.close()
