"""A pipeline of many tools yields exactly its true inputs and outputs."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

PIPELINE = {
    "pipeline.sh": """\
        #!/bin/sh
        set -e
        "$PYTHON" steps/tables.py
        sort < raw/lines.txt | uniq -c > work/lines.txt
        cat work/lines.txt raw/more.txt >> work/all.txt
        ./tools/copy raw/static.bin work/static.bin
        "$PYTHON" steps/workers.py
        rm work/scratch.txt
    """,
    "steps/tables.py": """\
        import os, sqlite3, sys
        sys.path.insert(0, "lib")
        import pandas as pd, numpy as np, polars as pl, duckdb
        from cleaning import clean

        frame = clean(pd.read_csv("raw/a.csv"))
        frame.to_parquet("work/a.parquet")
        more = pd.read_parquet("raw/b.parquet")
        pl.read_csv("raw/c.csv").write_parquet("work/c.parquet")
        pl.scan_parquet("raw/d.parquet").select("x").collect().write_csv("work/d.csv")
        connection = duckdb.connect()
        connection.execute("COPY (SELECT * FROM 'raw/e.csv') TO 'work/e.parquet' (FORMAT parquet)")
        connection.execute("SELECT count(*) FROM 'raw/f.parquet'").fetchall()
        with sqlite3.connect("raw/g.sqlite") as db:
            rows = db.execute("SELECT x FROM t").fetchall()
        with sqlite3.connect("work/g.sqlite") as db:
            db.execute("CREATE TABLE t (x)")
            db.executemany("INSERT INTO t VALUES (?)", rows)
        array = np.load("raw/h.npy", mmap_mode="r")
        np.save("work/h.npy", array * 2)
        with open("work/scratch.txt", "w") as f:
            f.write("gone soon")
        with open("work/i.tmp", "w") as f:
            f.write("moved")
        os.replace("work/i.tmp", "work/i.txt")
    """,
    "lib/cleaning.py": """\
        def clean(frame):
            return frame.dropna()
    """,
    "steps/workers.py": """\
        import multiprocessing, os, sys
        sys.path.insert(0, os.path.dirname(__file__))
        from shards import double, triple

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                pool.map(double, range(3))
            from joblib import Parallel, delayed
            Parallel(n_jobs=2)(delayed(triple)(i) for i in range(3))
    """,
    "steps/shards.py": """\
        def double(i):
            with open(f"raw/shard{i}.txt") as source, open(f"work/double{i}.txt", "w") as out:
                out.write(source.read() * 2)
        def triple(i):
            with open(f"raw/shard{i}.txt") as source, open(f"work/triple{i}.txt", "w") as out:
                out.write(source.read() * 3)
    """,
}
COPY = """\
#include <stdio.h>
int main(int n, char **v) { FILE *a = fopen(v[1], "rb"), *b = fopen(v[2], "wb"); int c;
  while ((c = fgetc(a)) != EOF) fputc(c, b); fclose(a); return fclose(b); }
"""


def build(project: Any, tmp_path: Path) -> None:
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    pytest.importorskip("polars")
    pytest.importorskip("duckdb")
    for name, text in PIPELINE.items():
        project.write(name, textwrap.dedent(text))
    (project.root / "pipeline.sh").chmod(0o755)
    frame = pandas.DataFrame({"x": [1, 2, None], "y": ["a", "b", "c"]})
    for name in "ace":
        project.write(f"raw/{name}.csv", frame.to_csv(index=False))
    for name in "bdf":
        frame.to_parquet(project.root / f"raw/{name}.parquet")
    with sqlite3.connect(project.root / "raw/g.sqlite") as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (1)")
    db.close()
    numpy.save(project.root / "raw/h.npy", numpy.arange(9))
    for name in ("lines.txt", "more.txt", "static.bin", "shard0.txt", "shard1.txt", "shard2.txt", "never-read.txt"):
        project.write(f"raw/{name}", "two\none\ntwo\n")
    (project.root / "work").mkdir()
    (project.root / "tools").mkdir()
    source = tmp_path / "copy.c"
    source.write_text(COPY)
    if shutil.which("gcc") is None:
        pytest.fail("the static program of this test needs gcc")
    subprocess.run(["gcc", "-static", "-o", project.root / "tools/copy", source], check=True)


INPUTS = {f"raw/{n}.csv" for n in "ace"} | {f"raw/{n}.parquet" for n in "bdf"}
INPUTS |= {"raw/g.sqlite", "raw/h.npy", "raw/lines.txt", "raw/more.txt", "raw/static.bin"}
INPUTS |= {f"raw/shard{i}.txt" for i in range(3)}
CODE = set(PIPELINE) | {"tools/copy"}
OUTPUTS = {"work/a.parquet", "work/c.parquet", "work/d.csv", "work/e.parquet", "work/g.sqlite", "work/h.npy"}
OUTPUTS |= {"work/i.txt", "work/lines.txt", "work/all.txt", "work/static.bin"}
OUTPUTS |= {f"work/{how}{i}.txt" for how in ("double", "triple") for i in range(3)}


@pytest.mark.parametrize("mode", ["seccomp", "strace"])
def test_a_mixed_pipeline_yields_exactly_its_inputs_and_outputs(
    mode: str, project: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(mode)
    build(project, tmp_path)
    capture = project.run("./pipeline.sh", variables={"PYTHON": sys.executable, "HOME": str(tmp_path)}, mode=mode)
    assert capture.exit_code == 0
    inputs = [a for a in capture.inputs if not a.is_code]
    assert project.names(inputs) == INPUTS
    assert project.names(a for a in capture.inputs if a.is_code) == CODE
    inherited = {i.target for i in capture.inherited}  # where the tests' own output goes
    assert project.names(a for a in capture.outputs if a.path not in inherited) == OUTPUTS
    assert "work/scratch.txt" in project.names(capture.temporary)
    assert not [a for a in capture.inputs if a.lost or a.changed_while_read]
    assert capture.processes > 8
    assert capture.completeness == "os-trace"
    assert any(b"/pandas/" in p for p in capture.environment_files)
