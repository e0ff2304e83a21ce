"""The nine answers, on a workspace that was made through the actions alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from retrodict.actions.alias import alias
from retrodict.actions.explain import explain
from retrodict.actions.explanation import Answer, Explanation, Fact, Table
from retrodict.actions.open import open_workspace
from retrodict.actions.record import record_prediction
from retrodict.actions.register import register
from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import UnknownReferenceError, UsageError
from retrodict.models import records as models
from retrodict.render.json import to_json
from retrodict.serving import ModelFailedError, Service
from retrodict.testing.bank import Bank, applicants
from retrodict.testing.workbench import make_workspace, register_source
from retrodict.workspace import Workspace


def facts(answers: Iterable[Answer]) -> Iterator[Fact]:
    def below(found: Iterable[Fact]) -> Iterator[Fact]:
        for fact in found:
            yield fact
            yield from below(fact.facts)

    for answer in answers:
        yield from below(answer.facts)
        for part in answer.parts:
            yield from facts(part.answers)


def values(table: Table) -> dict[str, Any]:
    return {str(name): value for name, value in table.rows}


def said(*answers: Answer) -> str:
    return "\n".join([*(a.says for a in answers), *("\n".join([f.says, *f.lines]) for f in facts(answers))])


def test_there_are_nine_answers_and_every_line_says_how_it_is_known(plain: Explanation) -> None:
    assert [answer.number for answer in plain.answers] == list(range(1, 10))
    for fact in facts(plain.answers):
        assert fact.evidence in {"declared", "observed", "inferred"}
        assert fact.state in {"held", "missing", "altered"}
        assert (fact.kind == "gap") <= (fact.state == "missing")
    assert [a.number for a in plain.answers if a.needs_replay] == [1, 8, 9]


def test_a_dispute_and_a_call_of_one_row_lead_to_the_same_prediction(bank: Bank, plain: Explanation) -> None:
    for reference in (bank.dispute, bank.disputed.partition(".")[0]):
        assert explain(bank.workspace, reference).subject == plain.subject
    (complaint,) = plain.subject.disputes
    assert "My neighbour got twice as much" in complaint.says
    assert complaint.facts[0].kind == "gap"


def test_the_entry_is_proved_to_be_under_the_checkpoint(plain: Explanation) -> None:
    first = plain.answers[0].facts[0]
    assert "proved to be in the log" in first.says
    assert "signature checked" in first.says
    assert plain.checkpoint.startswith(plain.origin)


def test_inputs_stand_as_sent_and_as_each_model_saw_them(bank: Bank, plain: Explanation) -> None:
    tables = {table.title: values(table) for table in plain.answers[1].tables}
    sent = tables["as sent, and as credit@v1 saw it"]
    assert list(sent) == ["status", "purpose", "amount", "months"]
    assert tables["as usual@v1 saw it"] == {"rank": int(sent["status"][-1]) - 1, "months": sent["months"]}
    usual = tables["what usual@v1 answered"]["value"]
    assert tables["as score@v1 saw it"]["over"] == sent["amount"] / usual
    assert dict(plain.subject.answer)["probability"] == tables["what score@v1 answered"]["1"]
    assert plain.subject.caller == "branch 7"


def test_versions_are_a_tree_with_digests_and_who_set_the_alias(bank: Bank, plain: Explanation) -> None:
    top = plain.answers[2].facts[0]
    inside = [fact.ref for fact in top.facts if fact.ref in {"usual@v1", "score@v1"}]
    assert (top.ref, inside) == ("credit@v1", ["usual@v1", "score@v1"])
    (version,) = [v for v in models.versions(bank.workspace.views.database(), "credit") if v.version == 1]
    assert version.content in said(plain.answers[2])
    assert "credit@champion meant credit@v1 then, set by Ada" in said(plain.answers[2])
    assert '"first release"' in said(plain.answers[2])
    assert "measured, as its run wrote it: accuracy=" in said(plain.answers[2])


def test_training_data_has_rows_versions_and_times(plain: Explanation) -> None:
    text = said(plain.answers[3])
    assert "work/prepared.csv (160 rows): written by run prepare" in text
    assert "data/raw.csv (160 rows): dataset:data/raw.csv@v1" in text
    assert "run train read 2 files of data between 20" in text


def test_code_has_commit_change_command_parameters_and_libraries(plain: Explanation) -> None:
    text = said(plain.answers[4])
    assert "code at commit" in text
    assert '+{"C": 0.5}' in text
    assert "pipeline/train.py" in plain.answers[4].says
    assert "hyperparameters read from params.json: C=0.5" in text
    assert "are those of the Python that explains this" in text
    assert plain.answers[4].verdict == "same"


def test_origin_leads_to_the_correction_and_its_lines(plain: Explanation) -> None:
    text = said(plain.answers[5])
    assert "source, as stated: the table as published in 1994" in text
    assert "since then: v2 was added by Ada" in text
    assert '"the 1994 table was wrong"; 4 of 5 lines changed, 1 of them with a value of this input' in text
    code = values(plain.answers[1].tables[0])["status"]
    changed = next(fact.lines for fact in facts([plain.answers[5]]) if fact.says.startswith("since then"))
    assert all(code in line for line in changed[:2])  # what concerns this applicant comes first
    assert "- 3: A12,0 to 200,1\n" in text
    assert "+ 3: A12,below 0,3\n" in text
    assert "reached the model through run prepare" in text
    assert any("data/codes.csv" in line and "Ada" in line for line in plain.summary)


def test_other_models_have_their_own_answers_and_nothing_is_told_twice(plain: Explanation) -> None:
    seven = plain.answers[6]
    assert [(part.of, [a.number for a in part.answers]) for part in seven.parts] == [
        ("usual@v1", [3, 4, 5, 6]),
        ("score@v1", [3, 4, 5, 6]),
    ]
    assert seven.parts[0].answers[1].says == "as for credit@v1: the same run made both"
    assert not seven.parts[0].answers[1].facts


def test_fixes_name_versions_and_commands_that_parse(bank: Bank, plain: Explanation) -> None:
    nine = plain.answers[8]
    commands = [fact.says for fact in facts([nine]) if fact.kind == "command"]
    assert 'retrodict alias credit@champion v2 --reason "..."' in commands
    assert "retrodict checkout dataset:data/codes.csv@v2 data/codes.csv" in commands
    assert any(command.startswith("retrodict run --name train -- ") for command in commands)
    for name in ("usual", "score", "credit"):
        assert f'retrodict register models/{name} {name} --reason "..."' in commands
    assert f'retrodict dispute {bank.dispute} --resolve "..." --fixed-by REF' in commands
    assert "credit@v2, registered by Ada" in said(nine)
    for command in commands:
        verb = command.split()[1]
        done = subprocess.run([sys.executable, "-m", "retrodict", verb, "--help"], capture_output=True, check=False)
        assert done.returncode == 0, command


def test_nothing_heavy_is_imported_without_replay(bank: Bank) -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from retrodict.actions.explain import explain\nfrom retrodict.actions.open import open_workspace\n"
        "from retrodict.kernel.clock import SystemClock\n"
        f"ws = open_workspace(Path({str(bank.root)!r}), Path({str(bank.root.parent / 'state')!r}), SystemClock())\n"
        f"explain(ws, {bank.disputed!r}, versus={bank.other!r})\n"
        "heavy = {'pandas', 'sklearn', 'shap', 'scipy', 'numba', 'rich', 'jinja2', 'mlflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- with the models run ---------------------------------------------------------------------------------------------


def test_the_replay_is_bit_exact(replayed: Explanation) -> None:
    one = replayed.answers[0]
    assert one.verdict == "replicated"
    assert "credit@v1: its answer is bit for bit the same" in said(one)
    assert not any(answer.needs_replay for answer in replayed.answers)


def test_values_of_each_model_and_of_the_chain_sum_up(replayed: Explanation) -> None:
    found = replayed.answers[7].attributions
    whole = [item for item in found if item.ref == replayed.subject.ref]
    assert [item.result.target for item in whole] == ["probability", "decision = decline", "limit"]
    for item in found:
        assert item.result.base + sum(item.result.values) == pytest.approx(item.result.output)
    assert whole[0].result.output == pytest.approx(dict(replayed.subject.answer)["probability"])
    assert whole[0].result.names == ("status", "purpose", "amount", "months")
    assert dict(zip(whole[0].result.names, whole[0].result.values, strict=True))["purpose"] == pytest.approx(
        0, abs=1e-12
    )
    assert "work/prepared.csv (160 rows), read by run train" in whole[0].background
    methods = {item.of: item.result.method for item in found}
    assert "TreeExplainer" in methods["usual@v1"]
    assert "LinearExplainer" in methods["score@v1"]
    assert "other logged calls of score@v1" in next(item for item in found if item.of == "score@v1").background


def test_other_versions_answer_the_same_input_and_others(bank: Bank, replayed: Explanation) -> None:
    again, *others = replayed.answers[8].alternatives
    assert (again.differs, again.values, again.problem) == (False, 0, "")
    assert again.answer == replayed.subject.answer
    together = others[0]
    assert dict(together.models) == {"credit": "credit@v2", "usual": "usual@v2", "score": "score@v2"}
    assert together.differs
    assert (together.calls, together.population) == (6, 12)
    assert 0 < (together.decisions or 0) <= together.values <= together.sampled
    # The figure is what really happens when the aliases are moved.
    with _moved(bank, "v2") as service:
        answer = service.predict("credit@champion", _person(bank, replayed))
        # Where that is so already, nothing needs to be done for it.
        assert not any(
            way.commands
            for way in explain(bank.workspace, bank.disputed, replay=True, sample=0).answers[8].alternatives
        )
    assert dict(together.answer) == answer.output.iloc[0].to_dict()


class _moved:  # noqa: N801 - reads as a sentence
    def __init__(self, bank: Bank, version: str) -> None:
        self._bank = bank
        self._version = version

    def __enter__(self) -> Service:
        for name in ("usual", "score", "credit"):
            alias(self._bank.workspace, f"{name}@champion", self._version, reason="a trial")
        return Service(self._bank.workspace)

    def __exit__(self, *_: object) -> None:
        for name in ("usual", "score", "credit"):
            alias(self._bank.workspace, f"{name}@champion", "v1", reason="the trial is over")


def _person(bank: Bank, explanation: Explanation) -> object:
    import pandas as pd

    table = explanation.answers[1].tables[0]
    people = applicants(25, 3)
    return pd.DataFrame([values(table)]).astype(people.dtypes.to_dict())


def test_versus_shares_the_whole_difference_out(replayed: Explanation) -> None:
    versus = replayed.versus
    assert versus is not None
    assert {name for name, a, b in versus.inputs if a != b} == set(versus.differing)
    for contrast in versus.contrasts:
        assert sum(s.value for s in contrast.shares) == pytest.approx(contrast.second - contrast.first)
        assert {s.name for s in contrast.shares} == set(versus.differing)
    probability = versus.contrasts[0]
    assert probability.first_said == dict(replayed.subject.answer)["probability"]
    assert probability.second_said == dict(versus.other.answer)["probability"]
    assert any("the same model credit: credit@v1" in fact.says for fact in versus.facts)


def test_the_seed_decides_every_figure(bank: Bank, replayed: Explanation) -> None:
    again = explain(bank.workspace, bank.disputed, replay=True, sample=6)
    assert again.answers[7] == replayed.answers[7]
    assert again.answers[8].alternatives == replayed.answers[8].alternatives


def test_a_row_of_a_batch_is_explained_within_its_batch(bank: Bank) -> None:
    with pytest.raises(UsageError, match="has 13 rows") as raised:
        explain(bank.workspace, str(bank.batch))
    assert f"{bank.batch}.0 to {bank.batch}.12" in raised.value.hint
    found = explain(bank.workspace, f"{bank.batch}.5")
    person = applicants(25, 3).iloc[17]
    assert values(found.answers[1].tables[0])["amount"] == person["amount"]
    assert "row 5 of 13" in found.answers[1].says
    assert [part.ref.partition(".")[2] for part in found.answers[6].parts] == ["5", "5"]


# ---- what is missing -------------------------------------------------------------------------------------------------


def reopened(bank: Bank, folder: Path) -> Workspace:
    shutil.copytree(bank.root.parent, folder, dirs_exist_ok=True)
    return open_workspace(folder / "bank", folder / "state", SystemClock())


def test_a_changed_byte_of_the_model_is_named(bank: Bank, tmp_path: Path) -> None:
    with reopened(bank, tmp_path) as copy:
        (version,) = [v for v in models.versions(copy.views.database(), "score") if v.version == 1]
        model = next(e.digest for path, e in copy.objects.walk(version.content) if path == b"model.pkl")
    record = re.compile(b"RTO1.{12}" + re.escape(bytes.fromhex(model.removeprefix("b3-"))), re.DOTALL)
    for pack in (tmp_path / "bank/.retrodict/objects/packs").rglob("*"):
        data = bytearray(pack.read_bytes() if pack.is_file() else b"")
        for held in record.finditer(bytes(data)):
            data[held.end() + 10] ^= 1  # the payload follows the name
            pack.chmod(0o644)
            pack.write_bytes(data)
    with open_workspace(tmp_path / "bank", tmp_path / "state", SystemClock()) as copy:
        found = explain(copy, bank.disputed)
        one = found.answers[0]
        assert one.verdict == "could not tell"
        assert "the model score@v1" in one.says
        assert [f.state for f in one.facts if f.says == "the model score@v1"] == ["altered"]


def test_a_failed_call_a_model_without_a_run_and_no_disputes(tmp_path: Path) -> None:
    with make_workspace(tmp_path) as workspace:
        register_source(workspace, "broken", "def predict(rows):\n    raise ZeroDivisionError('by zero')\n")
        with pytest.raises(ModelFailedError) as raised:
            Service(workspace).predict("broken", [{"a": 1}])
        found = explain(workspace, f"{raised.value.index}.0")
        assert found.subject.status == "error"
        assert "by zero" in (found.subject.error or "")
        assert "no run on record made this model" in said(*found.answers[3:6])
        assert found.answers[6].says == "none took part in the answer"
        assert not found.subject.disputes
        again = explain(workspace, f"{raised.value.index}.0", replay=True)
        assert again.answers[7].says == "it failed: there is no answer that inputs could have carried"
        json.loads(to_json(again))


def test_bad_references_and_samples_are_refused(bank: Bank) -> None:
    with pytest.raises(UnknownReferenceError):
        explain(bank.workspace, "nobody@v9")
    with pytest.raises(UsageError, match="is no prediction"):
        explain(bank.workspace, "credit@v1")
    with pytest.raises(UsageError, match="sample"):
        explain(bank.workspace, bank.disputed, sample=-1)
    with pytest.raises(UsageError, match="seed"):
        explain(bank.workspace, bank.disputed, seed=-1)


@pytest.mark.parametrize("render", [to_json, lambda e: to_json(e, indent=None)])
def test_the_record_is_json(plain: Explanation, replayed: Explanation, render: Callable[[object], str]) -> None:
    for explanation in (plain, replayed):
        read = json.loads(render(explanation))
        assert read["subject"]["ref"] == explanation.subject.ref
        assert len(read["answers"]) == 9


def test_changed_feature_code_is_named_with_its_difference(bank: Bank) -> None:
    workspace, served = bank.workspace, bank.root / "models" / "credit" / "features.py"
    as_trained = served.read_text()
    served.write_text(as_trained.replace("codes[code] for", "codes[code] + 1 for"))
    register(workspace, str(served.parent), "edited")
    served.write_text(as_trained)
    answer = Service(workspace).predict("edited", applicants(1, 5))
    found = explain(workspace, f"{answer.index}.0").answers[4]
    assert found.verdict == "changed"
    assert "FEATURE EXTRACTION HAS CHANGED" in found.says
    text = said(found)
    assert "features.py in the model's folder differs from pipeline/features.py of run train" in text
    assert "-    return [codes[code] for code in status]" in text
    assert "+    return [codes[code] + 1 for code in status]" in text
    code = bank.root / "pipeline" / "features.py"
    kept = code.read_text()
    code.unlink()
    assert "not there any more: pipeline/features.py" in said(explain(workspace, f"{answer.index}.0").answers[4])
    code.write_text(kept + "# edited since\n")
    assert "changed: pipeline/features.py" in said(explain(workspace, f"{answer.index}.0").answers[4])
    code.write_text(kept)


def test_bytes_that_are_gone_are_missing_not_an_error(bank: Bank, tmp_path: Path) -> None:
    with reopened(bank, tmp_path) as copy:
        entry = copy.ledger.event(int(bank.disputed.partition(".")[0]))
    for pack in (tmp_path / "bank/.retrodict/objects/packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    with open_workspace(tmp_path / "bank", tmp_path / "state", SystemClock()) as copy:
        found = explain(copy, bank.disputed)
        one = found.answers[0]
        assert one.verdict == "could not tell"
        assert {f.state for f in one.facts if f.says.startswith("the model")} <= {"missing", "altered"}
        assert found.subject.leaf_hash == entry.leaf_hash.hex()
        again = explain(copy, bank.disputed, replay=True)
        assert again.answers[0].verdict == "could not tell"
        assert not again.answers[7].attributions
        assert all(item.problem for item in again.answers[8].alternatives)


def test_what_another_system_answered_is_shown_with_its_gaps(bank: Bank) -> None:
    person, output = applicants(1, 5), {"decision": ["decline"]}
    alone = record_prediction(
        bank.workspace, system="mainframe", model="card", model_version="7", inputs=person, outputs=output
    )
    found = explain(bank.workspace, alone.reference, replay=True)
    assert found.subject.kind == "declared"
    assert found.answers[0].verdict == "could not tell"
    assert {table.evidence for table in found.answers[1].tables} == {"declared"}
    assert all(fact.kind == "gap" for answer in found.answers[2:7] for fact in answer.facts)
    assert found.answers[7].attributions == ()
    plain = explain(bank.workspace, alone.reference)
    assert (plain.subject.model, plain.subject.requested) == ("card@7", "card@7")
    # Nothing is promised that --replay could not hold, and no command is shown that cannot work here.
    assert not any(answer.needs_replay for answer in plain.answers[7:])
    assert "retrodict register" not in said(plain.answers[8])
    known = record_prediction(bank.workspace, system="mainframe", model="credit@v1", inputs=person, outputs=output)
    found = explain(bank.workspace, known.reference)
    assert "data/raw.csv (160 rows): dataset:data/raw.csv@v1" in said(found.answers[3])


def test_a_model_that_reuses_what_it_returned_is_explained_as_one_that_does_not(tmp_path: Path) -> None:
    answers = {
        "anew": "def predict(frame):\n    return np.array(2 * frame.a + frame.b)\n",
        "again": "KEPT = np.zeros(1)\ndef predict(frame):\n"
        "    if len(frame) == 1:\n        KEPT[:] = 2 * frame.a + frame.b\n        return KEPT\n"
        "    return np.array(2 * frame.a + frame.b)\n",
    }
    with make_workspace(tmp_path) as workspace:
        service = Service(workspace)
        said_by: dict[str, list[tuple[float, object, object, float]]] = {}
        for name, source in answers.items():
            register_source(workspace, name, "import numpy as np\n" + source)
            asked = [service.predict(name, pd.DataFrame({"a": [a], "b": [b]})) for a, b in ((1.0, 5.0), (3.0, 7.0))]
            found = explain(workspace, f"{asked[0].index}.0", versus=f"{asked[1].index}.0", replay=True).versus
            assert found is not None
            said_by[name] = [(c.first, c.first_said, c.second_said, s.value) for c in found.contrasts for s in c.shares]
    assert said_by["again"] == said_by["anew"] == [(7.0, 7.0, 13.0, 4.0), (7.0, 7.0, 13.0, 2.0)]
