"""The coverage matrix of `docs/capture.md`, as a test: which way of capturing sees which kind of access."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

READERS = {
    "open.txt": "open('open.txt').read()",
    "pandas.csv": "pandas.read_csv('pandas.csv')",
    "pandas.parquet": "pandas.read_parquet('pandas.parquet')",
    "arrow.parquet": "pyarrow.parquet.read_table('arrow.parquet', memory_map=True)",
    "polars.csv": "polars.read_csv('polars.csv')",
    "polars.parquet": "polars.scan_parquet('polars.parquet').collect()",
    "duckdb.csv": "duckdb.sql(\"SELECT * FROM 'duckdb.csv'\").fetchall()",
    "numpy.npy": "numpy.load('numpy.npy', mmap_mode='r')[0]",
    "sqlite.db": "sqlite3.connect('sqlite.db').execute('SELECT 1').fetchall()",
    "shell.txt": "subprocess.run('cat < shell.txt > /dev/null', shell=True, check=True)",
}
PYTHON_ONLY = {"open.txt", "pandas.csv", "numpy.npy", "sqlite.db"}
PAGE = Path(__file__).parents[2] / "docs" / "capture.md"


@pytest.mark.parametrize(
    ("mode", "seen"), [("seccomp", set(READERS)), ("strace", set(READERS)), ("audit-hook", PYTHON_ONLY)]
)
def test_a_mode_sees_exactly_what_the_matrix_says(
    project: Any, mode: str, seen: set[str], request: pytest.FixtureRequest
) -> None:
    if mode != "audit-hook":
        request.getfixturevalue(mode)
    pandas, numpy = pytest.importorskip("pandas"), pytest.importorskip("numpy")
    frame = pandas.DataFrame({"x": [1, 2]})
    for name in READERS:
        if name.endswith(".parquet"):
            frame.to_parquet(project.root / name)
        elif name.endswith((".csv", ".txt")):
            project.write(name, frame.to_csv())
    numpy.save(project.root / "numpy.npy", numpy.arange(3))
    db = sqlite3.connect(project.root / "sqlite.db")
    db.execute("CREATE TABLE t (x)")
    db.commit()
    db.close()
    imports = "import duckdb, numpy, pandas, polars, pyarrow.parquet, sqlite3, subprocess\n"
    project.write("script.py", imports + "\n".join(READERS.values()))
    capture = project.run(sys.executable, "script.py", mode=mode)
    assert capture.exit_code == 0
    assert project.names(a for a in capture.inputs if not a.is_code) == seen
    assert not [a for a in capture.inputs if a.lost or a.changed_while_read]


def test_the_page_shows_this_matrix() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    for name in READERS:
        (row,) = [line for line in rows if f"`{name}`" in line]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[2:5] == ["yes", "yes", "yes" if name in PYTHON_ONLY else "no"]
