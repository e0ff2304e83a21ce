"""Models: their versions and aliases on record, and the folders that they are loaded from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.models.errors import InputError, UnloadableModelError
    from retrodict.models.loading import LoadedModel, load_model
    from retrodict.models.packaging import Packaged, load_example, package, package_remote, read_example, sources
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
    "sources": "packaging",
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
    "sources",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
