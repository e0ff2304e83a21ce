"""`fsck`: name what of the objects is altered or missing, and put good copies from elsewhere in its place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from retrodict import datasets
from retrodict.actions.holding import listed_or_blob
from retrodict.actions.needs import roots
from retrodict.actions.references import References
from retrodict.actions.remotes import full_address, read_remotes, unknown_remote
from retrodict.kernel.errors import IntegrityError, UsageError
from retrodict.kernel.protocols import Progress, Remote
from retrodict.kernel.types import Digest, Finding, is_digest
from retrodict.objects import BadFile, BundleRemote, Copies, Mender, open_remote
from retrodict.objects.names import Kind, as_name
from retrodict.workspace import FOLDER, Batch, Workspace, alone, refuse_writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found of the objects, and what became of it.

    Attributes:
        answer: "yes": nothing is altered or missing (any more); "no": something is.
        findings: What is altered or missing now; as notes, what was let go on purpose or never fetched.
        found: What was, where copies were looked for.
        place: Where they were looked for; None: nothing was changed.
        repaired: How many objects are good again.
        files: How many packs and raw files were replaced, or removed once all that they held was good elsewhere.
        received_bytes: How much was read there.
        is_index_rebuilt: The index did not say what the packs hold, and was made again from them.
        entry: Of the event that records it; None: there was nothing to repair.
    """

    answer: Literal["yes", "no"]
    findings: tuple[Finding, ...]
    found: tuple[Finding, ...] = ()
    place: str | None = None
    repaired: int = 0
    files: int = 0
    received_bytes: int = 0
    is_index_rebuilt: bool = False
    entry: int | None = None


def fsck(
    workspace: Workspace,
    *,
    repair_from: str | None = None,
    folder: Path,
    progress: Progress | None = None,
) -> Checked:
    """Read all objects again; mend what is altered or missing with copies from elsewhere, each checked.

    Args:
        repair_from: Name or address of a remote; or a path (relative to `folder`): a remote, a backup, a bundle or
            another workspace. None: nothing is changed.

    Raises:
        UsageError: It is none of them, holds no copies, or is this workspace.
        RemoteError: It cannot be reached.
        StoreWriteError: There is no room. What was repaired until then stays.
        CopiedWorkspaceError, ReadOnlyStoreError: Nothing can be recorded here.
    """
    if repair_from is None:
        findings = _look(workspace, progress)
        return Checked(answer=_answer(findings), findings=findings)
    refuse_writing(workspace)
    with _copies(workspace, repair_from, folder, progress) as copies, alone(workspace.folder):
        found = _look(workspace, progress)
        if _answer(found) == "yes":
            return Checked(answer="yes", findings=found, place=copies.place)
        mender = workspace.objects.mender()
        bad = mender.bad_files(progress)
        findings, is_rebuilt, files = found, False, 0
        if not bad:
            findings = _with_index_rebuilt(workspace, mender, progress)
            is_rebuilt = findings != found
        repair = _Repair(workspace, mender, copies, bad, findings)
        if _answer(findings) == "no":
            files = repair.run()
            findings = _look(workspace, progress)
            if bad and _answer(findings) == "no" and not mender.bad_files():
                before, findings = findings, _with_index_rebuilt(workspace, mender, progress)
                is_rebuilt = findings != before
        repaired, unrepaired = repair.outcome()
        batch = Batch(workspace)
        body = {
            "source": batch.seal(copies.place),
            "objects": listed_or_blob(batch, repaired),
            "unrepaired": listed_or_blob(batch, unrepaired),
            "files": files,
            "index_rebuilt": is_rebuilt,
        }
        batch.event("store.repaired", uses=(), makes=(), body=body)
        entry = batch.append()[-1].index
    return Checked(
        answer=_answer(findings),
        findings=findings,
        found=found,
        place=copies.place,
        repaired=len(repaired),
        files=files,
        received_bytes=copies.received_bytes,
        is_index_rebuilt=is_rebuilt,
        entry=entry,
    )


def _answer(findings: tuple[Finding, ...]) -> Literal["yes", "no"]:
    return "no" if any(_is_bad(finding) for finding in findings) else "yes"


def _is_bad(finding: Finding) -> bool:
    return finding.level in ("altered", "missing")


@contextlib.contextmanager
def _copies(workspace: Workspace, named: str, folder: Path, progress: Progress | None) -> Iterator[Copies]:
    known = {remote.name: remote.url for remote in read_remotes(workspace)}
    address = known.get(named) or full_address(named, folder)
    with contextlib.ExitStack() as opened:
        if "://" not in address and Path(address).is_file():
            remote: Remote = opened.enter_context(BundleRemote.read(Path(address)))
        else:
            remote = open_remote(address if "://" in address else str(_folder(workspace, named, Path(address), known)))
        copies = Copies(remote, progress)
        if not copies:
            raise UsageError(
                f"{copies.place} holds no packs of objects",
                hint="Name a remote, a backup, a bundle, or another workspace's folder.",
            )
        yield copies


def _folder(workspace: Workspace, named: str, path: Path, known: Iterable[str]) -> Path:
    """Return where packs lie in a folder: another workspace's are in its store."""
    if not path.is_dir():
        if "/" in named:
            raise UsageError(f"there is nothing at {named}", hint="Name a remote, a backup, a bundle, or a folder.")
        raise unknown_remote(named, list(known))
    inner = (path / FOLDER / "objects", path / "objects")
    path = next((place for place in inner if (place / "packs").is_dir()), path)
    if os.path.realpath(path) == os.path.realpath(workspace.objects.folder):
        raise UsageError(
            f"{named} is this workspace itself", hint="Name a remote, a backup, or another workspace's folder."
        )
    return path


def _look(workspace: Workspace, progress: Progress | None) -> tuple[Finding, ...]:
    """Return what `verify` finds of the objects; what is let go is no more than noted."""
    objects = workspace.objects
    findings = list(objects.verify(progress=progress))
    references = References(workspace, rehash=False)
    for log in workspace.logs.held():
        for sequenced in log.ledger.sound():
            findings += references.look(log.numbered(sequenced))
    findings += references.unfetched()
    bad = [Digest(finding.what) for finding in findings if _is_bad(finding) and is_digest(finding.what)]
    kinds = {as_name(d): Kind.TREE if objects.is_tree(d) else Kind.BLOB if objects.has(d) else None for d in bad}
    found = _let_go(workspace, kinds, set(kinds))
    let_go = found.names if found.is_certain else found.roots
    return tuple(dict.fromkeys(_noted(finding, let_go) for finding in findings))


def _with_index_rebuilt(workspace: Workspace, mender: Mender, progress: Progress | None) -> tuple[Finding, ...]:
    """Let the index say what the packs hold: they are all good, so where the two differ it is wrong."""
    mender.rebuild_index()
    return _look(workspace, progress)


def _noted(finding: Finding, let_go: Set[bytes]) -> Finding:
    if not _is_bad(finding) or not is_digest(finding.what) or as_name(finding.what) not in let_go:
        return finding
    return replace(finding, level="note", message=f"{finding.message}: it was let go")


@dataclass(frozen=True, slots=True, kw_only=True)
class _LetGo:
    """What was let go on purpose, by name.

    Attributes:
        roots: What was named then.
        names: That, and what lies in it and in nothing that is kept.
        is_certain: What is kept can be read, so that nothing in `names` is needed still.
    """

    roots: frozenset[bytes]
    names: Set[bytes]
    is_certain: bool


def _let_go(workspace: Workspace, lost: Mapping[bytes, int | None], candidates: set[bytes]) -> _LetGo:
    """Return what was let go.

    Args:
        lost: What cannot be read now, each with its kind where that is known.
        candidates: What may have been: where nobody can tell any more what a folder held that was let go, that is all
            of these that nothing needs.
    """
    kept: frozenset[Digest] | None = None
    try:
        found = roots(workspace, also=lost.keys() | candidates)
        released, kept = found.released, found.needed
    except IntegrityError:
        released = frozenset(datasets.released(workspace.views.database()))
    named = frozenset(as_name(digest) for digest in released)
    if not named:
        return _LetGo(roots=named, names=named, is_certain=True)
    in_released, is_known = _closure(workspace, released, lost)
    if kept is None:
        return _LetGo(roots=named, names=in_released, is_certain=False)
    needed, is_certain = _closure(workspace, kept, lost)
    names = (in_released if is_known else in_released | candidates) - needed
    return _LetGo(roots=named, names=names, is_certain=is_certain)


def _closure(
    workspace: Workspace, digests: frozenset[Digest], lost: Mapping[bytes, int | None]
) -> tuple[set[bytes], bool]:
    """Return the names of what objects are made of, and whether that is all of it."""
    objects = workspace.objects
    is_whole = True
    try:
        names = objects.needed(digests)
    except IntegrityError:
        names, is_whole = {as_name(digest) for digest in digests}, False
        for digest in digests:
            with contextlib.suppress(IntegrityError):
                names |= objects.needed([digest])
    leads_on = (name for name, kind in lost.items() if kind not in (Kind.BLOB, Kind.CHUNK))
    return names, is_whole and names.isdisjoint(leads_on)


class _Repair:
    """One repair: whole files first, then record by record, then bad files whose records are all good elsewhere."""

    def __init__(
        self,
        workspace: Workspace,
        mender: Mender,
        copies: Copies,
        bad: Sequence[BadFile],
        found: tuple[Finding, ...],
    ) -> None:
        self._workspace = workspace
        self._mender = mender
        self._copies = copies
        self._bad = bad
        self._digests = [Digest(f.what) for f in found if _is_bad(f) and is_digest(f.what)]
        self._wanted: dict[bytes, int | None] = {name: kind for file in bad for name, kind in file.lost.items()}
        self._candidates = {name for file in bad for name in file.names}
        self._spared: Set[bytes] = frozenset()

    def run(self) -> int:
        """Repair what can be; return how many bad files are no more."""
        spared = self._look_up().names
        left: list[BadFile] = []
        for bad in self._bad:
            if not bad.names.isdisjoint(spared) or not self._mender.replace(bad, self._copies):
                left.append(bad)
        tried: set[bytes] = set()
        self._gather(tried, spares_doubt=True)
        if not self._look_up().is_certain:
            self._gather(tried, spares_doubt=False)
        found = self._look_up()
        self._spared = found.names if found.is_certain else found.roots
        for bad in [*left]:
            if all(name in self._spared or self._mender.is_good(name) for name in bad.lost):
                self._mender.retire(bad)
                left.remove(bad)
        return len(self._bad) - len(left)

    def _look_up(self) -> _LetGo:
        """Return what was let go, as far as that can be told by now: what more is wanted is found on the way."""
        self._wanted |= dict.fromkeys(set(self._lacking()) - self._wanted.keys())
        lost = {name: kind for name, kind in self._wanted.items() if not self._mender.is_good(name)}
        return _let_go(self._workspace, lost, self._candidates | self._wanted.keys())

    def _gather(self, tried: set[bytes], *, spares_doubt: bool) -> None:
        """Look for records until nothing more is wanted: what a listing lists is known once it is good again.

        Args:
            tried: What was looked for before; what is looked for now is added.
            spares_doubt: Leave out what may have been let go; otherwise what may be needed still is rather repaired.
        """
        while True:
            let_go = self._look_up()
            spared = let_go.names if let_go.is_certain or spares_doubt else let_go.roots
            due = {
                name: kind
                for name, kind in self._wanted.items()
                if name not in spared and name not in tried and not self._mender.is_good(name)
            }
            if not due:
                return
            self._mender.gather(due, self._copies)
            tried |= due.keys()

    def _lacking(self) -> Iterator[bytes]:
        for digest in self._digests:
            with contextlib.suppress(IntegrityError):  # an altered listing is wanted itself, and looked into then
                yield from self._workspace.objects.lacking(digest)

    def outcome(self) -> tuple[list[str], list[str]]:
        """Return what is good again, and what is not: names in hex, so that to list them makes nothing be kept."""
        wanted = sorted(self._wanted.keys() - self._spared)
        good = {name for name in wanted if self._mender.is_good(name)}
        return [name.hex() for name in wanted if name in good], [name.hex() for name in wanted if name not in good]
