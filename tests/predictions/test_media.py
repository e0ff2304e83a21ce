"""Values that are no numbers: kept bit for bit, shown in a bounded line, compared by what people see."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrodict.actions.predictions import search, to_csv
from retrodict.predictions import media, payload
from retrodict.render.explanation import pictured
from retrodict.replay.compare import compare
from retrodict.serving import Service
from retrodict.testing.workbench import make_workspace, register_source

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "u1")


def encoded(pixels: Any, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def back(value: Any) -> Any:
    kept = payload.encode(value)
    return payload.decode(kept.codec, kept.schema, kept.batch, kept.meta)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_an_image_comes_back_with_every_pixel(mode: str) -> None:
    image = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode).convert(mode)
    again = back([image])[0]
    assert (again.mode, again.size, again.tobytes()) == (mode, (7, 5), image.tobytes())
    assert again.convert("RGB").tobytes() == image.convert("RGB").tobytes()
    assert payload.rows(image) == 1


def test_an_array_of_pixels_is_one_row_and_several_are_several() -> None:
    assert (payload.rows(PIXELS), payload.rows(np.stack([PIXELS] * 4))) == (1, 4)
    (one,), many = payload.to_records(PIXELS), payload.to_records(np.stack([PIXELS] * 4))
    assert one == many[0] == {"value": media.picture(PIXELS)}
    assert (back(PIXELS) == PIXELS).all()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Image.fromarray(PIXELS), "RGB image 7×5, 105 bytes, b3-"),
        (PIXELS, "RGB image 7×5, 105 bytes, b3-"),
        (encoded(PIXELS, "PNG"), "PNG image 7×5, "),
        (encoded(PIXELS, "JPEG"), "JPEG image 7×5, "),
        (encoded(PIXELS, "GIF"), "GIF image 7×5, "),
        (b"\xff\xd8\xff", "JPEG image, 3 bytes"),
        (b"abc", "3 bytes, b3-"),
        (list(range(100)), "[0, 1, 2, 3, 4, … 95 more]"),
        ({"a": ["x"], "b": {"c": {"d": [1]}}}, "{a: ['x'], b: {c: {d: 1 entries}}}"),
        ("x" * 1000, "x" * 300 + "… (1,000 characters)"),
        ("short", "short"),
        ([["y" * 400] * 9] * 9, "[['" + "y" * 300 + "… (400 characters)'"),
        (-0.0, "-0.0"),
        (None, "None"),
    ],
)
def test_a_value_is_shown_in_a_bounded_line(value: Any, says: str) -> None:
    assert media.brief(value).startswith(says)
    assert len(media.brief(value)) <= 1001


def test_a_long_row_without_names_is_a_list() -> None:
    assert media.brief_row({str(i): i for i in range(20)}) == list(range(20))
    assert media.brief_row({str(i): i for i in range(12)}) is None
    assert media.brief_row({"0": "b", "1": "a"}) == ["b", "a"]  # a ranking, however short
    assert media.brief_row({"0": "b"}) is media.brief_row({"0": "b", "1": 0.5}) is None
    assert media.brief_row({f"x{i}": i for i in range(20)}) is None


@pytest.mark.parametrize("channels", [3, 4])
def test_what_a_page_shows_has_the_pixels_of_the_image(channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, channels), "u1")
    found = media.picture(pixels)
    assert found is not None
    drawn = Image.open(io.BytesIO(found.png))
    drawn.load()
    assert (np.asarray(drawn) == pixels).all()
    assert 'src="data:image/png;base64,' in str(pictured(pixels))
    assert pictured("<b>") == "<b>"
    assert media.inline(np.random.default_rng(2).integers(0, 256, (300, 300, 3), "u1")) is None


def test_images_are_compared_by_their_pixels() -> None:
    other = PIXELS.copy()
    other[2, 3, 1] ^= 1
    assert compare(Image.fromarray(PIXELS), Image.fromarray(PIXELS)).verdict == "replicated"
    found = compare([Image.fromarray(PIXELS)], [Image.fromarray(other)])
    assert (found.verdict, found.cells) == ("differs", 1)
    assert found.structure is not None
    assert "1 of 35 pixels differ; first 3 to the right, 2 down" in found.structure
    once, again = encoded(PIXELS, "PNG", compress_level=0), encoded(PIXELS, "PNG", compress_level=9)
    assert compare(once, once).verdict == "replicated"
    assert compare(once, again).structure == "value: every pixel is the same, encoded otherwise"
    assert "1 of 35 pixels" in str(compare(once, encoded(other, "PNG")).structure)
    assert compare(b"a", b"b").structure is None
    assert "7×5 (RGB) became" in str(compare(Image.fromarray(PIXELS), Image.fromarray(PIXELS[:2])).structure)


def test_lists_of_other_lengths_name_the_first_difference() -> None:
    assert compare(["a", "b"], ["a", "c", "d"]).structure == (
        "value: 2 values became 3; the first that differs is value[1]: b then, c now"
    )
    assert compare([1], [1, 2]).structure == "value: 1 values became 2; the first 1 are the same"


def test_models_that_answer_so_are_on_record_and_listed(tmp_path: Any) -> None:
    answers = {
        "ranked": "[[f'item {i}' for i in range(50)]]",
        "text": "['word ' * 500]",
        "image": "Image.new('RGB', (7, 5), (1, 2, 3))",
        "pixels": "np.zeros((1, 4, 6, 3), 'u1')",
        "png": f"[{encoded(PIXELS, 'PNG')!r}]",
        "json": "[{'found': [{'box': [1, 2], 'label': 'cat'}], 'n': 1}]",
    }
    with make_workspace(tmp_path) as workspace:
        service = Service(workspace, {})
        for name, expression in answers.items():
            source = f"import numpy as np\nfrom PIL import Image\n\ndef predict(x):\n    return {expression}\n"
            register_source(workspace, name, source)
            service.predict(name, [{"x": 1}])
        found = search(workspace, limit=10, oldest_first=True)
        table = to_csv(found)
    outputs = [json.loads(line) for line in _last_cells(table)]
    assert outputs[0]["49"] == "item 49"
    assert outputs[2]["image"] == "RGB"
    assert outputs[3] == outputs[3] | {"image": "RGB", "width": 6, "height": 4}
    assert outputs[4]["image"] == "PNG"
    assert outputs[5]["found"] == [{"box": [1, 2], "label": "cat"}]


def _last_cells(table: str) -> list[str]:
    import csv

    return [row[-1] for row in csv.reader(io.StringIO(table))][1:]
