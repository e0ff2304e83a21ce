"""The examples in `docs/formats` are what this release writes, to the byte."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from retrodict.kernel import canonical, entry, merkle, note
from retrodict.kernel.clock import event_id, rfc3339
from retrodict.kernel.types import Digest, Edge, Event, EventId, Ref, SealedText
from retrodict.keys import LogSigner, LogVerifier, StateDirectory
from retrodict.ledger import Ledger
from retrodict.testing.clock import FixedClock

FORMATS = Path(__file__).parents[2] / "docs" / "formats"


def blocks(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", (FORMATS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def example(clock: FixedClock, made_by: EventId) -> Event:
    def digest(fill: str) -> Digest:
        return Digest("b3-" + (fill * 64)[:64])

    return Event(
        id=event_id(clock),
        kind="model.registered",
        at=rfc3339(clock.now_ns()),
        agent="a-3f0c9d21b7e45a6802ce",
        reason=SealedText(digest=digest("5ea1"), key="9b1c7d0e4f2a48d6b3a5c8e7f6012345"),
        uses=(
            Edge(
                ref=Ref(digest("da7a")),
                role="training-data",
                evidence="observed",
                path="data/train.csv",
                made_by=made_by,
            ),
            Edge(ref=Ref(digest("c0de")), role="code", evidence="observed"),
            Edge(ref=Ref(digest("0dd1")), role="notes", evidence="declared", path="notes/gr\udcfcn.txt"),
        ),
        makes=(Edge(ref=Ref(digest("b0de1")), role="model", evidence="observed", path="models/credit"),),
        body={"name": "credit", "version": 3},
    )


def test_the_example_of_an_event_is_what_is_written(tmp_path: Path) -> None:
    clock = FixedClock()
    ledger = Ledger.create(tmp_path / "l.db", "example.com/log", clock)
    (sequenced,) = ledger.append([example(clock, event_id(clock))])
    ledger.close()
    shown, leaf = blocks("event.md")[:2]
    assert canonical.encode(json.loads(shown)) == sequenced.data, json.dumps(json.loads(sequenced.data), indent=2)
    assert leaf.split() == [sequenced.leaf_hash.hex()]


def test_every_field_of_the_envelope_is_explained() -> None:
    text = (FORMATS / "event.md").read_text(encoding="utf-8")
    for name in json.loads(blocks("event.md")[0]):
        assert f"| `{name}` |" in text


def test_the_example_of_a_checkpoint_is_what_is_signed(tmp_path: Path) -> None:
    clock = FixedClock()
    (tmp_path / "store").mkdir()
    state = StateDirectory.create(tmp_path / "state", "0123456789abcdef", tmp_path / "store", clock)
    assert state.signer
    ledger = Ledger.create(tmp_path / "store" / "ledger.db", state.origin, clock)
    ledger.append([example(clock, event_id(clock)) for _ in range(3)])
    checkpoint = ledger.publish(state.signer, state, follow=LogVerifier.from_text)
    ledger.close()
    signed, key = blocks("checkpoint.md")[:2]
    assert signed.encode() == checkpoint.encode()
    assert LogVerifier.from_text(key).verify(checkpoint.text.encode(), checkpoint.signatures[0].signature)
    assert note.decode_checkpoint(signed.encode()).root == checkpoint.root
    assert base64.b64encode(checkpoint.root).decode() in signed
    assert len(checkpoint.root) == merkle.HASH_BYTES


def test_the_example_of_a_rotation_is_what_the_code_writes(tmp_path: Path) -> None:
    state = StateDirectory.create(tmp_path / "state", "0123456789abcdef", tmp_path, FixedClock())
    assert state.signer
    successor = LogSigner(state.origin, bytes(range(32)))
    written = note.sign_rotation(state.origin, str(successor.verifier), state.signer).encode()
    assert blocks("checkpoint.md")[2].encode() == written
    assert note.read_rotation(written, state.origin, [state.signer.verifier]) == str(successor.verifier)


def test_the_example_of_an_event_reads_back() -> None:
    data = canonical.encode(json.loads(blocks("event.md")[0]))
    assert entry.encode(entry.decode(data)) == data
