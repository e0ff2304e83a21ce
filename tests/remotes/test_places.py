"""A bucket of S3 (moto's server, a process of its own) that fails, and pushes and pulls that are killed."""

from __future__ import annotations

import base64
import hmac
import http.client
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.backups.conftest import free_port
from tests.remotes.conftest import S3, Person

from retrodict.actions.add import add
from retrodict.backups import Depot
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
    """A place whose listings come in another order each time, and late: what was just written is not in them yet."""

    def __init__(self, inner: Remote) -> None:
        self._inner = inner
        self._draw = random.Random(SEED)

    @property
    def place(self) -> str:
        return self._inner.place

    def put(self, name: str, data: bytes) -> None:
        self._inner.put(name, data)

    def get(self, name: str) -> bytes | None:
        return self._inner.get(name)

    def list(self, prefix: str) -> dict[str, int]:
        found = list(self._inner.list(prefix).items())
        self._draw.shuffle(found)
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
    bob.sound()


def start(person: Person, *words: str) -> subprocess.Popen[bytes]:
    variables = {**os.environ, "RETRODICT_STATE": str(person.state), "RETRODICT_AGENT": person.name}
    command = [str(Path(sys.executable).parent / "retrodict"), *words]
    return subprocess.Popen(
        command, cwd=person.root, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_push_that_is_killed_leaves_nothing_that_the_next_does_not_use_or_clean(
    ada: Person, bob: Person, s3: S3, place: str
) -> None:
    if place == "bucket":
        ada, bob = at(ada, s3.url("killed")), at(bob, s3.url("killed"))
    draw = random.Random(SEED)
    fill(ada)
    for turn in range(6):
        ada.write(f"{turn}\n" * draw.randrange(1, 20_000))
        process = start(ada, "push")
        time.sleep(draw.uniform(0.2, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
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


AZURE = {
    "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",  # of every emulator of Azure, with this key
    "AZURE_STORAGE_ACCOUNT_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsu"
    "Fq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "AZURE_STORAGE_USE_EMULATOR": "true",
}


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Azurite, with one container."""
    pytest.importorskip("obstore")
    script = Path(__file__).with_name("azurite.sh")
    if "CI" not in os.environ and not list(Path.home().glob(".cache/retrodict/tests/azurite-*/.made")):
        pytest.skip(f"Azurite (186 MB) is not installed: {script}")
    if shutil.which("npm") is None:
        pytest.skip("npm, which installs Azurite, is not here")
    made = subprocess.run([str(script)], capture_output=True, text=True, check=True)
    port = free_port()
    command = [made.stdout.strip(), "--silent", "--location", str(tmp_path / "azure"), "--blobPort", str(port)]
    server = subprocess.Popen([*command, "--skipApiVersionCheck"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name, value in {**AZURE, "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(name, value)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                make_container(port, "team")
                break
            except OSError:
                assert time.monotonic() < deadline, "Azurite does not start"
                time.sleep(0.2)
        yield "az://team/credit"
    finally:
        server.terminate()
        server.wait(30)


def make_container(port: int, name: str) -> None:
    """Ask for a container, signed as Azure wants it (Shared Key, 2021-08-06)."""
    account, date = AZURE["AZURE_STORAGE_ACCOUNT_NAME"], formatdate(usegmt=True)
    resource = f"/{account}/{account}/{name}\nrestype:container"
    said = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
    key = base64.b64decode(AZURE["AZURE_STORAGE_ACCOUNT_KEY"])
    signature = base64.b64encode(hmac.digest(key, said.encode(), "sha256")).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Content-Length": "0"}
    headers["Authorization"] = f"SharedKey {account}:{signature}"
    connection.request("PUT", f"/{account}/{name}?restype=container", headers=headers)
    assert connection.getresponse().status == 201


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


def test_google_cloud_is_opened_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """That obstore takes the address, no more: there is no emulator that answers the listings it asks for."""
    pytest.importorskip("obstore")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    assert open_remote("gs://bucket/team/credit").place == "gs://bucket/team/credit"
