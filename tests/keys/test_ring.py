"""A sealed value opens with its key and with nothing else, and never again once that is destroyed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import IntegrityError, ReadOnlyStoreError
from retrodict.keys import KeyNotHeldError, KeyRing, StateDirectory, StateDirectoryError

ID = "0123456789abcdef"
CLOCK = SystemClock()


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory.create(tmp_path / "state", ID, tmp_path, CLOCK)


@pytest.fixture
def ring(tmp_path: Path, state: StateDirectory) -> KeyRing:
    return KeyRing.open(tmp_path / "keys.db", state, CLOCK)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=100), max_size=5))
def test_what_was_sealed_opens(ring: KeyRing, values: list[bytes]) -> None:
    sealed = ring.seal_many(values)
    assert [ring.open_sealed(s.key, s.ciphertext) for s in sealed] == values
    assert len({s.key for s in sealed} | {s.ciphertext for s in sealed}) == 2 * len(values)


def test_a_key_is_there_for_the_next_process(ring: KeyRing, tmp_path: Path, state: StateDirectory) -> None:
    sealed = ring.seal(b"why")
    again = KeyRing.open(tmp_path / "keys.db", StateDirectory.open(tmp_path / "state", ID, tmp_path, CLOCK), CLOCK)
    assert again.open_sealed(sealed.key, sealed.ciphertext) == b"why"
    again.close()


def test_a_key_opens_only_what_it_sealed(ring: KeyRing) -> None:
    one, two = ring.seal_many([b"one", b"two"])
    with pytest.raises(IntegrityError):
        ring.open_sealed(one.key, two.ciphertext)
    for place in range(len(one.ciphertext)):
        bad = one.ciphertext[:place] + bytes([one.ciphertext[place] ^ 1]) + one.ciphertext[place + 1 :]
        with pytest.raises(IntegrityError):
            ring.open_sealed(one.key, bad)
    with pytest.raises(IntegrityError):
        ring.open_sealed(one.key, b"")


def test_a_destroyed_key_is_gone_and_its_bytes_are_overwritten(ring: KeyRing, tmp_path: Path) -> None:
    one, two = ring.seal_many([b"one", b"two"])
    wrapped = apsw.Connection(str(tmp_path / "keys.db")).execute("SELECT wrapped FROM keys WHERE id = ?", (one.key,))
    needle = wrapped.fetchall()[0][0]
    assert isinstance(needle, bytes)
    assert needle in (tmp_path / "keys.db").read_bytes()
    ring.destroy(one.key)
    assert ring.open_sealed(one.key, one.ciphertext) is None
    assert ring.open_sealed(two.key, two.ciphertext) == b"two"
    for file in tmp_path.glob("keys.db*"):
        assert needle not in file.read_bytes()
    ring.destroy(one.key)  # again, as after a restored backup


def test_pseudonyms_are_random_and_stable(ring: KeyRing, tmp_path: Path, state: StateDirectory) -> None:
    ann, bob = ring.pseudonym("Ann"), ring.pseudonym("Bob \udcff")
    assert ann != bob
    assert ring.pseudonym("Ann") == ann
    assert (ring.identity(ann), ring.identity(bob), ring.identity("a-0")) == ("Ann", "Bob \udcff", None)
    assert b"Ann" not in (tmp_path / "keys.db").read_bytes()
    other = StateDirectory.create(tmp_path / "other", ID, tmp_path, CLOCK)
    assert KeyRing.open(tmp_path / "others.db", other, CLOCK).pseudonym("Ann") != ann


def test_keys_can_lie_at_a_path_of_any_bytes(tmp_path: Path, state: StateDirectory) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a?b#c %41 \xff"))
    folder.mkdir()
    ring = KeyRing.open(folder / "keys.db", state, CLOCK)
    assert ring.identity(ring.pseudonym("Ann")) == "Ann"
    ring.close()
    assert [p.name for p in folder.iterdir()] == ["keys.db"]


NAMER = """
import sys
from pathlib import Path
from retrodict.kernel.clock import SystemClock
from retrodict.keys import KeyNotHeldError, KeyRing, StateDirectory
folder = Path(sys.argv[1])
state = StateDirectory.open(folder / "state", "0123456789abcdef", folder, SystemClock())
ring = KeyRing.open(folder / "keys.db", state, SystemClock())
print([ring.pseudonym(f"person {i}") for i in range(10)])
"""


def test_processes_that_name_a_person_at_once_agree(ring: KeyRing, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", NAMER, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(3)
    ]
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(answers) == 1


def test_without_the_wrapping_key_nothing_opens(ring: KeyRing, tmp_path: Path) -> None:
    sealed, ann = ring.seal(b"why"), ring.pseudonym("Ann")
    nobody = StateDirectory.open(tmp_path / "empty", ID, tmp_path, CLOCK)
    somebody = StateDirectory.create(tmp_path / "other", ID, tmp_path, CLOCK)
    for state in (None, nobody, somebody):
        other = KeyRing.open(tmp_path / "keys.db", state, CLOCK)
        assert other.open_sealed(sealed.key, sealed.ciphertext) is None
        assert other.identity(ann) is None
        if state is not somebody:
            with pytest.raises(StateDirectoryError):
                other.seal(b"")
            with pytest.raises(StateDirectoryError):
                other.pseudonym("Ann")
        other.close()


def test_a_ring_opened_to_be_read_refuses_to_write(ring: KeyRing, tmp_path: Path, state: StateDirectory) -> None:
    reader = KeyRing.open(tmp_path / "keys.db", state, CLOCK, read_only=True)
    assert reader.open_sealed("0" * 32, b"") is None  # there is no file yet
    sealed, ann = ring.seal(b"why"), ring.pseudonym("Ann")
    assert reader.open_sealed(sealed.key, sealed.ciphertext) == b"why"
    assert reader.pseudonym("Ann") == ann
    for write in (lambda: reader.seal(b""), lambda: reader.pseudonym("Bob"), lambda: reader.destroy(sealed.key)):
        with pytest.raises(ReadOnlyStoreError):
            write()
    reader.close()


def test_an_altered_row_is_named(ring: KeyRing, tmp_path: Path) -> None:
    sealed, ann = ring.seal(b"why"), ring.pseudonym("Ann")
    db = apsw.Connection(str(tmp_path / "keys.db"))
    db.execute("UPDATE keys SET wrapped = zeroblob(60); UPDATE pseudonyms SET wrapped = zeroblob(4)")
    db.close()
    with pytest.raises(IntegrityError, match=sealed.key):
        ring.open_sealed(sealed.key, sealed.ciphertext)
    with pytest.raises(IntegrityError, match=ann):
        ring.identity(ann)


@pytest.mark.parametrize(("table", "columns"), [("keys", "id wrapped holder"), ("pseudonyms", "tag pseudonym wrapped")])
def test_verify_names_what_is_altered(ring: KeyRing, tmp_path: Path, table: str, columns: str) -> None:
    assert list(ring.verify()) == []  # there is no file yet
    ring.seal_many([b"one", b"two"])
    ring.pseudonym("Ann")
    ring.pseudonym("Bob")
    assert list(ring.verify()) == []
    db = apsw.Connection(str(tmp_path / "keys.db"))
    for column in columns.split():
        ((value,),) = db.execute(f"SELECT {column} FROM {table} ORDER BY {column} LIMIT 1").fetchall()
        bad = value[:-1] + ("z" if isinstance(value, str) else bytes([value[-1] ^ 1]))  # type: ignore[index,operator]
        change = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
        db.execute(change, (bad, value))
        found = [f for f in ring.verify() if f.level == "altered"]
        assert found
        assert all("keys.db" in f.what for f in found)
        db.execute(change, (value, bad))
    assert list(ring.verify()) == []
    db.close()


def test_a_file_that_is_no_key_ring_is_refused_as_such(tmp_path: Path, state: StateDirectory) -> None:
    (tmp_path / "keys.db").write_bytes(os.urandom(5000))
    ring = KeyRing.open(tmp_path / "keys.db", state, CLOCK)
    with pytest.raises(IntegrityError, match=r"keys\.db"):
        ring.open_sealed("0", b"")
    with pytest.raises(IntegrityError, match=r"keys\.db"):
        ring.seal(b"")
    assert [(f.level, f.what) for f in ring.verify()] == [("altered", "keys.db")]


def test_subjects_have_one_pseudonym_and_one_key_and_are_made_together(
    ring: KeyRing, tmp_path: Path, state: StateDirectory
) -> None:
    ann, bob, again = ring.subjects(["Ann-identity", "Bob", "Ann-identity"])
    assert ann == again
    assert ann.subject.startswith("s-")
    assert len({ann.subject, ann.key, bob.subject, bob.key}) == 4
    other = KeyRing.open(tmp_path / "keys.db", state, CLOCK)
    assert other.subjects(["Bob", "Cy"])[0] == bob
    assert other.find_subjects("Cy") == other.subjects(["Cy"])
    assert other.find_subjects("nobody") == []
    assert other.subject_identity(ann.subject) == "Ann-identity"
    assert b"Ann-identity" not in (tmp_path / "keys.db").read_bytes()
    assert list(other.verify()) == []
    other.close()


def test_a_forgotten_subject_is_nowhere_and_begins_anew(ring: KeyRing, tmp_path: Path) -> None:
    (ann,) = ring.subjects(["Ann"])
    sealed = ring.seal_under(ann.key, b"value")
    assert ring.open_sealed(ann.key, sealed) == b"value"
    assert ring.destroy(ann.key) == 1
    assert ring.destroy(ann.key) == 0
    assert (ring.open_sealed(ann.key, sealed), ring.subject_identity(ann.subject)) == (None, None)
    assert ring.find_subjects("Ann") == []
    with pytest.raises(KeyNotHeldError):
        ring.seal_under(ann.key, b"more")
    assert ring.subjects(["Ann"]) != [ann]


def test_any_one_key_destroyed_erases_what_several_sealed(ring: KeyRing) -> None:
    subjects = ring.subjects(["Ann", "Bob", "Cy"])
    keys = [subject.key for subject in subjects]
    sealed = ring.seal_jointly(keys, b"together")
    assert ring.open_jointly(keys, sealed) == b"together"
    for wrong in (keys[::-1], keys[:2]):
        with pytest.raises(IntegrityError):
            ring.open_jointly(wrong, sealed)
    for place in range(0, len(sealed), 7):
        bad = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(IntegrityError):
            ring.open_jointly(keys, bad)
    ring.destroy(keys[1])
    assert ring.open_jointly(keys, sealed) is None


def test_keys_go_to_another_ring_with_whose_they_are(ring: KeyRing, tmp_path: Path) -> None:
    (ann,) = ring.subjects(["Ann"])
    text, value = ring.seal(b"why"), ring.seal_under(ann.key, b"value")
    other = KeyRing.open(tmp_path / "b.db", StateDirectory.create(tmp_path / "b", ID, tmp_path, CLOCK), CLOCK)
    (own,) = other.subjects(["Ann"])
    assert other.take(ring.export()) == 2
    assert other.take(ring.export()) == 0
    assert other.open_sealed(text.key, text.ciphertext) == b"why"
    assert other.open_sealed(ann.key, value) == b"value"
    assert {subject.subject for subject in other.find_subjects("Ann")} == {ann.subject, own.subject}
    assert [item.key for item in ring.export([ann.key, "gone"])] == [ann.key]
    other.close()


def test_keys_of_an_earlier_release_get_what_is_new(ring: KeyRing, tmp_path: Path) -> None:
    ring.seal(b"why")
    db = apsw.Connection(str(tmp_path / "keys.db"))
    db.execute("DROP TABLE subjects").fetchall()
    db.close()
    assert list(ring.verify()) == []
    assert ring.find_subjects("Ann") == []
    assert len(ring.subjects(["Ann"])) == 1
