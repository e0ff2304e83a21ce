"""What finding out costs: a pandas + scikit-learn script of about 2 s, with and without `retrodict run`.

    python benchmarks/capture.py [REPETITIONS]

Budget: capture costs at most 15 % more CPU. Beside `retrodict run`, which also starts the command line and records what
was found: capture alone (watching, and asking for code and libraries, into no store); the same script under
`strace -f`; and a script without work, so that the fixed part shows.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import measure

SCRIPT = """
import json, pathlib
import numpy as np, pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

frames = [pd.read_csv(path) for path in sorted(pathlib.Path("data").glob("*.csv"))]
frame = pd.concat(frames, ignore_index=True)
features = frame.drop(columns="label")
features["mean"] = features.mean(axis=1)
features.to_parquet("features.parquet")
again = pd.read_parquet("features.parquet")
model = RandomForestClassifier(n_estimators=30, random_state=0)
scores = cross_val_score(model, again, frame["label"], cv=5)
pathlib.Path("metrics.json").write_text(json.dumps({"accuracy": float(scores.mean())}))
for i in range(50):
    pathlib.Path(f"out-{i}.txt").write_text(str(scores))
"""
NOTHING = "pass\n"
IMPORTS = "import sklearn.ensemble, sklearn.model_selection, pandas, pyarrow"  # what the script's speed is told by
_NOBODY = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"]
ALONE = """
import os, sys
from pathlib import Path
from retrodict import capture
here, held = Path.cwd(), Path("held")
held.mkdir(exist_ok=True)
seen = capture.supervise(sys.argv[1:], cwd=here, environment=os.environ, preserve_to=held, output=lambda fd, data: None)
capture.snapshot_code(here, [a.path for a in seen.inputs if a.is_code], environment=os.environ)
capture.snapshot_environment(sys.argv[1], variables=os.environ, remembered=here.parent / "interpreters")
(held / capture.SPOOL_NAME).unlink()
assert seen.exit_code == 0
"""


def main(repetitions: int = 3) -> None:
    import numpy as np

    measure.title("Capture")
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name).absolute()
        env = measure.settings(folder) | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        project = folder / "project"
        (project / "data").mkdir(parents=True)
        random = np.random.default_rng(0)
        for i in range(20):
            values = random.normal(size=(300, 20))
            label = (values[:, 0] + values[:, 1] * values[:, 2] > 0).astype(int)
            rows = [
                "\n".join(",".join(f"{v:.17g}" for v in row) + f",{y}" for row, y in zip(values, label, strict=True))
            ]
            header = ",".join(f"x{j}" for j in range(20)) + ",label\n"
            (project / "data" / f"part-{i:02d}.csv").write_text(header + rows[0] + "\n")
        (project / "train.py").write_text(SCRIPT)
        (project / "nothing.py").write_text(NOTHING)
        (project / ".gitignore").write_text(
            "*.txt\n*.parquet\nmetrics.json\n"
        )  # the git around this benchmark's is not it
        for git in (["init", "-q"], ["add", "train.py", "nothing.py"], [*_NOBODY, "commit", "-qm", "first"]):
            measure.command(["git", *git], cwd=project, env=env)
        measure.command(measure.retrodict("init"), cwd=project, env=env)
        python = sys.executable

        def run(*argv: str) -> measure.Spent:
            return measure.command(argv, cwd=project, env=env)

        imports = measure.side_by_side({"i": lambda: run(python, "-c", IMPORTS)}, repetitions=repetitions)["i"]
        measure.figure("CPU of the script's imports alone", imports.cpu_s, "s")
        for script in ("train.py", "nothing.py"):
            ways = {
                f"python {script}": lambda script=script: run(python, script),
                f"retrodict run -- python {script}": lambda script=script: run(
                    *measure.retrodict("run", "--", python, script)
                ),
                f"capture alone, of python {script}": lambda script=script: run(python, "-c", ALONE, python, script),
            }
            if shutil.which("strace"):
                ways[f"strace -f python {script}"] = lambda script=script: run(
                    "strace", "-f", "-qq", "-e", "trace=%file,%process,%network", "-o", "/dev/null", python, script
                )
                ways[f"retrodict run --capture strace -- python {script}"] = lambda script=script: run(
                    *measure.retrodict("run", "--capture", "strace", "--", python, script)
                )
            found = measure.side_by_side(ways, repetitions=repetitions)
            measure.table(found, against=f"python {script}")
            if script == "train.py":
                train = found
        plain, ours = "python {}", "retrodict run -- python {}"
        fixed = found[ours.format("nothing.py")].cpu_s - found[plain.format("nothing.py")].cpu_s
        whole = train[ours.format("train.py")].cpu_s - train[plain.format("train.py")].cpu_s
        base = train[plain.format("train.py")].cpu_s
        print()
        measure.figure("more CPU with `retrodict run`, all of it", whole / base * 100, "%")
        measure.figure("   of it fixed: start, environment, recording", fixed / base * 100, "%")
        measure.figure("   of it for watching this script", (whole - fixed) / base * 100, "%")
        alone = train["capture alone, of python train.py"].cpu_s - base
        measure.figure("more CPU with capture alone", alone / base * 100, "%")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
