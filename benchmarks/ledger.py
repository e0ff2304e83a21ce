"""Append to the log, and verify it.

    python benchmarks/ledger.py [EVENTS]

Budget: verify the ledger alone, a million events, < 15 s. Every append is on the disk when it returns; the disk's own
fsync rate stands beside it.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import measure

from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.note import Checkpoint, sign_note, verify_note
from retrodict.kernel.receipt import Receipt, decode_receipt
from retrodict.kernel.types import Digest, Edge, Event, Ref
from retrodict.keys import LogSigner
from retrodict.ledger import Ledger
from retrodict.ledger.publication import publish_files

CLOCK = SystemClock()


def prediction(payload: bytes = b"\0" * 32) -> Event:
    """Return an event of the size of a `prediction.made`."""
    digest = Digest("b3-" + payload.hex())
    body = {
        "model": str(event_id(CLOCK)),
        "requested": "credit@champion",
        "rows": 1,
        "status": "ok",
        "inputs": {"codec": "frame", "schema": digest, "batch": digest, "meta": {}},
        "outputs": {"codec": "tensor", "schema": digest, "batch": digest, "meta": {}},
        "trace": payload[:16].hex(),
        "span": payload[:8].hex(),
        "received": rfc3339(CLOCK.now_ns()),
        "duration_ns": 1_000_000,
    }
    uses = (Edge(ref=Ref(digest), role="model", evidence="observed"),)
    return Event(
        id=event_id(CLOCK),
        kind="prediction.made",
        at=rfc3339(CLOCK.now_ns()),
        agent="0" * 32,
        uses=uses,
        makes=(),
        body=body,
    )


def appends_per_second(ledger: Ledger, threads: int, seconds: float) -> float:
    """Return how many single events per second `threads` callers get onto the disk."""
    counts = [0] * threads
    end = time.perf_counter() + seconds

    def caller(number: int) -> None:
        while time.perf_counter() < end:
            ledger.append([prediction()])
            counts[number] += 1

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(threads)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    return sum(counts) / seconds


def receipts(ledger: Ledger, published: Path) -> None:
    """Proofs for 200 entries from all over the log, and the whole of it as files for a web server."""
    size = ledger.size()
    signer = LogSigner(ledger.origin, b"1" * 32)
    unsigned = Checkpoint(origin=ledger.origin, size=size, root=ledger.root())
    checkpoint = replace(unsigned, signatures=(sign_note(unsigned.text, signer),))
    entries = [ledger.event(size * number // 200) for number in range(200)]
    made: list[bytes] = []

    def prove() -> None:
        for entry in entries:
            path = ledger.inclusion_proof(entry.index, size)
            made.append(Receipt(index=entry.index, path=tuple(path), checkpoint=checkpoint).encode())

    def check() -> None:
        for entry, data in zip(entries, made, strict=True):
            receipt = decode_receipt(data)
            verify_note(receipt.checkpoint, [signer.verifier])
            assert receipt.includes(entry.leaf_hash)

    measure.figure("a receipt: made", measure.work(prove).wall_s / len(entries) * 1000, "ms")
    measure.figure("   checked, signature and path", measure.work(check).wall_s / len(entries) * 1000, "ms")
    measure.figure("   size", max(map(len, made)), "B")
    spent = measure.work(lambda: ledger.find_leaf(entries[-1].leaf_hash))
    measure.figure("an entry found by its leaf hash", spent.wall_s * 1000, "ms")
    spent = measure.work(lambda: publish_files(ledger, checkpoint, published))
    measure.figure(f"{size:,} events published as files, wall", spent.wall_s, "s")
    measure.figure("   CPU", spent.cpu_s, "s")


def main(events: int = 100_000) -> None:
    measure.title(f"Ledger ({events:,} events)")
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        ledger = Ledger.create(folder / "ledger.db", "example.com/benchmark", CLOCK)
        measure.figure("fsync of 4 KiB, one thread", measure.fsyncs_per_second(folder), "/s")
        for threads in (1, 16, 64):
            measure.figure(f"append, {threads} callers", appends_per_second(ledger, threads, 2.0), "events/s")
        missing = max(0, events - ledger.size())

        def fill() -> None:
            for start in range(0, missing, 1000):
                ledger.append([prediction() for _ in range(min(1000, missing - start))])

        if missing:
            measure.figure("append, 1000 at a time", missing / measure.work(fill).wall_s, "events/s")

        def verify() -> None:
            assert not [f for f in ledger.verify(None) if f.level in ("altered", "missing")]

        spent = measure.median([measure.work(verify) for _ in range(3)])
        size = ledger.size()
        measure.figure(f"verify {size:,} events, wall", spent.wall_s, "s")
        measure.figure("   CPU", spent.cpu_s, "s")
        measure.figure("   CPU per million events", spent.cpu_s / size * 1e6, "s")
        receipts(ledger, folder / "published")
        ledger.close()  # folds the WAL into the file
        measure.figure("bytes on disk per event", (folder / "ledger.db").stat().st_size / size, "B")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
