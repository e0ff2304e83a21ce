"""Where `rd.load` inside a prediction leads: to the service that is answering, or to the models of a replayed call."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol


class Predictor(Protocol):
    """Something that answers."""

    def predict(self, data: Any) -> Any:
        """Return the answer to `data`."""
        ...


current_loader: ContextVar[Callable[[str], Predictor] | None] = ContextVar("retrodict_loader", default=None)
"""Makes a predictor of a reference, while a prediction is being made; `rd.load` asks it first."""
