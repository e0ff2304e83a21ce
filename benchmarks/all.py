"""Run every benchmark, one after the other.

    python benchmarks/all.py [--small]

`--small` proves in about two minutes that they run; its figures say little.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SMALL = {
    "startup": ["3"],
    "capture": ["1"],
    "data": [
        "--files",
        "2000",
        "--big-mb",
        "16",
        "--rows",
        "20000",
        "--tensor-mb",
        "8",
        "--repetitions",
        "1",
        "--no-peers",
    ],
    "databases": ["--seconds", "3", "--scale", "1", "--repetitions", "1"],
    "explain": ["2000"],
    "ledger": ["5000"],
    "lineage": ["--edges", "20000", "--predictions", "2000"],
    "objects": ["1000", "16", "80"],
    "remotes": ["--files", "500", "--mb", "20"],
    "streams": ["--records", "20000"],
    "tables": ["--records", "20000"],
    "serving": ["--seconds", "1", "--no-peers"],
}


def main() -> None:
    here = Path(__file__).parent
    failed = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for path in sorted(here.glob("*.py")):
            if path.stem not in ("all", "measure"):
                sizes = SMALL.get(path.stem, []) if "--small" in sys.argv[1:] else []
                if subprocess.run([sys.executable, str(path.resolve()), *sizes], cwd=folder).returncode:
                    failed.append(path.stem)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
