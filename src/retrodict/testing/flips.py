"""Flip every byte of a small store, one after the other: each is named, or no reader sees it.

    python -m retrodict.testing.flips              # every byte: many hours
    python -m retrodict.testing.flips --every 997  # some hundred of them

The bytes that no reader sees are those of a SQLite page that belong to nothing: then every row, and what the headers
say of format and version, are as they were.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import apsw

from retrodict.actions.open import open_workspace
from retrodict.actions.verify import verify
from retrodict.kernel.errors import IntegrityError
from retrodict.testing.clock import FixedClock
from retrodict.testing.workspaces import Built, build

Seen = Literal["named", "unseen", "missed"]


def files(built: Built) -> list[Path]:
    """Return every file of the store that says something."""
    store = built.root / ".retrodict"
    return sorted(
        path for path in store.rglob("*") if path.is_file() and not path.name.endswith((".gitignore", "-wal", "-shm"))
    )


def rows_of(path: Path) -> object:
    """Return everything that a reader of a database gets."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        schema = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
        tables = [str(row[1]) for row in schema if row[0] == "table"]
        numbers = [db.execute(f"PRAGMA {name}").fetchall() for name in ("application_id", "user_version")]
        return schema, numbers, [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608
    finally:
        db.close()


def flip(built: Built, path: Path, place: int, expected: object) -> Seen:
    """Flip the lowest bit of a byte, verify, and put it back.

    Args:
        expected: The rows of a database; None for another file.
    """
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    try:
        try:
            with open_workspace(built.root, built.state, FixedClock(), read_only=True) as workspace:
                answer = verify(workspace).answer
        except IntegrityError:
            answer = "no"
        if answer == "no":
            return "named"
        return "unseen" if expected is not None and rows_of(path) == expected else "missed"
    finally:
        path.write_bytes(good)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)


def flips(built: Built, every: int) -> Iterator[tuple[Path, int, Seen]]:
    """Flip every `every`th byte of the store, file after file."""
    start = 0
    for path in files(built):
        size = path.stat().st_size
        expected = rows_of(path) if path.suffix == ".db" else None
        for place in range(start, size, every):
            yield path, place, flip(built, path, place, expected)
        start = (start - size) % every


def main() -> None:
    """Flip them, and say what came of it."""
    parser = argparse.ArgumentParser(description="Flip every byte of a small store: each is named, or seen by nobody.")
    parser.add_argument("--every", type=int, default=1)
    folder = Path(tempfile.mkdtemp(prefix="retrodict-flips-"))
    built = build(folder)
    with built.open() as workspace:
        workspace.views.database()
    count: Counter[str] = Counter()
    with suppress(KeyboardInterrupt):  # what was done by then is said
        for path, place, seen in flips(built, parser.parse_args().every):
            count[seen] += 1
            if seen == "missed":
                print(f"missed: {path.relative_to(built.root)}, byte {place}", flush=True)
    print(dict(count))
    shutil.rmtree(folder)
    sys.exit(1 if count["missed"] else 0)


if __name__ == "__main__":
    main()
