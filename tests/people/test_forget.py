"""Forgetting a person destroys what opens their values, and nothing else; the record says so, and every proof holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from retrodict.actions.backing import BackupRecord
from retrodict.actions.dispute import dispute, disputes, resolve
from retrodict.actions.explain import explain
from retrodict.actions.export import export
from retrodict.actions.forget import forget, reach
from retrodict.actions.people import UnknownSubjectError
from retrodict.actions.predictions import search
from retrodict.actions.replay import replay
from retrodict.actions.show import show
from retrodict.actions.verify import verify
from retrodict.keys import KeyRing
from retrodict.render import explanation, text
from retrodict.render.json import to_json
from retrodict.serving import ModelFailedError, Service
from retrodict.testing.people import question
from retrodict.testing.workbench import reopen
from retrodict.workspace import Workspace, publish


def entry(service: Service, *rows: tuple[str, int, str]) -> int:
    index = service.predict("score", question(*rows)).index
    assert index is not None
    return index


def failed(service: Service, *rows: tuple[str, int, str]) -> int:
    with pytest.raises(ModelFailedError) as error:
        service.predict("score", question(*rows))
    assert error.value.index is not None
    return error.value.index


def test_forgetting_says_what_it_reaches_and_changes_nothing_before(workspace: Workspace, service: Service) -> None:
    alone, shared = entry(service, ("ann", 30, "Rome")), entry(service, ("ann", 31, "Rome"), ("bob", 40, "Oslo"))
    entry(service, ("bob", 41, "Oslo"))
    wrong = failed(service, ("ann", 32, "Nowhere"))
    about = dispute(workspace, f"{shared}.0", "I am not 31")
    dispute(workspace, f"{shared}.1", "nor am I 40")
    ended = resolve(workspace, about.reference, "so it is")
    size = workspace.ledger.size()
    found = reach(workspace, "ann")
    assert workspace.ledger.size() == size
    assert (found.calls, found.shared, found.joint) == ((alone, shared, wrong), (shared,), ())
    assert found.models == ("score@v1",)
    assert found.disputes == (about.index, ended.index)
    assert (found.keys, found.texts) == (4, 3)
    assert [holder.state for holder in found.holders] == ["confirmed"]
    text.reach(found)
    with pytest.raises(UnknownSubjectError, match="nobody here"):
        reach(workspace, "Nobody")


def test_a_forgotten_persons_values_are_erased_and_everybody_elses_are_there(
    workspace: Workspace, service: Service
) -> None:
    alone, shared = entry(service, ("ann", 30, "Rome")), entry(service, ("ann", 31, "Rome"), ("bob", 40, "Oslo"))
    wrong = failed(service, ("ann", 32, "Nowhere"))
    mine, other = dispute(workspace, f"{shared}.0", "I am not 31"), dispute(workspace, f"{shared}.1", "nor am I 40")
    publish(workspace)
    done = forget(workspace, "ann", reason="asked to be forgotten")
    text.forgotten(done)
    gone = f"erased by entry {done.index}"
    assert dict(done.verdicts) == {shared: "replicated"}
    assert done.destroyed >= 4
    rows = {row.reference: row for row in search(workspace, unseal=True).rows}
    assert rows[f"{shared}.1"].inputs == {"age": 40, "city": "Oslo"}
    for reference in (f"{alone}.0", f"{shared}.0", f"{wrong}.0"):
        assert (rows[reference].inputs, rows[reference].gap) == (None, gone)
    reasons = {row.reference: row.reason for row in disputes(workspace).rows}
    assert reasons == {mine.reference: f"({gone})", other.reference: "nor am I 40"}
    assert show(workspace, str(wrong)).body is not None
    assert show(workspace, str(wrong)).body["error"] == f"({gone})"  # type: ignore[index]
    again = replay(workspace, str(shared))
    assert (again.verdict, again.reason) == ("could not tell", gone)
    told = explain(workspace, f"{shared}.0", replay=True)
    assert gone in to_json(told)
    assert told.answers[0].verdict == "could not tell"
    assert explain(workspace, f"{shared}.1").answers[1].tables[0].rows == (("age", 40), ("city", "Oslo"))
    for record in (told, explain(workspace, f"{alone}.0")):
        explanation.to_text(record)
        assert "erased" in explanation.to_html(record)
    checked = verify(workspace)
    assert checked.answer == "yes"
    assert [f.message for f in checked.findings if "erased" in f.message]
    with pytest.raises(UnknownSubjectError):
        reach(workspace, "ann")
    event = workspace.ledger.event(done.index).event
    assert event.kind == "subject.forgotten"
    assert {edge.role for edge in event.uses} == {"prediction", "model-version", "replay"}  # type: ignore[union-attr]


def test_who_was_forgotten_begins_anew(workspace: Workspace, service: Service) -> None:
    entry(service, ("ann", 30, "Rome"))
    forget(workspace, "ann")
    with pytest.raises(Exception, match="not held"):
        entry(service, ("ann", 31, "Rome"))  # the service had the old key in mind
    entry(service, ("ann", 32, "Rome"))
    assert [row.inputs for row in search(workspace, subject="ann").rows] == [{"age": 32, "city": "Rome"}]


def test_a_crash_after_the_event_is_ended_by_the_next_open(
    workspace: Workspace, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = entry(service, ("ann", 30, "Rome"))
    (ann,) = workspace.keys.find_subjects("ann")  # type: ignore[union-attr]

    def crash(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeyRing, "destroy", crash)
        with pytest.raises(KeyboardInterrupt):
            forget(workspace, "ann")
    assert workspace.keys.holds(ann.key)  # type: ignore[union-attr]
    with reopen(tmp_path) as again:
        assert not again.keys.holds(ann.key)  # type: ignore[union-attr]
        assert str(search(again, unseal=True).rows[0].gap).startswith("erased by entry")
        assert first == search(again).rows[0].index


def test_keys_that_were_put_back_are_destroyed_again(workspace: Workspace, service: Service, tmp_path: Path) -> None:
    entry(service, ("ann", 30, "Rome"))
    (ann,) = workspace.keys.find_subjects("ann")  # type: ignore[union-attr]
    kept = (workspace.folder / "keys.db").read_bytes()
    forget(workspace, "ann")
    workspace.keys.close()  # type: ignore[union-attr]
    (workspace.folder / "keys.db").write_bytes(kept)
    with reopen(tmp_path) as again:
        assert not again.keys.holds(ann.key)  # type: ignore[union-attr]
        assert again.keys.find_subjects("ann") == []  # type: ignore[union-attr]


def test_a_person_gets_their_data_and_nobody_elses(workspace: Workspace, service: Service) -> None:
    shared = entry(service, ("ann", 31, "Rome"), ("bob", 40, "Oslo"))
    wrong = failed(service, ("ann", 32, "Nowhere"))
    dispute(workspace, f"{shared}.0", "I am not 31")
    dispute(workspace, f"{shared}.1", "bob is not 40")
    size = workspace.ledger.size()
    found = export(workspace, "ann")
    recorded = [workspace.ledger.event(entry).event.kind for entry in range(size, workspace.ledger.size())]
    assert recorded == ["subject.exported", "personal.viewed"]
    first, second = found.predictions
    assert (first.reference, first.inputs, first.outputs) == (
        f"{shared}.0",
        {"age": 31, "city": "Rome"},
        {"score": 0.31, "word": "ROME"},
    )
    assert [item.reason for item in first.disputes] == ["I am not 31"]
    assert (second.reference, second.outputs) == (f"{wrong}.0", None)
    assert "no such place" in str(second.error)
    written = to_json(found)
    assert json.loads(written)["subject"] == "ann"
    assert "Oslo" not in written
    assert "bob" not in written
    assert [holder.kind for holder in reach(workspace, "ann").holders] == ["workspace", "export"]
    assert [holder.kind for holder in reach(workspace, "bob").holders] == ["workspace"]


def test_a_key_that_is_lost_without_a_word_is_missing_and_not_erased(workspace: Workspace, service: Service) -> None:
    index = entry(service, ("ann", 30, "Rome"))
    assert workspace.keys is not None
    (ann,) = workspace.keys.find_subjects("ann")
    workspace.keys.destroy(ann.key)
    found = verify(workspace)
    assert found.answer == "no"
    assert {(f.level, f.what) for f in found.findings if f.level == "missing"} == {("missing", f"entry {index}")}
    (row,) = search(workspace, unseal=True).rows
    assert "not held" in str(row.gap)


def test_backups_of_keys_that_may_hold_the_persons_are_named(workspace: Workspace, service: Service) -> None:
    def backup(what: Literal["store", "keys"], place: str) -> None:
        BackupRecord(workspace, place).append(what, 1 if what == "store" else None, 3, "00" * 32)

    backup("keys", "/before")
    entry(service, ("ann", 30, "Rome"))
    backup("store", "/store")
    backup("keys", "/mnt/keys")
    _, held = reach(workspace, "ann").holders
    assert (held.kind, held.where, held.state) == ("backup", "/mnt/keys", "not confirmed")
