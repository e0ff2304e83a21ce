"""The page that the demonstration leaves for the customer's lawyer, in Chromium."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Demonstration

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_the_demonstration_is_whole(
    demonstration: Demonstration, chromium: Any, width: int, tmp_path: Path
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (demonstration.folder / "explanation.html").as_uri()
    page.goto(address)
    headings = page.locator("h2").all_inner_texts()
    assert [text for n in range(1, 10) for text in headings if text.lstrip().startswith(str(n))][:9] == headings[:9]
    assert said == []
    assert asked == [address]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"explanation-{width}.png", full_page=True)
    assert (folder / f"explanation-{width}.png").stat().st_size > 50_000
    page.close()
