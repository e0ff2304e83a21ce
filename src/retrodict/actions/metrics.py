"""What a metrics file says. No verb."""

from __future__ import annotations

import json

from retrodict.kernel.errors import RetrodictError
from retrodict.kernel.types import Digest
from retrodict.workspace import Workspace


def read_metrics(workspace: Workspace, digest: Digest | None) -> dict[str, object]:
    """Return what a metrics file says, flattened to dotted names; empty where it is not JSON or not held."""
    if digest is None:
        return {}
    try:
        return flattened(workspace.objects.get(digest))
    except RetrodictError:
        return {}


def flattened(data: bytes) -> dict[str, object]:
    """Return what the bytes of a metrics file say, flattened to dotted names; empty where they are not JSON.

    >>> flattened(b'{"test": {"auc": 0.9}}')
    {'test.auc': 0.9}
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    flat: dict[str, object] = {}
    _flatten(value, "", flat)
    return flat


def _flatten(value: object, name: str, into: dict[str, object]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _flatten(item, f"{name}.{key}" if name else str(key), into)
    elif isinstance(value, str | int | float | bool) or value is None:
        into[name or "value"] = value
