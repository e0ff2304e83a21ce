"""A bucket of S3 (moto's server, a process of its own) that fails, and pushes and pulls that are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from tests.remotes.conftest import S3, Person

from retrodict.actions.add import add
from retrodict.backups import Depot
from retrodict.kernel.durable import parts_of
from retrodict.kernel.protocols import Remote
from retrodict.objects import RemoteError, open_remote

SEED = 20261125


def at(person: Person, url: str) -> Person:
    moved = replace(person, url=url)
    if (person.root / ".retrodict").exists():
        (person.root / ".retrodict" / "remotes.json").write_text(
            '{"format": 1, "remotes": [{"name": "origin", "url": "' + url + '"}]}'
        )
    return moved


def fill(person: Person, files: int = 30) -> None:
    draw = random.Random(SEED)
    folder = person.root / "many"
    folder.mkdir(exist_ok=True)
    for number in range(files):
        (folder / f"{number}.bin").write_bytes(draw.randbytes(20_000))
    (person.root / "large.bin").write_bytes(draw.randbytes(3_000_000))
    person.write("x\n1\n")
    with person.open() as workspace:
        add(workspace, [folder, person.root / "large.bin"])


def test_a_bucket_is_pushed_to_cloned_and_pulled_from(ada: Person, bob: Person, s3: S3) -> None:
    ada, bob = at(ada, s3.url("plain")), at(bob, s3.url("plain"))
    fill(ada)
    assert ada.push().new_packs >= 1
    assert ada.push().new_bytes == 0
    assert bob.clone().refused == ()
    bob.sound()
    bob.write("bob\n")
    bob.push()
    assert [log.origin for log in ada.pull().logs] == [bob.origin()]
    ada.sound()


@pytest.mark.parametrize("fault", ["503", "stall", "truncate"])
def test_a_bucket_that_fails_for_a_while_costs_only_time(ada: Person, bob: Person, s3: S3, fault: str) -> None:
    url = s3.url(f"slow-{fault}")
    ada, bob = at(ada, url), at(bob, url)
    fill(ada)
    if fault != "truncate":  # of what is sent, the proxy forwards all
        s3.fault, s3.matching, s3.faults = fault, b"PUT", 2
    ada.push()
    s3.fault, s3.matching, s3.faults = fault, b"GET", 2
    bob.clone()
    assert s3.struck >= 2
    bob.sound()


def test_a_bucket_that_fails_for_good_is_named_and_the_next_push_goes_on(ada: Person, bob: Person, s3: S3) -> None:
    url = s3.url("broken")
    ada, bob = at(ada, url), at(bob, url)
    fill(ada)
    s3.fault, s3.matching, s3.faults = "503", b"/heads/", 10_000
    with pytest.raises(RemoteError, match="s3://"):
        ada.push()
    s3.faults = 0
    again = ada.push()
    bob.clone()
    bob.sound()
    assert again.new_packs == 0 or again.new_bytes > 0
    listing = open_remote(url).list("logs/")
    contents = Depot(open_remote(url)).contents()
    named = {f"logs/{head.log}-{s.name}" for heads in contents.heads.values() for head in heads for s in head.stretches}
    assert set(listing) == named


class Reordering:
    """A place whose listings come in another order each time. (None is late: all buckets list what was written.)"""

    draw = random.Random(SEED)
    listings = 0

    def __init__(self, inner: Remote) -> None:
        self._inner = inner

    @property
    def place(self) -> str:
        return self._inner.place

    def put(self, name: str, data: bytes) -> None:
        self._inner.put(name, data)

    def put_parts(self, name: str, size_bytes: int, parts: Callable[[], Iterable[memoryview]]) -> None:
        self._inner.put_parts(name, size_bytes, parts)

    def get(self, name: str) -> bytes | None:
        return self._inner.get(name)

    def parts(self, name: str) -> Iterator[memoryview] | None:
        return self._inner.parts(name)

    def list(self, prefix: str) -> dict[str, int]:
        Reordering.listings += 1
        found = list(self._inner.list(prefix).items())
        self.draw.shuffle(found)
        return dict(found)

    def delete(self, name: str) -> None:
        self._inner.delete(name)


def test_the_order_of_listings_does_not_matter(ada: Person, bob: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from retrodict.actions import clone as cloning
    from retrodict.actions import remotes

    for module in (remotes, cloning):
        monkeypatch.setattr(module, "open_remote", lambda url: Reordering(open_remote(url)))
    fill(ada)
    ada.push()
    bob.clone()
    for turn in range(3):
        ada.write(f"{turn}\n")
        bob.write(f"{turn}\n", "bob.csv")
        ada.push()
        bob.push()
        bob.pull()
    assert Reordering.listings > 20
    with ada.open() as workspace:
        size = workspace.ledger.size()
    with bob.open() as workspace:
        assert [log.ledger.size() for log in workspace.logs.held()[1:]] == [size]
    bob.sound()


def start(person: Person, *words: str) -> subprocess.Popen[bytes]:
    variables = {**os.environ, "RETRODICT_STATE": str(person.state), "RETRODICT_AGENT": person.name}
    command = [str(Path(sys.executable).parent / "retrodict"), *words]
    return subprocess.Popen(
        command, cwd=person.root, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_push_that_is_killed_leaves_nothing_that_the_next_does_not_use_or_clean(
    ada: Person, bob: Person, hub: Path, s3: S3, place: str
) -> None:
    if place == "bucket":
        ada, bob = at(ada, s3.url("killed")), at(bob, s3.url("killed"))
    draw = random.Random(SEED)
    fill(ada)
    killed = 0
    for turn, matching in enumerate((b"/packs/", b"/logs/", b"/heads/") * 2):
        ada.write(f"{turn}\n" * draw.randrange(1, 20_000))
        if place == "bucket":  # while it waits for what it sends to be taken
            s3.fault, s3.matching, s3.faults = "stall", matching, 1
        before = set(hub.rglob("*"))
        process = start(ada, "push")
        while s3.faults if place == "bucket" else len(set(hub.rglob("*")) - before) <= turn // 2:
            if process.poll() is not None:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    s3.faults = 0
    assert killed == 6 if place == "bucket" else killed > 0
    ada.push()
    assert ada.push().new_bytes == 0
    remote = open_remote(ada.url)
    contents = Depot(remote).contents()
    ((head,),) = contents.heads.values()
    assert set(contents.logs) == {f"logs/{head.log}-{s.name}" for s in head.stretches}
    assert set(contents.packs) == {part.name for part in head.packs}
    assert contents.damaged == {}
    bob.clone()
    bob.sound()


def test_parts_of_a_push_that_was_killed_are_removed_by_the_next(ada: Person, s3: S3) -> None:
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"], region_name="us-east-1")
    bucket, prefix = s3.url("parts").removeprefix("s3://").split("/", 1)

    def uploads() -> list[str]:
        return sorted(up["Key"] for up in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()))

    ada = at(ada, s3.url("parts"))
    (ada.root / "large.bin").write_bytes(random.Random(SEED).randbytes(24 << 20))
    with ada.open() as workspace:
        add(workspace, [ada.root / "large.bin"])
    outside = f"{prefix}-beside/packs/{'0' * 64}.pack"
    client.create_multipart_upload(Bucket=bucket, Key=outside)
    s3.fault, s3.matching, s3.faults = "stall", b"partNumber=3", 1
    process = start(ada, "push")
    while s3.faults:
        assert process.poll() is None, "the push ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (began,) = [key for key in uploads() if key != outside]
    # Somebody else's, too; the server says of every upload that it began in 2010.
    client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/packs/{'1' * 64}.pack")
    assert ada.push().new_packs >= 1
    assert uploads() == [outside]
    assert began.removeprefix(f"{prefix}/") in open_remote(ada.url).list("packs/")


def test_what_is_being_pushed_to_a_folder_is_no_leftover_to_others(tmp_path: Path) -> None:
    remote, data = open_remote(str(tmp_path)), memoryview(bytes(100))

    def parts() -> Iterator[memoryview]:
        yield data
        assert open_remote(str(tmp_path)).list("packs/") == {}  # somebody pulls
        yield data

    remote.put_parts("packs/a.pack", 200, parts)
    assert remote.list("packs/") == {"packs/a.pack": 200}
    (tmp_path / "packs" / ".tmp-1-ab").write_bytes(bytes(100))  # its writer was killed
    remote.list("packs/")
    assert sorted(os.listdir(tmp_path / "packs")) == ["a.pack"]


def test_a_pull_that_is_killed_is_taken_up_by_the_next(ada: Person, bob: Person) -> None:
    draw = random.Random(SEED)
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    for turn in range(6):
        fill(ada, files=turn)
        ada.write(f"{turn}\n" * draw.randrange(1, 20_000))
        ada.push()
        process = start(bob, "pull")
        time.sleep(draw.uniform(0.2, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with bob.open() as workspace:
            assert list(workspace.views.verify()) == []
    bob.pull()
    assert bob.pull().new_packs == 0
    bob.sound()


def test_two_who_push_at_once_lose_nothing(ada: Person, bob: Person, s3: S3, tmp_path: Path) -> None:
    ada, bob = at(ada, s3.url("at-once")), at(bob, s3.url("at-once"))
    ada.write("x\n1\n")
    ada.push()
    bob.clone()
    for turn in range(4):
        ada.write(f"ada {turn}\n")
        bob.write(f"bob {turn}\n", "bob.csv")
        processes = [start(ada, "push"), start(bob, "push")]
        assert [process.wait() for process in processes] == [0, 0]
    cyd = replace(bob, name="Cyd", root=tmp_path / "cyd", state=tmp_path / "cyd-keys")
    cyd.clone()
    with cyd.open() as workspace:
        held = {log.ledger.origin: log.ledger.size() for log in workspace.logs.held()[1:]}
    for person in (ada, bob):
        with person.open() as workspace:
            assert held[workspace.ledger.origin] == workspace.ledger.size()
    cyd.sound()


LARGE = """
import sys
from pathlib import Path
from retrodict.actions.backup import backup
from retrodict.actions.bundle import bundle, take_bundle
from retrodict.actions.clone import clone
from retrodict.actions.fsck import fsck
from retrodict.actions.open import open_workspace
from retrodict.actions.push import push
from retrodict.actions.restore import restore
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.durable import parts_of
from retrodict.objects import open_remote
from retrodict.objects.pack import path_of, raw_key

root, state, base = map(Path, sys.argv[1:4])
hash, url = sys.argv[4:]
key = raw_key(bytes.fromhex(hash))
clock = SystemClock()

def opened(folder):
    return open_workspace(folder, state, clock, agent="Ada")

def kilobytes(field):
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])

at_first = kilobytes("VmRSS")
with opened(root) as workspace:
    workspace.objects.take_pack(key.hex(), parts_of(base / "large"))
    assert push(workspace, url).findings == ()
clone(url, base / "clone", state, clock, agent="Ada", folder=base)
if "://" not in url:
    with opened(root) as workspace:
        push(workspace, url, again=True)
        backup(workspace, open_remote(str(base / "backup")))
        bundle(workspace, base / "a.bundle")
    restore(open_remote(str(base / "backup")), base / "restored", state, clock, agent="Ada")
    with opened(base / "clone") as workspace:
        take_bundle(workspace, base / "a.bundle")
        path = path_of(workspace.objects.folder, key)
        path.unlink()
        assert fsck(workspace, repair_from=url, folder=base).answer == "yes"
        assert path.stat().st_size == (base / "large").stat().st_size
print(kilobytes("VmHWM") - at_first)
"""


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_large_file_that_is_kept_raw_is_never_held_in_memory(
    ada: Person, hub: Path, s3: S3, tmp_path: Path, place: str
) -> None:
    """Only file systems that share blocks have such files; they travel whole, whatever their size."""
    size = (96 if place == "folder" else 192) << 20  # a bucket's parts take 120 MiB, several being under way
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    whole = blake3()
    for part in parts_of(tmp_path / "large"):
        whole.update(part)
    ada = replace(ada, state=tmp_path / "states")
    shutil.rmtree(ada.root / ".retrodict")
    ada.begin()
    ada.write("x\n1\n")
    url = str(hub) if place == "folder" else s3.url("large")
    words = [ada.root, ada.state, tmp_path, whole.hexdigest(), url]
    done = subprocess.run([sys.executable, "-c", LARGE, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < size


def test_azure_is_pushed_to_cloned_and_pulled_from(ada: Person, bob: Person, azure: str) -> None:
    ada, bob = at(ada, azure), at(bob, azure)
    fill(ada)
    assert ada.push().new_packs >= 1
    assert ada.push().new_bytes == 0
    assert bob.clone().refused == ()
    bob.sound()
    bob.write("bob\n")
    bob.push()
    assert [log.origin for log in ada.pull().logs] == [bob.origin()]
    ada.sound()


def test_google_cloud_is_pushed_to_cloned_and_pulled_from_whatever_fails_for_a_while(
    ada: Person, bob: Person, gcs: S3
) -> None:
    ada, bob = at(ada, "gs://team/credit"), at(bob, "gs://team/credit")
    fill(ada)
    gcs.fault, gcs.matching, gcs.faults = "503", b"PUT", 2
    assert ada.push().new_packs >= 1
    assert ada.push().new_bytes == 0
    gcs.fault, gcs.matching, gcs.faults = "truncate", b"GET", 2
    assert bob.clone().refused == ()
    assert gcs.struck == 4
    bob.sound()
    bob.write("bob\n")
    bob.push()
    assert [log.origin for log in ada.pull().logs] == [bob.origin()]
    ada.sound()
    gcs.fault, gcs.matching, gcs.faults = "503", b"", 10_000
    ada.write("ada\n")
    with pytest.raises(RemoteError, match="gs://team/credit"):
        ada.push()
