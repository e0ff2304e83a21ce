"""What every room needs: types, canonical encoding, Merkle tree, signed notes, durable writes, errors.

Standard library only. Nothing here knows a kind of event or a layout on disk above a single file.
"""
