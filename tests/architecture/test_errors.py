"""Every error has a name of its own, says what to do, and has a section in `docs/errors.md`."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
from pathlib import Path

import click
import pytest

import retrodict
from retrodict.cli.door import VERBS, cli
from retrodict.kernel.errors import RetrodictError

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "retrodict"
PAGE = (ROOT / "docs" / "errors.md").read_text()


def _load_all() -> None:
    for module in pkgutil.walk_packages(retrodict.__path__, "retrodict."):
        if ".demo.credit." not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _family(cls: type[RetrodictError]) -> list[type[RetrodictError]]:
    return [cls] + [below for sub in cls.__subclasses__() for below in _family(sub)]


_load_all()
ERRORS = sorted(
    {cls for cls in _family(RetrodictError) if cls.__module__.startswith("retrodict.")}, key=lambda c: c.__name__
)
SECTIONS = re.findall(r"^### ([a-z0-9-]+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_an_error_has_a_slug_of_its_own(error: type[RetrodictError]) -> None:
    assert "slug" in vars(error), f"{error.__name__} has the slug of its parent"
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", error.slug)
    assert [e.__name__ for e in ERRORS if e.slug == error.slug] == [error.__name__]
    assert error.__name__.endswith("Error")


def test_the_page_has_a_section_for_each_slug_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(error.slug for error in ERRORS)


@pytest.mark.parametrize("slug", SECTIONS)
def test_a_section_says_what_to_do(slug: str) -> None:
    text = PAGE.split(f"\n### {slug}\n")[1].split("\n#")[0]
    assert "**What it means.**" in text
    assert "**What to do.**" in text


@functools.cache
def _raises() -> dict[str, list[tuple[str, ast.Call]]]:
    """Every call of an error's class: by the class's name, where, and the call."""
    names = {error.__name__ for error in ERRORS}
    found: dict[str, list[tuple[str, ast.Call]]] = {name: [] for name in names}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).split(".")[-1]
                if name in found:
                    found[name].append((f"{path.relative_to(SOURCE)}:{node.lineno}", node))
    return found


# Their words are all that there is to say: what was asked for stands in the message.
GENERAL = {"RetrodictError", "UsageError", "UnavailableError", "StoreError"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_an_error_says_what_to_do(error: type[RetrodictError]) -> None:
    if error.__name__ in GENERAL or error.hint:
        return
    constructor = vars(error).get("__init__")
    if constructor is not None:
        source = ast.unparse(_class(error))
        assert "hint=" in source or "self.hint" in source, "neither the class nor its constructor has a hint"
    else:
        bare = [where for where, call in _raises()[error.__name__] if all(k.arg != "hint" for k in call.keywords)]
        assert bare == []


def _class(error: type[RetrodictError]) -> ast.ClassDef:
    path = SOURCE.parent / (error.__module__.replace(".", "/") + ".py")
    if not path.exists():
        path = path.with_suffix("") / "__init__.py"
    tree = ast.parse(path.read_text())
    return next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == error.__name__)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_every_error_is_raised_somewhere(error: type[RetrodictError]) -> None:
    """An error that nothing raises is a section of the manual that misleads."""
    if not error.__subclasses__():
        assert _raises()[error.__name__]


def test_every_option_that_a_hint_or_the_page_names_exists() -> None:
    texts = {error.__name__: error.hint for error in ERRORS} | {"docs/errors.md": PAGE}
    named = {
        (where, option) for where, text in texts.items() for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)
    }
    assert named
    assert {(where, option) for where, option in named if option not in _options()} == set()


def _options() -> set[str]:
    found = {"--help", *(name for parameter in cli.params for name in parameter.opts)}
    pending = [cli.get_command(click.Context(cli), verb) for verb in VERBS]
    while pending:
        command = pending.pop()
        assert command is not None
        found |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        if isinstance(command, click.Group):
            pending += command.commands.values()
    return found
