"""Backup, restore and drill: nothing is lost, nothing is rewritten, and what is altered is named."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tests.backups.conftest import S3, environment

from retrodict import backups
from retrodict.actions.add import add
from retrodict.actions.backing import open_place
from retrodict.actions.backup import BackedUp, backup
from retrodict.actions.backup_keys import backup_keys
from retrodict.actions.drill import Answer, Drill, drill
from retrodict.actions.log import log
from retrodict.actions.open import open_workspace
from retrodict.actions.predict import predict
from retrodict.actions.restore import Restored, restore
from retrodict.actions.status import status
from retrodict.actions.verify import verify
from retrodict.backups import BackupAheadError, DamagedBackupError, ForeignBackupError, PassphraseError
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import IntegrityError, UsageError
from retrodict.kernel.types import Finding
from retrodict.ledger import ForkError, OldStoreError
from retrodict.objects import ObjectStore, RemoteError, digest_of, open_remote
from retrodict.objects.pack import raw_key
from retrodict.render import text
from retrodict.testing.clock import FixedClock
from retrodict.testing.workspaces import AGENT, Built, build
from retrodict.workspace import Workspace

PASSPHRASE = b"correct horse"


def save(built: Built, place: str | Path) -> BackedUp:
    with built.open() as workspace:
        return backup(workspace, open_place(str(place)))


def save_keys(built: Built, place: Path) -> None:
    with built.open() as workspace:
        backup_keys(workspace, open_place(str(place)), PASSPHRASE)


def bring_back(
    built: Built,
    place: str | Path,
    into: Path,
    state: Path | None = None,
    *,
    keys: Path | None = None,
    at: int | None = None,
    new_log: bool = False,
) -> Restored:
    return restore(
        open_place(str(place)),
        into,
        state or built.state,
        SystemClock(),
        agent=AGENT,
        at=at,
        keys_from=None if keys is None else open_place(str(keys)),
        passphrase=PASSPHRASE,
        new_log=new_log,
    )


def check(workspace: Workspace, key: str | None) -> tuple[Answer, int, tuple[Finding, ...]]:
    found = verify(workspace, key=key)
    return found.answer, found.objects, found.findings


def try_out(built: Built, place: str | Path) -> Drill:
    with built.open() as workspace:
        return drill(open_place(str(place)), built.clock, verify=check, workspace=workspace)


def ask(built: Built, times: int = 1) -> None:
    with built.open() as workspace:
        for number in range(times):
            predict(workspace, "line@champion", [{"x": float(number)}], caller="a customer")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lose(built: Built) -> None:
    shutil.rmtree(built.root / ".retrodict")


def test_a_lost_store_comes_back_and_goes_on(built: Built, tmp_path: Path) -> None:
    ask(built)
    save(built, tmp_path / "backup")
    save_keys(built, tmp_path / "keys")
    save(built, tmp_path / "backup")
    with built.open() as workspace:
        before = [sequenced.data for sequenced in workspace.ledger.read()]
        views = workspace.views.digest()
        packs = workspace.objects.packs()
    lose(built)
    restored = bring_back(built, tmp_path / "backup", built.root, keys=tmp_path / "keys")
    assert (restored.standing, restored.lost, restored.are_texts_sealed) == ("continues", 0, False)
    with built.open() as workspace:
        assert [s.data for s in workspace.ledger.read(0, len(before))] == before
        assert workspace.objects.packs() == packs
        assert workspace.ledger.event(len(before)).event.kind == "log.restored"
        assert verify(workspace).answer == "yes"
        rows = {row.entry: row for row in log(workspace).rows}
        assert rows[len(before)].agent == AGENT
        assert {"to fit a line", "the first"} <= {row.reason for row in rows.values()}
        assert views != workspace.views.digest()  # log.restored is folded too
    ask(built)
    assert save(built, tmp_path / "backup").is_new
    assert try_out(built, tmp_path / "backup").answer == "yes"


def test_a_lost_machine_comes_back_with_the_keys(built: Built, tmp_path: Path) -> None:
    save_keys(built, tmp_path / "keys")
    save(built, tmp_path / "backup")
    lose(built)
    there = open_place(str(tmp_path / "backup"))
    keys_there = open_place(str(tmp_path / "keys"))
    assert drill(there, FixedClock(), verify=check).answer == "could not tell"
    tried = drill(there, FixedClock(), verify=check, keys_from=keys_there, passphrase=PASSPHRASE)
    assert (tried.answer, tried.has_keys) == ("yes", True)  # the log's own key was sealed under the passphrase
    with pytest.raises(PassphraseError):
        restore(
            open_place(str(tmp_path / "backup")),
            tmp_path / "elsewhere",
            tmp_path / "state",
            FixedClock(),
            agent=AGENT,
            keys_from=open_place(str(tmp_path / "keys")),
            passphrase=b"wrong",
        )
    assert not (tmp_path / "elsewhere").exists()
    restored = bring_back(
        built, tmp_path / "backup", tmp_path / "elsewhere", tmp_path / "state", keys=tmp_path / "keys"
    )
    assert restored.standing == "continues"
    with open_workspace(tmp_path / "elsewhere", tmp_path / "state", FixedClock(), agent=AGENT) as workspace:
        predict(workspace, "line@champion", [{"x": 1.0}], caller="a customer")
        found = verify(workspace)
        assert found.answer == "yes"
        assert [f for f in found.findings if f.level == "note"]  # the key of the store's backup.made, sealed later


def test_without_keys_it_is_read_and_nothing_is_signed(built: Built, tmp_path: Path) -> None:
    save(built, tmp_path / "backup")
    lose(built)
    restored = bring_back(built, tmp_path / "backup", tmp_path / "elsewhere", tmp_path / "state")
    assert (restored.standing, restored.are_texts_sealed, restored.key) == ("no keys", True, None)
    with open_workspace(tmp_path / "elsewhere", tmp_path / "state", FixedClock()) as workspace:
        assert verify(workspace).answer == "could not tell"


def test_a_backup_older_than_what_was_signed_is_never_signed_over(built: Built, tmp_path: Path) -> None:
    save_keys(built, tmp_path / "keys")
    save(built, tmp_path / "backup")
    ask(built, 3)
    lose(built)
    restored = bring_back(built, tmp_path / "backup", built.root, keys=tmp_path / "keys")
    assert (restored.standing, restored.lost) == ("behind", 3)
    with pytest.raises(OldStoreError), built.open() as workspace:
        predict(workspace, "line@champion", [{"x": 1.0}], caller="a customer")
    with open_workspace(built.root, built.state, FixedClock(), read_only=True) as workspace:
        assert verify(workspace).answer == "no"
    lose(built)
    restored = bring_back(built, tmp_path / "backup", built.root, keys=tmp_path / "keys", new_log=True)
    assert (restored.standing, restored.lost) == ("begins a log", 3)
    ask(built)
    with built.open() as workspace:
        assert verify(workspace).answer == "yes"
        event = workspace.ledger.event(restored.entries).event
        assert event.kind == "log.restored"
        assert event.body["continues"]["origin"] != workspace.ledger.origin  # type: ignore[index]
        assert f"\n{restored.entries + 3}\n" in event.body["continues"]["signed"]  # type: ignore[index]
    # The old key is where it was, and what it signed last still stands against the old name.
    assert len(list(built.state.iterdir())) == 2


def test_a_backup_of_a_workspace_that_still_stands_is_a_copy(built: Built, tmp_path: Path) -> None:
    save(built, tmp_path / "backup")
    ask(built, 3)
    copy = bring_back(built, tmp_path / "backup", tmp_path / "copy")
    assert copy.standing == "copy"
    assert "`retrodict verify` in it says no: 3 entries were signed there since" in str(text.restored(copy))
    with pytest.raises(UsageError, match="already"):
        bring_back(built, tmp_path / "backup", tmp_path / "copy")


def test_only_what_is_new_travels_and_nothing_is_rewritten(built: Built, tmp_path: Path) -> None:
    place = tmp_path / "backup"
    first = save(built, place)
    before, stamps = files(place), {p: p.stat().st_mtime_ns for p in place.rglob("*") if p.is_file()}
    assert not save(built, place).is_new
    assert files(place) == before
    (built.root / "data" / "more.bin").write_bytes(random.Random(0).randbytes(400_000))
    with built.open() as workspace:
        add(workspace, [built.root / "data" / "more.bin"])
    second = save(built, place)
    assert second.new_entries == 2  # the dataset, and that it was backed up
    assert 400_000 < second.new_bytes < 410_000
    after = files(place)
    assert before.items() <= after.items()
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert second.number > first.number
    with built.open() as workspace:
        kinds = [s.event.kind for s in workspace.ledger.read()]
        assert kinds.count("backup.made") == 2


def test_two_places_do_not_make_work_for_each_other(built: Built, tmp_path: Path) -> None:
    for place in ("a", "b", "a", "b"):
        save(built, tmp_path / place)
    with built.open() as workspace:
        assert [s.event.kind for s in workspace.ledger.read()].count("backup.made") == 2
    assert not save(built, tmp_path / "a").is_new
    assert not save(built, tmp_path / "b").is_new


def test_an_earlier_backup_can_be_restored(built: Built, tmp_path: Path) -> None:
    first = save(built, tmp_path / "backup")
    ask(built)
    save(built, tmp_path / "backup")
    restored = bring_back(built, tmp_path / "backup", tmp_path / "old", at=first.number)
    assert restored.entries == first.entries
    with pytest.raises(UsageError, match="no backup number 99"):
        bring_back(built, tmp_path / "backup", tmp_path / "older", at=99)


def test_every_altered_or_missing_file_of_a_backup_is_found(built: Built, tmp_path: Path) -> None:
    place = tmp_path / "backup"
    save(built, place)
    ask(built)
    save(built, place)
    assert try_out(built, place).answer == "yes"
    chance = random.Random(3)
    everything = sorted(path for path in place.rglob("*") if path.is_file())
    manifests = [path for path in everything if path.parent.name == "manifests"]
    others = [path for path in everything if path not in manifests]  # how many packs there are is up to the machine
    paths = sorted([*manifests, *chance.sample(others, min(len(others), 12))])
    for number, path in enumerate(paths):
        good = path.read_bytes()
        path.chmod(0o644)
        ways = (_flipped(good, chance.randrange(len(good))), good[:-1], b"", good + b"x")
        # Segments and packs are named by their bytes: each is altered in one way, and among them every way is taken.
        for bad in ways if path.parent.name == "manifests" else (ways[number % 4],):
            path.write_bytes(bad)
            found = try_out(built, place)
            assert found.answer == "no", path
            assert all(finding.message.count(found.destination) == 0 for finding in found.findings)
        path.write_bytes(good)
        path.unlink()
        is_last = path.name.startswith("000000000004")
        assert (try_out(built, place).answer == "yes") == is_last, path  # then the backup is the one before
        with pytest.raises(IntegrityError) if not is_last else _nothing():
            bring_back(built, place, tmp_path / "restored")
        assert (tmp_path / "restored").exists() == is_last
        shutil.rmtree(tmp_path / "restored", ignore_errors=True)
        path.write_bytes(good)
    assert try_out(built, place).answer == "yes"


class _nothing:  # noqa: N801 - reads as a word
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_forged_backup_is_not_taken_for_the_logs_own(built: Built, tmp_path: Path) -> None:
    """Whoever can write the place can write whole manifests; what the key signed cannot be forged."""
    save(built, tmp_path / "backup")
    other = build(_made(tmp_path / "other"))
    save(other, tmp_path / "forged")
    with pytest.raises((ForeignBackupError, BackupAheadError)):
        save(built, tmp_path / "forged")
    with built.open() as workspace:
        found = drill(open_place(str(tmp_path / "forged")), FixedClock(), verify=check, workspace=workspace)
    assert found.answer == "no"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_an_old_store_put_back_is_not_backed_up_over_a_newer_backup(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.root / ".retrodict", tmp_path / "old")
    ask(built)
    save(built, tmp_path / "backup")
    shutil.rmtree(built.root / ".retrodict")
    shutil.copytree(tmp_path / "old", built.root / ".retrodict")
    with pytest.raises(OldStoreError):
        save(built, tmp_path / "backup")
    found = try_out_read_only(built, tmp_path / "backup")
    assert found.answer == "no"
    shutil.rmtree(built.state)  # with the state directory gone, only the backup knows
    with pytest.raises((BackupAheadError, ForkError)):
        save(built, tmp_path / "backup")


def try_out_read_only(built: Built, place: Path) -> Drill:
    with open_workspace(built.root, built.state, FixedClock(), read_only=True) as workspace:
        return drill(open_place(str(place)), FixedClock(), verify=check, workspace=workspace)


def test_an_altered_pack_is_not_copied_and_named_and_the_rest_is_saved(built: Built, tmp_path: Path) -> None:
    pack = max((built.root / ".retrodict/objects/packs").iterdir(), key=lambda path: path.stat().st_size)
    pack.chmod(0o644)
    data = pack.read_bytes()
    pack.write_bytes(_flipped(data, 60))
    done = save(built, tmp_path / "backup")
    assert [Path(f.what).name for f in done.findings] == [pack.name]
    assert try_out(built, tmp_path / "backup").answer == "no"
    pack.write_bytes(data)
    assert not save(built, tmp_path / "backup").findings
    assert try_out(built, tmp_path / "backup").answer == "yes"


def test_keys_are_sealed_and_the_older_ones_are_removed(built: Built, tmp_path: Path) -> None:
    save_keys(built, tmp_path / "keys")
    (first,) = (tmp_path / "keys" / "keys").iterdir()
    save_keys(built, tmp_path / "keys")
    (second,) = (tmp_path / "keys" / "keys").iterdir()
    assert first.name != second.name
    state = next(built.state.iterdir())
    secrets = [(state / name).read_bytes().strip() for name in ("signing.key", "wrapping")]
    for secret in (*secrets, bytes.fromhex(secrets[1].decode())):
        assert secret not in second.read_bytes()
    save(built, tmp_path / "backup")
    for data in files(tmp_path / "backup").values():  # keys.db is not there either
        assert b"SQLite format" not in data
        assert all(secret not in data for secret in secrets)
    with built.open() as workspace, pytest.raises(UsageError, match="holds a backup of the store"):
        backup_keys(workspace, open_place(str(tmp_path / "backup")), PASSPHRASE)
    with built.open() as workspace:
        made = backups.made(workspace.views.database())
        assert [m.what for m in made] == ["keys", "keys", "store"]


def test_altered_keys_do_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups.sealed, "LOG_N", 10)  # the least that is read back: a thousandth of the time
    keys = backups.Keys(
        workspace="0" * 32,
        origin="example.com/log",
        signing_key="k",
        wrapping_key=None,
        checkpoint=None,
        ring=b"x" * 900,
    )
    sealed = backups.seal_keys(keys, PASSPHRASE, FixedClock(), at="2026-11-25T00:00:00.000000000Z")
    for place in (*range(0, len(sealed) - 1, 7), len(sealed) - 2):
        with pytest.raises((PassphraseError, IntegrityError)):
            backups.open_keys(_flipped(sealed, place), PASSPHRASE)


def test_status_says_what_no_backup_holds(built: Built, tmp_path: Path) -> None:
    def unsaved() -> int:
        with built.open() as workspace:
            found = status(workspace).unsaved
            assert found.was_saved == (workspace.ledger.size() > size)
            return found.entries

    with built.open() as workspace:
        size = workspace.ledger.size()
    assert unsaved() == size
    save(built, tmp_path / "backup")
    assert unsaved() == 0
    ask(built, 2)
    assert unsaved() == 2
    found = try_out(built, tmp_path / "backup")
    assert found.lost_entries == 2
    assert found.lost_seconds > 0
    save(built, tmp_path / "backup")
    assert unsaved() == 0
    assert try_out(built, tmp_path / "backup").lost_entries == 0


def test_where_a_backup_lies_is_sealed_and_bears_no_credentials(built: Built, tmp_path: Path) -> None:
    save(built, tmp_path / "backup")
    with built.open() as workspace:
        assert all(b"backup'" not in s.data and str(tmp_path).encode() not in s.data for s in workspace.ledger.read())


# Cut off


KILL = """
import os, signal, sys
from retrodict.kernel.durable import RealDisk
import retrodict.objects.remotes as remotes

left = int(os.environ["KILL_AT"])
class Mortal(RealDisk):
    def tick(self):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def write(self, fd, data):
        self.tick(); super().write(fd, data[: len(data) // 2]); self.tick(); super().write(fd, data[len(data) // 2 :])
    def rename(self, a, b):
        self.tick(); super().rename(a, b); self.tick()
remotes.REAL_DISK = Mortal()
remotes.open_remote.__kwdefaults__["disk"] = remotes.REAL_DISK
sys.argv = ["retrodict", "-C", sys.argv[1], "backup", "to", sys.argv[2]]
from retrodict.cli import main
main()
"""


def test_a_backup_that_is_killed_anywhere_is_the_one_before_and_the_next_one_is_whole(
    built: Built, tmp_path: Path
) -> None:
    place = tmp_path / "backup"
    save(built, place)
    step = 1
    while True:
        ask(built)
        number = len(list((place / "manifests").iterdir()))
        arguments = [sys.executable, "-c", KILL, str(built.root), str(place)]
        done = subprocess.run(
            arguments, env={**environment(built), "KILL_AT": str(step)}, capture_output=True, check=False
        )
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stderr
            break
        found = try_out(built, place)
        assert found.answer == "yes"
        assert found.number - number in (0, 1, 2)
        step += 1 if step < 10 else 3
    assert step > 10
    save(built, place)
    found = try_out(built, place)
    assert (found.answer, found.lost_entries) == ("yes", 0)
    named = {p.name for m in backups.Vault(open_place(str(place))).manifests() for p in m.segments}
    assert {path.name for path in (place / "segments").iterdir()} == named  # what was torn is cleaned


def test_the_service_finishes_what_is_under_way_when_it_is_told_to_stop(built: Built, tmp_path: Path) -> None:
    command = [
        "retrodict",
        "-C",
        str(built.root),
        "backup",
        "to",
        str(tmp_path / "backup"),
        "--every",
        "0.2s",
        "--json",
    ]
    variables = {**environment(built), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    service = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert service.stdout is not None
    assert json.loads(service.stdout.readline())["number"] == 2
    ask(built)
    assert json.loads(service.stdout.readline())["new_entries"] == 2
    service.send_signal(signal.SIGTERM)
    out, err = service.communicate(timeout=60)
    assert (service.returncode, err) == (0, ""), out
    assert try_out(built, tmp_path / "backup").lost_entries == 0


# Buckets


def test_a_bucket_keeps_a_backup(built: Built, s3: S3, tmp_path: Path) -> None:
    place = s3.url("plain/credit")
    save(built, place)
    ask(built)
    save(built, place)
    found = try_out(built, place)
    assert (found.answer, found.lost_entries) == ("yes", 0)
    assert found.destination == place
    lose(built)
    assert bring_back(built, place, built.root).standing == "continues"
    with pytest.raises(RemoteError, match="s3://nobucket/x cannot"):
        open_remote("s3://nobucket/x").put("packs/a", b"")


@pytest.mark.parametrize(
    ("fault", "matching"), [("503", b"PUT"), ("503", b"GET"), ("truncate", b"GET"), ("stall", b"PUT")]
)
def test_a_network_that_fails_now_and_then_is_tried_again(built: Built, s3: S3, fault: str, matching: bytes) -> None:
    place = s3.url(f"faulty/{fault}/{matching.decode()}")
    remote = open_remote(place, timeout_s=1)
    s3.fault, s3.faults, s3.matching = fault, 1 if fault == "stall" else 2, matching
    with built.open() as workspace:
        backup(workspace, remote)
    assert s3.struck
    found = try_out(built, place)
    assert (found.answer, found.lost_entries) == ("yes", 0)


def test_a_network_that_is_down_is_told_and_nothing_is_recorded(built: Built, s3: S3) -> None:
    s3.fault, s3.faults = "stall", 1000
    remote = open_remote(s3.url("down"), timeout_s=0.3)
    begin = time.monotonic()
    with built.open() as workspace, pytest.raises(RemoteError) as caught:
        backup(workspace, remote)
    assert time.monotonic() - begin < 30
    assert "secret" not in str(caught.value)
    s3.faults = 0
    with built.open() as workspace:
        assert backups.made(workspace.views.database()) == []


def test_a_place_that_is_none_is_refused(built: Built) -> None:
    with pytest.raises(UsageError, match="no place"):
        open_place("ftp://example.com/x")
    with built.open() as workspace, pytest.raises(RemoteError):
        backup(workspace, open_place("/proc/nowhere"))
    with pytest.raises(UsageError, match="holds no backup"):
        bring_back(built, "/nowhere", built.root.parent / "nothing")
    assert DamagedBackupError.hint
    with built.open() as workspace:
        size = workspace.ledger.size()
        for place in (built.root, built.root / ".retrodict", built.root / ".retrodict" / "backup"):
            for refused in (backup, partial(backup_keys, passphrase=PASSPHRASE)):
                with pytest.raises(UsageError, match=r"part of the store|folder of a workspace"):
                    refused(workspace, open_place(str(place)))
        assert workspace.ledger.size() == size
    assert not (built.root / "manifests").exists()


def test_a_file_that_a_store_keeps_raw_comes_back(tmp_path: Path) -> None:
    """Only file systems that share blocks have such files; what a backup makes of them does not depend on that."""
    data = random.Random(1).randbytes(3_000_000)
    key = raw_key(bytes.fromhex(digest_of(data).removeprefix("b3-"))).hex()
    with ObjectStore.create(tmp_path / "source", SystemClock()) as source:  # its pack has the recipe too
        source.put(data)
        packs = [(name, source.pack(name)) for name in source.packs()]
    with ObjectStore.restore(tmp_path / "objects", SystemClock(), [(key, [memoryview(data)]), *packs]) as store:
        assert store.packs() == [*(name for name, _ in packs), key]
        assert b"".join(map(bytes, store.pack(key))) == data
        assert store.get(digest_of(data)) == data
        assert [finding for finding in store.verify() if finding.level in ("altered", "missing")] == []
    vault = backups.Vault(open_place(str(tmp_path / "backup")))
    assert vault.add_pack(key, len(data), lambda: [memoryview(data)]).name == key
    assert vault.remote.get(f"packs/{key}.pack") == data
