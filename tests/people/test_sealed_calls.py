"""Values about people are sealed, per person, and come back for who may see them."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from retrodict import predictions
from retrodict.actions import payloads
from retrodict.actions.models import models
from retrodict.actions.predictions import search
from retrodict.actions.record import record_prediction
from retrodict.actions.register import register
from retrodict.actions.show import show
from retrodict.kernel.errors import UsageError
from retrodict.models import InputError
from retrodict.predictions import Kept, SealedPayload
from retrodict.render import text
from retrodict.serving import ModelFailedError, Service
from retrodict.testing.people import question, scorer
from retrodict.testing.workbench import register_source
from retrodict.workspace import Workspace


def kept(workspace: Workspace, index: int | None) -> tuple[Kept, Kept | None, Kept | None]:
    assert index is not None
    return predictions.payloads(workspace.ledger.event(index).event)


def test_a_call_about_two_people_has_a_segment_for_each(workspace: Workspace, service: Service) -> None:
    asked = question(("ann", 30, "Rome"), ("bob", 40, "Oslo"), ("ann", 50, "Bari"))
    answer = service.predict("score", asked)
    inputs, outputs, _ = kept(workspace, answer.index)
    assert isinstance(inputs, SealedPayload)
    assert isinstance(outputs, SealedPayload)
    parts = inputs.parts(workspace.objects.get)
    assert [part.rows for part in parts] == [((0, 1), (2, 1)), ((1, 1),)]
    assert len({part.subjects for part in parts}) == 2
    assert (inputs.clear, outputs.clear) == (None, None)
    pd.testing.assert_frame_equal(payloads.load(workspace, inputs), asked[["age", "city"]])
    pd.testing.assert_frame_equal(payloads.load(workspace, outputs), answer.output)


def test_a_person_keeps_one_pseudonym_and_one_key(workspace: Workspace, service: Service) -> None:
    found = set()
    for name in ("ann", "ann", "bob"):
        inputs, _, _ = kept(workspace, service.predict("score", question((name, 30, "Rome"))).index)
        assert isinstance(inputs, SealedPayload)
        (part,) = inputs.parts(workspace.objects.get)
        found.add((part.subjects, part.keys))
    assert len(found) == 2
    again = Service(workspace)
    inputs, _, _ = kept(workspace, again.predict("score", question(("bob", 1, "Rome"))).index)
    assert isinstance(inputs, SealedPayload)
    assert (inputs.parts(workspace.objects.get)[0].subjects) in {subjects for subjects, _ in found}


def test_columns_that_are_not_personal_stay_searchable(workspace: Workspace) -> None:
    example = workspace.root / "example.csv"
    register(workspace, scorer(workspace), "score", example=example, subject="customer", personal=["city"])
    Service(workspace).predict("score", question(("ann", 30, "Rome"), ("bob", 40, "Oslo")))
    rows = search(workspace, where="age > 35").rows
    assert [(row.inputs, row.outputs) for row in rows] == [({"age": 40}, None)]
    assert "personal" in str(rows[0].gap)
    with pytest.raises(UsageError, match="city") as refused:
        search(workspace, where="city = 'Oslo'")
    assert "--unseal" in str(refused.value.hint)
    Console(file=(drawn := io.StringIO()), width=200).print(text.models(models(workspace)))
    assert "by customer; personal are city and the outputs" in drawn.getvalue()
    (row,) = search(workspace, where="city = 'Oslo'", unseal=True).rows
    assert row.inputs == {"age": 40, "city": "Oslo"}
    assert row.outputs == {"score": 0.4, "word": "OSLO"}


def test_a_question_about_nobody_is_refused_by_name(workspace: Workspace, service: Service) -> None:
    before = workspace.ledger.size()
    with pytest.raises(InputError, match="'customer'"):
        service.predict("score", pd.DataFrame({"age": [30], "city": ["Rome"]}))
    with pytest.raises(InputError, match="row 1"):
        service.predict("score", question(("ann", 30, "Rome"), ("", 31, "Rome")))
    with pytest.raises(InputError) as refused:
        service.predict("score", question(("ann", 30, "Rome")).assign(age=["Secret"]))
    assert "Secret" not in str(refused.value)
    assert workspace.ledger.size() == before


def test_who_a_call_is_about_can_be_said_beside_it(workspace: Workspace, service: Service) -> None:
    asked = question(("ann", 30, "Rome"), ("bob", 40, "Oslo")).drop(columns="customer")
    answer = service.predict("score", asked, subject=["ann", "bob"])
    assert len(search(workspace, subject="ann").rows) == 1
    service.predict("score", asked.to_dict("records"), subject="ann")
    assert len(search(workspace, subject="ann").rows) == 3
    with pytest.raises(InputError):
        service.predict("score", asked, subject=["ann"])
    assert answer.output["score"].tolist() == [0.3, 0.4]


def test_what_a_failing_model_says_is_sealed_and_not_raised(workspace: Workspace, service: Service) -> None:
    with pytest.raises(ModelFailedError) as failed:
        service.predict("score", question(("ann", 31337, "Nowhere")))
    assert "31337" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.index is not None
    assert "error" in {workspace.ledger.event(failed.value.index).event.body["status"]}


def test_what_a_model_asks_of_others_is_about_the_same_people(workspace: Workspace) -> None:
    register(workspace, scorer(workspace), "plain")
    register_source(
        workspace,
        "outer",
        "import retrodict\n\ndef predict(rows):\n    frame = rows[['age', 'city']]\n"
        "    return retrodict.load('plain').predict(frame)['score'].tolist()\n",
    )
    register(workspace, f"{workspace.root / 'outer.py'}:predict", "outer", subject="customer")
    service = Service(workspace)
    for rows in ([("ann", 30, "Rome")], [("ann", 30, "Rome"), ("bob", 31, "Rome")]):
        answer = service.predict("outer", question(*rows))
        assert answer.index is not None
        for index in (answer.index - 1, answer.index):
            inputs, outputs, _ = kept(workspace, index)
            assert isinstance(inputs, SealedPayload)
            assert isinstance(outputs, SealedPayload)
            assert len({s for part in inputs.parts(workspace.objects.get) for s in part.subjects}) == len(rows)
        assert payloads.load(workspace, kept(workspace, answer.index - 1)[0])["city"].tolist() == ["Rome"] * len(rows)


def test_an_answer_with_a_personal_part_is_personal(workspace: Workspace) -> None:
    register_source(
        workspace,
        "outer",
        "import retrodict\n\ndef predict(rows):\n    return retrodict.load('score').predict(rows)['score'].tolist()\n",
    )
    answer = Service(workspace).predict("outer", question(("ann", 30, "Rome")))
    inputs, outputs, _ = kept(workspace, answer.index)
    assert isinstance(inputs, SealedPayload)
    assert isinstance(outputs, SealedPayload)
    assert len(search(workspace, subject="ann").rows) == 1


def test_a_later_version_is_personal_too_until_it_says_otherwise(workspace: Workspace) -> None:
    path = scorer(workspace)
    (workspace.root / "score.py").open("a").write("# changed\n")
    service = Service(workspace)
    later = register(workspace, path, "score")
    assert later.version == 2
    assert later.personal is not None
    made = register(workspace, path, "score", is_personal=False)
    assert made.version == 3
    assert made.personal is None
    assert not register(workspace, path, "score", is_personal=False).is_new
    answer = service.predict("score", pd.DataFrame({"age": [1], "city": ["Rome"]}))
    assert not isinstance(kept(workspace, answer.index)[0], SealedPayload)
    with pytest.raises(UsageError):
        register(workspace, path, "score", subject="customer", is_personal=False)
    with pytest.raises(UsageError):
        register(workspace, path, "new", personal=["age"])


def test_an_example_is_not_kept(workspace: Workspace) -> None:
    version = Service(workspace).resolve("score")
    names = {path for path, _ in workspace.objects.walk(version.content)}
    assert b"input_example.json" not in names
    assert version.signature is not None


def test_each_look_is_an_event_and_without_one_values_stay_sealed(workspace: Workspace, service: Service) -> None:
    service.predict("score", question(("ann", 30, "Rome"), ("bob", 40, "Oslo")))
    before = workspace.ledger.size()
    assert [row.inputs for row in search(workspace).rows] == [None, None]
    assert workspace.ledger.size() == before
    (row,) = search(workspace, subject="ann").rows
    assert row.inputs == {"age": 30, "city": "Rome"}
    event = workspace.ledger.event(before).event
    assert (event.kind, event.body) == (
        "personal.viewed",
        {"subjects": [row.subject], "by": "predictions", "caller": None},
    )
    nobody = replace(workspace, agent="")
    (row,) = search(nobody, subject="ann").rows
    assert row.inputs is None
    assert "recorded" in str(row.gap)


def test_a_call_about_many_people_fits_into_an_entry(workspace: Workspace, service: Service) -> None:
    asked = question(*((f"person-{i}", i, "Rome") for i in range(700)))
    answer = service.predict("score", asked)
    inputs, _, _ = kept(workspace, answer.index)
    assert isinstance(inputs, SealedPayload)
    assert isinstance(inputs.segments, str)
    pd.testing.assert_frame_equal(payloads.load(workspace, inputs), asked[["age", "city"]])
    (row,) = search(workspace, subject="person-123").rows
    assert row.inputs == {"age": 123, "city": "Rome"}


def test_values_that_cannot_be_cut_are_sealed_for_all_together(workspace: Workspace) -> None:
    register_source(workspace, "whole", "def predict(rows):\n    return {'mean': float(rows['age'].mean())}\n")
    register(workspace, f"{workspace.root / 'whole.py'}:predict", "whole", subject="customer")
    answer = Service(workspace).predict("whole", question(("ann", 30, "Rome"), ("bob", 40, "Oslo")))
    _, outputs, _ = kept(workspace, answer.index)
    assert isinstance(outputs, SealedPayload)
    (part,) = outputs.parts(workspace.objects.get)
    assert len(part.keys) == 2
    assert payloads.load(workspace, outputs) == {"mean": 35.0}


def test_answers_of_other_systems_about_people_are_sealed_too(workspace: Workspace) -> None:
    rows = [{"customer": "ann", "age": 30, "city": "Rome"}, {"customer": "bob", "age": 40, "city": "Oslo"}]
    known = record_prediction(workspace, system="old", model="score", inputs=rows, outputs=[0.3, 0.4])
    named = record_prediction(
        workspace, system="old", model="rate", model_version="7", inputs=[1, 2], outputs=[3, 4], subject=["ann", "bob"]
    )
    for recorded in (known, named):
        inputs, outputs, _ = kept(workspace, recorded.index)
        assert isinstance(inputs, SealedPayload)
        assert isinstance(outputs, SealedPayload)
    found = search(workspace, subject="bob").rows
    assert [row.inputs for row in found] == [{"value": 2}, {"age": 40, "city": "Oslo"}]
    with pytest.raises(InputError, match="customer"):
        record_prediction(workspace, system="old", model="score", inputs=[{"age": 1}], outputs=[0.1])


def test_show_opens_values_as_a_look(workspace: Workspace, service: Service) -> None:
    index = service.predict("score", question(("ann", 30, "Rome"), ("bob", 40, "Oslo"))).index
    shown = show(workspace, f"{index}.1")
    assert shown.values["as the model saw it"] == {1: {"age": 40, "city": "Oslo"}}
    event = workspace.ledger.event(workspace.ledger.size() - 1).event
    assert (event.kind, event.body["by"]) == ("personal.viewed", "show")
    nobody = show(replace(workspace, agent=""), f"{index}.1")
    assert "recorded" in str(nobody.values["answer"][1])
