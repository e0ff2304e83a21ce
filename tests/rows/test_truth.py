"""Rows that were used, against the truth: a row matters if the result is another one without it, or with another value.

Every way of reading must name all rows that matter, for every transformation; and no other, for those that are marked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from retrodict.rows import pandas_frames, polars_frames, sql
from retrodict.rows.source import Source

LOANS = pa.table(
    {
        "id": list(range(12)),
        "branch": ["n", "s", "n", "w", "s", "n", "w", "e", "n", "s", "e", "n"],
        "amount": [5, 9, 2, 7, 7, 1, 3, 8, 6, 4, 9, 2],
        "rate": [1.0, 2.5, None, 4.0, 1.5, 2.0, None, 3.0, 5.0, 2.5, 1.0, 2.0],
        "tags": ["a b", "b", "a", "", "c", "a c", "b", "a", "c", "", "b", "a"],
    }
)
BRANCHES = pa.table({"branch": ["n", "s", "x", "w"], "boss": ["ann", "bob", "cy", "dan"]})

CONNECTION = duckdb.connect(config={"threads": 1})

Tables = tuple[Any, Any]
Made = Callable[[Tables, "tuple[Source, Source] | None"], Any]  # of sources where the rows are followed


def _sql(query: str) -> Made:
    def make(tables: Tables, sources: tuple[Source, Source] | None) -> Any:
        CONNECTION.register("loans", tables[0])
        CONNECTION.register("branches", tables[1])
        if sources is not None:
            sql.note(CONNECTION, query, {"loans": (tables[0], sources[0]), "branches": (tables[1], sources[1])})
        return CONNECTION.sql(query).to_arrow_table().to_pylist()

    return make


def _pandas(transformation: Callable[[Any, Any], Any]) -> Made:
    def make(tables: Tables, sources: tuple[Source, Source] | None) -> Any:
        if sources is None:
            frames = [
                table.to_pandas().set_axis(rows, axis=0) for table, rows in zip(tables, _rows(tables), strict=True)
            ]
        else:
            frames = [pandas_frames.frame(table, source) for table, source in zip(tables, sources, strict=True)]
        return np.asarray(transformation(*frames), dtype=object).tolist()

    return make


def _polars(transformation: Callable[[Any, Any], Any]) -> Made:
    def make(tables: Tables, sources: tuple[Source, Source] | None) -> Any:
        if sources is None:
            frames = [pl.DataFrame(table).lazy() for table in tables]
        else:
            frames = [polars_frames.frame(table, source) for table, source in zip(tables, sources, strict=True)]
        result = transformation(*frames)
        return (result.collect() if isinstance(result, pl.LazyFrame) else result).rows()

    return make


def _rows(tables: Tables) -> list[Any]:
    """Return the identities of rows: their places in the whole tables."""
    bosses = BRANCHES["branch"].to_pylist()
    return [np.array(tables[0]["id"]), np.array([bosses.index(name) for name in tables[1]["branch"].to_pylist()])]


def _chunked(frame: Any) -> Any:
    from io import StringIO

    return pd.read_csv(StringIO(frame[frame["amount"] > 4].to_csv()))


TIGHT: dict[str, Made] = {
    "sql filter": _sql("SELECT id, rate FROM loans WHERE amount > 4"),
    "sql sort": _sql("SELECT id, rate FROM loans WHERE branch = 'n' ORDER BY amount DESC, id"),
    "sql join": _sql("SELECT id, boss, rate FROM loans JOIN branches USING (branch) WHERE amount > 0 ORDER BY id"),
    "sql left join": _sql("SELECT id, rate, boss FROM loans l LEFT JOIN branches b ON l.branch = b.branch ORDER BY id"),
    "sql group by": _sql("SELECT branch, sum(rate), count(*) FROM loans WHERE amount > 4 GROUP BY ALL ORDER BY ALL"),
    "sql concat": _sql("SELECT id, rate FROM loans WHERE amount > 8 UNION ALL SELECT id, rate FROM loans WHERE amount < 3"),
    "sql anti join by hand": _sql(
        "SELECT l.id, l.rate FROM loans l LEFT JOIN branches b ON l.branch = b.branch WHERE b.branch IS NULL ORDER BY id"
    ),
    "pandas filter": _pandas(lambda loans, _: loans[(loans["amount"] > 4) & ~loans["branch"].isin(["e"])][["id", "rate"]]),
    "pandas sort": _pandas(lambda loans, _: loans[loans["branch"] == "n"].sort_values("amount", kind="stable")[["id", "rate"]]),
    "pandas join": _pandas(lambda loans, branches: loans.merge(branches, on="branch")[["id", "boss", "rate"]]),
    "pandas left join": _pandas(lambda loans, branches: loans.merge(branches, how="left", on="branch")[["id", "boss"]]),
    "pandas group by": _pandas(lambda loans, _: loans[loans["amount"] > 4].groupby("branch")[["rate", "id"]].sum()),
    "pandas concat": _pandas(
        lambda loans, _: pd.concat([loans[loans["amount"] > 8], loans[loans["amount"] < 3]])[["id", "rate"]]
    ),
    "pandas calculated": _pandas(lambda loans, _: loans[(loans["amount"] * 2 + 1).between(9, 15)][["id", "rate"]]),
    "polars filter": _polars(lambda loans, _: loans.filter(pl.col("amount") > 4).select("id", "rate")),
    "polars sort": _polars(lambda loans, _: loans.filter(pl.col("branch") == "n").sort("amount", "id").select("id", "rate")),
    "polars join": _polars(lambda loans, branches: loans.join(branches, on="branch").select("id", "boss", "rate").sort("id")),
    "polars left join": _polars(lambda loans, branches: loans.join(branches, on="branch", how="left").select("id", "boss").sort("id")),
    "polars group by": _polars(
        lambda loans, _: loans.filter(pl.col("amount") > 4).group_by("branch").agg(pl.col("rate", "id").sum()).sort("branch")
    ),
    "polars concat": _polars(
        lambda loans, _: pl.concat([loans.filter(pl.col("amount") > 8), loans.filter(pl.col("amount") < 3)])
    ),
    "polars calculated": _polars(
        lambda loans, _: loans.with_columns(twice=pl.col("amount") * 2).filter(pl.col("twice") > 9).select("id", "rate")
    ),
}  # fmt: skip

COMPLETE: dict[str, Made] = {
    "sql with": _sql(
        "WITH big AS (SELECT * FROM loans WHERE amount > 4), n AS (SELECT * FROM big WHERE branch = 'n') "
        "SELECT count(*), sum(rate), sum(id) FROM n"
    ),
    "sql window": _sql("SELECT id, sum(rate) OVER (PARTITION BY branch ORDER BY id) FROM loans WHERE amount > 2 ORDER BY id"),
    "sql qualify": _sql("SELECT id, rate FROM loans QUALIFY row_number() OVER (PARTITION BY branch ORDER BY amount, id) = 1 ORDER BY id"),
    "sql sample": _sql("SELECT id, rate FROM loans USING SAMPLE reservoir(4 ROWS) REPEATABLE (7)"),
    "sql dedupe": _sql("SELECT DISTINCT branch, amount > 4 FROM loans ORDER BY ALL"),
    "sql distinct on": _sql("SELECT DISTINCT ON (branch) branch, rate FROM loans ORDER BY branch, amount, id"),
    "sql limit": _sql("SELECT id, rate FROM loans ORDER BY amount, id LIMIT 3"),
    "sql having": _sql("SELECT branch, sum(rate) FROM loans GROUP BY branch HAVING count(*) < 3 ORDER BY ALL"),
    "sql pivot": _sql("PIVOT loans ON branch USING sum(rate) GROUP BY amount ORDER BY amount"),
    "sql explode": _sql("SELECT id, unnest(string_split(tags, ' ')) AS tag FROM loans WHERE amount > 3 ORDER BY ALL"),
    "sql fill": _sql("SELECT id, coalesce(rate, (SELECT avg(rate) FROM loans)) FROM loans WHERE amount > 4"),
    "sql in": _sql("SELECT id FROM loans WHERE branch IN (SELECT branch FROM branches WHERE boss < 'c') ORDER BY id"),
    "sql not in": _sql("SELECT id FROM loans WHERE branch NOT IN (SELECT branch FROM branches) ORDER BY id"),
    "sql not exists": _sql("SELECT boss FROM branches b WHERE NOT EXISTS (SELECT 1 FROM loans l WHERE l.branch = b.branch)"),
    "sql except": _sql("SELECT branch FROM branches EXCEPT SELECT branch FROM loans ORDER BY ALL"),
    "sql anti": _sql("SELECT id, rate FROM loans ANTI JOIN branches USING (branch) ORDER BY ALL"),
    "sql semi": _sql("SELECT id, rate FROM loans SEMI JOIN branches USING (branch) ORDER BY ALL"),
    "sql full join": _sql("SELECT id, boss FROM loans FULL JOIN branches USING (branch) WHERE id IS NULL OR amount > 8 ORDER BY ALL"),
    "sql right join": _sql("SELECT id, boss FROM loans l RIGHT JOIN branches b ON l.branch = b.branch WHERE l.id IS NULL"),
    "sql asof": _sql("SELECT l.id, r.rate FROM loans l ASOF JOIN loans r ON l.branch = r.branch AND l.id > r.id ORDER BY ALL"),
    "sql natural": _sql("SELECT id, boss FROM loans NATURAL JOIN branches ORDER BY ALL"),
    "sql itself": _sql("SELECT a.id, b.id, b.rate FROM loans a JOIN loans b ON a.amount = b.amount AND a.id < b.id ORDER BY ALL"),
    "sql star inside": _sql("SELECT count(*) FROM (SELECT DISTINCT * EXCLUDE (id) FROM loans) WHERE amount > 4"),
    "sql lateral": _sql("SELECT b.boss, s.n FROM branches b, LATERAL (SELECT count(*) n, sum(rate) FROM loans l WHERE l.branch = b.branch) s ORDER BY ALL"),
    "sql from first": _sql("FROM loans SELECT id, rate WHERE amount > 4"),
    "sql hidden name": _sql("WITH loans AS (SELECT * FROM branches) SELECT * FROM loans ORDER BY ALL"),
    "sql nested with": _sql("SELECT * FROM (WITH x AS (SELECT branch, sum(rate) s FROM loans GROUP BY 1) SELECT * FROM x WHERE s > 3) ORDER BY ALL"),
    "sql recursive": _sql("WITH RECURSIVE r AS (SELECT id, amount FROM loans WHERE id = 0 UNION SELECT l.id, l.amount FROM loans l JOIN r ON l.id = r.amount) SELECT * FROM r ORDER BY ALL"),
    "pandas window": _pandas(lambda loans, _: loans["rate"].rolling(2).sum()),
    "pandas sample": _pandas(lambda loans, _: loans.sample(4, random_state=3)[["id", "rate"]]),
    "pandas dedupe": _pandas(lambda loans, _: loans.drop_duplicates("branch")[["id", "rate"]]),
    "pandas pivot": _pandas(lambda loans, _: loans.pivot_table(index="branch", columns="amount", values="rate")),
    "pandas explode": _pandas(lambda loans, _: loans.assign(tag=loans["tags"].str.split()).explode("tag")[["id", "tag"]]),
    "pandas fill": _pandas(lambda loans, _: _filled(loans)),
    "pandas fill in place": _pandas(lambda loans, _: _filled_in_place(loans)),
    "pandas above the mean": _pandas(lambda loans, _: loans[loans["rate"] > loans["rate"].mean()][["id"]]),
    "pandas udf": _pandas(lambda loans, _: loans.apply(lambda row: row["amount"] * 2, axis=1)),
    "pandas udf in a mask": _pandas(lambda loans, _: loans[lambda frame: frame["rate"] > frame["rate"].median()][["id"]]),
    "pandas csv": _pandas(lambda loans, _: _chunked(loans)),
    "pandas head": _pandas(lambda loans, _: loans[["id", "rate"]].head(3)),
    "pandas slice": _pandas(lambda loans, _: loans[["id", "rate"]][2:5]),
    "pandas iloc": _pandas(lambda loans, _: loans.iloc[3:5][["id", "rate"]]),
    "pandas length": _pandas(lambda loans, _: [len(loans[loans["amount"] > 3]), loans.shape]),
    "pandas numpy": _pandas(lambda loans, _: np.asarray(loans[["amount"]]).cumsum()),
    "pandas dropped in place": _pandas(lambda loans, _: _dropped(loans)),
    "pandas sorted in place": _pandas(lambda loans, _: _sorted(loans)),
    "pandas other's mask": _pandas(lambda loans, _: _by_another(loans)),
    "pandas merged by a function": _pandas(lambda loans, branches: pd.merge(loans, branches, on="branch")[["id", "boss"]]),
    "pandas outer": _pandas(lambda loans, branches: loans.merge(branches, how="outer", on="branch")[["id", "boss"]]),
    "pandas iterated": _pandas(lambda loans, _: [[row.id, row.rate] for row in loans.itertuples()][:2]),
    "pandas transposed": _pandas(lambda loans, _: loans[["id", "rate"]].T),
    "pandas type": _pandas(lambda loans, branches: [str(branches.merge(loans, how="left", on="branch")["id"].dtype)]),
    "pandas pickled": _pandas(lambda loans, _: _pickled(loans)),
    "polars window": _polars(lambda loans, _: loans.filter(pl.col("rate").sum().over("branch") > 4).select("id")),
    "polars shift": _polars(lambda loans, _: loans.select(pl.col("rate").shift(1), "id")),
    "polars sample": _polars(lambda loans, _: loans.select("id", "rate").collect().sample(4, seed=3)),
    "polars dedupe": _polars(lambda loans, _: loans.unique("branch", keep="first", maintain_order=True)),
    "polars fill": _polars(lambda loans, _: loans.with_columns(pl.col("rate").fill_null(pl.col("rate").mean())).filter(pl.col("amount") > 4)),
    "polars fill strategy": _polars(lambda loans, _: loans.with_columns(pl.col("rate").fill_null(strategy="forward")).filter(pl.col("amount") > 2)),
    "polars udf": _polars(lambda loans, _: loans.filter(pl.col("amount").map_elements(lambda x: hash(x) % 3 == 1, return_dtype=pl.Boolean))),
    "polars udf of all": _polars(lambda loans, _: loans.filter(pl.col("amount").map_batches(lambda s: s > s.mean(), return_dtype=pl.Boolean))),
    "polars head": _polars(lambda loans, _: loans.head(3)),
    "polars explode": _polars(lambda loans, _: loans.with_columns(pl.col("tags").str.split(" ")).explode("tags").select("id", "tags")),
    "polars group of groups": _polars(lambda loans, _: loans.group_by("branch").agg(pl.col("rate").sum()).filter(pl.col("rate") > 4).sort("branch")),
    "polars anti": _polars(lambda loans, branches: loans.join(branches, on="branch", how="anti").select("id")),
    "polars wildcard": _polars(lambda loans, _: loans.select(pl.all()).filter(pl.col("amount") > 4)),
    "polars only a literal": _polars(lambda loans, _: loans.select(pl.lit(1))),
    "polars length": _polars(lambda loans, _: loans.select(pl.len())),
    "polars mean in a filter": _polars(lambda loans, _: loans.filter(pl.col("rate") > pl.col("rate").mean()).select("id")),
    "polars schema": _polars(lambda loans, _: loans.select(loans.collect_schema().names()[:2])),
}  # fmt: skip


def _filled(loans: Any) -> Any:
    loans["rate"] = loans["rate"].fillna(loans["rate"].mean())
    return loans[loans["amount"] > 4][["id", "rate"]]


def _filled_in_place(loans: Any) -> Any:
    loans.fillna({"rate": loans["rate"].mean()}, inplace=True)
    return loans[loans["amount"] > 4][["id", "rate"]]


def _dropped(loans: Any) -> Any:
    loans.drop_duplicates("branch", inplace=True)
    return loans[loans["amount"] > 4][["id", "rate"]]


def _sorted(loans: Any) -> Any:
    loans.sort_values("rate", inplace=True)
    return loans[loans["amount"] > 4][["id", "rate"]]


def _by_another(loans: Any) -> Any:
    other = loans.sort_values("amount")
    return loans[(other["rate"] > 2).to_numpy()][["id"]]


def _pickled(loans: Any) -> Any:
    import pickle

    return pickle.loads(pickle.dumps(loans))[["id", "rate"]]


def _followed(make: Made) -> tuple[str, set[int], set[int]]:
    """Return the result, and the rows that are said to have been used for it."""
    tables = (LOANS, BRANCHES)
    loans, branches = (Source("", rows) for rows in _rows(tables))
    result = repr(make(tables, (loans, branches)))
    return result, set(loans.used().tolist()), set(branches.used().tolist())


def _without(table: Any, row: int) -> Any:
    return pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


def _changed(table: Any, row: int) -> Any:
    """Return the table with another value in a row, in a column by which nothing is chosen."""
    name, value = ("rate", 77.5) if "rate" in table.column_names else ("boss", "zoe")
    values = table[name].to_pylist()
    values[row] = value
    return table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))


def _truth(make: Made) -> tuple[str, set[int], set[int]]:
    """Return the result, and the rows without which, or with another value in which, it is another."""
    result = repr(make((LOANS, BRANCHES), None))

    def matters(tables: Tables) -> bool:
        return repr(make(tables, None)) != result

    changes = (_without, _changed)
    loans = {row for row in range(len(LOANS)) if any(matters((change(LOANS, row), BRANCHES)) for change in changes)}
    found = {row for row in range(len(BRANCHES)) if any(matters((LOANS, change(BRANCHES, row))) for change in changes)}
    return result, loans, found


@pytest.mark.parametrize("name", TIGHT)
def test_exactly_the_rows_that_matter(name: str) -> None:
    assert _followed(TIGHT[name]) == _truth(TIGHT[name])


@pytest.mark.parametrize("name", COMPLETE)
def test_no_row_that_matters_is_missing(name: str) -> None:
    result, loans, branches = _followed(COMPLETE[name])
    true = _truth(COMPLETE[name])
    assert result == true[0]
    assert loans >= true[1]
    assert branches >= true[2]
