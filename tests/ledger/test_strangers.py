"""Tools that we did not write check what we wrote: Go's sumdb, OpenSSL, b3sum. The strangers' guide runs as it is."""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrodict.actions.init import init
from retrodict.actions.log_checkpoint import log_checkpoint
from retrodict.actions.log_proof import log_proof
from retrodict.actions.log_publish import log_publish
from retrodict.actions.log_witness import log_witness
from retrodict.actions.open import open_workspace
from retrodict.actions.rotate_key import rotate_key
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.types import Digest
from retrodict.objects import digest_of
from retrodict.workspace import Batch, Workspace

GUIDE = (Path(__file__).parents[2] / "docs" / "verify-without-us.md").read_text()
BLOCKS = {language: re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.M | re.S) for language in ("go", "bash", "sh")}
GOPATH = Path("/usr/share/gocode")
CLOCK = SystemClock()
Run = Callable[..., subprocess.CompletedProcess[str]]


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def say(workspace: Workspace, count: int) -> None:
    batch = Batch(workspace)
    for number in range(count):
        batch.event("thing.happened", uses=(), makes=(), body={"text": f"číslo {number}", "n": number})
    batch.append()


@dataclass(frozen=True)
class Given:
    """What the guide says that one has been given, in `folder`; and 257 entries of history after `kept`."""

    folder: Path

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command], cwd=self.folder, capture_output=True, text=True, check=False, timeout=300
        )

    def copy(self, to: Path) -> Given:
        shutil.copytree(self.folder, to)
        return Given(to)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    from retrodict.testing.witness import Witness, serve

    base = tmp_path_factory.mktemp("given")
    folder = base / "guide"
    folder.mkdir()
    key = init(base / "project", base / "state", CLOCK, agent="Ada").key
    (base / "witness").mkdir()
    witness = Witness("witness.example/w1", base / "witness", [key])
    server = serve(witness)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open_workspace(base / "project", base / "state", CLOCK, agent="Ada") as workspace:
        say(workspace, 40)
        (folder / "kept.checkpoint").write_text(log_checkpoint(workspace).note)
        say(workspace, 500)
        log_witness(workspace, [f"http://127.0.0.1:{server.server_port}"], keys=[witness.key])
        proof = log_proof(workspace, "41")
        (folder / "decision.tlog-proof").write_text(proof.receipt)
        (folder / "decision.json").write_text(proof.entry)
        log_publish(workspace, folder / "log")
    server.shutdown()
    server.server_close()
    (folder / "log.vkey").write_text(key + "\n")
    (folder / "witness.vkey").write_text(witness.key + "\n")
    return Given(folder)


@pytest.fixture(scope="module")
def go(given: Given) -> Given:
    """The guide's program, built from its page with what Debian packages; nothing is downloaded."""
    need("go")
    if not (GOPATH / "src/golang.org/x/mod/sumdb").is_dir():
        pytest.skip("golang-golang-x-mod-dev is not installed")
    (given.folder / "check.go").write_text(BLOCKS["go"][0])
    build = BLOCKS["bash"][1].split("./check")[0]
    done = given.run(f"set -e; export GOFLAGS=-mod=mod GOPROXY=off; {build}")
    assert done.returncode == 0, done.stderr
    return given


def test_the_guide_follows_a_log_whose_key_was_replaced(go: Given, tmp_path: Path) -> None:
    base = go.folder.parent
    copy = go.copy(tmp_path / "guide")
    (copy.folder / "log.vkey").rename(copy.folder / "old.vkey")
    with open_workspace(base / "project", base / "state", CLOCK, agent="Ada") as workspace:
        (copy.folder / "log.vkey").write_text(rotate_key(workspace).key + "\n")
        say(workspace, 3)
        log_checkpoint(workspace)
        log_publish(workspace, copy.folder / "log")
    assert copy.run("./check log log.vkey").returncode == 0
    assert copy.run("./check log old.vkey").returncode != 0
    done = copy.run("set -e\n" + BLOCKS["sh"][-1])
    assert re.match(r"5\d\d entries go on from 4\d in ", done.stdout), done.stderr


def test_the_guide_with_openssl(given: Given) -> None:
    need("openssl")
    done = given.run(BLOCKS["bash"][0])
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully\nentry 41 of 54" in done.stdout
    done = given.run(BLOCKS["bash"][2])
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully\nwitness.example/w1 saw it at 2" in done.stdout


def test_the_guide_with_go(go: Given) -> None:
    done = go.run("set -e\n" + "\n".join(line for line in BLOCKS["bash"][1].splitlines() if line.startswith("./check")))
    assert done.returncode == 0, done.stderr
    whole, goes_on, again, receipt = done.stdout.splitlines()
    assert whole == again
    assert re.fullmatch(r"54\d entries of retrodict\.local/\S+ are as they were signed: root \S+", whole)
    assert re.match(r"54\d entries go on from 4\d in ", goes_on)
    assert re.match(r"entry 41 of 54\d in ", receipt)


def test_go_reads_the_log_from_a_web_server(go: Given) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(go.folder / "log"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = go.run(f"./check http://127.0.0.1:{server.server_port} log.vkey")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert "are as they were signed" in done.stdout


CHANGES = {
    "an entry": ("log/tile/entries/001", 0x20),
    "a leaf": ("log/tile/0/001", 0),
    "a node": ("log/tile/1/000.p/2", 0),
    "the root": ("log/checkpoint", 60),
    "the receipt's path": ("decision.tlog-proof", 40),
    "the receipt's entry": ("decision.json", 30),
    "the checkpoint that was kept": ("kept.checkpoint", 50),
}


@pytest.mark.parametrize("what", CHANGES)
def test_go_finds_a_changed_byte(what: str, go: Given, tmp_path: Path) -> None:
    altered = go.copy(tmp_path / "altered")
    name, place = CHANGES[what]
    data = bytearray((altered.folder / name).read_bytes())
    data[place] ^= 1
    (altered.folder / name).write_bytes(data)
    checks = [
        "./check log log.vkey",
        "./check log log.vkey kept kept.checkpoint",
        "./check log log.vkey receipt decision.tlog-proof decision.json",
    ]
    codes = [altered.run(check).returncode for check in checks]
    if name.startswith("log"):
        assert codes == [1, 1, 0]
    else:
        assert codes == ([0, 1, 0] if name.startswith("kept") else [0, 0, 1])


@pytest.mark.parametrize(
    ("name", "place"),
    [("decision.json", -6), ("decision.tlog-proof", 40), ("decision.tlog-proof", 29), ("log.vkey", -6)],
)
def test_the_shell_finds_a_changed_byte(name: str, place: int, given: Given, tmp_path: Path) -> None:
    need("openssl")
    altered = given.copy(tmp_path / "altered")
    data = bytearray((altered.folder / name).read_bytes())
    data[place] ^= 1
    (altered.folder / name).write_bytes(data)
    assert altered.run(BLOCKS["bash"][0]).returncode != 0


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 70_000])
def test_b3sum_agrees_on_the_names_of_objects(size: int, tmp_path: Path) -> None:
    need("b3sum")
    data = os.urandom(size)
    (tmp_path / "object").write_bytes(data)
    printed = subprocess.run(
        ["b3sum", "--no-names", "object"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert digest_of(data) == Digest(f"b3-{printed.stdout.strip()}")
