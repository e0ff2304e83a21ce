"""A versioned bucket (moto's server) is pinned with its history; bytes come when they are asked for, or not at all."""

from __future__ import annotations

import json
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.backups.conftest import S3, s3, s3_server
from tests.cli.conftest import Command, project, retrodict

from retrodict.kernel.types import Digest
from retrodict.objects import digest_of

__all__ = ["project", "retrodict", "s3", "s3_server"]  # fixtures

MAY, JUNE = b"id,amount\n1,100\n2,250\n", b"id,amount\n1,100\n2,251\n3,7\n"
LARGE = bytes(range(256)) * 5000


class Source:
    """A bucket, and what somebody does to it."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name, self.url = client, name, f"s3://{name}"

    def put(self, key: str, data: bytes) -> str:
        return str(self.client.put_object(Bucket=self.name, Key=key, Body=data).get("VersionId"))

    def remove(self, key: str, version: str | None = None) -> None:
        self.client.delete_object(Bucket=self.name, Key=key, **({"VersionId": version} if version else {}))

    def versioning(self, state: str) -> None:
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": state})


def make(port: int, name: str) -> Source:
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="tester",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket=name)
    found = Source(client, name)
    found.versioning("Enabled")
    return found


def pause() -> None:
    """Let a second begin: S3 tells times no finer."""
    time.sleep(1.01 - time.time() % 1)


@pytest.fixture(scope="session")
def deliveries(s3_server: S3) -> tuple[Source, dict[str, str]]:
    """A bucket that nobody changes any more, with five changes behind it."""
    source, ids = make(s3_server.port, "deliveries"), {}
    ids["may"] = source.put("in/2026/may.csv", MAY)
    pause()
    source.put("in/large.bin", LARGE)
    source.put("elsewhere.txt", b"no")
    pause()
    source.put("in/notes.txt", b"old")
    pause()
    ids["june"] = source.put("in/2026/may.csv", JUNE)
    pause()
    source.remove("in/notes.txt")
    return source, ids


@pytest.fixture
def source(s3: S3, retrodict: Command, request: pytest.FixtureRequest) -> Source:
    """A bucket of one's own, and a workspace."""
    assert retrodict("init").code == 0
    return make(s3.port, f"b{zlib.crc32(request.node.name.encode())}")


@pytest.fixture
def raw(deliveries: tuple[Source, dict[str, str]], s3: S3, retrodict: Command) -> Source:
    """The deliveries, attached."""
    assert retrodict("init").code == 0
    assert retrodict("attach", f"{deliveries[0].url}/in", "--versioned", "--as", "raw").code == 0
    return deliveries[0]


def names(outcome: Any) -> dict[str, Any]:
    return {row["name"]: row for row in outcome.record["rows"]}


def test_a_bucket_is_pinned_with_its_history_and_nothing_is_copied(
    deliveries: tuple[Source, dict[str, str]], retrodict: Command, project: Path, s3: S3
) -> None:
    assert retrodict("init").code == 0
    source, ids = deliveries
    done = retrodict(
        "attach", f"{source.url}/in", "--versioned", "--as", "raw", "--reason", "their deliveries", "--json"
    )
    assert done.code == 0, done.err
    rows = done.record["versions"]
    assert [(r["files"], r["added"], r["removed"], r["changed"]) for r in rows] == [
        (1, 1, 0, 0),
        (2, 1, 0, 0),
        (3, 1, 0, 0),
        (3, 0, 0, 1),
        (2, 0, 1, 0),
    ]
    assert [r["how"] for r in rows] == ["history"] * 4 + ["listed"]
    assert [r["as_of"] for r in rows] == sorted(r["as_of"] for r in rows)
    listed = names(retrodict("ls", "raw", "-R", "--json"))
    assert set(listed) == {"2026/may.csv", "large.bin"}
    assert (listed["2026/may.csv"]["where"], listed["2026/may.csv"]["version_id"]) == ("elsewhere", ids["june"])
    assert set(names(retrodict("ls", "raw@v3", "--json"))) == {"2026", "large.bin", "notes.txt"}
    diff = retrodict("diff", "raw@v3", "raw", "--json").record["files"]
    assert [(f["path"], f["change"]) for f in diff] == [("2026/may.csv", "changed"), ("notes.txt", "removed")]
    assert "elsewhere" in diff[0]["note"]
    history = retrodict("history", "raw", "--json").record["versions"]
    assert next((v["version"], v["held"], v["source"]) for v in history) == (5, 0, f"{source.url}/in")
    assert "elsewhere" in retrodict("show", "raw@v5").out
    assert not list((project / ".retrodict" / "raw").glob("*"))  # where large objects would be
    assert retrodict("verify").code == 0
    again = retrodict("attach", "raw", "--json")
    assert (again.code, again.record["versions"]) == (0, [])


def test_bytes_come_when_they_are_asked_for_once_and_are_recorded(
    raw: Source, retrodict: Command, project: Path, s3: S3
) -> None:
    assert retrodict("cat", "raw@v1/2026/may.csv").out == MAY.decode()
    entry = retrodict("log", "--json").record
    assert json.dumps(entry).count("bucket.fetched") == 1
    s3.fault, s3.matching, s3.faults = "503", b"GET", 10_000  # the bucket is out of reach
    assert retrodict("cat", "raw@v3/2026/may.csv").out == MAY.decode()  # the same VersionId
    unreachable = retrodict("cat", "raw/2026/may.csv")
    assert (unreachable.code, raw.name in unreachable.err) == (2, True)
    s3.faults = 0
    done = retrodict("checkout", "raw", "data/raw", "--json")
    assert done.code == 0, done.err
    assert (project / "data/raw/large.bin").read_bytes() == LARGE
    assert (project / "data/raw/2026/may.csv").read_bytes() == JUNE
    assert done.record["size_bytes"] == len(LARGE) + len(JUNE)
    rows = names(retrodict("ls", "raw", "-R", "--json"))
    assert {r["where"] for r in rows.values()} == {"held"}
    assert Digest(rows["large.bin"]["content"]) == digest_of(LARGE)
    assert retrodict("fetch", "--only", "raw@v3", "--json").record["objects"] == 1  # notes.txt alone
    (inner,) = retrodict("diff", "raw@v1/2026/may.csv", "raw/2026/may.csv", "--json").record["files"]
    assert (inner["table"]["rows_added"], inner["table"]["rows_changed"]) == (1, 1)
    assert retrodict("verify").code == 0


def test_an_answer_leads_back_to_the_version_id(
    raw: Source, deliveries: tuple[Source, dict[str, str]], retrodict: Command, project: Path
) -> None:
    assert retrodict("checkout", "raw/2026/may.csv", "may.csv").code == 0
    (project / "train.py").write_text(
        "n = len(open('may.csv').readlines())\n"
        "open('model.py', 'w').write(f'def predict(rows): return [{n}] * len(rows)')\n"
    )
    assert retrodict("run", "--", sys.executable, "train.py").code == 0
    assert retrodict("register", "model.py", "amounts").code == 0
    (project / "question.csv").write_text("x\n1\n")
    answer = retrodict("predict", "amounts", "--input", "question.csv", "--json")
    assert answer.code == 0, answer.err
    entry = answer.record["index"]
    told = retrodict("explain", str(entry), "--json").out
    assert "pins the state of" in told
    assert f"{raw.url}/in by VersionId" in told
    assert "of its 2 objects 1 are held here; the others are elsewhere, pinned by VersionId" in told
    assert "corrected since" not in told  # the newest version of the bucket has the same object
    up = retrodict("lineage", str(entry), "--up").out
    assert "bucket.fetched (dataset:raw@v5: 1 object)" in up, up
    shown = retrodict("show", "raw@v5").out
    assert deliveries[1]["june"] in shown


def test_a_clone_reads_what_was_fetched_and_is_told_why_it_cannot_ask_the_bucket(
    raw: Source, retrodict: Command, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retrodict("fetch", "--only", "raw@v1", "--json").record["objects"] == 1
    assert retrodict("remote", "add", "origin", tmp_path / "hub").code == 0
    assert retrodict("push").code == 0
    monkeypatch.setenv("RETRODICT_STATE", str(tmp_path / "other-keys"))
    assert retrodict("clone", tmp_path / "hub", tmp_path / "clone").code == 0
    there = ("-C", tmp_path / "clone")
    assert len(names(retrodict(*there, "ls", "raw@v3", "--json"))) == 3
    assert retrodict(*there, "cat", "raw@v1/2026/may.csv").out == MAY.decode()
    asked = retrodict(*there, "cat", "raw/2026/may.csv")
    assert (asked.code, "sealed" in asked.err, "keys share" in asked.err) == (2, True, True)
    assert retrodict(*there, "verify").code in (0, 2)  # 2: whose key it is, nobody has told


def test_again_sees_what_has_changed_and_what_is_gone(source: Source, retrodict: Command) -> None:
    may = source.put("in/may.csv", MAY)
    pause()
    source.put("in/may.csv", JUNE)
    assert retrodict("attach", f"{source.url}/in", "--versioned", "--as", "raw").code == 0
    assert retrodict("status", "--buckets", "--json").record["buckets"][0]["changed"] == 0
    pause()
    source.put("in/june.csv", b"new")
    pause()
    source.put("in/may.csv", JUNE)  # the same bytes anew
    (asked,) = retrodict("status", "--buckets", "--json").record["buckets"]
    assert (asked["added"], asked["removed"], asked["changed"]) == (1, 0, 0)
    again = retrodict("attach", "raw", "--json").record["versions"]
    assert [(r["version"], r["added"], r["changed"]) for r in again] == [(3, 1, 0), (4, 0, 0)]
    source.remove("in/may.csv", may)  # for good
    gone = retrodict("attach", f"{source.url}/in", "--versioned", "--as", "raw", "--json")
    assert gone.code == 1
    assert gone.record["gone"] == ["dataset:raw@v1/may.csv"]
    lost = retrodict("cat", "raw@v1/may.csv")
    assert (lost.code, may in lost.err) == (2, True)
    assert "no longer has" in lost.err


def test_other_bytes_under_a_pin_are_refused(source: Source, retrodict: Command, project: Path) -> None:
    source.versioning("Suspended")
    source.put("f", b"before")  # has the VersionId `null`, as what lay there before versioning was switched on
    source.versioning("Enabled")
    assert retrodict("attach", source.url, "--versioned", "--as", "raw").code == 0
    source.versioning("Suspended")
    source.put("f", b"behind")  # takes its place
    refused = retrodict("cat", "raw@v1/f")
    assert (refused.code, "other bytes than were pinned" in refused.err) == (2, True)
    again = retrodict("attach", "raw")
    assert (again.code, "suspended" in again.err) == (2, True)
    assert retrodict("ls", "raw", "--json").record["rows"][0]["where"] == "elsewhere"


def test_what_cannot_be_attached_is_refused_with_what_to_do(source: Source, retrodict: Command, project: Path) -> None:
    source.client.create_bucket(Bucket=f"{source.name}-plain")
    plain = retrodict("attach", f"{source.url}-plain", "--versioned")
    assert (plain.code, "put-bucket-versioning" in plain.err) == (2, True)
    assert "nothing" in retrodict("attach", source.url, "--versioned").err
    assert retrodict("attach", source.url).code == 2
    assert "specified bucket" in retrodict("attach", "s3://no-such-bucket-here", "--versioned").err
    assert "no attached bucket" in retrodict("attach", "raw").err
    source.put("../up", b"x")
    source.put("a", b"x")
    source.put("a/b", b"y")
    source.put("folder/", b"")
    assert retrodict("attach", source.url, "--versioned", "--as", "raw", "--no-history").code == 0
    refused = retrodict("checkout", "raw", "out")
    assert (refused.code, "cannot be a path" in refused.err) == (2, True)
    assert not (project / "out").exists()
    assert retrodict("cat", "raw/a/b").out == "y"
    assert "another name" in retrodict("attach", f"{source.url}/a", "--versioned", "--as", "raw").err
    (project / "raw").write_text("x")
    assert "attached bucket" in retrodict("add", "raw").err
    assert "recipe" in retrodict("derive", "made", "--from", "raw", "--", "true").err
