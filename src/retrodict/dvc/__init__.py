"""DVC repositories, read as they are and never written: their git history, their files, caches and remotes.

Source: https://dvc.org/doc/user-guide/project-structure (`.dvc` files, `dvc.lock`, `dvc.yaml`, the cache), DVC 1 to 3.
"""

from retrodict.dvc.history import Commit, Out, Stage, read_history
from retrodict.dvc.storage import DvcError, Storage

__all__ = ["Commit", "DvcError", "Out", "Stage", "Storage", "read_history"]
