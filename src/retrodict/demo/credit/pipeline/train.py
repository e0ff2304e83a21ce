"""Fit the two models and put the chain of both together: work/*.parquet -> models/, metrics.json.

models/expected_amount  estimates, in DM, which credit is usual for such an applicant
models/decision         estimates from that and the applicant's ranks whether the credit will be repaid
models/credit           the chain: what an application is sent to
"""

import argparse
import json
import pickle
import platform
import shutil
from pathlib import Path

import pandas as pd
import sklearn
from features import EXPECTED_AMOUNT_INPUTS, INPUTS, decision_inputs
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, mean_absolute_error, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def describe(folder, example, outputs, flavors):
    """Write MLmodel and an input example, as MLflow lays a model folder out (JSON is YAML)."""
    flavors["python_function"]["python_version"] = platform.python_version()
    types = {"i": "long", "f": "double"}
    inputs = [
        {"type": types.get(dtype.kind, "string"), "name": name, "required": True}
        for name, dtype in example.dtypes.items()
    ]
    description = {
        "flavors": flavors,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "type": "dataframe",
        },
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)},
    }
    (folder / "MLmodel").write_text(json.dumps(description, indent=2) + "\n")
    (folder / "input_example.json").write_text(example.to_json(orient="split", index=False) + "\n")


def save(model, folder, example, predict, outputs):
    """Write one scikit-learn model: the same model gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pkl").write_bytes(pickle.dumps(model, protocol=5))
    flavors = {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl", "predict_fn": predict},
        "sklearn": {
            "pickled_model": "model.pkl",
            "serialization_format": "pickle",
            "sklearn_version": sklearn.__version__,
        },
    }
    describe(folder, example, outputs, flavors)


params = json.loads(Path("params.json").read_text())
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--C", type=float, default=params["C"], help="inverse strength of the regularisation")
parser.add_argument("--seed", type=int, default=params["seed"], help="of the trees")
options = parser.parse_args()

train, test = (pd.read_parquet(f"work/{split}.parquet") for split in ("train", "test"))

one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
expected_amount = Pipeline(
    [
        ("encode", ColumnTransformer([("purpose", one_hot, ["purpose"])], remainder="passthrough")),
        (
            "trees",
            # Leaves of 15 and two questions a tree: no estimate rests on a few people.
            GradientBoostingRegressor(
                n_estimators=params["trees"], max_depth=2, min_samples_leaf=15, random_state=options.seed
            ),
        ),
    ]
).fit(train[EXPECTED_AMOUNT_INPUTS], train["amount"])


def seen_by_decision(table):
    return decision_inputs(table, expected_amount.predict(table[EXPECTED_AMOUNT_INPUTS]))


decision = Pipeline([("scale", StandardScaler()), ("logistic", LogisticRegression(C=options.C))]).fit(
    seen_by_decision(train), train["repaid"]
)

probability = decision.predict_proba(seen_by_decision(test))[:, 1]
approved = probability >= params["approve_at"]
estimate = expected_amount.predict(test[EXPECTED_AMOUNT_INPUTS])
metrics = {
    "auc": round(roc_auc_score(test["repaid"], probability), 6),
    "accuracy": round(accuracy_score(test["repaid"], approved), 6),
    "approved_share": round(float(approved.mean()), 6),
    "expected_amount_error_dm": round(mean_absolute_error(test["amount"], estimate), 2),
    "n_train": len(train),
    "n_test": len(test),
}
Path("metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")

models = Path("models")
save(
    expected_amount,
    models / "expected_amount",
    train[EXPECTED_AMOUNT_INPUTS].head(3),
    "predict",
    [{"type": "double", "name": "expected_amount", "required": True}],
)
save(
    decision,
    models / "decision",
    seen_by_decision(train.head(3)),
    "predict_proba",
    [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}],
)

chain = models / "credit"
chain.mkdir(exist_ok=True)
# The chain carries the feature code, the code table and the thresholds that it was trained with.
for part in ("chain/credit_chain.py", "pipeline/features.py", "data/credit_codes.csv", "params.json"):
    shutil.copyfile(part, chain / Path(part).name)
describe(
    chain,
    pd.read_csv("work/applicants.csv", nrows=3)[INPUTS],
    [
        {"type": "double", "name": "probability", "required": True},
        {"type": "string", "name": "decision", "required": True},
        {"type": "long", "name": "credit_limit", "required": True},
    ],
    {"python_function": {"loader_module": "credit_chain", "code": "."}},
)
print(" ".join(f"{name}={value}" for name, value in metrics.items()))
