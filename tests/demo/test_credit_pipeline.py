"""The credit case: three scripts that know nothing of retrodict, and the chain that they put together."""

import csv
import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from retrodict.demo import credit
from retrodict.demo.credit.cases import DISPUTED, VERSUS, Answer, Applicant, choose, read_applicants

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

CASE = Path(credit.__file__).parent
WRONG, CORRECTED = "1994", "2019"
Load = Callable[[str], Any]


def build(folder: Path, table: str, *, hash_seed: str = "0") -> Path:
    """Lay a workspace out as the demonstration does, and run the pipeline in it."""
    for part in ("pipeline", "chain"):
        shutil.copytree(CASE / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    shutil.copy(CASE / "params.json", folder)
    shutil.copy(CASE / "data" / "german_credit.csv", folder / "data")
    shutil.copy(CASE / "data" / f"credit_codes_{table}.csv", folder / "data" / "credit_codes.csv")
    for script in ("prepare", "featurize", "train"):
        subprocess.run(
            [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", f"pipeline/{script}.py"],
            cwd=folder,
            env={"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        )
    return folder


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wrong"), WRONG)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("corrected"), CORRECTED)


def chain_of(folder: Path) -> tuple[ModuleType, Load]:
    """Import the chain by its path, and a loader that answers with the models beside it."""
    source = folder / "models" / "credit" / "credit_chain.py"
    spec = importlib.util.spec_from_file_location(f"chain_{folder.name}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    expected_amount, decision = (
        pickle.loads((folder / "models" / name / "model.pkl").read_bytes()) for name in ("expected_amount", "decision")
    )
    models = {
        "expected-amount@champion": expected_amount,
        "decision@champion": SimpleNamespace(predict=decision.predict_proba),
    }
    return module, models.__getitem__


def ask(folder: Path, applicants: list[Applicant]) -> list[Answer]:
    chain, load = chain_of(folder)
    frame = pd.DataFrame([applicant.application for applicant in applicants])
    answers: list[Answer] = chain.predict(frame, load).to_dict("records")
    return answers


def files_of(folder: Path) -> dict[str, bytes]:
    made = [*folder.glob("work/*"), *folder.glob("models/*/*"), folder / "metrics.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in made if path.is_file()}


def metrics_of(folder: Path) -> dict[str, float]:
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return metrics


def codes(table: str) -> list[dict[str, str]]:
    with (CASE / "data" / f"credit_codes_{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def raw_rows() -> list[dict[str, str]]:
    with (CASE / "data" / "german_credit.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_code_tables_differ_exactly_where_the_report_corrects_them() -> None:
    old, new = codes(WRONG), codes(CORRECTED)
    assert [(row["attribute"], row["code"]) for row in old] == [(row["attribute"], row["code"]) for row in new]
    changed = Counter(before["attribute"] for before, after in zip(old, new, strict=True) if before != after)
    assert changed == {
        "status_of_existing_checking_account": 4,
        "credit_history": 5,
        "purpose": 11,
        "savings_account/bonds": 5,
        "installment_rate_in_percentage_of_disposable_income": 4,
        "personal_status_and_sex": 3,  # A91 kept its meaning
        "present_residence_since": 4,
        "property": 4,
        "housing": 3,
        "number_of_existing_credits_at_this_bank": 3,  # 1 is 1 in both
        "number_of_people_being_liable_to_provide_maintenance_for": 2,
        "foreign_worker": 2,
    }


def test_a_label_has_one_rank_whatever_code_it_stands_for() -> None:
    old, new = (
        {(row["attribute"], row["label"]): row["rank"] for row in codes(table) if row["rank"]}
        for table in (WRONG, CORRECTED)
    )
    assert old == new
    assert {attribute for attribute, _ in old} == {
        "status_of_existing_checking_account",
        "credit_history",
        "savings_account/bonds",
        "property",
        "housing",
        "present_employment_since",
        "job",
    }


def test_every_code_of_the_raw_data_is_in_both_tables() -> None:
    for table in (WRONG, CORRECTED):
        known = {(row["attribute"], row["code"]) for row in codes(table)}
        attributes = {attribute for attribute, _ in known}
        found = {(column, value) for row in raw_rows() for column, value in row.items() if column in attributes}
        assert found <= known


def test_clerical_corrections_are_said_to_be_invented_and_correct_what_is_there() -> None:
    with (CASE / "data" / "clerical_corrections.csv").open(newline="") as file:
        corrections = list(csv.DictReader(file))
    assert len(corrections) == 3
    raw = raw_rows()
    for correction in corrections:
        assert raw[int(correction["row"]) - 1][correction["column"]] == correction["old"] != correction["new"]
        assert "nvented" in correction["who"]
        assert correction["why"].startswith("Invented for the demonstration")


def test_the_same_data_give_the_same_bytes(wrong: Path, tmp_path: Path) -> None:
    # Another hash seed: nothing may hang on the order of a set.
    assert files_of(build(tmp_path, WRONG, hash_seed="1")) == files_of(wrong)


def test_only_the_code_table_and_what_follows_from_it_differs_between_the_versions(
    wrong: Path, corrected: Path
) -> None:
    old, new = files_of(wrong), files_of(corrected)
    assert old.keys() == new.keys()
    assert {name for name in old if old[name] == new[name]} == {
        "work/applicants.csv",
        "models/expected_amount/MLmodel",
        "models/decision/MLmodel",
        "models/credit/MLmodel",
        "models/credit/credit_chain.py",
        "models/credit/features.py",
        "models/credit/params.json",
        "models/credit/input_example.json",
    }


def test_no_script_of_the_pipeline_imports_retrodict_or_reads_who_somebody_is() -> None:
    protected = ("personal_status_and_sex", "age_in_years", '"foreign_worker"')
    for script in (CASE / "pipeline").glob("*.py"):
        text = script.read_text()
        assert "retrodict" not in text
        assert not [column for column in protected if column in text]


def test_the_corrected_meanings_rank_better(wrong: Path, corrected: Path) -> None:
    before, after = metrics_of(wrong), metrics_of(corrected)
    assert after["auc"] >= before["auc"] + 0.03
    assert after["accuracy"] > before["accuracy"]
    assert (before["n_train"], before["n_test"]) == (700, 300)
    # The first model sees no rank that the error touched.
    assert after["expected_amount_error_dm"] == before["expected_amount_error_dm"]


def test_the_correction_changes_dozens_of_decisions_both_ways(wrong: Path, corrected: Path) -> None:
    applicants = read_applicants(wrong)
    assert len(applicants) == 300
    assert sum(applicant.repaid for applicant in applicants) == 210
    changes = Counter(
        (before["decision"], after["decision"])
        for before, after in zip(ask(wrong, applicants), ask(corrected, applicants), strict=True)
    )
    assert changes["decline", "approve"] >= 12
    assert changes["approve", "decline"] >= 12


def test_the_shipped_complaint_is_the_one_that_the_rule_chooses(wrong: Path, corrected: Path) -> None:
    applicants = read_applicants(wrong)
    first, second = ask(wrong, applicants), ask(corrected, applicants)
    assert choose(applicants, first, second) == (DISPUTED, VERSUS)
    place = {applicant.number: i for i, applicant in enumerate(applicants)}
    assert first[place[DISPUTED]]["decision"] == "decline"
    assert second[place[DISPUTED]]["decision"] == "approve"
    assert 20 <= first[place[VERSUS]]["credit_limit"] / first[place[DISPUTED]]["credit_limit"] < 22
    with pytest.raises(ValueError, match="1000 times the limit"):
        choose(applicants, first, second, times=1000)


def test_the_chain_answers_with_a_probability_a_decision_and_a_limit(wrong: Path) -> None:
    chain, load = chain_of(wrong)
    frame = pd.read_csv(wrong / "work" / "applicants.csv")
    frame.index = frame.index + 1000
    answer = chain.predict(frame, load)
    assert list(answer.columns) == ["probability", "decision", "credit_limit"]
    assert answer.index.equals(frame.index)
    assert answer["probability"].dtype == "float64"
    assert answer["probability"].between(0, 1, inclusive="neither").all()
    assert set(answer["decision"]) == {"approve", "decline"}
    assert ((answer["probability"] >= 0.6) == (answer["decision"] == "approve")).all()
    assert answer["credit_limit"].dtype == "int64"
    assert answer["credit_limit"].between(0, 20_000).all()
    assert (answer["credit_limit"] % 10 == 0).all()


def test_the_chain_sees_what_the_pipeline_saw(corrected: Path) -> None:
    chain, _ = chain_of(corrected)
    decoded = chain.features.decode(pd.read_csv(corrected / "work" / "applicants.csv"), chain.CODES)
    trained_on = pd.read_parquet(corrected / "work" / "test.parquet").drop(columns="repaid")
    pd.testing.assert_frame_equal(chain.features.derive(decoded), trained_on)


def test_two_versions_of_the_chain_live_in_one_process(wrong: Path, corrected: Path) -> None:
    first, second = chain_of(wrong)[0], chain_of(corrected)[0]
    assert first.features is not second.features
    assert first.CODES != second.CODES


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("credit_history", "A99", "credit_history is 'A99'; it must be one of A30, A31, A32, A33, A34"),
        ("credit_history", None, "credit_history is (None|nan); it must be one of"),
        ("credit_amount", float("nan"), "credit_amount is nan; it must be a whole number"),
        ("credit_amount", 12.5, "credit_amount is 12.5; it must be a whole number"),
        ("credit_amount", "much", "credit_amount is 'much'; it must be a whole number"),
    ],
)
def test_an_application_that_cannot_be_read_is_refused_by_name(
    wrong: Path, column: str, value: object, message: str
) -> None:
    chain, load = chain_of(wrong)
    frame = pd.read_csv(wrong / "work" / "applicants.csv", nrows=2).astype({column: object})
    frame.loc[1, column] = value
    with pytest.raises(ValueError, match=message):
        chain.predict(frame, load)


def test_a_missing_column_is_refused_by_name(wrong: Path) -> None:
    chain, load = chain_of(wrong)
    frame = pd.read_csv(wrong / "work" / "applicants.csv", nrows=2).drop(columns="housing")
    with pytest.raises(ValueError, match="needs the column 'housing'"):
        chain.predict(frame, load)
