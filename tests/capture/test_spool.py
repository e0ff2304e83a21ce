"""Records survive the guard that made them."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from retrodict.capture.files import Status, status
from retrodict.capture.spool import Spool, parse

RECORDS = st.lists(
    st.tuples(st.sampled_from("oxmd"), st.integers(0, 2**62), st.integers(1, 2**22), st.binary(max_size=300), st.none())
)


def spool(folder: Path) -> Spool:
    read, write = os.pipe()
    os.close(read)
    return Spool(os.open(folder, os.O_RDWR | os.O_TMPFILE), write)


@given(records=RECORDS, cut=st.integers(0, 10_000))
def test_what_is_flushed_can_be_read_and_a_torn_end_costs_only_the_last(
    records: list[tuple[object, ...]], cut: int
) -> None:
    written = spool(Path("/tmp"))
    try:
        for record in records:
            written.append(*record)
        written.flush()
        data = os.pread(written.descriptor, 1 << 24, 0)
        assert list(parse(data)) == records
        torn = list(parse(data[: max(0, len(data) - cut)]))
        assert torn == records[: len(torn)]
    finally:
        os.close(written.descriptor)
        os.close(written.poke)


def test_a_call_that_did_not_happen_is_taken_back(tmp_path: Path) -> None:
    written = spool(tmp_path)
    written.append("o", 1, 2, b"kept")
    written.retract(written.append("o", 3, 4, b"interrupted"))
    written.append("o", 5, 6, status(os.fsencode(tmp_path)))
    written.flush()
    first, second = parse(os.pread(written.descriptor, 1 << 16, 0))
    assert first == ("o", 1, 2, b"kept")
    assert Status(*second[3]).is_folder


def test_more_records_than_memory_holds_reach_the_file(tmp_path: Path) -> None:
    written = spool(tmp_path)
    for i in range(20_000):
        written.append("o", i, 1, b"x" * 50)
    written.append("o", 20_000, 1, b"y" * 300_000)  # no path is that long: dropped, not torn
    written.flush()
    assert [r[1] for r in parse(os.pread(written.descriptor, 1 << 24, 0))] == list(range(20_000))
