"""add, status, show, log, checkout, verify: what a person does with files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from tests.cli.conftest import Command


@pytest.fixture(autouse=True)
def _workspace(retrodict: Command) -> None:
    assert retrodict("init").code == 0


def test_every_version_comes_back_byte_for_byte(retrodict: Command, project: Path) -> None:
    texts = [b"first\n", b"second\n", os.urandom(400_000)]
    for number, data in enumerate(texts, 1):
        Path("data.bin").write_bytes(data)
        added = retrodict("add", "data.bin", "--reason", f"version {number}", "--json")
        assert added.record[0]["reference"] == f"dataset:data.bin@v{number}"
        assert added.record[0]["content"] == f"b3-{blake3(data).hexdigest()}"
    for number, data in enumerate(texts, 1):
        assert retrodict("checkout", f"dataset:data.bin@v{number}", project / f"back{number}").code == 0
        assert Path(f"back{number}").read_bytes() == data


def test_the_same_bytes_are_no_new_version(retrodict: Command) -> None:
    Path("a").write_bytes(b"x")
    assert retrodict("add", "a", "--json").record[0]["is_new"]
    again = retrodict("add", "a", "--json").record[0]
    assert (again["is_new"], again["version"]) == (False, 1)
    assert retrodict("log", "--kind", "dataset", "--json").record["rows"].__len__() == 1


def test_a_folder_with_odd_names_comes_back(retrodict: Command, project: Path) -> None:
    folder = project / "images"
    (folder / "empty").mkdir(parents=True)
    (folder / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("../../outside")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).write_bytes(b"latin")
    (folder / "a\nb3-00  1 B  feigned").write_bytes(b"")
    assert retrodict("add", "images").code == 0
    assert "a\\nb3-00  1 B  feigned" in retrodict("ls", "images").out
    assert retrodict("checkout", "dataset:images", "back").code == 0
    back = project / "back"
    assert (back / "empty").is_dir()
    assert os.access(back / "run.sh", os.X_OK)
    assert os.readlink(back / "link") == "../../outside"
    assert (Path(os.fsdecode(os.fsencode(back) + b"/caf\xe9"))).read_bytes() == b"latin"


def test_status_names_what_changed_and_what_is_missing(retrodict: Command) -> None:
    for name in ("kept", "edited", "removed"):
        Path(name).write_text(name)
    Path("folder").mkdir()
    Path("folder/in").write_text("in")
    retrodict("add", "kept", "edited", "removed", "folder")
    Path("edited").write_text("ed1ted")
    Path("removed").unlink()
    Path("folder/more").write_text("more")
    status = retrodict("status", "--exit-code", "--json")
    assert status.code == 1
    assert {(p["path"], p["state"]) for p in status.record["paths"]} == {
        ("edited", "changed"),
        ("removed", "missing"),
        ("folder", "changed"),
    }


def test_a_same_size_edit_with_its_time_put_back_is_noticed(retrodict: Command) -> None:
    path = Path("data")
    path.write_bytes(b"aaaa")
    retrodict("add", "data")
    before = path.stat()
    path.write_bytes(b"bbbb")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert retrodict("status", "--exit-code").code == 1
    assert retrodict("add", "data", "--json").record[0]["version"] == 2


def test_who_and_why_are_shown(retrodict: Command) -> None:
    Path("codes.csv").write_text("a\n")
    retrodict(
        "--agent", "Ulrike", "add", "codes.csv", "--source", "report 4/2019", "--reason", "the meanings were wrong"
    )
    shown = retrodict("show", "dataset:codes.csv", "--json").record
    assert (shown["agent"], shown["reason"], shown["body"]["source"]) == (
        "Ulrike",
        "the meanings were wrong",
        "report 4/2019",
    )


def test_reasons_lie_sealed_in_the_store(retrodict: Command, project: Path) -> None:
    Path("a").write_text("a")
    retrodict("add", "a", "--reason", "planted-reason-4711", "--source", "planted-source-4712")
    stored = b"".join(path.read_bytes() for path in (project / ".retrodict").rglob("*") if path.is_file())
    assert b"planted-" not in stored
    assert b"ada@example.org" not in stored


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "absent"], "absent"),
        (["show", "nothing-like-it"], "nothing-like-it"),
        (["show", "dataset:codez.csv"], "Did you mean dataset:codes.csv?"),
        (["show", "9999"], "9999"),
        (["checkout", "0"], "0"),
        (["register", "absent.pkl", "m"], "absent.pkl"),
        (["register", "codes.csv", "m"], "codes.csv"),
        (["alias", "m", "v1", "--reason", "r"], "NAME@ALIAS"),
        (["alias", "m@v2", "v1", "--reason", "r"], "looks like a version"),
        (["alias", "m@champion", "v1", "--reason", "r"], "m@v1"),
        (["models", "nobody"], "nobody"),
        (["predict", "nobody", "--input", "codes.csv"], "nobody"),
        (["explain", "0"], "no prediction"),
        (["replay", "dataset:codes.csv"], "no prediction"),
        (["dispute", "codes.csv", "--reason", "r"], "no prediction"),
        (["lineage", "nope"], "nope"),
        (["verify", "--key", "rubbish"], "rubbish"),
        (["adde"], "add"),
        (["add"], "PATHS"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(retrodict: Command, arguments: list[str], says: str) -> None:
    Path("codes.csv").write_text("code,label\n")
    retrodict("add", "codes.csv")
    before = retrodict("status", "--json").record["entries"]
    outcome = retrodict(*arguments)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    assert retrodict("status", "--json").record["entries"] == before


def test_without_a_workspace_there_is_a_hint(retrodict: Command, tmp_path: Path) -> None:
    outcome = retrodict("-C", tmp_path, "status")
    assert outcome.code == 2
    assert "retrodict init" in outcome.err


def test_unversioned_bytes_in_the_way_of_a_checkout_are_not_lost(retrodict: Command) -> None:
    Path("a").write_text("one")
    retrodict("add", "a")
    Path("a").write_text("precious")
    outcome = retrodict("checkout", "dataset:a")
    assert outcome.code == 2
    assert Path("a").read_text() == "precious"


def test_unversioned_bytes_inside_a_folder_are_not_lost_by_a_checkout(retrodict: Command) -> None:
    Path("d/below").mkdir(parents=True)
    Path("d/below/a").write_text("1")
    Path("d/b").write_text("2")
    retrodict("add", "d")
    Path("d/below/a").write_text("work of a day")
    refused = retrodict("checkout", "dataset:d")
    assert refused.code == 2
    assert "d/below/a" in refused.err
    assert Path("d/below/a").read_text() == "work of a day"
    retrodict("add", "d")
    assert retrodict("checkout", "dataset:d@v1").code == 0
    assert Path("d/below/a").read_text() == "1"
    # a file where a folder goes, and a link to a folder whose files are none of its business
    Path("d/below/a").unlink()
    Path("d/below").rmdir()
    Path("d/below").write_text("notes")
    assert retrodict("checkout", "dataset:d").code == 2
    assert Path("d/below").read_text() == "notes"
    Path("d/below").unlink()
    Path("elsewhere").mkdir()
    Path("elsewhere/a").write_text("another's")
    Path("d/below").symlink_to(Path("elsewhere").absolute())
    assert retrodict("checkout", "dataset:d").code == 0
    assert Path("elsewhere/a").read_text() == "another's"
    assert Path("d/below/a").read_text() == "work of a day"


@pytest.fixture
def _removed(project: Path) -> Iterator[None]:
    """Remove what Python's own rmtree is not deep enough for."""
    yield
    os.chdir("/")
    subprocess.run(["rm", "-rf", project / "deep", project / "back"], check=True)


@pytest.mark.usefixtures("_removed")
def test_a_folder_deeper_than_the_interpreter_can_call_is_like_any_other(retrodict: Command, project: Path) -> None:
    def descend() -> None:
        os.chdir(project / "deep")
        for _ in range(1200):
            os.chdir("a")

    subprocess.run(["mkdir", "-p", "deep" + "/a" * 1200], check=True)
    descend()
    Path("leaf").write_text("x")
    for verb in ("add deep", "status", "verify", "verify dataset:deep", "checkout dataset:deep back"):
        done = retrodict(*verb.split())
        assert (done.code, done.err) == (0, ""), verb
    descend()
    Path("leaf").write_text("y")
    assert "changed" in retrodict("status").out


def test_an_altered_object_is_named_and_never_checked_out(retrodict: Command, project: Path) -> None:
    Path("a").write_bytes(os.urandom(50_000))
    retrodict("add", "a")
    pack = max((project / ".retrodict/objects").rglob("*.pack"), key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    verified = retrodict("verify", "--json")
    assert verified.code == 1
    assert any("altered" in finding["level"] for finding in verified.record["findings"])
    assert retrodict("checkout", "dataset:a", "back").code == 2
    assert not Path("back").exists()
    shown = retrodict("show", "dataset:a", "--json").record
    assert shown["makes"][0]["state"] == "altered"


def test_verify_without_the_state_directory_cannot_say_who(
    retrodict: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = retrodict("status", "--json").record["origin"]
    made = retrodict("init", tmp_path / "other", "--json").record
    monkeypatch.setenv("RETRODICT_STATE", str(tmp_path / "elsewhere"))
    assert retrodict("verify").code == 2
    assert retrodict("-C", tmp_path / "other", "verify", "--key", made["key"]).code == 0
    assert retrodict("verify", "--key", made["key"]).code == 1
    assert key not in made["key"]


def test_a_path_that_is_not_utf8_needs_a_name_and_comes_back_to_its_place(retrodict: Command, project: Path) -> None:
    path = Path(os.fsdecode(b"caf\xe9.csv"))
    path.write_bytes(b"latin")
    refused = retrodict("add", path)
    assert refused.code == 2
    assert "--name" in refused.err
    assert "caf\\udce9.csv" in refused.err
    assert retrodict("add", path, "--name", "coffee").code == 0
    assert retrodict("status", "--exit-code").code == 0
    path.write_bytes(b"other")
    assert [p["state"] for p in retrodict("status", "--json").record["paths"]] == ["changed"]
    path.unlink()
    assert retrodict("checkout", "dataset:coffee").code == 0
    assert path.read_bytes() == b"latin"
    assert retrodict("verify").code == 0


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\tb", "a\x1b[31m", "\x7f"])
def test_a_name_that_no_table_could_print_is_refused(retrodict: Command, name: str) -> None:
    Path("a").write_text("a")
    outcome = retrodict("add", "a", "--name", name)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert retrodict("status", "--json").record["datasets"] == 0


@pytest.mark.parametrize(
    "name", ["logo@2x.png", "a@b@c", "12", "v2", "b3-cafe", "model:x", "with space", "名前", "a@v1"]
)
def test_whatever_a_file_is_called_what_add_printed_can_be_pasted(retrodict: Command, name: str) -> None:
    Path(name).write_text(name)
    (added,) = retrodict("add", name, "--json").record
    shown = retrodict("show", added["reference"], "--json").record
    assert shown["reference"] == added["reference"]
    assert shown["preview"] == name
    assert retrodict("checkout", added["reference"], "back").code == 0
    assert Path("back").read_text() == name


def test_one_missing_path_leaves_nothing_of_the_others(retrodict: Command, project: Path) -> None:
    Path("a").write_bytes(os.urandom(100_000))
    before = sorted((path, path.stat().st_size) for path in (project / ".retrodict/objects").rglob("*.pack"))
    assert retrodict("add", "a", "missing").code == 2
    after = sorted((path, path.stat().st_size) for path in (project / ".retrodict/objects").rglob("*.pack"))
    assert after == before


def test_show_prints_the_lines_that_a_version_changed_and_its_first_ones(retrodict: Command) -> None:
    Path("codes.csv").write_text("code,meaning\nA11,below 0\nA14,no account\n")
    retrodict("add", "codes.csv")
    Path("codes.csv").write_text("code,meaning\nA11,no account\nA14,no account\n")
    retrodict("add", "codes.csv", "--reason", "corrected")
    shown = retrodict("show", "dataset:codes.csv", "--json").record
    assert shown["changes"] == ["1 of 3 lines changed", "- 2: A11,below 0", "+ 2: A11,no account"]
    assert "A11,below 0" in retrodict("show", "dataset:codes.csv").out
    assert shown["preview"].startswith("code,meaning")
    assert retrodict("show", "dataset:codes.csv@v1", "--json").record["changes"] == []


def test_show_gives_of_a_long_line_its_beginning(retrodict: Command) -> None:
    for end in ("1", "2"):
        Path("wide.csv").write_text(",".join(f"c{n}" for n in range(50_000)) + end + "\n")
        retrodict("add", "wide.csv")
    assert len(retrodict("show", "wide.csv").out) < 20_000
    assert len(retrodict("show", "wide.csv", "--json").record["changes"][1]) > 300_000


def test_show_names_the_files_that_changed_in_a_folder(retrodict: Command) -> None:
    for name in ("kept", "edited", "removed"):
        Path("folder").mkdir(exist_ok=True)
        Path("folder", name).write_text(name)
    retrodict("add", "folder")
    Path("folder/edited").write_text("ed1ted")
    Path("folder/removed").unlink()
    Path("folder/new").write_text("new")
    retrodict("add", "folder")
    changes = retrodict("show", "dataset:folder", "--json").record["changes"]
    assert changes == ["3 files of 3 changed", "- removed", "+ new", "~ edited"]


def test_checking_a_folder_out_loses_no_bytes_that_nobody_holds(retrodict: Command) -> None:
    Path("folder/deep").mkdir(parents=True)
    Path("folder/deep/a").write_text("first")
    retrodict("add", "folder")
    Path("folder/deep/a").write_text("not versioned")
    refused = retrodict("checkout", "dataset:folder")
    assert refused.code == 2
    assert "folder/deep/a" in refused.err
    assert Path("folder/deep/a").read_text() == "not versioned"
    retrodict("add", "folder")
    assert retrodict("checkout", "dataset:folder@v1").code == 0
    assert Path("folder/deep/a").read_text() == "first"


def test_a_file_is_not_put_in_the_place_of_a_folder(retrodict: Command) -> None:
    Path("a").write_text("a")
    Path("empty").mkdir()
    retrodict("add", "a")
    assert retrodict("checkout", "dataset:a", "empty").code == 2
    assert Path("empty").is_dir()


def test_a_second_checkout_says_that_there_was_nothing_to_write(retrodict: Command) -> None:
    Path("a").write_text("a")
    retrodict("add", "a")
    assert "1 B, every byte verified" in retrodict("checkout", "dataset:a", "b").out
    assert "nothing to write, every byte verified" in retrodict("checkout", "dataset:a", "b").out


def test_what_verify_names_can_be_pasted_from_a_narrow_terminal(
    retrodict: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a").write_bytes(os.urandom(5000))
    (added,) = retrodict("add", "a", "--json").record
    for pack in (project / ".retrodict/objects").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    monkeypatch.setenv("COLUMNS", "60")
    outcome = retrodict("verify")
    assert outcome.code == 1
    assert added["content"] in outcome.out


def test_a_blank_reason_is_none(retrodict: Command) -> None:
    Path("a").write_text("a")
    retrodict("add", "a", "--reason", " ", "--source", "")
    shown = retrodict("show", "dataset:a", "--json").record
    assert (shown["reason"], shown["body"]["source"]) == (None, None)


@pytest.mark.parametrize(("target", "says"), [("nowhere", "leads nowhere"), ("link", "leads nowhere")])
def test_a_link_that_leads_nowhere_is_named_as_that(retrodict: Command, target: str, says: str) -> None:
    Path("link").symlink_to(target)
    outcome = retrodict("add", "link")
    assert outcome.code == 2
    assert says in outcome.err


def test_a_link_that_a_person_names_is_followed_and_its_place_is_given_back(
    retrodict: Command, project: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("first")
    Path("data.csv").symlink_to(outside)
    retrodict("add", "data.csv")
    outside.write_text("second")
    assert retrodict("status", "--exit-code").code == 1
    retrodict("add", "data.csv")
    assert retrodict("checkout", "dataset:data.csv@v1").code == 0
    assert Path("data.csv").read_text() == "first"
    assert outside.read_text() == "second"
