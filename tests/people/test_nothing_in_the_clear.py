"""Planted values, everything driven from outside, and every byte that is left: none of them stands in the clear."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrodict.actions.open import open_workspace
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UsageError
from retrodict.testing.commands import Commands
from retrodict.testing.people import SCORE

PERSON = "PLANTED-PERSON-7f3a"
CITY = "Plantedcity"
AGE = 918_273_645
COMPLAINT = "planted complaint about everything"
NEEDLES = [
    PERSON.encode(),
    CITY.encode(),
    CITY.upper().encode(),
    COMPLAINT.encode(),
    str(AGE).encode(),
    AGE.to_bytes(8, "little"),
    struct.pack("<d", AGE / 100),
    struct.pack("<d", float(AGE)),
    str(AGE / 100).encode(),
]


class World:
    """A project, its state directory, its cache and its folder for temporary files, and the command line in it."""

    def __init__(self, folder: Path, commands: Commands) -> None:
        self.commands = commands
        self.project, self.outside = folder / "project", folder / "outside"
        self.logs, self.backup, self.remote = folder / "logs", folder / "backup", folder / "remote"
        beside = [folder / "state", folder / "cache", folder / "tmp", self.logs, self.backup, self.remote]
        self.kept = [self.project / ".retrodict", *beside]
        for path in (self.project, self.outside, *beside):
            path.mkdir()
        self.variables = {
            **os.environ,
            "RETRODICT_STATE": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TMPDIR": str(folder / "tmp"),
            "RETRODICT_AGENT": "Ada",
        }

    def command(self, *words: str, given: bytes = b"", expect: int | None = 0) -> subprocess.CompletedProcess[bytes]:
        done = self.commands.run(words, cwd=self.project, env=self.variables, given=given)
        assert expect is None or done.returncode == expect, done.stderr.decode()
        return done

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Yield every byte that is kept: files as they lie, and every object as it is when it is read."""
        for folder in self.kept:
            for path in folder.rglob("*"):
                if path.is_file():
                    yield str(path), path.read_bytes()
                yield f"name {path}", os.fsencode(path.name)
        with open_workspace(self.project, self.kept[1], SystemClock(), read_only=True) as workspace:
            for sequenced in workspace.ledger.read():
                yield f"entry {sequenced.index}", workspace.ledger.entry(sequenced.index)
            for digest, data in workspace.ledger.blobs():
                yield f"blob {digest}", data
            for i in range(256):
                for digest in workspace.objects.resolve_prefix(f"b3-{i:02x}"):
                    with contextlib.suppress(UsageError):  # a listing: trees are read through the files that they list
                        yield f"object {digest}", workspace.objects.get(digest)

    def planted(self) -> list[tuple[str, bytes]]:
        return [(where, needle) for where, data in self.left() for needle in NEEDLES if needle in data]


@pytest.fixture
def world(tmp_path: Path, commands: Commands) -> World:
    made = World(tmp_path, commands)
    made.command("init")
    return made


def register_score(made: World) -> None:
    """Register a model whose questions are about people, and lay questions beside."""
    (made.project / "score.py").write_text(SCORE)
    row = f"customer,age,city\n{PERSON},{AGE},{CITY}\n"
    (made.outside / "asked.csv").write_text(row)
    (made.outside / "both.csv").write_text(row + "bob,40,Oslo\n")
    made.command(
        "register", "score.py:predict", "score", "--example", str(made.outside / "asked.csv"), "--subject", "customer"
    )


def asked_over_http(world: World) -> None:
    """Ask once, and once so that the model fails, over HTTP."""
    command = [sys.executable, "-m", "retrodict", "serve", "score", "--port", "0", "--json"]
    log = world.logs / "server.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, cwd=world.project, env=world.variables, stdout=subprocess.PIPE, stderr=errors
        ) as server,
    ):
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            for city in (CITY, "Nowhere"):
                columns = (("customer", "BYTES", PERSON), ("age", "INT64", AGE), ("city", "BYTES", city))
                inputs = [{"name": n, "datatype": kind, "shape": [1], "data": [v]} for n, kind, v in columns]
                request = urllib.request.Request(
                    f"{url}/v2/models/score/infer", json.dumps({"inputs": inputs}).encode(), {"X-Caller": "shop"}
                )
                with contextlib.ExitStack() as stack:
                    refused = stack.enter_context(pytest.raises(urllib.error.HTTPError)) if city != CITY else None
                    assert CITY.upper().encode() in urllib.request.urlopen(request).read()
                assert refused is None or str(AGE).encode() not in refused.value.read()
        finally:
            server.terminate()
            server.communicate()
    assert b"failed" in log.read_bytes()  # it says that a request was refused; `planted` looks what else


def test_planted_values_are_nowhere_in_the_clear_before_and_after_forgetting(world: World) -> None:
    register_score(world)
    asked = (world.outside / "asked.csv").read_bytes()
    first = json.loads(world.command("predict", "score", "--input", str(world.outside / "asked.csv"), "--json").stdout)
    world.command("predict", "score", "--input", "-", given=asked)
    shared = json.loads(world.command("predict", "score", "--input", str(world.outside / "both.csv"), "--json").stdout)
    failed = world.command("predict", "score", "--input", "-", given=asked.replace(CITY.encode(), b"Nowhere"), expect=2)
    assert [needle for needle in NEEDLES if needle in failed.stderr] == []
    refused = world.command("predict", "score", "--input", "-", given=asked.replace(b"918", b"x918"), expect=2)
    assert [needle for needle in NEEDLES if needle in refused.stderr] == []
    asked_over_http(world)
    reference = first["reference"]
    world.command("dispute", reference, "--reason", COMPLAINT)
    page = world.outside / "page.html"
    told = world.command("explain", reference, "--replay", "--html", str(page))
    assert CITY.encode() in told.stdout
    world.command("explain", reference, "--versus", f"{shared['index']}.1", "--replay")
    world.command("replay", str(shared["index"]))
    for words in (["show", reference], ["predictions"], ["predictions", "--unseal"], ["disputes"], ["log"], ["status"]):
        world.command(*words)
    world.command("lineage", "score")
    assert CITY.encode() in world.command("predictions", "--subject", PERSON).stdout
    world.command("verify")
    assert world.planted() == []
    assert any(b"no such place" in data for where, data in world.left() if where.startswith("object"))  # it does look
    ring = (world.project / ".retrodict" / "keys.db").read_bytes()
    world.command("export", "--subject", PERSON, "--out", str(world.outside / "export.json"))
    assert CITY in (world.outside / "export.json").read_text()
    world.command("forget", "--subject", PERSON, expect=1)
    world.command("forget", "--subject", PERSON, "--yes")
    assert world.planted() == []
    world.command("verify")
    assert (world.project / ".retrodict" / "keys.db").read_bytes() != ring
    told = world.command("explain", reference, "--replay", expect=2)
    assert b"erased by entry" in told.stdout
    assert [needle for needle in NEEDLES if needle in told.stdout] == []
    everything = world.command("predictions", "--unseal").stdout + world.command("disputes").stdout
    assert [needle for needle in NEEDLES if needle in everything] == []
    assert b"Oslo" in everything
    assert b"nobody" in world.command("forget", "--subject", PERSON, "--yes", expect=2).stderr


COUNT = """
import glob
rows = open("people.csv").read().splitlines()
folder = open(glob.glob("people/*/visit.csv")[0]).read()
open("made.txt", "w").write(rows[1].upper() + folder)
open("people.csv", "a").write("bob,40,Oslo\\n")
print(rows[1])
"""


def test_planted_values_in_files_are_nowhere_in_the_clear_before_and_after_forgetting(world: World) -> None:
    row = f"customer,age,city\n{PERSON},{AGE},{CITY}\n"
    (world.project / "people" / PERSON).mkdir(parents=True)
    (world.project / "people" / PERSON / "visit.csv").write_text(row)
    (world.project / "people" / "both.csv").write_text(row + "eve,41,Oslo\n")
    (world.project / "people.csv").write_text(row)
    (world.project / "large.csv").write_text(row + "bob,40,Oslo\n" * 100_000)  # sealed by way of a file
    (world.project / "count.py").write_text(COUNT)
    world.command("add", "people.csv", "large.csv", "--personal", "--reason", "for the count")
    world.command("add", "people", "--subject", "customer", "--personal", "age")
    world.command("run", "--", sys.executable, "count.py")
    for words in (["runs"], ["lineage", "dataset:people.csv", "--down"], ["status"], ["log"], ["verify"]):
        done = world.command(*words)
        assert [needle for needle in NEEDLES if needle in done.stdout + done.stderr] == []
    world.command("add", "people.csv", "made.txt")
    world.command("add", "large.csv", "--subject", "customer")
    torn = world.outside / "torn.csv"
    torn.write_text(row + f"{PERSON},{AGE}\n")
    refused = world.command("add", str(torn), "--subject", "customer", expect=2)
    assert [needle for needle in NEEDLES if needle in refused.stderr] == []
    world.command("checkout", "dataset:people.csv@v1", str(world.outside / "people.csv"))
    assert CITY in (world.outside / "people.csv").read_text()
    world.command("backup", "to", str(world.backup))
    world.command("remote", "add", "other", str(world.remote))
    world.command("push", "other")
    assert world.planted() == []
    out = world.outside / "export.json"
    world.command("export", "--subject", PERSON, "--out", str(out))
    assert [item["row"].get("city") for item in json.loads(out.read_text())["files"]] == [CITY, None]
    told = world.command("forget", "--subject", PERSON, "--yes", "--reason", "asked", expect=1)
    assert b"dataset:large.csv@v2" in told.stdout
    assert world.planted() == []
    for words in (["people.csv", "--derived"], ["large.csv"], ["people", "--file", "both.csv"]):
        world.command("forget", f"dataset:{words[0]}", *words[1:], "--all-versions", "--reason", "order", "--yes")
    assert b"nobody" in world.command("export", "--subject", PERSON, "--out", "none.json", expect=2).stderr
    world.command("checkout", "dataset:people", str(world.outside / "people"), expect=None)
    assert not [path for path in (world.outside / "people").rglob("*") if path.is_file()]
    for name in ("people.csv@v1", "people.csv@v2", "large.csv", "made.txt"):
        world.command("checkout", f"dataset:{name}", str(world.outside / name), expect=None)
        assert name == "people.csv@v1" or not (world.outside / name).exists()
    kept_again = world.command("add", "large.csv", "--not-personal", "--reason", "so be it", expect=2)
    assert b"very bytes that were forgotten" in kept_again.stderr
    for words in (["show", "dataset:people"], ["log"], ["explain", "dataset:made.txt"], ["status"]):
        done = world.command(*words, expect=None)
        assert [needle for needle in NEEDLES if needle in done.stdout + done.stderr] == []
    world.command("backup", "to", str(world.backup))
    world.command("verify")
    assert world.planted() == []
