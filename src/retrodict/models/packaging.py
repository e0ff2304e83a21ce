"""What a run left behind -> a model folder as MLflow lays it out: the bytes that a version of a model is.

The same input gives the same bytes: no times, no random ids. An `MLmodel` folder is taken as it is.
"""

from __future__ import annotations

import ast
import io
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from retrodict.kernel.errors import UsageError
from retrodict.models import flavors as natives
from retrodict.models import remote
from retrodict.models import signature as signatures
from retrodict.models.errors import UnloadableModelError, first_line
from retrodict.models.isolation import CodeFolder
from retrodict.models.loading import (
    LoadedModel,
    called,
    inside,
    load_model,
    read_description,
)
from retrodict.models.pickles import PICKLES, load_object
from retrodict.models.signature import ColumnSpec, Signature

CODE: Final = "code"  # the folder of the model's own modules
EXAMPLE: Final = "input_example.json"
SIGNATURE_LIMIT: Final = 16_384  # characters: an event holds the signature, and an entry is at most 65,535 bytes
_EXAMPLE_ROWS: Final = 5
_LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".retrodict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """A model folder, ready to be stored.

    Attributes:
        flavor: As `LoadedModel.flavor`.
        signature: As MLflow means it, JSON-able; None where nothing is known, or where it is too long for an event
            (the folder's MLmodel has it).
        example: The path of the input example in the folder, None where there is none.
    """

    flavor: str
    signature: Mapping[str, object] | None
    example: str | None


def package(
    path: Path,
    into: Path,
    *,
    attribute: str | None = None,
    example: Path | None = None,
    method: str = "predict",
    row_wise: bool | None = None,
    threads: int | None = None,
    subject: str | None = None,
) -> Packaged:
    """Make the model folder `into` from what lies at `path`, and load it once to see that it can be.

    Args:
        path: A pickle (.pkl, .pickle, .joblib, .skops); a file of XGBoost, LightGBM, ONNX or PyTorch; a folder with an
            MLmodel file; a Python file with a callable; or a folder with one of these files, and whatever else it needs
            beside it.
        into: Does not exist yet.
        attribute: The callable in the Python file; "predict" unless given.
        example: A CSV, JSON or Parquet file with an input; types of columns are taken from it.
        method: Which method of a pickled object answers ("predict_proba", ...); "__call__" for the object itself.
        row_wise: Whether a row's answer depends on that row alone; None: as the model's kind has it. The MLmodel file
            says so, also that of a folder which came with one.
        threads: How many threads compute an answer of XGBoost, LightGBM, ONNX or PyTorch; None: 1. It can change the
            last bit, so it is a part of the version.
        subject: The field that says whom a question is about: the example is somebody's then, and only its types are
            kept. It is no input, unless the model was fitted with it.

    Raises:
        UnloadableModelError: There is no model at `path`, or it cannot be loaded; names the file and the cause.
        UsageError: The example cannot be read, or does not fit.
    """
    if (path / "MLmodel").is_file():
        if threads is not None:
            raise UsageError("threads cannot be set: an MLmodel folder is taken as it is")
        _copy(path, into)
        if row_wise is not None:
            _write(into, _with_row_wise(read_description(into), row_wise))
        with called(lambda place: str(path / place), into):
            loaded = load_model(into)
        return _packaged(loaded.flavor, loaded.signature, into)
    if not path.exists():
        raise UnloadableModelError(str(path), "there is no such file or folder")
    into.mkdir(parents=True)
    if path.suffix in PICKLES and path.is_file():
        shutil.copyfile(path, into / f"model{path.suffix}")
        flavors = _pickled(into, f"model{path.suffix}", method, code=None, source=path)
    elif natives.recognise(path) is not None:
        flavors = natives.describe(path, into, method=method, source=path)
    elif path.suffix == ".py":
        _copy_module(path, into / CODE)
        flavors = _called(path.stem, attribute or "predict")
    elif path.is_dir():
        _copy(path, into / CODE)
        flavors = _flavors_of_folder(path, into, attribute, method)
    else:
        raise UnloadableModelError(str(path), "it is neither a pickle, nor Python, nor a folder, nor any model's file")
    description: dict[str, object] = {"flavors": flavors}
    if natives.NATIVE_FLAVORS & flavors.keys() or _is_torch(flavors):
        description["metadata"] = {"retrodict": {"threads": natives.THREADS if threads is None else threads}}
    elif threads is not None:
        raise UsageError("threads can be set for XGBoost, LightGBM, ONNX and PyTorch only")
    if row_wise is not None:
        description = _with_row_wise(description, row_wise)
    with called(lambda place: _given(path, place), into):
        return _finished(into, description, example, subject)


def sources(path: Path) -> Iterator[Path]:
    """Yield the files that `package` takes from `path`: of a folder all, behind links too; with Python what it imports.

    Raises:
        UnloadableModelError: Something that should be Python is not.
    """
    if path.is_dir():
        yield from _files(path)
    elif path.suffix == ".py":
        for module in _modules(path):
            yield from _files(module) if module.is_dir() else (module,)
    else:
        yield path


def _given(source: Path, place: Path) -> str:
    """Return what lies at `place` in the made folder as the person knows it who gave `source`."""
    parts = place.parts[1:] if place.parts[:1] == (CODE,) else place.parts
    return str(source.joinpath(*parts)) if source.is_dir() and source.joinpath(*parts).exists() else str(source)


def _finished(into: Path, description: dict[str, object], example: Path | None, subject: str | None) -> Packaged:
    """Write the example, the description and, once the model has been loaded, its signature."""
    frame = None if example is None else read_example(example)
    if frame is not None and subject is None:
        _write_example(frame.head(_EXAMPLE_ROWS), into / EXAMPLE)
        about = {"artifact_path": EXAMPLE, "pandas_orient": "split", "type": "dataframe"}
        description["saved_input_example_info"] = about
    _write(into, description)
    loaded = load_model(into)
    if frame is not None and subject in frame.columns and subject not in getattr(loaded.model, "feature_names_in_", ()):
        frame = frame.drop(columns=subject)
    signature = _signature(loaded, frame)
    if signature is not None:
        written = signature.to_mlflow()
        description["signature"] = {key: None if part is None else json.dumps(part) for key, part in written.items()}
        _write(into, description)
    return _packaged(loaded.flavor, signature, into)


def package_remote(
    into: Path, name: str, address: remote.Address, *, example: Path | None = None, subject: str | None = None
) -> Packaged:
    """Make the model folder `into` of a third party: its address, and what it says its version is. It is not asked.

    Args:
        into: Does not exist yet.
        name: What its part of an answer is called.
        address: Where it answers.
        example: As for `package`: what goes in; `subject` too.

    Raises:
        UsageError: The address is none, or it or a header would put a secret on record.
    """
    flavors = remote.remote_flavors(name, address)
    into.mkdir(parents=True)
    return _finished(into, {"flavors": flavors}, example, subject)


def read_example(path: Path, data: bytes | None = None) -> Any:
    """Return the frame in a CSV, JSON (rows, or MLflow's split) or Parquet file.

    Args:
        path: The file; its ending says what it is.
        data: What it holds, where it is no file: questions from a pipe may be about people, and touch no disk.

    Raises:
        UsageError: There is no such file, or it is none of these.
    """
    import pandas as pd  # 300 ms

    source = path if data is None else io.BytesIO(data)
    try:
        match path.suffix.lower():
            case ".csv":
                return pd.read_csv(source, float_precision="round_trip")  # the usual reader misses the last bit
            case ".parquet":
                return pd.read_parquet(source)
            case ".json" | ".jsonl":
                return _read_json(path.suffix, path.read_bytes() if data is None else data)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}") from error
    raise UsageError(f"{path} is no input", hint="Inputs are .csv, .json, .jsonl or .parquet files.")


def load_example(folder: Path) -> Any:
    """Return the input example of a model's folder as a frame; None where it has none that is a frame.

    Raises:
        UsageError: It cannot be read.
    """
    about = read_description(folder).get("saved_input_example_info")
    if not isinstance(about, dict) or about.get("type") != "dataframe":
        return None
    return read_example(inside(folder, about.get("artifact_path", EXAMPLE)))


_JSON: Final = {str: "a text", bool: "a truth value", int: "a number", float: "a number", type(None): "null"}


def _read_json(suffix: str, data: bytes) -> Any:
    import pandas as pd  # 300 ms

    text = data.decode()
    rows = [json.loads(line) for line in text.splitlines() if line] if suffix == ".jsonl" else json.loads(text)
    if not isinstance(rows, list | dict):
        raise ValueError(f"it holds {_JSON[type(rows)]}, and rows are due: {{column: value, ...}}, or a list of them")
    if isinstance(rows, dict) and {"columns", "data"} <= rows.keys():
        return pd.DataFrame(rows["data"], columns=rows["columns"])
    return pd.DataFrame([rows] if isinstance(rows, dict) else rows)


def _write_example(frame: Any, path: Path) -> None:
    """Write a frame as MLflow does, but with every digit: pandas's own writer rounds."""
    split = frame.astype(object).where(frame.notna(), None).to_dict("split")
    rows = [[_jsonable(cell) for cell in row] for row in split["data"]]
    path.write_text(json.dumps({"columns": [str(name) for name in split["columns"]], "data": rows}) + "\n")


def _jsonable(cell: Any) -> Any:
    if hasattr(cell, "item"):
        cell = cell.item()
    return cell if isinstance(cell, (str, int, float, bool)) or cell is None else str(cell)


def _signature(loaded: LoadedModel, frame: Any) -> Signature | None:
    """Return what the example and the fitted model say."""
    if frame is None:
        names = _names(loaded.model)
        return None if names is None else Signature(inputs=tuple(ColumnSpec(name=str(n), type="any") for n in names))
    inputs = signatures.infer(frame)
    if inputs is None:
        return None
    if loaded.flavor in {"callable", "remote"}:  # it may ask others, which only a service can do
        return Signature(inputs=inputs)
    try:
        outputs = signatures.infer(loaded.predict(frame))
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"the model does not answer its example: {type(error).__name__}: {first_line(error)}"
        ) from error
    return Signature(inputs=inputs, outputs=outputs)


def _names(model: Any) -> Any:
    """Return the names of the columns that a model was fitted with, as each library has them; None for none."""
    names = getattr(model, "feature_names_in_", None)
    if names is None and type(model).__name__ == "Booster":
        found = getattr(model, "feature_names", None)  # XGBoost's
        names = found if found is not None or not hasattr(model, "feature_name") else model.feature_name()
        if names and all(name == f"Column_{i}" for i, name in enumerate(names)):  # LightGBM's own, for arrays
            return None
    return names


def _packaged(flavor: str, signature: Signature | None, folder: Path) -> Packaged:
    written = None if signature is None else signature.to_mlflow()
    if written is not None and len(json.dumps(written)) > SIGNATURE_LIMIT:
        written = None
    about = read_description(folder).get("saved_input_example_info")
    example = about.get("artifact_path") if isinstance(about, dict) else None
    return Packaged(flavor=flavor, signature=written, example=example)


def _with_row_wise(description: Mapping[str, Any], row_wise: bool) -> dict[str, object]:
    metadata = description.get("metadata") or {}
    own = metadata.get("retrodict") or {}
    return {**description, "metadata": {**metadata, "retrodict": {**own, "row_wise": row_wise}}}


def _write(folder: Path, description: Mapping[str, object]) -> None:
    import yaml  # 15 ms

    (folder / "MLmodel").write_text(yaml.safe_dump(description, sort_keys=True))


# ---- flavors ---------------------------------------------------------------------------------------------------------


def _pickled(folder: Path, name: str, method: str, *, code: str | None, source: Path) -> dict[str, object]:
    """Return the flavors of a pickled object; for scikit-learn's, those that MLflow itself would write."""
    form = PICKLES[Path(name).suffix]
    try:
        model = load_object(folder / name, form, None if code is None else CodeFolder(folder / code))
    except UnloadableModelError as error:
        raise UnloadableModelError(str(source), error.cause, hint=error.hint) from error
    if natives.is_torch_module(model):
        own = {"loader": "pickle", "path": name, "serialization_format": form, "code": code}
        return {"retrodict": own, "python_function": _for_mlflow()}
    if not callable(model if method == "__call__" else getattr(model, method, None)):
        has = [other for other in ("predict", "predict_proba", "transform", "__call__") if hasattr(model, other)]
        hint = f"It has {', '.join(has)}." if has else "It is no model."
        raise UnloadableModelError(str(source), f"its {type(model).__name__} has no method {method!r}", hint=hint)
    own_format = _of_library(model, folder, name, method, code)
    if own_format is not None:
        return own_format
    if not (hasattr(model, "fit") and hasattr(model, "get_params")):
        own = {"loader": "pickle", "path": name, "serialization_format": form, "method": method, "code": code}
        return {"retrodict": own, "python_function": _for_mlflow()}
    import sklearn  # 500 ms, loaded by the model's own file

    function = {
        "loader_module": "mlflow.sklearn",
        "model_path": name,
        "predict_fn": method,
        "python_version": platform.python_version(),
    }
    flavor = {
        "pickled_model": name,
        "serialization_format": form,
        "sklearn_version": sklearn.__version__,
        "code": code,
    }
    return {"python_function": function | ({"code": code} if code else {}), "sklearn": flavor}


def _of_library(model: Any, folder: Path, name: str, method: str, code: str | None) -> dict[str, object] | None:
    """Return the flavors of a pickled booster, which its library writes anew, or of LightGBM's pickled wrapper.

    XGBoost's wrappers stay pickles (flavor `sklearn`): its own format loses some of their parameters, `missing` among
    them, which change answers.
    """
    kind = f"{type(model).__module__.partition('.')[0]}.{type(model).__name__}"
    form = PICKLES[Path(name).suffix]
    if kind in {"xgboost.Booster", "lightgbm.Booster"} and method != "predict":
        raise UsageError(f"a booster has no method {method!r}")
    match kind:
        case "xgboost.Booster":
            model.save_model(folder / "model.ubj")
            (folder / name).unlink()
            return natives.xgboost_flavors("model.ubj", "xgboost.core.Booster", method)
        case "lightgbm.Booster":
            model.save_model(folder / "model.lgb")
            (folder / name).unlink()
            return natives.lightgbm_flavors("model.lgb", "lightgbm.basic.Booster", None, method)
        case "lightgbm.LGBMClassifier" | "lightgbm.LGBMRegressor" | "lightgbm.LGBMRanker":
            return natives.lightgbm_flavors(name, f"lightgbm.sklearn.{type(model).__name__}", form, method, code)
    return None


def _is_torch(flavors: Mapping[str, object]) -> bool:
    own = flavors.get("retrodict")
    return isinstance(own, Mapping) and own.get("loader") == "state_dict"


def _called(module: str, attribute: str) -> dict[str, object]:
    own = {"loader": "callable", "module": module, "attribute": attribute, "code": CODE}
    return {"retrodict": own, "python_function": _for_mlflow()}


def _for_mlflow() -> dict[str, object]:
    return {"loader_module": "retrodict.models.mlflow_loader", "python_version": platform.python_version()}


def _flavors_of_folder(path: Path, into: Path, attribute: str | None, method: str) -> dict[str, object]:
    code = into / CODE
    pickles = sorted(file.name for file in code.iterdir() if file.suffix in PICKLES)
    if attribute is None and len(pickles) == 1:
        return _pickled(into, f"{CODE}/{pickles[0]}", method, code=CODE, source=path / pickles[0])
    files = sorted(file for file in code.iterdir() if natives.recognise(file) is not None)
    if len(files) == 1 and not pickles:
        # Python with a function `predict` is the model, and loads its file itself.
        own = attribute is None and any("predict" in _defined(file) for file in code.glob("*.py"))
        is_torch = natives.recognise(files[0]) == "pytorch" and method == "predict" and not own
        if is_torch and (attribute is None or (_is_class(code, attribute) and natives.is_state_dict(files[0]))):
            return _torch_folder(files[0], into, attribute, source=path)
        if attribute is None and not own:
            return natives.describe(files[0], into, method=method, source=path / files[0].name)
    module, _, name = (attribute or "predict").rpartition(":")
    modules = [module] if module else sorted(f.stem for f in code.glob("*.py") if name in _defined(f))
    if len(modules) != 1:
        found = f"{len(modules)} of its Python files define {name!r}" + (f" ({', '.join(modules)})" if modules else "")
        hint = f"Name the callable: {path}/FILE.py:CALLABLE, or {path}:MODULE:CALLABLE for all of the folder."
        raise UnloadableModelError(str(path), f"it has no MLmodel file, {len(pickles)} pickles, and {found}", hint=hint)
    return _called(modules[0], name)


def _torch_folder(file: Path, into: Path, attribute: str | None, *, source: Path) -> dict[str, object]:
    """Return the flavors of one file of PyTorch with the code that it needs beside it."""
    if not natives.is_state_dict(file):
        natives.keep_torch(file, into)
        return natives.torch_flavors(CODE)
    if attribute is None:
        cause = "it holds a state_dict: numbers without the module that they belong to"
        hint = f"Name what makes the module: {source}:CLASS, or {source}:MODULE:CLASS."
        raise UnloadableModelError(str(source), cause, hint=hint)
    module, _, name = attribute.rpartition(":")
    modules = [module] if module else sorted(f.stem for f in (into / CODE).glob("*.py") if name in _defined(f))
    if len(modules) != 1:
        raise UnloadableModelError(str(source), f"{len(modules)} of its Python files define {name!r}")
    own = {
        "loader": "state_dict",
        "module": modules[0],
        "attribute": name,
        "code": CODE,
        "path": f"{CODE}/{file.name}",
    }
    return {"retrodict": own, "python_function": _for_mlflow()}


def _is_class(code: Path, attribute: str) -> bool:
    """Say whether a class of this name is defined in a folder: what makes a module, where a function is the model."""
    name = attribute.rpartition(":")[2]
    nodes = (node for file in sorted(code.rglob("*.py")) for node in _parsed(file).body)
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in nodes)


# ---- copies ----------------------------------------------------------------------------------------------------------


def _copy(source: Path, target: Path) -> None:
    """Copy a folder; links become what they lead to, since a model's folder must hold all of itself."""
    try:
        shutil.copytree(source, target, ignore=_LEFT_OUT)
    except shutil.Error as error:
        raise UnloadableModelError(str(source), str(error.args[0][0][2])) from error
    except OSError as error:
        raise UnloadableModelError(str(source), error.strerror or str(error)) from error


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that `_copy` copies."""
    seen: set[str] = set()
    for at, below, names in os.walk(folder, followlinks=True):
        skip = _LEFT_OUT(at, [*below, *names])
        place = os.path.realpath(at)
        below[:] = [] if place in seen else [name for name in below if name not in skip]
        seen.add(place)
        yield from (Path(at) / name for name in names if name not in skip)


def _copy_module(path: Path, target: Path) -> None:
    target.mkdir()
    for module in _modules(path):
        if module.is_dir():
            _copy(module, target / module.name)
        else:
            shutil.copyfile(module, target / module.name)


def _modules(path: Path) -> Iterator[Path]:
    """Yield a Python file and the modules beside it, files and folders, that it imports, and those that they import."""
    waiting, done = [path], set()
    while waiting:
        file = waiting.pop()
        if file in done:
            continue
        done.add(file)
        yield file
        for name in _imported(file):
            module, folder = path.parent / f"{name}.py", path.parent / name
            if (folder / "__init__.py").is_file():
                if folder not in done:
                    done.add(folder)
                    yield folder
            elif module.is_file():
                waiting.append(module)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise UnloadableModelError(str(path), f"it is not Python: {first_line(error)}") from error


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(_parsed(path)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}


def _defined(path: Path) -> set[str]:
    names = set()
    for node in _parsed(path).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
            case _:
                pass
    return names
