"""`import-url` and `get`: the origin is on record, asked again, and nothing that nobody holds is overwritten."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.origins.serving import Origin, serving

pytest.importorskip("httpx")
pytest.importorskip("tenacity")


@pytest.fixture
def origin(project: Path, retrodict: Command) -> Iterator[Origin]:
    assert retrodict("init").code == 0
    with serving() as found:
        yield found


def test_again_asks_and_takes_only_what_has_changed(origin: Origin, project: Path, retrodict: Command) -> None:
    words = ("import-url", f"{origin.url}/rates.csv", "rates.csv", "--json")
    first = retrodict(*words)
    assert first.code == 0, first.err
    assert (first.record["reference"], first.record["etag"]) == ("dataset:rates.csv@v1", '"one"')
    assert (project / "rates.csv").read_bytes() == origin.data
    again = retrodict(*words).record
    assert (again["is_asked"], again["is_new"], again["version"]) == (True, False, 1)
    assert origin.asked[-1]["if-none-match"] == '"one"'
    (project / "rates.csv").unlink()
    assert retrodict(*words).record["is_new"] is False
    assert (project / "rates.csv").read_bytes() == origin.data  # put back out of the store
    origin.data, origin.etag = b"a,b\n1,3\n", '"two"'
    assert retrodict(*words).record["version"] == 2
    origin.etag = '"three"'  # a new tag, and the same bytes
    third = retrodict(*words).record
    assert (third["is_new"], third["is_asked"], third["version"]) == (False, False, 2)
    history = retrodict("history", "rates.csv", "--json").record["versions"]
    assert [version["origin"] for version in history] == [f"{origin.url}/rates.csv"] * 2
    lineage = retrodict("lineage", "dataset:rates.csv@v1", "--up").out
    assert "origin.fetched" in lineage or origin.url in lineage


def test_what_authenticates_is_not_printed_and_not_in_the_clear(
    origin: Origin, project: Path, retrodict: Command
) -> None:
    url = origin.url.replace("http://", "http://ann:secret@") + "/a.csv?token=hidden"
    done = retrodict("import-url", url)
    assert done.code == 0, done.err
    assert "secret" not in done.out
    assert "hidden" not in done.out
    assert origin.asked[0]["authorization"].startswith("Basic ")
    for path in (project / ".retrodict").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"secret" not in data, path
            assert b"hidden" not in data, path


def test_bytes_in_the_way_are_not_lost(origin: Origin, project: Path, retrodict: Command) -> None:
    (project / "rates.csv").write_text("mine\n")
    done = retrodict("import-url", f"{origin.url}/rates.csv")
    assert (done.code, "would be lost" in done.err) == (2, True)
    assert origin.asked == []
    assert retrodict("import-url", f"{origin.url}/rates.csv", "../outside.csv").code == 2
    assert retrodict("import-url", f"{origin.url}/rates.csv", ".retrodict/x").code == 2


def test_get_records_where_a_file_came_from(origin: Origin, project: Path, retrodict: Command) -> None:
    done = retrodict("get", f"{origin.url}/codes.csv", "--json")
    assert (done.code, done.record["is_new"]) == (0, True)
    assert retrodict("get", f"{origin.url}/codes.csv", "--json").record["is_new"] is False
    assert "codes.csv" not in retrodict("ls").out
    assert f"{origin.url}/codes.csv" in retrodict("log").out
    shown = retrodict("show", str(done.record["index"]))
    assert '"one"' in shown.out
    assert retrodict("verify").code in (0, 2)


def test_a_bucket_is_an_origin_too(project: Path, retrodict: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto")
    pytest.importorskip("obstore")
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        bucket = boto3.client("s3")
        bucket.create_bucket(Bucket="rates")
        bucket.put_object(Bucket="rates", Key="deep/a.csv", Body=b"a\n1\n")
        assert retrodict("init").code == 0
        first = retrodict("import-url", "s3://rates/deep/a.csv", "--json")
        assert first.code == 0, first.err
        assert first.record["etag"]
        assert retrodict("import-url", "s3://rates/deep/a.csv", "--json").record["is_asked"] is True
        bucket.put_object(Bucket="rates", Key="deep/a.csv", Body=b"a\n2\n")
        assert retrodict("import-url", "s3://rates/deep/a.csv", "--json").record["version"] == 2
        assert (project / "a.csv").read_bytes() == b"a\n2\n"
        missing = retrodict("import-url", "s3://rates/nothing")
        assert (missing.code, "nothing of that name" in missing.err) == (2, True)
    finally:
        server.terminate()
        server.wait()
