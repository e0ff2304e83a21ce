"""Where things lie: stores that cannot be written, state that is not there, no git, views that are gone, copies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

READS = (
    ["status"],
    ["log"],
    ["show", "dataset:a"],
    ["runs"],
    ["models"],
    ["predictions"],
    ["disputes"],
    ["lineage", "dataset:a", "--down"],
    ["checkout", "dataset:a", "../checked-out"],  # beside the project, which cannot be written
    ["verify"],
    ["explain", "REFERENCE"],
    ["replay", "REFERENCE"],
)
WRITES = (
    ["add", "a", "--reason", "r"],
    ["run", "--", "true"],
    ["register", "rule.py", "other"],
    ["alias", "rule@best", "v1", "--reason", "r"],
    ["predict", "rule", "--input", "asked.csv"],
    ["dispute", "REFERENCE", "--reason", "r"],
    ["serve", "rule", "--port", "0"],
)


@pytest.fixture
def prediction(retrodict: Command) -> str:
    """A workspace with a dataset, a model and an answer; the answer's reference."""
    Path("a").write_text("a")
    Path("rule.py").write_text("def predict(frame):\n    return frame['income'] > 10\n")
    Path("asked.csv").write_text("income\n12\n")
    retrodict("init")
    retrodict("add", "a")
    retrodict("register", "rule.py", "rule")
    return str(retrodict("predict", "rule", "--input", "asked.csv", "--json").record["reference"])


def _mounted_read_only(project: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a mount namespace in which the project is read-only: even root cannot write there."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    command = [*unshare, "sh", "-c", script, str(project), sys.executable, "-m", "retrodict", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def _mounts(project: Path) -> None:
    if _mounted_read_only(project, ["--version"]).returncode != 0 and not os.environ.get("CI"):
        pytest.skip("mount namespaces are not to be had here")


@pytest.mark.usefixtures("_mounts")
def test_everything_that_reads_works_on_a_read_only_store(prediction: str, project: Path) -> None:
    for arguments in READS:
        done = _mounted_read_only(project, [prediction if a == "REFERENCE" else a for a in arguments])
        assert (done.returncode, done.stderr) == (0, ""), arguments


@pytest.mark.usefixtures("_mounts")
def test_what_writes_is_refused_on_a_read_only_store_in_one_line(prediction: str, project: Path) -> None:
    for arguments in WRITES:
        done = _mounted_read_only(project, [prediction if a == "REFERENCE" else a for a in arguments])
        assert done.returncode == (125 if arguments[0] == "run" else 2), arguments
        assert "read-only" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_state_directory_that_cannot_be_written_stops_init_and_leaves_nothing(
    retrodict: Command, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setenv("RETRODICT_STATE", "/dev/null/state")
    outcome = retrodict("init")
    assert outcome.code == 2
    assert "/dev/null/state" in outcome.err
    assert list(project.iterdir()) == []
    assert retrodict("init", "deep/er").code == 2
    assert list(project.iterdir()) == []
    assert retrodict("status").code == 2
    monkeypatch.setenv("RETRODICT_STATE", str(project.parent / "state"))
    assert retrodict("init").code == 0


def test_without_the_keys_reading_works_and_writing_says_what_is_missing(
    retrodict: Command, prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRODICT_STATE", "/dev/null/state")
    _check_without_keys(retrodict, prediction)


def test_with_a_state_directory_that_cannot_be_read_it_is_the_same(
    retrodict: Command, prediction: str, project: Path
) -> None:
    (key,) = (project.parent / "state").glob("*/signing.key")
    key.rename(key.with_name("kept"))
    key.mkdir()  # root reads every file, but no folder as one
    _check_without_keys(retrodict, prediction)


def _check_without_keys(retrodict: Command, prediction: str) -> None:
    for arguments in READS:
        done = retrodict(*[prediction if a == "REFERENCE" else a for a in arguments])
        assert done.code == (2 if arguments[0] == "verify" else 0), arguments
        assert done.out
        if arguments[0] != "verify":
            assert "nothing can be opened or signed" in done.err
            assert len(done.err.strip().splitlines()) == 1
    for arguments in WRITES:
        done = retrodict(*[prediction if a == "REFERENCE" else a for a in arguments])
        assert done.code == (125 if arguments[0] == "run" else 2), arguments
        assert "set RETRODICT_STATE to where its keys are" in done.err
        assert len(done.err.strip().splitlines()) == 1


def test_it_works_without_git(retrodict: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cat"):
        (programs / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("RETRODICT_AGENT")
    Path("script.sh").write_text("cat a > b\n")
    Path("a").write_text("a")
    assert retrodict("init").code == 0
    assert retrodict("run", "--", "sh", "script.sh").code == 0
    shown = retrodict("show", "script", "--json").record
    assert {edge["path"] for edge in shown["uses"]} >= {"a", "script.sh"}
    assert {edge["path"] for edge in shown["makes"]} == {"b"}


def test_deleted_views_are_folded_anew_to_the_same_rows(retrodict: Command, prediction: str, project: Path) -> None:
    questions = [["log", "--json"], ["models", "--json"], ["predictions", "--json"], ["show", prediction, "--json"]]
    before = [retrodict(*question).out for question in questions]
    for path in (project / ".retrodict").glob("views.db*"):
        path.unlink()
    assert [retrodict(*question).out for question in questions] == before
    assert retrodict("verify").code == 0


def test_a_changed_row_of_a_view_is_named(retrodict: Command, prediction: str, project: Path) -> None:
    import apsw

    retrodict("models")
    database = apsw.Connection(str(project / ".retrodict/views.db"))
    database.execute("UPDATE models_versions SET version = 7")
    database.close()
    verified = retrodict("verify", "--json")
    assert verified.code == 1
    assert any("models_versions" in finding["what"] for finding in verified.record["findings"])


def test_a_copy_is_read_and_begins_a_log_of_its_own_when_it_is_written_to(
    retrodict: Command, prediction: str, project: Path
) -> None:
    copy = project.parent / "copy"
    shutil.copytree(project, copy, symlinks=True)
    assert retrodict("-C", copy, "verify").code == 0
    with_key_file = retrodict("keys", "export-signing", copy.parent / "signing.key")
    assert with_key_file.code == 0
    refused = retrodict("--key-file", copy.parent / "signing.key", "-C", copy, "add", "rule.py")
    assert refused.code == 2
    assert "is a copy" in refused.err
    (copy / "rule.py").write_text("# changed in the copy\n")
    begun = retrodict("-C", copy, "add", "rule.py")
    assert begun.code == 0
    assert "has begun a log of its own" in begun.err
    printed = begun.err.split(" is ")[-1].split(" from now on")[0]
    assert retrodict("-C", copy, "show", printed).code == 0
    assert retrodict("-C", copy, "verify").code == 0
    assert printed.split(":")[0] in retrodict("-C", copy, "verify").out
    assert "has begun" not in retrodict("-C", copy, "add", "rule.py").err
    assert retrodict("add", "rule.py").code == 0
    assert retrodict("verify").code == 0


def test_a_copy_takes_the_place_of_an_original_that_is_gone(retrodict: Command, prediction: str, project: Path) -> None:
    copy = project.parent / "copy"
    shutil.copytree(project, copy, symlinks=True)
    shutil.rmtree(project / ".retrodict")
    done = retrodict("-C", copy, "add", "rule.py")
    assert (done.code, done.err) == (0, "")
    assert retrodict("-C", copy, "verify").code == 0


def _on_a_full_disk(project: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command where the project lies on a disk of its own, which is full."""
    script = (
        'cp -a "$0" "$0.kept" && mount -t tmpfs -o size=4m tmpfs "$0" && cp -a "$0.kept/." "$0" && rm -r "$0.kept" '
        '&& cd "$0" && { dd if=/dev/zero of=filler bs=1k 2>/dev/null; exec "$@"; }'
    )
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    command = [*unshare, "sh", "-c", script, str(project), sys.executable, "-m", "retrodict", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("_mounts")
def test_on_a_full_disk_everything_that_reads_works_and_what_writes_is_refused_in_one_line(
    retrodict: Command, prediction: str, project: Path
) -> None:
    retrodict("models")  # folds the views
    for arguments in READS:
        done = _on_a_full_disk(project, [prediction if a == "REFERENCE" else a for a in arguments])
        assert (done.returncode, done.stderr) == (0, ""), arguments
    for arguments in WRITES:
        done = _on_a_full_disk(project, [prediction if a == "REFERENCE" else a for a in arguments])
        assert done.returncode == (125 if arguments[0] == "run" else 2), arguments
        assert len(done.stderr.strip().splitlines()) == 1


def test_an_old_store_that_was_put_back_is_read_with_a_warning_and_never_written_to(
    retrodict: Command, prediction: str, project: Path
) -> None:
    shutil.copytree(project / ".retrodict", project.parent / "old", symlinks=True)
    retrodict("add", "rule.py")
    shutil.rmtree(project / ".retrodict")
    shutil.copytree(project.parent / "old", project / ".retrodict", symlinks=True)
    ledger = project / ".retrodict/ledger.db"
    for arguments in READS:
        if arguments[0] == "verify":
            continue
        done = retrodict(*[prediction if a == "REFERENCE" else a for a in arguments])
        assert done.code == 0, arguments
        assert "is old" in done.err
        assert len(done.err.strip().splitlines()) == 1
        assert done.out
        assert ("not recorded: " in done.out) == (arguments[0] == "replay")
    before = ledger.read_bytes()
    for arguments in WRITES:
        done = retrodict(*[prediction if a == "REFERENCE" else a for a in arguments])
        assert done.code == (125 if arguments[0] == "run" else 2), arguments
        assert "is old" in done.err
    assert ledger.read_bytes() == before  # nothing was recorded that could never be signed
    assert retrodict("verify").code == 1


@pytest.mark.usefixtures("_mounts")
def test_a_replay_that_cannot_be_recorded_says_so(prediction: str, project: Path) -> None:
    for place in (_mounted_read_only, _on_a_full_disk):
        done = place(project, ["replay", prediction, "--json"])
        record = json.loads(done.stdout)
        assert (done.returncode, record["verdict"], record["entry"]) == (0, "replicated", None)
        assert "cannot be written" in record["unrecorded"]


def test_a_store_that_cannot_be_opened_is_an_answer_of_verify(
    retrodict: Command, prediction: str, project: Path
) -> None:
    with (project / ".retrodict/ledger.db").open("r+b") as file:
        file.write(b"\0" * 100)
    outcome = retrodict("verify")
    assert outcome.code == 1
    assert "ledger.db" in outcome.out
    record = retrodict("verify", "--json").record
    assert (record["answer"], record["findings"][0]["level"]) == ("no", "altered")
    assert retrodict("log").code == 2


@pytest.mark.parametrize(("name", "field"), [("format.json", "format"), ("objects/format.json", "version")])
@pytest.mark.usefixtures("prediction")
def test_of_a_newer_store_verify_cannot_tell(retrodict: Command, project: Path, name: str, field: str) -> None:
    layout = project / ".retrodict" / name
    newer = {**json.loads(layout.read_text()), field: 3}
    layout.write_text(json.dumps(newer, sort_keys=True, separators=(",", ":")) + "\n")
    outcome = retrodict("verify", "--json")
    assert (outcome.code, outcome.record["answer"]) == (2, "could not tell")
    assert "reads " in outcome.record["findings"][0]["message"]
    assert "could not be told" in retrodict("verify").out
    refused = retrodict("log")
    assert refused.code == 2
    assert "Update retrodict." in refused.err


@pytest.mark.usefixtures("_mounts")
def test_a_checkout_that_cannot_write_names_the_destination(retrodict: Command, prediction: str, project: Path) -> None:
    Path("folder").mkdir()
    Path("folder/inner").write_text("i")
    retrodict("add", "folder")
    for reference, place in (("dataset:a", "back"), ("dataset:folder", "back")):
        done = _mounted_read_only(project, ["checkout", reference, place])
        assert done.returncode == 2
        assert ".retrodict-" not in done.stderr
        assert place in done.stderr
    (project / "there").mkdir()
    done = _mounted_read_only(project, ["checkout", "dataset:folder", "there"])
    assert done.returncode == 2
    assert ".retrodict-" not in done.stderr
    assert "there/inner" in done.stderr


def test_completion_completes(retrodict: Command) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_RETRODICT_COMPLETE" in retrodict("completion", shell).out
    assert "plain,explain" in _completed("retrodict expl")


def _completed(words: str) -> list[str]:
    """Return what a shell is offered for the last word of a line."""
    environment = {
        **os.environ,
        "_RETRODICT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from retrodict.cli import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def test_names_are_completed_too(retrodict: Command, prediction: str) -> None:
    retrodict("alias", "rule@best", "v1", "--reason", "r")
    Path("rules.csv").write_text("a")
    retrodict("add", "rules.csv")
    assert _completed("retrodict predict rul") == ["plain,rule", "plain,rule@best", "plain,rule@v1"]
    assert "plain,dataset:a@v1" in _completed("retrodict show dat")
    assert "plain,rules.csv" in _completed("retrodict lineage rul")
    assert _completed("retrodict register rul") == ["file,rul"]
    assert _completed("retrodict show nothing-like-it") == []


def test_completion_is_silent_where_there_is_no_workspace(retrodict: Command) -> None:
    assert _completed("retrodict show rul") == []
