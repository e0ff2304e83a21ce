"""The code that answers beside the model: modules loaded from outside the libraries, kept as a tree.

The tree is laid out by module name (`a.b` is `a/b.py` or `a/b/__init__.py`), so that a replay can import from it.
"""

from __future__ import annotations

import site
import sys
import sysconfig
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, TreeEntry, as_folders


class ServingCode:
    """What this process runs beside the models; looked at again when modules were loaded since."""

    def __init__(self, objects: ObjectStore, models: Path) -> None:
        """Leave out what lies in `models`: the models' own code is part of their content."""
        self._objects = objects
        self._exclude = (*library_folders(), f"{models}/")
        self._lock = threading.Lock()
        self._loaded = -1  # how many modules there were when it was looked at
        self._files: dict[str, Path] = {}
        self._tree: Digest | None = None

    def tree(self) -> Digest | None:
        """Return the tree of the code that is loaded now; None where the libraries are all there is."""
        if len(sys.modules) != self._loaded:
            with self._lock:
                loaded, files = len(sys.modules), outside_modules(self._exclude)
                if files != self._files:
                    self._tree, self._files = store_tree(self._objects, files), files
                self._loaded = loaded
        return self._tree


def library_folders() -> tuple[str, ...]:
    """Return the folders whose modules are the environment's, with a slash at the end."""
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    folders = {sysconfig.get_path(name) for name in names} | {*site.getsitepackages(), site.getusersitepackages()}
    # Other environments' libraries, which a .pth file has added.
    folders |= {name for name in sys.path if Path(name).name in {"site-packages", "dist-packages"}}
    folders |= {str(Path(__file__).resolve().parents[1])}  # retrodict itself, wherever it is installed
    return tuple(f"{name}/" for folder in folders for name in {folder.rstrip("/"), str(Path(folder).resolve())})


def outside_modules(exclude: tuple[str, ...]) -> dict[str, Path]:
    """Return what is loaded from Python files outside the folders `exclude`: path in the tree -> file."""
    found: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or file.startswith(exclude):
            continue
        if name == "__mp_main__" or not all(part.isidentifier() for part in name.split(".")):
            continue  # a second name of __main__; a made-up name, by a loader of model folders
        path = PurePosixPath(*name.split("."))
        is_package = Path(file).name == "__init__.py" and name != "__main__"
        found[str(path / "__init__.py" if is_package else path.with_suffix(".py"))] = Path(file)
    return found


def store_tree(objects: ObjectStore, files: Mapping[str, Path]) -> Digest | None:
    """Store files under their paths as one tree; None where there is nothing. A file that is gone is left out."""
    texts: dict[str, bytes] = {}
    for name, path in files.items():
        with suppress(OSError):
            texts[name] = path.read_bytes()
    found = {
        name.encode(): TreeEntry(name=name.rpartition("/")[2].encode(), kind="file", digest=digest, size=len(text))
        for (name, text), digest in zip(texts.items(), objects.put_many(texts.values()), strict=True)
    }
    return objects.put_folders(as_folders(found)) if found else None
