"""A service's key file: all that another user needs, bound to one store."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from tests.cli.conftest import Command


@pytest.fixture
def exported(retrodict: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose key file lies elsewhere; from here on there is no state directory."""
    Path("rule.py").write_text("def predict(frame):\n    return frame['income'] > 10\n")
    Path("asked.csv").write_text("income\n12\n")
    retrodict("init")
    assert retrodict("register", "rule.py", "rule", "--reason", "sealed").code == 0
    folder = project.parent / "etc"
    folder.mkdir()
    file = folder / "scoring.key"
    told = retrodict("keys", "export-signing", file, "--json")
    assert told.code == 0, told.err
    assert told.record["key"] == retrodict("status", "--json").record["key"] == retrodict("log", "key").out.strip()
    monkeypatch.setenv("RETRODICT_STATE", str(project.parent / "nobody"))
    monkeypatch.setenv("RETRODICT_AGENT", "scoring service")
    return file


def test_with_the_key_file_alone_a_service_signs_and_verifies(retrodict: Command, exported: Path) -> None:
    assert retrodict("predict", "rule", "--input", "asked.csv").code == 2
    answered = retrodict("--key-file", exported, "predict", "rule", "--input", "asked.csv", "--json")
    assert answered.code == 0, answered.err
    stands = retrodict("--key-file", exported, "status", "--json").record
    assert stands["published"] == stands["entries"]
    assert retrodict("--key-file", exported, "verify").code == 0
    assert "sealed" in retrodict("--key-file", exported, "log").out
    assert "(sealed: its key is not held)" in retrodict("log").out
    for path in exported.parent.iterdir():
        if path.suffix != ".checkpoint":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_variable_says_the_same(
    retrodict: Command, exported: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setenv("RETRODICT_KEY_FILE", str(exported))
    assert retrodict("predict", "rule", "--input", "asked.csv").code == 0
    assert retrodict("verify").code == 0
    # The checkpoint beside the key knows an old store that was put back.
    shutil.copytree(project / ".retrodict", project.parent / "old", symlinks=True)
    retrodict("predict", "rule", "--input", "asked.csv")
    shutil.rmtree(project / ".retrodict")
    shutil.copytree(project.parent / "old", project / ".retrodict", symlinks=True)
    refused = retrodict("predict", "rule", "--input", "asked.csv")
    assert refused.code == 2
    assert "is old" in refused.err


def test_the_makers_keys_go_on_beside_it(
    retrodict: Command, exported: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    retrodict("--key-file", exported, "predict", "rule", "--input", "asked.csv")
    monkeypatch.setenv("RETRODICT_STATE", str(project.parent / "state"))
    assert retrodict("add", "asked.csv").code == 0
    assert retrodict("verify").code == 0
    assert retrodict("rotate-key", "--reason", "r").code == 0
    refused = retrodict("--key-file", exported, "predict", "rule", "--input", "asked.csv")
    assert refused.code == 2
    assert "has been replaced" in refused.err
    assert retrodict("verify").code == 0
    assert retrodict("status", "--json").record["key"] == retrodict("log", "key").out.strip()


def test_a_key_file_of_another_store_is_refused_by_name(retrodict: Command, exported: Path, project: Path) -> None:
    os.environ["RETRODICT_STATE"] = str(project.parent / "state")
    other = project.parent / "other"
    other.mkdir()
    assert retrodict("-C", other, "init").code == 0
    before = retrodict("-C", other, "log", "--json").out
    for arguments in (["log"], ["status"], ["verify"], ["add", "asked.csv"], ["serve", "rule", "--port", "0"]):
        refused = retrodict("-C", other, "--key-file", exported, *arguments)
        assert refused.code == 2, arguments
        assert str(exported) in refused.err
        assert len(refused.err.strip().splitlines()) == 1
    assert retrodict("-C", other, "log", "--json").out == before
    assert json.loads(before)["size"] == 2


def test_a_bad_key_file_is_named(retrodict: Command, exported: Path, project: Path) -> None:
    for bad in (exported.parent / "absent", project / "rule.py"):
        refused = retrodict("--key-file", bad, "log")
        assert refused.code == 2
        assert str(bad) in refused.err
        assert "keys export-signing" in refused.err
    nowhere = retrodict("--key-file", exported, "keys", "export-signing", project / "nowhere/new.key")
    assert nowhere.code == 2
    assert "the key file's folder" in nowhere.err
    assert retrodict("keys", "export-signing", project.parent / "again.key").code == 2  # no keys here
    taken = retrodict("--key-file", exported, "keys", "export-signing", exported)
    assert taken.code == 2
    assert "exists already" in taken.err


def test_no_key_gets_into_the_store(retrodict: Command, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program under `run` that itself uses retrodict reads the keys; `add` is asked for them outright."""
    retrodict("init")
    state = next((project.parent / "state").iterdir())
    assert retrodict("keys", "export-signing", "scoring.key").code == 0
    Path("tls.pem").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n")
    Path("wrapping").write_text("a word, and no key\n")
    shutil.copytree(state, "kept")  # where no rule for places knows it
    read = [*state.iterdir(), *Path("kept").iterdir(), *Path().glob("scoring.key*"), Path("tls.pem"), Path("wrapping")]
    Path("ask.py").write_text("import sys\nfor name in sys.argv[1:]:\n    open(name, 'rb').read()\n")
    ran = retrodict("run", "--json", "--", sys.executable, "ask.py", *read)
    assert ran.code == 0, ran.err
    assert {Path(file["path"]).name for file in ran.record["inputs"]} >= {"wrapping", "scoring.key.place", "place"}
    assert not [file for file in ran.record["inputs"] if str(state) in file["path"]]
    assert [text for text in ran.record["warnings"] if "tls.pem holds a private key" in text]
    keys = [path for path in read if path.name in {"signing.key", "scoring.key", "scoring.key.wrapping", "tls.pem"}]
    keys += [state / "wrapping", Path("kept") / "wrapping"]
    assert len(keys) == 7
    for key in keys:
        assert "state   missing" in retrodict("show", f"b3-{blake3(key.read_bytes()).hexdigest()}").out, key
        assert "private key" in retrodict("add", key).err
    monkeypatch.setenv("RETRODICT_STATE", str(project / "inside"))
    shutil.copytree(state.parent, "inside")
    assert "private key" in retrodict("add", "inside").err
    assert retrodict("add", "wrapping").code == 0
