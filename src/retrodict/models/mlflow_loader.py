"""The module that MLflow imports to load our models as its generic flavor."""

from __future__ import annotations

from pathlib import Path

from retrodict.models.loading import LoadedModel, load_model


def _load_pyfunc(path: str) -> LoadedModel:
    """Return the model in the folder `path`; MLflow calls its `predict`."""
    return load_model(Path(path))
