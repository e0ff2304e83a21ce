"""`derive` by itself: what was derived, and what keeping it costs beside making it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrodict import datasets
from retrodict.actions import derivation
from retrodict.kernel.errors import FormatError, UnavailableError
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedRow:
    """A derived version.

    Attributes:
        command: Of its recipe, as one line; "" where the recipe is not held.
        size_bytes: What keeping it costs, at most: chunks that it shares with others are counted here too.
        cpu_us: What making it again costs: CPU time of the first time, in microseconds.
        verdict: Of the last time that it was made again; None: it never was.
        state: Whether its bytes are held.
    """

    reference: str
    at: str
    command: str
    size_bytes: int
    cpu_us: int
    verdict: str | None
    state: Literal["held", "missing", "altered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedVersions:
    """The derived versions, by name and version."""

    rows: tuple[DerivedRow, ...]


def derived(workspace: Workspace) -> DerivedVersions:
    """Return every derived version."""
    database = workspace.views.database()
    rows = []
    for version in datasets.versions(database):
        if version.recipe is None:
            continue
        try:
            command = derivation.means(workspace, derivation.read_recipe(workspace, version.recipe)).removeprefix("-- ")
        except (UnavailableError, FormatError):
            command = ""
        verdicts = datasets.verdicts(database, version.event)
        rows.append(
            DerivedRow(
                reference=version.label,
                at=version.at,
                command=command,
                size_bytes=version.size_bytes,
                cpu_us=version.cpu_us or 0,
                verdict=verdicts[-1][1] if verdicts else None,
                state="held" if workspace.objects.has(version.content) else "missing",
            )
        )
    return DerivedVersions(rows=tuple(rows))
