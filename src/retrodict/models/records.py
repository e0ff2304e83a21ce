"""`model.registered` and `alias.set`: their bodies, their queries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Digest, EntryNumber, EventId

if TYPE_CHECKING:
    import apsw


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_LOOKS_LIKE_A_VERSION = re.compile(r"v?\d+(\.\d+)*\Z|\d{4}-\d{2}(-\d{2})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """What a model's registration says of the people in its questions.

    Attributes:
        subject: The field of a question that says whom a row is about.
        columns: The input columns that are personal, beside that field; None: all of them.
    """

    subject: str
    columns: tuple[str, ...] | None

    def as_body(self) -> dict[str, object]:
        """Return what an entry holds of it."""
        return {"subject": self.subject, "columns": None if self.columns is None else list(self.columns)}

    @classmethod
    def of(cls, value: object) -> Personal | None:
        """Read it; None stays None."""
        match value:
            case {"subject": str(subject), "columns": None}:
                return cls(subject=subject, columns=None)
            case {"subject": str(subject), "columns": [*columns]}:
                return cls(subject=subject, columns=tuple(str(column) for column in columns))
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One registered version of a model.

    Attributes:
        event: The `model.registered` event; `index` is its entry.
        content: The tree of the model's folder.
        flavor: Who can load it: "sklearn", "callable", ...
        signature: As MLflow writes it; None where it is not known.
        metrics: The bytes of the metrics file, as it was given.
        run: The `run.finished` event that made the artifact; None where no run is on record.
        personal: Whom its questions are about; None where they are about nobody.
        is_current: No later version has replaced it.
    """

    event: EventId
    index: int
    name: str
    version: int
    content: Digest
    flavor: str
    personal: Personal | None
    signature: Mapping[str, object] | None
    metrics: Digest | None
    run: EventId | None
    at: str
    agent: str
    is_current: bool

    @property
    def label(self) -> str:
        """What people call it: `credit@v2`."""
        return f"{self.name}@v{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One setting of an alias: who moved it, when; why stands in the event."""

    event: EventId
    index: int
    name: str
    alias: str
    version_event: EventId
    at: str
    agent: str
    is_current: bool


def check_name(name: str, what: str) -> str:
    """Return `name` if it may be one.

    Raises:
        UsageError: It has characters that would not survive in a reference or a URL.
    """
    if not _NAME.match(name):
        raise UsageError(
            f"{name!r} cannot be a {what}'s name", hint="Use letters, digits, '.', '_' and '-', at most 100 of them."
        )
    return name


def check_alias(alias: str) -> str:
    """Return `alias` if it may be one: it must not look like a version or a date.

    Raises:
        UsageError: It does.
    """
    check_name(alias, "alias")
    if _LOOKS_LIKE_A_VERSION.match(alias):
        raise UsageError(f"{alias!r} cannot be an alias: it looks like a version or a date")
    return alias


def registered_body(
    *,
    name: str,
    version: int,
    content: Digest,
    flavor: str,
    signature: Mapping[str, object] | None,
    metrics: Digest | None,
    metrics_path: str | None,
    run: EventId | None,
    personal: Personal | None,
) -> dict[str, object]:
    """Return the body of `model.registered`; the signature is kept as JSON text, since MLflow's may hold floats."""
    return {
        "name": name,
        "version": version,
        "content": content,
        "flavor": flavor,
        "signature": None if signature is None else json.dumps(signature, sort_keys=True),
        "metrics": metrics,
        "metrics_path": metrics_path,
        "run": run,
        "personal": personal and personal.as_body(),
    }


def alias_body(*, name: str, alias: str, version: EventId) -> dict[str, object]:
    """Return the body of `alias.set`; `version` is a `model.registered` event."""
    return {"name": name, "alias": alias, "version": version}


_VERSION = "event, entry, name, version, content, flavor, signature, metrics, run, at, agent, is_current, personal"


def _versions(db: apsw.Connection, where: str, parameters: tuple[object, ...]) -> list[ModelVersion]:
    query = f"SELECT {_VERSION} FROM models_versions WHERE {where} ORDER BY name, version, entry"  # noqa: S608
    return [
        ModelVersion(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            name=row[2],
            version=row[3],
            content=Digest(row[4]),
            flavor=row[5],
            signature=None if row[6] is None else json.loads(row[6]),
            metrics=row[7],
            run=row[8],
            at=row[9],
            agent=row[10],
            is_current=bool(row[11]),
            personal=None if row[12] is None else Personal.of(json.loads(row[12])),
        )
        for row in db.execute(query, parameters)
    ]


def versions(db: apsw.Connection, name: str | None = None) -> list[ModelVersion]:
    """Return all versions (of `name`), by name and version."""
    return _versions(db, "name = ?", (name,)) if name is not None else _versions(db, "1", ())


def find(db: apsw.Connection, *, event: EventId | None = None, content: Digest | None = None) -> list[ModelVersion]:
    """Return the version that an event registered, or all that have this content."""
    return _versions(db, "event = ?", (event,)) if event is not None else _versions(db, "content = ?", (content,))


def aliases(db: apsw.Connection, name: str | None = None, alias: str | None = None) -> list[AliasMove]:
    """Return every setting of the aliases (of `name`; of one alias), oldest first."""
    conditions = {"name = ?": name, "alias = ?": alias}
    where = " AND ".join(condition for condition, value in conditions.items() if value is not None) or "1"
    parameters = tuple(value for value in conditions.values() if value is not None)
    query = (
        "SELECT event, entry, name, alias, version_event, at, agent, is_current FROM models_aliases "  # noqa: S608
        f"WHERE {where} ORDER BY rowid"
    )
    return [
        AliasMove(
            event=EventId(row[0]),
            index=EntryNumber(row[1]),
            name=row[2],
            alias=row[3],
            version_event=EventId(row[4]),
            at=row[5],
            agent=row[6],
            is_current=bool(row[7]),
        )
        for row in db.execute(query, parameters)
    ]
