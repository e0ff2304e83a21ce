"""Give the raw codes their meanings and split the applicants: data/ -> work/prepared.csv, work/applicants.csv."""

import argparse
import json
from pathlib import Path

import pandas as pd
from features import INPUTS, decode, read_codes

params = json.loads(Path("params.json").read_text())
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seed", type=int, default=params["seed"], help="of the split")
options = parser.parse_args()

raw = pd.read_csv("data/german_credit.csv")
prepared = decode(raw, read_codes("data/credit_codes.csv"))
prepared.insert(0, "applicant", range(1, len(raw) + 1))  # the row of the raw file, its header not counted
prepared["repaid"] = (raw["credit_risk"] == 1).astype("int64")
# The same share of every outcome goes to the test split.
share = params["test_rows"] / len(raw)
test = prepared.groupby("repaid").sample(frac=share, random_state=options.seed).index
prepared["split"] = "train"
prepared.loc[test, "split"] = "test"

Path("work").mkdir(exist_ok=True)
prepared.to_csv("work/prepared.csv", index=False)
# The test applicants as they would apply: raw codes, nothing else, in the order of prepared.csv.
raw.loc[prepared["split"] == "test", INPUTS].to_csv("work/applicants.csv", index=False)
print(f"prepared {len(prepared)} applicants: {len(prepared) - len(test)} to train on, {len(test)} to test")
