"""The small workspace is whole: from its prediction the data can be reached, and everything verifies."""

from __future__ import annotations

import pytest

from retrodict import provenance
from retrodict.actions import names
from retrodict.actions.verify import verify
from retrodict.kernel.types import Ref
from retrodict.testing.workspaces import Built, build


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("small"))


def test_the_data_is_reached_from_the_prediction(built: Built) -> None:
    with built.open() as workspace:
        graph = provenance.upstream(workspace.views.database(), Ref(built.prediction))
        reached = {str(node.ref) for node in graph.nodes}
        dataset = names.resolve(workspace, built.dataset)
    assert str(dataset.event) in reached
    assert str(built.run) in reached


def test_everything_verifies(built: Built) -> None:
    with built.open() as workspace:
        record = verify(workspace)
    assert record.answer == "yes", record.findings


def test_the_record_says_when_by_the_clock_that_was_given(built: Built) -> None:
    with built.open() as workspace:
        assert {sequenced.event.at[:4] for sequenced in workspace.ledger.read()} == {"2019"}


def test_the_answer_is_the_models(built: Built) -> None:
    assert built.output == pytest.approx(4 * 27.5 / 14)
