"""Real clients, unmodified: tritonclient, kserve (in an environment of its own) and schemathesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import tritonclient.http as triton
from sklearn.linear_model import LogisticRegression
from tests.server.running import Running

from retrodict.testing.workbench import make_workspace, register_object, register_source

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
MODEL = LogisticRegression().fit(FRAME, (FRAME["a"] + FRAME["b"] > 0).astype(int))
MATRIX = FRAME.head(4).to_numpy()
MAKE = Path(__file__).parents[1] / "environments" / "make.sh"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with make_workspace(tmp_path_factory.mktemp("clients")) as workspace:
        register_object(workspace, "credit", MODEL, example=FRAME.head(3), method="predict_proba")
        register_source(workspace, "echo", "def predict(frame):\n    return frame\n")
        running = Running(workspace, ["credit", "echo"])
        yield running
        running.stop()


@pytest.fixture
def client(served: Running) -> Iterator[Any]:
    where = urlsplit(served.url)
    with triton.InferenceServerClient(where.netloc) as made:
        yield made


def test_triton_asks_for_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("credit")
    assert client.is_model_ready("credit", "1")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "retrodict"
    assert [i["name"] for i in client.get_model_metadata("credit")["inputs"]] == ["a", "b", "c"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_triton_infers(client: Any, binary_in: bool, binary_out: bool | None, compression: str | None) -> None:
    asked = triton.InferInput("x", [4, 3], "FP64")
    asked.set_data_from_numpy(MATRIX, binary_data=binary_in)
    name = client.get_model_metadata("credit")["outputs"][0]["name"]
    outputs = None if binary_out is None else [triton.InferRequestedOutput(name, binary_data=binary_out)]
    answer = client.infer(
        "credit",
        [asked],
        model_version="1",
        outputs=outputs,
        request_id="r-1",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    np.testing.assert_array_equal(answer.as_numpy(name), MODEL.predict_proba(FRAME.head(4)))
    assert answer.get_response()["id"] == "r-1"
    assert answer.get_response()["parameters"]["prediction"]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", np.array([True, False])),
        ("INT8", np.array([-128, 127], "i1")),
        ("UINT64", np.array([0, 2**64 - 1], "u8")),
        ("FP32", np.array([0.1, 2.5], "f4")),
        ("BYTES", np.array(["ü", "b"], object)),
    ],
)
def test_triton_gets_back_what_it_sent(client: Any, datatype: str, values: Any, binary: bool) -> None:
    asked = triton.InferInput("x", [2], datatype)
    asked.set_data_from_numpy(values, binary_data=binary)
    answer = client.infer("echo", [asked], outputs=[triton.InferRequestedOutput("output", binary_data=binary)])
    returned = answer.as_numpy("output").tolist()
    if datatype == "BYTES":
        returned = [text.decode() if isinstance(text, bytes) else text for text in returned]
    assert returned == values.tolist()


def test_triton_reads_our_errors(client: Any) -> None:
    asked = triton.InferInput("x", [2], "FP32")
    asked.set_data_from_numpy(np.array([1, 2], "f4"))
    with pytest.raises(triton.InferenceServerException, match="names of outputs"):
        client.infer("echo", [asked], outputs=[triton.InferRequestedOutput("none")])
    with pytest.raises(triton.InferenceServerException, match="no model 'none'"):
        client.get_model_metadata("none")


KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

async def main(url):
    matrix = np.array(json.loads(sys.argv[2]))
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    said = [await client.is_server_live(url), await client.is_server_ready(url)]
    said.append(await client.is_model_ready(url, "credit"))
    answers = []
    for use_binary in (True, False):
        asked = InferInput(name="x", shape=list(matrix.shape), datatype="FP64")
        asked.set_data_from_numpy(matrix, binary_data=use_binary)
        request = InferRequest(model_name="credit", infer_inputs=[asked], request_id="k-1")
        answer = await client.infer(url, request, model_name="credit")
        answers.append([answer.id, answer.model_name, answer.outputs[0].as_numpy().tolist()])
    print(json.dumps([said, answers]))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.timeout(600)
def test_kserve_infers(served: Running) -> None:
    made = subprocess.run(["bash", str(MAKE), "kserve"], capture_output=True, text=True, check=False)
    if made.returncode:
        if os.environ.get("CI"):
            pytest.fail(made.stderr)
        pytest.skip(f"kserve's environment cannot be made here: {made.stderr.strip()[-300:]}")
    command = [made.stdout.strip(), "-c", KSERVE, served.url, json.dumps(MATRIX.tolist())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said, answers = json.loads(done.stdout.splitlines()[-1])
    assert said == [True, True, True]
    for request_id, name, output in answers:
        assert (request_id, name) == ("k-1", "credit")
        np.testing.assert_array_equal(output, MODEL.predict_proba(FRAME.head(4)))


@pytest.mark.timeout(600)
def test_schemathesis_finds_no_500_and_no_answer_that_is_not_described(served: Running) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{served.url}/openapi.json"]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    options = ["--checks", checks, "--max-examples", "40", "--seed", "1", "--no-color"]
    phases = ["--phases", "examples,coverage,fuzzing"]
    done = subprocess.run([*command, *options, *phases], capture_output=True, text=True, check=False, cwd="/tmp")
    assert done.returncode == 0, done.stdout[-6000:]
    assert served.is_well()
