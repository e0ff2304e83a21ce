"""What the commits of a DVC repository say: which outputs there were, and which stages had run."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from retrodict.dvc.git import Entry, Repository
from retrodict.kernel.clock import NS, rfc3339

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?\Z")
_PERSON = re.compile(rb"(?P<name>.*) (?P<seconds>\d+) [+-]\d{4}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """An output or a dependency.

    Attributes:
        path: From the top of the repository; None where it lies outside of it, or is a URL.
        written: As DVC's file has it.
        md5: Of the bytes; of a folder that of its listing, with ".dir" behind it; None where it is hashed otherwise.
        is_text_md5: It is DVC 2's, which hashes texts as if their lines ended in LF.
        is_executable: It can be run.
        blob: git's name of the file, where git keeps it (DVC's `cache: false`, scripts).
    """

    path: str | None
    written: str
    md5: str | None
    is_text_md5: bool
    is_executable: bool = False
    blob: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is one."""
        return self.md5 is not None and self.md5.endswith(".dir")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage as `dvc.lock` has it: it ran, and that is what it read and wrote.

    Attributes:
        file: The `dvc.lock`.
        command: As the shell took it; several are lines.
        folder: Where it ran, from the top of the repository.
        params: Flattened, `FILE:KEY` -> value.
    """

    file: str
    name: str
    command: str
    folder: str
    deps: tuple[Out, ...]
    outs: tuple[Out, ...]
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One commit, with what DVC's files in it say.

    Attributes:
        author: "Name <mail>".
        authored: RFC 3339.
        sources: Path of an output -> where it was imported from, where its `.dvc` file says so.
        unread: Files that cannot be read as DVC's, and why.
    """

    id: str
    author: str
    authored: str
    message: str
    outs: tuple[Out, ...]
    stages: tuple[Stage, ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[tuple[str, str], ...] = ()


def read_history(repository: Repository) -> Iterator[Commit]:
    """Yield every commit of every branch and tag, parents before their children."""
    parsed: dict[str, object] = {}  # by the blob: most commits change few of DVC's files
    for commit in repository.commits():
        yield _commit(repository, commit, parsed)


def _commit(repository: Repository, commit: str, parsed: dict[str, object]) -> Commit:
    author, authored, message = _head(repository.read(commit))
    entries = {entry.path: entry for entry in repository.entries(commit)}
    outs: dict[str, Out] = {}
    stages: list[Stage] = []
    sources: dict[str, str] = {}
    unread: list[tuple[str, str]] = []
    for path, entry in entries.items():
        name = posixpath.basename(path)
        if not (name == "dvc.lock" or (name.endswith(".dvc") and name != ".dvc")) or entry.is_link:
            continue
        try:
            content = _yaml(repository, entry, parsed)
            if name == "dvc.lock":
                found = list(_stages(repository, path, content, entries, parsed))
                stages += found
                made = [out for stage in found for out in stage.outs]
            else:
                made = _dvc_file(path, content, entries, sources)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            unread.append((path, str(error).split("\n", 1)[0] or type(error).__name__))
            continue
        outs |= {out.path or out.written: out for out in made}
    return Commit(
        id=commit,
        author=author,
        authored=authored,
        message=message,
        outs=tuple(outs.values()),
        stages=tuple(stages),
        sources=sources,
        unread=tuple(unread),
    )


def _head(data: bytes) -> tuple[str, str, str]:
    """Return the author, the date and the message of a commit object."""
    head, _, message = data.partition(b"\n\n")
    for line in head.split(b"\n"):
        if line.startswith(b"author ") and (match := _PERSON.match(line[7:])):
            name = match["name"].decode("utf-8", "replace")
            return name, rfc3339(int(match["seconds"]) * NS), message.decode("utf-8", "replace").strip()
    return "unknown", rfc3339(0), message.decode("utf-8", "replace").strip()


def _yaml(repository: Repository, entry: Entry, parsed: dict[str, object]) -> Any:
    import yaml  # 20 ms

    if entry.blob not in parsed:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            parsed[entry.blob] = yaml.load(repository.read(entry.blob), loader) or {}  # noqa: S506 - a safe loader
        except yaml.YAMLError as error:
            raise ValueError(f"no YAML: {error}") from error
    return parsed[entry.blob]


def _dvc_file(path: str, content: Any, entries: Mapping[str, Entry], sources: dict[str, str]) -> list[Out]:
    """Return the outputs that a `.dvc` file names, and note where they were imported from."""
    folder = posixpath.join(posixpath.dirname(path), content.get("wdir", "."))
    found = [_out(item, folder, entries) for item in content.get("outs") or ()]
    for dep in content.get("deps") or ():
        repo = dep.get("repo") or {}
        if "url" in repo:
            source = f"{repo['url']}, {dep.get('path')}, revision {repo.get('rev_lock') or repo.get('rev')}"
        else:
            source = str(dep.get("path")) + (f", etag {dep['etag']}" if "etag" in dep else "")
        sources |= {out.path: source for out in found if out.path is not None}
    return found


def _stages(
    repository: Repository, path: str, content: Any, entries: Mapping[str, Entry], parsed: dict[str, object]
) -> Iterator[Stage]:
    """Yield the stages of a `dvc.lock` (schema 1 has them at the top, 2 under `stages`)."""
    folder = posixpath.dirname(path)
    listed = content.get("stages", {}) if "schema" in content else content
    described: Any = {}
    yaml_path = posixpath.join(folder, "dvc.yaml")
    if yaml_path in entries:
        described = _yaml(repository, entries[yaml_path], parsed).get("stages") or {}
    for name, stage in (listed or {}).items():
        said = described.get(name) or described.get(name.partition("@")[0]) or {}
        said = said.get("do", said)
        below = said.get("wdir", ".")
        where = posixpath.normpath(posixpath.join(folder, below if "${" not in str(below) else "."))
        command = stage.get("cmd", "")
        yield Stage(
            file=path,
            name=str(name),
            command="\n".join(map(str, command)) if isinstance(command, list) else str(command),
            folder=where,
            deps=tuple(_out(item, where, entries) for item in stage.get("deps") or ()),
            outs=tuple(_out(item, where, entries) for item in stage.get("outs") or ()),
            params={
                f"{file}:{key}": str(value)
                for file, values in (stage.get("params") or {}).items()
                for key, value in _flat(values)
            },
        )


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values


def _out(item: Any, folder: str, entries: Mapping[str, Entry]) -> Out:
    written = str(item["path"])
    path: str | None = posixpath.normpath(posixpath.join(folder, written))
    assert path is not None
    if "://" in written or path.startswith(("/", "../")) or path in (".", "..") or "\0" in path:
        path = None
    md5 = item.get("md5")
    entry = None if path is None else entries.get(path)
    return Out(
        path=path,
        written=written,
        md5=md5 if isinstance(md5, str) and _MD5.match(md5) else None,
        is_text_md5=item.get("hash", "") != "md5",
        is_executable=item.get("isexec") is True,
        blob=None if entry is None or entry.is_link else entry.blob,
    )
