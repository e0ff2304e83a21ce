"""Conformance to the Open Inference Protocol v2 over HTTP, and to its binary tensor extension.

Sources: github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md) and Triton's
extension_binary_data.md. The protocol has no suite of its own. Model `echo` answers with the frame that it is given.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.server.running import Running, tensor

from retrodict.actions.register import register
from retrodict.models import TensorSpec
from retrodict.server.errors import RequestError
from retrodict.server.tensors import read_bare
from retrodict.testing.workbench import make_workspace, register_source

TYPES: dict[str, tuple[str, list[Any]]] = {
    "BOOL": ("?", [True, False, True]),
    "UINT8": ("u1", [0, 1, 255]),
    "UINT16": ("<u2", [0, 1, 65535]),
    "UINT32": ("<u4", [0, 1, 2**32 - 1]),
    "UINT64": ("<u8", [0, 1, 2**64 - 1]),
    "INT8": ("i1", [-128, 0, 127]),
    "INT16": ("<i2", [-32768, 0, 32767]),
    "INT32": ("<i4", [-(2**31), 0, 2**31 - 1]),
    "INT64": ("<i8", [-(2**63), 0, 2**63 - 1]),
    "FP16": ("<f2", [0.5, -2.0, 65504.0]),
    "FP32": ("<f4", [0.5, -2.0, 1e30]),
    "FP64": ("<f8", [0.1, -0.0, 5e-324]),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with make_workspace(tmp_path_factory.mktemp("conformance")) as workspace:
        register_source(workspace, "echo", "def predict(frame):\n    return frame\n")
        register_source(workspace, "sum", "def predict(frame):\n    return frame.sum(axis=1).to_numpy()\n")
        path = workspace.root / "same.py"
        path.write_text("def predict(frame):\n    return frame\n")
        for name, rows in (("numbers", "x\n0.5\n"), ("texts", "x\na\n")):
            (workspace.root / f"{name}.csv").write_text(rows)
            register(workspace, f"{path}:predict", name, example=workspace.root / f"{name}.csv")
        running = Running(workspace, ["echo", "sum", "numbers", "texts"])
        yield running
        running.stop()


def ask(served: Running, body: dict[str, Any], tail: bytes | None = None, model: str = "echo", **headers: str) -> Any:
    content = json.dumps(body).encode()
    if tail is not None:
        headers["inference-header-content-length"] = str(len(content))
        content += tail
    return served.infer(model, content, **headers)


ONE = {"inputs": [tensor("x", "INT64", [1, 2])]}


# Health and metadata


@pytest.mark.parametrize("word", ["live", "ready"])
def test_health_is_200_and_says_so(served: Running, word: str) -> None:
    answer = served.client.get(f"/v2/health/{word}")
    assert (answer.status_code, answer.json()) == (200, {word: True})


def test_the_server_names_itself_its_version_and_its_extensions(served: Running) -> None:
    about = served.client.get("/v2").json()
    assert about.keys() == {"name", "version", "extensions"}
    assert "binary_tensor_data" in about["extensions"]


@pytest.mark.parametrize("path", ["/v2/models/echo", "/v2/models/echo/versions/1"])
def test_a_model_has_metadata(served: Running, path: str) -> None:
    about = served.client.get(path).json()
    assert {"name", "versions", "platform", "inputs", "outputs"} <= about.keys()
    assert (about["name"], about["versions"]) == ("echo", ["1"])


@pytest.mark.parametrize("path", ["/v2/models/echo/ready", "/v2/models/echo/versions/1/ready"])
def test_a_model_is_ready(served: Running, path: str) -> None:
    answer = served.client.get(path)
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


@pytest.mark.parametrize(
    "path", ["/v2/models/no", "/v2/models/no/ready", "/v2/models/echo/versions/9", "/v2/models/echo/versions/x/ready"]
)
def test_what_is_not_there_is_404_with_an_error(served: Running, path: str) -> None:
    answer = served.client.get(path)
    assert answer.status_code == 404
    assert isinstance(answer.json()["error"], str)


# Inference in JSON


def test_an_answer_names_model_version_and_outputs(served: Running) -> None:
    body = ask(served, ONE).json()
    assert (body["model_name"], body["model_version"]) == ("echo", "1")
    assert body["outputs"] == [{"name": "output", "shape": [2], "datatype": "INT64", "data": [1, 2]}]
    assert "id" not in body


def test_an_id_is_echoed(served: Running) -> None:
    assert ask(served, {**ONE, "id": "q / ü"}).json()["id"] == "q / ü"


@pytest.mark.parametrize("kind", [None, "application/json", "application/octet-stream", "text/plain", "nonsense"])
def test_any_content_type_will_do(served: Running, kind: str | None) -> None:
    assert ask(served, ONE, None, "echo", **({} if kind is None else {"content-type": kind})).status_code == 200


@pytest.mark.parametrize("datatype", TYPES)
def test_a_datatype_goes_in_json(served: Running, datatype: str) -> None:
    _, values = TYPES[datatype]
    (output,) = ask(served, {"inputs": [tensor("x", datatype, values)]}).json()["outputs"]
    assert output["datatype"] == datatype
    dtype = TYPES[datatype][0]
    np.testing.assert_array_equal(np.array(output["data"], dtype), np.array(values, dtype))


def test_bytes_go_in_json_as_text(served: Running) -> None:
    (output,) = ask(served, {"inputs": [tensor("x", "BYTES", ["", "ü", "日本"])]}).json()["outputs"]
    assert (output["datatype"], output["data"]) == ("BYTES", ["", "ü", "日本"])


def test_data_may_be_nested_or_flat(served: Running) -> None:
    flat = {"inputs": [tensor("x", "FP64", [1.0, 2.0], [2, 1])]}
    nested = {"inputs": [tensor("x", "FP64", [[1.0], [2.0]], [2, 1])]}
    assert ask(served, flat).json()["outputs"] == ask(served, nested).json()["outputs"]


def test_only_requested_outputs_are_given(served: Running) -> None:
    two = {"inputs": [tensor("x", "INT64", [1]), tensor("y", "INT64", [2])], "outputs": [{"name": "y"}]}
    assert [output["name"] for output in ask(served, two).json()["outputs"]] == ["y"]


def test_an_output_that_there_is_not_is_refused_and_the_answer_named(served: Running) -> None:
    refused = ask(served, {**ONE, "outputs": [{"name": "nope"}]})
    assert refused.status_code == 400
    assert "names of outputs" in refused.json()["error"]
    about = refused.json()["parameters"]  # the model was asked, and that is on record
    assert served.client.get(f"/v1/predictions/{about['prediction_id']}").json()["rows"]


def test_an_empty_list_of_outputs_means_all(served: Running) -> None:
    assert len(ask(served, {**ONE, "outputs": []}).json()["outputs"]) == 1


def test_unknown_parameters_are_let_through(served: Running) -> None:
    body = {**ONE, "parameters": {"priority": 3, "content_type": "np"}}
    assert ask(served, body).status_code == 200


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-zlib.MAX_WBITS)),
    ],
)
def test_a_body_may_be_compressed(served: Running, encoding: str, pack: Any) -> None:
    packed = pack(json.dumps(ONE).encode())
    assert served.infer("echo", packed, **{"content-encoding": encoding}).json()["outputs"][0]["data"] == [1, 2]


# The binary tensor extension


@pytest.mark.parametrize("datatype", TYPES)
def test_a_datatype_goes_in_binary_both_ways(served: Running, datatype: str) -> None:
    dtype, values = TYPES[datatype]
    data = np.array(values, dtype).tobytes()
    item = {"name": "x", "shape": [3], "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
    answer = ask(served, {"inputs": [item], "parameters": {"binary_data_output": True}}, data)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert (output["datatype"], output["shape"], "data" in output) == (datatype, [3], False)
    assert output["parameters"]["binary_data_size"] == len(data)
    assert answer.content[length:] == data


def test_bytes_go_in_binary_each_after_its_length(served: Running) -> None:
    data = b"".join(len(text).to_bytes(4, "little") + text for text in (b"", "ü".encode(), b"abc"))
    item = {"name": "x", "shape": [3], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    answer = ask(served, {"inputs": [item], "parameters": {"binary_data_output": True}}, data)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.content[length:] == data


def test_several_binary_tensors_follow_in_the_order_of_inputs_and_mix_with_json(served: Running) -> None:
    items = [
        {"name": "a", "shape": [2], "datatype": "INT32", "parameters": {"binary_data_size": 8}},
        tensor("b", "FP32", [1.5, 2.5]),
        {"name": "c", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}},
    ]
    tail = np.array([1, 2], "<i4").tobytes() + b"\x03\x04"
    outputs = ask(served, {"inputs": items}, tail).json()["outputs"]
    assert [output["data"] for output in outputs] == [[1, 2], [1.5, 2.5], [3, 4]]


def test_each_output_may_choose_its_form(served: Running) -> None:
    body = {
        "inputs": [tensor("a", "INT32", [1]), tensor("b", "INT32", [2])],
        "outputs": [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}],
    }
    answer = ask(served, body)
    length = int(answer.headers["inference-header-content-length"])
    first, second = json.loads(answer.content[:length])["outputs"]
    assert (first["parameters"], second["data"], answer.content[length:]) == (
        {"binary_data_size": 4},
        [2],
        b"\x01\x00\x00\x00",
    )
    body["outputs"] = [{"name": "a", "parameters": {"binary_data": False}}]
    body["parameters"] = {"binary_data_output": True}
    assert ask(served, body).json()["outputs"][0]["data"] == [1]


def test_an_empty_binary_tensor_has_no_bytes(served: Running) -> None:
    item = {"name": "x", "shape": [0], "datatype": "FP64", "parameters": {"binary_data_size": 0}}
    assert ask(served, {"inputs": [item]}, b"").json()["outputs"][0]["shape"] == [0]


def binary(size: int, **changes: Any) -> dict[str, Any]:
    item = {"name": "x", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": size}}
    return {"inputs": [{**item, **changes}]}


@pytest.mark.parametrize(
    ("body", "tail", "says"),
    [
        (binary(8), b"\0" * 7, "binary_data_size"),
        (binary(8), b"\0" * 9, "belong to no tensor"),
        (binary(4), b"\0" * 4, "8 bytes"),
        (binary(-1), b"", "binary_data_size"),
        (binary(8, data=[1.0]), b"\0" * 8, "since the tensor is binary, got values"),
        (binary(8, datatype="BF16"), b"\0" * 8, "BF16 is not supported"),
        (binary(1, datatype="BOOL"), b"\2", "0 and 1 (BOOL), got others"),
        (binary(4, datatype="BYTES"), b"\xff\xff\xff\xff", "length"),
        (binary(5, datatype="BYTES"), b"\1\0\0\0\xff", "UTF-8 (BYTES), got other bytes"),
        (binary(2, datatype="BYTES"), b"\0\0", "length"),
        (binary(8, parameters={"shared_memory_region": "r"}), b"", "shared memory"),
        ({**ONE, "outputs": [{"name": "x", "parameters": {"classification": 2}}]}, b"", "classification"),
        ({**ONE, "parameters": {"binary_data_output": "yes"}}, b"", "true or false"),
        ({"inputs": [tensor("x", "BF16", [1.0])]}, None, "BF16 is not supported"),
    ],
)
def test_a_wrong_tensor_is_400_with_an_error(served: Running, body: Any, tail: bytes | None, says: str) -> None:
    size = served.workspace.ledger.size()
    answer = ask(served, body, tail)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert served.workspace.ledger.size() == size


@pytest.mark.parametrize("length", ["-1", "x", "999999", "1e3", "9" * 30])
def test_a_wrong_header_length_is_400(served: Running, length: str) -> None:
    answer = served.infer("echo", ONE, **{"inference-header-content-length": length})
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


def bare(served: Running, model: str, content: bytes) -> Any:
    return served.infer(model, content, **{"inference-header-content-length": "0", "content-type": "image/png"})


def test_a_body_without_json_is_the_only_input(served: Running) -> None:
    """Triton's raw binary request; it is answered in binary."""
    sent = np.array([1.5, -0.0, np.nan], "<f8").tobytes()
    for model, content, shape, tail in (
        ("numbers", sent, [3], sent),
        ("texts", "ü{".encode(), [1], b"\3\0\0\0" + "ü{".encode()),
    ):
        answer = bare(served, model, content)
        size = int(answer.headers["inference-header-content-length"])
        (output,) = json.loads(answer.content[:size])["outputs"]
        assert (output["shape"], answer.content[size:]) == (shape, tail)
    for model, content in (("numbers", b"123"), ("texts", b"\xff"), ("echo", b"12345678"), ("nothing", b"")):
        refused = bare(served, model, content)
        assert refused.status_code == (404 if model == "nothing" else 400)
        assert refused.json()["error"]


@pytest.mark.parametrize(
    ("shape", "size", "found"),
    [((-1, 2), 24, (3, 2)), ((-1, -1), 12, (1, 3)), ((2, 3), 24, (2, 3)), ((-1,), 0, (0,))],
)
def test_the_shape_of_a_tensor_follows_from_the_size_of_the_body(
    shape: tuple[int, ...], size: int, found: tuple[int, ...]
) -> None:
    spec = TensorSpec(dtype="float32", shape=shape)
    assert read_bare((spec,), memoryview(bytes(size)))["input"].shape == found


@pytest.mark.parametrize("shape", [(), (-1, 0), (-1, -1, -1), (2, 2)])
def test_a_shape_that_does_not_follow_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestError):
        read_bare((TensorSpec(dtype="float32", shape=shape),), memoryview(bytes(8)))
