"""What is kept and what goes: leftovers, evidence that is let go, derived versions that come back."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from retrodict.actions.needs import roots
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.kernel.clock import SystemClock
from retrodict.models import records as models
from retrodict.objects import ObjectStore
from retrodict.testing.workspaces import AGENT, build

RAW = random.Random(1).randbytes(900_000)


@pytest.fixture
def raw(retrodict: Command, project: Path) -> Path:
    """A project with raw data of which a model was made, that has answered; and a leftover."""
    retrodict("init")
    Path("raw.bin").write_bytes(RAW)
    Path("train.py").write_text(
        "n = len(open('raw.bin', 'rb').read())\n"
        "open('model.py', 'w').write(f'def predict(frame):\\n    return frame.amount > {n}\\n')\n"
    )
    Path("in.json").write_text('[{"amount": 5}]')
    retrodict("add", "raw.bin", "--name", "raw")
    assert retrodict("run", "--", sys.executable, "train.py").code == 0
    assert retrodict("register", "model.py", "m").code == 0
    assert retrodict("predict", "m", "--input", "in.json").code == 0
    with ObjectStore.open(project / ".retrodict" / "objects", SystemClock()) as store:
        store.put(random.Random(2).randbytes(400_000))
    return project


def packs() -> int:
    return sum(path.stat().st_size for path in Path(".retrodict/objects/packs").iterdir())


def test_a_plan_changes_nothing(retrodict: Command, raw: Path) -> None:
    before = {path: path.read_bytes() for path in Path(".retrodict/objects/packs").iterdir()}
    log = retrodict("log", "--json").out
    plan = retrodict("gc", "--json").record
    assert (plan["is_plan"], plan["dead"]["stored_bytes"] > 390_000, plan["doomed"]["records"]) == (True, True, 0)
    assert retrodict("gc", "release", "raw", "--json").record["entry"] is None
    assert {path: path.read_bytes() for path in Path(".retrodict/objects/packs").iterdir()} == before
    assert retrodict("log", "--json").out == log


def test_leftovers_go_after_the_grace(retrodict: Command, raw: Path) -> None:
    size = packs()
    doomed = retrodict("gc", "--apply", "--json").record
    assert (doomed["swept"]["records"], doomed["doomed"]["stored_bytes"] > 390_000) == (0, True)
    assert packs() == size
    assert retrodict("gc", "undelete", "--json").record["records"] == doomed["doomed"]["records"]
    retrodict("gc", "--apply")
    assert retrodict("gc", "--apply", "--grace", "1h", "--json").record["swept"]["records"] == 0
    assert retrodict("gc", "--apply", "--grace", "0s", "--json").record["swept"]["stored_bytes"] > 390_000
    assert packs() < size - 390_000
    assert retrodict("verify").code == 0
    assert retrodict("replay", prediction(retrodict)).code == 0


def prediction(retrodict: Command) -> str:
    return str(retrodict("log", "-n", "1", "--kind", "prediction", "--json").record["rows"][0]["entry"])


def test_everything_that_the_record_needs_stays(retrodict: Command, raw: Path) -> None:
    retrodict("gc", "--apply", "--grace", "0s")
    assert retrodict("gc", "--json").record["dead"]["records"] == 0
    Path("raw.bin").unlink()
    assert retrodict("checkout", "raw").code == 0
    assert Path("raw.bin").read_bytes() == RAW
    told = retrodict("explain", prediction(retrodict), "--replay").out
    assert "missing" not in told


def test_evidence_is_let_go_on_purpose(retrodict: Command, raw: Path) -> None:
    plan = retrodict("gc", "release", "raw", "--json").record
    assert plan["frees"]["stored_bytes"] > 890_000
    assert plan["losses"] == [{"model": "m@v1", "how": "trained", "answers": 1}]
    assert retrodict("gc", "release", "raw", "--apply").code == 2  # without a reason
    assert retrodict("gc", "release", "raw", "--apply", "--reason", "its licence has ended").code == 0
    assert "let go" in retrodict("why-kept", "raw").out
    before = packs()
    retrodict("gc", "--apply", "--grace", "0s")
    assert packs() < before - 890_000
    checked = retrodict("verify")
    assert (checked.code, "let go, as entry" in " ".join(checked.out.split())) == (0, True)
    assert "let go (entry" in retrodict("explain", prediction(retrodict)).out
    assert retrodict("replay", prediction(retrodict)).code == 0
    Path("raw.bin").unlink()
    gone = retrodict("checkout", "raw", "again.bin")
    assert (gone.code, Path("again.bin").exists()) == (2, False)
    Path("raw.bin").mkdir()
    assert "no object named" in retrodict("checkout", "raw", "raw.bin").err  # whatever lies in its place


def test_whoever_adds_it_again_keeps_it(retrodict: Command, raw: Path) -> None:
    retrodict("gc", "release", "raw", "--apply", "--reason", "not needed")
    retrodict("add", "raw.bin", "--name", "needed-after-all")
    retrodict("gc", "--apply", "--grace", "0s")
    Path("raw.bin").unlink()
    assert retrodict("checkout", "raw").code == 0
    assert retrodict("verify").code == 0


def test_a_model_that_is_let_go_takes_its_replays_with_it(retrodict: Command, raw: Path) -> None:
    plan = retrodict("gc", "release", "m@v1", "--json").record
    assert plan["losses"] == [{"model": "m@v1", "how": "answered", "answers": 1}]
    retrodict("gc", "release", "m@v1", "--apply", "--reason", "retired")
    retrodict("gc", "--apply", "--grace", "0s")
    assert retrodict("replay", prediction(retrodict)).code == 2
    assert retrodict("explain", prediction(retrodict)).code == 0


def test_a_derived_version_comes_back_by_itself(retrodict: Command, raw: Path) -> None:
    Path("half.py").write_text("open('half.bin', 'wb').write(open('raw.bin', 'rb').read()[:450_000])\n")
    command = ("derive", "half.bin", "--from", "raw", "--code", "half.py", "--", sys.executable, "half.py")
    assert retrodict(*command).code == 0
    assert retrodict("derive", "verify", "half.bin").code == 0
    plan = retrodict("gc", "release", "half.bin", "--json").record
    assert (plan["proven"], plan["frees"]["stored_bytes"] < 200_000) == (True, True)  # most of it is the source's
    assert retrodict("gc", "release", "raw", "--json").record["remakings"] == [
        {"version": "dataset:half.bin@v1", "is_held": True}
    ]
    retrodict("gc", "release", "half.bin", "--apply", "--reason", "can be made again")
    retrodict("gc", "--apply", "--grace", "0s")
    assert "its bytes were let go, and would be lost" in " ".join(retrodict("gc", "release", "raw").out.split())
    assert retrodict("derive", "--json").record["rows"][0]["state"] == "missing"
    os.unlink("half.bin")
    assert retrodict("checkout", "half.bin").code == 0
    assert Path("half.bin").read_bytes() == RAW[:450_000]


def test_why_something_is_kept(retrodict: Command, raw: Path) -> None:
    Path("folder/sub").mkdir(parents=True)
    Path("folder/sub/copy").write_bytes(RAW)
    retrodict("add", "folder")
    found = retrodict("why-kept", "raw", "--json")
    assert (found.code, found.record["is_needed"]) == (0, True)
    assert {(keeper["how"], keeper["path"]) for keeper in found.record["keepers"]} >= {
        ("made it", ""),
        ("used it", ""),
        ("holds it", "sub/copy"),
    }
    uses = {use["name"]: use for use in retrodict("du", "--json").record["uses"]}
    assert uses["raw"]["stored"]["stored_bytes"] > 890_000
    assert uses["raw"]["own"]["stored_bytes"] == 0  # the folder and the run need the same chunks


def test_what_is_altered_stops_it(retrodict: Command, raw: Path) -> None:
    for pack in Path(".retrodict/objects/packs").iterdir():
        data = bytearray(pack.read_bytes())
        data[60:] = bytes(len(data) - 60)
        pack.chmod(0o644)
        pack.write_bytes(data)
    stopped = retrodict("gc", "--apply", "--grace", "0s")
    assert (stopped.code, len(stopped.err.splitlines())) == (2, 1)


def test_calls_add_no_roots_but_what_they_name_in_the_store(tmp_path: Path) -> None:
    """Their payloads lie in the log, which keeps them: of ten million calls none is held in memory."""
    built = build(tmp_path)
    with open_workspace(built.root, built.state, SystemClock(), agent=AGENT) as workspace:
        before = roots(workspace).needed
        for x in range(20):
            predict(workspace, "line@champion", [{"x": float(x)}])
        assert roots(workspace).needed == before
        assert {model.content for model in models.versions(workspace.views.database())} <= before
