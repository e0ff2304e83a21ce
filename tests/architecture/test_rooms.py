"""The staircase of rooms, and what no tool checks by itself."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "retrodict"


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("retrodict", cache_dir=None)


def test_imports_keep_every_contract() -> None:
    """The contracts of `pyproject.toml`, imports hidden in functions included."""
    check = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True, no_cache=True))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _is_verb(module: str) -> bool:
    """A verb is a module (or folder) of `actions` that defines, or hands on, a function of its own name."""
    name = module.rsplit(".", 1)[-1]
    path = SOURCE / "actions" / name
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.FunctionDef(name=found) if found == name:
                return True
            case ast.ImportFrom(names=aliases) if any((a.asname or a.name) == name for a in aliases):
                return True
    return False


def test_verbs_never_import_verbs(graph: grimp.ImportGraph) -> None:
    """What two verbs share stands in a module of `actions` that is no verb."""
    verbs = {module for module in graph.find_children("retrodict.actions") if _is_verb(module)}
    assert len(verbs) > 10, verbs
    wrong = [
        (verb, imported)
        for verb in sorted(verbs)
        for part in (verb, *graph.find_descendants(verb))
        for imported in graph.find_modules_directly_imported_by(part)
        for other in verbs - {verb}
        if imported == other or imported.startswith(other + ".")
    ]
    assert wrong == []


def test_the_command_line_calls_one_action_for_each_verb(graph: grimp.ImportGraph) -> None:
    """Doors parse, call and render; they do not reach below `actions`, the kernel's small types excepted."""
    allowed = ("retrodict.actions", "retrodict.render", "retrodict.kernel", "retrodict.cli", "retrodict.demo")
    wrong = [
        (module, imported)
        for module in sorted(graph.find_descendants("retrodict.cli"))
        for imported in sorted(graph.find_modules_directly_imported_by(module))
        if imported.startswith("retrodict.")
        and not imported.startswith(allowed)
        # The types that annotate what is passed through, and the servers that a command starts.
        and not imported.startswith(("retrodict.workspace", "retrodict.server", "retrodict.provenance"))
    ]
    assert wrong == []


def test_no_room_is_a_bucket() -> None:
    names = {p.stem for p in SOURCE.rglob("*.py")} | {p.name for p in SOURCE.rglob("*") if p.is_dir()}
    assert names.isdisjoint({"utils", "util", "helpers", "helper", "common", "core", "manager", "misc", "base"})


def test_records_are_frozen() -> None:
    """What actions and renderers hand around does not change: every dataclass there is frozen."""
    wrong = []
    for room in ("actions", "kernel", "datasets", "models", "runs", "predictions", "provenance", "render"):
        for path in sorted((SOURCE / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ClassDef):
                    continue
                for decorator in map(ast.unparse, node.decorator_list):
                    if decorator.startswith("dataclass") and "frozen=True" not in decorator:
                        wrong.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert wrong == []


def test_nothing_mocks_our_own_code() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__) and re.search(r"unittest\.mock|pytest_mock|MagicMock", path.read_text())
    ]
    assert wrong == []


def test_no_file_names_a_place_on_a_developers_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    places = re.compile(rb"(?<![\w.*-])/(?:work|root|Users)/")
    wrong = []
    for name in filter(None, listed.split(b"\0")):
        path = ROOT / os.fsdecode(name)
        if path.is_file() and path != Path(__file__):
            wrong += [
                f"{path.relative_to(ROOT)}: {found.group().decode()}" for found in places.finditer(path.read_bytes())
            ]
    assert wrong == []


def test_the_optional_packages_are_optional() -> None:
    """What only an extra brings is imported where it is used, never when a module is loaded.

    The modules in `standing` are classes of an extra's through and through; functions load them, and no module does.
    """
    standing = {f"retrodict.tensors.{name}" for name in ("array", "samples", "store")}
    standing |= {f"retrodict.rows.{name}" for name in ("pandas_frames", "polars_frames", "sets", "source")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        re.split(r"[\[><=]", requirement)[0]
        for requirements in project["optional-dependencies"].values()
        for requirement in requirements
    } - {"retrodict"}
    modules = {"sklearn" if name == "scikit-learn" else name for name in extras}
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        if "demo/credit/" in path.as_posix() or "testing" in path.parts:
            continue  # the pipeline that ships as data, and what only tests import: run where the extras are
        stands = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) in standing
        for name in _imported_on_loading(ast.parse(path.read_text())):
            if not stands and (name.split(".")[0] in modules or name in standing):
                wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert wrong == []


def _imported_on_loading(tree: ast.Module) -> list[str]:
    found: list[str] = []
    for node in tree.body:
        match node:
            case ast.Import(names=aliases):
                found += [a.name for a in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                found.append(module)
            case _:
                continue
    return found
