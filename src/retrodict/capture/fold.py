"""From records of calls to facts: true inputs (existed before, were read), true outputs (exist after, were written).

The guard sees attempts, before the kernel carries them out: whether a call succeeded shows in what is seen of the same
file later, and at the latest in what lies there at the end.
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retrodict.capture import records as r
from retrodict.capture.facts import Access, Capture, Completeness, Inherited, Mode, Program, Resources
from retrodict.capture.files import Status, status
from retrodict.capture.ignore import Ignore
from retrodict.capture.spool import Record
from retrodict.kernel.filesystems import keeps_times

_CODE_SUFFIXES = (
    b".py", b".pyi", b".pyx", b".pth", b".so", b".sh", b".bash", b".zsh", b".r", b".R", b".jl", b".sql", b".pl", b".rb",
    b".js", b".mjs", b".ts", b".lua", b".ipynb",
)  # fmt: skip
_INTERPRETERS = (b"python", b"pypy", b"sh", b"bash", b"dash", b"zsh", b"Rscript", b"perl", b"ruby", b"node", b"julia")
_OPTIONS_WITH_VALUES = (b"-W", b"-X", b"-o", b"+o", b"-O", b"--rcfile", b"-I")
_MOST_COMPARED_BYTES = 256 << 20
_TICK_NS = 10**7  # file systems stamp with a clock this coarse
_GONE = Status(0, 0, -1, -1, -1, stat.S_IFREG, 1)  # was read, and nobody looked at it before it went away


@dataclass(slots=True, kw_only=True)
class _Name:
    """What is known of one path.

    Attributes:
        before: Its status before the run touched it; None: it was not there.
        made: Its content was made by the run.
        written: The run may have changed what the path names.
        clobbered: The status before a call that should have destroyed it.
        replaced: It was truncated before the run began (by the shell): written whatever the times say.
        came_as: The name under which its content came.
        at_ns: When it was first touched.
    """

    before: Status | None
    made: bool = False
    written: bool = False
    clobbered: Status | None = None
    replaced: bool = False
    came_as: bytes
    at_ns: int = 0


def _status(value: object) -> Status | Literal[0] | None:
    return Status(*value) if isinstance(value, tuple) else 0 if value == r.UNKNOWN else None


class _Fold:
    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.names: dict[bytes, _Name] = {}
        self.inputs: dict[bytes, tuple[str, int, Status | None]] = {}  # path -> how, when, status then
        self.programs: list[Program] = []
        self.scripts: set[bytes] = set()
        self.connections: set[str] = set()
        self.inherited: list[Inherited] = []
        self.blind: list[str] = []
        self.views: set[str] = set()
        self.takeovers = 0
        self.processes: set[int] = set()
        self.alive: set[int] = set()
        self.moved: list[tuple[bytes, bytes]] = []
        self.preserved: dict[tuple[int, ...], tuple[str, bytes]] = {}
        self.exit_code: int | None = None
        self.usage = (0, 0, 0)
        self.started_ns = self.finished_ns = 0
        self.cwd = b"/"
        self.is_whole = False
        self.last_seen: dict[bytes, int] = {}
        for i, record in enumerate(records):
            match record[0]:
                case r.MOVE if record[7]:
                    self.last_seen[record[6]] = i
                case r.OPEN | r.LINK | r.MOVE if record[5]:
                    self.last_seen[record[4]] = i
                case r.DELETE | r.TRUNCATE if record[4]:
                    self.last_seen[record[3]] = i

    def name(self, path: bytes, before: Status | None, at_ns: int) -> _Name:
        known = self.names.get(path)
        if known is None:
            source, target = next(
                ((a, b) for a, b in reversed(self.moved) if path.startswith(b + b"/")),
                (b"", b""),
            )
            known = self.names[path] = _Name(
                before=None if source else before,
                written=bool(source),
                came_as=source + path[len(target) :],
                at_ns=at_ns,
            )
        if before and known.clobbered and known.clobbered[:5] == before[:5]:
            known.made = False  # what should have truncated or removed it had failed
        known.clobbered = None
        return known

    def used(self, name: _Name, how: str, at_ns: int, then: Status | None) -> None:
        if not name.made:
            self.inputs.setdefault(name.came_as, (how, at_ns, then))

    def fold(self) -> None:
        for i, record in enumerate(self.records):
            kind, at_ns = record[0], record[1]
            match kind:
                case r.INVOKED:
                    self.invoked(at_ns, *record[2:])
                case r.THREAD:
                    self.processes.add(record[3])
                    self.alive.add(record[3])
                case r.ENDED:
                    self.alive.discard(record[2])
                case r.EXIT:
                    self.finished_ns = self.finished_ns or at_ns
                    self.exit_code = record[2] if self.exit_code is None else self.exit_code
                case r.USAGE:
                    self.usage = record[2:5]
                case r.LAST:
                    self.is_whole = True
                case r.BLIND:
                    self.blind.append(str(record[3]))
                case r.VIEW:
                    self.views.add(str(record[3]))
                case r.TAKEOVER:
                    self.takeovers += 1
                case r.CONNECT:
                    self.connections.add(record[3])
                case r.PRESERVED:
                    self.preserved.setdefault(tuple(record[4][:4]), (record[5], record[6]))
                case r.EXECUTE:
                    self.executed(at_ns, record[3], _status(record[4]), record[5])
                case r.OPEN:
                    self.opened(at_ns, record[3], record[4], _status(record[5]))
                case r.TRUNCATE if record[4] is not None:
                    self.name(record[3], _status(record[4]) or status(record[3]), at_ns).written = True
                case r.NODE | r.SYMLINK if record[4] is None:
                    self.make(self.name(record[3], None, at_ns))
                case r.DELETE if record[4]:
                    before = _status(record[4]) or None
                    name = self.name(record[3], before, at_ns)
                    self.make(name)
                    name.clobbered = before
                case r.MOVE | r.LINK:
                    self.linked(i, kind, at_ns, *record[3:8])
        self.add_unopened_files_of_moved_folders()
        self.spread_writes_over_hard_links()

    def make(self, name: _Name) -> None:
        name.made = name.written = True

    def invoked(
        self,
        at_ns: int,
        argv: Sequence[str],
        cwd: bytes,
        inherited: Iterable[tuple[int, int, bytes, object]],
        since: int,
    ) -> None:
        del argv, since
        self.started_ns, self.cwd = at_ns, cwd
        for descriptor, flags, path, found in inherited:
            self.inherited.append(Inherited(descriptor=descriptor, target=path))
            before = _status(found)
            if not before:
                continue
            name = self.name(path, before, at_ns)
            access = flags & r.ACCESS_MODE
            if access:
                name.written = True
                name.replaced = access == os.O_WRONLY and not flags & r.APPENDS
            if access != os.O_WRONLY:
                self.used(name, f"inherited {descriptor}", at_ns, before)

    def executed(self, at_ns: int, path: bytes, found: Status | Literal[0] | None, argv: Sequence[bytes]) -> None:
        self.programs.append(Program(path=path, argv=tuple(argv)))
        self.used(self.name(path, found or None, at_ns), "executed", at_ns, found or None)
        self.scripts.add(path)
        if os.path.basename(path).startswith(_INTERPRETERS):
            self.scripts.update(_script(argv))
        try:
            with open(path, "rb") as file:
                head = file.read(256)
            if head[:2] != b"#!":
                return
            interpreter = os.path.realpath(head[2:].split()[0])  # the kernel opens it itself
        except (OSError, IndexError):
            return
        if there := status(interpreter):
            self.programs.append(Program(path=interpreter, argv=()))
            self.used(self.name(interpreter, there, at_ns), "executed", at_ns, there)

    def opened(self, at_ns: int, flags: int, path: bytes, found: Status | Literal[0] | None) -> None:
        access = flags & r.ACCESS_MODE
        if found == r.UNKNOWN:  # nobody could look: the end decides
            found = _guess(path, flags, at_ns)
        if found and (not found.is_regular or (flags & r.CREATES and flags & r.EXCLUSIVE)):
            return
        name = self.name(path, found or None, at_ns)
        if not found:
            name.made = True
        elif flags & r.TRUNCATES:
            name.made, name.clobbered = True, found
        elif access != os.O_WRONLY:
            self.used(name, "read-write" if access else "read", at_ns, found)
        name.written |= bool(access or flags & r.TRUNCATES) or not found

    def linked(
        self, i: int, kind: str, at_ns: int, flags: int, path: bytes, found: object, target: bytes, there: object
    ) -> None:
        before, replaced = _status(found), _status(there)
        if kind == r.MOVE and (before is None or (flags & r.RENAME_NOREPLACE and replaced)):
            return
        if kind == r.LINK and replaced:
            return
        if kind == r.MOVE and before and self.has_failed(i, before, path, target):
            return
        if before and before.is_folder:
            self.moved.append((path, target))
            for old in [p for p in self.names if p.startswith(path + b"/")]:
                was = self.names[old]
                self.names[target + old[len(path) :]] = replace(
                    was, before=None if was.made else was.before, written=True
                )
                self.make(was)
            return
        source, goal = self.name(path, before or None, at_ns), self.name(target, replaced or None, at_ns)
        if before:
            self.used(source, "moved" if kind == r.MOVE else "linked", at_ns, before)
        if kind == r.MOVE and flags & r.RENAME_EXCHANGE:
            self.names[path] = replace(source, made=goal.made, came_as=goal.came_as, written=True, clobbered=None)
        elif kind == r.MOVE:
            self.names[path] = replace(source, made=True, written=True)
        self.names[target] = replace(
            goal, made=source.made or not before, came_as=source.came_as, written=True, clobbered=None
        )

    def has_failed(self, i: int, before: Status, path: bytes, target: bytes) -> bool:
        """Say whether a rename cannot have happened: the source still stands, and the target is another file."""
        now = status(path)
        if not now or now[:2] != before[:2] or self.last_seen.get(target, -1) > i:
            return False
        there = status(target)
        return not there or there[:2] != before[:2]

    def add_unopened_files_of_moved_folders(self) -> None:
        for _, target in self.moved:
            for folder, _, names in os.walk(target):
                for path in (folder + b"/" + name for name in names):
                    if path not in self.names:
                        found = status(path)
                        self.used(self.name(path, found, self.started_ns), "moved", self.started_ns, found)

    def spread_writes_over_hard_links(self) -> None:
        """Mark names whose file was written under another name."""
        written = {found[:2] for path, name in self.names.items() if name.written and (found := status(path))}
        for path, name in self.names.items():
            if name.written or name.before is None or name.before[:2] not in written:
                continue
            found = status(path)
            name.written = found is not None and found.content != name.before.content

    # From names to accesses ------------------------------------------------------------------------------------

    def prefixes(self) -> tuple[bytes, ...]:
        """Return the roots of the interpreters and virtual environments that took part."""
        roots = {os.path.dirname(p) for p in self.inputs if p.endswith(b"/pyvenv.cfg")}
        for program in self.programs:
            folder = os.path.dirname(program.path)
            if os.path.basename(folder) == b"bin" and _is_prefix(os.path.dirname(folder)):
                roots.add(os.path.dirname(folder))
        return tuple(sorted(root for root in roots if root not in (b"/", b"/usr", b"")))

    def original(self, path: bytes, then: Status | None) -> tuple[str | None, bool, bool]:
        """Say where the bytes of an input lie when they are not at its path, whether they are lost, and to whom.

        Returns:
            The place or None; whether they are lost; whether something that is no part of the run changed the file.
        """
        name, now = self.names.get(path), status(path)
        before = (name.before if name else None) or then
        if before is None:
            return None, now is None, False
        if now and now.content == before.content and (not (name and name.written) or keeps_times(now.device)):
            return None, False, False
        kept = self.preserved.get(before.content)
        if kept and kept[0] == "held":
            return os.fsdecode(kept[1]), False, False
        for other, known in self.names.items():  # moved or linked, and left alone there
            if known.came_as == path and not known.made:
                there = status(other)
                if there and there.content == before.content:
                    return os.fsdecode(other), False, False
        if name is None or not name.written:
            return None, now is None, True
        return None, before.size != 0, False

    def is_code(self, path: bytes, how: str) -> bool:
        if how == "executed" or path.endswith(_CODE_SUFFIXES):
            return True
        return any(path == script or path.endswith(b"/" + script.lstrip(b"./")) for script in self.scripts if script)

    def accesses(self, ignore: Ignore) -> tuple[list[Access], list[bytes], list[str]]:
        found, environment, warnings = [], [], []
        for path, (how, at_ns, then) in sorted(self.inputs.items()):
            if ignore.is_noise(path):
                continue
            if ignore.is_environment(path):
                environment.append(path)
                continue
            if how != "executed" and os.path.lexists(path) and not os.access(path, os.R_OK):
                continue  # opening it failed
            preserved, lost, foreign = self.original(path, then)
            if lost:
                name = self.names.get(path)
                before = (name.before if name else None) or then
                why = self.preserved.get(before.content if before else (), ("", b"nobody could hold it"))[1]
                warnings.append(f"lost: {os.fsdecode(path)} was read and then overwritten ({os.fsdecode(why)})")
            if foreign:
                warnings.append(f"changed by something else while it was read: {os.fsdecode(path)}")
            found.append(
                Access(
                    path=path,
                    how=how,
                    at_ns=at_ns,
                    is_code=self.is_code(path, how),
                    preserved=preserved,
                    lost=lost,
                    changed_while_read=foreign,
                )
            )
        return found, environment, warnings

    def capture(self, ignore: Ignore, mode: Mode, completeness: Completeness, notes: Sequence[str]) -> Capture:
        rules = ignore.with_prefixes(self.prefixes())
        inputs, environment, warnings = self.accesses(rules)
        outputs: list[Access] = []
        temporary: list[bytes] = []
        deleted: list[bytes] = []
        unchanged: list[bytes] = []
        installed = 0
        for path, name in sorted(self.names.items()):
            if not name.written or rules.is_noise(path):
                continue
            now = status(path)
            if rules.is_environment(path):
                installed += bool(now and now.is_regular and name.made)
            elif now is None:
                (temporary if name.before is None else deleted).append(path)
            elif self.is_unchanged(path, name, now):
                unchanged.append(path)
            elif not now.is_folder:
                how = "changed" if name.before else "new"
                outputs.append(Access(path=path, how=how, at_ns=name.at_ns, is_code=path.endswith(_CODE_SUFFIXES)))
        if installed:
            warnings.append(f"the run wrote {installed} files into the environment")
        if self.blind:
            warnings.append(f"{len(self.blind)} calls could not be read: {', '.join(sorted(set(self.blind))[:5])}")
        if self.views:
            warnings.append(f"another view of the file system was entered: {', '.join(sorted(self.views))}")
        if self.takeovers:
            warnings.append(f"a guard was replaced {self.takeovers} times")
        user_us, system_us, peak_kib = self.usage
        code = 125 if self.exit_code is None else self.exit_code
        finished = self.finished_ns or (self.records[-1][1] if self.records else 0)
        return Capture(
            exit_code=code if code >= 0 else 128 - code,
            started_ns=self.started_ns,
            finished_ns=finished,
            mode=mode,
            completeness=completeness,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            temporary=tuple(temporary),
            deleted=tuple(deleted),
            unchanged=tuple(unchanged),
            programs=tuple(self.programs),
            environment_files=tuple(environment),
            connections=tuple(sorted(self.connections)),
            inherited=tuple(self.inherited),
            processes=len(self.processes),
            resources=Resources(
                user_s=user_us / 1e6,
                system_s=system_us / 1e6,
                peak_rss_bytes=peak_kib * 1024,
                wall_s=(finished - self.started_ns) / 1e9,
            ),
            warnings=(*notes, *warnings),
        )

    def is_unchanged(self, path: bytes, name: _Name, now: Status) -> bool:
        """Say whether a path that was open for writing names the same content as before the run."""
        if name.before is None or name.replaced:
            return False
        if now.content == name.before.content and keeps_times(now.device):
            return True
        kept = self.preserved.get(name.before.content)
        if name.made or name.came_as != path or kept is None or kept[0] != "held":
            return False
        if now.size != name.before.size or now.size > _MOST_COMPARED_BYTES:
            return False
        try:
            return filecmp.cmp(path, kept[1], shallow=False)
        except OSError:
            return False


def _script(argv: Sequence[bytes]) -> list[bytes]:
    """Return the argument of an interpreter that is its script, if there is one."""
    takes_value = False
    is_shell = os.path.basename(argv[0]).endswith(b"sh") if argv else False
    for argument in argv[1:]:
        if argument in (b"-c", b"-m") or (argument == b"-e" and not is_shell):
            return []
        if not takes_value and argument[:1] != b"-":
            return [argument]
        takes_value = argument in _OPTIONS_WITH_VALUES
    return []


def _guess(path: bytes, flags: int, at_ns: int) -> Status | None:
    """Return what a file that was opened must have been before, from what lies there at the end.

    A content that can no longer be told has the mtime -1, which no file has.
    """
    now, writes = status(path), flags & r.ACCESS_MODE
    if writes or flags & r.CREATES:
        return None if now and writes and now.mtime_ns >= at_ns - _TICK_NS else now
    if now is None:
        return None if flags & os.O_DIRECTORY else _GONE
    return now._replace(mtime_ns=-1) if now.is_regular and now.mtime_ns > at_ns else now


def _is_prefix(root: bytes) -> bool:
    """Say whether a folder is where an interpreter, a virtual or a conda environment was installed."""
    try:
        libraries = os.listdir(os.path.join(root, b"lib"))
    except OSError:
        return False
    return any(n.startswith(b"python3") for n in libraries) or os.path.isdir(os.path.join(root, b"conda-meta"))


def fold(
    records: Sequence[Record],
    *,
    ignore: Ignore,
    mode: Mode,
    completeness: Completeness,
    notes: Sequence[str] = (),
) -> Capture:
    """Return what the records of a run amount to, given what lies on the disk now.

    Args:
        records: In the order in which the guards wrote them.
        ignore: What is noise and what is environment, for the project of the run.
        notes: Warnings from whoever recorded.
    """
    folded = _Fold(records)
    folded.fold()
    return folded.capture(ignore, mode, completeness, notes)
