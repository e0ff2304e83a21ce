"""Versions of files and folders (strategies *copies* and *derived*): their events, and what is known of them."""

from retrodict.datasets.errors import DerivationError
from retrodict.datasets.marks import (
    MARKS,
    Fetched,
    Tag,
    check_label,
    fetched,
    fetched_body,
    imported,
    tagged_body,
    tags,
    untracked_body,
)
from retrodict.datasets.recipe import Ingredient, Recipe
from retrodict.datasets.records import (
    PROJECTION,
    DatasetVersion,
    added_body,
    check_name,
    current,
    derived_body,
    find,
    next_version,
    rederived_body,
    released,
    verdicts,
    versions,
)
from retrodict.datasets.subjects import Declared, NoSubjectsError

__all__ = [
    "MARKS",
    "PROJECTION",
    "DatasetVersion",
    "Declared",
    "DerivationError",
    "Fetched",
    "Ingredient",
    "NoSubjectsError",
    "Recipe",
    "Tag",
    "added_body",
    "check_label",
    "check_name",
    "current",
    "derived_body",
    "fetched",
    "fetched_body",
    "find",
    "imported",
    "next_version",
    "rederived_body",
    "released",
    "tagged_body",
    "tags",
    "untracked_body",
    "verdicts",
    "versions",
]
