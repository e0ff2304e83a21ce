"""Modules of one model's folder, under names of their own: two versions of `features.py` in one process.

Every folder becomes a package with a made-up name (`retrodict-model-7`), and its files are modules of that package.
They believe that they are top-level modules: the `import` statement of a module is the `__import__` of its builtins,
so each gets builtins whose `__import__` looks in the folder first, also when a function imports years after the module
was loaded, and in any thread. Not covered: `importlib.import_module("features")` and code that another library imports
by name.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import itertools
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, Final

_numbers = itertools.count(1)
_PREFIX: Final = "retrodict-model-"  # no identifier: nobody else's module has such a name


class CodeFolder:
    """The Python files of one folder, importable by their own names for each other only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = frozenset(_top_level_names(folder))
        self.package = f"{_PREFIX}{next(_numbers)}"
        self.builtins: Mapping[str, Any] = {**vars(builtins), "__import__": self._import}
        root = types.ModuleType(self.package)
        root.__path__ = [str(folder)]
        sys.modules[self.package] = root
        sys.meta_path.insert(0, _Finder(self))

    def module(self, name: str) -> types.ModuleType:
        """Import the folder's module `name` (dots for packages).

        Raises:
            ModuleNotFoundError: It has none of this name. And whatever the module raises.
        """
        return importlib.import_module(f"{self.package}.{name}")

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names of `__import__`
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        top = name.partition(".")[0]
        if level or top not in self.names:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist or (), 0)
        return module if fromlist else sys.modules[f"{self.package}.{top}"]


def _top_level_names(folder: Path) -> list[str]:
    suffixes = tuple(importlib.machinery.all_suffixes())
    return [
        path.name.partition(".")[0]
        for path in folder.iterdir()
        if (path.is_file() and path.name.endswith(suffixes)) or (path.is_dir() and any(path.rglob("*.py")))
    ]


class _Finder:
    """Finds modules of one folder and gives them its builtins."""

    def __init__(self, code: CodeFolder) -> None:
        self._code = code

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(f"{self._code.package}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path, self._code.builtins)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, names: Mapping[str, Any]) -> None:
        super().__init__(name, path)
        self._names = names

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)["__builtins__"] = self._names
        super().exec_module(module)

    def path_stats(self, path: str) -> Mapping[str, Any]:
        # HAZARD: compiled files are no part of the verified folder: never read, never written.
        raise OSError(f"no compiled form of {path}")
