"""Model versions in this process: each loaded once, and the edges that all its calls share."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from retrodict import capture
from retrodict.kernel import entry
from retrodict.kernel.types import Digest, Edge, EdgeList, EventId, Ref
from retrodict.models.errors import UnloadableModelError
from retrodict.models.loading import LoadedModel, called, load_model
from retrodict.models.records import ModelVersion
from retrodict.serving.code import ServingCode
from retrodict.serving.materialize import materialize
from retrodict.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The edges of all calls of a deployment, for as long as the serving code is this."""

    edges: EdgeList
    serving_code: Digest | None


@dataclass(slots=True, kw_only=True)
class Deployment:
    """A model version in this process."""

    version: ModelVersion
    model: LoadedModel
    shared: Shared | None = None


class Deployments:
    """The versions that are loaded; any number of threads may ask at once."""

    def __init__(
        self, workspace: Workspace, variables: Mapping[str, str], answering: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Take the workspace.

        Args:
            variables: The environment variables, of which those that can change an answer are recorded.
            answering: While it lasts, what a model loads or asks of third parties leads to who answers here.
        """
        self._workspace = workspace
        self._variables = variables
        self._answering = answering
        self._cache = workspace.folder / "tmp" / "models"
        self._lock = threading.Lock()
        self._loaded: dict[EventId, Deployment] = {}
        self._loading: dict[EventId, tuple[int, Future[Deployment]]] = {}  # by whom: a thread
        self._environment: Digest | None = None
        self._code = ServingCode(workspace.objects, self._cache)

    @property
    def environment(self) -> Digest:
        """The environment of this process, recorded as an object."""
        with self._lock:
            if self._environment is None:
                facts = capture.snapshot_environment(None, variables=self._variables).as_json()
                text = json.dumps(facts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
                self._environment = self._workspace.objects.put(text.encode())
            return self._environment

    @property
    def serving_code(self) -> Digest | None:
        """The tree of the code that runs beside the models, as it is loaded now."""
        return self._code.tree()

    def of(self, version: ModelVersion) -> Deployment:
        """Return the loaded model; the first who asks loads it, the others wait."""
        loaded = self._loaded.get(version.event)
        if loaded is not None:
            return loaded
        with self._lock:
            loader, waiting = self._loading.get(version.event, (0, None))
            if waiting is None:
                mine = Future[Deployment]()
                self._loading[version.event] = threading.get_ident(), mine
        if waiting is not None:
            if loader == threading.get_ident() and not waiting.done():
                raise UnloadableModelError(version.label, "it asks itself while it is being loaded")
            return waiting.result()
        try:
            folder = self._folder(version)
            with (
                self._answering(),
                called(lambda place: f"{version.label}{f' ({place})' if place.parts else ''}", folder),
            ):
                loaded = Deployment(version=version, model=load_model(folder))
        except BaseException as error:
            with self._lock:
                del self._loading[version.event]  # so that the next one tries again
            mine.set_exception(error)
            raise
        self._loaded[version.event] = loaded
        mine.set_result(loaded)
        return loaded

    def _folder(self, version: ModelVersion) -> Path:
        token = self._workspace.clock.random_bytes(8).hex()
        return materialize(self._workspace.objects, version.content, self._cache, token)

    def shared(self, deployment: Deployment) -> Shared:
        """Return what the calls of a deployment have in common now."""
        tree, shared = self._code.tree(), deployment.shared
        if shared is None or tree != shared.serving_code:
            version = deployment.version
            edges = [
                Edge(ref=Ref(version.content), role="model", evidence="observed", made_by=version.event),
                Edge(ref=Ref(self.environment), role="environment", evidence="observed"),
            ]
            if tree is not None:
                edges.append(Edge(ref=Ref(tree), role="serving-code", evidence="observed"))
            digest = self._workspace.objects.put(entry.encode_edge_list(edges))
            shared = deployment.shared = Shared(edges=EdgeList(digest=digest), serving_code=tree)
        return shared
