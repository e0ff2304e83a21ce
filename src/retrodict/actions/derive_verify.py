"""`derive verify`: a derived version made again, and compared."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from retrodict import datasets, environments
from retrodict.actions import derivation, names
from retrodict.actions.places import tools_stores
from retrodict.datasets import DatasetVersion, DerivationError, Recipe
from retrodict.kernel.errors import IntegrityError, UnavailableError, UsageError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Digest, Edge, Ref
from retrodict.workspace import Batch, Workspace

Verdict: TypeAlias = Literal["replicated", "differs", "nondeterministic", "could not tell"]
_MOST_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rederived:
    """What came out when a recipe was carried out again.

    Attributes:
        verdict: `replicated`: the same bytes. `differs`: others, and the same others twice. `nondeterministic`: others
            each time. `could not tell`: it could not be carried out.
        reason: Why, in a sentence; "" where it was replicated.
        where: "present": in the environment as it is, which matters as little as `differences` say. "rebuilt": in the
            recorded one, built again.
        differences: How that environment differs from the recorded one.
        changed: Of a folder: the files that are not as they were, at most ten.
        cpu_us: CPU time that it took, in microseconds; None where it did not end.
        entry: Of the event that records it.
    """

    reference: str
    verdict: Verdict
    reason: str
    where: Literal["present", "rebuilt"]
    differences: tuple[environments.Difference, ...]
    recorded: Digest
    made: Digest | None
    changed: tuple[str, ...]
    cpu_us: int | None
    entry: int


def derive_verify(
    workspace: Workspace,
    reference: str,
    *,
    variables: Mapping[str, str],
    caches: Path | None = None,
    uv_cache: Path | None = None,
    progress: Progress | None = None,
) -> Rederived:
    """Make a derived version again from what its recipe names, compare the bytes, and record the outcome.

    Args:
        variables: The environment variables; those that change results are set as they are on record.
        caches: A folder for what interpreters told of themselves.
        uv_cache: Where environments are built and kept; None: in the workspace.

    Raises:
        UsageError: It is no derived version.
    """
    version = derived_version(workspace, reference)
    event = workspace.logs.find(version.event)
    assert event is not None
    assert version.recipe is not None
    where: Literal["present", "rebuilt"] = "present"
    differences: tuple[environments.Difference, ...] = ()
    changed: tuple[str, ...] = ()
    contents: list[Digest] = []
    environment: bytes | None = None
    resources: Mapping[str, int] | None = None
    verdict: Verdict = "could not tell"
    reason = ""
    try:
        recipe = derivation.read_recipe(workspace, version.recipe)
        recorded = json.loads(workspace.objects.get(Digest(str(event.event.body["environment"]))))
        executable = str(recorded.get("executable") or "")
        chosen = environments.choose(
            recorded,
            uv_cache or workspace.folder / "tmp" / "environments",
            variables=variables,
            present=Path(executable) if os.access(executable, os.X_OK) else None,
            needs=(),
            remembered=caches,
            progress=progress,
        )
        where, differences, settings = chosen.place, chosen.differences, dict(chosen.variables)
        if chosen.python is not None:
            settings["PATH"] = f"{chosen.python.parent}:{variables.get('PATH', '')}"
            recipe = _with_python(recipe, chosen.python)
        for _ in range(2):
            with derivation.bench() as folder:
                derivation.lay_out(workspace, recipe, folder)
                carried = derivation.carry_out(recipe, folder, environment=settings, caches=caches)
                contents.append(workspace.objects.add(carried.output, ignore=tools_stores).digest)
                environment, resources = carried.environment, carried.resources
                if contents[-1] == version.content:
                    break
                if len(contents) == 1:
                    changed = _changed(workspace, version, carried.output)
    except (UnavailableError, IntegrityError, DerivationError) as error:
        reason = error.message
    else:
        if contents[0] == version.content:
            verdict = "replicated"
        elif contents[-1] == version.content or len(set(contents)) > 1:
            verdict, reason = "nondeterministic", "the recipe makes other bytes from one time to the next"
        else:
            verdict, reason = "differs", _because(differences)
    batch = Batch(workspace)
    of_environment = None if environment is None else batch.blob(environment)
    batch.event(
        "dataset.rederived",
        uses=[Edge(ref=Ref(version.content), role="version", evidence="observed", made_by=version.event)],
        makes=(),
        body=datasets.rederived_body(
            version=version.event,
            verdict=verdict,
            content=contents[0] if contents else None,
            environment=of_environment,
            resources=resources,
            why=batch.seal(reason or None),
        ),
    )
    return Rederived(
        reference=version.label,
        verdict=verdict,
        reason=reason,
        where=where,
        differences=differences,
        recorded=version.content,
        made=contents[0] if contents else None,
        changed=changed,
        cpu_us=None if resources is None else resources["user_us"] + resources["system_us"],
        entry=batch.append()[-1].index,
    )


def derived_version(workspace: Workspace, reference: str) -> DatasetVersion:
    """Return the derived version that a reference names.

    Raises:
        UsageError: It is something else.
    """
    resolved = names.resolve(workspace, reference)
    found = [] if resolved.event is None else datasets.find(workspace.views.database(), event=resolved.event)
    if not found or found[0].recipe is None:
        raise UsageError(f"{reference} is no derived version", hint="`retrodict derive` lists those.")
    return found[0]


def _with_python(recipe: Recipe, python: Path) -> Recipe:
    """Return the recipe with an interpreter that is named by a path replaced: it may lie elsewhere now."""
    program = recipe.command[0]
    if not (os.path.isabs(program) and os.path.basename(program).startswith("python")):
        return recipe
    return replace(recipe, command=(str(python), *recipe.command[1:]))


def _changed(workspace: Workspace, version: DatasetVersion, output: Path) -> tuple[str, ...]:
    """Return the files of a folder that were made otherwise, where the recorded listing is held."""
    if version.type != "tree" or not output.is_dir():
        return ()
    try:
        was = {name: entry.digest for name, entry in workspace.objects.walk(version.content) if entry.kind != "tree"}
    except (UnavailableError, IntegrityError):
        return ()
    changed = []
    for name, digest in sorted(was.items()):
        path = output / os.fsdecode(name)
        if not path.is_file() or workspace.objects.hash_file(path) != digest:
            changed.append(os.fsdecode(name))
    now = {os.fsencode(p.relative_to(output)) for p in output.rglob("*") if p.is_file()}
    changed += [os.fsdecode(name) for name in sorted(now - set(was))]
    return tuple(changed[:_MOST_NAMES])


def _because(differences: tuple[environments.Difference, ...]) -> str:
    if not differences:
        return "it makes the same other bytes twice, in an environment that is as it was"
    named = ", ".join(f"{d.name} {d.recorded or 'none'} -> {d.present or 'none'}" for d in differences[:5])
    return f"the environment is not as it was: {named}"
