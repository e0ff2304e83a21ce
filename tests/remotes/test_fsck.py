"""Objects that are altered or missing: each is named, and mended from wherever a good copy is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.backups.conftest import BUCKET
from tests.remotes.conftest import S3, Person

from retrodict.actions.add import add
from retrodict.actions.backup import backup
from retrodict.actions.bundle import bundle
from retrodict.actions.checkout import checkout
from retrodict.actions.clone import clone
from retrodict.actions.fsck import Checked, fsck
from retrodict.actions.gc import gc
from retrodict.actions.release import release
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest
from retrodict.objects import Copies, ObjectStore, digest_of, open_remote
from retrodict.objects.names import Kind
from retrodict.objects.pack import Place, scan
from retrodict.testing.disk import COPYING_DISK, STEPS, Crash, Fault, FlakyDisk, Step
from retrodict.testing.stores import patch

BIG = random.Random(1).randbytes(700_000)


def store(person: Person) -> Path:
    return person.root / ".retrodict" / "objects"


def packs(person: Person) -> list[Path]:
    return sorted((store(person) / "packs").iterdir())


def check(person: Person, source: str | Path | None = None) -> Checked:
    with person.open() as workspace:
        return fsck(workspace, repair_from=None if source is None else str(source), folder=person.root)


def contents(person: Person) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in packs(person)}


@pytest.fixture
def full(ada: Person) -> Person:
    """Ada, who has added a file in chunks and a folder, and pushed them; in two packs."""
    (ada.root / "big.bin").write_bytes(BIG)
    folder = ada.root / "folder" / "below"
    folder.mkdir(parents=True)
    for i in range(20):
        (folder / f"{i}.txt").write_text(f"{i}\n" * (i + 1))
    with ada.open() as workspace:
        add(workspace, [ada.root / "big.bin"])
        add(workspace, [ada.root / "folder"])
    ada.push()
    assert check(ada).answer == "yes"
    return ada


def record_of(pack: Path, kind: Kind) -> Place:
    return next(found for found in scan(pack.read_bytes()) if isinstance(found, Place) and found.kind == kind)


def flip_in(person: Person, kind: Kind) -> None:
    """Alter one record of a kind."""
    for pack in packs(person):
        for found in scan(pack.read_bytes()):
            if isinstance(found, Place) and found.kind == kind:
                patch(pack, found.offset + 52, 4)
                return
    raise AssertionError(kind)


def delete_all(person: Person) -> None:
    for pack in packs(person):
        pack.unlink()


def delete_index_too(person: Person) -> None:
    delete_all(person)
    for path in store(person).glob("index.db*"):
        path.unlink()


def flip_header(person: Person) -> None:
    patch(packs(person)[0], 17, 1)


def flip_footer(person: Person) -> None:
    patch(packs(person)[0], packs(person)[0].stat().st_size - 1, 1)


def cut_short(person: Person) -> None:
    for pack in packs(person):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Person], None]] = {
    "a flipped byte in a file": lambda person: flip_in(person, Kind.BLOB),
    "in a chunk": lambda person: flip_in(person, Kind.CHUNK),
    "in a recipe": lambda person: flip_in(person, Kind.RECIPE),
    "in a listing": lambda person: flip_in(person, Kind.TREE),
    "in a record's header": flip_header,
    "in a footer": flip_footer,
    "packs cut short": cut_short,
    "deleted packs": delete_all,
    "and the index": delete_index_too,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_altered_or_missing_is_named_and_mended_from_a_remote(
    full: Person, damage: Callable[[Person], None]
) -> None:
    before = contents(full)
    damage(full)
    after = {path: path.read_bytes() for path in packs(full)}
    named = check(full)
    assert (named.answer, named.entry) == ("no", None)
    assert {path: path.read_bytes() for path in packs(full)} == after  # nothing is changed by looking
    mended = check(full, "origin")
    assert (mended.answer, [f for f in mended.findings if f.level != "note"]) == ("yes", [])
    assert (mended.found, mended.place) == (named.findings, full.url)
    if damage is not delete_index_too:  # which says what was cut where
        assert set(contents(full).values()) >= set(before.values())  # the very same packs
        assert full.push().new_packs == 0
    full.sound()
    with full.open() as workspace:
        said = workspace.ledger.event(mended.entry or 0).event
        assert (said.kind, said.body["unrepaired"]) == ("store.repaired", [])
        assert len(said.body["objects"]) == mended.repaired  # type: ignore[arg-type]
        checkout(workspace, "dataset:folder", full.root / "again")
        checkout(workspace, "dataset:big.bin", full.root / "again.bin")
    assert (full.root / "again.bin").read_bytes() == BIG
    assert (full.root / "again/below/7.txt").read_text() == "7\n" * 8
    again = check(full, "origin")
    assert (again.answer, again.entry) == ("yes", None)


def test_a_clean_store_is_left_alone(full: Person) -> None:
    before = contents(full)
    with full.open() as workspace:
        size = workspace.ledger.size()
    assert (check(full).answer, check(full, "origin").entry) == ("yes", None)
    with full.open() as workspace:
        assert (contents(full), workspace.ledger.size()) == (before, size)


def test_what_nobody_has_fetched_is_not_missing(full: Person, bob: Person) -> None:
    clone(full.url, bob.root, bob.state, SystemClock(), agent=bob.name, folder=bob.root, only_logs=True)
    found = check(bob, "origin")
    assert (found.answer, found.entry, [finding.level for finding in found.findings]) == ("yes", None, ["note"])
    assert "retrodict fetch" in found.findings[0].message


def test_an_altered_raw_file_is_mended(ada: Person, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrodict.objects.add.RAW_FROM", 1 << 18)
    (ada.root / "big.bin").write_bytes(BIG)
    with ObjectStore.open(store(ada), SystemClock(), disk=COPYING_DISK) as objects:
        objects.put_file(ada.root / "big.bin")
    with ada.open() as workspace:
        add(workspace, [ada.root / "big.bin"])
    (raw,) = (store(ada) / "raw").iterdir()
    ada.push()
    other = ada.root.parent / "other"
    shutil.copytree(store(ada), other / ".retrodict" / "objects")
    for source in ("origin", other):
        patch(raw, 300_000, 1)
        assert check(ada).answer == "no"
        assert check(ada, source).answer == "yes"
        assert raw.read_bytes() == BIG
        raw.unlink()
        assert check(ada, source).answer == "yes"
        assert raw.read_bytes() == BIG
    # Where nobody has it whole, its chunks serve.
    shutil.rmtree(store(ada) / "raw")
    patch(other / ".retrodict/objects/raw" / raw.name, 10, 1)
    partly = check(ada, other)
    assert (partly.answer, partly.repaired > 0) == ("no", True)
    assert check(ada, "origin").answer == "yes"
    ada.sound()


def test_what_is_altered_there_too_is_not_taken(full: Person, hub: Path) -> None:
    for pack in (hub / "packs").iterdir():
        place = record_of(pack, Kind.BLOB) if b"RTO1\x01" in pack.read_bytes() else record_of(pack, Kind.CHUNK)
        patch(pack, place.offset + 52, 1)
    kept = {pack.name: pack.read_bytes() for pack in packs(full)}
    for pack in packs(full):
        patch(pack, pack.stat().st_size // 2, 1)
    flip_in(full, Kind.CHUNK)
    flip_in(full, Kind.BLOB)
    mended = check(full, "origin")
    assert mended.answer == "no"
    with full.open() as workspace:
        said = workspace.ledger.event(mended.entry or 0).event.body
        unrepaired = [Digest(f"b3-{name}") for name in said["unrepaired"]]  # type: ignore[attr-defined]
        assert unrepaired
        assert "held" not in {workspace.objects.state(digest) for digest in unrepaired}
        assert not set(unrepaired) & set(said["objects"])  # type: ignore[call-overload]
    assert {pack.name for pack in packs(full)} >= kept.keys()  # the bad copies are all that there is
    good = full.root.parent / "good" / "packs"
    good.mkdir(parents=True)
    for name, data in kept.items():
        (good / name).write_bytes(data)
    assert check(full, good.parent).answer == "yes"
    full.sound()


def test_a_whole_file_that_is_altered_there_gives_its_good_records(full: Person, hub: Path) -> None:
    for pack in (hub / "packs").iterdir():
        patch(pack, pack.stat().st_size - 1, 1)  # all records are good
    for name in (hub / "names").iterdir():
        name.write_bytes(b"\0" * 64)  # and nobody says what they are
    delete_all(full)
    assert check(full, "origin").answer == "yes"
    full.sound()


def test_any_copy_of_the_same_bytes_serves(full: Person, tmp_path: Path) -> None:
    """Another workspace, that has added the same files in another order; a backup; a bundle."""
    other = Person("Bob", tmp_path / "other", tmp_path / "other-keys", full.url).begin()
    for name in ("big.bin", "folder"):
        whole = full.root / name
        (shutil.copytree if whole.is_dir() else shutil.copy)(whole, other.root / name)
    with other.open() as workspace:
        add(workspace, [other.root / "folder", other.root / "big.bin"])
    with full.open() as workspace:
        backup(workspace, open_remote(str(tmp_path / "backup")))
        bundle(workspace, tmp_path / "all.bundle")
    for source in (other.root, other.root / ".retrodict", store(other), tmp_path / "backup", tmp_path / "all.bundle"):
        delete_all(full)
        assert check(full, source).answer == "yes", source
        full.sound()


def test_of_a_damaged_bundle_the_good_packs_serve(full: Person, tmp_path: Path) -> None:
    with full.open() as workspace:
        bundle(workspace, tmp_path / "all.bundle")
    data = (tmp_path / "all.bundle").read_bytes()
    patch(tmp_path / "all.bundle", data.index(packs(full)[0].read_bytes()) + 100, 1)
    delete_all(full)
    mended = check(full, tmp_path / "all.bundle")
    assert (mended.answer, mended.repaired > 0) == ("no", True)
    assert check(full, "origin").answer == "yes"


def test_what_was_let_go_is_not_brought_back(full: Person) -> None:
    (full.root / "big.bin").unlink()
    with full.open() as workspace:
        release(workspace, "dataset:big.bin", reason="its licence has ended", apply=True)
    delete_all(full)
    mended = check(full, "origin")
    assert (mended.answer, {f.level for f in mended.findings}) == ("yes", {"note"})
    with full.open() as workspace:
        assert workspace.objects.state(Digest("b3-" + _hash(BIG))) == "missing"
        checkout(workspace, "dataset:folder", full.root / "again")
    full.sound()


def test_what_was_let_go_and_swept_is_not_missing(full: Person) -> None:
    with full.open() as workspace:
        release(workspace, "dataset:big.bin", reason="its licence has ended", apply=True)
        gc(workspace, apply=True, grace_s=0)
    assert check(full).answer == "yes"
    flip_in(full, Kind.BLOB)
    assert check(full, "origin").answer == "yes"
    with full.open() as workspace:
        assert workspace.objects.state(Digest("b3-" + _hash(BIG))) == "missing"


def test_of_a_pack_with_much_that_was_let_go_the_rest_is_mended(ada: Person) -> None:
    folder = ada.root / "folder"
    folder.mkdir()
    (folder / "kept").write_text("kept")
    (folder / "gone").write_bytes(BIG)
    with ada.open() as workspace:
        add(workspace, [folder])
    ada.push()
    with ada.open() as workspace:
        add(workspace, [folder / "kept"])
        release(workspace, "dataset:folder", reason="too large", apply=True)
    delete_all(ada)
    mended = check(ada, "origin")
    assert (mended.answer, {f.level for f in mended.findings}) == ("yes", {"note"})
    assert sum(len(data) for data in contents(ada).values()) < 10_000
    ada.sound()


def test_a_wrong_index_is_made_again(full: Person) -> None:
    with full.open() as workspace:
        workspace.objects.mender()._index.select("DELETE FROM recipes")
    assert check(full).answer == "no"
    mended = check(full, "origin")
    assert (mended.answer, mended.is_index_rebuilt) == ("yes", True)


def test_what_is_no_source_is_refused(full: Person, tmp_path: Path) -> None:
    delete_all(full)
    with pytest.raises(UsageError, match="no remote called") as unknown:
        check(full, "orign")
    assert "origin" in unknown.value.hint
    with pytest.raises(UsageError, match="itself"):
        check(full, full.root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no packs"):
        check(full, tmp_path / "empty")


def test_a_bucket_mends_too(full: Person, s3: S3) -> None:
    remote = open_remote(s3.url("hub"))
    for pack in packs(full):
        remote.put(f"packs/{pack.name}", pack.read_bytes())
    delete_all(full)
    assert check(full, f"s3://{BUCKET}/hub").answer == "yes"
    full.sound()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("landed", [False, True])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_crash_at_any_step_loses_nothing_that_was_good(
    full: Person, hub: Path, step: Step, landed: bool, is_whole: bool
) -> None:
    flip_in(full, Kind.CHUNK)
    flip_in(full, Kind.BLOB)
    if not is_whole:  # then records are mended one by one
        for pack in (hub / "packs").iterdir():
            patch(pack, pack.stat().st_size - 1, 1)
    good = _good(full)
    for nth in range(1, 9):
        disk = FlakyDisk(Fault(step=step, occurrence=nth, landed=landed))
        objects = ObjectStore.open(store(full), SystemClock(), disk=disk)
        mender, from_hub = objects.mender(), Copies(open_remote(str(hub)))
        try:
            for bad in mender.bad_files():
                if not mender.replace(bad, from_hub):
                    mender.gather(bad.lost, from_hub)
                    mender.retire(bad)
        except Crash:
            objects.close()
            disk.healed()
        objects.close()
        assert good <= _good(full)
        if not disk.fired:
            break
    assert check(full, "origin").answer == "yes"
    full.sound()


def _good(person: Person) -> set[str]:
    """Return what can be read, after a restart."""
    with ObjectStore.open(store(person), SystemClock()) as objects:
        mender = objects.mender()
        names = [row[0] for row in mender._index.select("SELECT DISTINCT name FROM objects")]
        return {name.hex() for name in names if isinstance(name, bytes) and mender.is_good(name)}


def _hash(data: bytes) -> str:
    return digest_of(data).removeprefix("b3-")
