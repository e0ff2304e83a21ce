"""Versioned buckets of S3: what they hold and held, listings that pin it by VersionId, bytes read by that."""

from retrodict.buckets.client import Bucket, BucketError, PinAlteredError, PinGoneError, UnversionedBucketError
from retrodict.buckets.listing import PERIODS, Change, Listing, Past, Period, Pin, State, changed_keys, divide

__all__ = [
    "PERIODS",
    "Bucket",
    "BucketError",
    "Change",
    "Listing",
    "Past",
    "Period",
    "Pin",
    "PinAlteredError",
    "PinGoneError",
    "State",
    "UnversionedBucketError",
    "changed_keys",
    "divide",
]
