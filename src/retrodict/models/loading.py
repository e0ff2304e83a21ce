"""A model's folder -> something that answers.

HAZARD: a model is code, a pickle too. Load only a folder whose digest the caller has verified, or that the person at
the keyboard named.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from retrodict.kernel.errors import MissingExtraError
from retrodict.models import flavors as natives
from retrodict.models.errors import UnloadableModelError, first_line
from retrodict.models.isolation import CodeFolder
from retrodict.models.pickles import PICKLES, load_object
from retrodict.models.remote import load_remote
from retrodict.models.signature import Signature

_KNOWN: Final = ("retrodict", "sklearn", *natives.NATIVE, "python_function")
_MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in this process.

    Attributes:
        folder: Where it was loaded from.
        flavor: "sklearn", "xgboost", "lightgbm", "onnx", "pytorch", "pickle", "callable", "remote" or
            "python_function".
        signature: What it takes and gives; None where its folder does not say.
        model: The object behind it: an estimator, a module's function, ...
        answer: What `predict` calls.
        is_row_wise: A row's answer depends on that row alone (but for the last bit), so that rows of several questions
            may be scored together. scikit-learn's own estimators are; any other where its MLmodel file says so.
    """

    folder: Path
    flavor: str
    signature: Signature | None
    model: Any = field(repr=False)
    answer: Callable[[Any], Any] = field(repr=False)
    is_row_wise: bool = False

    def predict(self, data: Any) -> Any:
        """Return the model's answer to `data`, which is handed over as it is: not copied, cast or laid out anew.

        `signature.check` makes input fit first. Whatever the model raises is raised.
        """
        return self.answer(data)


def load_model(folder: Path) -> LoadedModel:
    """Load the model in `folder`, which has an MLmodel file.

    Raises:
        UnloadableModelError: It cannot be loaded; names the file and the cause.
        MissingExtraError: It needs packages that are not installed.
    """
    description = read_description(folder)
    flavors = description["flavors"]
    try:
        signature = Signature.from_mlflow(description.get("signature"))
    except ValueError as error:
        raise UnloadableModelError(str(folder / "MLmodel"), f"its signature is not one: {error}") from error
    function = flavors.get("python_function") or {}
    native = next((name for name in natives.NATIVE if name in flavors), None)
    if "retrodict" in flavors:
        flavor, model, method = _load_own(folder, flavors["retrodict"], natives.threads_of(description))
    elif "sklearn" not in flavors and native is not None:
        flavor = native
        model, predict = _load_native(folder, native, description)
        return LoadedModel(folder=folder, flavor=flavor, signature=signature, model=model, answer=predict)
    elif "sklearn" in flavors:
        flavor, method = "sklearn", function.get("predict_fn", "predict")
        model = _load_sklearn(folder, flavors["sklearn"], function)
    elif function:
        flavor, method = "python_function", "predict"
        model = _load_function(folder, function)
    else:
        names = ", ".join(sorted(flavors)) or "no flavor"
        raise UnloadableModelError(str(folder / "MLmodel"), f"it has {names}; {', '.join(_KNOWN)} is needed")
    answer = model if method == "__call__" else getattr(model, str(method), None)
    if not callable(answer):
        raise UnloadableModelError(str(folder), f"its {type(model).__name__} has no method {method!r}")
    declared = declared_row_wise(description)
    return LoadedModel(
        folder=folder,
        flavor=flavor,
        signature=signature,
        model=model,
        answer=answer,
        is_row_wise=_is_row_wise(model, str(method)) if declared is None else declared,
    )


@contextlib.contextmanager
def called(name: Callable[[Path], str], folder: Path) -> Iterator[None]:
    """Let what cannot be loaded from `folder`, a copy that nobody knows, be called as people know it.

    Args:
        name: From a path below `folder`, relative to it, to what it is called.
    """
    try:
        yield
    except UnloadableModelError as error:
        place = Path(error.path)
        path = name(place.relative_to(folder)) if place.is_relative_to(folder) else error.path
        cause = error.cause.replace(str(folder), name(Path()))
        raise UnloadableModelError(path, cause, hint=error.hint) from error


def declared_row_wise(description: Mapping[str, Any]) -> bool | None:
    """Return what an MLmodel file says in `metadata: {retrodict: {row_wise: ...}}`; None where it says nothing."""
    metadata = description.get("metadata")
    own = metadata.get("retrodict") if isinstance(metadata, Mapping) else None
    declared = own.get("row_wise") if isinstance(own, Mapping) else None
    return declared if isinstance(declared, bool) else None


_ROW_WISE_METHODS: Final = {"predict", "predict_proba", "decision_function", "transform"}


def _is_row_wise(model: Any, method: str) -> bool:
    """Say whether this is an estimator of scikit-learn's own, through and through, asked row by row."""
    if method not in _ROW_WISE_METHODS or not _is_estimator(model):
        return False
    parts = [model, *(value for value in model.get_params(deep=True).values() if _is_estimator(value))]
    # FunctionTransformer is a function of somebody's, which may look at all rows.
    return all(
        type(part).__module__.startswith("sklearn.") and type(part).__name__ != "FunctionTransformer" for part in parts
    )


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "fit") and hasattr(value, "get_params") and not isinstance(value, type)


def read_description(folder: Path) -> dict[str, Any]:
    """Return what the MLmodel file in `folder` says; "flavors" is a mapping of mappings.

    Raises:
        UnloadableModelError: There is none, or it is not one.
    """
    import yaml  # 15 ms

    path = folder / "MLmodel"
    try:
        description = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise UnloadableModelError(str(path), error.strerror or str(error)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UnloadableModelError(str(path), f"it is not YAML: {first_line(error)}") from error
    flavors = description.get("flavors") if isinstance(description, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise UnloadableModelError(str(path), "it names no flavors")
    assert isinstance(description, dict)
    return description


def _load_sklearn(folder: Path, flavor: Mapping[str, Any], function: Mapping[str, Any]) -> Any:
    path = inside(folder, flavor.get("pickled_model") or function.get("model_path") or "model.pkl")
    form = str(flavor.get("serialization_format") or PICKLES.get(path.suffix, "pickle"))
    return load_object(path, "pickle" if form == "cloudpickle" else form, _code(folder, flavor, function))


def _load_native(folder: Path, name: str, description: Mapping[str, Any]) -> natives.Loaded:
    flavor, function = description["flavors"][name], description["flavors"].get("python_function") or {}
    data = "model_data" if name == "pytorch" else "data"
    if not flavor.get(data):
        raise UnloadableModelError(str(folder / "MLmodel"), f"its flavor {name} does not say where its {data} is")
    inside(folder, flavor[data])
    method, threads = str(function.get("predict_fn", "predict")), natives.threads_of(description)
    return natives.load(name, folder, flavor, method, threads, _code(folder, flavor, function))


def _load_own(folder: Path, flavor: Mapping[str, Any], threads: int) -> tuple[str, Any, str]:
    match flavor.get("loader"):
        case "callable":
            code = CodeFolder(inside(folder, flavor.get("code", ".")))
            target = _attribute(code, str(flavor.get("module")), str(flavor.get("attribute")), folder)
            return "callable", target, "__call__"
        case "pickle":
            path = inside(folder, flavor.get("path", "model.pkl"))
            form = str(flavor.get("serialization_format") or PICKLES.get(path.suffix, "pickle"))
            found = load_object(path, form, _code(folder, flavor))
            if natives.is_torch_module(found):
                return "pytorch", natives.load_module(found, threads), "predict"
            return "pickle", found, str(flavor.get("method", "predict"))
        case "state_dict":
            code = CodeFolder(inside(folder, flavor.get("code", ".")))
            make = _attribute(code, str(flavor.get("module")), str(flavor.get("attribute")), folder)
            path = inside(folder, flavor.get("path", natives.TORCH_FILE))
            return "pytorch", natives.load_state(path, _made(make, folder), threads), "predict"
        case "remote":
            return "remote", load_remote(folder, flavor), "predict"
        case other:
            hint = "A newer release may have written it."
            raise UnloadableModelError(str(folder / "MLmodel"), f"its loader {other!r} is not known", hint=hint)


def _made(make: Any, folder: Path) -> Any:
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise UnloadableModelError(str(folder), f"{make} raised {type(error).__name__}: {first_line(error)}") from error


def _load_function(folder: Path, function: Mapping[str, Any]) -> Any:
    """Load MLflow's generic flavor: a module of the folder's own, or one of MLflow's."""
    loader = str(function.get("loader_module"))
    top = loader.partition(".")[0]
    code = _code(folder, function)
    if code is not None and top in code.names:
        module = _module(code, loader, folder)
        make = getattr(module, "_load_pyfunc", None)
        if make is None:
            return module
        data = inside(folder, function["data"]) if function.get("data") else folder
        try:
            return make(str(data))
        except (Exception, SystemExit) as error:
            cause = f"{loader}._load_pyfunc raised {type(error).__name__}: {first_line(error)}"
            raise UnloadableModelError(str(folder), cause) from error
    try:
        from mlflow import pyfunc  # 2 s
    except ModuleNotFoundError as error:
        what = f"a model that {loader} loads, a part of MLflow,"
        raise MissingExtraError(what, "models", hint="pip install mlflow") from error
    try:
        return pyfunc.load_model(str(folder))
    except (Exception, SystemExit) as error:
        raise UnloadableModelError(str(folder), f"{type(error).__name__}: {first_line(error)}") from error


def _code(folder: Path, *flavors: Mapping[str, Any]) -> CodeFolder | None:
    name = next((flavor["code"] for flavor in flavors if flavor.get("code")), None)
    return None if name is None else CodeFolder(inside(folder, name))


def _module(code: CodeFolder, name: str, folder: Path) -> Any:
    if not _MODULE.match(name):
        raise UnloadableModelError(str(folder / "MLmodel"), f"{name!r} is no module's name")
    try:
        return code.module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).removeprefix(f"{code.package}.")
        raise UnloadableModelError(str(folder), f"there is no module {missing!r}") from error
    except (Exception, SystemExit) as error:
        cause = f"importing {name} raised {type(error).__name__}: {first_line(error)}"
        raise UnloadableModelError(str(folder), cause) from error


def _attribute(code: CodeFolder, module: str, attribute: str, folder: Path) -> Any:
    target = getattr(_module(code, module, folder), attribute, None)
    if target is None:
        raise UnloadableModelError(str(folder), f"module {module} has no {attribute!r}")
    if not callable(target):
        raise UnloadableModelError(str(folder), f"{module}.{attribute} cannot be called: {type(target).__name__}")
    return target


def inside(folder: Path, name: object) -> Path:
    """Return the path of `name` below `folder`.

    Raises:
        UnloadableModelError: It leads out of the folder, or there is nothing.
    """
    path = folder / str(name)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnloadableModelError(str(folder / "MLmodel"), f"{str(name)!r} leads out of the model's folder")
    if not path.exists():
        raise UnloadableModelError(str(folder), f"there is no {name}")
    return path
