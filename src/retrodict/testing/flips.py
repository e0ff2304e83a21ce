"""Flip every byte of a small store, one after the other: each is named, or no reader sees it.

    python -m retrodict.testing.flips              # every byte: half an hour of processor time
    python -m retrodict.testing.flips --every 997  # some hundred of them

The bytes that no reader sees are those of a SQLite page that belong to nothing: then every row is as it was, every
index agrees with its table, and what the headers say of format, version and journal is as it was. Such a flip is
not shown to `verify`, as there is nothing to be found: that makes it twenty times as fast. Of a view a note is enough:
one whose number of its version is another's is folded anew at its next use, as after an upgrade.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
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

PRAGMAS = ("application_id", "user_version", "encoding", "journal_mode", "auto_vacuum", "integrity_check")

Seen = Literal["named", "unseen", "missed"]


def files(built: Built) -> list[Path]:
    """Return every file of the store that says something; what lies in `tmp` is compared before it is used."""
    store = built.root / ".retrodict"
    return sorted(
        path
        for path in store.rglob("*")
        if path.is_file()
        and not path.name.endswith((".gitignore", "-wal", "-shm"))
        and path.relative_to(store).parts[0] != "tmp"
    )


def rows_of(path: Path) -> object:
    """Return everything that a reader of a database gets, and whether it may write."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        schema = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
        tables = [str(row[1]) for row in schema if row[0] == "table"]
        says = [db.execute(f"PRAGMA {name}").fetchall() for name in PRAGMAS]
        rows = [db.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608
        return schema, says, db.readonly("main"), rows
    finally:
        db.close()


def flip(built: Built, path: Path, place: int, expected: object) -> Seen:
    """Flip the lowest bit of a byte, look who sees it, and put it back.

    Args:
        expected: The rows of a database; None for another file.
    """
    with path.open("r+b", buffering=0) as file:
        (good,) = os.pread(file.fileno(), 1, place)
        os.pwrite(file.fileno(), bytes([good ^ 1]), place)
        try:
            if expected is not None:
                with suppress(apsw.Error, UnicodeDecodeError):
                    if rows_of(path) == expected:
                        return "unseen"
            try:
                with open_workspace(built.root, built.state, FixedClock(), read_only=True) as workspace:
                    found = verify(workspace)
                is_named = found.findings and (found.answer == "no" or path.name == "views.db")
                return "named" if is_named else "missed"
            except IntegrityError:
                return "named"
            except Exception:
                traceback.print_exc()
                return "missed"
        finally:
            os.pwrite(file.fileno(), bytes([good]), place)
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
    last = Path()
    with suppress(KeyboardInterrupt):  # what was done by then is said
        for path, place, seen in flips(built, parser.parse_args().every):
            if path != last:
                print(f"{dict(count)}, {time.process_time():.0f} s; next {path.relative_to(built.root)}", flush=True)
                last = path
            count[seen] += 1
            if seen == "missed":
                print(f"missed: {path.relative_to(built.root)}, byte {place}", flush=True)
    print(f"{dict(count)}, {time.process_time():.0f} s")
    shutil.rmtree(folder)
    sys.exit(1 if count["missed"] else 0)


if __name__ == "__main__":
    main()
