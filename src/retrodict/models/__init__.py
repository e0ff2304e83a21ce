"""Models: their versions and aliases on record, and the folders that they are loaded from."""

from retrodict.models.errors import InputError, UnloadableModelError
from retrodict.models.loading import LoadedModel, load_model
from retrodict.models.packaging import Packaged, load_example, package, package_remote, read_example
from retrodict.models.session import Predictor, current_loader
from retrodict.models.signature import ColumnSpec, Signature, TensorSpec

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
