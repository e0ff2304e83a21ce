"""Versions of files and folders (strategies *copies*, *derived*, *attached*): their events, what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.datasets.errors import DerivationError
    from retrodict.datasets.marks import (
        BucketFetched,
        Fetched,
        Tag,
        bucket_fetched,
        bucket_fetched_body,
        check_label,
        fetched,
        fetched_body,
        imported,
        tagged_body,
        tags,
        untracked_body,
    )
    from retrodict.datasets.projection import MARKS, PROJECTION
    from retrodict.datasets.recipe import Ingredient, Recipe
    from retrodict.datasets.records import (
        DatasetVersion,
        added_body,
        attached_body,
        check_name,
        current,
        derived_body,
        find,
        next_version,
        rederived_body,
        refuse_attached,
        released,
        verdicts,
        versions,
    )
    from retrodict.datasets.subjects import Declared, NoSubjectsError

_HOMES = {
    "BucketFetched": "marks",
    "DatasetVersion": "records",
    "Declared": "subjects",
    "DerivationError": "errors",
    "Fetched": "marks",
    "Ingredient": "recipe",
    "MARKS": "projection",
    "NoSubjectsError": "subjects",
    "PROJECTION": "projection",
    "Recipe": "recipe",
    "Tag": "marks",
    "added_body": "records",
    "attached_body": "records",
    "bucket_fetched": "marks",
    "bucket_fetched_body": "marks",
    "check_label": "marks",
    "check_name": "records",
    "current": "records",
    "derived_body": "records",
    "fetched": "marks",
    "fetched_body": "marks",
    "find": "records",
    "imported": "marks",
    "next_version": "records",
    "rederived_body": "records",
    "refuse_attached": "records",
    "released": "records",
    "tagged_body": "marks",
    "tags": "marks",
    "untracked_body": "marks",
    "verdicts": "records",
    "versions": "records",
}

__all__ = [
    "MARKS",
    "PROJECTION",
    "BucketFetched",
    "DatasetVersion",
    "Declared",
    "DerivationError",
    "Fetched",
    "Ingredient",
    "NoSubjectsError",
    "Recipe",
    "Tag",
    "added_body",
    "attached_body",
    "bucket_fetched",
    "bucket_fetched_body",
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
    "refuse_attached",
    "released",
    "tagged_body",
    "tags",
    "untracked_body",
    "verdicts",
    "versions",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
