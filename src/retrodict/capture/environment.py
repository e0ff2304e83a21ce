"""The environment of a run: interpreter, machine, variables that change results, and every installed distribution.

The interpreter is asked by a small script that runs *in it*, so that another virtual environment's is told as truly as
our own. Only names, versions and digests: `environments` rebuilds from them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrodict.capture.errors import InterpreterError
from retrodict.capture.facts import Program
from retrodict.kernel.durable import write_file

_TIMEOUT_S = 60.0
# What decides which folders an interpreter searches, and which C library it loads.
_SEARCHING = ("HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "VIRTUAL_ENV")
_RACY_NS = 2 * 10**9  # a file changed this shortly ago may change again and keep its times
_TOLD = ("METADATA", "PKG-INFO", "RECORD", "INSTALLER", "direct_url.json")
# Variables that change the numbers or the order that a program computes; never one that may hold a secret.
_RELEVANT = (
    "OMP_NUM_THREADS", "OMP_DYNAMIC", "OMP_PROC_BIND", "OMP_SCHEDULE", "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE", "OPENBLAS_VERBOSE", "MKL_NUM_THREADS", "MKL_CBWR", "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES", "POLARS_MAX_THREADS", "ARROW_NUM_THREADS", "RAYON_NUM_THREADS", "PYTHONHASHSEED",
    "PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONWARNINGS", "TZ",
    "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "LC_COLLATE", "LC_TIME", "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG", "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS", "LD_LIBRARY_PATH", "LD_PRELOAD",
    "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV",
)  # fmt: skip
# Features by which BLAS libraries and NumPy choose their kernels.
_CPU_FLAGS = (
    "sse3", "ssse3", "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512cd", "avx512bw",
    "avx512dq", "avx512vl", "avx512ifma", "avx512vbmi", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
    "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip

_PROBE = r"""
import hashlib, json, os, platform, sys, sysconfig

def distribution(folder, name):
    where = os.path.join(folder, name)
    def read(file):
        try:
            with open(os.path.join(where, file), "rb") as opened:
                return opened.read()
        except OSError:
            return None
    head = (read("METADATA") or read("PKG-INFO") or b"").split(b"\n\n", 1)[0]
    fields = {}
    for line in head.splitlines():
        key, colon, value = line.partition(b": ")
        if colon and key in (b"Name", b"Version") and key not in fields:
            fields[key] = value.strip().decode("utf-8", "replace")
    if len(fields) < 2:
        return None
    record, direct = read("RECORD"), read("direct_url.json")
    try:
        origin = json.loads(direct) if direct else None
    except ValueError:
        origin = None
    if isinstance(origin, dict) and "@" in str(origin.get("url", "")).partition("://")[2].partition("/")[0]:
        scheme, _, rest = origin["url"].partition("://")
        origin["url"] = scheme + "://" + rest.partition("@")[2]
    return {
        "name": fields[b"Name"], "version": fields[b"Version"], "location": folder,
        "record_sha256": hashlib.sha256(record).hexdigest() if record is not None else None,
        "editable": bool(isinstance(origin, dict) and origin.get("dir_info", {}).get("editable")),
        "direct_url": origin, "installer": (read("INSTALLER") or b"").strip().decode("utf-8", "replace") or None,
    }

found, seen = [], set()
for folder in sys.path:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        continue
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            told = distribution(os.path.realpath(folder), name)
            if told and told["name"].lower().replace("_", "-") not in seen:
                seen.add(told["name"].lower().replace("_", "-"))
                found.append(told)
libc, libc_version = platform.libc_ver()
json.dump({
    "python": platform.python_version(), "implementation": platform.python_implementation(),
    "build": " ".join(platform.python_build()), "compiler": platform.python_compiler(),
    "executable": sys.executable, "prefix": sys.prefix, "base_prefix": sys.base_prefix,
    "tag": sysconfig.get_config_var("SOABI") or "", "platform": sysconfig.get_platform(),
    "machine": platform.machine(), "system": platform.system(), "kernel": platform.release(),
    "libc": (libc + " " + libc_version).strip(), "byteorder": sys.byteorder, "cpus": os.cpu_count(),
    "distributions": sorted(found, key=lambda d: (d["name"].lower(), d["version"])), "searched": sys.path,
}, sys.stdout)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFacts:
    """What could change a result without any file of the run changing.

    Attributes:
        facts: What the interpreter told; `docs/formats/capture.md` lists the fields. Strings, integers, booleans,
            null, lists and objects: no floats.
        variables: Those that change results, of the run's environment.
        cpu: {"model": ..., "flags": [...]}: by these, numeric libraries choose their kernels.
    """

    facts: Mapping[str, object]
    variables: Mapping[str, str]
    cpu: Mapping[str, object]

    def as_json(self) -> dict[str, object]:
        """Return all of it as one JSON object."""
        return {**self.facts, "variables": dict(self.variables), "cpu": dict(self.cpu)}


def interpreter(programs: Iterable[Program], environment: Mapping[str, str]) -> str | None:
    """Return the interpreter that a run used, the first of them, by the name that it was called by.

    A virtual environment's interpreter is a link: what it leads to has other libraries.
    """
    for program in programs:
        path = os.fsdecode(program.path)
        if os.path.basename(path).startswith(("python", "pypy")):
            called = os.fsdecode(program.argv[0]) if program.argv else path
            found = shutil.which(called, path=environment.get("PATH"))
            return found if found and os.path.realpath(found) == path else path
    return None


def snapshot_environment(
    python: str | None, *, variables: Mapping[str, str], remembered: Path | None = None
) -> EnvironmentFacts:
    """Ask an interpreter for its environment.

    Args:
        python: Path of the interpreter; None: the one that runs this.
        variables: The environment that the run was given.
        remembered: A folder for answers, outside every workspace; an interpreter is asked again when anything that it
            told of has changed. None: it is asked.

    Raises:
        InterpreterError: It does not start, or does not answer.
    """
    program = python or sys.executable
    memory = None if remembered is None else _Memory(remembered, program, variables)
    facts = None if memory is None else memory.recall()
    if facts is None:
        facts = _ask(program, variables)
        searched = facts.pop("searched", None)
        if memory is not None and isinstance(searched, list):
            memory.keep(facts, searched)
    return EnvironmentFacts(
        facts=facts,
        variables={name: variables[name] for name in _RELEVANT if name in variables},
        cpu=_cpu(),
    )


def _ask(program: str, variables: Mapping[str, str]) -> dict[str, object]:
    try:
        answer = subprocess.run(
            [program, "-S", "-c", _SITE + _PROBE],
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            env={k: v for k, v in variables.items() if k != "PYTHONSTARTUP"},
        )
        facts = json.loads(answer.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError, UnicodeDecodeError) as error:
        raise InterpreterError(f"{program} could not say what is installed in it: {error}") from error
    assert isinstance(facts, dict)
    return facts


class _Memory:
    """What one interpreter told, with the times of everything that it looked at.

    It lies with the user's caches: whoever can write there can change the libraries themselves.
    """

    def __init__(self, folder: Path, program: str, variables: Mapping[str, str]) -> None:
        deciding = {k: v for k, v in variables.items() if k.startswith("PYTHON") or k in _SEARCHING}
        asked = [_PROBE, program, *os.uname(), os.cpu_count(), sorted(deciding.items())]
        name = hashlib.sha256(json.dumps(asked).encode("utf-8", "surrogateescape")).hexdigest()
        self._path = folder / f"environment-{name[:32]}.json"
        found = shutil.which(program, path=variables.get("PATH")) or program
        self._interpreter = [found, os.path.join(os.path.dirname(os.path.dirname(found)), "pyvenv.cfg")]

    def recall(self) -> dict[str, object] | None:
        """Return what was told, where nothing has changed since; changes right before the telling may not show."""
        try:
            held = json.loads(self._path.read_bytes())
            times = self._times(held["searched"])
            newest = max(max(changed, renamed) for _, _, _, changed, renamed in times)
            if [*map(tuple, held["times"])] == times and newest < os.stat(self._path).st_mtime_ns - _RACY_NS:
                facts = held["facts"]
                return facts if isinstance(facts, dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing is held, or nothing that can be read
        return None

    def keep(self, facts: Mapping[str, object], searched: Sequence[str]) -> None:
        """Hold what was told; a folder that depends on where one stands cannot be held."""
        if any(folder and not os.path.isabs(folder) for folder in searched):
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_file(
                self._path,
                json.dumps({"searched": searched, "times": self._times(searched), "facts": facts}).encode(),
                mode=0o600,
            )

    def _times(self, searched: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
        paths = list(self._interpreter)
        for folder in searched:
            paths.append(folder)
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                continue
            for name in names:
                if name.endswith((".dist-info", ".egg-info")):
                    paths += [os.path.join(folder, name), *(os.path.join(folder, name, told) for told in _TOLD)]
                elif name.endswith(".pth"):
                    paths.append(os.path.join(folder, name))
        found: list[tuple[str, int, int, int, int]] = []
        for path in paths:
            with contextlib.suppress(OSError):
                seen = os.stat(path)
                found.append((path, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
        return found


# -S and then site.main(): the same sys.path, without the user's sitecustomize being able to print into the answer.
_SITE = """
import sys, io
answer, sys.stdout = sys.stdout, io.StringIO()
import site
site.main()
sys.stdout = answer
"""


def _cpu() -> dict[str, object]:
    model, flags = "", set[str]()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "CPU part") and not model:
                    model = value.strip()
                elif key.strip() in ("flags", "Features"):
                    flags = set(value.split())
                    break
    except OSError:
        pass  # no /proc: said as an empty model
    return {"model": model, "flags": [flag for flag in _CPU_FLAGS if flag in flags]}
