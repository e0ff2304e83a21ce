"""`with rd.run(...) as run:` - a run of this very process: parameters, metrics, models, and what it read and wrote."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from retrodict import exposure
from retrodict.actions import run as actions
from retrodict.actions.held_source import state_of
from retrodict.actions.register import Registered, register
from retrodict.actions.running import running_folder
from retrodict.api import world
from retrodict.api.observed import Observer
from retrodict.kernel.durable import write_file
from retrodict.kernel.errors import UsageError
from retrodict.models.records import check_name
from retrodict.workspace import Workspace, refuse_writing


class Run:
    """A run under way, or ended.

    Attributes:
        name: What it is called.
        params: What it was given, as text.
        metrics: What it reported.
        record: What was recorded, once it has ended.
        models: The versions that were registered, once it has ended.
    """

    def __init__(
        self, workspace: Workspace, name: str | None, params: Mapping[str, object] | None, reason: str | None
    ) -> None:
        """Use `retrodict.run`."""
        refuse_writing(workspace)
        self._workspace = workspace
        self._reason = reason
        self.name = name or (Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else "python")
        self.params: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self.record: actions.Ran | None = None
        self.models: tuple[Registered, ...] = ()
        self._pending: list[dict[str, Any]] = []
        self._logged: dict[Path, tuple[int, ...] | None] = {}  # what was at the paths of models when they were logged
        self._is_open = False
        self.log_params(params or {})

    def log_params(self, params: Mapping[str, object] | None = None, **more: object) -> None:
        """Record parameters: a mapping, or names and values. One cannot be given another value later.

        Raises:
            UsageError: It has another value already.
        """
        for key, value in {**(params or {}), **more}.items():
            text = value if isinstance(value, str) else repr(value)
            if self.params.setdefault(str(key), text) != text:
                raise UsageError(f"the parameter {key} is {self.params[str(key)]} already, and cannot become {text}")

    def log_metrics(self, metrics: Mapping[str, float] | None = None, **more: float) -> None:
        """Record figures; the last value of a name counts.

        Raises:
            UsageError: One is not a number.
        """
        for key, value in {**(metrics or {}), **more}.items():
            try:
                self.metrics[str(key)] = int(value) if isinstance(value, int) else float(value)
            except (TypeError, ValueError):
                raise UsageError(f"the metric {key} is not a number: {value!r}") from None

    def log_model(
        self,
        model: object,
        name: str,
        *,
        example: Any = None,
        method: str = "predict",
        reason: str | None = None,
        folder: str | os.PathLike[str] = "models",
    ) -> Path:
        """Keep a model as an output of this run; it is registered as the next version of `name` when the run ends.

        Args:
            model: An object to pickle, or the path of a model that was saved already.
            example: A frame that it takes; the signature is taken from it.
            method: Which of its methods answers.
            folder: Where to save it, in the workspace.

        Returns:
            Where it lies.

        Raises:
            UsageError: The name cannot be one, the run has ended, or another model was logged at the path.
        """
        if not self._is_open:
            raise UsageError("a model is logged inside `with retrodict.run(...)`")
        check_name(name, "model")
        count = 1 + sum(pending["name"] == name for pending in self._pending)
        stem = name if count == 1 else f"{name}~{count}"  # one that was logged before stays until it is registered
        if isinstance(model, str | os.PathLike):
            path = Path(model)
            if (then := self._logged.get(path.absolute())) is not None and then != _state(path):
                raise UsageError(
                    f"{path} has changed since it was logged, and a model is registered as it is when the run ends",
                    hint="Save each model to a file of its own.",
                )
        else:
            path = self._workspace.root / folder / f"{stem}.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, _pickled(model))
        given = None
        if example is not None:
            given = path.parent / f"{stem}.example.parquet"
            write_file(given, example.to_parquet())
        self._logged.setdefault(path.absolute(), _state(path))
        self._pending.append({"path": path, "name": name, "example": given, "method": method, "reason": reason})
        return path

    def __enter__(self) -> Run:
        self._cwd = Path(os.getcwd())
        self._started = actions.begin(
            self._workspace, self.name, sys.orig_argv, cwd=self._cwd, params=self.params, reason=self._reason
        )
        self._folder = contextlib.ExitStack()
        folder = self._folder.enter_context(running_folder(self._workspace, self._started))
        self._observer = Observer(folder, self._workspace.clock)
        self._observer.start()
        self._folder.enter_context(world.within_run(self._started))
        self._folder.enter_context(exposure.observing(self._workspace, self._started, self._observer.records))
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        if error is None and self.metrics:
            for pending in self._pending:  # before the observer stops: they are outputs of the run
                pending["metrics"] = pending["path"].parent / f"{pending['name']}.metrics.json"
                write_file(pending["metrics"], json.dumps(self.metrics, sort_keys=True).encode())
        world.ended(self._started)
        seen = self._observer.stop(_exit_code(error))
        try:
            text = "".join(traceback.format_exception(kind, error, trace)) if error is not None else ""
            self.record = actions.finish(
                self._workspace,
                self._started,
                self.name,
                sys.orig_argv,
                self.params,
                seen,
                {2: [text.encode("utf-8", "backslashreplace")]} if text else {},
                world.variables(),
                metrics=json.dumps(self.metrics, sort_keys=True).encode() if self.metrics else None,
            )
            if error is None:
                self.models = tuple(
                    register(self._workspace, str(pending.pop("path")), **pending) for pending in self._pending
                )
        finally:
            self._folder.close()
            world.publish(self._workspace)


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what changes when a file does; its bytes are not read, which would make it an input of the run."""
    return state_of(path.stat()) if path.is_file() else None


def _pickled(model: object) -> bytes:
    try:
        import cloudpickle  # takes what a notebook or script defines, too
    except ModuleNotFoundError:
        return pickle.dumps(model)
    data: bytes = cloudpickle.dumps(model)
    return data


def _exit_code(error: BaseException | None) -> int:
    """Return the code with which Python would exit."""
    match error:
        case None:
            return 0
        case KeyboardInterrupt():
            return 130
        case SystemExit():
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        case _:
            return 1
