"""A recorded environment is built again with what can be had, and what cannot is named."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from retrodict.environments import Built, EnvironmentUnavailableError, build, find_uv
from retrodict.environments.build import requirements

PYTHON = platform.python_version()


def wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        # Not followed: the record names everything that was there.
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: nothing\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Wheels on the disk in place of an index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, version in [("alpha", "1.0"), ("alpha", "2.0"), ("beta", "1.5"), ("gamma", "0.1"), ("extra", "3.0")]:
        wheel(folder, name, version)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    return folder


def recorded(*distributions: Any, python: str = PYTHON) -> dict[str, Any]:
    return {"python": python, "implementation": "CPython", "distributions": list(distributions)}


def pin(name: str, version: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": version, "editable": False, "direct_url": None, **more}


def installed(built: Built) -> dict[str, str]:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    ended = subprocess.run([str(built.python), "-I", "-c", code], capture_output=True, check=True)
    found: dict[str, str] = json.loads(ended.stdout)
    return found


def test_the_recorded_versions_are_installed_and_nothing_else(tmp_path: Path, wheels: Path) -> None:
    seen: list[tuple[int, int | None, str]] = []
    built = build(
        recorded(pin("alpha", "1.0"), pin("Beta", "1.5"), pin("retrodict", "9.9")),
        tmp_path / "cache",
        uv=find_uv(),
        needs=(),
        progress=lambda *told: seen.append(told),
    )
    assert installed(built) == {"alpha": "1.0", "beta": "1.5"}
    assert built.missing == ()
    assert seen[-1] == (2, 2, "distributions")


def test_what_a_worker_needs_is_added_where_the_record_has_none(tmp_path: Path, wheels: Path) -> None:
    built = build(recorded(pin("alpha", "1.0")), tmp_path / "cache", uv=find_uv(), needs=("alpha", "extra"))
    assert installed(built) == {"alpha": "1.0", "extra": "3.0"}


def test_what_cannot_be_had_is_named_and_the_rest_is_built(tmp_path: Path, wheels: Path) -> None:
    record = recorded(
        pin("alpha", "1.0"),
        pin("beta", "9.9"),
        pin("gamma", "0.1"),
        pin("mine", "1", editable=True, direct_url={"url": "file:///home/me/mine"}),
        pin("local", "2", direct_url={"url": "file:///tmp/local.whl"}),
        pin("nowhere", "1.0"),
        python="3.11.999",
    )
    built = build(record, tmp_path / "cache", uv=find_uv(), needs=())
    assert installed(built) == {"alpha": "1.0", "gamma": "0.1"}
    python, local, mine, *rest = built.missing
    assert python.startswith("Python 3.11.999 (3.11.")
    assert (local, mine) == (
        "local==2 (was installed from file:///tmp/local.whl)",
        "mine==1 (was installed from file:///home/me/mine)",
    )
    assert rest == ["beta==9.9", "nowhere==1.0"]


def test_an_environment_is_built_once_for_one_record(tmp_path: Path, wheels: Path) -> None:
    record = recorded(pin("alpha", "1.0"), pin("beta", "9.9"))
    first = build(record, tmp_path / "cache", uv=find_uv(), needs=())
    again = build(record | {"kernel": "other"}, tmp_path / "cache", uv="/no/uv/is/asked", needs=())
    assert again == first
    other = build(recorded(pin("alpha", "2.0")), tmp_path / "cache", uv=find_uv(), needs=())
    assert other.python != first.python
    assert installed(other) == {"alpha": "2.0"}


def test_a_build_that_was_cut_off_is_never_used(tmp_path: Path, wheels: Path) -> None:
    record = recorded(pin("alpha", "1.0"))
    first = build(record, tmp_path / "cache", uv=find_uv(), needs=())
    folder = first.python.parents[1]
    for path in (tmp_path / "cache").iterdir():
        assert path == folder
    (folder / "retrodict-environment.json").unlink()
    with pytest.raises(EnvironmentUnavailableError):
        build(record, tmp_path / "cache", uv="/no/uv", needs=())
    assert installed(build(record, tmp_path / "cache", uv=find_uv(), needs=())) == {"alpha": "1.0"}


def test_without_uv_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnavailableError, match="/no/uv does not start"):
        build(recorded(pin("alpha", "1.0")), tmp_path / "cache", uv="/no/uv")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_an_index_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        with pytest.raises(EnvironmentUnavailableError, match="no package index can be reached"):
            build(recorded(pin("alpha", "1.0"), pin("beta", "1.0")), tmp_path / "cache", uv=find_uv(), needs=())
    assert list((tmp_path / "cache").iterdir()) == []


def test_origins_become_requirements() -> None:
    commit = {"url": "https://example.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "f00"}}
    archive = {"url": "https://example.org/a-1.0.tar.gz", "archive_info": {"hash": "sha256=00"}}
    wanted, absent = requirements(recorded(pin("r", "1", direct_url=commit), pin("a", "1.0", direct_url=archive)))
    assert wanted == ["a @ https://example.org/a-1.0.tar.gz", "r @ git+https://example.org/r.git@f00"]
    assert absent == []


def test_a_small_environment_is_built_from_the_package_index(tmp_path: Path) -> None:
    record = recorded(pin("six", "1.16.0"), pin("packaging", "24.0"), pin("idna", "3.6"))
    try:
        built = build(record, tmp_path / "cache", uv=find_uv(), needs=())
    except EnvironmentUnavailableError as error:
        if os.getenv("CI") or "no package index" not in str(error):
            raise
        pytest.skip(f"no package index can be reached: {error}")
    assert built.missing == ()
    assert installed(built) == {"six": "1.16.0", "packaging": "24.0", "idna": "3.6"}
    assert (
        subprocess.run(
            [str(built.python), "-I", "-c", "import six; print(six.__version__)"], capture_output=True, check=True
        ).stdout
        == b"1.16.0\n"
    )
