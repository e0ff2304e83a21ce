"""The code that answers beside the model: modules loaded from outside the libraries, kept as a tree.

The tree is laid out by module name (`a.b` is `a/b.py` or `a/b/__init__.py`), so that a replay can import from it. A
file is read when its module is first seen, and again only when that was loaded again: what is edited meanwhile does not
run.
"""

from __future__ import annotations

import site
import sys
import sysconfig
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, TreeEntry, as_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A module as it is loaded.

    Attributes:
        name: In `sys.modules`.
        file: Where it came from.
        spec: Its own; `importlib.reload` gives it another.
    """

    name: str
    file: Path
    spec: object

    def is_still(self) -> bool:
        """Say whether it has not been loaded again."""
        return getattr(sys.modules.get(self.name), "__spec__", None) is self.spec


class ServingCode:
    """What this process runs beside the models; looked at again when modules were loaded since."""

    def __init__(self, objects: ObjectStore, models: Path) -> None:
        """Leave out what lies in `models`: the models' own code is part of their content."""
        self._objects = objects
        self._exclude = (*library_folders(), f"{models}/")
        self._lock = threading.Lock()
        self._loaded = -1  # how many modules there were when it was looked at
        self._modules: dict[str, Loaded] = {}
        self._entries: dict[str, TreeEntry] = {}
        self._tree: Digest | None = None

    def tree(self) -> Digest | None:
        """Return the tree of the code that is loaded now; None where the libraries are all there is."""
        if len(sys.modules) != self._loaded or not all(module.is_still() for module in self._modules.values()):
            with self._lock:
                loaded, modules = len(sys.modules), outside_modules(self._exclude)
                known = {name for name, module in modules.items() if _is_same(module, self._modules.get(name))}
                if known != modules.keys() or known != self._modules.keys():
                    entries = {name: entry for name, entry in self._entries.items() if name in known}
                    files = {name: module.file for name, module in modules.items() if name not in known}
                    entries |= store_files(self._objects, files)
                    self._tree = self._objects.put_folders(as_folders(_by_path(entries))) if entries else None
                    self._modules, self._entries = modules, entries
                self._loaded = loaded
        return self._tree


def _is_same(module: Loaded, before: Loaded | None) -> bool:
    return before is not None and module.file == before.file and module.spec is before.spec


def _by_path(entries: Mapping[str, TreeEntry]) -> dict[bytes, TreeEntry]:
    return {name.encode(): entry for name, entry in entries.items()}


def library_folders() -> tuple[str, ...]:
    """Return the folders whose modules are the environment's, with a slash at the end."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    folders = {sysconfig.get_path(name) for name in names} | {*site.getsitepackages(), site.getusersitepackages()}
    # Other environments' libraries, which a .pth file has added.
    folders |= {name for name in sys.path if Path(name).name in {"site-packages", "dist-packages"}}
    folders |= {str(Path(__file__).resolve().parents[1])}  # retrodict itself, wherever it is installed
    return tuple(f"{name}/" for folder in folders for name in {folder.rstrip("/"), str(Path(folder).resolve())})


def outside_modules(exclude: tuple[str, ...]) -> dict[str, Loaded]:
    """Return what is loaded from Python files outside the folders `exclude`, by the path in the tree."""
    found: dict[str, Loaded] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or file.startswith(exclude):
            continue
        if name == "__mp_main__" or not all(part.isidentifier() for part in name.split(".")):
            continue  # a second name of __main__; a made-up name, by a loader of model folders
        path = PurePosixPath(*name.split("."))
        is_package = Path(file).name == "__init__.py" and name != "__main__"
        place = str(path / "__init__.py" if is_package else path.with_suffix(".py"))
        found[place] = Loaded(name=name, file=Path(file), spec=getattr(module, "__spec__", None))
    return found


def store_files(objects: ObjectStore, files: Mapping[str, Path]) -> dict[str, TreeEntry]:
    """Store files; return their entries in a tree, by path. A file that is gone is left out."""
    texts: dict[str, bytes] = {}
    for name, path in files.items():
        with suppress(OSError):
            texts[name] = path.read_bytes()
    return {
        name: TreeEntry(name=name.rpartition("/")[2].encode(), kind="file", digest=digest, size=len(text))
        for (name, text), digest in zip(texts.items(), objects.put_many(texts.values()), strict=True)
    }
