"""Planted values in tables, driven from outside, and every byte that is left: none stands in the clear."""

from __future__ import annotations

import dataclasses
import json
import random
import sqlite3
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.people.test_nothing_in_the_clear import AGE, CITY, NEEDLES, PERSON, World

import retrodict as rd
from retrodict.actions import forget, looks, table_alter, table_approve, table_change
from retrodict.actions.tabling import Policy, table_named
from retrodict.actions.verify import verify
from retrodict.kernel.errors import UsageError
from retrodict.tables import folding, lines, queries, upkeep
from retrodict.tables.changes import Change, How
from retrodict.tables.errors import NoSuchRecordError, SealedRecordsError
from retrodict.testing.commands import Commands
from retrodict.workspace import Workspace

pytest.importorskip("pyarrow")

EXPORTS = [
    form
    for form, package in (("duckdb", "duckdb"), ("parquet", "pyarrow"), ("delta", "deltalake"))
    if find_spec(package)
]

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


def test_rows_that_are_refused_are_not_shown_where_they_are_about_people(world: World) -> None:
    given = world.outside / "given.csv"
    people = ("--subject", "customer")

    def refused(*words: str, rows: str = "") -> None:
        given.write_text(rows)
        said = world.command("table", *words, expect=2).stderr
        assert b"not shown: it is personal" in said
        assert [needle for needle in NEEDLES if needle in said] == []

    twice = f"customer,age\n{PERSON},1\n{PERSON},2\n"
    refused("create", "t", "--key", "customer", "--from", str(given), *people, rows=twice)
    ill = f"customer,age\nann,{CITY}\n"
    refused("create", "t", "--key", "customer", "--from", str(given), *people, "--type", "age=int64", rows=ill)
    given.write_text(f"customer,age,city\n{PERSON},3,{CITY}\n")
    world.command("table", "create", "t", "--key", "customer", "--from", str(given), *people)
    refused("import", "t", str(given), rows=twice)
    refused("import", "t", str(given), rows=ill)
    refused("put", "t", "customer=bob", f"age={CITY}")
    refused("update", "t", PERSON, f"age={CITY}")
    refused("alter", "t", "--type", "city=int64")  # what stands there would be shown, and nobody have looked


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
    for form in EXPORTS:
        world.command("table", "export", "people", str(world.outside / f"out.{form}"), "--to", form)
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
    for form in EXPORTS:
        out = world.outside / f"out.{form}"
        world.command("table", "export", "people", str(out), "--to", form, "--overwrite")
        left += b"".join(path.read_bytes() for path in ([out] if out.is_file() else out.rglob("*")) if path.is_file())
    again = world.command("table", "prove", "visits@v2", "1", "--json").stdout
    (world.outside / "again.json").write_bytes(again)
    world.command("table", "check-proof", str(world.outside / "again.json"))
    left += again
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


def people_of(workspace: Workspace, name: str = "t", key: str = "id", **more: Any) -> Any:
    kinds = {"id": "int64", "who": "text", "age": "int64", "note": "text"}
    table_change.create(workspace, name, [key], types=kinds, subject="who", **more)
    return rd.table(name, workspace=workspace)


def test_showing_personal_values_of_a_table_is_a_look_or_impossible(workspace: Workspace) -> None:
    table = people_of(workspace, personal=["age"])
    table.put([{"id": 1, "who": "ann", "age": 50, "note": "x"}, {"id": 2, "who": "bob", "age": 40}])
    before = workspace.ledger.size()
    assert [change.cells[1].after for change in table.history(1).changes] == ["ann"]
    viewed = workspace.ledger.event(before).event
    assert (viewed.kind, viewed.body["by"], len(viewed.body["subjects"])) == ("personal.viewed", "table", 1)  # type: ignore[arg-type]
    table.update(1, {"note": "y"})
    table.update(2, {"age": 41})
    assert table.query("select note from t").to_pylist()[0] == {"note": "y"}
    looked = workspace.ledger.entries_of("personal.viewed")
    closed = dataclasses.replace(workspace, agent="")
    found = rd.table("t", workspace=closed)
    assert found.to_arrow().to_pylist()[0] == {"id": 1, "who": None, "age": None, "note": "y"}
    assert {str(cell.value) for cell in found.blame(1).rows[0].cells} == {"1", "y", f"({looks.NOT_POSSIBLE})"}
    assert len(list(workspace.ledger.entries_of("personal.viewed"))) == len(list(looked))


@pytest.mark.parametrize(("key", "personal"), [("id", ["age"]), ("who", [])])
def test_a_table_about_people_is_what_a_dict_is_and_goes_on_after_forgetting(
    workspace: Workspace, key: str, personal: list[str]
) -> None:
    table = people_of(workspace, key=key, personal=personal)
    choices = random.Random(7)
    model: dict[object, dict[str, object]] = {}
    states: list[dict[object, dict[str, object]]] = []
    names = ["ann", "bob", "cyd", "dan"]
    for step in range(24):
        who = choices.choice(names)
        row = {"id": choices.randrange(6), "who": who, "age": choices.randrange(3), "note": choices.choice([None, "n"])}
        old = model.get(row[key])
        if old is not None and choices.random() < 0.3:
            table.delete(row[key])
            del model[row[key]]
        elif model.get(row[key]) != row:
            table.put(row)
            model[row[key]] = row
        else:
            continue
        states.append(dict(model))
        if step == 12:
            upkeep.snapshot(workspace, queries.tables(workspace.views.database(), "t")[0])
    for number, state in enumerate(states, 1):
        found = {row[key]: row for row in table.at(f"v{number}").to_list()}
        assert found == state
    forget.forget(workspace, "ann")
    for number, state in enumerate(states, 1):
        kept = [row for row in table.at(f"v{number}").to_list() if row["who"] is not None]
        assert {row[key]: row for row in kept} == {k: row for k, row in state.items() if row["who"] != "ann"}
        assert len(table.at(f"v{number}").to_list()) == len(state)
    left = [row for row in table.at().to_list() if row["who"] is not None]
    was_there = any(row["who"] == "ann" for row in model.values())
    table.import_([*left, {"id": 9, "who": "eve"}])
    nobody = {None} if was_there and key == "who" else set()  # what no key names, an import does not miss
    assert {row["who"] for row in table.at().to_list()} == {"eve", *(row["who"] for row in left)} | nobody
    table.delete(left[0][key])
    table.revert(f"v{len(states)}", left[0][key])
    assert left[0] in table.at().to_list()
    log = lines.own_log(workspace, queries.tables(workspace.views.database(), "t")[0])
    folding.append(workspace, log.table, [Change(op="truncate")], How(verb="capture"))
    assert table.at().to_list() == []
    assert verify(workspace).answer == "yes"


def test_what_a_table_about_people_refuses(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="in the clear"):
        people_of(workspace, valid_from="note")
    with pytest.raises(UsageError, match="nothing says for whom"):
        table_change.create(workspace, "u", ["id"], personal=["id"])
    with pytest.raises(UsageError, match="part of the key"):
        table_change.create(workspace, "u", ["id", "who"], subject="who", personal=["who"])
    with pytest.raises(UsageError, match="neither text nor whole"):
        table_change.create(workspace, "u", ["id"], types={"who": "float64"}, subject="who")
    table = people_of(workspace)
    with pytest.raises(UsageError, match="whom it is about"):
        table.put({"id": 1})
    with pytest.raises(UsageError, match="whom they are about"):
        table_alter.alter(workspace, "t", drop=["who"])
    table.put({"id": 1, "who": "ann"})
    without = rd.table("t", workspace=dataclasses.replace(workspace, keys=None))
    with pytest.raises(SealedRecordsError):  # the key is sealed, too
        without.history(1)
    with pytest.raises(SealedRecordsError):
        without.import_([{"id": 1, "who": "ann"}])
    assert without.at().to_list() == [dict.fromkeys(("id", "who", "age", "note"))]
    forget.forget(workspace, "ann")
    with pytest.raises(NoSuchRecordError, match="or its key is erased"):
        table.history(1)


def test_changes_about_people_wait_for_approval_sealed(workspace: Workspace) -> None:
    table = people_of(workspace, policy=Policy(approval=True), personal=["age"])
    grace = dataclasses.replace(workspace, agent="Grace")
    first = table.put([{"id": 1, "who": "ann", "age": AGE}, {"id": 2, "who": "bob", "age": 40}], how=f"age is {AGE}")
    (proposal,) = queries.proposals(workspace.views.database(), table_named(workspace, "t").stream)
    kept = workspace.objects.get(proposal.payload)
    assert AGE.to_bytes(8, "little") not in kept
    assert b"ann" not in kept
    assert proposal.statement is None
    assert table.at().to_list() == []
    done = table_approve.approve(grace, "t", first.proposal or 0)
    assert (done.creates, [row["age"] for row in table.at().to_list()]) == (2, [AGE, 40])
    assert forget.reach(workspace, "ann").tables == ("t: 1 change",)
    late, fine = table.update(1, {"age": 3}), table.update(2, {"age": 41})
    forget.forget(workspace, "ann")
    with pytest.raises(UsageError, match="people who were forgotten"):
        table_approve.approve(grace, "t", late.proposal or 0)
    table_approve.approve(grace, "t", fine.proposal or 0)
    assert [row["age"] for row in table.at().to_list()] == [None, 41]
    assert verify(workspace).answer == "yes"
