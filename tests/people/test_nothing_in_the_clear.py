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

    def __init__(self, folder: Path) -> None:
        self.project, self.outside = folder / "project", folder / "outside"
        self.kept = [self.project / ".retrodict", folder / "state", folder / "cache", folder / "tmp"]
        for path in (self.project, self.outside, *self.kept[1:]):
            path.mkdir()
        self.variables = {
            **os.environ,
            "RETRODICT_STATE": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "TMPDIR": str(folder / "tmp"),
            "RETRODICT_AGENT": "Ada",
        }

    def command(self, *words: str, given: bytes = b"", expect: int | None = 0) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "retrodict", *words]
        done = subprocess.run(
            command, cwd=self.project, env=self.variables, input=given, capture_output=True, check=False
        )
        assert expect is None or done.returncode == expect, done.stderr.decode()
        return done

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Yield every byte that is kept: files as they lie, and every object as it is when it is read."""
        for folder in self.kept:
            for path in folder.rglob("*"):
                if path.is_file():
                    yield str(path), path.read_bytes()
                yield f"name {path}", os.fsencode(path.name)
        with open_workspace(self.project, self.kept[1], SystemClock()) as workspace:
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
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.command("init")
    (made.project / "score.py").write_text(SCORE)
    row = f"customer,age,city\n{PERSON},{AGE},{CITY}\n"
    (made.outside / "asked.csv").write_text(row)
    (made.outside / "both.csv").write_text(row + "bob,40,Oslo\n")
    made.command(
        "register", "score.py:predict", "score", "--example", str(made.outside / "asked.csv"), "--subject", "customer"
    )
    (made.project / "people.csv").write_text(row)
    (made.project / "count.py").write_text(
        "rows = open('people.csv').read().splitlines()\n"
        "open('made.txt', 'w').write(rows[1].upper())\n"
        "open('people.csv', 'a').write('bob,40,Oslo\\n')\n"
        "print(rows[1])\n"
    )
    return made


def asked_over_http(world: World) -> None:
    """Ask once, and once so that the model fails, over HTTP."""
    command = [sys.executable, "-m", "retrodict", "serve", "score", "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=world.project, env=world.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
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
            _, errors = server.communicate()
    assert [needle for needle in NEEDLES if needle in errors] == []


def test_planted_values_are_nowhere_in_the_clear_before_and_after_forgetting(world: World) -> None:
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
    world.command("add", "people.csv", "--personal", "--reason", "for the count")
    world.command("run", "--", sys.executable, "count.py")
    for words in (["runs"], ["show", "dataset:people.csv"], ["lineage", "dataset:people.csv", "--down"], ["status"]):
        world.command(*words)
    world.command("add", "people.csv", "made.txt")
    world.command("checkout", "dataset:people.csv@v1", str(world.outside / "people.csv"))
    assert CITY in (world.outside / "people.csv").read_text()
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
