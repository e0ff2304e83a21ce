"""`hooks`: let git run `retrodict checkout` after a checkout and a merge."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from retrodict.kernel.durable import sync_folder, write_file
from retrodict.kernel.errors import UnavailableError, UsageError
from retrodict.workspace import Workspace

_NAMES: Final = ("post-checkout", "post-merge")
_MARK: Final = "# written by retrodict hooks"
_KEPT: Final = ".before-retrodict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One of git's hooks. "foreign": it is somebody else's. `chained`: somebody else's runs first."""

    name: str
    path: str
    state: Literal["installed", "foreign", "none"]
    chained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """How git's hooks stand."""

    hooks: tuple[Hook, ...]


class ForeignHookError(UsageError):
    """A hook that is not ours stands where ours belongs."""

    slug = "foreign-hook"
    hint = "Add `retrodict checkout` to it; or give --chain: it is kept, and runs first."

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is a hook that retrodict did not write, and was left as it is")


def hooks(workspace: Workspace) -> Hooks:
    """Say which hooks are there.

    Raises:
        UsageError: The workspace lies in no git repository.
    """
    folder = _folder(workspace)
    return Hooks(hooks=tuple(_look(folder / name) for name in _NAMES))


def _look(path: Path) -> Hook:
    state: Literal["installed", "foreign", "none"] = "none"
    if os.path.lexists(path):
        state = "installed" if _is_ours(path) else "foreign"
    return Hook(name=path.name, path=str(path), state=state, chained=_kept(path).exists())


def _is_ours(path: Path) -> bool:
    try:
        return _MARK.encode() in path.read_bytes()
    except OSError:
        return False


def _kept(path: Path) -> Path:
    return path.with_name(path.name + _KEPT)


def _is_linked(path: Path) -> bool:
    """Say whether somebody else's hook has both names."""
    try:
        one, two = path.lstat(), _kept(path).lstat()
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def _keep(path: Path) -> None:
    """Give somebody else's hook its other name, too: git runs it under the first until ours is there whole."""
    if _is_linked(path):
        return
    try:
        os.link(path, _kept(path), follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links, and not every file of others may be linked
        path.rename(_kept(path))
    sync_folder(path.parent)  # before the first name is given away


def _folder(workspace: Workspace) -> Path:
    """Return where git looks for hooks."""
    command = ["git", "rev-parse", "--git-path", "hooks"]
    try:
        done = subprocess.run(command, cwd=workspace.root, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"git cannot be run: {error}", hint="Install git.") from error
    if done.returncode:
        raise UsageError(f"{workspace.root} lies in no git repository", hint="`git init` makes one.")
    return workspace.root / os.fsdecode(done.stdout.rstrip(b"\n"))


def install(workspace: Workspace, *, interpreter: str, chain: bool = False) -> Hooks:
    """Write the hooks; a second time they are written anew.

    Args:
        workspace: Whose data they bring along.
        interpreter: The Python that retrodict runs in.
        chain: Keep a hook of somebody else's beside ours, and run it first.

    Raises:
        ForeignHookError: There is one, and `chain` was not said; nothing was written.
        UsageError: The workspace lies in no git repository.
    """
    folder = _folder(workspace)
    foreign = [folder / name for name in _NAMES if _look(folder / name).state == "foreign"]
    if foreign and not chain:
        raise ForeignHookError(foreign[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in foreign:
            if os.path.lexists(_kept(path)) and not _is_linked(path):
                raise UsageError(f"{_kept(path)} is there already", hint="Remove one of the two hooks.")
        for path in foreign:
            _keep(path)
        for name in _NAMES:
            write_file(folder / name, _script(workspace, name, interpreter).encode(), mode=0o755)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return hooks(workspace)


def uninstall(workspace: Workspace) -> Hooks:
    """Remove our hooks, and put back what was kept; hooks of others are left alone.

    Raises:
        UsageError: The workspace lies in no git repository.
        UnavailableError: They cannot be removed.
    """
    folder = _folder(workspace)
    try:
        for name in _NAMES:
            path = folder / name
            if _look(path).state == "installed":
                if os.path.lexists(_kept(path)):
                    _kept(path).rename(path)  # at once, lest a crash leave neither
                else:
                    path.unlink()
            elif _is_linked(path):  # an install was cut off before ours took the name
                _kept(path).unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error
    return hooks(workspace)


def _unwritable(folder: Path, error: OSError) -> UnavailableError:
    return UnavailableError(f"{folder} cannot be written: {error.strerror}", hint="Look at its rights.")


def _script(workspace: Workspace, name: str, interpreter: str) -> str:
    # Git runs hooks at the top of the working tree, of which there may be several; the workspace may lie below it.
    top = subprocess.run(
        ["git", "rev-parse", "--show-prefix"], cwd=workspace.root, capture_output=True, check=True, timeout=60
    )
    below = shlex.quote(os.fsdecode(top.stdout.rstrip(b"\n")) or ".")
    # A third argument of 0: single files were checked out, and no branch.
    only_branches = '[ "$3" = 0 ] && exit 0\n' if name == "post-checkout" else ""
    return (
        f"#!/bin/sh\n{_MARK}: brings the data to what retrodict.lock/ says; `retrodict hooks uninstall` removes it\n"
        f'before="$0{_KEPT}"\n'
        'if [ -x "$before" ]; then "$before" "$@" || exit $?; fi\n'
        f"{only_branches}"
        f"cd {below} 2>/dev/null && [ -d retrodict.lock ] || exit 0\n"
        "unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE\n"
        f"exec {shlex.quote(interpreter)} -m retrodict checkout\n"
    )
