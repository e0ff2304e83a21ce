"""Whatever is changed is found, and named; and `verify` never writes."""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import apsw
import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import IntegrityError
from retrodict.kernel.types import Digest, Event, Finding
from retrodict.keys import LogSigner, LogVerifier, StateDirectory
from retrodict.ledger import Ledger

Draft = Callable[..., Event]
SIZE = 256 * 2 + 40


def digest_of(data: bytes) -> Digest:
    """Stand in for BLAKE3: the log takes whatever names its payloads."""
    return Digest("b3-" + sha256(data).hexdigest())


@pytest.fixture
def published(ledger: Ledger, state: StateDirectory, draft: Draft) -> Ledger:
    """512 entries in complete tiles, 30 more under the checkpoint, 10 after it."""
    assert state.signer is not None
    payloads = [b"payload %d" % i for i in range(20)]
    ledger.append([draft(n=n) for n in range(SIZE - 10)], {digest_of(data): data for data in payloads})
    ledger.publish(state.signer, state, follow=LogVerifier.from_text)
    ledger.append([draft(n=n) for n in range(10)])
    return ledger


def findings(ledger: Ledger, state: StateDirectory) -> list[Finding]:
    found = list(ledger.verify(state.verifier, anchor=state.checkpoint(), digest_of=digest_of))
    return [f for f in found if f.level in ("altered", "missing")]


def change(path: Path, sql: str, *values: object) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql, values)
    assert db.changes() > 0
    db.close()


def test_an_untouched_log_says_only_what_is_not_protected(published: Ledger, state: StateDirectory) -> None:
    (found,) = published.verify(state.verifier, anchor=state.checkpoint(), digest_of=digest_of)
    assert (found.level, found.what) == ("unprotected", f"entries {SIZE - 10}-{SIZE - 1}")
    assert found.message.startswith("10 ")


def test_progress_is_told(published: Ledger, state: StateDirectory) -> None:
    told: list[tuple[int, int | None, str]] = []
    list(published.verify(state.verifier, progress=lambda done, total, what: told.append((done, total, what))))
    assert told[-1] == (SIZE, SIZE, "entries")


@pytest.mark.parametrize("index", [0, 255, 256, 511, 512, SIZE - 11, SIZE - 1])
@pytest.mark.parametrize("column", ["data", "leaf", "id", "tick"])
def test_any_changed_byte_of_an_entry_is_found_and_named(
    published: Ledger, path: Path, state: StateDirectory, index: int, column: str
) -> None:
    row = published.event(index)
    value: object
    if column == "tick":
        value = row.event.tick ^ 1 << random.Random(index).randrange(50)
    else:
        raw = bytearray(
            {"data": row.data, "leaf": row.leaf_hash, "id": bytes.fromhex(row.event.id.replace("-", ""))}[column]
        )
        raw[random.Random(index).randrange(len(raw))] ^= 1
        value = bytes(raw)
    change(path, f"UPDATE entries SET {column} = ? WHERE idx = ?", value, index)
    found = findings(published, state)
    assert found[0].level == "altered"
    assert found[0].what.startswith(f"entry {index} (")
    # In the tail, which no tile holds yet, a changed leaf hash also contradicts the checkpoint.
    assert len(found) == 1 or (
        column == "leaf" and index in range(512, SIZE - 10) and found[1].what.startswith("check")
    )
    if column in ("data", "leaf"):
        with pytest.raises(IntegrityError, match=f"entry {index} "):
            published.event(index)
        with pytest.raises(IntegrityError, match=f"entry {index} "):
            list(published.read())


@pytest.mark.parametrize("index", [3, 300, SIZE - 15])
def test_an_entry_that_is_rewritten_with_its_leaf_hash_is_found(
    published: Ledger, path: Path, state: StateDirectory, index: int
) -> None:
    data = published.entry(index).replace(b'"thing.happened"', b'"thing.changed_"')
    change(path, "UPDATE entries SET data = ?, leaf = ? WHERE idx = ?", data, sha256(b"\0" + data).digest(), index)
    found = findings(published, state)
    if index < 512:
        assert [f.what.split(" (")[0] for f in found] == [f"entry {index}"]
    else:
        assert {f.what for f in found} == {"checkpoint", "checkpoint kept apart"}


def test_an_entry_that_is_rewritten_with_the_whole_tree_contradicts_the_signature(
    published: Ledger, path: Path, state: StateDirectory, tmp_path: Path, clock: SystemClock
) -> None:
    """The strongest forger: makes a consistent log with the same ids, and has everything but the key."""
    forged = Ledger.create(tmp_path / "forged.db", published.origin, clock)
    forged.append([s.event for s in published.read()])
    change(tmp_path / "forged.db", "INSERT INTO checkpoint VALUES (1, ?)", published.checkpoint())
    found = list(forged.verify(state.verifier, anchor=None))
    assert [(f.level, f.what) for f in found if f.level == "altered"] == [("altered", "checkpoint")]
    impostor = LogSigner(published.origin, b"9" * 32)
    (tmp_path / "impostor").mkdir()
    keeper = StateDirectory.create(tmp_path / "impostor", "fedcba9876543210", tmp_path / "impostor", clock)
    change(tmp_path / "forged.db", "DELETE FROM checkpoint")
    forged.publish(impostor, keeper, follow=LogVerifier.from_text)
    assert [f.what for f in forged.verify(state.verifier) if f.level == "altered"] == ["checkpoint"]
    assert [f.level for f in forged.verify(impostor.verifier)] == []
    # Without a key or an anchor it can only be said that it agrees with itself.
    assert [f.level for f in forged.verify(None)] == ["note", "unprotected"]
    forged.close()


@pytest.mark.parametrize(("level", "index"), [(0, 0), (0, 1), (1, 0)])
def test_any_changed_byte_of_a_tile_is_found_and_named(
    published: Ledger, path: Path, state: StateDirectory, level: int, index: int
) -> None:
    raw = bytearray(published.tile(level, index, 2 if level else 256))
    raw[random.Random(index).randrange(len(raw))] ^= 128
    change(path, "UPDATE tiles SET hashes = ? WHERE level = ? AND idx = ?", bytes(raw), level, index)
    assert [f.what for f in findings(published, state)] == [f"tile {level}/{index}"]


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("DELETE FROM tiles WHERE level = 0 AND idx = 1", "tile 0/1"),
        ("DELETE FROM tiles WHERE level = 1", "tile 1/0"),
        ("UPDATE tiles SET idx = 7 WHERE level = 0 AND idx = 1", "tile 0/1"),
        ("INSERT INTO tiles VALUES (3, 0, x'00')", "tiles"),
        ("UPDATE tiles SET hashes = CAST(hashes || x'00' AS BLOB) WHERE level = 1", "tile 1/0"),
        ("DELETE FROM entries WHERE idx = 77", "entry 77"),
        ("DELETE FROM entries WHERE idx BETWEEN 0 AND 299", "entries 0-299"),
        (f"DELETE FROM entries WHERE idx BETWEEN 520 AND {SIZE}", "entries 520-541"),
        ("DELETE FROM entries WHERE idx >= 100", "entries 100-511"),
        ("UPDATE entries SET idx = 9000 WHERE idx = 551", "entries 551-8999"),
        ("UPDATE entries SET idx = 1 << 60 WHERE idx = 300", "entry 300"),
        ("UPDATE blobs SET data = x'00' WHERE rowid = 3", str(digest_of(b"payload 2"))),
        ("UPDATE blobs SET digest = zeroblob(32) WHERE rowid = 3", "b3-" + "0" * 64),
        ("UPDATE checkpoint SET note = x'00'", "checkpoint"),
        ("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM blobs; END", "ledger.db"),
        ("ALTER TABLE entries ADD COLUMN more BLOB", "ledger.db"),
        ("UPDATE meta SET origin = 'example.com/other'", "checkpoint"),
    ],
)
def test_what_is_deleted_moved_or_added_is_named(
    published: Ledger, path: Path, state: StateDirectory, clock: SystemClock, sql: str, what: str
) -> None:
    db = apsw.Connection(str(path))
    db.execute(sql)
    db.close()
    again = Ledger.open(path, clock)
    assert what in [f.what for f in findings(again, state)]
    again.close()


def test_a_changed_checkpoint_is_found_wherever_it_was_changed(
    published: Ledger, path: Path, state: StateDirectory
) -> None:
    good = published.checkpoint()
    assert good is not None
    for place in range(0, len(good), 3):
        bad = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        change(path, "UPDATE checkpoint SET note = ?", bad)
        assert [f.what for f in findings(published, state)] == ["checkpoint"], bad
        assert [f.what for f in published.verify(state.verifier, anchor=bad) if f.level == "altered"] == [
            "checkpoint",
            "checkpoint kept apart",
        ]


def test_any_flipped_byte_of_the_file_is_found_or_changes_nothing_that_is_read(
    published: Ledger, path: Path, state: StateDirectory, clock: SystemClock
) -> None:
    published.close()
    good = path.read_bytes()

    def everything(ledger: Ledger) -> object:
        return (list(ledger.read()), list(ledger.blobs()), ledger.checkpoint(), ledger.root(), ledger.origin)

    reference = Ledger.open(path, clock, read_only=True)
    expected = everything(reference)
    reference.close()
    chosen = random.Random(7)
    missed = 0
    for place in [*range(0, 100, 5), *(chosen.randrange(len(good)) for _ in range(120))]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << chosen.randrange(8)]) + good[place + 1 :])
        try:
            ledger = Ledger.open(path, clock, read_only=True)
        except IntegrityError:
            continue
        if not findings(ledger, state):
            missed += 1
            assert everything(ledger) == expected, place
        ledger.close()
    assert missed < 60  # free space within pages, and counters of the file's header


def test_verify_writes_nothing(published: Ledger, path: Path, state: StateDirectory, clock: SystemClock) -> None:
    published.close()
    before = (path.read_bytes(), state.checkpoint())
    ledger = Ledger.open(path, clock, read_only=True)
    assert len(list(ledger.verify(state.verifier, anchor=state.checkpoint(), digest_of=digest_of))) == 1
    ledger.close()
    assert (path.read_bytes(), state.checkpoint()) == before


def test_verify_goes_on_beside_a_writer(published: Ledger, state: StateDirectory, draft: Draft) -> None:
    running = published.verify(state.verifier, anchor=None, digest_of=digest_of)
    first = next(running)
    published.append([draft() for _ in range(300)])
    assert [first, *running][-1].what == f"entries {SIZE - 10}-{SIZE - 1}"
