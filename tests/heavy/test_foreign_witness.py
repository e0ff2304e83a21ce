"""A witness that others have written takes our checkpoints and proofs, and its cosignatures are good here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrodict.actions.check_proof import check_proof
from retrodict.actions.init import init
from retrodict.actions.log_proof import log_proof
from retrodict.actions.log_witness import log_witness
from retrodict.actions.open import open_workspace
from retrodict.actions.rotate_key import rotate_key
from retrodict.actions.verify import verify
from retrodict.kernel.clock import SystemClock
from retrodict.ledger import ForkError, OldStoreError, WitnessError
from retrodict.workspace import Batch, Workspace

HERE = Path(__file__).parent
CLOCK = SystemClock()
NAME = "witness.example/foreign"

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Foreign:
    """The program, its configuration, and its public key."""

    program: str
    configuration: Path
    key: str

    def command(self, name: str, *arguments: str) -> list[str]:
        return [self.program, name, "--config", str(self.configuration), *arguments]


@pytest.fixture
def foreign(tmp_path: Path) -> Foreign:
    made = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrodict" / "tests"
    if not os.environ.get("CI") and not any(made.glob("witness-*/.made")):
        pytest.skip(f"the foreign witness is not installed: tests/heavy/witness.sh {sys.executable}")
    script = [str(HERE / "witness.sh"), sys.executable]
    program = subprocess.run(script, check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "witness").mkdir()
    without_key = Foreign(program, tmp_path / "witness" / "witness.json", "")
    begun = subprocess.run(without_key.command("init", "--name", NAME), check=True, capture_output=True, text=True)
    return Foreign(program, without_key.configuration, begun.stdout.strip())


@pytest.fixture
def log(tmp_path: Path) -> str:
    return init(tmp_path / "project", tmp_path / "state", CLOCK, agent="Ada").key


@pytest.fixture
def url(foreign: Foreign, log: str) -> Iterator[str]:
    """Where it serves; it knows the log."""
    origin = log.split("+")[0]
    subprocess.run(foreign.command("add-log", "--origin", origin, "--vkey", log), check=True, capture_output=True)
    with subprocess.Popen(
        foreign.command("serve", "--listen", "127.0.0.1:0"), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"listening on (http://\S+)", line):
                break
        else:
            pytest.fail("it does not serve")
        yield found[1]
        process.kill()
        process.communicate()


def reopen(folder: Path) -> Workspace:
    return open_workspace(folder / "project", folder / "state", CLOCK, agent="Ada")


def say(workspace: Workspace, times: int) -> None:
    for number in range(times):
        batch = Batch(workspace)
        batch.event("thing.happened", uses=(), makes=(), body={"number": number})
        batch.append()


def test_it_cosigns_growth_and_its_word_is_asked_for(foreign: Foreign, url: str, tmp_path: Path) -> None:
    with reopen(tmp_path) as workspace:
        for times in (0, 1, 2, 300):  # more than a tile of entries
            say(workspace, times)
            done = log_witness(workspace, [url], keys=[foreign.key])
            assert [w.verified for w in done.witnesses] == [True]
        answer = verify(workspace, witnesses=[foreign.key])
        assert (answer.answer, [w.size for w in answer.witnesses]) == ("yes", [done.size])
        proof = log_proof(workspace, "0")
        assert proof.witnesses == (NAME,)
        checked = check_proof(proof.receipt.encode(), proof.entry.encode(), witnesses=[foreign.key])
        assert (checked.answer, checked.witnesses[0].at) == ("yes", answer.witnesses[0].at)


def test_it_catches_an_old_store_and_a_fork(foreign: Foreign, url: str, tmp_path: Path) -> None:
    for name in ("project", "state"):
        shutil.copytree(tmp_path / name, tmp_path / "kept" / name)
    with reopen(tmp_path) as workspace:
        say(workspace, 3)
        log_witness(workspace, [url], keys=[foreign.key])
    for name in ("project", "state"):
        shutil.rmtree(tmp_path / name)
        shutil.move(tmp_path / "kept" / name, tmp_path / name)
    with reopen(tmp_path) as workspace:
        with pytest.raises(OldStoreError, match="the witness at"):
            log_witness(workspace, [url], keys=[foreign.key])
        say(workspace, 6)
        with pytest.raises(ForkError, match="the witness at"):
            log_witness(workspace, [url], keys=[foreign.key])
        assert verify(workspace, witnesses=[foreign.key]).answer == "no"


def test_a_log_that_it_does_not_know_is_told_so(foreign: Foreign, url: str, tmp_path: Path) -> None:
    init(tmp_path / "other" / "project", tmp_path / "other" / "state", CLOCK, agent="Ada")
    with reopen(tmp_path / "other") as workspace, pytest.raises(WitnessError, match="does not know the log"):
        log_witness(workspace, [url], keys=[foreign.key])


def test_it_takes_the_checkpoint_that_both_keys_have_signed(foreign: Foreign, url: str, tmp_path: Path) -> None:
    with reopen(tmp_path) as workspace:
        log_witness(workspace, [url], keys=[foreign.key])
        rotate_key(workspace)
        done = log_witness(workspace, [url], keys=[foreign.key])
        assert [w.verified for w in done.witnesses] == [True]
        say(workspace, 1)
        with pytest.raises(WitnessError, match="does not know the key"):  # until its keeper adds the new one
            log_witness(workspace, [url], keys=[foreign.key])
