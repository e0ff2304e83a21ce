"""One call made again, in an interpreter of its own: `python -m retrodict.replay.worker SPEC_FOLDER`.

`prepare` writes a spec folder, `start` runs an interpreter on it, `read_result` reads what it left. The interpreter may
be one rebuilt from a record, with none of our other dependencies: the worker's side of this file uses `models` and
`predictions` alone, opens no workspace, and writes nothing outside its spec folder.

spec.json: {"format": 1, "repeat": n, "path": [folder, ...], "call": CALL, "ask": bool}, where CALL is {"requested":
text, "model": folder or null, "inputs": PAYLOAD or null, "children": [CALL, ...], "third_party": EXCHANGE or null},
children in the order in which they answered, PAYLOAD is {"codec": ..., "schema": file, "batch": file, "meta": {...}},
and EXCHANGE is {"request": file, "response": file or null, "content_type": text or null, "http_status": n or null,
"error": text or null}. Files are relative to the spec folder.

result.json: {"format": 1, "status": "ran" or "could not run", "message": text or null, "runs": [RUN, ...],
"environment": {...}}, where RUN is {"requested", "status": "ok", "failed", "could not run" or "played back", "message",
"inputs": PAYLOAD or null, "outputs": PAYLOAD or null, "children": [RUN, ...], "expected": bool}. A child that the
record does not have is answered by the recorded model of that name, where there is one, and has "expected": false.

What a third party answered is played back ("third_party": true). "ask" asks it as well: "now" is its answer (PAYLOAD),
or "message" what kept it from answering. The model above it gets what is on record either way.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from retrodict.kernel.errors import FormatError, RetrodictError, UnavailableError
from retrodict.models import remote
from retrodict.models.loading import LoadedModel, load_model
from retrodict.models.session import current_loader
from retrodict.predictions import payload
from retrodict.predictions.payload import Encoded

FORMAT: Final = 1
RUN_STATUS = Literal["ok", "failed", "could not run", "played back"]

_VARIABLES: Final = ("OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_", "NPY_", "PYTHONHASHSEED", "TZ", "LC_", "LANG")

# Loads this very package and nothing beside it: PYTHONPATH would bring our site-packages into a rebuilt environment.
_BOOTSTRAP: Final = """
import importlib.util, sys
file, folder, spec = sys.argv[1:]
found = importlib.util.spec_from_file_location("retrodict", file, submodule_search_locations=[folder])
sys.modules["retrodict"] = importlib.util.module_from_spec(found)
found.loader.exec_module(sys.modules["retrodict"])
from retrodict.replay.worker import main
sys.exit(main(spec))
"""


class WorkerError(UnavailableError):
    """The interpreter that should make the call again did not come to an end."""

    slug = "replay-worker"
    hint = "Allow more time, or use the other environment: --environment present, or --environment rebuild."


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What went to a third party, and what came back.

    Attributes:
        request: The bytes that were sent.
        response: Those that came back, None where none did; `error` says why.
    """

    request: bytes
    response: bytes | None
    content_type: str | None
    http_status: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """One call as it is on record, to be made again.

    Attributes:
        requested: What the model was asked for by ("credit@champion").
        model: Its folder, taken from a verified store; None for a third party.
        inputs: What the model saw; None for a child: its parent makes them.
        children: The calls that it made, in the order in which they answered.
        third_party: What is played back.
    """

    requested: str
    model: Path | None
    inputs: Encoded | None = None
    children: tuple[CallSpec, ...] = ()
    third_party: Exchange | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRun:
    """One call as it went now.

    Attributes:
        requested: What the model was asked for by.
        status: "ok"; "failed": the model raised; "could not run": it could not be loaded, or is not on record; "played
            back": a third party's answer on record was given again.
        message: What was raised, on one line; None if it is ok.
        inputs: What the model saw; None where it came to none.
        outputs: What it answered, None where it did not.
        children: The calls that it made, in order.
        is_expected: Whether the record has this call.
        is_third_party: Whether a third party is asked.
        now: What that answers now, where it was asked.
    """

    requested: str
    status: RUN_STATUS
    message: str | None
    inputs: Encoded | None
    outputs: Encoded | None
    children: tuple[CallRun, ...]
    is_expected: bool
    is_third_party: bool = False
    now: Encoded | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a worker did.

    Attributes:
        runs: One per repetition, each with everything loaded anew.
        environment: {"python", "implementation", "executable", "machine", "libraries": {name: version}, "threads":
            [...], "variables": {...}}.
        output: What the models printed, standard output and error together, at most the last 20,000 characters.
    """

    runs: tuple[CallRun, ...]
    environment: Mapping[str, Any]
    output: str


# ---- the side of who asks --------------------------------------------------------------------------------------------


def prepare(
    folder: Path, call: CallSpec, *, repeat: int = 1, path: Sequence[Path] = (), ask_third_parties: bool = False
) -> None:
    """Write a spec folder.

    Args:
        folder: Does not exist yet.
        repeat: How often the call is made, each time with everything loaded anew.
        path: Folders to import from, before all others: the serving code on record.
        ask_third_parties: Ask them too, beside playing back what they answered.
    """
    folder.mkdir(parents=True)
    spec = {
        "format": FORMAT,
        "repeat": repeat,
        "path": [str(entry.resolve()) for entry in path],
        "call": _write_call(folder, call),
        "ask": ask_third_parties,
    }
    (folder / "spec.json").write_text(json.dumps(spec))


def start(
    folder: Path, *, python: Path | None = None, variables: Mapping[str, str], timeout_s: float | None = None
) -> Result:
    """Run a worker on a prepared folder and return what it did.

    Args:
        folder: See `prepare`.
        python: The interpreter; None: the one that runs this.
        variables: All of its environment variables; PYTHONPATH and PYTHONHOME are left out.
        timeout_s: When to give up; None: never.

    Raises:
        WorkerError: It did not start, died, or took too long.
        FormatError: What it left is not a result.
    """
    package = Path(__file__).parents[1]
    environment = {k: v for k, v in variables.items() if k not in {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"}}
    program = str(python or sys.executable)
    command = [program, "-P", "-s", "-c", _BOOTSTRAP, str(package / "__init__.py"), str(package), str(folder)]
    try:
        with (folder / "output").open("wb") as output:
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                timeout=timeout_s,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"the replay did not end within {timeout_s:g} s") from error
    except OSError as error:
        raise WorkerError(f"{program} does not start: {error.strerror}") from error
    if not (folder / "result.json").exists():
        last = (_tail(folder / "output").strip().splitlines() or ["it said nothing"])[-1]
        raise WorkerError(f"the replay's interpreter ended with {ended.returncode}: {last}")
    return read_result(folder)


def read_result(folder: Path) -> Result:
    """Return what a worker left in `folder`.

    Raises:
        FormatError: It is not a result.
    """
    try:
        result = json.loads((folder / "result.json").read_text())
        if result["format"] != FORMAT:
            raise FormatError(f"a replay's result of format {result['format']}")
        return Result(
            runs=tuple(_read_run(folder, run) for run in result["runs"]),
            environment=result["environment"],
            output=_tail(folder / "output"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"a replay left no result: {error}") from error


def _tail(path: Path) -> str:
    try:
        return path.read_bytes()[-20_000:].decode("utf-8", "replace")
    except OSError:
        return ""


def _write_call(folder: Path, call: CallSpec) -> dict[str, object]:
    return {
        "requested": call.requested,
        "model": None if call.model is None else str(call.model.resolve()),
        "inputs": None if call.inputs is None else _write_payload(folder, call.inputs),
        "children": [_write_call(folder, child) for child in call.children],
        "third_party": None if call.third_party is None else _write_exchange(folder, call.third_party),
    }


def _write_exchange(folder: Path, exchange: Exchange) -> dict[str, object]:
    return {
        "request": _write_bytes(folder, exchange.request),
        "response": None if exchange.response is None else _write_bytes(folder, exchange.response),
        "content_type": exchange.content_type,
        "http_status": exchange.http_status,
        "error": exchange.error,
    }


def _read_run(folder: Path, run: Mapping[str, Any]) -> CallRun:
    inputs, outputs = (None if run[key] is None else _read_payload(folder, run[key]) for key in ("inputs", "outputs"))
    return CallRun(
        requested=run["requested"],
        status=run["status"],
        message=run["message"],
        inputs=inputs,
        outputs=outputs,
        children=tuple(_read_run(folder, child) for child in run["children"]),
        is_expected=run["expected"],
        is_third_party=run.get("third_party", False),
        now=None if run.get("now") is None else _read_payload(folder, run["now"]),
    )


# ---- payload files, either side --------------------------------------------------------------------------------------


def _write_payload(folder: Path, encoded: Encoded) -> dict[str, object]:
    names = {}
    for part, data in (("schema", encoded.schema), ("batch", encoded.batch)):
        names[part] = _write_bytes(folder, data)
    return {"codec": encoded.codec, **names, "meta": dict(encoded.meta)}


def _write_bytes(folder: Path, data: bytes) -> str:
    name = f"payload-{hashlib.sha256(data).hexdigest()}"
    (folder / name).write_bytes(data)
    return name


def _read_payload(folder: Path, written: Mapping[str, Any]) -> Encoded:
    schema, batch = ((folder / Path(written[part]).name).read_bytes() for part in ("schema", "batch"))
    return Encoded(codec=written["codec"], schema=schema, batch=batch, meta=written["meta"])


# ---- the worker's side -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """One call under way: what the record has of it, and what has come of it."""

    spec: Mapping[str, Any]
    models: dict[str, LoadedModel]
    folder: Path
    is_asking: bool  # third parties too
    is_expected: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)  # a model may ask others while it is being loaded
    used: set[int] = field(default_factory=set)
    children: list[dict[str, object]] = field(default_factory=list)

    def load(self, requested: str) -> _Member:
        """See `current_loader`."""
        return _Member(self, requested)

    def next_child(self, requested: str) -> tuple[Mapping[str, Any] | None, bool]:
        """Return the record of the child that is asked now, and whether it is its own: not one of the same name."""
        with self.lock:
            same = [
                i
                for i, child in enumerate(self.spec["children"])
                if child["requested"] == requested and child["third_party"] is None
            ]
            unused = [i for i in same if i not in self.used]
            if unused:
                self.used.add(unused[0])
                return self.spec["children"][unused[0]], True
            return (self.spec["children"][same[-1]] if same else None), False

    def exchange(self, asked: remote.Question) -> remote.Response:
        """Play back what a third party answered to this question; see `remote.current_exchange`."""
        run: dict[str, object] = {
            "requested": asked.name,
            "status": "could not run",
            "message": None,
            "inputs": _write_payload(self.folder, payload.encode(asked.value)),
            "outputs": None,
            "children": [],
            "expected": False,
            "third_party": True,
        }
        recorded = self._next_exchange(asked)
        with self.lock:
            self.children.append(run)
        if recorded is None:
            run["message"] = f"this question to {asked.name} is not on record, and it must not be asked for an answer"
            raise MemberFailedError(str(run["message"]))
        run |= {"status": "played back", "expected": True}
        if self.is_asking:
            try:
                response = remote.send(asked, _variables())
                run["now"] = _write_payload(self.folder, payload.encode(response.value))
                run["message"] = None if response.is_ok else f"HTTP status {response.status}"
            except RetrodictError as error:
                run["message"] = error.message
        if recorded["response"] is None:
            raise remote.ThirdPartyError(asked.name, asked.endpoint, str(recorded["error"]))
        response = remote.Response(
            status=recorded["http_status"],
            content=(self.folder / Path(recorded["response"]).name).read_bytes(),
            content_type=recorded["content_type"],
        )
        run["outputs"] = _write_payload(self.folder, payload.encode(response.value)) if response.is_ok else None
        return response

    def _next_exchange(self, asked: remote.Question) -> Mapping[str, Any] | None:
        """Return the record of this very question, each of them once, the last again and again."""
        with self.lock:
            same = [
                i
                for i, child in enumerate(self.spec["children"])
                if child["third_party"] is not None
                and child["requested"] == asked.name
                and (self.folder / Path(child["third_party"]["request"]).name).read_bytes() == asked.content
            ]
            unused = [i for i in same if i not in self.used]
            if unused:
                self.used.add(unused[0])
            elif not same:
                return None
            found: Mapping[str, Any] = self.spec["children"][(unused or same[-1:])[0]]["third_party"]
            return found

    def make(self, data: Any, *, decoded: bool) -> tuple[dict[str, object], Any, BaseException | None]:
        """Let the model answer; return the run, its output, and what it raised.

        Args:
            data: The input.
            decoded: It is what the model saw, from the record; else it is held against the signature first, as a
                service does.
        """
        run: dict[str, object] = {
            "requested": self.spec["requested"],
            "status": "could not run",
            "message": None,
            "inputs": None,
            "outputs": None,
            "children": self.children,
            "expected": self.is_expected,
        }
        token, exchange = current_loader.set(self.load), remote.current_exchange.set(self.exchange)
        try:
            model = self._model()
            seen = data if decoded or model.signature is None else model.signature.check(data)
            run["inputs"] = _write_payload(self.folder, payload.encode(seen))  # before the model can change it
            run["status"] = "failed"
            output = model.predict(seen)
            run["outputs"] = _write_payload(self.folder, payload.encode(output))
            run["status"] = "ok"
            return run, output, None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a model raises is what came of the call
            run["message"] = _one_line(error)
            return run, None, error
        finally:
            current_loader.reset(token)
            remote.current_exchange.reset(exchange)

    def _model(self) -> LoadedModel:
        with self.lock:
            model = self.models.get(self.spec["model"])
            if model is None:
                model = self.models[self.spec["model"]] = load_model(Path(self.spec["model"]))
            return model


class MemberFailedError(RetrodictError):
    """A model that another one asked did not answer."""

    slug = "member-failed"
    hint = "The replay says which model failed, and with what."


@dataclass(frozen=True, slots=True)
class _Member:
    """A model as another model sees it."""

    parent: _Call
    requested: str

    def predict(self, data: Any) -> Any:
        spec, is_expected = self.parent.next_child(self.requested)
        if spec is None:
            missing: dict[str, object] = {
                "requested": self.requested,
                "status": "could not run",
                "message": f"the record has no answer of {self.requested} within this call",
                "inputs": _write_payload(self.parent.folder, payload.encode(data)),
                "outputs": None,
                "children": [],
                "expected": False,
            }
            self._record(missing)
            raise MemberFailedError(str(missing["message"]))
        call = _Call(spec, self.parent.models, self.parent.folder, self.parent.is_asking, is_expected)
        run, output, failure = call.make(data, decoded=False)
        self._record(run)
        if failure is not None:
            raise MemberFailedError(f"{self.requested} failed: {run['message']}") from failure
        return output

    def _record(self, run: dict[str, object]) -> None:
        with self.parent.lock:
            self.parent.children.append(run)


def main(folder_name: str) -> int:
    """Make the call that a spec folder describes; return the exit code: 0 if every repetition ran."""
    folder = Path(folder_name)
    try:
        spec = json.loads((folder / "spec.json").read_text())
        if spec["format"] != FORMAT:
            raise FormatError(f"a spec of format {spec['format']}")
        sys.path[:0] = spec["path"]
        runs = [_once(folder, spec["call"], is_asking=spec["ask"]) for _ in range(spec["repeat"])]
    except (OSError, ValueError, KeyError, TypeError, RetrodictError) as error:
        print(f"{folder}: {_one_line(error)}", file=sys.stderr)  # noqa: T201 - a program of its own
        return 2
    unable = next((run for run in runs if run["status"] == "could not run"), None)
    result = {
        "format": FORMAT,
        "status": "ran" if unable is None else "could not run",
        "message": None if unable is None else unable["message"],
        "runs": runs,
        "environment": _environment(),
    }
    temporary = folder / ".result.json"
    temporary.write_text(json.dumps(result))
    temporary.rename(folder / "result.json")
    return 0 if unable is None else 2


def _once(folder: Path, spec: Mapping[str, Any], *, is_asking: bool) -> dict[str, object]:
    call = _Call(spec, {}, folder, is_asking)
    with _leading_to(call):
        encoded = _read_payload(folder, spec["inputs"])
        data = payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)
        return call.make(data, decoded=True)[0]


@contextlib.contextmanager
def _leading_to(call: _Call) -> Any:
    """While this lasts, `retrodict.load` and `.remote_step` lead to the call under way.

    In a thread that knows of none, to the outermost.
    """
    import retrodict

    def load(reference: str) -> Any:
        return (current_loader.get() or call.load)(reference)

    def remote_step(name: str, url: str, request: Any, **options: Any) -> Any:
        options.pop("workspace", None)
        asked = remote.question(name, url, request, **options)
        return remote.ask(remote.current_exchange.get() or call.exchange, asked)

    # Set on the package itself: `retrodict.api` would bring all of retrodict's dependencies.
    vars(retrodict).update(load=load, remote_step=remote_step)
    try:
        yield
    finally:
        del vars(retrodict)["load"], vars(retrodict)["remote_step"]


def _one_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}{': ' if text else ''}{text}"


def _variables() -> Mapping[str, str]:
    return os.environ  # noqa: TID251 - this process is a door of its own


def _environment() -> dict[str, object]:
    libraries = {}
    for name in ("numpy", "scipy", "pandas", "sklearn", "joblib", "pyarrow", "polars", "skops", "mlflow", "torch"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            libraries[name] = version
    variables = sorted(_variables().items())
    pools: list[object] = []
    if "numpy" in sys.modules:
        with contextlib.suppress(ImportError, OSError, RuntimeError):  # it looks into shared libraries: may not be able
            threadpool_info = importlib.import_module("threadpoolctl").threadpool_info  # scikit-learn brings it

            pools = [{k: v for k, v in pool.items() if k != "filepath"} for pool in threadpool_info()]
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "libraries": libraries,
        "threads": pools,
        "variables": {name: value for name, value in variables if name.startswith(_VARIABLES)},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else "usage: python -m retrodict.replay.worker SPEC_FOLDER")
