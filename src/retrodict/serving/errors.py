"""What can go wrong between a question and its recorded answer."""

from __future__ import annotations

from retrodict.kernel.errors import UnavailableError
from retrodict.kernel.types import EventId


class ModelFailedError(UnavailableError):
    """A model raised instead of answering; the failed call is on record, with its inputs and the error's text."""

    slug = "model-failed"

    def __init__(
        self, model: str, prediction: EventId, index: int | None, cause: BaseException, *, is_personal: bool = False
    ) -> None:
        """Say so; what a model says of personal values is shown only to who looks at the record."""
        name = prediction if index is None else str(index)
        text = "" if is_personal else (str(cause).strip().splitlines() or [""])[0]
        super().__init__(
            f"{model} failed: {type(cause).__name__}{': ' if text else ''}{text}",
            hint=f"The failed call is on record: `retrodict show {name}`.",
        )
        self.model = model
        self.prediction = prediction
        self.index = index
