"""Answers that are no numbers are explained like others: whatever they are, `--replay` has its figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from retrodict.actions.explain import explain
from retrodict.actions.predict import predict
from retrodict.render.explanation import to_html
from retrodict.testing.workbench import make_workspace, register_source

FRAME = pd.DataFrame({"age": [40, 20, 27], "income": [1.0, 2.0, 3.0]})
ANSWERS = {
    "ranked lists": "[['old', 'young'] if age > 30 else ['young'] for age in frame['age']]",
    "images": "[np.full((2, 3, 3), age, 'uint8') for age in frame['age']]",
    "a stack of images": "np.stack([np.full((2, 3, 3), age, 'uint8') for age in frame['age']])",
    "JSON": "[{'items': list(range(age % 3)), 'why': {'age': age}} for age in frame['age'].tolist()]",
    "columns of lists": "{'items': [list(range(age % 3)) for age in frame['age'].tolist()]}",
    "texts": "['at %d' % age for age in frame['age']]",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_of_any_form_has_an_explanation_with_figures(answer: str, tmp_path: Path) -> None:
    with make_workspace(tmp_path) as workspace:
        for other in ("", "[::-1]"):
            register_source(
                workspace,
                "m",
                f"import numpy as np\ndef predict(frame):\n    frame = frame{other}\n    return {answer}\n",
            )
            predict(workspace, "m@v1", FRAME)
        said = explain(workspace, f"{workspace.ledger.size() - 1}.1", replay=True)
    eight, nine = said.answers[7], said.answers[8]
    assert eight.attributions
    assert eight.attributions[0].result.names == ("age", "income")
    assert eight.attributions[0].result.values[1] == pytest.approx(0)
    same, turned = nine.alternatives
    assert (same.differs, same.values, turned.differs, turned.values) == (False, 0, False, 2)
    assert said.answers[0].verdict == "replicated"
    assert to_html(said)
