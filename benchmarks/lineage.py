"""Lineage over a million edges: how long folding takes, and walks up and down. Prints medians.

python benchmarks/lineage.py [--edges 1000000] [--predictions 100000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from retrodict.kernel.clock import SystemClock, event_id, rfc3339
from retrodict.kernel.entry import encode_edge_list
from retrodict.kernel.types import Digest, Edge, EdgeList, Event, EventId, Ref
from retrodict.ledger import Ledger
from retrodict.objects import digest_of
from retrodict.provenance import PROJECTION, downstream, neighbours, paths, upstream
from retrodict.views import Views

FILES_PER_RUN = 40


def median_ms(work: Callable[[], object], repeat: int = 7) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder) / "ledger.db", "example.org/benchmark", clock)
        models, lists, edges = fill(ledger, clock, arguments.edges)
        predict(ledger, clock, models, arguments.predictions)
        views = Views.open(Path(folder) / "views.db", ledger, lambda digest: ledger.blob(digest) or b"", [PROJECTION])
        start = time.perf_counter()
        db = views.database()
        seconds = time.perf_counter() - start
        size = (Path(folder) / "views.db").stat().st_size / 1e6
        print(
            f"{edges:,} edges, {ledger.size():,} events, {lists:,} edge lists: folded in {seconds:.1f} s, {size:.0f} MB"
        )
        last, first = models[-1], models[0]
        raw = Ref(digest_of(b"raw 0"))
        for name, work in {
            "upstream of the newest model": lambda: upstream(db, Ref(last[0])),
            "upstream of the first model": lambda: upstream(db, Ref(first[0])),
            "downstream of the first raw file (100 a node)": lambda: downstream(db, raw),
            "downstream of the first model (100 a node)": lambda: downstream(db, Ref(first[0])),
            "paths from the first raw file to the newest model": lambda: paths(db, raw, Ref(last[1])),
            "neighbours of the newest model": lambda: neighbours(db, Ref(last[0])),
            "database(), nothing new": views.database,
        }.items():
            graph = work()
            nodes = f"{len(graph.nodes):,} nodes" if hasattr(graph, "nodes") else ""
            print(f"{median_ms(work):9.2f} ms  {name}  {nodes}")
        if arguments.profile:
            import cProfile

            cProfile.runctx("downstream(db, raw)", globals(), locals(), sort="tottime")
        views.close()
        ledger.close()


def fill(ledger: Ledger, clock: SystemClock, edges: int) -> tuple[list[tuple[EventId, Digest]], int, int]:
    """Pipelines of four stages; each run reads files of the stage before."""
    models: list[tuple[EventId, Digest]] = []
    count = lists = number = 0
    batch: list[Event] = []
    blobs: dict[Digest, bytes] = {}
    while count < edges:
        made: list[tuple[Ref, EventId | None]] = [(Ref(digest_of(b"raw %d" % (number % 50))), None)]
        for stage in range(4):
            identity = event_id(clock)
            uses = [edge(ref, "input", maker) for ref, maker in made[:FILES_PER_RUN]]
            outputs = [Ref(digest_of(f"{number} {stage} {i}".encode())) for i in range(FILES_PER_RUN)]
            makes = [edge(ref, "output", None) for ref in outputs]
            count += len(uses) + len(makes)
            used: list[Edge | EdgeList] = [*uses]
            if len(uses) > 32:
                data = encode_edge_list(uses)
                blobs[digest_of(data)] = data
                used, lists = [EdgeList(digest=digest_of(data))], lists + 1
            batch.append(draft(clock, identity, "run.finished", used, makes))
            made = [(ref, identity) for ref in outputs]
        model, identity = digest_of(b"model %d" % number), event_id(clock)
        batch.append(
            draft(
                clock,
                identity,
                "model.registered",
                [edge(made[0][0], "artifact", made[0][1])],
                [edge(Ref(model), "model", None)],
            )
        )
        models.append((identity, model))
        number += 1
        if len(batch) > 2000:
            ledger.append(batch, blobs)
            batch, blobs = [], {}
    ledger.append(batch, blobs)
    return models, lists, count


def predict(ledger: Ledger, clock: SystemClock, models: list[tuple[EventId, Digest]], n: int) -> None:
    """All by the first model, under one shared list."""
    data = encode_edge_list(
        [edge(Ref(models[0][1]), "model", models[0][0]), edge(Ref(digest_of(b"env")), "environment", None)]
    )
    shared = EdgeList(digest=digest_of(data))
    for start in range(0, n, 5000):
        drafts = [draft(clock, event_id(clock), "prediction.made", [shared], []) for _ in range(min(5000, n - start))]
        ledger.append(drafts, {shared.digest: data})


def edge(ref: Ref, role: str, made_by: EventId | None) -> Edge:
    return Edge(ref=ref, role=role, evidence="observed", path=f"data/{ref[3:9]}.csv", made_by=made_by)


def draft(
    clock: SystemClock, identity: EventId, kind: str, uses: list[Edge | EdgeList] | list[EdgeList], makes: list[Edge]
) -> Event:
    return Event(
        id=identity, kind=kind, at=rfc3339(clock.now_ns()), agent="a", uses=tuple(uses), makes=tuple(makes), body={}
    )


if __name__ == "__main__":
    main()
