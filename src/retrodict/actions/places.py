"""Where things lie: paths as the record writes them, and what is left out of a folder's version. No verb."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retrodict.kernel.errors import UsageError
from retrodict.objects import display
from retrodict.workspace import FOLDER, Workspace

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Names a run, by its `run.started`, to the processes that are a part of it.
RUN_VARIABLE = "RETRODICT_RUN"
IGNORE_FILE: Final = ".retrodictignore"


class _Names(frozenset[bytes]):
    """Names that are left out, of a folder or a file alike."""

    def __call__(self, name: bytes, is_folder: bool) -> bool:
        del is_folder
        return name in self


# Tools' stores, and what Python leaves behind.
_NEVER: Final = _Names({FOLDER.encode(), b".git", b"__pycache__", b".DS_Store"})


def workspace_path(workspace: Workspace, path: Path) -> str | None:
    """Return `path` relative to the workspace with "/", or None where it lies outside."""
    absolute = os.path.abspath(path)
    # The folder is made real, the last name is not: what a link leads to is versioned under the link's own name.
    parent = os.path.realpath(os.path.dirname(absolute))
    relative = os.path.relpath(os.path.join(parent, os.path.basename(absolute)), os.path.realpath(workspace.root))
    return None if relative == ".." or relative.startswith("../") else relative


def tools_stores(folder: bytes) -> Callable[[bytes, bool], bool]:
    """Say what is left out of any folder, as `ObjectStore.add` asks for it; no file is read for it."""
    del folder
    return _NEVER


class Ignored:
    """What is left out of a version of a folder, as `ObjectStore.add` asks for it.

    Beside stores of tools that is what the files `.retrodictignore` say, in the workspace's root and in every folder
    from there down to the entry: patterns as in `.gitignore`, those of the nearest folder first.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        """`root` is the workspace's; `folder` is the one that is versioned."""
        self._folder = os.path.realpath(os.fsencode(folder))
        self._specs: dict[bytes, tuple[tuple[bytes, GitIgnoreSpec], ...]] = {}
        top, path = os.path.realpath(os.fsencode(root)), self._folder
        above = []
        while path != top and os.path.dirname(path) != path:
            path = os.path.dirname(path)
            above.append(path)
        found: tuple[tuple[bytes, GitIgnoreSpec], ...] = ()
        for place in reversed(above if path == top else []):
            found += _read(place)
        self._above = found

    def __call__(self, relative: bytes) -> Callable[[bytes, bool], bool]:
        """Return what says of (name, is it a folder) in the folder `relative` whether to leave it out."""
        specs = self._at(relative)
        if not specs:
            return tools_stores(relative)
        path = os.path.join(self._folder, relative) if relative else self._folder

        def skip(name: bytes, is_folder: bool) -> bool:
            if name in _NEVER:
                return True
            for place, spec in reversed(specs):
                below = os.fsdecode(os.path.join(path, name)[len(place) :].lstrip(b"/"))
                said = spec.check_file(below + "/" if is_folder else below).include
                if said is not None:
                    return said
            return False

        return skip

    def _at(self, relative: bytes) -> tuple[tuple[bytes, GitIgnoreSpec], ...]:
        found = self._specs.get(relative)
        if found is None:
            above = self._at(os.path.dirname(relative)) if relative else self._above
            found = above + _read(os.path.join(self._folder, relative) if relative else self._folder)
            self._specs[relative] = found
        return found


def _read(folder: bytes) -> tuple[tuple[bytes, GitIgnoreSpec], ...]:
    """Return what the ignore file of a folder says, if there is one.

    Raises:
        UsageError: It cannot be read, or a pattern in it is none.
    """
    path = os.path.join(folder, IGNORE_FILE.encode())
    try:
        # A link would let what lies outside decide what a version holds, as git sees it too; a pipe would never end.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{display(path)} is no file of patterns")
            lines = file.read().decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        problem = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise UsageError(f"{display(path)} cannot be read: {problem}") from error
    from pathspec import GitIgnoreSpec  # 20 ms, and few have such a file

    try:
        return ((folder, GitIgnoreSpec.from_lines(lines)),)
    except ValueError as error:
        raise UsageError(f"{display(path)}: {error}") from error
