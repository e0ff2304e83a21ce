"""What records with history cost, beside Delta (deltalake) and SQLite with an audit trigger where they are installed.

python benchmarks/tables.py [--records 1000000] [--large]

CPU seconds of the whole process tree. `--large` adds states from all over 1,000 versions, the table of twice as many
records, of which 0.1 % change and to which 1 % come, and the history of one record among ten times as many changes:
minutes, and 2 GB of disk.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from measure import command, figure, retrodict, settings, title, work
from pyarrow import csv as arrow_csv

from retrodict.actions import table_change, table_compare, table_read, tables
from retrodict.actions.open import open_workspace
from retrodict.actions.tabling import How, table_named
from retrodict.kernel.clock import SystemClock
from retrodict.tables import difference
from retrodict.workspace import Workspace

PURPOSES = ("car", "radio", "education", "repairs")
HOW = How(verb="put")


def inquiries(numbers: range, *, shift: int = 0) -> pa.Table:
    """Return loan inquiries; `shift` makes their amounts others."""
    return pa.table(
        {
            "InquiryID": pa.array(numbers, pa.int64()),
            "CustomerID": [f"C{i % 97_331:05}" for i in numbers],
            "Amount": [(i * 7 + shift) % 100_000 for i in numbers],
            "Purpose": [PURPOSES[i % 4] for i in numbers],
            "Approved": [i % 3 == 0 for i in numbers],
        }
    )


def spread(count: int, of: int, *, shift: int) -> pa.Table:
    """Return `count` inquiries from all over a table, changed."""
    return pa.concat_tables([inquiries(range(i, i + 1), shift=shift) for i in range(0, of, of // count)][:count])


def stored(folder: Path) -> int:
    """Return the bytes below a folder, without the caches that may be deleted."""
    left_out = ("views.db", "tables.db")
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.name.startswith(left_out))


def opened(folder: Path) -> Workspace:
    return open_workspace(folder, folder.parent / "state", SystemClock(), agent="benchmark")


def ours(folder: Path, count: int) -> None:
    project = folder / "project"
    project.mkdir()
    environment = settings(folder)

    def run(*words: str) -> float:
        return command(retrodict(*words), cwd=project, env=environment).cpu_s

    run("init")
    arrow_csv.write_csv(inquiries(range(count)), project / "all.csv")
    figure("create from CSV", run("table", "create", "loans", "--key", "InquiryID", "--from", "all.csv"), "CPU s")
    figure("stored", stored(project / ".retrodict") / 1e6, "MB")
    figure("the file itself", (project / "all.csv").stat().st_size / 1e6, "MB")
    for turn in range(3):
        arrow_csv.write_csv(spread(100, count, shift=turn + 1), project / "some.csv")
        before = stored(project / ".retrodict")
        spent = run("table", "put", "loans", "--from", "some.csv")
        what = "100 records changed" + (", the index of keys made" if turn == 0 else "")
        print(f"{what:<48} {spent:12.2f} CPU s, {(stored(project / '.retrodict') - before) / 1e3:.0f} kB")
    print(f"{'`stream list`, for comparison: what any command costs':<48} {run('stream', 'list'):6.2f} CPU s")
    with opened(project) as workspace:
        done = table_read.read(workspace, "loans@v2")  # imports, the first time
        assert done.num_rows == count
        figure(
            "state at an old version, ms", work(lambda: table_read.read(workspace, "loans@v2")).cpu_s * 1e3, "CPU ms"
        )
        for turn in range(20):
            table_change.put(workspace, "loans", spread(1000, count, shift=10 + turn), how=HOW)
        figure("row diff of v2 and v24", work(lambda: table_compare.diff(workspace, "loans@v2")).cpu_s * 1e3, "CPU ms")
        figure("state after 20 more versions", work(lambda: table_read.read(workspace, "loans")).cpu_s * 1e3, "CPU ms")
        table_read.history(workspace, "loans", "1")  # the index of keys takes in the last changes
        figure("history of a record", work(lambda: table_read.history(workspace, "loans", "0")).cpu_s * 1e3, "CPU ms")


def many_versions(folder: Path, count: int) -> None:
    """Read states from all over 1,000 versions of the table that `ours` has made."""
    with opened(folder / "project") as workspace:
        newest = tables.log(workspace, "loans").versions[-1].reference
        for turn in range(int(newest.rpartition("v")[2]), 1000):
            table_change.put(workspace, "loans", spread(100, count, shift=50 + turn), how=HOW)
        spent = {v: work(lambda v=v: table_read.read(workspace, f"loans@v{v}")).cpu_s for v in (1, 100, 333, 667, 1000)}
        worst = max(spent, key=lambda v: spent[v])
        figure(f"state at any of 1,000 versions: v{worst} took longest", spent[worst] * 1e3, "CPU ms")


def large(folder: Path, count: int) -> None:
    project = folder / "large"
    project.mkdir()
    command(retrodict("init"), cwd=project, env=settings(folder))
    with opened(project) as workspace:
        table_change.create(workspace, "loans", ["InquiryID"], source=inquiries(range(2 * count)))
        wanted = inquiries(range(int(2 * count * 1.01)))
        amounts = wanted["Amount"].to_pylist()
        for i in range(0, 2 * count, 1000):
            amounts[i] += 1
        wanted = wanted.set_column(2, "Amount", pa.array(amounts))
        before = stored(project / ".retrodict")
        spent = work(lambda: table_change.import_(workspace, "loans", wanted, how=How(verb="import")))
        figure("import, 0.1 % changed and 1 % more", spent.cpu_s, "CPU s")
        figure("stored for it", (stored(project / ".retrodict") - before) / 1e6, "MB")
        for each in (10, 100):
            name = f"changed_{each}_times"
            table_change.create(workspace, name, ["id"], types={"id": "int64", "v": "int64"})
            table = table_named(workspace, name)
            for turn in range(each):
                piece = values(10 * count // each, turn)
                difference.bring_to(workspace, table, piece, How(verb="import"), keep_missing=True)
            table_read.history(workspace, name, "5")  # the index of keys is made
            spent = [work(partial(table_read.history, workspace, name, key)).cpu_s for key in ("5", "77", "4711")]
            title = f"history of a record with {each} changes, among {10 * count:,}"
            figure(title, statistics.median(spent) * 1e3, "CPU ms")


def values(count: int, turn: int) -> pa.Table:
    """Return other values for the same records with each turn."""
    return pa.table({"id": pa.array(range(count), pa.int64()), "v": [turn * 7 + i % 3 for i in range(count)]})


def delta(folder: Path, count: int) -> None:
    try:
        import deltalake
    except ModuleNotFoundError:
        print("deltalake is not installed")
        return
    place = folder / "delta"
    deltalake.write_deltalake(str(place), inquiries(range(count)))
    table: Any = deltalake.DeltaTable(str(place))
    before = stored(place)
    some = spread(100, count, shift=1)

    def merge() -> None:
        merging = table.merge(some, "s.InquiryID = t.InquiryID", source_alias="s", target_alias="t")
        merging.when_matched_update_all().when_not_matched_insert_all().execute()

    figure("100 records changed", work(merge).cpu_s, "CPU s")
    figure("stored for it", (stored(place) - before) / 1e3, "kB")
    old = deltalake.DeltaTable(str(place), version=0)
    figure("state at an old version", work(lambda: old.to_pyarrow_table()).cpu_s * 1e3, "CPU ms")


def sqlite(folder: Path, count: int) -> None:
    place = folder / "audit.db"
    db = sqlite3.connect(place)
    db.executescript(
        "CREATE TABLE loans (InquiryID INTEGER PRIMARY KEY, CustomerID, Amount, Purpose, Approved);"
        "CREATE TABLE audit (at, InquiryID, CustomerID, Amount, Purpose, Approved);"
        "CREATE TRIGGER kept AFTER UPDATE ON loans BEGIN INSERT INTO audit VALUES (datetime('now'), old.InquiryID, "
        "old.CustomerID, old.Amount, old.Purpose, old.Approved); END;"
    )
    rows = inquiries(range(count)).to_pylist()
    db.executemany("INSERT INTO loans VALUES (:InquiryID, :CustomerID, :Amount, :Purpose, :Approved)", rows)
    db.commit()
    before = place.stat().st_size
    some = spread(100, count, shift=1).to_pylist()

    def change() -> None:
        db.executemany("UPDATE loans SET Amount = :Amount WHERE InquiryID = :InquiryID", some)
        db.commit()

    figure("100 records changed (in an open process)", work(change).cpu_s, "CPU s")
    figure("stored for it", (place.stat().st_size - before) / 1e3, "kB")
    db.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        title(f"tables of {asked.records:,} records")
        ours(folder, asked.records)
        if asked.large:
            many_versions(folder, asked.records)
            large(folder, asked.records)
        title("Delta (deltalake), which keeps versions of files and no who and why")
        delta(folder, asked.records)
        title("SQLite with an audit trigger, which keeps old values beside the table")
        sqlite(folder, asked.records)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
