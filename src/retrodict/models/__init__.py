"""Models: their versions and aliases on record, and the folders that they are loaded from.

Its names are loaded when they are first used (PEP 562): every command reads the record of models, few load one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrodict.models.errors import InputError, UnloadableModelError
    from retrodict.models.loading import LoadedModel, load_model
    from retrodict.models.packaging import Packaged, load_example, package, package_remote, read_example
    from retrodict.models.session import Predictor, current_loader
    from retrodict.models.signature import ColumnSpec, Signature, TensorSpec

_HOMES = {
    "ColumnSpec": "signature",
    "InputError": "errors",
    "LoadedModel": "loading",
    "Packaged": "packaging",
    "Predictor": "session",
    "Signature": "signature",
    "TensorSpec": "signature",
    "UnloadableModelError": "errors",
    "current_loader": "session",
    "load_example": "packaging",
    "load_model": "loading",
    "package": "packaging",
    "package_remote": "packaging",
    "read_example": "packaging",
}

__all__ = [
    "ColumnSpec",
    "InputError",
    "LoadedModel",
    "Packaged",
    "Predictor",
    "Signature",
    "TensorSpec",
    "UnloadableModelError",
    "current_loader",
    "load_example",
    "load_model",
    "package",
    "package_remote",
    "read_example",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
