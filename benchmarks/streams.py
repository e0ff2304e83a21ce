"""What streams cost: CPU seconds of the whole process tree, medians of 3, and what is stored.

python benchmarks/streams.py [--records 1000000]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "RETRODICT_STATE": str(folder / "state"), "RETRODICT_AGENT": "benchmark"}

        def cpu_s(*words: str) -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "retrodict", *words]
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        source = folder / "a.jsonl"
        with source.open("w") as file:
            for i in range(count):
                file.write(f'{{"id":{i},"user":"u{i % 977}","page":"/p/{i % 50}","ms":{i * 7 % 1000}}}\n')
        size = source.stat().st_size
        cpu_s("init")
        figures: dict[str, list[float]] = {}
        for i in range(3):
            cpu_s("stream", "create", f"s{i}")
            middle = f"s{i}@{count // 2}"
            for what, words in (
                (f"append {count:,} records of {size / count:.0f} bytes", ("append", f"s{i}", "a.jsonl")),
                ("read 1,000 from the middle", ("read", f"{middle}:{count // 2 + 1000}")),
                ("digest of the first half", ("digest", middle)),
                ("proof of one record", ("proof", f"s{i}", str(count // 3))),
                ("check all", ("check", f"s{i}")),
            ):
                figures.setdefault(what, []).append(cpu_s("stream", *words))
        for what, found in figures.items():
            print(f"{what:45} {statistics.median(found):6.2f} CPU s")
        stored = sum(path.stat().st_size for path in (folder / ".retrodict" / "objects" / "packs").rglob("*.pack"))
        print(f"{'stored, three times the same':45} {stored / 1e6:6.1f} of {3 * size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
