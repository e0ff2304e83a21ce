"""A repository made by the real DVC, in an environment of its own: made once, named where it is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

MAKE = Path(__file__).parents[1] / "environments" / "make.sh"
Shell = Callable[..., str]


@pytest.fixture(scope="session")
def dvc() -> Path:
    """The folder that DVC's program lies in."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return made("dvc")


def made(name: str) -> Path:
    """Make an environment, once, and return the folder of its programs."""
    done = subprocess.run(["bash", str(MAKE), name], capture_output=True, text=True, check=False, timeout=280)
    if done.returncode:
        pytest.skip(f"no environment with DVC: {done.stderr.strip().splitlines()[-1:]}")
    return Path(done.stdout.strip()).parent


@pytest.fixture(scope="session")
def shell(dvc: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Run a command in a folder, with DVC and git, as Ada on a day of one's choice."""
    return shell_with(dvc, tmp_path_factory.mktemp("home"))


def shell_with(dvc: Path, home: Path, variables: Mapping[str, str] = MappingProxyType({})) -> Shell:
    """The same, with the DVC of one's choice and more variables."""

    def run(command: str, cwd: Path, date: str = "2024-01-01T10:00:00+00:00", author: str = "Ada") -> str:
        environment = {
            "PATH": f"{dvc}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": author,
            "GIT_AUTHOR_EMAIL": f"{author.lower()}@example.org",
            "GIT_COMMITTER_NAME": author,
            "GIT_COMMITTER_EMAIL": f"{author.lower()}@example.org",
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(home / "site"),
            **variables,
        }
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="session")
def template(shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three commits on two branches: a file, a folder, a pipeline of two stages; metrics that git keeps."""
    folder = tmp_path_factory.mktemp("dvc") / "old"
    folder.mkdir()
    shell("git init -q -b main; dvc init -q; dvc remote add -q -d store ../store; mkdir -p images/deep src", folder)
    (folder / "data.csv").write_text("id,x\n1,a\n2,b\n")
    (folder / "images" / "one.bin").write_bytes(b"\0one")
    (folder / "images" / "deep" / "two.txt").write_text("two\r\n")
    (folder / "params.yaml").write_text("lr: 0.1\nnn:\n  layers: 2\n")
    (folder / "src" / "prepare.py").write_text("open('clean.csv','w').write(open('data.csv').read().upper())\n")
    (folder / "src" / "train.py").write_text(
        "import json\nopen('model.txt','w').write('model of '+open('clean.csv').read())\n"
        "json.dump({'acc': 0.5}, open('metrics.json','w'))\n"
    )
    (folder / "dvc.yaml").write_text(
        "stages:\n"
        "  prepare:\n    cmd: python src/prepare.py\n    deps: [src/prepare.py, data.csv]\n    outs: [clean.csv]\n"
        "  train:\n    cmd: python src/train.py\n    deps: [src/train.py, clean.csv]\n    params: [lr, nn.layers]\n"
        "    outs: [model.txt]\n    metrics:\n      - metrics.json:\n          cache: false\n"
    )
    commit = "git add -A; git commit -q -m"
    shell(f"dvc add -q data.csv images; dvc repro -q; {commit} 'first data'", folder)
    (folder / "data.csv").write_text("id,x\n1,a\n2,c\n")
    (folder / "images" / "three.txt").write_text("three\n")
    (folder / "images" / "one.bin").unlink()
    shell(
        f"dvc add -q data.csv images; dvc repro -q; {commit} 'second data'", folder, "2024-02-02T10:00:00+00:00", "Bob"
    )
    shell("git checkout -q -b trial HEAD~1; dvc checkout -q", folder)
    (folder / "params.yaml").write_text("lr: 0.2\nnn:\n  layers: 3\n")
    (folder / "data.csv").write_text("id,x\n9,trial\n")
    shell(f"dvc add -q data.csv; dvc repro -q; {commit} 'a trial'; git checkout -q main; dvc checkout -q",
          folder, "2024-01-15T10:00:00+00:00", "Cem")  # fmt: skip
    return folder


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    return shutil.copytree(template, tmp_path / "old", symlinks=True)
