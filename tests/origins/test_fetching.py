"""Fetching over a connection that breaks: no byte is wrong, and what authenticates is not told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.origins.serving import Origin, serving

from retrodict import origins
from retrodict.kernel.errors import UsageError

pytest.importorskip("httpx")
pytest.importorskip("tenacity")


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving() as found:
        yield found


def _fetch(url: str, part: Path, *, etag: str | None = None) -> origins.Answer | None:
    return origins.fetch(url, part, etag=etag, last_modified=None, sleep=lambda _: None)


def test_a_broken_transfer_goes_on_where_it_was(origin: Origin, tmp_path: Path) -> None:
    origin.data = bytes(range(256)) * 40_000
    origin.cut_after = [4_000_000, 3_000_000, 0]
    answer = _fetch(f"{origin.url}/a.bin", tmp_path / "part")
    assert answer is not None
    assert (tmp_path / "part").read_bytes() == origin.data
    assert sum(origin.sent) <= len(origin.data) * 1.3  # what was on its way when the connection broke comes again
    assert (answer.etag, answer.size_bytes) == ('"one"', len(origin.data))
    assert answer.last_modified == "Tue, 24 Nov 2026 10:00:00 GMT"


def test_the_next_command_goes_on_too_but_only_with_the_same_bytes(origin: Origin, tmp_path: Path) -> None:
    origin.data = b"x" * 5_000_000
    origin.cut_after = [4_000_000]
    origin.statuses = []
    part = tmp_path / "part"

    class StopError(Exception):
        pass

    def stop(_: float) -> None:
        raise StopError

    with pytest.raises(StopError):
        origins.fetch(f"{origin.url}/a", part, etag=None, last_modified=None, sleep=stop)
    assert part.stat().st_size > 0
    origin.data, origin.etag = b"y" * 6_000_000, '"two"'
    assert _fetch(f"{origin.url}/a", part) is not None
    assert part.read_bytes() == origin.data


def test_what_has_not_changed_is_not_sent(origin: Origin, tmp_path: Path) -> None:
    assert _fetch(f"{origin.url}/a", tmp_path / "part", etag='"one"') is None
    assert origin.sent == []


def test_a_busy_origin_is_asked_again_and_a_refusal_is_not(origin: Origin, tmp_path: Path) -> None:
    origin.statuses = [503, 429, 500]
    assert _fetch(f"{origin.url}/a", tmp_path / "part") is not None
    origin.statuses = [404]
    with pytest.raises(origins.OriginError, match="404"):
        _fetch(f"{origin.url}/b", tmp_path / "part")
    assert len(origin.asked) == 5
    origin.statuses = [503] * 50
    with pytest.raises(origins.OriginError, match="503"):
        _fetch(f"{origin.url}/c", tmp_path / "part")


def test_an_origin_without_a_tag_is_not_continued(origin: Origin, tmp_path: Path) -> None:
    origin.etag, origin.data, origin.cut_after = None, b"z" * 3_000_000, [2_000_000]
    assert _fetch(f"{origin.url}/a", tmp_path / "part") is not None
    assert (tmp_path / "part").read_bytes() == origin.data


def test_a_wrong_port_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(origins.OriginError) as failure:
        _fetch("http://ann:secret@127.0.0.1:9/a?token=t", tmp_path / "part")
    assert "secret" not in failure.value.message
    assert "token" not in failure.value.message


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "a.csv", ""])
def test_other_urls_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        _fetch(url, tmp_path / "part")


@pytest.mark.parametrize("path", ["", "/", "/..", "/a/%2e%2e", "/x%2Fy", "/a%00b", "/."])
def test_a_url_does_not_choose_a_path(path: str) -> None:
    with pytest.raises(UsageError):
        origins.file_name(f"https://example.org{path}")
