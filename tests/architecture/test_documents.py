"""The documents speak of what there is: commands parse, links lead somewhere, kinds of events are all described."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from retrodict.cli.door import VERBS
from retrodict.testing.commandline import commands, parse

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "retrodict"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KIND = re.compile(r"[a-z]+(?:\.[a-z_]+)+")


def _blocks(page: Path) -> Iterator[str]:
    """Yield the fenced blocks that hold a shell session."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        if language in ("sh", "bash", "shell", "console"):
            yield block.replace("\\\n", " ")


def _commands(page: Path) -> Iterator[list[str]]:
    """Yield every retrodict command of a page, as words."""
    for block in _blocks(page):
        prompts = re.findall(r"^\s*\$ (.*)$", block, re.MULTILINE)
        for line in prompts or block.splitlines():
            yield from commands(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_on_a_page_parses(page: Path) -> None:
    wrong = []
    for words in _commands(page):
        try:
            parse(words)
        except click.exceptions.Exit:
            pass  # --help and --version
        except click.ClickException as error:
            wrong.append(f"retrodict {shlex.join(words)}: {error.format_message()}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_verb_that_a_page_names_exists(page: Path) -> None:
    if page.parent.name == "formats":
        return  # there, `retrodict tree v1` and the like are the contexts of digests
    named = re.findall(r"`retrodict ([a-z]+(?:-[a-z]+)*)\b", page.read_text())
    assert [verb for verb in named if verb not in VERBS] == []


def test_the_threat_model_says_how_far_each_dependency_is_trusted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = itertools.chain(project["dependencies"], *project["optional-dependencies"].values())
    needed = {re.split(r"[><=\[]", line)[0] for line in lines} - {project["name"]}
    text = (ROOT / "docs/design.md").read_text()
    trusted = text[text.index("One sentence of trust") : text.index("## Where this departs")]
    assert {name for name in needed if not re.search(rf"\b{re.escape(name)}\b", trusted, re.IGNORECASE)} == set()


def test_every_verb_that_a_message_names_exists() -> None:
    """Hints and texts in the source tell people to run commands; those commands must be there."""
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                wrong += [
                    f"{path.relative_to(SOURCE)}:{node.lineno}: {verb}"
                    for verb in re.findall(r"`retrodict ([a-z]+(?:-[a-z]+)*)\b", node.value)
                    if verb not in VERBS
                ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            wrong.append(target)
    assert wrong == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _written_kinds() -> set[str]:
    """Return the kinds of events that the source writes: as `kind=`, or as the first argument of `event`."""
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        if "testing" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            given = [keyword.value for keyword in node.keywords if keyword.arg == "kind"]
            if ast.unparse(node.func).split(".")[-1] in ("event", "_draft", "draft"):
                given += node.args[:1]
            for value in given:
                match value:
                    case ast.Constant(value=str(text)) if KIND.fullmatch(text):
                        found.add(text)
    return found


def test_every_kind_of_event_is_described_and_no_other() -> None:
    page = (ROOT / "docs" / "formats" / "event.md").read_text()
    described = {
        kind for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE) for kind in re.findall(r"`([^`]+)`", heading)
    }
    described = {kind for kind in described if KIND.fullmatch(kind)}
    written = _written_kinds()
    assert {"dataset.added", "run.finished", "prediction.made"} <= written
    assert described == written


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    missing = [
        str(page.relative_to(ROOT / "docs"))
        for page in PAGES
        if page.is_relative_to(ROOT / "docs")
        and page.name != "README.md"
        and str(page.relative_to(ROOT / "docs")) not in index
    ]
    assert missing == []


def test_the_design_page_names_every_room() -> None:
    page = (ROOT / "docs" / "design.md").read_text()
    rooms = {
        p.stem for p in SOURCE.iterdir() if (p.is_dir() or p.suffix == ".py") and not p.name.startswith(("_", "."))
    }
    missing = [room for room in sorted(rooms - {"py"}) if f"`{room}`" not in page and f"`{room}.py`" not in page]
    assert missing == []
