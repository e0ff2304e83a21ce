"""Who holds keys, or what they sealed: named before they are destroyed, and afterwards until they say so. No verb.

A clone is *confirmed* by its own log alone, which says so in a `keys.destroyed`. That the log is written by the clone
that was given the keys is shown by a proof that only the holders of the two exchange keys can make; so whoever gave
keys, or got them, can tell, and a third party cannot. A backup of keys is confirmed once a later one has removed it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hmac import compare_digest
from typing import Final, Literal

from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest, Edge, EntryNumber, EventId, Ref
from retrodict.kernel.words import count
from retrodict.keys import exchange
from retrodict.ledger import Sequenced
from retrodict.workspace import Batch, Workspace, forgettings, forgotten_keys, holders, open_text, sealed_text

_IN_ENTRY: Final = 200  # names; more of them are listed in an object
_CLONES: Final = ("keys.shared", "keys.received", "workspace.copied", "keys.destroyed")
_OTHERS: Final = ("subject.exported", "backup.made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A place that held the keys, or the values.

    Attributes:
        kind: "workspace": here; "clone": another workspace that was given keys, or gave them, or is a copy; "export":
            the person's data in a file; "backup".
        where: In words: a public key, a file, an address.
        event: What says so, and its entry; None for here.
        state: Whether the destruction is known there.
        confirmed: The entry that says so, in the holder's own log; None: there is none, or it is this workspace.
        at: When that was recorded (RFC 3339).
    """

    kind: Literal["workspace", "clone", "export", "backup"]
    where: str
    event: EventId | None
    entry: int | None
    state: Literal["confirmed", "not confirmed"]
    confirmed: int | None = None
    at: str | None = None

    def as_body(self) -> dict[str, object]:
        """Return what an entry says of it."""
        return {"kind": self.kind, "event": self.event, "state": self.state}


def listed_or_blob(batch: Batch, names: Sequence[str]) -> Sequence[str] | Digest:
    """Return names as an entry holds them: in an object of their own where they are many."""
    return list(names) if len(names) <= _IN_ENTRY else batch.blob(json.dumps(list(names)).encode())


def confirm_destroyed(workspace: Workspace) -> None:
    """Record that keys are gone from here, as a forgetting asks: for those who gave them, or were given them.

    What was never shared with anybody is confirmed to nobody. Nothing is recorded twice, so that whoever was killed
    before makes up for it the next time. Where nothing can be recorded, nothing is.

    Raises:
        IntegrityError: An entry that says so is altered.
    """
    ring = workspace.keys
    if ring is None or workspace.read_only or workspace.keyless is not None:
        return
    asked = forgettings(workspace)
    if not asked:
        return
    known = Holders(workspace, _CLONES)
    done = {str(one.event.body["forgotten"]) for one in known.destroyed if not _is_of_another(one)}
    batch, is_any = Batch(workspace), False
    for index in asked:
        forgetting = workspace.logs.event(index)
        if forgetting.event.id in done:
            continue
        try:
            keys = set(forgotten_keys(forgetting.event.body, workspace.objects.get))
        except (RetrodictError, ValueError):
            continue  # the object that lists them is not held
        partners = known.partners(keys)
        if not (partners or known.has_kin(forgetting)) or any(ring.holds(key) for key in keys):
            continue
        proofs = [
            {"to": to, "proof": exchange.prove_holder(ring.exchange_key, to, workspace.ledger.origin)}
            for to in partners
        ]
        batch.event(
            "keys.destroyed",
            uses=(Edge(ref=Ref(forgetting.event.id), role="forgetting", evidence="observed"),),
            makes=(),
            body={"forgotten": forgetting.event.id, "proofs": proofs},
        )
        is_any = True
    if is_any:
        batch.append()


class Holders:
    """Who holds keys, or values, as the logs here say: what they say is read once, for any number of forgettings."""

    def __init__(self, workspace: Workspace, kinds: Sequence[str] = (*_CLONES, *_OTHERS)) -> None:
        self._workspace = workspace
        self._kinds = kinds

    @cached_property
    def _events(self) -> list[Sequenced]:
        return [self._workspace.logs.event(index) for index in holders(self._workspace, self._kinds)]

    @cached_property
    def _by_id(self) -> dict[EventId, Sequenced]:
        return {one.event.id: one for one in self._events}

    @cached_property
    def destroyed(self) -> list[Sequenced]:
        """What says that keys are gone from somewhere."""
        return [one for one in self._events if one.event.kind == "keys.destroyed"]

    @cached_property
    def _copied(self) -> list[Sequenced]:
        return [one for one in self._events if one.event.kind == "workspace.copied"]

    def before(self, keys: set[str], *, subjects: set[str] | None = None, since: int) -> tuple[Holder, ...]:
        """Return who holds one of the keys, or values of the subjects: this workspace, and the places outside.

        Args:
            since: The entry before which there were none of them.
        """
        return (self._here("confirmed"), *self._outside(keys, subjects or set(), since, set()))

    def now(self, forgetting: Sequenced) -> tuple[Holder, ...]:
        """Return who held what a forgetting destroyed, as far as is known by now, and who has confirmed it since.

        Raises:
            FormatError: It does not name its keys; and whatever reading the object that lists them raises.
        """
        body, ring = forgetting.event.body, self._workspace.keys
        keys = set(forgotten_keys(body, self._workspace.objects.get))
        subjects = {str(name) for name in _names(body.get("subjects"))}
        named = body.get("holders")
        backups = {str(item["event"]) for item in named} if isinstance(named, list | tuple) else set()
        is_gone = ring is not None and not any(ring.holds(key) for key in keys)
        return (
            self._here("confirmed" if is_gone else "not confirmed"),
            *(self._confirmed(one, forgetting.event.id) for one in self._outside(keys, subjects, None, backups)),
        )

    def _here(self, state: Literal["confirmed", "not confirmed"]) -> Holder:
        return Holder(kind="workspace", where=str(self._workspace.folder), event=None, entry=None, state=state)

    def partners(self, keys: set[str]) -> list[str]:
        """Return the exchange keys of those to whom this workspace gave one of the keys, or from whom it has one."""
        return [where for where, (_, listed) in self._exchanged_here.items() if keys & listed]

    def has_kin(self, forgetting: Sequenced) -> bool:
        """Say whether this workspace was a copy, or was copied, before something was forgotten."""
        own = self._workspace.ledger.origin
        return any(
            one.event.tick < forgetting.event.tick and (not _is_of_another(one) or one.event.body.get("origin") == own)
            for one in self._copied
        )

    def _outside(self, keys: set[str], subjects: set[str], since: int | None, backups: set[str]) -> Iterator[Holder]:
        """Yield who else held one of the keys, or values of the subjects.

        Args:
            since: None: copies of any time, and of backups those that are named in `backups`.
        """
        for where, (one, listed) in self._exchanged.items():
            if keys & listed and where != self._own_key:
                yield _holder("clone", where, one)
        for one in self._events:
            body = one.event.body
            match one.event.kind:
                case "workspace.copied":
                    yield from self._copies(one, since)
                case "subject.exported" if subjects & {str(name) for name in _names(body.get("subjects"))}:
                    rows = sum(n for n in (body.get("rows"), body.get("file_rows")) if isinstance(n, int))
                    told = body.get("records")
                    records = count(told if isinstance(told, int) else 0, "record")
                    where = f"the file that was written then ({count(rows, 'row')}, {records} of streams)"
                    yield _holder("export", where, one)
                case "backup.made":
                    # Of one that is gone already nothing needs to be said: others make one a minute.
                    is_new = since is not None and one.index > since and self._removal(one) is None
                    if is_new or one.event.id in backups:
                        place = open_text(self._workspace, sealed_text(body.get("destination"))) or "a backup"
                        yield _holder("backup", place, one)

    def _confirmed(self, holder: Holder, forgetting: EventId) -> Holder:
        """Return a holder outside as it is known now."""
        assert holder.event is not None
        said, named = self._confirmations.get(forgetting, []), self._by_id[holder.event]
        found: Sequenced | None = None
        match holder.kind:
            case "clone" if named.event.kind == "workspace.copied":
                origin = self._kin(named)
                found = next((one for one in said if self._origin(one) == origin), None)
            case "clone":
                found = next((one for one in said if self._is_by(one, holder.where)), None)
            case "backup":
                found = self._removal(named)
        if found is None:
            return holder
        return replace(holder, state="confirmed", confirmed=found.index, at=found.event.at)

    @cached_property
    def _confirmations(self) -> dict[str, list[Sequenced]]:
        found: dict[str, list[Sequenced]] = {}
        for one in self.destroyed:
            found.setdefault(str(one.event.body.get("forgotten")), []).append(one)
        return found

    def _is_by(self, said: Sequenced, public: str) -> bool:
        """Say whether the holder of an exchange key wrote this: its log must prove that to this workspace.

        A copy has the exchange key of what it copied, so that its word is not that of the one that was meant.
        """
        ring, origin = self._workspace.keys, self._origin(said)
        if ring is None or self._own_key is None or not _is_of_another(said):
            return False
        if any(self._origin(one) == origin for one in self._copied):
            return False
        with contextlib.suppress(RetrodictError):
            due = exchange.prove_holder(ring.exchange_key, public, origin)
            return any(
                isinstance(item, Mapping)
                and item.get("to") == self._own_key
                and compare_digest(str(item.get("proof")).encode(), due.encode())
                for item in _names(said.event.body.get("proofs"))
            )
        return False

    def _removal(self, backup: Sequenced) -> Sequenced | None:
        """Return the later backup of keys that has removed one."""
        return self._removals.get((self._origin(backup), str(backup.event.body.get("file"))))

    @cached_property
    def _removals(self) -> dict[tuple[str, str], Sequenced]:
        return {
            (self._origin(one), str(file)): one
            for one in self._events
            for file in _names(one.event.body.get("removed"))
        }

    def _copies(self, copied: Sequenced, since: int | None) -> Iterator[Holder]:
        body, own = copied.event.body, self._workspace.ledger.origin
        if not _is_of_another(copied):
            yield _holder("clone", f"the workspace that this one is a copy of ({body['origin']})", copied)
        elif body["origin"] != own or since is None or int(str(body["size"])) > since:
            yield _holder("clone", f"the copy that began the log {self._origin(copied)}", copied)

    def _kin(self, copied: Sequenced) -> str:
        """Return the log of the other one, of a copy and what it was copied from."""
        return self._origin(copied) if _is_of_another(copied) else str(copied.event.body["origin"])

    def _origin(self, one: Sequenced) -> str:
        tag = EntryNumber(one.index).tag
        return next(log.ledger.origin for log in self._workspace.logs.held() if log.tag == tag)

    @cached_property
    def _own_key(self) -> str | None:
        with contextlib.suppress(RetrodictError):
            return None if self._workspace.keys is None else exchange.public_text(self._workspace.keys.exchange_key)
        return None

    @cached_property
    def _exchanged(self) -> dict[str, tuple[Sequenced, set[str]]]:
        """By exchange key, the last entry that says that its holder gave or got keys, and all of those keys."""
        return self._exchanges(self._events)

    @cached_property
    def _exchanged_here(self) -> dict[str, tuple[Sequenced, set[str]]]:
        """The same, as this workspace says it."""
        return self._exchanges(one for one in self._events if not _is_of_another(one))

    def _exchanges(self, events: Iterable[Sequenced]) -> dict[str, tuple[Sequenced, set[str]]]:
        found: dict[str, tuple[Sequenced, set[str]]] = {}
        for one in events:
            if one.event.kind in ("keys.shared", "keys.received"):
                where = str(one.event.body.get("to") or one.event.body.get("from"))
                keys = found[where][1] if where in found else set()
                keys |= self._listed(one.event.body.get("keys"))
                found[where] = one, keys
        return found

    def _listed(self, digest: object) -> set[str]:
        try:
            return {str(key) for key in json.loads(self._workspace.objects.get(Digest(str(digest))))}
        except (RetrodictError, ValueError):
            return set()


def _holder(kind: Literal["clone", "export", "backup"], where: str, said: Sequenced) -> Holder:
    return Holder(kind=kind, where=where, event=said.event.id, entry=said.index, state="not confirmed")


def _names(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _is_of_another(one: Sequenced) -> bool:
    return EntryNumber(one.index).is_of_another_log
