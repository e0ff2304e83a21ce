"""A recorded environment, built again by `uv`: the same distributions in a virtual environment of its own.

Distributions are installed by name and version without following dependencies: the record has all of them. What cannot
be had is named, and the rest is built; what lay on somebody's disk (editable and local installs) cannot be had.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from retrodict.environments.difference import by_name
from retrodict.environments.errors import EnvironmentUnavailableError
from retrodict.kernel.protocols import Progress

WORKER_NEEDS: Final = ("pyarrow", "pyyaml")  # what a replay's worker imports beside the model's own libraries
_MARKER: Final = "retrodict-environment.json"
_FORMAT: Final = 1
_TIMEOUT_S: Final = 900.0
_UNREACHABLE: Final = ("error sending request", "failed to fetch", "dns error", "client error", "connect error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An environment that is ready.

    Attributes:
        python: Its interpreter.
        missing: What the record has and the environment has not, each as a person would say it: "six==1.17.0", or
            "Python 3.11.4 (3.11.7 is used)".
    """

    python: Path
    missing: tuple[str, ...]


def find_uv() -> str:
    """Return the path of the `uv` that was installed with us.

    Raises:
        EnvironmentUnavailableError: There is none.
    """
    try:
        import uv  # only a locator of its program; not there where a distribution packages us without it

        return uv.find_uv_bin()
    except (ImportError, OSError) as error:
        raise EnvironmentUnavailableError("there is no uv to build environments with", hint="pip install uv") from error


def build(
    recorded: Mapping[str, Any],
    cache: Path,
    *,
    uv: str,
    progress: Progress | None = None,
    needs: Sequence[str] = WORKER_NEEDS,
) -> Built:
    """Build the environment that `recorded` describes, or find it built already.

    It appears in `cache` under the digest of what is wanted, all at once: a crash leaves a folder that nobody reads.

    Args:
        recorded: As `capture.snapshot_environment` has it.
        uv: The program, see `find_uv`.
        needs: Names of distributions to add, in any version, where the record has none of them.

    Raises:
        EnvironmentUnavailableError: uv does not start, no index can be reached, or no environment can be made.
    """
    known = by_name(recorded)
    wanted, absent = requirements(recorded)
    wanted += [name for name in needs if name not in known]
    version = str(recorded.get("python", ""))
    question = json.dumps([_FORMAT, version, recorded.get("implementation"), sorted(wanted), absent])
    folder = cache / hashlib.sha256(question.encode()).hexdigest()[:32]
    built = _built(folder)
    if built is not None:
        return built
    try:
        cache.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
    except OSError as error:
        raise EnvironmentUnavailableError(f"{cache} cannot be written: {error.strerror}") from error
    try:
        base, note = _interpreter(uv, version, cache)
        fresh = room / "environment"
        made = _run(uv, ["venv", "--quiet", "--no-project", "--relocatable", "--python", base, str(fresh)], cache)
        if made.returncode:
            raise EnvironmentUnavailableError(f"uv could not make an environment: {_reason(made)}")
        failed = _Installer(uv, fresh, room / "requirements.txt", progress, len(wanted)).install(wanted)
        missing = [*([note] if note else []), *absent, *failed]
        (fresh / _MARKER).write_text(json.dumps({"missing": missing}))
        if _built(folder) is None:  # else another process was faster
            if folder.exists():  # it lost its marker or its interpreter: not to be trusted
                folder.rename(room / "broken")
            fresh.rename(folder)
    except OSError as error:
        if _built(folder) is None:
            raise EnvironmentUnavailableError(f"{cache} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    built = _built(folder)
    assert built is not None
    return built


def requirements(recorded: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return what to install, as requirements, and what cannot be installed, as a person would say it.

    We ourselves are in neither: the worker of a replay brings us along.
    """
    wanted, absent = [], []
    for name, item in sorted(by_name(recorded).items()):
        if name == "retrodict":
            continue
        version, origin = item.get("version"), item.get("direct_url") or {}
        url = str(origin.get("url", ""))
        commit = (origin.get("vcs_info") or {}).get("commit_id")
        if item.get("editable") or url.startswith("file:"):
            absent.append(f"{name}=={version} (was installed from {url or 'a folder'})")
        elif commit:
            wanted.append(f"{name} @ {origin['vcs_info'].get('vcs', 'git')}+{url}@{commit}")
        else:
            wanted.append(f"{name} @ {url}" if url else f"{name}=={version}")
    return wanted, absent


def _built(folder: Path) -> Built | None:
    try:
        missing = json.loads((folder / _MARKER).read_text())["missing"]
    except (OSError, ValueError, KeyError):
        return None
    python = folder / "bin" / "python"
    return Built(python=python, missing=tuple(missing)) if python.exists() else None


def _interpreter(uv: str, version: str, cache: Path) -> tuple[str, str | None]:
    """Return the interpreter to build on, and what to say if it is not the recorded one."""
    if version == platform.python_version():
        return sys.executable, None
    found = _find(uv, version, cache) or _download(uv, version, cache)
    if found:
        return found, None
    minor = ".".join(version.split(".")[:2])
    found = _find(uv, minor, cache) or sys.executable
    asked = _run(found, ["-c", "import platform; print(platform.python_version())"], cache)
    return found, f"Python {version or 'of the record'} ({asked.stdout.strip()} is used)"


def _find(uv: str, version: str, cache: Path) -> str | None:
    if not version:
        return None
    found = _run(uv, ["python", "find", "--quiet", "--system", "--no-project", version], cache)
    return found.stdout.strip() or None if found.returncode == 0 else None


def _download(uv: str, version: str, cache: Path) -> str | None:
    """Have uv fetch an interpreter into the cache; None where it cannot."""
    folder = cache / "pythons"
    if (
        not version
        or _run(uv, ["python", "install", "--quiet", "--install-dir", str(folder), version], cache).returncode
    ):
        return None
    return next((str(path) for path in sorted(folder.glob(f"*-{version}-*/bin/python3"))), None)


def _run(program: str, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [program, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentUnavailableError(f"{Path(program).name} did not end within {_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise EnvironmentUnavailableError(f"{program} does not start: {error.strerror}") from error


def _reason(ended: subprocess.CompletedProcess[str]) -> str:
    return (ended.stderr.strip().splitlines() or ["it did not say why"])[-1].strip()


@dataclass(slots=True)
class _Installer:
    """Installs what can be had. What cannot makes uv refuse the whole lot, so a lot is halved until it stands alone."""

    uv: str
    environment: Path
    file: Path
    progress: Progress | None
    total: int
    done: int = 0
    offline: bool = False

    def install(self, wanted: Sequence[str]) -> list[str]:
        """Return those that cannot be had."""
        if not wanted:
            return []
        ended = self._try(wanted)
        if ended.returncode and not self.offline and any(sign in ended.stderr.lower() for sign in _UNREACHABLE):
            self.offline = True  # what uv keeps may do
            ended = self._try(wanted)
            if ended.returncode:
                raise EnvironmentUnavailableError(
                    f"no package index can be reached, and uv holds not all: {_reason(ended)}"
                )
        if ended.returncode and len(wanted) > 1:
            half = len(wanted) // 2
            return self.install(wanted[:half]) + self.install(wanted[half:])
        self.done += len(wanted)
        if self.progress is not None:
            self.progress(self.done, self.total, "distributions")
        return list(wanted) if ended.returncode else []

    def _try(self, wanted: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.file.write_text("".join(f"{requirement}\n" for requirement in wanted))
        command = ["pip", "install", "--quiet", "--no-deps", "--python", str(self.environment / "bin" / "python")]
        offline = ["--offline"] if self.offline else []
        return _run(self.uv, [*command, *offline, "--requirements", str(self.file)], self.environment)
