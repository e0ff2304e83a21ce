"""The git work tree round a project: whether there is one, and what it is to leave to us. No verb.

What is pinned is put into the repository's `info/exclude`, which git does not keep, and not into a `.gitignore`: two
people who add or remove neighbours would be in conflict there, and `retrodict.lock/` says already what is ours.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from retrodict.kernel.durable import write_file

_AT_ONCE = 500  # paths in one command line
_SPECIAL = re.compile(rb"([\\*?\[])")


def is_within(root: Path) -> bool:
    """Say whether git would keep what lies in a folder: it is in a work tree, and not ignored there."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return False
    if _ask(root, "rev-parse", "--is-inside-work-tree") != b"true\n":
        return False
    return _ask(root, "check-ignore", "./") is None  # 1: it is not ignored


def keep_out(root: Path, paths: Iterable[str]) -> tuple[str | None, list[str]]:
    """Put what git does not ignore, and does not keep, into the repository's `info/exclude`.

    Args:
        paths: Relative to `root`.

    Returns:
        That file, if it was changed; and the paths that git keeps already, which are left as they are.
    """
    wanted = [path for path in paths if path and "\n" not in path]
    new = _not_ignored(root, wanted)
    found = _exclude(root) if new else None
    if found is None:
        return None, []
    file, prefix = found
    held: list[str] = []
    for start in range(0, len(new), _AT_ONCE):
        asked = [f":(literal){path}" for path in new[start : start + _AT_ONCE]]
        held += map(os.fsdecode, _names(root, "ls-files", "-z", "--", *asked))
    kept = {path for path in new if any(name == path or name.startswith(path + "/") for name in held)}
    lines = b"".join(_line(prefix + path) + b"\n" for path in new if path not in kept)
    if lines:
        file.parent.mkdir(exist_ok=True)
        before = file.read_bytes() if file.exists() else b""
        _replace(file, before + (b"" if not before or before.endswith(b"\n") else b"\n") + lines)
    return str(file) if lines else None, sorted(kept)


def keeps(root: Path, path: str) -> bool:
    """Say whether git keeps a path by itself, so that it comes with a checkout."""
    return bool(_ask(root, "ls-files", "-z", "--", f":(literal){path}"))


def let_in(root: Path, path: str) -> None:
    """Take a path out of the repository's `info/exclude`, where it stands there by itself."""
    found = _exclude(root) if path else None
    if found is not None and found[0].is_file():
        file, prefix = found
        lines = file.read_bytes().splitlines(keepends=True)
        left = [line for line in lines if line.rstrip(b"\r\n") != _line(prefix + path)]
        if len(left) < len(lines):
            _replace(file, b"".join(left))


def _replace(file: Path, data: bytes) -> None:
    """Write `info/exclude` anew, in one step: most of what it says is others'."""
    file = file.resolve()  # it may be a link
    write_file(file, data, mode=stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o644)


def _exclude(root: Path) -> tuple[Path, str] | None:
    """Return the file, and where `root` lies in the work tree ("" or "sub/"); None where there is no git."""
    answer = _ask(root, "rev-parse", "--git-path", "info/exclude", "--show-prefix")
    if answer is None:
        return None
    file, prefix = os.fsdecode(answer).split("\n")[:2]
    return Path(os.path.normpath(root / file)), prefix


def _not_ignored(root: Path, paths: Sequence[str]) -> list[str]:
    """Return the paths that no pattern makes git ignore; none where there is no git."""
    if not paths:
        return []
    asked = b"\0".join(os.fsencode(path) for path in paths)
    answer = _ask(root, "check-ignore", "-z", "--stdin", "--no-index", given=asked, fails_with=1)
    if answer is None:
        return []
    ignored = {os.fsdecode(path) for path in answer.split(b"\0")}
    return [path for path in paths if path not in ignored]


def _line(path: str) -> bytes:
    escaped = b"/" + _SPECIAL.sub(rb"\\\1", os.fsencode(path))
    return escaped[:-1] + b"\\ " if escaped.endswith(b" ") else escaped


def _names(root: Path, *words: str) -> list[bytes]:
    return [name for name in (_ask(root, *words) or b"").split(b"\0") if name]


def _ask(root: Path, *words: str, given: bytes = b"", fails_with: int = 0) -> bytes | None:
    """Return what git says; None where it, or a repository, is not there. `fails_with` is a code that says "none"."""
    command = ["git", "-c", "core.fsmonitor=false", "--no-optional-locks", *words]
    import subprocess  # 4 ms

    try:
        done = subprocess.run(command, cwd=root, input=given, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode in (0, fails_with) else None
