"""`derive`: a version that is made by a recipe, and can be made again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from retrodict import capture, datasets
from retrodict.actions import derivation, names, pinning
from retrodict.actions.keeping import code_tree
from retrodict.actions.places import tools_stores, workspace_path
from retrodict.capture import Capture, CodeFile
from retrodict.datasets import DatasetVersion, DerivationError, Ingredient, Recipe
from retrodict.kernel.errors import MissingExtraError, UsageError
from retrodict.kernel.types import Digest, Edge, EventId, Ref
from retrodict.objects import display
from retrodict.tables import queries as tables
from retrodict.workspace import Batch, Workspace

_QUERY = Path(datasets.__file__).with_name("query.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """One derived version, new or known.

    Attributes:
        reference: What to paste: `dataset:NAME@vN`.
        recipe: The object that says how to make it again.
        cpu_us: CPU time that making it took, in microseconds.
        is_new: False where the current version has this recipe and these bytes: nothing was recorded then.
        differs_from: The version that the same recipe made, with other bytes; None: there is none.
        warnings: What the record does not know, one sentence each.
    """

    reference: str
    name: str
    version: int
    event: EventId
    index: int
    content: Digest
    recipe: Digest
    files: int
    size_bytes: int
    new_bytes: int
    cpu_us: int
    is_new: bool
    differs_from: str | None
    warnings: tuple[str, ...]


def derive(
    workspace: Workspace,
    name: str,
    sources: Sequence[str],
    *,
    command: Sequence[str] = (),
    sql: str | None = None,
    output: str | None = None,
    code: Sequence[Path] = (),
    cwd: Path,
    environment: Mapping[str, str],
    reason: str | None = None,
    caches: Path | None = None,
) -> Derived:
    """Make a version of `name` from others, in a folder of its own where only they and the code can be read.

    The code is what git tracks, and code beside it, as far as the command reads it; without git, the files that
    `command` and `code` name.

    Args:
        sources: References of versions; each lies where it was added, relative to the workspace.
        command: What makes it; it begins in a copy of `cwd`.
        sql: In place of a command: a query (DuckDB) over the sources, by their names without extension.
        output: What the command makes, relative to `cwd`: `name` where None.
        code: More files that the command may read, below the workspace.
        environment: Its variables.
        caches: A folder of the user's for what interpreters told of themselves.

    Raises:
        DerivationError: The command fails, makes nothing, or reads what it was not given.
        UsageError: A source is no dataset, or is personal.
        MissingExtraError: `sql` is given, and DuckDB is not installed.
    """
    datasets.check_name(name)
    datasets.refuse_attached(datasets.current(workspace.views.database(), name))
    if bool(command) == (sql is not None):
        raise UsageError("a version is derived by a command or by a query", hint="Give one: -- COMMAND, or --sql.")
    versions = [_version(workspace, source) for source in sources]
    inputs = tuple(_ingredient(version) for version in versions)
    if len({item.path for item in inputs}) < len(inputs):
        raise UsageError("two of the sources lie at the same path", hint="Derive from versions of different names.")
    place = workspace_path(workspace, cwd) or "."
    with derivation.bench() as folder:
        if sql is not None:
            place, output = ".", output or (name if name.endswith(".parquet") else f"{name}.parquet")
            command, files = _query(folder, sql, inputs, output), None
            environment = {**environment, "PATH": f"{Path(sys.executable).parent}:{environment.get('PATH', '')}"}
        else:
            files = _offer(workspace, folder, [*command, *map(str, code)], cwd, environment)
        recipe = Recipe(
            command=tuple(command),
            cwd="" if place == "." else place,
            output=os.path.normpath(output or name),
            inputs=inputs if place == "." else tuple(replace(i, path=_from(place, i.path)) for i in inputs),
            code=None,
        )
        _check_output(recipe.output)
        derivation.lay_inputs(workspace, recipe.inputs, folder / recipe.cwd)
        carried = derivation.carry_out(recipe, folder, environment=environment, caches=caches)
        warnings = list(carried.seen.warnings)
        used = _used(carried.seen, folder, recipe, files)
        recipe = replace(recipe, code=code_tree(workspace, used, warnings))
        return _record(workspace, name, versions, recipe, carried, place, reason, warnings)


def _record(
    workspace: Workspace,
    name: str,
    versions: Sequence[DatasetVersion],
    recipe: Recipe,
    carried: derivation.Carried,
    place: str,
    reason: str | None,
    warnings: list[str],
) -> Derived:
    batch = Batch(workspace)
    stored = workspace.objects.add(carried.output, ignore=tools_stores)
    of_recipe = batch.blob(recipe.encode())
    database = workspace.views.database()
    heads = datasets.current(database, name)
    known = datasets.versions(database, name)
    twin = next((v for v in reversed(known) if v.recipe == of_recipe and v.content != stored.digest), None)
    made = Derived(
        reference="",
        name=name,
        version=0,
        event=EventId(""),
        index=-1,
        content=stored.digest,
        recipe=of_recipe,
        files=stored.files,
        size_bytes=stored.size_bytes,
        new_bytes=stored.new_bytes,
        cpu_us=carried.resources["user_us"] + carried.resources["system_us"],
        is_new=False,
        differs_from=None if twin is None else twin.label,
        warnings=tuple(warnings),
    )
    if len(heads) == 1 and heads[0].recipe == of_recipe and heads[0].content == stored.digest:
        same = heads[0]
        return replace(made, reference=same.label, version=same.version, event=same.event, index=same.index)
    environment = batch.blob(carried.environment)
    uses = [
        Edge(ref=Ref(v.content), role="input", evidence="observed", path=v.path or None, made_by=v.event)
        for v in versions
    ]
    if recipe.code is not None:
        uses.append(Edge(ref=Ref(recipe.code), role="code", evidence="observed"))
    uses.append(Edge(ref=Ref(environment), role="environment", evidence="observed"))
    uses.append(Edge(ref=Ref(of_recipe), role="recipe", evidence="observed"))
    version = datasets.next_version(database, name)
    path = recipe.output if place == "." else f"{place}/{recipe.output}"
    event = batch.event(
        "dataset.derived",
        uses=uses,
        makes=(Edge(ref=Ref(stored.digest), role="dataset", evidence="observed", path=path),),
        body=datasets.derived_body(
            name=name,
            version=version,
            content=stored.digest,
            type=stored.kind,
            recipes=stored.recipes,
            files=stored.files,
            size_bytes=stored.size_bytes,
            recipe=of_recipe,
            environment=environment,
            capture=batch.seal(json.dumps(carried.seen.as_json())),
            resources=carried.resources,
        ),
        reason=reason,
        replaces=[head.event for head in heads],
    )
    index = batch.append()[-1].index
    _place(workspace, stored.digest, workspace.root / path)
    pinning.pin(workspace, [name])
    return replace(
        made, reference=f"dataset:{name}@v{version}", version=version, event=event.id, index=index, is_new=True
    )


def _place(workspace: Workspace, content: Digest, path: Path) -> None:
    """Write what was made to its place in the project, unless bytes would be lost that nobody holds."""
    if path.is_symlink() or path.is_dir():
        return
    if not path.exists() or workspace.objects.has(workspace.objects.hash_file(path)):
        workspace.objects.checkout(content, path)


def _version(workspace: Workspace, reference: str) -> DatasetVersion:
    """Return the version that a reference names."""
    resolved = names.resolve(workspace, reference)
    found = [] if resolved.event is None else datasets.find(workspace.views.database(), event=resolved.event)
    if not found:
        hint = "`retrodict add` what it is to be made from."
        if tables.tables(workspace.views.database(), reference.removeprefix("table:").partition("@")[0]):
            hint = "Write the table's version to a file (`retrodict table at --out`), and `retrodict add` that."
        raise UsageError(f"{reference} is no version of a dataset", hint=hint)
    if found[0].key is not None:
        raise UsageError(
            f"{reference} is personal: what is derived from it would lie here in the clear",
            hint="`retrodict run` seals what it makes from personal files.",
        )
    if found[0].is_attached:
        raise UsageError(
            f"{reference} is attached, and a recipe needs bytes that are held for good",
            hint=f"`retrodict checkout {reference} PATH` and `retrodict add PATH` make a version of them.",
        )
    return found[0]


def _ingredient(version: DatasetVersion) -> Ingredient:
    assert version.type in ("file", "tree")
    return Ingredient(path=version.path or Path(version.name).name, content=version.content, type=version.type)


def _from(place: str, path: str) -> str:
    """Return a path of the workspace as one below the folder `place`."""
    relative = os.path.relpath(path, place)
    if relative.startswith("../"):
        raise UsageError(
            f"{path} lies outside of {place}, where the command would begin", hint="Derive from the workspace's folder."
        )
    return relative


def _check_output(path: str) -> None:
    if path.startswith(("/", "../")) or path in (".", ".."):
        raise UsageError(f"{path} does not lie below the folder that the command begins in", hint="Say --out PATH.")


def _query(folder: Path, sql: str, inputs: Sequence[Ingredient], output: str) -> tuple[str, ...]:
    """Write what answers a query to `folder`; return the command."""
    if find_spec("duckdb") is None:
        raise MissingExtraError("a query over versions", "sql")
    tables: dict[str, str] = {}
    for item in inputs:
        stem = Path(item.path).name.partition(".")[0]
        if stem in tables:
            raise UsageError(f"two of the sources would be the table {stem!r}", hint="Add one under another name.")
        tables[stem] = item.path
    asked = {"sql": sql, "tables": tables, "output": output}
    (folder / "query.json").write_text(json.dumps(asked, indent=1, sort_keys=True) + "\n")
    shutil.copyfile(_QUERY, folder / "query.py")
    return derivation.QUERY_COMMAND


def _offer(
    workspace: Workspace, folder: Path, named: Iterable[str], cwd: Path, environment: Mapping[str, str]
) -> dict[Path, bytes]:
    """Copy the project's code below `folder`, for the command to read from; return names by where they are now."""
    root = Path(os.path.realpath(workspace.root))
    offered: set[Path] = set()
    facts = capture.snapshot_code(root, (), environment=environment)
    for file in facts.files:
        offered.add(Path(os.fsdecode(file.path)))
    for word in named:
        path = Path(os.path.realpath(cwd / word))
        if path.is_relative_to(root) and path != root and path.exists():
            offered |= {p for p in path.rglob("*") if p.is_file()} if path.is_dir() else {path}
    found: dict[Path, bytes] = {}
    for path in sorted(offered):
        if not path.is_relative_to(root) or workspace.folder.name in path.relative_to(root).parts:
            continue
        relative = path.relative_to(root)
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(path, target)
        except OSError as error:
            raise DerivationError(f"{display(path)} cannot be read: {error.strerror}") from error
        found[target] = os.fsencode(relative)
    return found


def _used(seen: Capture, folder: Path, recipe: Recipe, files: Mapping[Path, bytes] | None) -> list[CodeFile]:
    """Return the offered files that the command read."""
    beneath = [folder / recipe.cwd / item.path for item in recipe.inputs]
    used = []
    for access in seen.inputs:
        path = Path(os.fsdecode(access.path))
        if not path.is_relative_to(folder) or any(path.is_relative_to(place) for place in beneath):
            continue
        if files is None or path in files:
            name = os.fsencode(path.relative_to(folder))
            at = access.path if access.preserved is None else os.fsencode(access.preserved)
            used.append(CodeFile(name=name, path=at, origin="read"))
    return sorted(used, key=lambda file: file.name)
