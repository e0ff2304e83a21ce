"""Versions of files and folders (strategies *copies* and *derived*): their events, and what is known of them."""

from retrodict.datasets.errors import DerivationError
from retrodict.datasets.recipe import Ingredient, Recipe
from retrodict.datasets.records import (
    PROJECTION,
    DatasetVersion,
    added_body,
    check_name,
    current,
    derived_body,
    find,
    rederived_body,
    released,
    verdicts,
    versions,
)

__all__ = [
    "PROJECTION",
    "DatasetVersion",
    "DerivationError",
    "Ingredient",
    "Recipe",
    "added_body",
    "check_name",
    "current",
    "derived_body",
    "find",
    "rederived_body",
    "released",
    "verdicts",
    "versions",
]
