"""The code of a run, with git and without."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from retrodict.capture import CodeFacts, snapshot_code

VARIABLES = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    answer = subprocess.run(
        ["git", *arguments], cwd=folder, env=VARIABLES | identity, capture_output=True, check=True, text=True
    )
    return answer.stdout.strip()


@pytest.fixture
def repository(project: Any) -> Any:
    git(project.root, "init", "-q", "-b", "main")
    project.write("train.py", "import lib\n")
    project.write("lib.py", "x = 1\n")
    project.write(".gitignore", "*.csv\n.retrodict/\nsecret.py\n")
    git(project.root, "add", ".")
    git(project.root, "commit", "-q", "-m", "first")
    return project


def snapshot(project: Any, *read: str, folder: Path | None = None) -> CodeFacts:
    paths = [os.fsencode(os.path.realpath(project.root / name)) for name in read]
    return snapshot_code(folder or project.root, paths, environment=VARIABLES)


def names(facts: CodeFacts) -> dict[str, str]:
    return {os.fsdecode(f.name): f.origin for f in facts.files}


def test_a_clean_work_tree_is_its_commit(repository: Any) -> None:
    facts = snapshot(repository, "train.py", "lib.py")
    assert facts.commit == git(repository.root, "rev-parse", "HEAD")
    assert (facts.branch, facts.is_dirty, facts.diff) == ("main", False, b"")
    assert names(facts) == {".gitignore": "tracked", "lib.py": "tracked", "train.py": "tracked"}
    assert facts.files[1].path == os.fsencode(repository.root / "lib.py")


def test_uncommitted_changes_are_a_diff_that_applies(repository: Any) -> None:
    repository.write("lib.py", "x = 2\n")
    facts = snapshot(repository, "train.py")
    assert facts.is_dirty
    git(repository.root, "checkout", "-q", "lib.py")
    subprocess.run(["git", "apply"], input=facts.diff, cwd=repository.root, check=True)
    assert (repository.root / "lib.py").read_text() == "x = 2\n"


def test_untracked_code_belongs_and_data_does_not(repository: Any) -> None:
    repository.write("new.py", "y = 1\n")
    repository.write("metrics.json", "{}")
    repository.write("data.csv", "1")
    repository.write(".retrodict/x.py", "")
    facts = snapshot(repository, "train.py")
    assert names(facts)["new.py"] == "untracked"
    assert set(names(facts)) == {".gitignore", "lib.py", "train.py", "new.py"}
    assert facts.is_dirty


def test_what_was_imported_belongs_even_if_ignored_or_elsewhere(repository: Any, tmp_path: Path) -> None:
    repository.write("secret.py", "z = 1\n")
    elsewhere = tmp_path / "shared" / "tools.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text("w = 1\n")
    facts = snapshot_code(
        repository.root, [os.fsencode(repository.root / "secret.py"), os.fsencode(elsewhere)], environment=VARIABLES
    )
    assert names(facts)["secret.py"] == "read"
    assert names(facts)[f"outside{elsewhere}"] == "read"


def test_a_folder_inside_the_repository_gives_the_whole_repository(repository: Any) -> None:
    repository.write("sub/step.py", "")
    facts = snapshot(repository, folder=repository.root / "sub")
    assert facts.root == os.fsencode(repository.root)
    assert "train.py" in names(facts)


def test_the_remote_is_told_without_credentials(repository: Any) -> None:
    git(repository.root, "remote", "add", "origin", "https://user:s3cret@example.org/a/b.git")
    facts = snapshot(repository)
    assert facts.remote == "https://example.org/a/b.git"
    assert "s3cret" not in json.dumps(facts.as_json())


def test_large_untracked_files_are_left_out_and_said(repository: Any) -> None:
    with open(repository.root / "huge.py", "wb") as file:
        file.truncate(9 << 20)
    facts = snapshot(repository)
    assert "huge.py" not in names(facts)
    assert any("huge.py" in text for text in facts.left_out)


def test_names_that_are_not_utf8_and_deleted_files(repository: Any) -> None:
    with open(os.fsencode(repository.root) + b"/\xff.py", "w") as file:
        file.write("")
    git(repository.root, "add", "-A")
    (repository.root / "lib.py").unlink()
    facts = snapshot(repository)
    assert b"\xff.py" in {f.name for f in facts.files}
    assert "lib.py" not in names(facts)
    assert facts.is_dirty


def test_before_the_first_commit(project: Any) -> None:
    git(project.root, "init", "-q", "-b", "main")
    project.write("a.py", "")
    facts = snapshot(project, "a.py")
    assert (facts.commit, facts.branch) == (None, "main")
    assert names(facts) == {"a.py": "untracked"}


def test_a_detached_head_has_no_branch(repository: Any) -> None:
    git(repository.root, "checkout", "-q", "--detach")
    assert snapshot(repository).branch is None


@pytest.mark.parametrize("program", ["git", "/no/such/git"])
def test_without_git_the_code_is_what_was_read(project: Any, program: str) -> None:
    project.write("a.py", "")
    project.write("b.py", "")
    facts = snapshot_code(project.root, [os.fsencode(project.root / "a.py")], environment=VARIABLES, git=program)
    assert names(facts) == {"a.py": "read"}
    assert (facts.commit, facts.remote, facts.is_dirty) == (None, None, False)


def test_a_repository_cannot_make_us_run_its_programs(repository: Any) -> None:
    for key in ("core.fsmonitor", "diff.external", "core.pager"):
        git(repository.root, "config", key, f"touch {repository.root}/ran;")
    repository.write(".gitattributes", "*.py diff=evil\n")
    git(repository.root, "config", "diff.evil.textconv", f"touch {repository.root}/ran; cat")
    repository.write("lib.py", "x = 3\n")
    snapshot(repository)
    assert not (repository.root / "ran").exists()
