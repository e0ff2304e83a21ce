"""The how-tos of versioning, command by command."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.conftest import variables
from tests.docs.conftest import Shell, walk

PAGE = Path(__file__).parents[2] / "docs" / "derived.md"


def test_every_command_of_the_page_works(
    tmp_path: Path, open_shell: Callable[[Path, Mapping[str, str]], Shell]
) -> None:
    (tmp_path / "loans.csv").write_text("id,amount,purpose\n1,100,car\n2,250,car\n3,7,tv\n")
    script = "import sys, pandas\npandas.read_csv(sys.argv[1]).query('amount > 50').to_parquet('clean.parquet')\n"
    (tmp_path / "clean.py").write_text(script)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shell = open_shell(tmp_path, variables(tmp_path) | {"RETRODICT_AGENT": "reader"})
    for command in ("retrodict init", "retrodict add loans.csv"):
        assert shell.run(command)[1] == 0
    told = walk(PAGE.read_text(), shell, compare=False)
    assert "dataset:totals@v1: replicated" in told


def test_every_command_about_keeping_works(
    tmp_path: Path, open_shell: Callable[[Path, Mapping[str, str]], Shell]
) -> None:
    (tmp_path / "raw.csv").write_text("id,amount\n1,100\n")
    shell = open_shell(tmp_path, variables(tmp_path) | {"RETRODICT_AGENT": "reader"})
    for command in ("retrodict init", "retrodict add raw.csv --name raw"):
        assert shell.run(command)[1] == 0
    walk(PAGE.with_name("keeping.md").read_text(), shell, compare=True)


def test_every_command_about_strategies_works(
    tmp_path: Path, open_shell: Callable[[Path, Mapping[str, str]], Shell]
) -> None:
    shell = open_shell(tmp_path, variables(tmp_path) | {"RETRODICT_AGENT": "reader"})
    assert shell.run("retrodict init")[1] == 0
    for n in (1, 2, 3):
        (tmp_path / "events.jsonl").write_text('{"a": 1}\n' * n)
        assert shell.run("retrodict add events.jsonl")[1] == 0
    walk(PAGE.with_name("strategies.md").read_text(), shell, compare=True)


def test_every_command_about_files_works(
    tmp_path: Path, open_shell: Callable[[Path, Mapping[str, str]], Shell]
) -> None:
    shell = open_shell(tmp_path, variables(tmp_path) | {"RETRODICT_AGENT": "reader"})
    assert shell.run("retrodict init")[1] == 0
    walk(PAGE.with_name("files.md").read_text(), shell, compare=True)
