"""From what a caller asks for to the version that answers."""

from __future__ import annotations

import difflib
import threading
from typing import TYPE_CHECKING

from retrodict.kernel.errors import AmbiguousReferenceError, UnknownReferenceError, UsageError
from retrodict.kernel.types import EventId, is_event_id
from retrodict.models import records
from retrodict.models.records import ModelVersion
from retrodict.workspace import Workspace

if TYPE_CHECKING:
    import apsw

# What an entry that can change the meaning of a model's name looks like; compared with bytes, since every prediction
# of every process passes here once.
_MOVERS = (b'"kind":"alias.', b'"kind":"model.', b'"kind":"log.pulled"')


class Resolver:
    """Finds model versions by name; asks the views only after the log has taken in something about models."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._seen = workspace.ledger.size()  # entries that were looked at
        self._known: dict[str, ModelVersion] = {}

    def resolve(self, reference: str) -> ModelVersion:
        """Return the version that `reference` means now.

        Args:
            reference: `credit` (its newest version), `credit@v2`, `credit@champion`, or the id of the event that
                registered it; `model:` may stand before a name.

        Raises:
            UnknownReferenceError, AmbiguousReferenceError: See there.
            UsageError: It is the id of something else.
        """
        with self._lock:
            ledger = self._workspace.ledger
            size, moved = ledger.look(self._seen, _MOVERS)
            if moved:
                self._known.clear()
            self._seen = size
            found = self._known.get(reference)
            if found is None:
                found = self._known[reference] = _resolve(self._workspace.views.database(), reference)
            return found


def _resolve(database: apsw.Connection, reference: str) -> ModelVersion:
    text = reference.removeprefix("model:")
    if is_event_id(text):
        found = records.find(database, event=EventId(text))
        if not found:
            raise UsageError(f"event {text} registered no model", hint="`retrodict models` lists them.")
        return found[0]
    name, separator, version = text.partition("@")
    versions = records.versions(database, name)
    number = version[1:] if version[:1] in {"v", "V"} and version[1:].isdigit() else version
    if not separator:
        found = [v for v in versions if v.is_current]
    elif number.isdigit():
        found = [v for v in versions if v.version == int(number)]
    else:
        targets = {move.version_event for move in records.aliases(database, name, version) if move.is_current}
        found = [v for v in versions if v.event in targets]
    if len(found) > 1:
        raise AmbiguousReferenceError(reference, tuple(v.event for v in found))
    if not found:
        known = {v.name for v in records.versions(database)}
        if name in known:
            known = {v.label for v in versions} | {f"{name}@{m.alias}" for m in records.aliases(database, name)}
        raise UnknownReferenceError(reference, tuple(difflib.get_close_matches(text, sorted(known), n=3, cutoff=0.5)))
    return found[0]
