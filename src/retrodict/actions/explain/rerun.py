"""Models run again, here and now: with the versions on record, or with others in their place. Nothing is recorded."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrodict.actions import names
from retrodict.actions.explain.reading import Reader
from retrodict.actions.explain.served import Served
from retrodict.diagnose.tables import Predict
from retrodict.kernel.errors import RetrodictError, UnavailableError, UnknownReferenceError
from retrodict.kernel.types import EventId
from retrodict.models import LoadedModel, current_loader, load_model, remote
from retrodict.models import records as models
from retrodict.models.records import ModelVersion
from retrodict.predictions import payload, personal
from retrodict.serving.materialize import materialize


class RerunError(UnavailableError):
    """A model that cannot be run here and now."""

    slug = "rerun"
    hint = "`retrodict replay` runs it in the environment on record."


class Cast:
    """The model versions that were loaded for one explanation.

    Args:
        reader: Of the workspace.
        folder: An empty folder, for the models' files; it must outlive this.
    """

    def __init__(self, reader: Reader, folder: Path) -> None:
        self._reader = reader
        self._folder = folder
        self._loaded: dict[EventId, LoadedModel] = {}

    def load(self, version: ModelVersion) -> LoadedModel:
        """Return a version, loaded in this process from verified bytes.

        Raises:
            RerunError: It cannot be loaded here.
        """
        if version.event not in self._loaded:
            try:
                folder = materialize(self._reader.workspace.objects, version.content, self._folder, "fresh")
                self._loaded[version.event] = load_model(folder)
            except RetrodictError as error:
                raise RerunError(f"{version.label} cannot be loaded: {error.message}") from error
        return self._loaded[version.event]

    def predictor(self, top: Served, instead: Mapping[str, ModelVersion] | None = None) -> Predict:
        """Return what answers as `top` did: each model by the version on record, or by the one in `instead`.

        A model that asks for something which the call on record did not ask for gets what that name meant then.

        Args:
            top: The call.
            instead: Versions by the name of their model.

        Raises:
            RerunError: A version is not registered here, or cannot be loaded.
        """
        instead = instead or {}
        version = instead.get(top.call.model_name, top.model)
        if version is None:
            raise RerunError(f"{top.label} is only named by another system: there is nothing to run", hint="")
        model, is_recorded = self.load(version), version == top.model

        def predict(data: Any) -> object:
            def loader(reference: str) -> _Member:
                return _Member(self.load(self._part(top, reference, instead)))

            token = current_loader.set(loader)
            exchange = remote.current_exchange.set(lambda asked: _played_back(self._reader, top, asked))
            try:
                # What is on record went through the recorded version's own signature already.
                fits = data if is_recorded or model.signature is None else model.signature.check(data)
                return payload.copied(model.predict(fits))
            except RetrodictError:
                raise
            except (Exception, SystemExit) as error:
                text = (str(error).strip().splitlines() or [""])[0]
                raise RerunError(f"{version.label} failed: {type(error).__name__}: {text}") from error
            finally:
                current_loader.reset(token)
                remote.current_exchange.reset(exchange)

        return predict

    def _part(self, top: Served, reference: str, instead: Mapping[str, ModelVersion]) -> ModelVersion:
        for part in top.family():
            if part is not top and part.call.requested == reference and part.model is not None:
                return instead.get(part.model.name, part.model)
        version = meant(self._reader, reference, top.call.index)
        return instead.get(version.name, version)


def _played_back(reader: Reader, top: Served, asked: remote.Question) -> remote.Response:
    """Return what a third party answered to this very question when the call on record was made.

    Raises:
        RerunError: It was asked something else: nobody asks it for an explanation.
    """
    workspace = reader.workspace
    for part in top.family():
        body = part.sequenced.event.body
        response, status, kind = (body.get(name) for name in ("response", "http_status", "response_type"))
        if not part.is_third_party or part.call.requested != asked.name or not isinstance(status, int):
            continue
        if personal.exchanged(workspace, body, "request") == asked.content and response is not None:
            content = personal.exchanged(workspace, body, "response")
            return remote.Response(status=status, content=content, content_type=None if kind is None else str(kind))
    says = f"{asked.name}, a third party, would have to be asked something that it was not asked"
    raise RerunError(says, hint="")


@dataclass(frozen=True, slots=True)
class _Member:
    """A model as another model sees it."""

    model: LoadedModel

    def predict(self, data: Any) -> Any:
        """Return its answer."""
        signature = self.model.signature
        return self.model.predict(data if signature is None else signature.check(data))


def meant(reader: Reader, reference: str, index: int) -> ModelVersion:
    """Return the model version that a reference meant when the log had `index` entries.

    Raises:
        UnknownReferenceError: Nothing was called so then.
    """
    name, _, version = reference.removeprefix("model:").partition("@")
    precedes = reader.workspace.logs.precedes
    then = [v for v in models.versions(reader.database, name) if precedes(v.index, index)]
    moves = [m for m in models.aliases(reader.database, name, version) if precedes(m.index, index)] if version else []
    if moves:
        found = reader.model(moves[-1].version_event)
        if found is not None:
            return found
    if not version and then:
        return then[-1]
    if not then:
        raise UnknownReferenceError(reference)
    return names.model_version(reader.workspace, reference)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let models warn and print in vain: what they have to say was said when they answered first."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
