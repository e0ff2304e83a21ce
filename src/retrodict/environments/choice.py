"""Where to run something again: in an environment that is here, or in one built as it is on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from retrodict import capture
from retrodict.environments.build import build, find_uv
from retrodict.environments.difference import Difference, compare
from retrodict.environments.errors import EnvironmentUnavailableError
from retrodict.kernel.protocols import Progress

Mode = Literal["auto", "present", "rebuild"]

_NOT_TO_BE_HAD: Final = "the environment on record is not to be had"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Where to run it.

    Attributes:
        place: In what is here, or in what was built.
        python: The interpreter; None: whichever is here.
        variables: The environment variables: those that change results as they are on record.
        differences: How it differs from the record, as far as that could matter.
        missing: What of the record was not to be had.
        excuse: Why it is not the one on record.
    """

    place: Literal["present", "rebuilt"]
    python: Path | None
    variables: Mapping[str, str]
    differences: tuple[Difference, ...] = ()
    missing: tuple[str, ...] = ()
    excuse: str | None = None


def choose(
    recorded: Mapping[str, Any],
    cache: Path,
    *,
    variables: Mapping[str, str],
    present: Path | None = None,
    mode: Mode = "auto",
    needs: Sequence[str],
    remembered: Path | None = None,
    progress: Progress | None = None,
) -> Chosen:
    """Return where to run what ran in the environment that `recorded` describes.

    Args:
        recorded: As `capture.snapshot_environment` gives it; without "python" nothing can be built.
        cache: Where environments are built and kept.
        variables: Those that are set here.
        present: The interpreter that is here; None: the one that asks.
        mode: "present"; "rebuild": in one built from the record; "auto": in that where the present one differs in its
            interpreter or its distributions.
        needs: See `build`.
        remembered: A folder for what interpreters told of themselves.
        progress: Told of what is built.

    Raises:
        EnvironmentUnavailableError: It is to be rebuilt, and cannot be.
    """
    relevant = capture.snapshot_environment(None, variables=variables).variables
    kept = {name: value for name, value in variables.items() if name not in relevant}
    settings = {**kept, **recorded.get("variables", {})}
    if not recorded.get("python"):
        return Chosen(place="present", python=present, variables=settings, excuse="the environment was not recorded")

    def differs(python: Path | None, variables: Mapping[str, str]) -> tuple[Difference, ...]:
        facts = capture.snapshot_environment(
            None if python is None else str(python), variables=variables, remembered=remembered
        )
        return tuple(d for d in compare(recorded, facts.as_json()) if _matters(d))

    differences = differs(present, variables)
    here = Chosen(place="present", python=present, variables=settings, differences=differences)
    if mode == "present" or (mode == "auto" and not any(d.what in ("python", "distribution") for d in differences)):
        return here
    try:
        built = build(recorded, cache, uv=find_uv(), progress=progress, needs=needs)
    except EnvironmentUnavailableError as error:
        if mode == "rebuild":
            raise
        return Chosen(
            place="present",
            python=present,
            variables=settings,
            differences=differences,
            excuse=f"{_NOT_TO_BE_HAD}: {error.message}",
        )
    return Chosen(
        place="rebuilt",
        python=built.python,
        variables=settings,
        differences=differs(built.python, {}),
        missing=built.missing,
        excuse=f"{_NOT_TO_BE_HAD}: {_listed(built.missing)}" if built.missing else None,
    )


def _matters(difference: Difference) -> bool:
    """Leave out what is made equal (variables), what was added since, and this package, which a worker brings."""
    is_added = difference.what == "distribution" and difference.recorded is None
    return difference.what != "variable" and difference.name != "retrodict" and not is_added


def _listed(items: Sequence[str]) -> str:
    shown = ", ".join(items[:5])
    return f"{shown} and {len(items) - 5} more" if len(items) > 5 else shown
