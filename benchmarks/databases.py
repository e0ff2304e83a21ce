"""What capturing a PostgreSQL database costs it: pgbench's rate with and without, in turn, and how far behind we are.

python benchmarks/databases.py [--seconds 20] [--clients 4] [--scale 10] [--repetitions 3]

The server is one of this benchmark's own, with its default settings; it and pgbench are Debian's (`postgresql`).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
TABLES = "pgbench_accounts,pgbench_branches,pgbench_tellers,pgbench_history"


@contextmanager
def server() -> Iterator[str]:
    if not PROGRAMS:
        sys.exit("no PostgreSQL here: apt-get install postgresql")
    as_owner = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to be started by root
    folder = Path(tempfile.mkdtemp(prefix="retrodict-postgres-"))
    try:
        if as_owner:
            shutil.chown(folder, "postgres")
        programs, data = PROGRAMS[-1], str(folder / "data")
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
        subprocess.run([*as_owner, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust"], **quiet)  # type: ignore[call-overload]
        control = [*as_owner, programs / "pg_ctl", "-D", data]
        options = f"-c listen_addresses='' -k {folder}"
        subprocess.run([*control, "-w", "-l", folder / "log", "-o", options, "start"], **quiet)  # type: ignore[call-overload]
        try:
            yield str(folder)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args()
    with server() as socket, tempfile.TemporaryDirectory() as name:
        environment = {**os.environ, "RETRODICT_STATE": f"{name}/state", "RETRODICT_AGENT": "benchmark"}

        def pgbench(database: str, *words: str) -> str:
            command = [str(PROGRAMS[-1] / "pgbench"), "-h", socket, "-U", "postgres", *words, database]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        def retrodict(*words: str) -> None:
            command = [sys.executable, "-m", "retrodict", *words]
            subprocess.run(command, cwd=name, env=environment, check=True, stdout=subprocess.DEVNULL)

        def psql(database: str, statement: str) -> None:
            command = [str(PROGRAMS[-1] / "psql"), "-qh", socket, "-U", "postgres", "-c", statement, database]
            subprocess.run(command, check=True)

        for database in ("plain", "captured"):
            psql("postgres", f"CREATE DATABASE {database}")
            pgbench(database, "-i", "-q", "-s", str(asked.scale))
            psql(database, "ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY")
        url = f"postgresql://postgres@/captured?host={socket}"
        retrodict("init")
        started = time.perf_counter()
        retrodict("capture", "db", url, "--tables", TABLES, "--install", "--yes")
        print(f"installed, and {asked.scale * 100_000:,} rows brought in: {time.perf_counter() - started:.1f} s")
        rates: dict[str, list[float]] = {"plain": [], "captured": []}
        behind, cpu = [], []
        for _ in range(asked.repetitions):
            for database, found in rates.items():
                follower = None
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                if database == "captured":
                    command = [sys.executable, "-m", "retrodict", "capture", "db", url, "--follow", "--every", "0.5s"]
                    follower = subprocess.Popen(command, cwd=name, env=environment, stdout=subprocess.DEVNULL)
                told = pgbench(database, "-n", "-c", str(asked.clients), "-j", "2", "-T", str(asked.seconds))
                found.append(float(re.search(r"tps = ([\d.]+)", told)[1]))  # type: ignore[index]
                if follower is not None:
                    follower.terminate()
                    follower.wait()
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
                    started = time.perf_counter()
                    retrodict("capture", "db", url)
                    behind.append(time.perf_counter() - started)
        plain, captured = (statistics.median(found) for found in rates.values())
        print(f"pgbench, {asked.clients} clients: {plain:,.0f} transactions/s")
        print(f"the same, captured: {captured:,.0f} ({captured / plain:.0%})")
        print(
            f"caught up after the end in {statistics.median(behind):.1f} s; "
            f"pgbench's and our CPU {statistics.median(cpu):.1f} s"
        )
        started = time.perf_counter()
        retrodict("capture", "db", url, "--check")
        print(f"every record compared: {time.perf_counter() - started:.1f} s, and all are the same")


if __name__ == "__main__":
    main()
