"""Carrying out a recipe, apart from the project: only what it names is there to be read. No verb."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrodict import capture
from retrodict.actions.places import tools_stores
from retrodict.capture import Access, Capture
from retrodict.datasets import DatasetVersion, DerivationError, Ingredient, Recipe
from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest
from retrodict.objects import display
from retrodict.workspace import Workspace

QUERY_COMMAND = ("python", "query.py")
_KEPT = "kept"
_LAST_LINES = 3  # of what a command that failed printed


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A command, carried out.

    Attributes:
        folder: Where the recipe was laid out.
        output: What it made.
        environment: Of the interpreter that ran, as an object holds it.
        resources: CPU time and memory, as events have them.
    """

    folder: Path
    output: Path
    seen: Capture
    environment: bytes
    resources: Mapping[str, int]


@contextlib.contextmanager
def bench() -> Iterator[Path]:
    """Give an empty folder, and beside it one for what the command overwrites; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="retrodict-derive-", ignore_cleanup_errors=True) as name:
        base = Path(os.path.realpath(name))  # as captured paths have it
        (base / _KEPT).mkdir()
        (base / "work").mkdir()
        yield base / "work"


def lay_out(workspace: Workspace, recipe: Recipe, folder: Path) -> None:
    """Write a recipe's code and inputs below `folder`, each byte verified.

    Raises:
        MissingObjectError, AlteredObjectError: Its bytes are not held, or not what they were.
    """
    if recipe.code is not None:
        workspace.objects.checkout(recipe.code, folder)
    lay_inputs(workspace, recipe.inputs, folder / recipe.cwd)


def lay_inputs(workspace: Workspace, inputs: tuple[Ingredient, ...], folder: Path) -> None:
    """Write inputs at their paths below the folder that the command begins in."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in inputs:
        path = folder / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace.objects.checkout(item.content, path)


def carry_out(recipe: Recipe, folder: Path, *, environment: Mapping[str, str], caches: Path | None = None) -> Carried:
    """Run a recipe that is laid out in `folder`, under capture.

    Raises:
        DerivationError: It fails, makes nothing, or reads what the recipe does not name.
    """
    printed: list[bytes] = []
    cwd = folder / recipe.cwd
    seen = capture.supervise(
        recipe.command,
        cwd=cwd,
        environment=environment,
        preserve_to=folder.with_name(_KEPT),
        output=lambda _, data: printed.append(data),
    )
    if seen.exit_code:
        said = [line for line in b"".join(printed).decode("utf-8", "replace").splitlines() if line.strip()]
        why = f": {' / '.join(said[-_LAST_LINES:])}" if said else ", and printed nothing"
        raise DerivationError(f"the command ended with {seen.exit_code}{why}")
    for access in seen.inputs:
        path = Path(os.fsdecode(access.path))
        if not path.is_relative_to(folder) and access.how != "executed" and not is_shared(access):
            raise DerivationError(f"the command read {display(path)}, which is not among what it is derived from")
    output = cwd / recipe.output
    if not output.exists():
        made = sorted(
            display(path.relative_to(cwd))
            for path in (Path(os.fsdecode(access.path)) for access in seen.outputs)
            if path.is_relative_to(cwd)
        )
        raise DerivationError(
            f"the command did not make {recipe.output}", hint=f"It made {', '.join(made) or 'nothing'}; say --out PATH."
        )
    facts = capture.snapshot_environment(
        capture.interpreter(seen.programs, environment), variables=environment, remembered=caches
    )
    return Carried(
        folder=folder,
        output=output,
        seen=seen,
        environment=json.dumps(facts.as_json(), sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(),
        resources={
            "user_us": round(seen.resources.user_s * 1e6),
            "system_us": round(seen.resources.system_s * 1e6),
            "peak_rss_bytes": seen.resources.peak_rss_bytes,
        },
    )


def is_shared(access: Access) -> bool:
    """Say whether a file belongs to the machine, as a time zone does, and not to anybody's project."""
    machine = (b"/etc/", b"/usr/", b"/lib", b"/opt/", b"/sys/", b"/proc/")
    return access.path.startswith(machine) or capture.is_device(access.path)


def read_recipe(workspace: Workspace, digest: Digest) -> Recipe:
    """Return a recipe that an event names.

    Raises:
        MissingObjectError, AlteredObjectError, FormatError: It cannot be read.
    """
    return Recipe.decode(workspace.objects.get(digest))


def means(workspace: Workspace, recipe: Recipe) -> str:
    """Return by what a recipe makes its output, as the end of a `derive` command: `--sql QUERY`, or `-- COMMAND`."""
    if recipe.command == QUERY_COMMAND and recipe.code is not None:
        with contextlib.suppress(RetrodictError, ValueError, KeyError):
            files = {entry.name: entry.digest for entry in workspace.objects.list_tree(recipe.code)}
            return f"--sql {shlex.quote(json.loads(workspace.objects.get(files[b'query.json']))['sql'])}"
    return f"-- {shlex.join(recipe.command)}"


def materialize(workspace: Workspace, version: DatasetVersion, environment: Mapping[str, str]) -> None:
    """Make the bytes of a derived version again that are not held, and keep them: a cache, which `gc` may take again.

    Raises:
        MissingObjectError: What the recipe takes is not held, either.
        DerivationError: The recipe cannot be carried out here, or makes other bytes.
    """
    assert version.recipe is not None
    recipe = read_recipe(workspace, version.recipe)
    python = _recorded_python(workspace, version)
    if python is not None:  # whichever `python` is found first may lack what the recipe needs
        environment = {**environment, "PATH": f"{python.parent}:{environment.get('PATH', '')}"}
    with bench() as folder:
        lay_out(workspace, recipe, folder)
        carried = carry_out(recipe, folder, environment=environment)
        if workspace.objects.add(carried.output, ignore=tools_stores).digest != version.content:
            raise DerivationError(
                f"the bytes of {version.label} are not held, and its recipe makes others here",
                hint=f"`retrodict derive verify {version.label}` says why.",
            )


def _recorded_python(workspace: Workspace, version: DatasetVersion) -> Path | None:
    """Return the interpreter that made a version, where it is still there."""
    made = workspace.logs.find(version.event)
    digest = None if made is None else made.event.body.get("environment")
    with contextlib.suppress(RetrodictError, ValueError):
        recorded = json.loads(workspace.objects.get(Digest(str(digest))))
        executable = recorded.get("executable")
        if isinstance(executable, str) and os.access(executable, os.X_OK):
            return Path(executable)
    return None
