"""A real witness, in a process of its own: it cosigns what goes on, and nobody gets a second history past it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import pytest

from retrodict.actions.backing import open_place
from retrodict.actions.backup import backup
from retrodict.actions.check_proof import check_proof
from retrodict.actions.init import init
from retrodict.actions.log_checkpoint import log_checkpoint
from retrodict.actions.log_proof import log_proof
from retrodict.actions.log_publish import log_publish
from retrodict.actions.log_witness import log_witness
from retrodict.actions.open import open_workspace
from retrodict.actions.rotate_key import rotate_key
from retrodict.actions.verify import verify
from retrodict.kernel import merkle
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UsageError
from retrodict.kernel.note import SignatureError, decode_checkpoint, sign_note
from retrodict.keys import LogSigner
from retrodict.ledger import ForkError, OldStoreError, WitnessError
from retrodict.ledger.witness import ask_witness
from retrodict.workspace import Batch, Workspace

CLOCK = SystemClock()


@dataclass(frozen=True)
class Watching:
    key: str
    url: str


Watch = Callable[..., Watching]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Starts witnesses; each knows the logs whose keys are given."""
    running: list[subprocess.Popen[str]] = []

    def start(*logs: str, name: str = "witness.example/w1", options: tuple[str, ...] = ()) -> Watching:
        state = tmp_path / f"witness{len(running)}"
        state.mkdir()
        command = [sys.executable, "-m", "retrodict.testing.witness", "--state", str(state), "--name", name, *options]
        for log in logs:
            command += ["--log", log]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stream = running[-1].stdout
        assert stream is not None
        return Watching(**json.loads(stream.readline()))

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def key(tmp_path: Path) -> str:
    return init(tmp_path / "project", tmp_path / "state", CLOCK, agent="Ada").key


def reopen(folder: Path) -> Workspace:
    return open_workspace(folder / "project", folder / "state", CLOCK, agent="Ada")


@pytest.fixture
def workspace(key: str, tmp_path: Path) -> Iterator[Workspace]:
    with reopen(tmp_path) as opened:
        yield opened


def say(workspace: Workspace, text: str) -> None:
    batch = Batch(workspace)
    batch.event("thing.happened", uses=(), makes=(), body={"text": text})
    batch.append()


@pytest.mark.parametrize("options", [(), ("--ml-dsa",)], ids=["ed25519", "ml-dsa-44"])
def test_growth_is_cosigned_and_the_cosignature_is_asked_for(
    options: tuple[str, ...], workspace: Workspace, key: str, watch: Watch, tmp_path: Path
) -> None:
    witness = watch(key, options=options)
    assert verify(workspace, witnesses=[witness.key]).answer == "no"  # it was asked for, and is not there
    for _ in range(3):
        say(workspace, "something")
        done = log_witness(workspace, [witness.url], keys=[witness.key])
        assert [w.verified for w in done.witnesses] == [True]
    answer = verify(workspace, witnesses=[witness.key])
    assert (answer.answer, [w.size for w in answer.witnesses]) == ("yes", [done.size])
    assert answer.witnesses[0].at == done.witnesses[0].at
    # A receipt and a publication bear it, and it is good without any key of the log.
    proof = log_proof(workspace, "0")
    assert proof.witnesses == ("witness.example/w1",)
    checked = check_proof(proof.receipt.encode(), proof.entry.encode(), witnesses=[witness.key])
    assert (checked.answer, checked.witnesses[0].at) == ("yes", answer.witnesses[0].at)
    assert log_publish(workspace, tmp_path / "log", witnessed=True).witnesses == ("witness.example/w1",)
    published = decode_checkpoint((tmp_path / "log" / "checkpoint").read_bytes())
    assert published.encode().decode() == done.note
    stranger = watch(key, name="witness.example/w1", options=options)
    refused = verify(workspace, witnesses=[stranger.key])
    assert (refused.answer, refused.findings[0].level) == ("no", "missing")
    assert check_proof(proof.receipt.encode(), proof.entry.encode(), witnesses=[stranger.key]).answer == "no"


def test_where_nothing_was_logged_since_no_cosignature_is_kept_anew(
    workspace: Workspace, key: str, watch: Watch, tmp_path: Path
) -> None:
    one, two = watch(key, name="a.example"), watch(key, name="b.example")
    log_witness(workspace, [one.url], keys=[one.key])
    backup(workspace, open_place(str(tmp_path / "backup")))
    size = workspace.ledger.size()
    for _ in range(2):
        again = log_witness(workspace, [one.url], keys=[one.key])
        assert (again.event, again.size, [w.verified for w in again.witnesses]) == (None, size, [True])
    assert workspace.ledger.size() == size
    both = log_witness(workspace, [one.url, two.url], keys=[one.key, two.key])  # another one has not said it yet
    assert both.index == size
    assert log_witness(workspace, [one.url, two.url]).event is None
    say(workspace, "something")
    done = log_witness(workspace, [one.url], keys=[one.key])
    assert done.index == workspace.ledger.size() - 1
    assert log_witness(workspace, [one.url, two.url], keys=[one.key, two.key]).event is not None
    assert verify(workspace, witnesses=[one.key, two.key]).answer == "yes"


def test_two_witnesses_cosign_the_same_checkpoint(workspace: Workspace, key: str, watch: Watch) -> None:
    one, two = watch(key, name="a.example"), watch(key, name="b.example")
    done = log_witness(workspace, [one.url, two.url], keys=[one.key, two.key])
    assert len(decode_checkpoint(done.note.encode()).signatures) == 3
    assert [w.size for w in verify(workspace, witnesses=[one.key, two.key]).witnesses] == [done.size, done.size]


def test_a_witness_that_is_down_does_not_cost_the_words_of_the_others(
    workspace: Workspace, key: str, watch: Watch, tmp_path: Path
) -> None:
    other = init(tmp_path / "other", tmp_path / "state", CLOCK, agent="Ada").key
    one, deaf = watch(key, name="a.example"), watch(other, name="b.example")
    for order in ([one.url, deaf.url, "http://127.0.0.1:9"], ["http://127.0.0.1:9", deaf.url, one.url]):
        say(workspace, "something")
        done = log_witness(workspace, order, keys=[one.key])
        assert [w.name for w in done.witnesses] == ["a.example"]
        assert sorted("cannot be reached" in why for why in done.refused) == [False, True]
        assert verify(workspace, witnesses=[one.key]).witnesses[0].size == done.size
    size = workspace.ledger.size()
    with pytest.raises(WitnessError, match="does not know the log"):
        log_witness(workspace, [deaf.url])
    assert workspace.ledger.size() == size


def test_a_cosignature_that_was_never_recorded_does_not_stop_the_next_one(
    workspace: Workspace, key: str, watch: Watch
) -> None:
    """As when this process dies after the witness has answered; and when the witness lost nothing, but we did."""
    witness = watch(key)
    for _ in range(2):
        say(workspace, "something")
        ask_witness(workspace.ledger, decode_checkpoint(log_checkpoint(workspace).note.encode()), witness.url)
    say(workspace, "more")
    done = log_witness(workspace, [witness.url], keys=[witness.key])
    assert verify(workspace, witnesses=[witness.key]).witnesses[0].size == done.size


def test_after_another_key_receipts_are_for_those_who_have_it(workspace: Workspace, key: str, watch: Watch) -> None:
    witness = watch(key)
    kept = log_checkpoint(workspace).note.encode()
    log_witness(workspace, [witness.url], keys=[witness.key])
    assert log_proof(workspace, "0").witnesses
    rotated = rotate_key(workspace, reason="it was seen by others")
    proof = log_proof(workspace, "0")
    assert check_proof(proof.receipt.encode(), proof.entry.encode(), keys=[rotated.key]).answer == "yes"
    # Who has only the old key is led to the new one by what the old one signed last.
    receipt, data = proof.receipt.encode(), proof.entry.encode()
    last_word = log_proof(workspace, str(rotated.index)).entry.encode()
    assert check_proof(receipt, data, keys=[key]).answer == "yes"  # this checkpoint both keys have signed
    say(workspace, "only the new key signs from now on")
    again = rotate_key(workspace, reason="and again")
    say(workspace, "more")
    later = log_proof(workspace, str(workspace.ledger.size() - 1)).receipt.encode()
    leaf = workspace.ledger.event(workspace.ledger.size() - 1).leaf_hash
    words = [log_proof(workspace, str(again.index)).entry.encode(), last_word]
    assert check_proof(later, None, leaf=leaf, keys=[key]).answer == "no"
    assert check_proof(later, None, leaf=leaf, keys=[key], rotations=words).answer == "yes"
    assert check_proof(later, None, leaf=leaf, keys=[key], rotations=words[:1]).answer == "no"
    assert check_proof(later, None, leaf=leaf, keys=[key], rotations=[data, b"no entry"]).answer == "no"
    since = verify(workspace, since=kept, witnesses=[witness.key])  # words about the time before still stand
    assert (since.answer, [f for f in since.findings if f.level == "note"]) == ("yes", [])
    stranger = replace(decode_checkpoint(kept), signatures=())
    signed = replace(stranger, signatures=(sign_note(stranger.text, LogSigner(stranger.origin, os.urandom(32))),))
    by_another = verify(workspace, since=signed.encode())
    assert (by_another.answer, by_another.findings[0].level) == ("yes", "note")  # its entries are these all the same
    tampered = kept.replace(b"\n2\n", b"\n1\n")
    assert tampered != kept
    assert any("nothing says that this log" in f.message for f in verify(workspace, since=tampered).findings)
    with pytest.raises(WitnessError, match="does not know the key"):
        log_witness(workspace, [witness.url])
    both = watch(key, again.key, name="b.example")
    log_witness(workspace, [both.url], keys=[both.key])
    assert log_proof(workspace, "0").witnesses == ("b.example",)


def test_without_a_key_the_signatures_are_kept_unverified(workspace: Workspace, key: str, watch: Watch) -> None:
    witness = watch(key)
    assert [w.verified for w in log_witness(workspace, [witness.url]).witnesses] == [False]
    assert verify(workspace, witnesses=[witness.key]).answer == "yes"


def test_a_witness_catches_an_old_store_and_a_fork(key: str, watch: Watch, tmp_path: Path) -> None:
    """The holder puts everything back together, store and state directory: only the witness remembers."""
    witness = watch(key)
    reopen(tmp_path).__exit__()
    for name in ("project", "state"):
        shutil.copytree(tmp_path / name, tmp_path / "kept" / name)
    with reopen(tmp_path) as workspace:
        for _ in range(3):
            say(workspace, "what was said")
        log_witness(workspace, [witness.url], keys=[witness.key])
    for name in ("project", "state"):
        shutil.rmtree(tmp_path / name)
        shutil.move(tmp_path / "kept" / name, tmp_path / name)
    with reopen(tmp_path) as workspace:
        with pytest.raises(OldStoreError, match="the witness at"):
            log_witness(workspace, [witness.url], keys=[witness.key])
        for _ in range(6):
            say(workspace, "something else")
        with pytest.raises(ForkError, match="the witness at"):
            log_witness(workspace, [witness.url], keys=[witness.key])
        assert verify(workspace).answer == "yes"  # by itself nobody could tell
        assert verify(workspace, witnesses=[witness.key]).answer == "no"


def test_replacing_entries_key_and_checkpoint_together_is_caught_by_the_cosignature(
    key: str, watch: Watch, tmp_path: Path
) -> None:
    """An entry is rewritten and everything above it derived and signed again, by whoever has the key."""
    witness = watch(key)
    with reopen(tmp_path) as workspace:
        say(workspace, "the truth")
        log_witness(workspace, [witness.url], keys=[witness.key])
        say(workspace, "more")
        kept = log_checkpoint(workspace).note.encode()
    db = apsw.Connection(str(workspace.folder / "ledger.db"))
    query = "SELECT idx, data FROM entries WHERE instr(data, CAST('the truth' AS BLOB))"
    ((index, stored),) = db.execute(query).fetchall()
    assert isinstance(stored, bytes)
    data = stored.replace(b"the truth", b"the false")
    db.execute("UPDATE entries SET data = ?, leaf = ? WHERE idx = ?", (data, merkle.leaf_hash(data), index))
    db.execute("DELETE FROM checkpoint")
    db.close()
    next((tmp_path / "state").glob("*/checkpoint")).unlink()
    with reopen(tmp_path) as forged:
        log_checkpoint(forged)
        assert {finding.what.split(".")[0] for finding in verify(forged).findings} <= {"views"}
        for answer in (verify(forged, witnesses=[witness.key]), verify(forged, since=kept)):
            assert answer.answer == "no"
            assert any("fork" in finding.message for finding in answer.findings)
        assert verify(forged, since=kept).since is not None
        assert verify(forged, since=kept).since.proof is None  # type: ignore[union-attr]


def test_what_a_witness_refuses_is_said(workspace: Workspace, key: str, watch: Watch) -> None:
    size = workspace.ledger.size()
    stranger = LogSigner("example.com/other", os.urandom(32))
    impostor = LogSigner(workspace.ledger.origin, os.urandom(32))
    with pytest.raises(WitnessError, match="does not know the log"):
        log_witness(workspace, [watch(str(stranger.verifier)).url])
    with pytest.raises(WitnessError, match="does not know the key"):
        log_witness(workspace, [watch(str(impostor.verifier)).url])
    with pytest.raises(WitnessError, match="cannot be reached"):
        log_witness(workspace, ["http://127.0.0.1:9"])
    with pytest.raises(UsageError, match="no web address"):
        log_witness(workspace, ["file:///etc/passwd"])
    good = watch(key)
    with pytest.raises(SignatureError, match="whose key was not given"):
        log_witness(workspace, [good.url], keys=[watch(key).key])
    with pytest.raises(UsageError, match="not that of a witness"):
        log_witness(workspace, [good.url], keys=[key])
    assert workspace.ledger.size() == size


def test_a_checkpoint_that_was_kept_is_an_anchor(key: str, tmp_path: Path) -> None:
    with reopen(tmp_path) as workspace:
        kept = log_checkpoint(workspace).note.encode()
        for _ in range(5):
            say(workspace, "more")
        answer = verify(workspace, since=kept)
        assert answer.answer == "yes"
        assert answer.since is not None
        assert answer.since.proof is not None
    # Without the state directory nothing else says who wrote the log; the checkpoint does.
    with open_workspace(tmp_path / "project", tmp_path / "nowhere", CLOCK, read_only=True) as alone:
        assert verify(alone).answer == "could not tell"
        since = verify(alone, since=kept)
        assert (since.answer, since.unprotected) == ("yes", 5)
        with pytest.raises(UsageError, match="no checkpoint"):
            verify(alone, since=b"anything")
        other = init(tmp_path / "p2", tmp_path / "s2", CLOCK, agent="Ada")
        assert other.key != key
        with open_workspace(tmp_path / "p2", tmp_path / "s2", CLOCK, agent="Ada") as second:
            foreign = log_checkpoint(second).note.encode()
        with pytest.raises(UsageError, match="of the log"):
            verify(alone, since=foreign)
