"""The code of a run: the state of the git work tree around it, and the files that make it up.

Only facts and paths: the caller stores the tree. Git is asked through its own commands with everything that could
write, prompt, or run a hook of the repository turned off.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 60.0
MOST_FILES = 20_000
# What pins the data is none of it: a run has what it read as inputs.
_CODE = ("--", ".", ":(exclude,glob)**/retrodict.lock/**")
MOST_FILE_BYTES = 8 << 20  # an untracked file larger than this is data; a tracked one is taken as it is
MOST_DIFF_BYTES = 16 << 20
_CODE_SUFFIXES = frozenset({
    ".py", ".pyi", ".pyx", ".pxd", ".ipynb", ".sh", ".bash", ".zsh", ".r", ".R", ".jl", ".sql", ".pl", ".rb", ".js",
    ".mjs", ".ts", ".lua", ".c", ".h", ".cc", ".cpp", ".hpp", ".rs", ".go", ".java", ".scala", ".toml", ".cfg", ".ini",
    ".yaml", ".yml", ".mk", ".cmake",
})  # fmt: skip
_CODE_NAMES = frozenset({
    "Makefile", "Dockerfile", "Snakefile", "Justfile", "Pipfile", "requirements.txt", "poetry.lock", "uv.lock",
})  # fmt: skip
_CREDENTIALS = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/@]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFile:
    """One file of the code.

    Attributes:
        name: Where it stands in the code tree: relative to the repository (or project); a module from elsewhere
            under `outside/` and its absolute path.
        path: Where it lies, absolute.
        origin: tracked, untracked, or read (by the run, and in neither).
    """

    name: bytes
    path: bytes
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFacts:
    """The state of the code.

    Attributes:
        root: Of the work tree; of the project where there is no git.
        commit: None without git, and before the first commit.
        branch: None without git, and when HEAD is detached.
        remote: URL of `origin` without credentials.
        is_dirty: Whether tracked files differ from the commit, or there are untracked ones among `files`.
        files: What makes the code tree, sorted by name.
        diff: Uncommitted changes of tracked files, as `git diff HEAD --binary` prints them.
        left_out: What the limits cut off, in words.
    """

    root: bytes
    commit: str | None
    branch: str | None
    remote: str | None
    is_dirty: bool
    files: tuple[CodeFile, ...]
    diff: bytes
    left_out: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return the facts (not the files, which are a tree, nor the diff, which is an object)."""
        return {
            "commit": self.commit,
            "branch": self.branch,
            "remote": self.remote,
            "dirty": self.is_dirty,
            "files": len(self.files),
            "left_out": list(self.left_out),
        }


def snapshot_code(
    project: Path, accesses: Iterable[bytes], *, environment: Mapping[str, str], git: str = "git"
) -> CodeFacts:
    """Return the state of the code around a project, and the files that make it up.

    Args:
        project: A folder in the work tree; without git, the files that the run read below it are the code.
        accesses: Absolute real paths of the code files that the run read.
        environment: For git: PATH and HOME.
        git: The program.
    """
    here = os.path.realpath(os.fsencode(project))
    read = sorted(set(accesses))
    repository = Git(git, here, environment)
    found = repository.ask("rev-parse", "--show-toplevel")
    if not found:
        return CodeFacts(
            root=here,
            commit=None,
            branch=None,
            remote=None,
            is_dirty=False,
            files=tuple(_sorted(_outside(here, path) for path in read)),
            diff=b"",
            left_out=(),
        )
    root = os.path.realpath(found.rstrip(b"\n"))
    repository = Git(git, root, environment)
    state = repository.state()
    tracked = repository.names("ls-files", "-z", *_CODE)
    left_out: list[str] = []
    files: dict[bytes, CodeFile] = {}
    for name in tracked:
        path = os.path.join(root, name)
        if os.path.isfile(path) or os.path.islink(path):  # neither deleted nor a submodule
            files[path] = CodeFile(name=name, path=path, origin="tracked")
    wanted = set(read)
    for name in state.untracked:
        path = os.path.join(root, name)
        if b".retrodict/" in b"/" + name or not (path in wanted or _is_code(name)):
            continue
        size = os.lstat(path).st_size if os.path.lexists(path) else 0
        if size > MOST_FILE_BYTES:
            left_out.append(f"{os.fsdecode(name)}: untracked and {size:,} bytes long")
        else:
            files[path] = CodeFile(name=name, path=path, origin="untracked")
    for path in read:
        if path not in files and os.path.lexists(path):
            files[path] = _outside(root, path)
    if len(files) > MOST_FILES:
        left_out.append(f"{len(files) - MOST_FILES:,} files beyond the first {MOST_FILES:,}")
    diff = b""
    if state.commit and state.is_changed:
        words = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv")
        diff = repository.ask("diff", "HEAD", *words, *_CODE) or b""
    if len(diff) > MOST_DIFF_BYTES:
        left_out.append(f"the diff, {len(diff):,} bytes long: the files themselves are in the tree")
        diff = b""
    remote = repository.text("config", "--get", "remote.origin.url")
    kept = _sorted(files.values())[:MOST_FILES]
    return CodeFacts(
        root=root,
        commit=state.commit,
        branch=state.branch,
        remote=_CREDENTIALS.sub(r"\1", remote) if remote else None,
        is_dirty=state.is_changed or any(file.origin == "untracked" for file in kept),
        files=tuple(kept),
        diff=diff,
        left_out=tuple(left_out),
    )


def _sorted(files: Iterable[CodeFile]) -> list[CodeFile]:
    return sorted(files, key=lambda file: file.name)


def _outside(root: bytes, path: bytes) -> CodeFile:
    name = path[len(root) + 1 :] if path.startswith(root + b"/") else b"outside" + path
    return CodeFile(name=name, path=path, origin="read")


def _is_code(name: bytes) -> bool:
    base = os.path.basename(name)
    return os.fsdecode(base) in _CODE_NAMES or os.fsdecode(os.path.splitext(base)[1]) in _CODE_SUFFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What `git status` tells; `is_changed`: tracked files differ from the commit."""

    commit: str | None
    branch: str | None
    is_changed: bool
    untracked: tuple[bytes, ...]


class Git:
    """Asks one repository, and changes nothing in it."""

    def __init__(self, program: str, folder: bytes, environment: Mapping[str, str]) -> None:
        self._command = [program, "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "--no-optional-locks"]
        self._folder = folder
        self._environment = {
            # A hook of git's sets variables that name another repository; how far up to look stays said.
            **{k: v for k, v in environment.items() if not k.startswith("GIT_") or k == "GIT_CEILING_DIRECTORIES"},
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def ask(self, *arguments: str) -> bytes | None:
        """Return what a command prints, None where git, the repository or the answer is missing."""
        try:
            answer = subprocess.run(
                [*self._command, *arguments],
                cwd=self._folder,
                env=self._environment,
                capture_output=True,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return answer.stdout if answer.returncode == 0 else None

    def text(self, *arguments: str) -> str | None:
        """Return the first line of an answer."""
        return os.fsdecode(answer.split(b"\n", 1)[0]) if (answer := self.ask(*arguments)) else None

    def state(self) -> _State:
        """Return the state of the work tree, from one command (git-status(1), porcelain format version 2)."""
        commit = branch = None
        is_changed = False
        untracked = []
        lines = iter(self.names("status", "--porcelain=v2", "--branch", "--untracked-files=all", "-z", *_CODE))
        for line in lines:
            match line[:2]:
                case b"# ":
                    _, key, value = line.split(b" ", 2)
                    if key == b"branch.oid" and value != b"(initial)":
                        commit = os.fsdecode(value)
                    elif key == b"branch.head" and value != b"(detached)":
                        branch = os.fsdecode(value)
                case b"? ":
                    untracked.append(line[2:])
                case _:
                    is_changed = True
                    if line[:2] == b"2 ":
                        next(lines)  # a renamed file: the name that it had
        return _State(commit=commit, branch=branch, is_changed=is_changed, untracked=tuple(untracked))

    def names(self, *arguments: str) -> list[bytes]:
        """Return an answer of names that end with NUL."""
        return [name for name in (self.ask(*arguments) or b"").split(b"\0") if name]
