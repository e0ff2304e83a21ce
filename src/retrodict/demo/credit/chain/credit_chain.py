"""The credit decision: a chain of two models, asked with a raw application.

    raw codes -> labels and ranks -> expected-amount -> amount_over_expected -> decision -> threshold and limit

The folder holds all that it needs: features.py, credit_codes.csv, params.json. Only the two models are asked for by
name, so that their versions and their answers are on record as parts of this answer.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


def _sibling(name):
    # Not `import features`: two versions of this chain in one process must not share the first one's module.
    spec = importlib.util.spec_from_file_location(f"{__name__}_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


features = _sibling("features")
CODES = features.read_codes(HERE / "credit_codes.csv")
PARAMS = json.loads((HERE / "params.json").read_text())


def predict(frame, load=None):
    """Decide on applications.

    Args:
        frame: n rows, the columns `features.INPUTS`, with codes as published ("A11").
        load: From a model's name to something with `predict`; `retrodict.load` unless given.

    Returns:
        n rows: `probability` of repayment, `decision` ("approve" or "decline"), `credit_limit` in whole DM. The limit
        is what the bank would lend, whatever was asked for: the amount that is usual for such an applicant, times the
        odds of repayment, so scaled that an applicant with the probability `full_limit_at` gets just that amount.

    Raises:
        ValueError: A column is missing, a code is not in the table, or a number is not whole.
    """
    if load is None:
        import retrodict  # the pipeline and the tests of the two models do without it

        load = retrodict.load
    derived = features.derive(features.decode(frame, CODES))
    expected = _column(load("expected-amount@champion").predict(derived[features.EXPECTED_AMOUNT_INPUTS]))
    seen = features.decision_inputs(derived, expected)
    probability = _column(load("decision@champion").predict(seen))
    odds = probability / np.maximum(1 - probability, 1e-9)
    full = PARAMS["full_limit_at"]
    limit = np.minimum(expected * odds * (1 - full) / full, PARAMS["highest_limit"])
    return pd.DataFrame(
        {
            "probability": probability,
            "decision": np.where(probability >= PARAMS["approve_at"], "approve", "decline"),
            "credit_limit": (np.floor(limit / 10) * 10).astype("int64"),
        },
        index=frame.index,
    )


def _column(answer):
    """Return n numbers from n estimates, or from n rows (probability of default, probability of repayment)."""
    values = np.asarray(answer, dtype="float64")
    return values.reshape(len(values), -1)[:, -1]


class Chain:
    """What a loader of model folders calls."""

    def predict(self, frame, params=None):  # noqa: ARG002 - MLflow passes it
        """Return `predict(frame)` with the models of the workspace."""
        return predict(frame)


def _load_pyfunc(path):  # noqa: ARG001 - MLflow passes it; the chain knows its own folder
    return Chain()
