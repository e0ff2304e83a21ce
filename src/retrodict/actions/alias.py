"""`alias`: point a name at a version of a model."""

from __future__ import annotations

from dataclasses import dataclass

from retrodict.actions.names import model_version
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import Edge, EventId, Ref
from retrodict.models import records as models
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliased:
    """An alias and where it points now and pointed before (the label; None: it is new).

    Attributes:
        event, index: What says so; `is_new`: it was recorded now. It pointed there already, otherwise.
    """

    reference: str
    version: str
    before: str | None
    event: EventId
    index: int
    is_new: bool


def alias(workspace: Workspace, reference: str, version: str, *, reason: str | None = None) -> Aliased:
    """Let `reference` (NAME@ALIAS) point at `version` (`2`, `v2`, `NAME@v2`, or another alias of the model).

    Where it does so already, nothing is recorded.

    Raises:
        UsageError: It is not NAME@ALIAS, the alias looks like a version, or the reason is blank.
        UnknownReferenceError: There is no such model or version.
    """
    name, separator, alias_name = reference.partition("@")
    if not separator or not alias_name:
        raise UsageError(f"{reference!r} names no alias", hint="Write it as NAME@ALIAS, for example credit@champion.")
    models.check_alias(alias_name)
    if reason is not None and not reason.strip():
        raise UsageError("the reason is empty", hint="Say why the alias moves.")
    target = model_version(workspace, version if "@" in version or "-" in version else f"{name}@{version}")
    if target.name != name:
        raise UsageError(f"{version} is a version of {target.name!r}, not of {name!r}")
    database = workspace.views.database()
    heads = [move for move in models.aliases(database, name, alias_name) if move.is_current]
    if len(heads) == 1 and heads[0].version_event == target.event:
        return Aliased(
            reference=reference,
            version=target.label,
            before=target.label,
            event=heads[0].event,
            index=heads[0].index,
            is_new=False,
        )
    before = [found.label for move in heads for found in models.find(database, event=move.version_event)]
    batch = Batch(workspace)
    event = batch.event(
        "alias.set",
        uses=(Edge(ref=Ref(target.event), role="model-version", evidence="declared"),),
        makes=(),
        body=models.alias_body(name=name, alias=alias_name, version=target.event),
        reason=reason,
        replaces=[move.event for move in heads],
    )
    index = batch.append()[-1].index
    return Aliased(
        reference=reference,
        version=target.label,
        before=" and ".join(before) or None,
        event=event.id,
        index=index,
        is_new=True,
    )
