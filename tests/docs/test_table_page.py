"""The page of a table, in Chromium: with values that would be markup, on a desktop and on a phone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.tables.conftest import open_at

from retrodict.actions import table_change, table_page
from retrodict.actions.init import init
from retrodict.actions.tabling import how_of
from retrodict.kernel.clock import SystemClock
from retrodict.render import table_page as render

pytestmark = pytest.mark.browser
HOSTILE = (
    "<script>alert(1)</script>",
    "</script></style></title><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
    "\u202egnp.exe\x1b[2J\x00",
    "a" * 5000,
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a table whose name, columns, values, people, reasons and statements are all hostile."""
    folder = tmp_path_factory.mktemp("page")
    root = folder / "project"
    init(root, folder / "state", SystemClock(), agent="<b onclick=alert(1)>Mallory</b>")
    with open_at(root, "<b onclick=alert(1)>Mallory</b>") as workspace:
        name, columns = "<i>loans", {"</script>": "text", "<b>": "int64"}
        table_change.create(workspace, name, ["</script>"], types=columns, how=how_of(workspace, "create"))
        for shift in (0, 1):
            for i, text in enumerate(HOSTILE):
                how = how_of(workspace, "put", reason=HOSTILE[i - shift], statement=text)
                table_change.put(workspace, name, [{"</script>": text, "<b>": i + shift}], how=how)
        (folder / "page.html").write_text(render.to_html(table_page.page(workspace, name)))
    return folder / "page.html"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_no_value_is_markup_and_nothing_is_cut_off(
    hostile: Path, chromium: Any, width: int, scheme: str, tmp_path: Path
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    def refuse(dialog: Any) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", refuse)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(hostile.as_uri())
    page.hover(".blame td a")
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.locator("img, [onclick], [onmouseover], h1 i").count() == 0
    assert "\u202e" not in page.content()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.screenshot(path=folder / f"table-{width}-{scheme}.png", full_page=True)
    # A record is found by its key (another one has the same text as its reason), and its history opens.
    page.fill("#q", HOSTILE[2])
    assert page.locator("#records .record:visible").count() == 2
    page.locator("tr:visible th a").last.click()
    assert "~ <b> 2 → 3" in " ".join(page.locator("#records .step:visible").first.inner_text().split())
    # A cell says who made it so, when, how and why, and what it was before.
    page.locator("tr:visible a.made").last.click()
    told = page.locator("#cell").inner_text()
    assert "it was 2" in told
    assert "Mallory</b>" in told
    assert f"“{HOSTILE[1]}”" in told
    assert f"put: {HOSTILE[2]}" in told
    page.keyboard.press("Escape")
    assert page.locator("#cell").is_hidden()
    assert said == []
    assert asked == [hostile.as_uri()]
    page.close()
