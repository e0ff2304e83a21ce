"""Arrays by version (strategy *tensors*): a Zarr v3 array whose chunks are objects.

The modules below stand on zarr and numpy, an extra, and are loaded when they are needed.
"""

from retrodict.tensors.errors import NoTensorError, TensorConflictError

IDS = "ids.jsonl"  # beside zarr.json: the sample ids along the first axis

__all__ = ["IDS", "NoTensorError", "TensorConflictError"]
