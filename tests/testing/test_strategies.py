"""The strategies draw what the formats allow, and the hostile part of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from retrodict.kernel import canonical, entry
from retrodict.kernel.errors import UsageError
from retrodict.kernel.types import MAX_EDGES, Edge, EdgeList, Event
from retrodict.predictions import payload
from retrodict.testing import strategies

lightly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(strategies.events())
@lightly
def test_every_drawn_event_is_written_and_read_back(event: Event) -> None:
    assert entry.decode(entry.encode(event)) == event


@given(strategies.many_edges())
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_edges_beyond_the_limit_are_refused(edges: tuple[Edge | EdgeList, ...]) -> None:
    event = _event(edges)
    if len(edges) > MAX_EDGES:
        with pytest.raises(UsageError, match="edge-list"):
            entry.encode(event)
    else:
        assert entry.decode(entry.encode(event)).uses == edges


def _event(uses: tuple[Edge | EdgeList, ...]) -> Event:
    return Event(
        id="018f0000-0000-7000-8000-000000000000",  # type: ignore[arg-type]
        kind="a.b",
        at="2019-11-07T20:34:00.000000000Z",
        agent="x",
        uses=uses,
        makes=(),
        body={},
    )


@given(strategies.json_objects())
@lightly
def test_every_drawn_value_has_one_canonical_form(value: dict[str, Any]) -> None:
    assert canonical.encode(canonical.decode(canonical.encode(value))) == canonical.encode(value)


@given(strategies.names())
@lightly
def test_every_drawn_name_can_be_a_file(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    folder = tmp_path_factory.mktemp("names")
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    path.write_bytes(b"")
    assert os.listdir(os.fsencode(folder)) == [name]


@given(strategies.frames())
@lightly
def test_every_drawn_frame_survives_its_payload(frame: Any) -> None:
    encoded = payload.encode(frame)
    again = payload.encode(payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta))
    assert (again.schema, again.batch) == (encoded.schema, encoded.batch)


@given(strategies.arrays())
@lightly
def test_every_drawn_array_survives_its_payload(array: Any) -> None:
    encoded = payload.encode(array)
    back = payload.decode(encoded.codec, encoded.schema, encoded.batch, encoded.meta)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
