"""A model's folder out of the store: written once, and checked again each time before its code is run."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore, digest_of
from retrodict.objects.errors import StoreWriteError


def materialize(objects: ObjectStore, content: Digest, cache: Path, token: str) -> Path:
    """Return a folder below `cache` that holds just the tree `content`.

    A model is code, so what an earlier process left there is not trusted: it is compared with the digest, and compiled
    files, which are no part of a tree, are removed first.

    Args:
        token: A random word that nobody else uses: the folder is written under it, then renamed.

    Raises:
        MissingObjectError, AlteredObjectError: The store does not hold the tree as it was registered.
        StoreWriteError: It cannot be written.
    """
    folder = cache / content
    for compiled in list(folder.rglob("__pycache__")):
        shutil.rmtree(compiled, ignore_errors=True)
    if _is_just(objects, content, folder):
        return folder
    fresh, old = cache / f".{content}.{token}", cache / f".{content}.{token}.old"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        objects.checkout(content, fresh)
        if folder.exists():
            os.rename(folder, old)
        os.rename(fresh, folder)
    except OSError as error:
        # Or another process was faster, with the same bytes.
        if not _is_just(objects, content, folder):
            raise StoreWriteError(str(cache), error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _is_just(objects: ObjectStore, content: Digest, folder: Path) -> bool:
    """Say whether `folder` holds what the tree does, and nothing else."""
    if not folder.is_dir():
        return False
    wanted = set()
    for name, entry in objects.walk(content):
        path = folder / os.fsdecode(name)
        wanted.add(path)
        try:
            mode = path.lstat().st_mode
            match entry.kind:
                case "tree":
                    same = stat.S_ISDIR(mode)
                case "symlink":
                    same = stat.S_ISLNK(mode) and digest_of(os.fsencode(os.readlink(path))) == entry.digest
                case _:
                    same = stat.S_ISREG(mode) and objects.hash_file(path, remember=False) == entry.digest
        except OSError:
            return False
        if not same:
            return False
    return all(path in wanted for path in folder.rglob("*"))
