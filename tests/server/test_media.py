"""Answers over HTTP that are no plain tensors: images, ranked lists, numbers beside words."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from tests.server.running import Running, tensor

from retrodict.objects import digest_of
from retrodict.testing.workbench import make_workspace, register_source

MODELS = {
    "thumbnails": """
import numpy as np
from PIL import Image

def predict(frame):
    made = [Image.new("RGB", (8, 2 + i), (255, 0, i)) for i in range(len(frame))]
    return [{"label": "ü", "score": np.float32(0.5), "lost": float("nan"), "image": image} for image in made]
""",
    "equal": """
from PIL import Image

def predict(frame):
    return [Image.new("L", (3, 2), 7) for _ in range(len(frame))]
""",
    "encoded": """
def predict(frame):
    png = b"\\x89PNG\\r\\n\\x1a\\n" + bytes(8) + (5).to_bytes(4, "big") + (6).to_bytes(4, "big") + bytes(5)
    return [{"image": png, "other": b"\\xff\\x00"} for _ in range(len(frame))]
""",
    "ranked": """
def predict(frame):
    return [[("first", 0.5), ("second", 0.25)][: i + 1] for i in range(len(frame))]
""",
    "pairs": """
def predict(frame):
    return {"ranking": [[1, "a"], [2, "b"]][: len(frame)], "words": [["x", "y"], ["z", "w"]][: len(frame)]}
""",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with make_workspace(tmp_path_factory.mktemp("media")) as workspace:
        for name, source in MODELS.items():
            register_source(workspace, name, source)
        served = Running(workspace, list(MODELS))
        yield served
        served.stop()


def answer(running: Running, model: str, *, is_binary: bool = False) -> dict[str, Any]:
    asked = {"inputs": [tensor("x", "INT64", [1, 2])]}
    if is_binary:
        asked["parameters"] = {"binary_data_output": True}  # type: ignore[assignment]
    got = running.infer(model, asked)
    assert got.status_code == 200, got.text
    if not is_binary:
        return {output["name"]: output for output in got.json()["outputs"]}
    size = int(got.headers["Inference-Header-Content-Length"])
    return {"tail": got.content[size:], "head": json.loads(got.content[:size])}


def opened(said: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(said["base64"])))


def test_an_image_inside_json_comes_with_its_pixels(running: Running) -> None:
    output = answer(running, "thumbnails")["output"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2])
    rows = [json.loads(text) for text in output["data"]]
    for i, row in enumerate(rows):
        image = row.pop("image")
        assert row == {"label": "ü", "score": 0.5, "lost": None}
        assert (image["image"], image["width"], image["height"]) == ("RGB", 8, 2 + i)
        picture = opened(image)
        assert (picture.size, picture.getpixel((0, 0))) == ((8, 2 + i), (255, 0, i))
        assert image["digest"] == digest_of(picture.tobytes())


def test_images_of_one_size_come_as_images_too(running: Running) -> None:
    output = answer(running, "equal")["output"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2])
    assert [opened(json.loads(text)).getpixel((0, 0)) for text in output["data"]] == [7, 7]


def test_encoded_images_and_bytes_come_back_as_they_are(running: Running) -> None:
    row = json.loads(answer(running, "encoded")["output"]["data"][0])
    assert (row["image"]["image"], row["image"]["width"], row["image"]["height"]) == ("PNG", 5, 6)
    assert base64.b64decode(row["image"]["base64"])[:4] == b"\x89PNG"
    assert row["other"] == {"size_bytes": 2, "digest": digest_of(b"\xff\x00"), "base64": "/wA="}


def test_ranked_lists_are_json_texts_and_numbers_stay_numbers(running: Running) -> None:
    output = answer(running, "ranked")["output"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2])
    assert [json.loads(text) for text in output["data"]] == [[["first", 0.5]], [["first", 0.5], ["second", 0.25]]]
    binary = answer(running, "ranked", is_binary=True)
    assert json.loads(binary["tail"][4 : 4 + int.from_bytes(binary["tail"][:4], "little")]) == [["first", 0.5]]
    pairs = answer(running, "pairs")
    assert [json.loads(text) for text in pairs["ranking"]["data"]] == [[1, "a"], [2, "b"]]
    assert (pairs["words"]["shape"], pairs["words"]["data"]) == ([2, 2], ["x", "y", "z", "w"])
