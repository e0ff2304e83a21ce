"""The how-tos of versioning, command by command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
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


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_every_command_about_coming_from_git_lfs_works(
    tmp_path: Path, open_shell: Callable[[Path, Mapping[str, str]], Shell]
) -> None:
    """In a clone, where only pointers are until git-lfs fetches; each version's bytes are told from its pointer."""
    # HAZARD: what `git lfs install` writes stands here already. With /dev/null as git's global configuration, as other
    # tests have it, that command run by root would put a file in the device's place.
    config = tmp_path / "gitconfig"
    config.write_text(
        '[filter "lfs"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n'
        "\tprocess = git-lfs filter-process\n\trequired = true\n"
    )
    home = variables(tmp_path) | {"RETRODICT_AGENT": "reader", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    home |= {"GIT_CONFIG_GLOBAL": str(config)}
    home |= {f"GIT_{who}_{what}": "reader@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    shell = open_shell(tmp_path, home)
    made = (
        "git init -q -b main old && cd old && git lfs track data/model.bin && mkdir data && "
        "for n in 1 2 3; do seq $n 5000 > data/model.bin && git add -A && git commit -qm model-$n || exit; done && "
        "cd .. && GIT_LFS_SKIP_SMUDGE=1 git clone -q old project"
    )
    printed, code = shell.run(f"({made})")
    assert code == 0, printed
    page = PAGE.with_name("coming-from-dvc.md").read_text()
    told = walk(page[page.index("## From git-lfs") :], shell, compare=False)
    assert [f"model-{n}" in told for n in (1, 2, 3)] == [True] * 3
    for n in (1, 2, 3):
        printed, code = shell.run(f"retrodict cat data/model.bin@v{n} | cmp - <(seq {n} 5000) && git status --short")
        assert (code, printed) == (0, "")
    moved, code = shell.run("git -C .. clone -q project moved && git -C ../moved ls-files && git lfs ls-files")
    assert code == 0
    assert "retrodict.lock" in moved
    assert "data/model.bin\n" not in moved
