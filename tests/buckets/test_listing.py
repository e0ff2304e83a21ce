"""Listings come back as they were written; a bucket's changes make the states that it was in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrodict.buckets import Change, Listing, Past, Pin, changed_keys, divide
from retrodict.kernel.errors import FormatError

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def pin(key: str, number: int, at: str = "2026-01-01T00:00:00.000000Z") -> Pin:
    return Pin(key=key, version_id=f"v{number}", etag=f"e{number}", size_bytes=number, modified=at)


@settings(deadline=None)  # other tests run beside it
@given(st.dictionaries(KEYS, st.integers(0, 9)))
def test_a_listing_comes_back_whatever_its_keys_are(keys: dict[str, int]) -> None:
    listing = Listing("a/", {f"a/{key}": pin(f"a/{key}", number) for key, number in keys.items()})
    back = Listing.decode(b"".join(listing.encode()))
    assert (back.prefix, back.pins) == ("a/", listing.pins)
    assert list(back.names) == sorted(keys, key=str.encode)
    assert changed_keys(listing, back) == ([], [], [])


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format":"retrodict listing 2","prefix":""}', b'{"format":1}\n[]'])
def test_what_is_no_listing_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Listing.decode(data)


Step = tuple[str, bool]


@settings(deadline=None)  # other tests run beside it
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12), st.data())
def test_states_are_what_a_dict_was_after_each_change_and_go_on_from_any(
    steps: list[Step], data: st.DataObject
) -> None:
    model: dict[str, Pin] = {}
    after: list[dict[str, Pin]] = []
    changes: list[Change] = []
    for number, (key, is_set) in enumerate(steps):
        at = f"2026-01-01T00:00:00.{number:06}Z"
        made = pin(key, number, at) if is_set else None
        model.pop(key, None)
        if made is not None:
            model[key] = made
        after.append(dict(model))
        changes.append(Change(key=key, modified=at, pin=made))
    by_key = sorted(changes, key=lambda change: change.key)  # as a bucket gives them
    assert [dict(state.pins) for state in Past(by_key)] == after
    if after:
        known = data.draw(st.integers(0, len(after) - 1))
        last = max(i for i, held in enumerate(after) if held == after[known])
        assert [dict(state.pins) for state in Past(by_key, after=after[known])] == after[last + 1 :]


def test_changes_of_one_period_are_one_state_and_none_is_older_than_the_one_before_it() -> None:
    changes = [Change(key="a", modified=f"2026-01-0{d}T10:00:00Z", pin=pin("a", d)) for d in (1, 2, 2, 3)]
    changes.append(Change(key="a", modified="2026-01-01T00:00:00Z", pin=pin("a", 9)))  # began before, took long
    past = Past(changes, by="day")
    found = list(past)
    assert past.instants == [state.as_of for state in found]
    assert [(s.as_of[:10], s.pins["a"].size_bytes) for s in found] == [
        ("2026-01-01", 1),
        ("2026-01-02", 2),
        ("2026-01-03", 9),
    ]
    assert divide(f"2026-01-01T{n // 60:02}:{n % 60:02}:00Z" for n in range(500)) == "hour"
    assert list(Past(changes, after={"a": pin("a", 77)})) == []  # never was
