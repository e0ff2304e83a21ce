"""`retrodict.lock/` with real git: merges without conflict in both orders, and checkouts that bring the data along."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from retrodict import pins
from retrodict.kernel.durable import RealDisk
from retrodict.kernel.types import Digest

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _git(project: Path, *words: str, code: int = 0) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *words]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def _commit(project: Path, message: str) -> None:
    _git(project, "add", "-A")
    _git(project, "commit", "-q", "-m", message)


@pytest.fixture
def repository(project: Path, retrodict: Command) -> Path:
    """Five neighbours and a folder, pinned and committed."""
    _git(project, "init", "-q", "-b", "main")
    (project / "data").mkdir()
    assert retrodict("init").code == 0
    for name in "abcde":
        (project / "data" / f"{name}.txt").write_text(f"{name} 1\n")
    (project / "data" / "folder").mkdir()
    (project / "data" / "folder" / "x").write_text("x 1\n")
    assert retrodict("add", *(f"data/{name}.txt" for name in "abcde"), "data/folder").code == 0
    done = retrodict("lock", "--json")
    assert done.code == 0, done.err
    assert (done.record["ignored_in"], done.record["in_git"]) == (None, [])
    _commit(project, "pinned")
    return project


def _write(project: Path, retrodict: Command, name: str, text: str) -> None:
    (project / "data" / name).write_text(text)
    assert retrodict("add", f"data/{name}").code == 0


def test_a_project_in_git_pins_by_itself_and_keeps_data_out(project: Path, retrodict: Command) -> None:
    _git(project, "init", "-q", "-b", "main")
    assert retrodict("init", "--json").record["pins"] is True
    (project / "data").mkdir()
    for name in ("a.csv", "odd [x]* .csv ", "in git.csv", "ann.csv"):
        (project / "data" / name).write_text(f"{name}\n")
    _git(project, "add", "data/in git.csv")
    first = retrodict("add", *(f"data/{name}" for name in ("a.csv", "odd [x]* .csv ", "in git.csv")))
    assert f"git is to leave these data alone: {project}/.git/info/exclude" in first.err
    assert "git keeps data/in git.csv too" in first.err
    assert retrodict("add", "data/ann.csv", "--personal").code == 0
    (project / "data" / "in git.csv").write_text("another\n")
    assert retrodict("add", "data/a.csv", "data/in git.csv").err == ""
    _commit(project, "pinned")
    kept = _git(project, "ls-files", "-z").split("\0")
    assert {name for name in kept if name.startswith("data/")} == {"data/in git.csv"}
    assert len([name for name in kept if name.startswith("retrodict.lock/")]) == 3
    (project / "data" / "a.csv").write_text("2\n")
    assert retrodict("add", "data/a.csv").err == ""
    _git(project, "commit", "-qam", "2")
    _git(project, "checkout", "-q", "HEAD~1")
    assert retrodict("checkout").code == 0
    assert (project / "data" / "a.csv").read_text() == "a.csv\n"
    assert retrodict("untrack", "data/a.csv", "--reason", "done").code == 0
    assert "a.csv" not in (project / ".git" / "info" / "exclude").read_text()


def test_pins_are_not_begun_where_they_are_not_wanted(project: Path, retrodict: Command) -> None:
    (project / "a.csv").write_text("1\n")
    assert retrodict("init", "--no-lock", "--json").record["pins"] is False
    _git(project, "init", "-q", "-b", "main")
    assert retrodict("add", "a.csv").err == ""
    assert sorted(os.listdir(project)) == [".git", ".retrodict", "a.csv"]
    assert retrodict("lock").code == 0
    assert (project / ".git" / "info" / "exclude").read_text().endswith("\n/a.csv\n")
    assert retrodict("lock", "off", "--json").record["removed"] == 1
    (project / "a.csv").write_text("2\n")
    assert retrodict("add", "a.csv").err == ""
    assert not (project / "retrodict.lock").exists()


def test_a_project_that_is_put_into_git_later_begins_with_the_next_add(project: Path, retrodict: Command) -> None:
    (project / "a.csv").write_text("1\n")
    (project / "gone.csv").write_text("1\n")
    assert retrodict("init", "--json").record["pins"] is False
    assert retrodict("add", "a.csv", "gone.csv").err == ""
    (project / "gone.csv").unlink()
    _git(project, "init", "-q", "-b", "main")
    (project / "b.csv").write_text("1\n")
    assert "retrodict.lock/ pins what is tracked" in retrodict("add", "b.csv").err
    assert set(pins.read(project)) == {"a.csv", "b.csv"}
    ignored = project / "ignored"
    ignored.mkdir()
    (project / ".gitignore").write_text("/ignored/\n")
    assert retrodict("init", "ignored", "--json").record["pins"] is False  # git would never see it


EDITS: dict[str, Callable[[Path, Command], object]] = {
    "edit": lambda p, r: _write(p, r, "b.txt", "b 2\n"),
    "edit the next": lambda p, r: _write(p, r, "c.txt", "c 2\n"),
    "add": lambda p, r: _write(p, r, "bb.txt", "bb 1\n"),
    "add the next": lambda p, r: _write(p, r, "bc.txt", "bc 1\n"),
    "remove": lambda p, r: r("untrack", "data/a.txt"),
    "remove the next": lambda p, r: r("untrack", "data/d.txt"),
}


def test_edits_additions_and_removals_of_neighbours_merge_in_either_order(repository: Path, retrodict: Command) -> None:
    for edit, change in EDITS.items():
        _git(repository, "checkout", "-q", "-b", _branch(edit), "main")
        assert retrodict("checkout").code == 0
        change(repository, retrodict)
        _commit(repository, edit)
    for mine, theirs in permutations(EDITS, 2):
        _git(repository, "checkout", "-q", "-B", "both", _branch(mine))
        assert retrodict("checkout").code == 0
        _git(repository, "merge", "-q", "-m", "merged", _branch(theirs))
        assert retrodict("checkout").code == 0
        expected = {name: f"{name} 1\n" for name in "abcde"}
        for edit in (mine, theirs):
            match edit.split()[0]:
                case "edit":
                    name = "b" if edit == "edit" else "c"
                    expected[name] = f"{name} 2\n"
                case "add":
                    name = "bb" if edit == "add" else "bc"
                    expected[name] = f"{name} 1\n"
        found = {path.stem: path.read_text() for path in (repository / "data").glob("*.txt")}
        # What was untracked is left alone, whatever branch it was untracked on.
        assert found == expected, (mine, theirs)


def _branch(edit: str) -> str:
    return edit.replace(" ", "-")


@pytest.mark.parametrize("where", [".", "a [project] in it"])
def test_a_new_clone_does_not_take_data_into_git(project: Path, retrodict: Command, where: str) -> None:
    _git(project, "init", "-q", "-b", "main")
    inner = project / where
    inner.mkdir(exist_ok=True)
    assert retrodict("init", where).code == 0
    for name in ("a.csv", "ann.csv"):
        (inner / name).write_text(f"{name}\n")
    assert retrodict("-C", where, "add", "a.csv").code == 0
    assert retrodict("-C", where, "add", "ann.csv", "--personal").code == 0
    assert retrodict("-C", where, "remote", "add", "origin", str(project / ".git" / "remote")).code == 0
    assert retrodict("-C", where, "push").code == 0
    _commit(project, "pinned")
    assert _git(project, "ls-files").count(".csv") == 1  # the pin
    clone = project.parent / "clone"
    _git(project, "clone", "-q", ".", str(clone))
    there = str(clone / where)
    assert retrodict("clone", str(project / ".git" / "remote"), str(project.parent / "held")).code == 0
    (project.parent / "held" / ".retrodict").rename(clone / where / ".retrodict")
    assert retrodict("-C", there, "checkout").code == 0
    assert (clone / where / "a.csv").read_text() == "a.csv\n"
    assert _git(clone, "status", "--porcelain") == ""
    _git(clone, "worktree", "add", "-q", "../beside")
    (clone / ".git" / "info" / "exclude").unlink()
    assert retrodict("-C", there, "checkout", "dataset:a.csv@v1").code == 0  # by its name, too
    assert _git(clone, "status", "--porcelain") == ""


def test_two_versions_of_one_thing_are_a_conflict_that_is_named(repository: Path, retrodict: Command) -> None:
    for branch, text in (("mine", "b mine\n"), ("theirs", "b theirs\n")):
        _git(repository, "checkout", "-q", "-b", branch, "main")
        assert retrodict("checkout").code == 0
        _write(repository, retrodict, "b.txt", text)
        _commit(repository, branch)
    _git(repository, "merge", "mine", code=1)
    done = retrodict("checkout")
    assert done.code == 2
    assert "data%2Fb.txt.json has git's conflict markers" in done.err
    _git(repository, "checkout", "--theirs", "retrodict.lock")
    assert retrodict("checkout").code == 0
    assert (repository / "data" / "b.txt").read_text() == "b mine\n"


def test_checkout_brings_back_what_was_pinned(repository: Path, retrodict: Command) -> None:
    _git(repository, "checkout", "-q", "-b", "next")
    _write(repository, retrodict, "a.txt", "a 2\n")
    _write(repository, retrodict, "new.txt", "only on next\n")
    (repository / "data" / "folder" / "x").write_text("x 2\n")
    (repository / "data" / "folder" / "y").write_text("y\n")
    (repository / "data" / "folder" / "deep").mkdir()
    (repository / "data" / "folder" / "deep" / "z").write_text("z\n")
    assert retrodict("add", "data/folder").code == 0
    _commit(repository, "next")
    _git(repository, "checkout", "-q", "main")
    (repository / "data" / "folder" / "mine").write_text("nobody has versioned this\n")
    done = retrodict("checkout", "--json")
    assert done.code == 0, done.err
    data = repository / "data"
    assert (data / "a.txt").read_text() == "a 1\n"
    assert not (data / "new.txt").exists()
    assert sorted(os.listdir(data / "folder")) == ["mine", "x"]
    # `status` and `diff` speak of what this commit should have.
    assert [file["path"] for file in retrodict("diff", "--json").record["files"]] == ["data/folder/mine"]
    assert [row["path"] for row in retrodict("status", "--json").record["paths"]] == ["data/folder"]
    placed = {item["name"]: item for item in done.record["placed"]}
    assert placed["data/new.txt"]["change"] == "removed"
    assert placed["data/folder"]["kept"] == ["mine"]
    assert retrodict("checkout", placed["data/new.txt"]["reference"]).code == 0
    (data / "folder" / "mine").unlink()
    _git(repository, "checkout", "-q", "next")
    assert retrodict("checkout").code == 0
    assert (data / "folder" / "deep" / "z").read_text() == "z\n"
    assert retrodict("status", "--json").record["paths"] == []
    assert all(i["change"] == "unchanged" for i in retrodict("checkout", "--json").record["placed"])


def test_nothing_is_written_where_something_would_be_lost(repository: Path, retrodict: Command) -> None:
    (repository / "data" / "a.txt").write_text("precious\n")
    (repository / "data" / "b.txt").unlink()
    done = retrodict("checkout")
    assert (done.code, "would be lost" in done.err) == (2, True)
    assert (repository / "data" / "a.txt").read_text() == "precious\n"
    assert not (repository / "data" / "b.txt").exists()


def test_hooks_bring_the_data_along(repository: Path, retrodict: Command) -> None:
    installed = retrodict("hooks", "install", "--json")
    assert installed.code == 0, installed.err
    assert [hook["state"] for hook in installed.record["hooks"]] == ["installed", "installed"]
    _git(repository, "checkout", "-q", "-b", "next")
    _write(repository, retrodict, "a.txt", "a 2\n")
    _commit(repository, "next")
    assert "written  data/a.txt" in _git(repository, "checkout", "main")
    assert (repository / "data" / "a.txt").read_text() == "a 1\n"
    _git(repository, "merge", "-q", "next")
    assert (repository / "data" / "a.txt").read_text() == "a 2\n"
    assert retrodict("hooks", "uninstall").code == 0
    assert not (repository / ".git" / "hooks" / "post-merge").exists()


def test_a_hook_of_somebody_elses_is_left_alone_unless_asked(repository: Path, retrodict: Command) -> None:
    hook = repository / ".git" / "hooks" / "post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch theirs-ran\n")
    hook.chmod(0o755)
    refused = retrodict("hooks", "install")
    assert (refused.code, "did not write" in refused.err) == (2, True)
    assert not (hook.parent / "post-checkout").exists()
    assert retrodict("hooks", "install", "--chain").code == 0
    _git(repository, "checkout", "-q", "-b", "next")
    _write(repository, retrodict, "a.txt", "a 2\n")
    _commit(repository, "next")
    _git(repository, "checkout", "-q", "main")
    _git(repository, "merge", "-q", "next")
    assert (repository / "theirs-ran").exists()
    assert (repository / "data" / "a.txt").read_text() == "a 2\n"
    assert retrodict("hooks", "uninstall").code == 0
    assert "theirs-ran" in hook.read_text()


def test_an_install_that_was_cut_off_can_be_done_again_or_undone(repository: Path, retrodict: Command) -> None:
    hook, kept = (repository / ".git" / "hooks" / name for name in ("post-merge", "post-merge.before-retrodict"))
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("theirs")
    os.link(hook, kept)
    assert retrodict("hooks", "install").code == 2
    assert retrodict("hooks", "uninstall").code == 0
    assert (hook.read_text(), kept.exists()) == ("theirs", False)
    os.link(hook, kept)
    assert retrodict("hooks", "install", "--chain").code == 0
    assert kept.read_text() == "theirs"
    assert retrodict("hooks", "uninstall").code == 0
    assert (hook.read_text(), kept.exists()) == ("theirs", False)
    hook.unlink()
    hook.symlink_to("their-script")  # whether it leads anywhere is theirs to know
    assert retrodict("hooks", "install", "--chain").code == 0
    assert os.readlink(kept) == "their-script"
    assert retrodict("hooks", "uninstall").code == 0
    assert os.readlink(hook) == "their-script"


def test_what_git_was_told_by_others_stays_when_it_cannot_be_told_more(
    repository: Path, retrodict: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    exclude = repository / ".git" / "info" / "exclude"
    before = exclude.read_bytes()
    write = RealDisk.write

    def half(disk: RealDisk, fd: int, data: bytes | memoryview) -> None:
        if os.path.dirname(os.readlink(f"/proc/self/fd/{fd}")) == str(exclude.parent):
            write(disk, fd, memoryview(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(disk, fd, data)

    (repository / "data" / "new.txt").write_text("new")
    with monkeypatch.context() as patched:
        patched.setattr(RealDisk, "write", half)
        assert retrodict("add", "data/new.txt").code != 0
    assert exclude.read_bytes() == before
    assert retrodict("add", "data/new.txt").code == 0
    assert exclude.read_bytes() == before + b"/data/new.txt\n"


def test_a_pin_never_leads_out_of_the_project(repository: Path, retrodict: Command) -> None:
    file = repository / "retrodict.lock" / "data%2Fa.txt.json"
    fields = json.loads(file.read_text())
    before = sorted(os.listdir(repository.parent))
    inside = (".git/hooks/x", ".GIT/x", ".retrodict/x", "retrodict.lock/x")
    for path in ("../out", "/etc/out", "a/../../out", *inside, "", "a//b"):
        file.write_text(json.dumps({**fields, "path": path}))
        done = retrodict("checkout")
        assert (done.code, "names a path" in done.err) == (2, True), path
        assert sorted(os.listdir(repository.parent)) == before, path


def test_a_link_on_the_way_is_not_followed_out(repository: Path, retrodict: Command) -> None:
    outside = repository.parent / "outside"
    outside.mkdir()
    shutil.rmtree(repository / "data")
    os.symlink(outside, repository / "data")
    done = retrodict("checkout")
    assert (done.code, "leads through a link" in done.err) == (2, True)
    for name in ("data/a.txt", "data/folder"):
        done = retrodict("checkout", name)
        assert (done.code, "leads through a link" in done.err) == (2, True)
    assert os.listdir(outside) == []
    assert retrodict("checkout", "data/a.txt", "data/a.txt").code == 0  # a person has said where
    assert os.listdir(outside) == ["a.txt"]


def test_a_link_that_git_brings_is_not_written_through_and_a_persons_own_is(
    repository: Path, retrodict: Command
) -> None:
    outside, place = repository.parent / "outside", repository / "data" / "folder"
    outside.mkdir()
    shutil.rmtree(place)
    os.symlink(outside, place)
    _git(repository, "add", "--force", "data/folder")
    for words in (("checkout",), ("checkout", "data/folder")):
        done = retrodict(*words)
        assert (done.code, "leads through a link" in done.err) == (2, True), words
    assert os.listdir(outside) == []
    _git(repository, "rm", "-q", "--cached", "data/folder")
    assert retrodict("checkout").code == 0
    assert (outside / "x").read_text() == "x 1\n"


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "../../x", "x" * 300, "é" * 200, "a\\b", "con", "a%2Fb", "a.json", ".git", "a b", "日本"]
)
def test_any_name_has_a_file_of_its_own(name: str, tmp_path: Path) -> None:
    content = Digest("b3-" + "0" * 64)
    pin = pins.Pin(name=name, path="p", content=content, type="file", files=1, size_bytes=1, extra={"later": [1]})
    assert pins.write(tmp_path, pin)
    assert os.listdir(tmp_path) == [pins.FOLDER]
    assert os.listdir(tmp_path / pins.FOLDER) == [pins.file_name(name)]
    assert pins.read(tmp_path) == {name: pin}
    assert pins.remove(tmp_path, name)


def test_what_is_no_pin_is_named(repository: Path, retrodict: Command) -> None:
    for damage in (b"", b"{}", b"[]", b"null", b"\xff", b'{"name": 1}'):
        (repository / "retrodict.lock" / "data%2Fa.txt.json").write_bytes(damage)
        done = retrodict("checkout")
        assert (done.code, "data%2Fa.txt.json is no pin" in done.err) == (2, True), damage
        assert retrodict("lock").code == 0
        assert retrodict("checkout").code == 0, damage
