"""Blobs: names, round trips, ranges, what is stored once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import blake3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from pyfastcdc import FastCDC

from retrodict.kernel.clock import SystemClock
from retrodict.kernel.errors import MissingObjectError, UsageError
from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, digest_of
from retrodict.objects.recipe import CUT_FROM, Recipe, cut, encode


def noise(n: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(n)


# Payloads from nothing to several chunks, compressible and not.
payloads = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda n, seed: noise(n, seed), st.integers(0, 700_000), st.integers(0, 9)),
    st.builds(lambda n, seed: noise(50, seed) * n, st.integers(0, 14_000), st.integers(0, 9)),
)
in_one_store = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def packs(store: ObjectStore) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (store.folder / "packs").iterdir()}


@pytest.mark.parametrize(
    ("data", "digest"),
    [  # the first lines of BLAKE3's own test vectors: byte i of an input is i modulo 251
        (b"", "b3-af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (bytes([0]), "b3-2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (bytes(i % 251 for i in range(1025)), "b3-d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
    ],
)
def test_a_blob_is_named_by_its_blake3(store: ObjectStore, data: bytes, digest: str) -> None:
    assert store.put(data) == digest == digest_of(data)
    assert store.resolve_prefix(digest[:12]) == [digest]


@in_one_store
@given(data=payloads, offset=st.integers(0, 800_000), length=st.integers(0, 400_000))
def test_what_was_put_comes_back_whole_streamed_and_in_ranges(
    store: ObjectStore, data: bytes, offset: int, length: int
) -> None:
    digest = store.put(data)
    assert digest == "b3-" + blake3.blake3(data).hexdigest()
    assert store.get(digest) == data == b"".join(store.stream(digest))
    assert store.read(digest, offset, length) == data[offset : offset + length]
    assert store.size(digest) == len(data)
    assert store.has(digest)
    assert store.state(digest) == "held"


@in_one_store
@given(blobs=st.lists(payloads, max_size=6))
def test_a_file_and_its_bytes_have_one_name(store: ObjectStore, tmp_path: Path, blobs: list[bytes]) -> None:
    digests = store.put_many(blobs)
    before = packs(store)
    for data, digest in zip(blobs, digests, strict=True):
        path = tmp_path / "file"
        path.write_bytes(data)
        assert store.hash_file(path) == store.put_file(path) == digest == store.put(data)
    assert {name: packs(store)[name] for name in before} == before
    assert sum(packs(store).values()) - sum(before.values()) <= 1000 * len(blobs)  # at most lists of recipes


@in_one_store
@given(
    data=st.builds(lambda n, s: noise(n, s), st.integers(0, 3_000_000), st.integers(0, 3)),
    segment=st.sampled_from([700_000, 1 << 20, 8 << 20]),
    step=st.integers(1000, 900_000),
    edits=st.none() | st.lists(st.tuples(st.floats(0, 1), st.integers(0, 300_000), st.binary(max_size=3)), max_size=3),
)
def test_cutting_in_segments_gives_the_cuts_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    segment: int,
    step: int,
    edits: list[tuple[float, int, bytes]] | None,
) -> None:
    monkeypatch.setattr("retrodict.objects.recipe._SEGMENT", segment)
    position = 0
    like = None
    if edits is not None:  # an earlier version, from which bytes were taken and others put in their place
        earlier = data
        for share, taken, put in edits:
            at = int(share * len(earlier))
            earlier = earlier[:at] + put + earlier[at + taken :]
        cutter = FastCDC(65536, min_size=16384, max_size=262144)
        were = [(c.length, blake3.blake3(c.data).digest()) for c in cutter.cut_buf(earlier)]
        like = Recipe.decode(encode(blake3.blake3(earlier).digest(), len(earlier), were)) if earlier else None

    def read_into(buffer: memoryview) -> int:
        nonlocal position
        block = data[position : position + min(len(buffer), step)]
        buffer[: len(block)] = block
        position += len(block)
        return len(block)

    cuts: list[int] = []
    joined = b""
    for part, chunks, names in cut(read_into, like):
        assert names == [blake3.blake3(part[at : at + n]).digest() for at, n in chunks[: len(names)]]
        assert [at for at, _ in chunks] == [sum(n for _, n in chunks[:i]) for i in range(len(chunks))]
        cuts += (length for _, length in chunks)
        joined += bytes(part)
    assert joined == data
    assert cuts == [c.length for c in FastCDC(65536, min_size=16384, max_size=262144).cut_buf(data)]


def test_the_compiled_chunker_is_installed() -> None:
    assert FastCDC.__module__ == "pyfastcdc.cy.fastcdc"  # its silent fallback has half a percent of the speed


def test_bytes_inserted_in_the_middle_of_a_large_file_cost_a_few_chunks(store: ObjectStore) -> None:
    data = noise(8_000_000)
    store.put(data)
    before = sum(packs(store).values())
    assert 8_000_000 < before < 8_040_000
    store.put(data[:4_000_000] + b"inserted" + data[4_000_000:])
    assert sum(packs(store).values()) - before < 500_000


def test_the_same_bytes_are_stored_once(store: ObjectStore) -> None:
    for data in (b"x" * 1000, noise(CUT_FROM), noise(1_000_000)):
        digest = store.put(data)
        before = packs(store)
        assert store.put(data) == digest
        assert store.put_many([data, data]) == [digest, digest]
        assert packs(store) == before


def test_a_blob_that_is_also_a_chunk_is_a_blob(store: ObjectStore) -> None:
    data = noise(600_000)
    chunk = data[: next(iter(FastCDC(65536, min_size=16384, max_size=262144).cut_buf(data))).length]
    store.put(data)
    assert store.resolve_prefix(digest_of(chunk)) == []
    assert store.get(digest_of(chunk)) == chunk
    store.put(chunk)
    assert store.resolve_prefix(digest_of(chunk)) == [digest_of(chunk)]


def test_compression_is_used_only_where_it_pays(store: ObjectStore) -> None:
    store.put(b"1001,001,2020-01-15,Mortgage,250000\n" * 5000)
    assert sum(packs(store).values()) < 2000
    store.put(noise(200_000))
    assert sum(packs(store).values()) > 200_000


def test_an_unknown_object_is_missing(store: ObjectStore) -> None:
    digest = digest_of(b"never stored")
    assert not store.has(digest)
    assert store.state(digest) == "missing"
    for ask in (store.get, store.size, lambda d: store.read(d, 0, 1), lambda d: list(store.stream(d))):
        with pytest.raises(MissingObjectError) as caught:
            ask(digest)
        assert caught.value.digest == digest


def test_an_object_that_was_missing_is_found_once_it_is_there(store: ObjectStore) -> None:
    data = noise(600_000)
    digest = digest_of(data)
    with pytest.raises(MissingObjectError):
        store.read(digest, 9, 3)
    with pytest.raises(MissingObjectError):
        next(store.stream(digest))
    store.put(data)
    assert store.read(digest, 500_000, 3) == data[500_000:500_003]
    assert b"".join(store.stream(digest)) == data


@pytest.mark.parametrize("name", ["", "b3-", "b3-xyz", "9f2c", "b3-" + "A" * 64, "b3-" + "0" * 65])
def test_what_is_no_name_is_refused(store: ObjectStore, name: str) -> None:
    with pytest.raises(UsageError):
        store.get(Digest(name))
    assert store.resolve_prefix(name) == []


def test_a_range_must_lie_in_front(store: ObjectStore) -> None:
    digest = store.put(b"abc")
    with pytest.raises(UsageError):
        store.read(digest, -1, 2)
    assert store.read(digest, 2, 10) == b"c"
    assert store.read(digest, 9, 10) == b""


class Ledger:
    """A source with one right blob and one wrong."""

    def __init__(self) -> None:
        self.held = {digest_of(b"in the ledger"): b"in the ledger", digest_of(b"wrong"): b"altered"}

    def blob(self, digest: Digest) -> bytes | None:
        return self.held.get(digest)


def test_sources_are_asked_and_verified(tmp_path: Path) -> None:
    ObjectStore.create(tmp_path / "s", SystemClock()).close()
    with ObjectStore.open(tmp_path / "s", SystemClock(), sources=[Ledger()]) as store:
        assert store.get(digest_of(b"in the ledger")) == b"in the ledger"
        assert store.read(digest_of(b"in the ledger"), 3, 3) == b"the"
        assert store.size(digest_of(b"in the ledger")) == 13
        assert store.has(digest_of(b"in the ledger"))
        assert store.state(digest_of(b"wrong")) == "altered"
        assert store.state(digest_of(b"neither")) == "missing"


class StoreMachine(RuleBasedStateMachine):
    """A store against a dict, with closing, opening read-only and rebuilding in between."""

    digests: Bundle[Digest] = Bundle("digests")

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.home = tempfile.TemporaryDirectory()
        self.folder = Path(self.home.name) / "objects"
        self.store = ObjectStore.create(self.folder, SystemClock())
        self.model: dict[Digest, bytes] = {}

    @rule(target=digests, data=payloads)
    def put(self, data: bytes) -> Digest:
        digest = self.store.put(data)
        self.model[digest] = data
        return digest

    @rule(blobs=st.lists(st.binary(max_size=40), max_size=5))
    def put_many(self, blobs: list[bytes]) -> None:
        self.model.update(zip(self.store.put_many(blobs), blobs, strict=True))

    @rule(digest=digests)
    def get(self, digest: Digest) -> None:
        assert self.store.get(digest) == self.model[digest]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = ObjectStore.open(self.folder, SystemClock())

    @rule()
    def rebuild(self) -> None:
        self.store.close()
        os.unlink(self.folder / "index.db")
        self.store = ObjectStore.open(self.folder, SystemClock())

    @rule()
    def verify(self) -> None:
        assert list(self.store.verify()) == []

    @invariant()
    def holds_all(self) -> None:
        for digest, data in getattr(self, "model", {}).items():
            assert self.store.size(digest) == len(data)

    def teardown(self) -> None:
        self.store.close()
        self.home.cleanup()


StoreMachine.TestCase.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
test_a_store_is_a_dict = StoreMachine.TestCase
