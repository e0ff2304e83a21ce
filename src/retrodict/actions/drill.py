"""`backup drill`: restore into a temporary place, verify, rebuild the views, and say what would have been lost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retrodict.actions import open as opening
from retrodict.actions.backing import build, fetch_keys, last_backup
from retrodict.backups import Manifest, Vault
from retrodict.kernel.clock import NS, parse_rfc3339
from retrodict.kernel.errors import IntegrityError
from retrodict.kernel.protocols import Clock, Progress, Remote
from retrodict.kernel.types import Finding
from retrodict.keys import LogSigner
from retrodict.workspace import Workspace

Answer = Literal["yes", "no", "could not tell"]
Verify = Callable[[Workspace, str | None], tuple[Answer, int, tuple[Finding, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """How a backup would do.

    Attributes:
        answer: "yes": it verifies against the log's key; "no": it does not, or the log here is not what it holds;
            "could not tell": it agrees with itself, and no key was there to check it with.
        number, made_at: The backup; 0 and "" where not even that can be read.
        entries, objects: How many were checked.
        has_keys: Whether keys were opened too (None: not asked).
        lost_entries: How many entries of the log here are not in the backup (None: there is no workspace here).
        lost_seconds: Since the oldest of them; 0 where there is none. Without a workspace: since the backup.
        findings: Everything that is altered or missing.
    """

    answer: Answer
    destination: str
    number: int
    made_at: str
    entries: int
    objects: int
    has_keys: bool | None
    lost_entries: int | None
    lost_seconds: float
    findings: tuple[Finding, ...]


def drill(
    remote: Remote,
    clock: Clock,
    *,
    verify: Verify,
    workspace: Workspace | None = None,
    key: str | None = None,
    at: int | None = None,
    keys_from: Remote | None = None,
    passphrase: bytes = b"",
    progress: Progress | None = None,
) -> Drill:
    """Try a restore.

    Args:
        verify: Checks a workspace, against a key where one is given: answer, objects, findings.
        workspace: The one that was backed up, if it is here.
        key: The log's public key; the workspace's own unless given, else that of the keys in `keys_from`.
        at: The number of the backup; None: the last.
        keys_from: Where its keys lie, to be opened with `passphrase`.

    Raises:
        UsageError: There is no backup.
        PassphraseError: The keys do not open.
        RemoteError: The destination cannot be reached.
    """
    vault = Vault(remote)
    try:
        chain = last_backup(vault, at)
    except IntegrityError as error:
        return _unreadable(vault, error)
    last = chain[-1]
    if key is None and workspace is not None and workspace.state is not None and workspace.state.verifier is not None:
        key = str(workspace.state.verifier)
    has_keys = None
    if keys_from is not None:
        kept = fetch_keys(keys_from, last.workspace, passphrase).signing_key
        has_keys = bool(kept)
        if key is None and kept:  # whoever has the passphrase has sealed it: nobody at the backup's place could
            key = str(LogSigner.from_text(kept).verifier)
    answer: Answer = "no"
    objects, findings = 0, tuple[Finding, ...]()
    with tempfile.TemporaryDirectory(prefix="retrodict-drill-") as name:
        place = Path(name)
        try:
            build(vault, chain, place / "project" / ".retrodict", clock, progress=progress)
            with opening.open_workspace(place / "project", place / "state", clock) as restored:
                restored.views.database(progress)  # folded anew: a backup holds no views
                answer, objects, findings = verify(restored, key)
        except IntegrityError as error:
            findings = (_altered(vault, error),)
    lost_entries, since = None, last.at
    if workspace is not None and workspace.id == last.workspace:
        lost_entries, since, other = _behind(workspace, last)
        if other:
            answer, findings = "no", (*findings, other)
    lost_seconds = 0.0 if lost_entries == 0 else max(0, clock.now_ns() - parse_rfc3339(since)) / NS
    return Drill(
        answer=answer,
        destination=vault.place,
        number=last.number,
        made_at=last.at,
        entries=last.size,
        objects=objects,
        has_keys=has_keys,
        lost_entries=lost_entries,
        lost_seconds=lost_seconds,
        findings=findings,
    )


def _unreadable(vault: Vault, error: IntegrityError) -> Drill:
    """Return the answer about a place whose manifests are damaged: it is no."""
    return Drill(
        answer="no",
        destination=vault.place,
        number=0,
        made_at="",
        entries=0,
        objects=0,
        has_keys=None,
        lost_entries=None,
        lost_seconds=0.0,
        findings=(_altered(vault, error),),
    )


def _altered(vault: Vault, error: IntegrityError) -> Finding:
    message = error.message.removeprefix(f"{vault.place}: ")  # which the finding says itself
    return Finding(level="altered", what=vault.place, message=message)


def _behind(workspace: Workspace, last: Manifest) -> tuple[int, str, Finding | None]:
    """Return how many entries would be lost, when the oldest of them was made, and whether the histories differ."""
    size = workspace.ledger.size()
    if size < last.size or workspace.ledger.root(last.size).hex() != last.root:
        message = f"the log here ({size} entries) does not continue the {last.size} entries of the backup"
        return 0, last.at, Finding(level="altered", what="ledger.db", message=message)
    lost = [s.event for s in workspace.ledger.read(last.size, size) if s.event.kind != "backup.made"]
    return len(lost), lost[0].at if lost else last.at, None
