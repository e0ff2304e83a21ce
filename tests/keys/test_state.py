"""What must survive a restored store does; and a copy is known for one."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import FormatError, RetrodictError, UsageError
from retrodict.keys import LogSigner, StateDirectory, StateDirectoryError
from retrodict.testing.clock import FixedClock

ID = "0123456789abcdef"
CLOCK = SystemClock()


def store(path: Path, workspace_id: str = ID) -> Path:
    path.mkdir(parents=True)
    (path / "format.json").write_text(json.dumps({"workspace": workspace_id, "format": 1}))
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return store(tmp_path / "project" / ".retrodict")


def made(tmp_path: Path, place: Path) -> StateDirectory:
    return StateDirectory.create(tmp_path / "state" / ID, ID, place, CLOCK)


def opened(tmp_path: Path, place: Path) -> StateDirectory:
    return StateDirectory.open(tmp_path / "state" / ID, ID, place, CLOCK)


def test_keys_come_back_and_are_for_their_owner_alone(tmp_path: Path, place: Path) -> None:
    first, again = made(tmp_path, place), opened(tmp_path, place)
    assert first.signer
    assert again.signer
    assert first.verifier
    assert first.verifier.verify(b"message", again.signer.sign(b"message"))
    assert not first.verifier.verify(b"another", again.signer.sign(b"message"))
    assert not first.verifier.verify(b"message", b"")
    assert first.origin == again.origin
    assert first.wrapping_key == again.wrapping_key != None  # noqa: E711
    folder = tmp_path / "state" / ID
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("signing.key", "wrapping"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_the_origin_holds_the_hash_of_the_first_public_key(tmp_path: Path, place: Path) -> None:
    state = made(tmp_path, place)
    assert state.verifier
    digest = sha256(state.verifier.public_key).hexdigest()
    assert state.origin == f"retrodict.local/{ID[:8]}/{digest[:16]}"


def test_every_workspace_has_keys_of_its_own(tmp_path: Path, place: Path) -> None:
    one = StateDirectory.create(tmp_path / "1", ID, place, FixedClock(seed=1))
    two = StateDirectory.create(tmp_path / "2", ID, place, FixedClock(seed=2))
    assert one.origin != two.origin
    assert one.wrapping_key != two.wrapping_key


def test_keys_are_never_made_over_others(tmp_path: Path, place: Path) -> None:
    origin = made(tmp_path, place).origin
    with pytest.raises(UsageError, match="exists"):
        made(tmp_path, place)
    assert opened(tmp_path, place).origin == origin


def test_a_first_try_that_was_cut_short_is_completed(tmp_path: Path, place: Path) -> None:
    first = made(tmp_path, place)
    (tmp_path / "state" / ID / "signing.key").unlink()
    assert opened(tmp_path, place).standing(place) == "absent"
    assert made(tmp_path, place).wrapping_key == first.wrapping_key


def test_the_checkpoint_is_kept(tmp_path: Path, place: Path) -> None:
    state = made(tmp_path, place)
    assert state.checkpoint() is None
    for note in (b"one", b"two"):
        state.save_checkpoint(note)
        assert opened(tmp_path, place).checkpoint() == note


def test_a_place_without_keys_is_absent(tmp_path: Path, place: Path) -> None:
    state = opened(tmp_path, place)
    assert state.standing(place) == "absent"
    assert [state.signer, state.verifier, state.wrapping_key] == [None, None, None]
    with pytest.raises(StateDirectoryError):
        _ = state.origin


def test_a_store_is_here_moved_or_a_copy(tmp_path: Path, place: Path) -> None:
    state = made(tmp_path, place)
    assert state.standing(place) == "here"
    link = tmp_path / "link"
    link.symlink_to(place)
    assert state.standing(link) == "here"

    copy = tmp_path / "copy"
    shutil.copytree(place, copy)
    assert state.standing(copy) == "copy"

    moved = tmp_path / "moved"
    place.rename(moved)
    assert state.standing(moved) == "moved"
    store(place)  # somebody put a copy to the old place: the inode tells which one moved
    assert state.standing(moved) == "moved"

    state.settle(moved)
    assert opened(tmp_path, moved).standing(moved) == "here"
    assert state.standing(copy) == "copy"

    shutil.rmtree(moved)
    assert state.standing(copy) == "moved"  # to another file system, say
    store(moved, "fedcba9876543210")
    assert state.standing(copy) == "moved"  # the old place belongs to another workspace now


def test_a_store_that_was_put_back_at_its_place_is_here(tmp_path: Path, place: Path) -> None:
    state = made(tmp_path, place)
    shutil.copytree(place, tmp_path / "backup")
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "backup", place)
    assert state.standing(place) == "here"


def test_a_path_of_any_bytes_can_be_the_place(tmp_path: Path) -> None:
    odd = store(Path(os.fsdecode(os.fsencode(tmp_path) + b'/\xff\n"')) / ".retrodict")
    state = made(tmp_path, odd)
    assert opened(tmp_path, odd).standing(odd) == "here"
    copy = shutil.copytree(odd, tmp_path / "copy")
    assert state.standing(copy) == "copy"


def test_a_service_is_given_a_key_file_with_its_checkpoint_beside_it(tmp_path: Path, place: Path) -> None:
    state = made(tmp_path, place)
    state.save_checkpoint(b"one")
    file = tmp_path / "service" / "key"
    file.parent.mkdir()
    state.export_key_file(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    service = StateDirectory.from_key_file(file, ID, place)
    assert service.origin == state.origin
    assert service.wrapping_key == state.wrapping_key
    assert service.standing(place) == "here"
    service.save_checkpoint(b"two")
    assert (service.checkpoint(), state.checkpoint()) == (b"two", b"one")
    assert sorted(p.name for p in file.parent.iterdir()) == ["key", "key.checkpoint", "key.place", "key.wrapping"]
    with pytest.raises(UsageError, match="exists"):
        state.export_key_file(file)
    with pytest.raises(StateDirectoryError, match="no key file"):
        StateDirectory.from_key_file(tmp_path / "nothing", ID, place)


@pytest.mark.parametrize("workspace_id", ["", "../../etc", "a/b/c/d/e", "ABCDEF0123", "0" * 65, "01234567\n"])
def test_a_name_from_outside_never_becomes_a_path(tmp_path: Path, place: Path, workspace_id: str) -> None:
    with pytest.raises(UsageError):
        StateDirectory.create(tmp_path / "state", workspace_id, place, CLOCK)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", ["signing.key", "wrapping", "place"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{}", b"00", b"PRIVATE+KEY+a+00000000+AQ=="])
def test_a_file_that_is_damaged_is_named(tmp_path: Path, place: Path, name: str, data: bytes) -> None:
    made(tmp_path, place)
    (tmp_path / "state" / ID / name).write_bytes(data)
    with pytest.raises(FormatError, match=r"place|key"):
        opened(tmp_path, place).standing(tmp_path)


def test_a_private_key_with_another_name_signs_nothing(tmp_path: Path, place: Path) -> None:
    made(tmp_path, place)
    file = tmp_path / "state" / ID / "signing.key"
    file.write_text(file.read_text().replace("local", "lokal"))
    signer = opened(tmp_path, place).signer
    assert signer
    with pytest.raises(FormatError, match="altered"):
        _ = signer.key_id


@pytest.mark.parametrize("occupied", ["state", "state/0123456789abcdef"])
def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path, place: Path, occupied: str) -> None:
    (tmp_path / occupied).parent.mkdir(exist_ok=True)
    (tmp_path / occupied).write_text("a file where a folder should be")
    with pytest.raises(StateDirectoryError, match="cannot be used") as caught:
        made(tmp_path, place)
    assert isinstance(caught.value, RetrodictError)
    assert caught.value.hint


def test_reading_a_key_does_not_import_the_cryptography_library(tmp_path: Path, place: Path) -> None:
    made(tmp_path, place)
    code = (
        "import sys\nfrom pathlib import Path\nfrom retrodict.keys import StateDirectory\n"
        "state = StateDirectory.open(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), None)\n"
        "state.origin, state.standing(Path(sys.argv[3]))\n"
        "print('cryptography' in sys.modules)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "state" / ID), ID, str(place)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "False\n"


def test_signatures_are_those_of_rfc_8032() -> None:
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert LogSigner("example.com/log", seed).sign(b"\x72").hex() == signature
