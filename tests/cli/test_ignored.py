"""`.retrodictignore`: the patterns of .gitignore, and git as the oracle."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Command

FILES = [
    "a.tmp",
    "a.csv",
    "keep.tmp",
    "cache/x",
    "sub/a.tmp",
    "sub/cache/y",
    "sub/deep/b.log",
    "sub/deep/c.csv",
    "b.log",
]


def laid(folder: Path, ignores: dict[str, str]) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for place, text in ignores.items():
        (folder / place / ".retrodictignore").write_text(text)


@pytest.mark.parametrize(
    "ignores",
    [
        {".": "*.tmp\n!keep.tmp\n"},
        {".": "/cache/\n"},
        {".": "cache\n**/deep/*.log\n# a remark\n"},
        {".": "*.log\n", "sub": "!*.log\ndeep/c.csv\n"},
        {"sub/deep": "*\n!c.csv\n"},
        {".": "sub/*\n!sub/deep\n"},
    ],
)
def test_what_git_would_ignore_is_left_out(retrodict: Command, project: Path, ignores: dict[str, str]) -> None:
    assert retrodict("init").code == 0
    folder = project / "data"
    laid(folder, ignores)
    added = retrodict("add", "data")
    assert added.code == 0
    assert retrodict("checkout", "dataset:data@v1", "out").code == 0
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    for place, text in ignores.items():
        (folder / place / ".gitignore").write_text(text)
    listed = subprocess.run(
        ["git", "ls-files", "-oc", "--exclude-standard"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.split()
    ours = [os.path.relpath(path, "out") for path in Path("out").rglob("*") if path.is_file()]
    assert sorted(ours) == sorted(name for name in listed if not name.endswith(".gitignore"))
    for path in list(folder.rglob(".gitignore")):
        path.unlink()
    assert retrodict("status", "--exit-code").code == 0


def test_the_patterns_of_the_folders_above_count_too(retrodict: Command, project: Path) -> None:
    assert retrodict("init").code == 0
    laid(project / "data", {})
    (project / ".retrodictignore").write_text("data/sub/deep\n*.tmp\n")
    assert retrodict("add", "data/sub").code == 0
    assert retrodict("checkout", "dataset:data/sub@v1", "out").code == 0
    assert sorted(path.name for path in Path("out").rglob("*")) == ["cache", "y"]


def test_checkout_leaves_alone_what_is_ignored(retrodict: Command, project: Path) -> None:
    assert retrodict("init").code == 0
    laid(project / "data", {".": "*.log\n"})
    assert retrodict("add", "data").code == 0
    (project / "data" / "b.log").write_text("mine")
    (project / "data" / "a.csv").write_text("changed")
    assert retrodict("add", "data").code == 0
    assert retrodict("checkout", "dataset:data@v1").code == 0
    assert (project / "data" / "b.log").read_text() == "mine"
    assert (project / "data" / "a.csv").read_text() == "a.csv"


def test_a_file_of_patterns_that_cannot_be_read_is_named(retrodict: Command, project: Path) -> None:
    assert retrodict("init").code == 0
    laid(project / "data", {})
    patterns = project / "data" / ".retrodictignore"
    (project / "elsewhere").write_text("*.csv\n")
    makes: list[tuple[Callable[[], object], str]] = [
        (patterns.mkdir, "cannot be read"),
        (lambda: patterns.symlink_to(project / "elsewhere"), "link"),  # what lies outside decides nothing
        (lambda: os.mkfifo(patterns), "no file of patterns"),
    ]
    for make, says in makes:
        make()
        outcome = retrodict("add", "data")
        assert outcome.code == 2
        assert ".retrodictignore" in outcome.err
        assert says in outcome.err
        patterns.rmdir() if patterns.is_dir() else patterns.unlink()
