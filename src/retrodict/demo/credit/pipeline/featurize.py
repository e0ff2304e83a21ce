"""Turn prepared applicants into features: work/prepared.csv -> work/train.parquet, work/test.parquet."""

import pandas as pd
from features import derive

prepared = pd.read_csv("work/prepared.csv", keep_default_na=False)
table = derive(prepared).assign(repaid=prepared["repaid"])
for split in ("train", "test"):
    rows = table[prepared["split"] == split]
    rows.to_parquet(f"work/{split}.parquet", index=False)
    print(f"{split}: {rows.shape[0]} rows, {rows.shape[1] - 1} features")
