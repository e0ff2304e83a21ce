"""Files with a Python object in them: pickles of the standard library and of cloudpickle, joblib's and skops' files.

HAZARD: reading one runs code. Read only bytes whose digest the caller has verified, or that the person at the keyboard
named.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Final

from retrodict.kernel.errors import MissingExtraError, RetrodictError
from retrodict.models.errors import UnloadableModelError, first_line
from retrodict.models.isolation import CodeFolder

PICKLES: Final = {".pkl": "pickle", ".pickle": "pickle", ".joblib": "joblib", ".skops": "skops"}


def load_object(path: Path, form: str, code: CodeFolder | None = None) -> Any:
    """Return the object in a file.

    Args:
        path: The file.
        form: "pickle" (cloudpickle's files are pickles), "joblib" or "skops".
        code: Modules that it may name.

    Raises:
        UnloadableModelError: The file does not give an object, whatever the cause.
        MissingExtraError: It needs packages that are not installed.
    """
    try:
        if form == "joblib":
            return _joblib(path)
        if form == "skops":
            return _skops(path)
        with path.open("rb") as file:
            return Unpickler(file, code).load()
    except RetrodictError:
        raise
    except ModuleNotFoundError as error:
        hint = "Install it, or register a folder that has the model's file and this module beside it."
        raise UnloadableModelError(str(path), f"it needs the module {error.name!r}", hint=hint) from error
    except (Exception, SystemExit) as error:
        if "on <module '__main__'" in str(error):
            cause, hint = first_line(error), "It was pickled by the script that defines this: put that in a module."
            raise UnloadableModelError(str(path), cause, hint=hint) from error
        raise UnloadableModelError(str(path), f"{type(error).__name__}: {first_line(error)}") from error


class Unpickler(pickle.Unpickler):
    """Finds the classes of the model's own folder first."""

    def __init__(self, file: io.BufferedReader, code: CodeFolder | None) -> None:
        super().__init__(file)
        self._code = code

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names."""
        if self._code is None or module.partition(".")[0] not in self._code.names:
            return super().find_class(module, name)
        found: Any = self._code.module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found


def _joblib(path: Path) -> Any:
    try:
        import joblib  # 60 ms
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{path.name}", "models") from error
    return joblib.load(path)


def _skops(path: Path) -> Any:
    try:
        from skops import io as skops  # 700 ms, with scikit-learn
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{path.name} (a skops file)", "models") from error
    return skops.load(path, trusted=skops.get_untrusted_types(file=path))
