"""Two recorded environments side by side: what could make the same code answer differently."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

# Where an environment lies says nothing of what it computes.
_PLACES: Final = {"VIRTUAL_ENV", "CONDA_DEFAULT_ENV", "PYTHONHOME"}
_PYTHON: Final = ("python", "implementation")
_PLATFORM: Final = ("system", "machine", "libc", "byteorder", "cpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        what: "python", "platform", "cpu", "variable"; "distribution": added, removed, of another version or origin.
        name: Which: "python", "numpy", "OMP_NUM_THREADS", "flags", ...
        recorded: As it was; None: there was none.
        present: As it is; None: there is none.
    """

    what: Literal["python", "platform", "cpu", "distribution", "variable"]
    name: str
    recorded: str | None
    present: str | None


def compare(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return how two environments differ, as `capture.snapshot_environment` describes them.

    Kernel releases, builds of the interpreter, places on the disk and we ourselves are left out, and so are digests of
    RECORD files: they differ from one place to the next. A field that one of the two does not have (an older record) is
    no difference.
    """
    found: list[Difference] = []
    for what, names in (("python", _PYTHON), ("platform", _PLATFORM)):
        for name in names:
            if name in recorded and name in present and recorded[name] != present[name]:
                found.append(_difference(what, name, str(recorded[name]), str(present[name])))
    if "cpu" in recorded and "cpu" in present:
        found += _cpus(recorded["cpu"], present["cpu"])
    found += _distributions(by_name(recorded), by_name(present))
    left, right = recorded.get("variables", {}), present.get("variables", {})
    for name in sorted((left.keys() | right.keys()) - _PLACES):
        if left.get(name) != right.get(name):
            found.append(_difference("variable", name, left.get(name), right.get(name)))
    return tuple(found)


def by_name(environment: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the distributions of an environment by normalised name (PyPA: lower case, runs of -_. as one dash)."""
    return {normalised(item["name"]): item for item in environment.get("distributions", ())}


def normalised(name: str) -> str:
    """Return a distribution's name as indexes compare it.

    >>> normalised("Scikit_Learn")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _difference(what: Any, name: str, recorded: str | None, present: str | None) -> Difference:
    return Difference(what=what, name=name, recorded=recorded, present=present)


def _cpus(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[Difference]:
    found = []
    if recorded.get("model") != present.get("model"):
        found.append(_difference("cpu", "model", recorded.get("model"), present.get("model")))
    left, right = set(recorded.get("flags", ())), set(present.get("flags", ()))
    if left != right:
        lost, gained = " ".join(sorted(left - right)), " ".join(sorted(right - left))
        found.append(_difference("cpu", "flags", lost or None, gained or None))
    return found


def _distributions(
    recorded: Mapping[str, Mapping[str, Any]], present: Mapping[str, Mapping[str, Any]]
) -> list[Difference]:
    found = []
    for name in sorted((recorded.keys() | present.keys()) - {"retrodict"}):
        left, right = recorded.get(name), present.get(name)
        before, now = (None if item is None else _identity(item) for item in (left, right))
        if before != now:
            found.append(_difference("distribution", name, before, now))
    return found


def _identity(distribution: Mapping[str, Any]) -> str:
    """Return the version, with the commit where it came from a repository."""
    origin = distribution.get("direct_url") or {}
    commit = (origin.get("vcs_info") or {}).get("commit_id")
    version = str(distribution.get("version"))
    if commit:
        return f"{version} ({origin.get('url')} at {commit})"
    return f"{version} (editable)" if distribution.get("editable") else version
