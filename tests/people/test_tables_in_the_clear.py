"""Planted values in tables, driven from outside, and every byte that is left: none stands in the clear."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from tests.people.test_nothing_in_the_clear import AGE, CITY, NEEDLES, PERSON, World

from retrodict.testing.commands import Commands

pytest.importorskip("pyarrow")

TRAIN = """\
import retrodict as rd
rows = rd.table("visits").at().to_list()
open("model.txt", "w").write(str([row for row in rows if (row["age"] or 0) > 10**10]))
print(rows)
"""


@pytest.fixture
def world(tmp_path: Path, commands: Commands) -> World:
    made = World(tmp_path, commands)
    made.command("init")
    return made


def test_planted_values_in_tables_are_nowhere_in_the_clear_before_and_after_forgetting(world: World) -> None:
    (world.project / "train.py").write_text(TRAIN)
    visits, people = world.outside / "visits.csv", world.outside / "people.csv"
    visits.write_text(f"visit,customer,age,city,page\n1,{PERSON},{AGE},{CITY},/\n2,bob,40,Oslo,/a\n")
    people.write_text(f"customer,age,city\n{PERSON},{AGE},{CITY}\nbob,40,Oslo\n")
    personal = ("--subject", "customer", "--personal", "age", "--personal", "city")
    world.command("table", "create", "visits", "--key", "visit", "--from", str(visits), *personal)
    world.command("table", "create", "people", "--key", "customer", "--from", str(people), "--subject", "customer")
    statement = f"UPDATE visits SET city = '{CITY}' WHERE customer = '{PERSON}'"
    world.command("table", "update", "visits", "1", f"city={CITY.upper()}", "--how", statement)
    world.command("table", "put", "visits", "visit=3", f"customer={PERSON}", f"age={AGE}", f"city={CITY}")
    world.command("table", "delete", "visits", "3")
    world.command("table", "update", "people", PERSON, "age=1")
    world.command("table", "update", "people", PERSON, f"age={AGE}")
    world.command("table", "alter", "visits", "--add", "street=text")
    world.command("table", "update", "visits", "1", f"street={CITY}")
    digests = {
        name: world.command("stream", "digest", name).stdout.split()[1].decode() for name in ("visits", "people")
    }
    (world.outside / "proof.json").write_bytes(world.command("table", "prove", "visits@v1", "1", "--json").stdout)
    assert CITY.upper().encode() in world.command("table", "at", "visits", "--format", "csv").stdout
    assert str(AGE).encode() in world.command("table", "history", "people", PERSON).stdout
    asked = f"select a.age from visits a join people b using (customer) where b.city = '{CITY}'"
    assert str(AGE).encode() in world.command("table", "query", asked).stdout
    world.command("table", "at", "visits", "--out", "visits.parquet")
    world.command("table", "at", "people", "--out", "people.csv")
    world.command("table", "export", "people", str(world.outside / "out.duckdb"), "--to", "duckdb")
    page = world.outside / "page.html"
    world.command("table", "page", "people", "--out", str(page))
    assert CITY in page.read_text()
    world.command("run", "--", sys.executable, "train.py")
    world.command("table", "import", "people", "people.csv")
    database = world.outside / "shop.sqlite"
    with sqlite3.connect(database) as there:
        there.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, city TEXT)")
        there.execute("INSERT INTO orders VALUES (1, ?, ?)", (PERSON, CITY))
    there.close()
    world.command("capture", "db", str(database), "--tables", "orders", "--install", "--yes", "--subject", "customer")
    with sqlite3.connect(database) as there:
        there.execute(f"UPDATE orders SET city = '{CITY.upper()}' WHERE customer = '{PERSON}'")
        there.execute("INSERT INTO orders VALUES (2, 'bob', 'Oslo')")
    there.close()
    world.command("capture", "db", str(database))
    assert CITY.upper().encode() in world.command("table", "at", "orders").stdout
    for words in (["table"], ["table", "log", "visits"], ["stream", "read", "people"], ["log"], ["status"], ["verify"]):
        done = world.command(*words)
        assert [needle for needle in NEEDLES if needle in done.stdout] == [], words
    assert world.planted() == []

    out = world.outside / "export.json"
    world.command("export", "--subject", PERSON, "--out", str(out))
    told = json.loads(out.read_text())["records"]
    assert [item["reference"] for item in told] == [
        "visits@0:1", "people@0:1", "visits@2:3", "visits@3:4", "people@2:3", "people@3:4", "visits@5:6",
        "orders@0:1", "orders@1:2",
    ]  # fmt: skip
    assert json.loads(told[0]["record"])["city"] == CITY
    reach = world.command("forget", "--subject", PERSON, expect=1).stdout.decode()
    assert "orders: 2 changes, people: 3 changes, visits: 4 changes" in reach
    world.command("forget", "--subject", PERSON, "--yes")

    assert world.planted() == []
    left = b"".join(
        world.command(*words).stdout
        for words in (
            ["table", "at", "visits"], ["table", "at", "visits@v1", "--format", "csv"], ["table", "at", "people"],
            ["table", "history", "visits", "1"], ["table", "blame", "visits"], ["table", "blame", "people"],
            ["table", "diff", "visits@v0", "visits"], ["table", "diff", "people@v1", "people"],
            ["table", "at", "orders"], ["table", "log", "visits", "--csv"], ["table", "log", "people", "--csv"],
            ["table", "query", "select * from visits@v1"],
        )
    )  # fmt: skip
    world.command("table", "page", "people", "--out", str(page))
    left += page.read_bytes()
    assert [needle for needle in NEEDLES if needle in left] == []
    for words in (["at", "visits"], ["history", "visits", "1"], ["blame", "visits"], ["diff", "people@v1", "people"]):
        assert b"erased by entry" in b" ".join(world.command("table", *words, "--json").stdout.split()), words
    assert world.command("table", "at", "visits", "--format", "csv").stdout.decode().splitlines()[1:] == [
        "1,,,,/,",
        "2,bob,40,Oslo,/a,",
    ]
    for name, digest in digests.items():
        world.command("stream", "check", name, digest)
    world.command("table", "check-proof", str(world.outside / "proof.json"))
    world.command("verify")
    # Who comes back is another person; what was erased stays, and is nobody's.
    world.command("table", "put", "people", f"customer={PERSON}", "age=2")
    assert len(json.loads(world.command("table", "history", "people", PERSON, "--json").stdout)["changes"]) == 1
    people.write_text("customer,age,city\ncyd,3,Bonn\n")
    done = json.loads(world.command("table", "import", "people", str(people), "--json").stdout)
    assert (done["creates"], done["updates"], done["deletes"]) == (1, 0, 2)
    assert json.loads(world.command("table", "at", "people", "--json").stdout)["count"] == 2
    refused = world.command("table", "update", "visits", "1", "page=/b", expect=2)
    assert b"does not say whom it is about" in refused.stderr
    world.command("table", "delete", "visits", "1")
    world.command("verify")
