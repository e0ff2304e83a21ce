"""A model's folder out of the store: written once, and checked again each time before its code is run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from retrodict.kernel.types import Digest
from retrodict.objects import ObjectStore


def materialize(objects: ObjectStore, content: Digest, cache: Path, token: str) -> Path:
    """Return a folder below `cache` that holds just the tree `content`.

    A model is code, so what an earlier process left there is not trusted: it is compared with the digest, and compiled
    files, which are no part of a tree, are removed first.

    Args:
        token: A random word that nobody else uses: the folder is written under it, then renamed.

    Raises:
        MissingObjectError, AlteredObjectError: The store does not hold the tree as it was registered.
    """
    folder = cache / content
    for compiled in list(folder.rglob("__pycache__")):
        shutil.rmtree(compiled, ignore_errors=True)
    if folder.is_dir() and objects.identify(folder) == content:
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    fresh = cache / f".{content}.{token}"
    try:
        objects.checkout(content, fresh)
        if folder.exists():
            os.rename(folder, cache / f".{content}.{token}.old")
        os.rename(fresh, folder)
    except OSError:
        # Another process was faster, with the same bytes.
        if not folder.is_dir() or objects.identify(folder) != content:
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(cache / f".{content}.{token}.old", ignore_errors=True)
    return folder
