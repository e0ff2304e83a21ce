"""An explanation as text and as a page: all of it is there, nothing is run, nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from retrodict.actions.explanation import Explanation, Fact
from retrodict.diagnose.attribution import Attribution
from retrodict.render.explanation import displayed, rounded, signed, strongest, to_html, to_text


def drawn(explanation: Explanation, width: int) -> str:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(to_text(explanation))
    return captured.get()


def every(facts: tuple[Fact, ...]) -> Iterator[Fact]:
    for fact in facts:
        yield fact
        yield from every(fact.facts)


class Page(HTMLParser):
    """What a browser would make of the page: its text, its tags, whether they are balanced."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(params=["plain", "replayed"])
def explanation(request: pytest.FixtureRequest) -> Explanation:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.mark.parametrize("width", [60, 100, 200])
def test_text_fits_the_width_and_has_every_line(explanation: Explanation, width: int) -> None:
    plain = explanation
    text = drawn(plain, width)
    assert max(len(line) for line in text.splitlines()) <= width
    flat = " ".join(text.split())
    for number, answer in enumerate(plain.answers, 1):
        assert f"{number} {answer.question}" in flat
    if width == 200:
        for fact in every(plain.answers[5].facts):
            assert all(" ".join(line.split()) in flat for line in fact.lines)
            assert fact.says[:40] in flat


def test_the_page_needs_nothing_and_is_balanced(explanation: Explanation) -> None:
    plain, html = explanation, to_html(explanation)
    page = Page(html)
    assert not page.open
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"} == set()
    assert not re.search(r"(?i)url\(|@import|src=|https?://(?!www\.w3\.org)", html)
    assert all(href is None or href.startswith("#") for tag, a in page.tags for href in [a.get("href")])
    anchors = {a["id"] for _, a in page.tags if "id" in a}
    assert {a["href"][1:] for _, a in page.tags if a.get("href")} <= anchors  # type: ignore[index]
    for answer in plain.answers:
        assert answer.question in page.text
        for fact in every(answer.facts):
            assert " ".join(fact.says.split()) in page.text
    assert plain.subject.leaf_hash in page.text
    assert plain.origin in page.text


def test_the_sample_is_stated_so_that_it_can_be_drawn_again(replayed: Explanation) -> None:
    for said in (drawn(replayed, 200), Page(to_html(replayed)).text):
        assert "Counted on 6 of the 12 other logged calls" in said
        assert "seed 0" in said


def test_everything_is_escaped(plain: Explanation) -> None:
    evil = "<script>alert('x')</script>\"&"
    fact = Fact(
        says=evil, evidence="observed", state="held", ref=evil, lines=(evil,), facts=(replace(FACT, says=evil),)
    )
    subject = replace(plain.subject, model=evil, caller=evil, answer=((evil, evil),), disputes=(fact,), error=evil)
    answers = tuple(replace(a, says=evil, facts=(fact, replace(fact, kind="command"))) for a in plain.answers)
    html = to_html(replace(plain, subject=subject, answers=answers, summary=(evil,), origin=evil))
    assert "<script" not in html
    assert not Page(html).open
    assert evil in Page(html).text


FACT = Fact(says="x", evidence="inferred", state="missing", kind="gap")


def test_a_notebook_shows_a_part_of_a_page_whose_style_stays_inside(plain: Explanation) -> None:
    shown = displayed(plain)
    part = shown._repr_html_()
    assert "<html" not in part
    assert "<body" not in part
    style = re.search(r"<style>(.*?)</style>", part, re.DOTALL)
    assert style is not None
    rules = re.sub(r"@media[^{]*\{", "", style[1])
    for selectors in re.findall(r"([^{}]+)\{[^{}]*\}", rules):
        assert all(selector.strip().startswith(".retrodict") for selector in selectors.split(",")), selectors
    assert str(shown).startswith(f"Prediction {plain.subject.ref}")
    assert shown.answers == plain.answers


def test_numbers_are_short_and_zero_is_zero() -> None:
    assert [rounded(x) for x in (0.123456, 12345.6, 1e-9, 2e20)] == ["0.1235", "12,346", "1e-09", "2e+20"]
    assert [signed(x) for x in (0.5, -0.5, 0.0)] == ["+0.5", "−0.5", "0"]
    result = Attribution(
        target="t",
        names=("a", "b", "c"),
        given=(1, 2, 3),
        values=(1e-17, -2.0, 1.0),
        errors=(0.0, 0.0, 0.0),
        output=0.0,
        base=1.0,
        kind="exact",
        method="m",
        citation="c",
        background_rows=1,
    )
    assert [(name, value) for name, _, value, _ in strongest(result)] == [("b", -2.0), ("c", 1.0), ("a", 0.0)]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (1100, "dark"), (420, "light")])
def test_the_page_looks_right_in_a_browser(
    explanation: Explanation, chromium: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    path = tmp_path / "explanation.html"
    path.write_text(to_html(explanation))
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing runs out of the page
    assert page.locator("main h2").count() == 9 + (explanation.versus is not None)
    ink, paper = page.evaluate(
        "(() => { const m = getComputedStyle(document.querySelector('main'));"
        " return [m.color, m.backgroundColor].map(c => c.match(/\\d+/g).slice(0, 3).map(Number)); })()"
    )
    assert (sum(ink) < sum(paper)) == (scheme == "light")
    # No column is squeezed until words stand in it letter by letter: the table is scrolled instead.
    squeezed = "td => td.innerText.trim().length > 8 && td.clientWidth < 60"
    assert page.evaluate(f"[...document.querySelectorAll('td')].filter({squeezed}).map(td => td.innerText)") == []
    for box in page.locator("li .line").all()[:40]:
        assert box.bounding_box()["width"] > 0
    page.emulate_media(media="print")
    if width > 1000:  # paper cannot be scrolled: A4 less the margins is 182 mm, 688 px
        page.set_viewport_size({"width": 688, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 688
    hidden = page.locator("details pre").first
    assert hidden.bounding_box() is not None
    image = page.screenshot(full_page=True, path=tmp_path / "explanation.png")
    assert len(image) > 50_000
    assert said == []
    page.close()
