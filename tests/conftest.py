"""In CI nothing is skipped: a test that would be says what is missing, and fails. And the demonstration, run once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pytest

from retrodict.capture import CaptureUnavailableError, supervise

WIDTH = 100
_BROWSER_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
pa.compute.scalar(0)  # loads numpy and pandas, before a command that does without them is the first to load pyarrow


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest tests begin first, lest one of them ends alone."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def no_git_above(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let git look no further than the tests' folders: they may lie in a clone."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path_factory.getbasetemp().resolve()))
        yield


def variables(folder: Path) -> dict[str, str]:
    """Return the environment of a person who has just installed retrodict, and whose keys lie in `folder`."""
    kept = {name: os.environ[name] for name in ("LANG", "TERM", "TMPDIR", "CI") if name in os.environ}
    return {
        **kept,
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "RETRODICT_STATE": str(folder / "state"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "COLUMNS": str(WIDTH),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """What `retrodict demo credit` did.

    Attributes:
        folder: Its workspace.
        told: What it printed.
        disputed, versus: The two predictions of its story.
    """

    folder: Path
    told: str
    environment: dict[str, str]
    disputed: str
    versus: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a retrodict command in its workspace."""
        return self.shell(["retrodict", *arguments])

    def shell(self, command: str | Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command (a text: a shell's) in its workspace."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            shell=isinstance(command, str),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Demonstration:
    """Run `retrodict demo credit`, once for all worker processes."""
    for module in ("httpx", "shap", "sklearn", "pandas"):
        pytest.importorskip(module)
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    base = base / "demonstration"
    base.mkdir(exist_ok=True)
    told, folder, environment = base / "told.txt", base / "credit", variables(base)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of another worker, whose demonstration failed
            (base / "credit-altered").mkdir(exist_ok=True)
            (base / "credit-altered" / "precious").touch()  # somebody's, and none of the demonstration's business
            done = subprocess.run(
                ["retrodict", "demo", "credit", "--dir", str(folder)],
                cwd=base,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=280,
            )
            assert done.returncode == 0, done.stdout
            told.write_text(done.stdout)
    text = told.read_text()
    disputed, _, versus = next(line for line in text.splitlines() if " versus " in line).split()[:3]
    return Demonstration(folder=folder, told=text, environment=environment, disputed=disputed, versus=versus)


@pytest.fixture
def newcomer(tmp_path: Path) -> dict[str, str]:
    """The environment of a person who has just installed retrodict."""
    return variables(tmp_path)


@pytest.fixture(scope="session")
def ssh_keygen() -> None:
    """Needs OpenSSH's ssh-keygen."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")


@pytest.fixture(scope="session")
def seccomp() -> None:
    """Needs seccomp user notification: in CI its absence is a failure, elsewhere the test is skipped by name."""
    try:
        supervise(["true"], cwd=Path("/"), environment={"PATH": os.defpath}, mode="seccomp")
    except CaptureUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(f"seccomp user notification must work in CI: {error}")
        pytest.skip(f"seccomp user notification is not available here: {error}")


@pytest.fixture(scope="module")  # two at once cannot be in one process
def chromium() -> Iterator[Any]:
    """A browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=list(_BROWSER_FLAGS))
        yield browser
        browser.close()
