"""`serve`: load models and record that they answer from here on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import EdgeList, EventId
from retrodict.serving import Service
from retrodict.workspace import Batch, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One name that questions can be asked under.

    Attributes:
        requested: As it was asked for, e.g. `credit@champion`; looked up again for each question.
        version: What it means at the start.
    """

    name: str
    requested: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A service that is ready to answer."""

    service: Service
    models: tuple[Served, ...]
    event: EventId
    index: int


def start_service(
    workspace: Workspace,
    models: Sequence[str],
    *,
    address: str | None,
    variables: Mapping[str, str] | None = None,
) -> Started:
    """Load `models`, each `NAME`, `NAME@vN` or `NAME@ALIAS`, and record `service.started`.

    Args:
        address: Where it will answer; None: in this process only.
        variables: The environment variables, of which those that can change an answer are recorded.

    Raises:
        UsageError: None was given, or two have the same name.
        UnknownReferenceError, AmbiguousReferenceError, UnloadableModelError: See there.
    """
    if not models:
        raise UsageError("no model is named", hint="`retrodict models` lists what can be served.")
    service = Service(workspace, variables)
    served: list[Served] = []
    for reference in models:
        version = service.load(reference).version
        if any(other.name == version.name for other in served):
            raise UsageError(
                f"{version.name} is named twice", hint="Name it once; its other versions are at /versions/N."
            )
        served.append(Served(name=version.name, requested=reference, version=version.label))
    batch = Batch(workspace)
    shared = [service.shared_edges(model.requested) for model in served]
    event = batch.event(
        "service.started",
        uses=[EdgeList(digest=digest) for digest in shared],
        makes=(),
        body={
            "models": [service.resolve(model.requested).event for model in served],
            "requested": [model.requested for model in served],
            "address": address,
            "environment": service.environment,
            "serving_code": service.serving_code,
            "shared": shared,
        },
    )
    index = batch.append()[-1].index
    return Started(service=service, models=tuple(served), event=event.id, index=index)
