"""The page about attached tables, command by command."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from tests.conftest import variables
from tests.docs.conftest import Shell, open_shell, walk

__all__ = ["open_shell"]  # a fixture

PAGE = Path(__file__).parents[2] / "docs" / "attached-tables.md"


def test_every_command_of_the_page_works(
    tmp_path: Path, open_shell: Callable[[Path, Mapping[str, str]], Shell]
) -> None:
    place = str(tmp_path / "warehouse" / "loans")
    configuration = {"delta.enableChangeDataFeed": "true"}
    write_deltalake(place, pa.table({"id": [1, 2], "amount": [10.0, 20.0]}), configuration=configuration)
    write_deltalake(place, pa.table({"id": [3], "amount": [30.0]}), mode="append")
    DeltaTable(place).update(predicate="id = 2", updates={"amount": "21.0"})
    database = sqlite3.connect(tmp_path / "shop.db")
    database.executescript(
        "CREATE TABLE loans (id INTEGER PRIMARY KEY, amount REAL); INSERT INTO loans VALUES (1, 2.5)"
    )
    database.close()
    shell = open_shell(tmp_path, variables(tmp_path) | {"RETRODICT_AGENT": "reader"})
    assert shell.run("retrodict init")[1] == 0
    walk(PAGE.read_text(), shell, compare=True)
    assert DeltaTable(str(tmp_path / "old" / "loans")).to_pyarrow_table()["id"].to_pylist() == [1, 2]
    assert (tmp_path / "loans.parquet").exists()
