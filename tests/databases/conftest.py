"""A PostgreSQL server of the tests' own: of Debian, or of wherever `pg_config` points."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.cli.conftest import project, retrodict  # noqa: F401 - fixtures


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    there = str(found[-1]) if found else shutil.which("initdb")
    return None if there is None else Path(there).parent


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Start a server; yield the folder of its socket."""
    programs = _programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("no PostgreSQL: apt-get install postgresql")
        pytest.skip("no PostgreSQL here")
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to be started by root
    folder = Path(tempfile.mkdtemp(prefix="retrodict-postgres-"))
    try:
        if as_owner:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        initdb = [str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*as_owner, *initdb], check=True, capture_output=True, cwd=folder)
        options = f"-c listen_addresses='' -k {folder} -c fsync=off -c max_connections=40"
        control = [*as_owner, str(programs / "pg_ctl"), "-D", data]
        start = [*control, "-w", "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        try:
            yield str(folder)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(server: str) -> Callable[[], str]:
    """Return what makes a database, and gives its address."""

    def new() -> str:
        name = f"d{uuid.uuid4().hex[:12]}"
        with psycopg.connect(f"host={server} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={server}"

    return new


@pytest.fixture
def url(new_database: Callable[[], str]) -> str:
    """Return the address of a new database."""
    return new_database()
