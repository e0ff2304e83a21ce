"""Make the archive of a workspace as this release writes it; a later release must still read it.

    python tests/archive/make.py tests/archive/0.1.tar.gz

An archive is made once for each release that changed what is written on disk, and never made again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TRAIN = (
    "rows = open('clean.csv').read().splitlines()[1:]\n"
    "limit = sum(int(row.split(',')[1]) for row in rows) // len(rows)\n"
    "open('model.py', 'w').write(f'def predict(frame):\\n    return frame.amount > {limit}\\n')\n"
)
CLEAN = "open('clean.csv', 'w').writelines(row for row in open('loans.csv') if ',0' not in row)\n"
COMMANDS = (
    "init",
    "add loans.csv --source https://example.org/loans --reason first",
    "add images",
    "add images-2 --name images",
    "add people.csv --personal --reason list",
    "add loans.csv --name corrected --reason corrected",
    "stream create events --format jsonl",
    "stream append events events.jsonl",
    "derive clean.csv --from loans.csv --code clean.py -- python clean.py",
    "derive verify clean.csv",
    "run --reason trained -- python train.py",
    "register model.py credit --reason first",
    "alias credit@champion 1 --reason approved",
    "predict credit@champion --input in.json",
    "dispute {prediction} --reason unfair",
    "dispute {prediction} --resolve explained",
    "replay {prediction}",
)


def main(target: Path) -> None:
    """Make an archive, with what it must say when it is read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = folder / "project"
        (project / "images" / "sub").mkdir(parents=True)
        rows = "".join(f"{i},{i * 7 % 50}\n" for i in range(200))
        (project / "loans.csv").write_text("id,amount\n" + rows)
        (project / "events.jsonl").write_text("".join(f'{{"n": {i}}}\n' for i in range(100)))
        (project / "people.csv").write_text("name\nAda\n")
        (project / "images" / "large").write_bytes(random.Random(1).randbytes(300_000))
        (project / "images" / "sub" / "small").write_bytes(b"small")
        shutil.copytree(project / "images", project / "images-2")
        (project / "images-2" / "large").write_bytes(random.Random(1).randbytes(299_000) + b"changed at the end")
        (project / "clean.py").write_text(CLEAN)
        (project / "train.py").write_text(TRAIN)
        (project / "in.json").write_text('[{"amount": 5}, {"amount": 49}]')
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "RETRODICT_STATE": str(folder / "state"),
            "RETRODICT_AGENT": "Ada Archivist <ada@example.org>",
        }

        def retrodict(line: str) -> str:
            done = subprocess.run(
                ["retrodict", *line.split()], cwd=project, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"retrodict {line} ended with {done.returncode}: {done.stderr}")
            return done.stdout

        prediction = ""
        for command in COMMANDS:
            retrodict(command.format(prediction=prediction))
            if command.startswith("predict "):
                prediction = str(json.loads(retrodict("log -n 1 --json"))["rows"][0]["entry"])
        told = {
            "prediction": prediction,
            "entries": len(json.loads(retrodict("log -n 1000 --json"))["rows"]),
            "status": json.loads(retrodict("status --json"))["entries"],
            "predictions": retrodict("predictions --json"),
            "lineage": retrodict(f"lineage {prediction}"),
            "loans": json.loads(retrodict("show loans.csv --json"))["reference"],
        }
        (folder / "told.json").write_text(json.dumps(told, indent=1))
        with tarfile.open(target, "w:gz") as archive:
            for part in ("told.json", "state", "project/.retrodict"):
                archive.add(folder / part, arcname=part)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
