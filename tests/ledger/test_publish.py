"""One history is signed, and no other over it; proofs hold against it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from retrodict.kernel import merkle, note
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Event
from retrodict.keys import LogSigner, LogVerifier, StateDirectory, StateDirectoryError
from retrodict.ledger import ForkError, Ledger, OldStoreError, tiles

Draft = Callable[..., Event]


def publish(ledger: Ledger, state: StateDirectory) -> note.Checkpoint:
    assert state.signer is not None
    return ledger.publish(state.signer, state, follow=LogVerifier.from_text)


def leaves(ledger: Ledger) -> list[bytes]:
    return [s.leaf_hash for s in ledger.read()]


def test_a_checkpoint_is_signed_over_everything_sequenced(ledger: Ledger, state: StateDirectory, draft: Draft) -> None:
    assert ledger.checkpoint() is None
    for expected in (0, 1, 300):
        ledger.append([draft() for _ in range(expected - ledger.size())])
        checkpoint = publish(ledger, state)
        assert (checkpoint.size, checkpoint.root) == (expected, merkle.tree_hash(leaves(ledger)))
        assert ledger.checkpoint() == state.checkpoint() == checkpoint.encode()
        assert state.verifier is not None
        note.verify_note(checkpoint, [state.verifier])
        assert publish(ledger, state) == checkpoint  # nothing new, so nothing is signed


def test_proofs_verify_at_every_size_around_the_edges_of_tiles(ledger: Ledger, draft: Draft) -> None:
    total = 256 * 3 + 5
    ledger.append([draft() for _ in range(300)])
    ledger.append([draft() for _ in range(total - 300)])
    hashes = leaves(ledger)
    edges = [1, 2, 255, 256, 257, 511, 512, 513, 768, total]
    for size in edges:
        root = ledger.root(size)
        assert root == merkle.tree_hash(hashes[:size])
        for index in {0, size // 2, size - 1}:
            assert merkle.verify_inclusion(index, size, hashes[index], ledger.inclusion_proof(index, size), root)
        for first in (edge for edge in edges if edge <= size):
            proof = ledger.consistency_proof(first, size)
            assert merkle.verify_consistency(first, size, ledger.root(first), root, proof)
    assert ledger.root() == ledger.root(total)
    assert ledger.root(0) == merkle.EMPTY_ROOT
    for ask in (
        lambda: ledger.root(total + 1),
        lambda: ledger.root(-1),
        lambda: ledger.inclusion_proof(3, 3),
        lambda: ledger.inclusion_proof(-1, 3),
        lambda: ledger.consistency_proof(4, 3),
        lambda: ledger.consistency_proof(0, total + 1),
    ):
        with pytest.raises(UsageError):
            ask()


def test_tiles_reach_the_third_level(tmp_path: Path, clock: SystemClock) -> None:
    """65,536 leaves and more complete a tile of level 1; only the tree is made here, the entries would take long."""
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE entries (idx INTEGER PRIMARY KEY, leaf BLOB)")
    db.execute("CREATE TABLE tiles (level INTEGER, idx INTEGER, hashes BLOB, PRIMARY KEY (level, idx))")
    size = 256 * 257 + 3
    hashes = [merkle.leaf_hash(b"%d" % i) for i in range(size)]
    start = 0
    for stop in (1000, 65_535, 65_536, size):
        with db:
            db.executemany("INSERT INTO entries VALUES (?, ?)", list(enumerate(hashes))[start:stop])
            tiles.integrate(db, start, stop)
        start = stop
    nodes = tiles.Nodes(db)
    assert merkle.range_hash(0, size, nodes) == merkle.tree_hash(hashes)
    assert len(nodes.tile(2, 0)) == 1
    for index in (0, 65_535, 65_536, size - 1):
        proof = merkle.inclusion_proof(index, size, nodes)
        assert merkle.verify_inclusion(index, size, hashes[index], proof, merkle.tree_hash(hashes))
    db.close()


def test_tiles_and_bundles_are_those_of_the_standard(ledger: Ledger, draft: Draft) -> None:
    entries = [s.data for s in ledger.append([draft() for _ in range(600)])]
    hashes = [merkle.leaf_hash(data) for data in entries]
    assert ledger.tile(0, 1) == b"".join(hashes[256:512])
    assert ledger.tile(0, 2, 88) == b"".join(hashes[512:600])
    assert ledger.tile(1, 0, 2) == merkle.tree_hash(hashes[:256]) + merkle.tree_hash(hashes[256:512])
    bundle = ledger.entry_bundle(2, 88)
    for data in entries[512:600]:
        length = int.from_bytes(bundle[:2], "big")
        assert bundle[2 : 2 + length] == data
        bundle = bundle[2 + length :]
    assert bundle == b""
    refused: list[Callable[[], bytes]] = [
        lambda: ledger.tile(0, 2),
        lambda: ledger.tile(1, 0, 3),
        lambda: ledger.tile(0, -1),
        lambda: ledger.tile(0, 0, 0),
        lambda: ledger.tile(0, 0, 257),
        lambda: ledger.tile(10**9, 0),
        lambda: ledger.entry_bundle(2),
        lambda: ledger.entry_bundle(-1, 1),
        lambda: ledger.entry_bundle(3, 1),
    ]
    for ask in refused:
        with pytest.raises(UsageError):
            ask()


def test_paths_of_tiles_are_those_of_the_standard() -> None:
    assert tiles.path(0, 1234067) == "tile/0/x001/x234/067"
    assert tiles.path("entries", 0) == "tile/entries/000"
    assert tiles.path(1, 999, 1) == "tile/1/999.p/1"
    assert tiles.path(0, 1000) == "tile/0/x001/000"


PUBLISHER = """
import sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.types import Event
from retrodict.keys import LogVerifier, StateDirectory
from retrodict.ledger import Ledger
store, folder = Path(sys.argv[1]), Path(sys.argv[2])
clock = SystemClock()
ledger = Ledger.open(store / "ledger.db", clock)
state = StateDirectory.open(folder, "0123456789abcdef", store, clock)
for _ in range(30):
    ledger.append([
        Event(id=event_id(clock), kind="a.b", at=rfc3339(clock.now_ns()), agent="a", uses=(), makes=(), body={})
    ])
    c = ledger.publish(state.signer, state, follow=LogVerifier.from_text)
    print(c.size, c.root.hex(), flush=True)
"""


def test_processes_that_publish_at_once_sign_one_history(
    ledger: Ledger, path: Path, state: StateDirectory, tmp_path: Path
) -> None:
    argv = [sys.executable, "-c", PUBLISHER, str(path.parent), str(tmp_path / "state")]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line.split() for process in processes for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(lines) == 60
    for size, root in lines:
        assert ledger.root(int(size)).hex() == root
    assert ledger.size() == 60
    assert list(ledger.verify(state.verifier, anchor=state.checkpoint())) == []


def test_an_old_store_put_back_is_named_and_never_signed_over(
    ledger: Ledger, path: Path, state: StateDirectory, draft: Draft, clock: SystemClock
) -> None:
    ledger.append([draft() for _ in range(3)])
    publish(ledger, state)
    backup = path.with_name("backup.db")
    apsw.Connection(str(path)).execute(f"VACUUM INTO '{backup}'")
    ledger.append([draft()])
    publish(ledger, state)
    ledger.close()
    shutil.copy(backup, path)
    old = Ledger.open(path, clock)
    anchor = state.checkpoint()
    with pytest.raises(OldStoreError) as caught:
        publish(old, state)
    assert (caught.value.size, caught.value.signed) == (3, 4)
    assert "3" in str(caught.value)
    assert "4" in str(caught.value)
    findings = list(old.verify(state.verifier, anchor=anchor))
    assert [(f.level, f.what) for f in findings] == [("missing", "entry 3")]
    # Another history grown to the same length, and beyond it, is a fork.
    for _ in range(2):
        old.append([draft()])
        with pytest.raises(ForkError):
            publish(old, state)
    assert state.checkpoint() == anchor
    assert note.decode_checkpoint(old.checkpoint() or b"").size == 3
    assert ("altered", "checkpoint kept apart") in [
        (f.level, f.what) for f in old.verify(state.verifier, anchor=anchor)
    ]
    old.close()


def test_the_end_of_the_log_cannot_be_cut_off_unseen(
    ledger: Ledger, path: Path, state: StateDirectory, draft: Draft
) -> None:
    ledger.append([draft() for _ in range(5)])
    publish(ledger, state)
    apsw.Connection(str(path)).execute("DELETE FROM entries WHERE idx = 4; DELETE FROM checkpoint")
    with pytest.raises(OldStoreError):
        publish(ledger, state)
    found = [(f.level, f.what) for f in ledger.verify(state.verifier, anchor=state.checkpoint())]
    assert ("missing", "entry 4") in found


def test_a_checkpoint_in_the_log_ahead_of_it_is_an_old_store_even_without_the_kept_one(
    ledger: Ledger, path: Path, state: StateDirectory, draft: Draft, tmp_path: Path
) -> None:
    ledger.append([draft() for _ in range(5)])
    publish(ledger, state)
    (tmp_path / "state" / "checkpoint").unlink()
    apsw.Connection(str(path)).execute("DELETE FROM entries WHERE idx = 4")
    with pytest.raises(OldStoreError):
        publish(ledger, state)


class PowerLossError(Exception):
    """It went."""


class Keeper:
    """Keeps a checkpoint, and fails before or after."""

    def __init__(self, state: StateDirectory, *, landed: bool) -> None:
        self.state = state
        self.landed = landed

    def checkpoint(self) -> bytes | None:
        return self.state.checkpoint()

    def save_checkpoint(self, note: bytes) -> None:
        if self.landed:
            self.state.save_checkpoint(note)
        raise PowerLossError


@pytest.mark.parametrize("landed", [False, True])
def test_a_crash_between_keeping_and_showing_is_repaired_by_publishing_again(
    ledger: Ledger, state: StateDirectory, draft: Draft, landed: bool
) -> None:
    ledger.append([draft()])
    publish(ledger, state)
    ledger.append([draft()])
    assert state.signer is not None
    with pytest.raises(PowerLossError):
        ledger.publish(state.signer, Keeper(state, landed=landed), follow=LogVerifier.from_text)
    kept, shown = (note.decode_checkpoint(data or b"") for data in (state.checkpoint(), ledger.checkpoint()))
    assert (kept.size, shown.size) == (2 if landed else 1, 1)
    assert "altered" not in [f.level for f in ledger.verify(state.verifier, anchor=state.checkpoint())]
    again = publish(ledger, state)
    assert again.size == 2
    assert ledger.checkpoint() == state.checkpoint()
    if landed:
        assert again == kept  # what was signed is shown; nothing is signed twice


def test_a_state_directory_that_cannot_be_written_signs_nothing(
    ledger: Ledger, state: StateDirectory, draft: Draft, tmp_path: Path
) -> None:
    ledger.append([draft()])
    shutil.rmtree(tmp_path / "state")
    with pytest.raises(StateDirectoryError):
        publish(ledger, state)
    assert ledger.checkpoint() is None
    ledger.append([draft()])  # the log itself goes on
    assert ledger.size() == 2


def test_another_logs_key_cannot_sign(ledger: Ledger, state: StateDirectory) -> None:
    with pytest.raises(UsageError, match="cannot sign"):
        ledger.publish(LogSigner("example.com/other", b"1" * 32), state, follow=LogVerifier.from_text)


def test_what_a_copy_of_the_key_has_signed_is_shown_and_kept(
    ledger: Ledger, tmp_path: Path, state: StateDirectory, draft: Draft
) -> None:
    ledger.append([draft()])
    publish(ledger, state)
    ledger.append([draft()])
    honest = publish(ledger, service(state, tmp_path))  # so the state directory's own checkpoint is behind
    assert publish(ledger, state) == honest
    assert ledger.checkpoint() == honest.encode() == state.checkpoint()


def test_what_a_copy_of_the_key_has_signed_is_never_signed_over(
    ledger: Ledger, path: Path, tmp_path: Path, state: StateDirectory, draft: Draft
) -> None:
    ledger.append([draft() for _ in range(3)])
    publish(ledger, state)
    backup = path.with_name("backup.db")
    apsw.Connection(str(path)).execute(f"VACUUM INTO '{backup}'")
    ledger.append([draft()])
    signed = publish(ledger, service(state, tmp_path))
    ledger.close()
    shutil.copy(backup, path)
    old = Ledger.open(path, SystemClock())
    show(path, signed.encode())
    assert state.signer is not None
    for _ in range(2):
        with pytest.raises((OldStoreError, ForkError)):
            publish(old, state)
        with pytest.raises((OldStoreError, ForkError)):
            old.refuse_another_history(state.checkpoint(), state.signer, LogVerifier.from_text)
        old.append([draft()])
    old.close()


def service(state: StateDirectory, folder: Path) -> StateDirectory:
    state.export_key_file(folder / "service.key")
    return StateDirectory.from_key_file(folder / "service.key", state.workspace_id, folder / "store")


def show(path: Path, shown: bytes) -> None:
    """Let the log show a checkpoint, as somebody would who can write the store, but has no key."""
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM checkpoint")
    db.execute("INSERT INTO checkpoint VALUES (1, ?)", (shown,))
    db.close()


IMPOSTOR = b"i" * 32


def as_signed_by(checkpoint: note.Checkpoint, seed: bytes) -> bytes:
    signature = note.sign_note(checkpoint.text, LogSigner(checkpoint.origin, seed))
    return replace(checkpoint, signatures=(signature,)).encode()


def unsigned(checkpoint: note.Checkpoint) -> bytes:
    return replace(checkpoint, signatures=(replace(checkpoint.signatures[0], signature=bytes(64)),)).encode()


@pytest.mark.parametrize(
    "forged",
    [
        lambda _: b"no checkpoint",
        lambda honest: unsigned(honest),
        lambda honest: unsigned(replace(honest, size=10**6)),
        lambda honest: unsigned(replace(honest, root=bytes(32))),
        lambda honest: unsigned(replace(honest, origin="example.com/other")),
        lambda honest: as_signed_by(honest, IMPOSTOR),
        lambda honest: as_signed_by(replace(honest, root=bytes(32)), IMPOSTOR),
        lambda honest: as_signed_by(replace(honest, size=1), IMPOSTOR),
    ],
)
@pytest.mark.parametrize("newer", [0, 1])
def test_a_forged_checkpoint_in_the_log_is_named_stops_nothing_and_is_replaced(
    ledger: Ledger,
    path: Path,
    state: StateDirectory,
    draft: Draft,
    forged: Callable[[note.Checkpoint], bytes],
    newer: int,
) -> None:
    ledger.append([draft(), draft()])
    honest = publish(ledger, state)
    ledger.append([draft() for _ in range(newer)])
    show(path, forged(honest))
    assert state.signer is not None
    findings = [
        f.what
        for f in ledger.verify(state.verifier, anchor=state.checkpoint(), follow=LogVerifier.from_text)
        if f.level == "altered"
    ]
    assert findings, "nothing is named"
    assert set(findings) <= {"checkpoint", path.name}
    ledger.refuse_another_history(state.checkpoint(), state.signer, LogVerifier.from_text)
    again = publish(ledger, state)
    assert again.size == 2 + newer
    assert ledger.checkpoint() == again.encode() == state.checkpoint()
    assert list(ledger.verify(state.verifier, anchor=state.checkpoint())) == []


def test_a_signature_that_is_added_to_the_checkpoint_in_the_log_replaces_no_key(
    ledger: Ledger, path: Path, state: StateDirectory, draft: Draft
) -> None:
    ledger.append([draft()])
    honest = publish(ledger, state)
    added = note.sign_note(honest.text, LogSigner(honest.origin, IMPOSTOR))
    show(path, replace(honest, signatures=(*honest.signatures, added)).encode())
    ledger.append([draft()])
    again = publish(ledger, state)
    assert (again.size, len(again.signatures)) == (2, 1)
    assert ledger.checkpoint() == again.encode()
