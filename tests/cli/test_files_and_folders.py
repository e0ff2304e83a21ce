"""Versions of files and folders at the command line: diff, ls, cat, history, tag, untrack, checkout of a part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command


@pytest.fixture
def images(project: Path, retrodict: Command) -> Path:
    """A folder in two versions."""
    folder = project / "data" / "images"
    (folder / "train").mkdir(parents=True)
    (folder / "labels.csv").write_text("id,label\n1,cat\n2,dog\n3,cow\n")
    (folder / "train" / "one.bin").write_bytes(b"\0one")
    (folder / "train" / "two.txt").write_text("a\nb\nc\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    os.symlink("train/one.bin", folder / "link")
    assert retrodict("init").code == 0
    assert retrodict("add", "data/images", "--reason", "first").code == 0
    (folder / "labels.csv").write_text("id,label\n1,cat\n2,fox\n4,hen\n3,cow\n")
    (folder / "train" / "one.bin").rename(folder / "train" / "uno.bin")
    (folder / "train" / "two.txt").write_text("a\nB\nc\n")
    (folder / "train" / "three.txt").write_text("new\n")
    (folder / "run.sh").chmod(0o644)
    assert retrodict("add", "data/images", "--reason", "second", "--source", "the zoo").code == 0
    return folder


def test_diff_tells_names_rows_and_lines(images: Path, retrodict: Command) -> None:
    done = retrodict("diff", "data/images@v1", "data/images@v2", "--json")
    assert done.code == 0, done.err
    files = {file["path"]: file for file in done.record["files"]}
    assert {path: file["change"] for path, file in files.items()} == {
        "labels.csv": "changed",
        "run.sh": "mode",
        "train/uno.bin": "renamed",
        "train/two.txt": "changed",
        "train/three.txt": "added",
    }
    assert files["train/uno.bin"]["path_before"] == "train/one.bin"
    assert files["labels.csv"]["table"]["rows_added"] == 1
    assert files["labels.csv"]["table"]["cells_changed"] == 1
    assert files["train/two.txt"]["text"] == ["@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]
    told = retrodict("diff", "data/images@v1/labels.csv", "data/images@v2/labels.csv", "--key", "id")
    assert "~ id=2 (row 1)  label: dog -> fox" in told.out
    assert "+ id=4 (row 2)  4, hen" in told.out


def test_diff_without_a_second_version_looks_at_the_working_copy(images: Path, retrodict: Command) -> None:
    assert retrodict("diff", "data/images", "--exit-code").code == 0
    (images / "train" / "two.txt").write_text("a\nB\nC\n")
    for words in (["data/images"], ["data/images@v2/train"], ["data/images/train/two.txt"], []):
        done = retrodict("diff", *words, "--exit-code")
        assert done.code == 1, words
        assert "-c" in done.out.splitlines(), words
    (images / "train" / "two.txt").unlink()
    assert [f["change"] for f in retrodict("diff", "data/images", "--json").record["files"]] == ["removed"]


def test_of_two_a_bare_path_means_what_lies_there(images: Path, retrodict: Command) -> None:
    path = images / "train" / "two.txt"
    path.write_text("a\nB\nC\n")
    asked = {  # before and after: which lines went, and came
        ("data/images@v2", "data/images"): "-c +C",
        ("data/images", "data/images@v2"): "-C +c",
        ("data/images@v2/train/two.txt", "data/images/train/two.txt"): "-c +C",
        ("data/images@v2", "dataset:data/images"): "",
        ("data/images/train/three.txt", path): "-new +a +B +C",
    }
    for words, told in asked.items():
        done = retrodict("diff", *words, "--exit-code")
        assert done.code == (told != ""), (words, done.err)
        assert set(told.split()) <= set(done.out.splitlines()), words
        assert ("in the working copy" in " ".join(done.out.split())) == (told != "")
    path.unlink()
    printed = retrodict("diff", "data/images@v2/train/two.txt", "data/images/train/two.txt").out.split()
    assert (
        " ".join(printed) == "dataset:data/images@v2/train/two.txt and dataset:data/images@v2/train/two.txt: the same"
    )


def test_a_same_size_edit_with_its_time_put_back_is_seen(images: Path, retrodict: Command) -> None:
    path = images / "train" / "three.txt"
    before = path.stat()
    path.write_text("neW\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert retrodict("diff", "data/images", "--exit-code").code == 1


def test_a_file_and_a_folder_are_not_compared(images: Path, retrodict: Command) -> None:
    done = retrodict("diff", "data/images@v1", "data/images@v2/labels.csv")
    assert (done.code, "is a folder" in done.err) == (2, True)


def test_ls_lists_and_every_reference_can_be_pasted(images: Path, retrodict: Command) -> None:
    assert "dataset:data/images@v2" in retrodict("ls").out
    for row in retrodict("ls", "data/images@v1", "-R", "--json").record["rows"]:
        again = retrodict("ls", row["reference"], "--json")
        assert again.code == 0, again.err
        if row["kind"] != "tree":
            assert again.record["rows"][0]["content"] == row["content"]
    assert [r["name"] for r in retrodict("ls", "data/images@v1", "train", "--json").record["rows"]] == [
        "one.bin",
        "two.txt",
    ]


def test_cat_pipes_the_very_bytes(images: Path, project: Path, retrodict: Command) -> None:
    command = [sys.executable, "-m", "retrodict", "cat", "data/images@v1/train/one.bin", "data/images/train/two.txt"]
    done = subprocess.run(command, cwd=project, capture_output=True, check=True)
    assert done.stdout == b"\0onea\nB\nc\n"
    assert done.stderr == b""
    reader = subprocess.run(
        f"{sys.executable} -m retrodict cat data/images@v1/train/two.txt | head -c 1; echo ${{PIPESTATUS[0]}}",
        cwd=project, shell=True, executable="/bin/bash", capture_output=True, check=True,
    )  # fmt: skip
    assert reader.stdout == b"a0\n"


def test_cat_gives_no_altered_byte(images: Path, project: Path, retrodict: Command) -> None:
    for pack in (project / ".retrodict" / "objects" / "packs").rglob("*"):
        if pack.is_file():
            data = pack.read_bytes()
            at = data.find(b"label\n1,cat\n2,dog")
            if at >= 0:
                pack.chmod(0o644)
                pack.write_bytes(data[:at] + b"L" + data[at + 1 :])
                break
    else:
        pytest.skip("the bytes are compressed in the pack")
    done = retrodict("cat", "data/images@v1/labels.csv")
    assert (done.code, done.out) == (2, "")


def test_a_path_that_is_not_there_gets_near_ones(images: Path, retrodict: Command) -> None:
    done = retrodict("cat", "data/images@v1/train/tow.txt")
    assert done.code == 2
    assert "dataset:data/images@v1/train/two.txt" in done.err
    assert retrodict("cat", "data/images@v1/../../../etc/passwd").code == 2


def test_checkout_of_a_part_writes_only_that(images: Path, project: Path, retrodict: Command) -> None:
    assert retrodict("checkout", "data/images@v1/train/two.txt").code == 0
    assert (images / "train" / "two.txt").read_text() == "a\nb\nc\n"
    assert retrodict("checkout", "data/images@v1/train", project / "elsewhere").code == 0
    assert sorted(os.listdir(project / "elsewhere")) == ["one.bin", "two.txt"]
    assert retrodict("checkout", "data/images@v1/run.sh").code == 0
    assert os.access(images / "run.sh", os.X_OK)
    assert retrodict("checkout", "data/images@v1/link", project / "pointer").code == 0
    assert os.readlink(project / "pointer") == "train/one.bin"
    (images / "train" / "two.txt").write_text("nobody holds this\n")
    refused = retrodict("checkout", "data/images@v1/train/two.txt")
    assert (refused.code, "would be lost" in refused.err) == (2, True)


def test_a_checkout_says_what_it_leaves_of_the_current_version(images: Path, retrodict: Command) -> None:
    for name in ("new", "train/late", "more/x", "more/y"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_text(name)
    (images / "labels.csv").unlink()
    assert retrodict("add", "data/images").code == 0
    (images / "mine").write_text("of no version")
    done = retrodict("checkout", "data/images@v1")
    assert (
        "not in this version, and left where they are: more/, new, train/late, train/three.txt, train/uno.bin\n"
        in done.out
    )
    shutil.rmtree(images / "more")
    assert retrodict("checkout", "data/images@v1", "--json").record["stay"] == [
        "new",
        "train/late",
        "train/three.txt",
        "train/uno.bin",
    ]
    assert retrodict("checkout", "data/images", "--json").record["stay"] == []
    assert retrodict("checkout", "data/images@v1", "elsewhere", "--json").record["stay"] == []


def test_history_tells_who_when_why_and_from_where(images: Path, retrodict: Command) -> None:
    retrodict("tag", "data/images@v1", "baseline", "--reason", "the paper's")
    versions = retrodict("history", "data/images", "--json").record["versions"]
    assert [v["reference"] for v in versions] == ["dataset:data/images@v2", "dataset:data/images@v1"]
    assert [(v["reason"], v["source"], v["tags"]) for v in versions] == [
        ("second", "the zoo", []),
        ("first", None, ["baseline"]),
    ]
    text = retrodict("history", "data/images@baseline").out
    assert "second; from the zoo" in text
    assert "Authorship(" not in text


def test_history_of_a_path_lists_the_versions_in_which_it_changed(images: Path, retrodict: Command) -> None:
    def told(path: str) -> list[tuple[int, str, int]]:
        record = retrodict("history", path, "--json").record
        return [(v["version"], v["type"], v["size_bytes"]) for v in record["versions"]]

    assert told("data/images/train/one.bin") == [(2, "removed", 0), (1, "file", 4)]
    assert told("data/images/train/three.txt") == [(2, "file", 4)]
    assert told("data/images@v2/run.sh/") == [(2, "file", 10), (1, "executable", 10)]
    assert told("data/images/link") == [(1, "symlink", 13)]
    assert [kind for _, kind, _ in told("data/images/train")] == ["tree", "tree"]
    text = retrodict("history", "data/images/train/two.txt").out
    assert "dataset:data/images@v1/train/two.txt" in text
    assert retrodict("cat", "dataset:data/images@v1/train/two.txt").out == "a\nb\nc\n"
    for nothing in ("data/images/nope", "data/images/link/one.bin", "data/images/train/two.txt/x", "nope/x"):
        refused = retrodict("history", nothing)
        assert (refused.code, "nothing is named" in refused.err) == (2, True)
    assert retrodict("add", "data/images", "--personal", "--reason", "third").code == 0
    assert "personal" in retrodict("history", "data/images/run.sh").err


def test_a_tag_never_moves_silently(images: Path, retrodict: Command) -> None:
    assert retrodict("tag", "data/images@v1", "baseline", "--reason", "why").code == 0
    assert retrodict("ls", "data/images@baseline/train/one.bin").code == 0
    refused = retrodict("tag", "data/images@v2", "baseline", "--reason", "why")
    assert (refused.code, "--move" in refused.err) == (2, True)
    assert retrodict("tag", "data/images@v1", "baseline", "--reason", "again", "--json").record["is_new"] is False
    moved = retrodict("tag", "data/images@v2", "baseline", "--reason", "better", "--move", "--json").record
    assert (moved["before"], moved["version"]) == ("dataset:data/images@v1", "dataset:data/images@v2")
    assert retrodict("ls", "data/images@baseline/train/uno.bin").code == 0
    for label in ("v3", "2024-05-01", "7", "a b", ""):
        assert retrodict("tag", "data/images@v1", label, "--reason", "why").code == 2, label
    assert "dataset:data/images@baseline -> v2" in retrodict("log").out


def test_untrack_keeps_versions_and_file_and_add_tracks_again(images: Path, retrodict: Command) -> None:
    (images / "labels.csv").write_text("changed\n")
    assert retrodict("untrack", "data/images", "--reason", "done with it").code == 0
    assert "changed" not in retrodict("status").out
    assert (images / "labels.csv").exists()
    assert retrodict("cat", "data/images@v1/train/two.txt").out == "a\nb\nc\n"
    assert "untracked" in retrodict("ls").out
    assert retrodict("untrack", "data/images").code == 2
    retrodict("checkout", "data/images@v2/labels.csv", images / "labels.csv")
    assert retrodict("add", "data/images").code == 0
    assert "untracked" not in retrodict("ls").out


def test_a_name_inside_another_is_found_first(images: Path, retrodict: Command) -> None:
    (images / "labels.csv").write_text("id,label\n9,own\n")
    assert retrodict("add", "data/images/labels.csv").code == 0
    assert retrodict("cat", "data/images/labels.csv").out == "id,label\n9,own\n"
    assert retrodict("cat", "data/images@v2/labels.csv").out.endswith("3,cow\n")
    refused = retrodict("cat", "dataset:data/images/labels.csv@v9").err
    assert (
        "nothing is named 'dataset:data/images/labels.csv@v9'. Did you mean dataset:data/images/labels.csv@v1"
        in refused
    )


def test_personal_folders_show_no_names(project: Path, retrodict: Command) -> None:
    (project / "people").mkdir()
    (project / "people" / "ann.txt").write_text("secret\n")
    assert retrodict("init").code == 0
    assert retrodict("add", "people", "--personal").code == 0
    for words in (["ls", "people"], ["cat", "people/ann.txt"]):
        done = retrodict(*words)
        assert done.code == 2
        assert "ann" not in done.out + done.err.replace("people/ann.txt", "")
    (project / "people" / "ann.txt").write_text("secreT\n")
    done = retrodict("diff", "people")
    assert done.code == 0, done.err
    assert "personal: not looked into" in done.out
    assert "secre" not in done.out


def test_status_tells_what_was_forgotten_of_a_folder_and_compares_the_rest(project: Path, retrodict: Command) -> None:
    people = project / "people"
    people.mkdir()
    for name in ("ann", "bob"):
        (people / f"{name}.csv").write_text(f"customer,age\n{name},71\n")
    (people / "notes.txt").write_text("nobody\n")
    retrodict("init")
    assert retrodict("add", "people", "--personal", "--subject", "customer").code == 0

    def told() -> list[tuple[str, int | None]]:
        assert "ann" not in retrodict("status").out  # names in personal folders are sealed
        found = retrodict("status", "--json").record["paths"]
        assert {row["path"] for row in found} <= {"people"}
        return [(row["state"], row["files"]) for row in found]

    assert told() == []
    retrodict("forget", "--subject", "ann", "--yes")
    assert told() == [("forgotten", 1)]
    assert "forgotten: 1 file in it  people  dataset:people@v1\n" in retrodict("status").out
    assert "people/ann.csv holds the very bytes" in retrodict("add", "people").err
    (people / "ann.csv").rename(people / "other.csv")
    assert told() == [("forgotten", 1)]
    (people / "bob.csv").write_text("customer,age\nbob,72\n")
    assert told() == [("changed", None), ("forgotten", 1)]
    (people / "other.csv").unlink()
    assert told() == [("changed", None)]
    retrodict("checkout", "dataset:people", "again")
    (project / "again" / "bob.csv").replace(people / "bob.csv")
    assert told() == []  # nobody can bring back what was forgotten
    (people / "notes.txt").rename(project / "notes.txt")
    assert told() == [("changed", None)]
    (project / "notes.txt").rename(people / "notes.txt")
    assert told() == []

    retrodict("forget", "dataset:people", "--reason", "order", "--yes")
    assert told() == [("forgotten", None)]
    for file in people.iterdir():
        file.write_text("new\n")
    assert told() == [("changed", None)]
