"""A prediction made again: the same bits, or what is not the same, or why nobody can tell."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from retrodict.actions.record import record_prediction
from retrodict.actions.replay import replay
from retrodict.kernel.errors import IntegrityError, UsageError
from retrodict.kernel.types import Digest, EventId
from retrodict.predictions import Payload
from retrodict.predictions import payloads as kept_payloads
from retrodict.replay import Tolerance, replay_prediction
from retrodict.serving import ModelFailedError, Service
from retrodict.testing.workbench import make_workspace, register_object, register_source
from retrodict.workspace import Workspace, open_text, sealed_text

FRAME = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 20)), columns=[f"x{i}" for i in range(20)])
TARGET = (FRAME["x0"] + FRAME["x1"] ** 2 > 0.5).astype(int)
NAMES = ("logistic", "forest", "boosted", "network")
# Asks four models with what it was asked, whatever its layout; the last bit of some depends on the batch.
ALL = f"""
import retrodict

def predict(data):
    return {{name: retrodict.load(name).predict(data) for name in {NAMES!r}}}
"""
# Answers by a file that is on no record: what a replay must notice.
OUTSIDE = """
import numpy as np

def predict(path):
    return np.array([float(text) for text in open(path).read().split()])
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with make_workspace(tmp_path_factory.mktemp("replayed")) as made:
        models: list[Any] = [
            LogisticRegression(),
            RandomForestClassifier(20, random_state=0),
            HistGradientBoostingClassifier(max_iter=20, random_state=0),
            MLPClassifier((16,), max_iter=30, random_state=0),
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the network has not converged, and need not
            for name, model in zip(NAMES, models, strict=True):
                fitted = model.fit(FRAME.to_numpy(), TARGET)
                register_object(made, name, fitted, method="predict_proba")
        register_source(made, "all", ALL)
        register_source(made, "echo", "def predict(x):\n    return x\n")
        register_source(made, "outside", OUTSIDE)
        yield made


@pytest.fixture(scope="module")
def service(workspace: Workspace) -> Service:
    return Service(workspace, os.environ)


@pytest.mark.parametrize(
    "data",
    [
        FRAME.to_numpy(),
        np.asfortranarray(FRAME.to_numpy()[:150]),
        FRAME.to_numpy()[17:18],
        FRAME.to_numpy("float32")[::2],
    ],
    ids=["batch", "column by column", "one row", "every second row, in single precision"],
)
def test_scikit_learn_answers_the_same_bits_again(workspace: Workspace, service: Service, data: Any) -> None:
    answer = service.predict("all", data)
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert (found.verdict, found.environment, found.missing) == ("replicated", "present", ())
    assert [call.requested for call in found.calls] == ["all", *NAMES]
    assert [call.depth for call in found.calls] == [0, 1, 1, 1, 1]
    for call in found.calls:
        assert call.outputs is not None
        assert call.outputs.verdict == "replicated"
        assert call.outputs.of == len(data) * (8 if call.depth == 0 else 2)
    for call in found.calls[1:]:
        assert call.inputs is not None
        assert call.inputs.verdict == "replicated"


def test_hostile_values_survive_the_log_and_the_replay(workspace: Workspace, service: Service) -> None:
    nans = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8DEADBEEF0001, 0xFFF8000000000001)]
    frame = pd.DataFrame(
        {
            "real": [-0.0, 5e-324, *nans],
            "single": np.array([0.1, -0.0, math.nan, math.inf], "float32"),
            "whole": [2**53 + 1, -(2**63), 2**63 - 1, 0],
            "text": ["ü", "", None, "\x00"],
            "kind": pd.Categorical(["b", None, "a", "b"], categories=["b", "a", "never"], ordered=True),
            "day": pd.to_datetime(
                ["2019-11-07T20:34:00.000000001", None, "1970-01-01T00:00:00.5", None], format="ISO8601"
            ),
            "maybe": pd.array([1, None, 3, 4], dtype="Int64"),
            "mixed": pd.Series([dt.date(2019, 11, 7), 1, "x", None], dtype="object"),
        }
    )
    answer = service.predict("echo", frame)
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert (found.verdict, found.differences) == ("replicated", ())
    assert found.calls[0].outputs is not None
    assert found.calls[0].outputs.of == frame.size


def test_what_differs_is_told_in_bits_and_accepted_within_a_tolerance(
    workspace: Workspace, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "numbers"
    path.write_text("1.0 2.0 3.0")
    answer = service.predict("outside", str(path))
    path.write_text(f"1.0 {math.nextafter(2.0, 3)!r} 3.0")
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert found.verdict == "differs"
    (call,) = found.calls
    assert call.outputs is not None
    assert (call.outputs.cells, call.outputs.max_ulp) == (1, 1)
    assert "by at most 1 ulp" in found.reason
    assert found.repetitions == 2  # to tell that it is not nondeterministic
    near = replay(workspace, str(answer.index), tolerance=1e-9, variables=os.environ)
    assert (near.verdict, near.tolerance) == ("reproduced", Tolerance(absolute=1e-9))
    assert "1e-09" in near.reason
    path.unlink()
    gone = replay(workspace, str(answer.index), variables=os.environ)
    assert gone.verdict == "differs"
    assert "FileNotFoundError" in gone.reason


def test_a_model_that_answers_differently_each_time_is_called_so(workspace: Workspace, service: Service) -> None:
    register_source(workspace, "dice", "import random\ndef predict(x):\n    return random.random()\n")
    answer = service.predict("dice", [1])
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert (found.verdict, found.repetitions) == ("nondeterministic", 2)
    assert "each time" in found.reason


def test_repetitions_are_counted(workspace: Workspace, service: Service) -> None:
    answer = service.predict("echo", [1.5])
    assert replay(workspace, str(answer.index), repeat=2, variables=os.environ).repetitions == 2


def test_a_failure_fails_again(workspace: Workspace, service: Service, tmp_path: Path) -> None:
    with pytest.raises(ModelFailedError) as raised:
        service.predict("outside", str(tmp_path / "none"))
    found = replay(workspace, str(raised.value.index), variables=os.environ)
    assert found.verdict == "replicated"
    assert "FileNotFoundError" in found.reason
    (tmp_path / "none").write_text("1.0")
    assert replay(workspace, str(raised.value.index), variables=os.environ).verdict == "differs"


def test_a_part_that_was_caught_is_caught_again(workspace: Workspace, service: Service) -> None:
    register_source(workspace, "broken", "def predict(x):\n    return 1 / 0\n")
    source = (
        "import retrodict\ndef predict(x):\n    try:\n        return retrodict.load('broken').predict(x)\n"
        "    except Exception:\n        return retrodict.load('echo').predict(x)\n"
    )
    register_source(workspace, "careful", source)
    answer = service.predict("careful", [7])
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert found.verdict == "replicated"
    assert [(c.requested, c.recorded, c.status) for c in found.calls] == [
        ("careful", "ok", "ok"),
        ("broken", "failed", "failed"),
        ("echo", "ok", "ok"),
    ]


def test_a_part_is_replayed_by_itself_too(workspace: Workspace, service: Service) -> None:
    answer = service.predict("all", FRAME.to_numpy()[:5])
    assert answer.index is not None
    found = replay(workspace, str(answer.index - 1), variables=os.environ)
    assert [(c.requested, c.depth) for c in found.calls] == [(NAMES[-1], 0)]
    assert found.verdict == "replicated"


def test_serving_code_and_variables_are_those_on_record(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "rules_on_record.py").write_text(
        "import os\nRULES = ['1', os.environ.get('TZ'), os.environ.get('LC_ALL')]\n"
    )
    monkeypatch.syspath_prepend(str(beside))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.delenv("LC_ALL", raising=False)
    source = "def predict(x):\n    import rules_on_record\n    return rules_on_record.RULES\n"
    register_source(workspace, "ruled", source)
    answer = Service(workspace, dict(os.environ)).predict("ruled", [1])
    assert answer.output == ["1", "Asia/Tokyo", None]
    (beside / "rules_on_record.py").write_text("RULES = ['another']\n")
    other = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    found = replay(workspace, str(answer.index), variables=other)
    assert (found.verdict, found.differences) == ("replicated", ())


def test_an_environment_that_is_not_to_be_had_decides_nothing_by_itself(workspace: Workspace, tmp_path: Path) -> None:
    other = Service(workspace, os.environ)
    facts = json.loads(workspace.objects.get(other.environment))
    facts["distributions"] = [
        {"name": "retrodict-no-such-thing", "version": "9.9.9", "record_sha256": None, "editable": False,
         "direct_url": {"url": "file:///nowhere", "dir_info": {}}, "installer": "pip", "location": "/nowhere"}
    ]  # fmt: skip
    other._deployments._environment = workspace.objects.put(json.dumps(facts).encode())
    path = tmp_path / "numbers"
    path.write_text("1.0")
    same, changed = other.predict("echo", [1.5]), other.predict("echo", [2.5])
    assert replay(workspace, str(same.index), variables=os.environ).verdict == "replicated"
    register_source(workspace, "read", "def predict(path):\n    return open(path).read()\n")
    changed = other.predict("read", str(path))
    path.write_text("2.0")
    found = replay(workspace, str(changed.index), variables=os.environ)
    assert found.verdict == "could not tell"
    assert "retrodict-no-such-thing" in found.reason or "not to be had" in found.reason
    present = replay(workspace, str(changed.index), environment="present", variables=os.environ)
    assert present.verdict == "differs"
    assert any("retrodict-no-such-thing" in said for said in present.differences)


def one(db: apsw.Connection, query: str, key: bytes | int) -> bytes:
    ((data,),) = db.execute(query, (key,)).fetchall()
    assert isinstance(data, bytes)
    return data


def lose(workspace: Workspace, digest: Digest) -> None:
    db = apsw.Connection(str(workspace.folder / "ledger.db"))
    db.execute("DELETE FROM blobs WHERE digest = ?", (bytes.fromhex(digest[3:]),))
    assert db.changes() == 1
    db.close()


def test_what_is_missing_or_altered_is_named(workspace: Workspace, service: Service) -> None:
    answer = service.predict("echo", ["a text that no other test asks with"])
    assert answer.index is not None
    inputs, _, _ = kept_payloads(workspace.ledger.event(answer.index).event)
    assert isinstance(inputs, Payload)
    lose(workspace, inputs.batch)
    found = replay(workspace, str(answer.index))
    assert (found.verdict, found.environment, found.calls) == ("could not tell", None, ())
    assert inputs.batch in found.reason


def test_an_altered_payload_is_not_run(workspace: Workspace, service: Service) -> None:
    answer = service.predict("echo", ["another text that no other test asks with"])
    assert answer.index is not None
    inputs, _, _ = kept_payloads(workspace.ledger.event(answer.index).event)
    assert isinstance(inputs, Payload)
    db = apsw.Connection(str(workspace.folder / "ledger.db"))
    key = bytes.fromhex(inputs.batch[3:])
    data = one(db, "SELECT data FROM blobs WHERE digest = ?", key)
    db.execute("UPDATE blobs SET data = ? WHERE digest = ?", (data[:-1] + bytes([data[-1] ^ 1]), key))
    db.close()
    found = replay(workspace, str(answer.index))
    assert found.verdict == "could not tell"
    assert inputs.batch in found.reason


def test_an_altered_entry_is_no_basis(workspace: Workspace, service: Service) -> None:
    answer = service.predict("echo", [3.5])
    db = apsw.Connection(str(workspace.folder / "ledger.db"))
    assert answer.index is not None
    data = one(db, "SELECT data FROM entries WHERE idx = ?", answer.index)
    altered = data.replace(b'"rows":1', b'"rows":2')
    assert altered != data
    db.execute("UPDATE entries SET data = ? WHERE idx = ?", (altered, answer.index))
    try:
        with pytest.raises(IntegrityError, match="altered"):
            replay_prediction(workspace, answer.prediction)
    finally:
        db.execute("UPDATE entries SET data = ? WHERE idx = ?", (data, answer.index))
        db.close()


def test_an_answer_of_another_system_cannot_be_replayed(workspace: Workspace) -> None:
    recorded = record_prediction(workspace, system="mainframe", model="m", model_version="1", inputs=[1], outputs=[2])
    found = replay(workspace, recorded.reference)
    assert found.verdict == "could not tell"
    assert "mainframe" in found.reason
    with pytest.raises(UsageError, match="no prediction"):
        replay(workspace, "0")
    with pytest.raises(UsageError, match="no prediction"):
        replay_prediction(workspace, EventId("01936b00-0000-7000-8000-000000000000"))


def test_the_outcome_is_recorded_where_that_is_possible(workspace: Workspace, service: Service) -> None:
    answer = service.predict("echo", [1.5])
    found = replay(workspace, str(answer.index), variables=os.environ)
    assert found.entry is not None
    event = workspace.ledger.event(found.entry).event
    assert (event.kind, event.body["prediction"], event.body["verdict"]) == (
        "replay.finished",
        answer.prediction,
        "replicated",
    )
    assert open_text(workspace, sealed_text(event.body["found"])) == found.reason
    size = workspace.ledger.size()
    reader = replay(replace(workspace, read_only=True), str(answer.index), variables=os.environ)
    assert (reader.verdict, reader.entry, workspace.ledger.size()) == ("replicated", None, size)
