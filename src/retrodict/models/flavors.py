"""Models of XGBoost, LightGBM, ONNX and PyTorch: recognised by their bytes, laid out as MLflow does, loaded without it.

What can change the last bit is pinned with the model: how many threads compute (part of the MLmodel file, so of the
version; 1 where it does not say), the processor (never an accelerator), evaluation mode, deterministic algorithms.
"""

from __future__ import annotations

import importlib
import json
import platform
import shutil
import sys
import types
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from retrodict.kernel.errors import MissingExtraError, UsageError
from retrodict.models.errors import UnloadableModelError, first_line
from retrodict.models.isolation import CodeFolder
from retrodict.models.pickles import PICKLES, Unpickler, load_object

NATIVE: Final = ("xgboost", "lightgbm", "onnx", "pytorch")
NATIVE_FLAVORS: Final = frozenset(NATIVE)
THREADS: Final = 1  # HAZARD: folders that do not say were recorded with this; it can never change
TORCH_FILE: Final = "model.pth"
_EXTRAS: Final = {"xgboost": "xgboost", "lightgbm": "lightgbm", "onnxruntime": "onnx", "torch": "torch"}
_TORCH_SUFFIXES: Final = {".pt", ".pth", ".pt2", ".ts"}
_WRAPPERS: Final = {"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}

Loaded = tuple[Any, Callable[[Any], Any]]  # the object behind the model, and what answers


def recognise(path: Path) -> str | None:
    """Return which of `NATIVE` can load the file at `path`, by its suffix and its first bytes; None for none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(4096)
    match path.suffix.lower():
        case ".json" | ".ubj" | ".xgb" | ".model" | ".txt" | ".lgb":
            if head.startswith(b"tree\n"):
                return "lightgbm"
            # UBJSON and JSON alike are an object whose first keys are these.
            return "xgboost" if head[:1] == b"{" and b"learner" in head else None
        case ".onnx":
            return "onnx"
        case suffix if suffix in _TORCH_SUFFIXES:
            # A zip file, or what torch.save wrote before 1.6: a pickle.
            return "pytorch" if head[:2] == b"PK" or head[:1] == b"\x80" else None
    return None


def describe(path: Path, into: Path, *, method: str, source: Path) -> dict[str, object]:
    """Put the file at `path` into the model folder `into`, and return its flavors as MLflow writes them.

    Args:
        path: `recognise` knows it.
        into: The folder, which is there.
        method: Which method of a wrapper answers; everything else has "predict" only.
        source: What to call the file in an error.

    Raises:
        UnloadableModelError: It is not what it looks like.
        MissingExtraError: It needs a package that is not installed.
        UsageError: It has no such method.
    """
    name = recognise(path)
    try:
        match name:
            case "xgboost":
                return _describe_xgboost(path, into, method)
            case "lightgbm":
                _only_predict(method, "a LightGBM booster")
                _move(path, into / "model.lgb")
                return lightgbm_flavors("model.lgb", "lightgbm.basic.Booster", None, method)
            case "onnx":
                _only_predict(method, "an ONNX graph")
                data = str(path.relative_to(into)) if path.is_relative_to(into) else "model.onnx"
                if not path.is_relative_to(into):
                    shutil.copyfile(path, into / data)
                about = {
                    "code": None,
                    "data": data,
                    "onnx_session_options": None,
                    "providers": ["CPUExecutionProvider"],
                }
                return {"onnx": about, "python_function": function("mlflow.onnx", data)}
            case _:
                _only_predict(method, "a PyTorch module")
                return _describe_torch(path, into)
    except (UnloadableModelError, MissingExtraError, UsageError):
        raise
    except (Exception, SystemExit) as error:
        raise UnloadableModelError(str(source), f"{type(error).__name__}: {first_line(error)}") from error


def load(
    name: str, folder: Path, flavor: Mapping[str, Any], method: str, threads: int, code: CodeFolder | None
) -> Loaded:
    """Return the model of one of `NATIVE` in a folder, and what answers.

    Args:
        name: The flavor.
        folder: The model's folder.
        flavor: What the MLmodel file says of it; its paths are inside the folder.
        method: Which method of a wrapper answers.
        threads: How many threads compute an answer.
        code: Modules that a pickle may name.

    Raises:
        UnloadableModelError: The file is missing, or is no such model.
        MissingExtraError: The library is not installed.
    """
    try:
        match name:
            case "xgboost":
                return _load_xgboost(folder / flavor["data"], flavor, method, threads)
            case "lightgbm":
                return _load_lightgbm(folder / flavor["data"], flavor, method, threads, code)
            case "onnx":
                return _load_onnx(folder / flavor["data"], threads)
            case _:
                return _load_torch(folder / flavor.get("model_data", "data"), threads, code)
    except (UnloadableModelError, MissingExtraError):
        raise
    except (Exception, SystemExit) as error:
        raise UnloadableModelError(str(folder), f"{type(error).__name__}: {first_line(error)}") from error


def threads_of(description: Mapping[str, Any]) -> int:
    """Return how many threads an MLmodel file allows."""
    metadata = description.get("metadata")
    own = metadata.get("retrodict") if isinstance(metadata, Mapping) else None
    threads = own.get("threads") if isinstance(own, Mapping) else None
    return threads if isinstance(threads, int) and threads > 0 else THREADS


def function(loader: str, data: str, **more: object) -> dict[str, object]:
    """Return MLflow's generic flavor."""
    return {"loader_module": loader, "data": data, "python_version": platform.python_version(), **more}


def library(name: str) -> Any:
    """Import the package of a flavor, which takes up to a few seconds.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingExtraError(f"a model of {name}", _EXTRAS[name]) from error


def _only_predict(method: str, what: str) -> None:
    if method != "predict":
        raise UsageError(f"{what} has no method {method!r}", hint="Only a pickled estimator has several methods.")


def _move(path: Path, target: Path) -> None:
    if path.is_relative_to(target.parent):
        path.rename(target)
    else:
        shutil.copyfile(path, target)


# ---- XGBoost ---------------------------------------------------------------------------------------------------------


def xgboost_flavors(data: str, model_class: str, method: str) -> dict[str, object]:
    """Return the flavors of a file in XGBoost's own format."""
    about = {
        "code": None,
        "data": data,
        "model_class": model_class,
        "model_format": data.rpartition(".")[2],
        "xgb_version": library("xgboost").__version__,
    }
    more = {} if method == "predict" else {"predict_fn": method}
    return {"xgboost": about, "python_function": function("mlflow.xgboost", data, **more)}


def _describe_xgboost(path: Path, into: Path, method: str) -> dict[str, object]:
    xgboost = library("xgboost")
    booster = xgboost.Booster(model_file=str(path))
    kept = json.loads(booster.attr("scikit_learn") or "{}")  # what a wrapper left of itself in its file
    wrapper = _WRAPPERS.get(str(kept.get("_estimator_type")))
    if wrapper is None:
        _only_predict(method, "an XGBoost booster")
    elif not hasattr(getattr(xgboost, wrapper), method):
        raise UsageError(
            f"an {wrapper} has no method {method!r}", hint="It has predict, and predict_proba if it classifies."
        )
    data = "model.json" if path.read_bytes()[:2] in {b'{"', b"{\n", b"{ ", b"{\r"} else "model.ubj"
    _move(path, into / data)
    return xgboost_flavors(data, f"xgboost.sklearn.{wrapper}" if wrapper else "xgboost.core.Booster", method)


def _load_xgboost(path: Path, flavor: Mapping[str, Any], method: str, threads: int) -> Loaded:
    xgboost = library("xgboost")
    kind = str(flavor.get("model_class", "xgboost.core.Booster"))
    made = getattr(xgboost, kind.rpartition(".")[2], None)
    if made is None or not kind.startswith("xgboost."):
        raise UnloadableModelError(str(path.parent), f"{kind} is no class of XGBoost")
    if made is not xgboost.Booster:
        model = made(n_jobs=threads, device="cpu")
        model.load_model(path)
        return model, getattr(model, method)
    booster = xgboost.Booster({"nthread": threads, "device": "cpu"}, model_file=str(path))

    def answer(data: Any) -> Any:
        names = booster.feature_names if not hasattr(data, "columns") else None
        return booster.predict(xgboost.DMatrix(data, feature_names=names, nthread=threads))

    return booster, answer


# ---- LightGBM --------------------------------------------------------------------------------------------------------


def lightgbm_flavors(
    data: str, model_class: str, form: str | None, method: str, code: str | None = None
) -> dict[str, object]:
    """Return the flavors of a booster's text, or of a pickled wrapper (`form` says in which way)."""
    about = {"code": code, "data": data, "lgb_version": library("lightgbm").__version__, "model_class": model_class}
    more = {} if method == "predict" else {"predict_fn": method}
    if form is not None:
        about["serialization_format"] = "cloudpickle" if form == "pickle" else form
    return {"lightgbm": about, "python_function": function("mlflow.lightgbm", data, **more)}


def _load_lightgbm(path: Path, flavor: Mapping[str, Any], method: str, threads: int, code: CodeFolder | None) -> Loaded:
    lightgbm = library("lightgbm")
    if flavor.get("model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster":
        booster = lightgbm.Booster(model_file=str(path))
        return booster, lambda data: booster.predict(data, num_threads=threads)
    form = str(flavor.get("serialization_format") or PICKLES.get(path.suffix, "pickle"))
    model = load_object(path, "pickle" if form == "cloudpickle" else form, code)
    answer = getattr(model, method)
    return model, lambda data: answer(data, num_threads=threads)


# ---- ONNX ------------------------------------------------------------------------------------------------------------


def _load_onnx(path: Path, threads: int) -> Loaded:
    runtime = library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {given.name: given.type for given in session.get_inputs()}
    outputs = [given.name for given in session.get_outputs()]

    def answer(data: Any) -> Any:
        feeds = {
            name: _onnx_array(value, inputs.get(name, "")) for name, value in _onnx_feeds(data, list(inputs)).items()
        }
        found = session.run(outputs, feeds)
        return found[0] if len(outputs) == 1 else dict(zip(outputs, found, strict=True))

    return session, answer


def _onnx_feeds(data: Any, names: list[str]) -> Mapping[str, Any]:
    """Return an array for each input: of a mapping its own, of a frame the table or a column each, else the one."""
    if isinstance(data, Mapping):
        return data
    if hasattr(data, "columns"):
        if len(names) == 1 and not (len(data.columns) == 1 and data.columns[0] == names[0]):
            return {names[0]: data.to_numpy()}
        return {name: data[name].to_numpy().reshape(-1, 1) for name in names}
    if len(names) == 1:
        return {names[0]: data}
    raise ValueError(f"arrays named {', '.join(names)} are needed")


def _onnx_array(value: Any, kind: str) -> Any:
    """Return an array as the graph takes it: doubles become floats where it wants floats, as MLflow does it."""
    import numpy as np  # 80 ms, loaded

    array = np.asarray(value)
    if array.dtype.kind == "O":  # a frame of several types
        array = array.astype("U") if kind == "tensor(string)" else array.astype("f8")
    wanted = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(float16)": "f2", "tensor(int64)": "i8"}.get(kind)
    narrows = wanted is not None and array.dtype.kind in ("iuf" if wanted != "i8" else "iu")
    return array.astype(wanted) if narrows else array


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


def torch_form(path: Path) -> str:
    """Return how PyTorch wrote a file: "script", "export", or "eager": a pickle of a module or of its numbers."""
    if not zipfile.is_zipfile(path):
        return "eager"
    names = {name.partition("/")[2] for name in zipfile.ZipFile(path).namelist()}
    if "constants.pkl" in names:
        return "script"
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "export"
    return "eager" if "data.pkl" in names else "export"


def is_state_dict(path: Path) -> bool:
    """Say whether a file of PyTorch holds numbers only, without the module that they belong to."""
    if torch_form(path) != "eager":
        return False
    torch = library("torch")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - whatever is not allowed among mere numbers: it is a module
        return False
    return isinstance(found, Mapping)


def torch_flavors(code: str | None) -> dict[str, object]:
    """Return the flavors of a module in data/."""
    about = {"code": code, "model_data": "data", "pytorch_version": str(library("torch").__version__)}
    more = {"pickle_module_name": "mlflow.pytorch.pickle_module"} | ({"code": code} if code else {})
    return {"pytorch": about, "python_function": function("mlflow.pytorch", "data", **more)}


def keep_torch(path: Path, into: Path) -> None:
    """Put a file of PyTorch where MLflow has it, below the model folder `into`."""
    (into / "data").mkdir()
    if torch_form(path) == "export":
        _move(path, into / "data" / "model.pt2")
        return
    _move(path, into / "data" / TORCH_FILE)
    (into / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")


def _describe_torch(path: Path, into: Path) -> dict[str, object]:
    if is_state_dict(path):
        cause = "it is a state_dict: numbers without the module that they belong to"
        hint = "Put it into a folder with the module's code, and register FOLDER:MODULE:CLASS."
        raise UnloadableModelError(path.name, cause, hint=hint)
    keep_torch(path, into)
    return torch_flavors(None)


def _load_torch(data: Path, threads: int, code: CodeFolder | None) -> Loaded:
    torch = library("torch")
    path = data if data.is_file() else data / ("model.pt2" if (data / "model.pt2").is_file() else TORCH_FILE)
    match torch_form(path):
        case "script":
            module = torch.jit.load(str(path), map_location="cpu").eval()
        case "export":
            module = torch.export.load(str(path)).module()
        case _:
            module = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_pickle_module(code))
            if not callable(module):
                raise UnloadableModelError(str(path), f"it holds a {type(module).__name__}, which cannot be called")
            module = module.eval() if hasattr(module, "eval") else module
    return torch_answer(torch, module, threads)


@dataclass(frozen=True, slots=True)
class StateModel:
    """A module, and what answers with it."""

    module: Any
    predict: Callable[[Any], Any]


def load_state(path: Path, module: Any, threads: int) -> StateModel:
    """Return a module with the numbers in a file of PyTorch.

    Args:
        path: The file: a state_dict, or a checkpoint that has one.
        module: The module, freshly made.
        threads: How many threads compute an answer.
    """
    torch = library("torch")
    found = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(found.get(name), Mapping):
            found = found[name]
    try:
        module.load_state_dict(found)
    except (Exception, SystemExit) as error:
        raise UnloadableModelError(
            str(path), f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    return StateModel(*torch_answer(torch, module.eval(), threads))


def is_torch_module(model: object) -> bool:
    """Say whether a pickled object is a module of PyTorch."""
    return any(base.__name__ == "Module" and base.__module__.startswith("torch.") for base in type(model).__mro__)


def load_module(module: Any, threads: int) -> StateModel:
    """Return a module that came out of a pickle, on the processor and in evaluation mode."""
    return StateModel(*torch_answer(library("torch"), module.to("cpu").eval(), threads))


def torch_answer(torch: Any, module: Any, threads: int) -> Loaded:
    """Return a module and what answers with arrays.

    A frame is one matrix, a mapping arguments by name, anything else one array; floats are given in the width of the
    module's own numbers.
    """
    torch.set_deterministic_debug_mode("warn")
    if "torch._inductor" in sys.modules:  # the module compiles; to load it for the sake of its settings takes 5 s
        torch.use_deterministic_algorithms(True, warn_only=True)
    numbers = next((p.dtype for p in getattr(module, "parameters", list)() if p.is_floating_point()), torch.float32)

    def tensor(value: Any) -> Any:
        import numpy as np  # 80 ms, loaded

        made = torch.tensor(np.asarray(value))  # a copy: the module may change it
        return made.to(numbers) if made.is_floating_point() else made

    def answer(data: Any) -> Any:
        if torch.get_num_threads() != threads:  # of this thread of the server
            torch.set_num_threads(threads)
        with torch.no_grad():
            if hasattr(data, "columns"):
                return _from_torch(torch, module(tensor(data.to_numpy()).to(numbers)))
            if isinstance(data, Mapping):
                return _from_torch(torch, module(**{name: tensor(value) for name, value in data.items()}))
            return _from_torch(torch, module(tensor(data)))

    return module, answer


def _from_torch(torch: Any, value: Any) -> Any:
    """Return tensors as arrays, in whatever holds them."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, Mapping):
        return {name: _from_torch(torch, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_from_torch(torch, item) for item in value]
    return value


def _pickle_module(code: CodeFolder | None) -> types.ModuleType:
    """Return what stands for the module `pickle` when torch reads a module: it finds the folder's own classes."""
    import pickle

    class Reader(Unpickler):
        def __init__(self, file: Any, **_options: Any) -> None:
            super().__init__(file, code)

    module = types.ModuleType("retrodict-torch-pickle")
    vars(module).update(vars(pickle))
    vars(module).update(Unpickler=Reader, load=lambda file, **options: Reader(file, **options).load())
    return module
