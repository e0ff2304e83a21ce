"""What a command costs before it does anything.

    python benchmarks/startup.py [REPETITIONS]

Budgets: `retrodict --version` < 100 ms, `status` in a small project < 200 ms, `import retrodict` < 50 ms beyond the
interpreter's own start.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import measure


def main(repetitions: int = 15) -> None:
    measure.title("Start-up")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = measure.settings(folder)
        project = folder / "project"
        project.mkdir()
        for i in range(20):
            (project / f"data-{i}.csv").write_text("a,b\n" + f"{i},1\n" * 100)
        measure.command(measure.retrodict("init"), cwd=project, env=env)
        measure.command(measure.retrodict("add", *(f"data-{i}.csv" for i in range(20))), cwd=project, env=env)

        def run(*argv: str) -> measure.Spent:
            return measure.command(argv, cwd=project, env=env)

        found = measure.side_by_side(
            {
                "python -c pass": lambda: run(sys.executable, "-c", "pass"),
                "python -c 'import click'": lambda: run(sys.executable, "-c", "import click"),
                "python -c 'import retrodict'": lambda: run(sys.executable, "-c", "import retrodict"),
                "retrodict --version": lambda: run(*measure.retrodict("--version")),
                "retrodict status (20 files)": lambda: run(*measure.retrodict("status")),
                "retrodict log": lambda: run(*measure.retrodict("log")),
            },
            repetitions=repetitions,
        )
    measure.table(found, against="python -c pass")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
