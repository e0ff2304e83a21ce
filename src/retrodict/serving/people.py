"""Whom calls are about, and who asks them: under pseudonyms, which are remembered."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from retrodict.keys import Subject
from retrodict.models.errors import InputError
from retrodict.models.records import ModelVersion
from retrodict.models.signature import Signature
from retrodict.models.subjects import as_identities, missing, take_subjects
from retrodict.predictions import payload
from retrodict.predictions.personal import Owners
from retrodict.serving.call import Call, everybody
from retrodict.workspace import Batch, Workspace

_KNOWN_CALLERS = 10_000  # whose pseudonyms are remembered
_KNOWN_PEOPLE = 100_000  # whom questions are about, likewise


class People:
    """Those who ask and those whom questions are about; any number of threads may ask at once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._agents: dict[str, str] = {}
        self._people: dict[str, Subject] = {}

    def pseudonym(self, name: str) -> str:
        """Return the pseudonym of who asks or answers."""
        known = self._agents.get(name)
        if known is None:
            with self._lock:
                batch = Batch(self._workspace)
                known = batch.agent(name)
                batch.append()
                if len(self._agents) >= _KNOWN_CALLERS:
                    self._agents.clear()
                self._agents[name] = known
        return known

    def forget(self) -> None:
        """Ask for everybody's keys anew: somebody was forgotten."""
        self._people.clear()

    def seen_and_owners(
        self,
        version: ModelVersion,
        signature: Signature | None,
        data: Any,
        subject: str | Sequence[str] | None,
        outer: Call | None,
    ) -> tuple[Any, bool, Owners | None]:
        """Return what the model sees of `data`, whether that was changed, and whom it is about (None: nobody).

        That the field is taken out which says whom a row is about is no change: the pseudonym says it on record.

        Raises:
            InputError: It is not what the model takes, or does not say whom it is about; no personal value is shown.
        """
        declared = version.personal
        # A part of an answer may not be told whom it is about: then it is about everybody whom the whole is.
        above = None if outer is None else outer.owners
        if declared is None and above is None:
            seen = data if signature is None else signature.check(data)
            return seen, seen is not data, None
        found, names = data, None
        if declared is not None:
            taken = take_subjects(data, declared.subject, signature)
            if taken is not None:
                found, names = taken
            elif subject is not None:
                names = as_identities(subject, payload.rows(data))
            elif above is None:
                raise missing(declared.subject)
        try:
            seen = found if signature is None else signature.check(found)
        except InputError as error:
            raise error.without_value() from None
        if declared is None or names is None:
            assert outer is not None
            return seen, seen is not found, everybody(outer)
        columns = None if declared.columns is None else frozenset({*declared.columns, declared.subject})
        return seen, seen is not found, Owners(rows=self._subjects(names), personal=columns)

    def _subjects(self, names: Sequence[str]) -> tuple[Subject, ...]:
        """Return people by name; those who are new get their keys with one write to the disk."""
        unknown = [name for name in dict.fromkeys(names) if name not in self._people]
        if unknown:
            keys = self._workspace.keys
            assert keys is not None  # else the agent would have no pseudonym
            if len(self._people) > _KNOWN_PEOPLE:
                self._people.clear()
                unknown = list(dict.fromkeys(names))
            self._people.update(zip(unknown, keys.subjects(unknown), strict=True))
        return tuple(self._people[name] for name in names)
