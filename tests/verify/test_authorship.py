"""Who did it: claimed, or authenticated by a signature of their own key; and nobody becomes somebody else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pandas as pd
import pytest

from retrodict.actions.authorship import Authors
from retrodict.actions.check_proof import check_proof
from retrodict.actions.init import init
from retrodict.actions.log import log
from retrodict.actions.log_proof import log_proof
from retrodict.actions.open import open_workspace
from retrodict.actions.show import show
from retrodict.actions.signers import add_signer, revoke_signer, signers
from retrodict.actions.verify import verify
from retrodict.kernel import merkle
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.entry import authored_bytes, decode, encode
from retrodict.kernel.errors import AmbiguousReferenceError, UsageError
from retrodict.kernel.types import Edge, Ref
from retrodict.keys import SshSigner
from retrodict.serving import Service
from retrodict.testing.workbench import register_source
from retrodict.workspace import Batch, Workspace, signed

CLOCK = SystemClock()
ADA, EVE = "Ada <ada@example.org>", "Eve <eve@example.org>"
Open = Callable[..., Workspace]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    init(tmp_path / "project", tmp_path / "state", CLOCK, agent=ADA)

    def again(signer: SshSigner | None = None, agent: str = ADA) -> Workspace:
        return open_workspace(tmp_path / "project", tmp_path / "state", CLOCK, agent=agent, signer=signer)

    return again


@pytest.fixture(scope="module")
def keys(ssh_keygen: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SshSigner]:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ada", "eve", "old"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    return {name: SshSigner.open(folder / name) for name in ("ada", "eve", "old")}


def say(workspace: Workspace, text: str) -> int:
    batch = Batch(workspace)
    batch.event("thing.happened", uses=(), makes=(), body={"text": text}, reason="because")
    return batch.append()[-1].index


def how(workspace: Workspace) -> dict[int, str]:
    return {row.entry: row.authorship for row in log(workspace).rows}


def test_what_an_own_key_signs_is_authenticated_and_the_rest_is_claimed(
    opened: Open, keys: dict[str, SshSigner]
) -> None:
    with opened(keys["ada"]) as workspace:
        before = say(workspace, "signed before the key is recorded")
        added = add_signer(workspace, "ada@example.org", keys["ada"].public_key.text)
        assert added.name == ADA
        after = say(workspace, "signed")
    with opened() as workspace:
        unsigned = say(workspace, "not signed")
    with opened(keys["ada"], agent=EVE) as workspace:
        in_her_name = say(workspace, "signed by Ada's key, and Eve is named")
    with opened(keys["eve"]) as workspace:
        by_another = say(workspace, "signed by Eve's key, and Ada is named")
        expected = {before: "authenticated", after: "authenticated", added.index: "authenticated"}
        expected |= {unsigned: "claimed", in_her_name: "claimed", by_another: "claimed"}
        assert {index: known for index, known in how(workspace).items() if index in expected} == expected
        shown = show(workspace, str(by_another))
        assert shown.authorship == "claimed"
        assert "not recorded for this agent" in str(shown.signature)
        answer = verify(workspace)
        assert (answer.answer, answer.authenticated) == ("yes", 3)
        assert answer.signed == 6
        # Among them the event that names Eve for the first time.
        noted = {f"entry {index}" for index in (in_her_name - 1, in_her_name, by_another)}
        assert {f.what for f in answer.findings if f.level == "note"} == noted


def test_a_revoked_key_counts_for_what_came_before(opened: Open, keys: dict[str, SshSigner]) -> None:
    with opened(keys["old"]) as workspace:
        add_signer(workspace, ADA, keys["old"].public_key.text)
        first = say(workspace, "one")
        second = say(workspace, "two")
        revoked = revoke_signer(workspace, "ada@example.org", since=str(second), reason="stolen")
        third = say(workspace, "three")
        known = how(workspace)
        assert [known[i] for i in (first, second, revoked.index, third)] == ["authenticated", *["claimed"] * 3]
        assert f"entry {revoked.index} has revoked" in str(show(workspace, str(third)).signature)
        with pytest.raises(UsageError, match="no key in force"):
            revoke_signer(workspace, ADA)
        assert signers(workspace).allowed_signers() == ""
        # Recorded again, it counts from there on, and what lay between stays claimed.
        again = add_signer(workspace, ADA, keys["old"].public_key.text)
        last = say(workspace, "four")
        known = how(workspace)
        assert [known[i] for i in (first, again.index, last)] == ["authenticated"] * 3
        assert [known[i] for i in (second, revoked.index, third)] == ["claimed"] * 3
        assert verify(workspace).answer == "yes"


def test_a_revocation_without_a_beginning_holds_from_its_own_entry(opened: Open, keys: dict[str, SshSigner]) -> None:
    with opened(keys["old"]) as workspace:
        add_signer(workspace, ADA, keys["old"].public_key.text)
        first = say(workspace, "one")
        revoke_signer(workspace, keys["old"].public_key.fingerprint)
        second = say(workspace, "two")
        known = how(workspace)
        assert (known[first], known[second]) == ("authenticated", "claimed")


def test_what_cannot_be_added_is_said(opened: Open, keys: dict[str, SshSigner]) -> None:
    with opened() as workspace:
        add_signer(workspace, ADA, keys["ada"].public_key.text)
        with pytest.raises(UsageError, match="already"):
            add_signer(workspace, ADA, keys["ada"].public_key.text)
        with pytest.raises(UsageError, match="not a public key"):
            add_signer(workspace, ADA, "-----BEGIN OPENSSH PRIVATE KEY-----")
        add_signer(workspace, ADA, keys["old"].public_key.text)
        with pytest.raises(AmbiguousReferenceError):
            revoke_signer(workspace, ADA)


def test_a_signature_taken_from_another_event_is_named(opened: Open, keys: dict[str, SshSigner]) -> None:
    """Whoever can write the log, and even sign checkpoints, makes nobody say what they did not say."""
    with opened(keys["ada"]) as workspace:
        add_signer(workspace, ADA, keys["ada"].public_key.text)
        honest = workspace.ledger.event(say(workspace, "yes"))
    with opened() as workspace:
        batch = Batch(workspace)
        forged = batch.event("thing.happened", uses=(), makes=(), body={"text": "no"})
        batch._events[-1] = replace(forged, extra={"signature": honest.event.extra["signature"]})
        index = batch.append()[-1].index
        assert how(workspace)[index] == "claimed"
        answer = verify(workspace)
        assert answer.answer == "no"
        assert [f.what for f in answer.findings if f.level == "altered"] == [f"entry {index}"]


@pytest.mark.parametrize("field", ["kind", "at", "agent", "body", "reason", "uses", "id"])
def test_every_field_but_the_tick_is_signed(field: str, opened: Open, keys: dict[str, SshSigner]) -> None:
    with opened(keys["ada"]) as workspace:
        add_signer(workspace, ADA, keys["ada"].public_key.text)
        entry = workspace.ledger.event(say(workspace, "yes"))
        assert Authors(workspace).of(entry).how == "authenticated"
        other = workspace.ledger.event(1).event
        edge = Edge(ref=Ref(other.id), role="input", evidence="declared")
        given: dict[str, Any] = {"kind": "thing.done", "agent": "a-2", "body": {}, "reason": None, "uses": (edge,)}
        changed = given[field] if field in given else getattr(other, field)
        altered = replace(entry, draft=replace(entry.event, **{field: changed}))
        assert Authors(workspace).of(altered).is_altered
        assert Authors(workspace).of(replace(entry, draft=replace(entry.event, tick=7))).how == "authenticated"
        assert encode(decode(entry.data)) == entry.data
        # What is signed can be made from the entry without us: the JSON without two of its fields.
        fields = json.loads(entry.data)
        del fields["tick"], fields["signature"]
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert text.encode() == authored_bytes(entry.event)


def test_an_altered_or_lost_signature_is_named(opened: Open, keys: dict[str, SshSigner], tmp_path: Path) -> None:
    with opened(keys["ada"]) as workspace:
        add_signer(workspace, ADA, keys["ada"].public_key.text)
        entry = workspace.ledger.event(say(workspace, "yes"))
        where = entry.event.extra["signature"]
        assert isinstance(where, dict)
        keys_path = workspace.folder / "keys.db"
        ledger_path = workspace.folder / "ledger.db"
    db = apsw.Connection(str(ledger_path))
    db.execute("DELETE FROM blobs WHERE digest = ?", (bytes.fromhex(where["sealed"][3:]),))
    db.close()
    with opened() as workspace:
        assert how(workspace)[entry.index] == "claimed"
        answer = verify(workspace)
        assert answer.answer == "no"
        assert where["sealed"] in {f.what for f in answer.findings if f.level == "missing"}
    db = apsw.Connection(str(keys_path))
    db.execute("DELETE FROM keys WHERE id = ?", (where["key"],))
    db.close()
    with opened() as workspace:
        assert f"entry {entry.index}" in {f.what for f in verify(workspace).findings if f.level == "missing"}


def test_a_recorded_key_that_is_lost_is_named_and_keeps_nobody_from_reading(
    opened: Open, keys: dict[str, SshSigner]
) -> None:
    with opened(keys["ada"]) as workspace:
        added = add_signer(workspace, ADA, keys["ada"].public_key.text)
        entry = say(workspace, "yes")
        sealed = workspace.ledger.event(added.index).event.body["key"]
        assert isinstance(sealed, dict)
        path = workspace.folder / "ledger.db"
    db = apsw.Connection(str(path))
    db.execute("UPDATE blobs SET data = x'00' WHERE digest = ?", (bytes.fromhex(sealed["sealed"][3:]),))
    db.close()
    with opened() as workspace:
        assert how(workspace)[entry] == "claimed"
        assert [row.key for row in signers(workspace).rows] == [None]
        assert sealed["sealed"] in {f.what for f in verify(workspace).findings if f.level == "altered"}


def test_a_persons_key_and_signature_stand_nowhere_in_the_clear(
    opened: Open, keys: dict[str, SshSigner], tmp_path: Path
) -> None:
    """Whoever reads the store cannot test whose it is by trying the public keys of people they know."""
    with opened(keys["ada"]) as workspace:
        add_signer(workspace, ADA, keys["ada"].public_key.text)
        entry = workspace.ledger.event(say(workspace, "yes"))
        signature = Authors(workspace).signature(entry)
        assert signature is not None
    planted = [keys["ada"].public_key.blob, keys["ada"].public_key.text.split()[1].encode(), signature[40:80]]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not any(value in path.read_bytes() for value in planted), path


def test_a_service_signs_its_predictions_in_the_clear(opened: Open, keys: dict[str, SshSigner]) -> None:
    with opened(keys["ada"]) as workspace:
        add_signer(workspace, ADA, keys["ada"].public_key.text, service=True)
        register_source(workspace, "echo", "def predict(frame):\n    return frame\n")
        answer = Service(workspace).predict("echo", pd.DataFrame({"a": [1.0]}))
        entry = workspace.ledger.event(answer.index or 0)
        assert isinstance(entry.event.extra["signature"], str)
        assert how(workspace)[entry.index] == "authenticated"
        assert verify(workspace).answer == "yes"
        assert [row.is_service for row in signers(workspace).rows] == [True]


def test_ssh_keygen_checks_an_entry_with_what_a_stranger_is_given(
    opened: Open, keys: dict[str, SshSigner], tmp_path: Path
) -> None:
    with opened(keys["ada"]) as workspace:
        add_signer(workspace, ADA, keys["ada"].public_key.text)
        index = say(workspace, "čaj")
        proof = log_proof(workspace, str(index), with_signature=True)
        allowed = signers(workspace).allowed_signers()
        assert check_proof(proof.receipt.encode(), proof.entry.encode(), keys=[str(proof.key)]).answer == "yes"
        with pytest.raises(UsageError, match="no signature"):
            log_proof(workspace, "0", with_signature=True)
        assert verify(workspace, signers=allowed).authenticated == 2
        assert verify(workspace, signers="").authenticated == 0
        assert verify(workspace, signers=allowed.replace("ada@", "eve@")).authenticated == 0
        past = allowed.replace("namespaces=", 'valid-before="20200101Z",namespaces=')
        assert verify(workspace, signers=past).authenticated == 0
        with pytest.raises(UsageError, match="line 1"):
            verify(workspace, signers="ada\n")
    (tmp_path / "allowed").write_text(allowed)
    (tmp_path / "x.sig").write_text(str(proof.signature))
    fields = json.loads(proof.entry)
    del fields["tick"], fields["signature"]
    message = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "ada@example.org", "-n", "retrodict", "-s", "x.sig"]
    for text, expected in ((message, 0), (message.replace(b"thing", b"think"), 255)):
        done = subprocess.run(command, cwd=tmp_path, input=text, capture_output=True, check=False)
        assert done.returncode == expected, done.stderr


def test_only_the_agents_own_events_are_signed(opened: Open, keys: dict[str, SshSigner]) -> None:
    with opened(keys["ada"]) as workspace:
        batch = Batch(workspace)
        batch.agent("Bob <bob@example.org>")
        (named,) = batch.append()
        assert named.event.kind == "agent.named"
        assert "signature" not in named.event.extra
        assert merkle.leaf_hash(named.data) == named.leaf_hash
        assert signed(workspace, [named.event], {}) == [named.event]
