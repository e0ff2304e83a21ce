"""Answers a query over files, the same way each time. A recipe holds a copy of this file: it runs without retrodict."""

import json
import sys

READERS = {
    ".parquet": "read_parquet",
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
}


def main() -> None:
    """Read `query.json`: the query, the path of each table, and where the answer goes, as Parquet."""
    import duckdb

    with open("query.json") as file:
        asked = json.load(file)
    # One thread: with several, the order of rows that nobody asked for would differ from time to time.
    connection = duckdb.connect(config={"threads": 1, "preserve_insertion_order": True})
    for table, path in asked["tables"].items():
        plain = path.removesuffix(".gz").removesuffix(".zst")
        reader = next((READERS[suffix] for suffix in READERS if plain.endswith(suffix)), "read_csv")
        name, place = table.replace('"', '""'), path.replace("'", "''")
        connection.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM {reader}('{place}')")  # noqa: S608
    # The query sees its tables, and nothing else of the machine: what a recipe rests on is what it names.
    connection.execute("SET allowed_paths = $1", [[*asked["tables"].values(), asked["output"]]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    try:
        connection.sql(asked["sql"]).write_parquet(asked["output"], compression="zstd")
    except duckdb.Error as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
