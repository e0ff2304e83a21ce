"""The Merkle tree in tiles of 256 hashes: C2SP tlog-tiles, kept in a table.

A tile (level, i) holds the hashes of the perfect subtrees of 256^level leaves, from the (256 * i)-th on. Level 0 is
kept when it is complete (until then the leaves stand in `entries`); higher levels are kept as they grow. So any
node of a log of 10 million entries is one row away.
"""

from __future__ import annotations

import apsw

from retrodict.kernel import merkle
from retrodict.kernel.errors import IntegrityError
from retrodict.ledger.database import fetch

HEIGHT = 8
WIDTH = 1 << HEIGHT


def integrate(db: apsw.Connection, start: int, stop: int) -> None:
    """Write the tiles that the entries [start, stop), already in their table, complete."""
    for index in range(start // WIDTH, stop // WIDTH):
        leaves = _leaves(db, index)
        db.execute("INSERT INTO tiles VALUES (0, ?, ?)", (index, b"".join(leaves)))
        _extend(db, 1, index, merkle.tree_hash(leaves))


def _extend(db: apsw.Connection, level: int, index: int, node: bytes) -> None:
    """Add node number `index` to a level, and what that completes to the next one."""
    tile, slot = divmod(index, WIDTH)
    if slot == 0:
        db.execute("INSERT INTO tiles VALUES (?, ?, ?)", (level, tile, node))
        return
    hashes = _kept(db, level, tile)
    if hashes is None or len(hashes) != slot:
        raise IntegrityError(f"tile {level}/{tile} of the log is damaged: {slot} hashes are due")
    hashes.append(node)
    db.execute("UPDATE tiles SET hashes = ? WHERE level = ? AND idx = ?", (b"".join(hashes), level, tile))
    if slot == WIDTH - 1:
        _extend(db, level + 1, tile, merkle.tree_hash(hashes))


def _kept(db: apsw.Connection, level: int, index: int) -> list[bytes] | None:
    rows = fetch(db, "SELECT hashes FROM tiles WHERE level = ? AND idx = ?", (level, index))
    return split(rows[0][0]) if rows else None


def _leaves(db: apsw.Connection, index: int) -> list[bytes]:
    query = "SELECT leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx"
    return [row[0] for row in fetch(db, query, (index * WIDTH, (index + 1) * WIDTH))]


def split(hashes: bytes) -> list[bytes]:
    """Return the hashes of a tile, one by one."""
    return [hashes[i : i + merkle.HASH_BYTES] for i in range(0, len(hashes), merkle.HASH_BYTES)]


class Nodes:
    """The nodes of the tree as one read transaction sees it, for `merkle`; tiles are read once."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def tile(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile as far as there are any."""
        key = (level, index)
        if key not in self._tiles:
            hashes = _kept(self._db, level, index)
            if hashes is None:
                hashes = _leaves(self._db, index) if level == 0 else []
            self._tiles[key] = hashes
        return self._tiles[key]

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of the perfect subtree over [index * 2^level, (index + 1) * 2^level).

        Raises:
            IntegrityError: The table does not hold it.
        """
        tile_level, height = divmod(level, HEIGHT)
        tile, slot = divmod(index << height, WIDTH)
        hashes = self.tile(tile_level, tile)[slot : slot + (1 << height)]
        if len(hashes) != 1 << height or any(len(h) != merkle.HASH_BYTES for h in hashes):
            raise IntegrityError(f"tile {tile_level}/{tile} of the log is damaged or missing")
        return merkle.tree_hash(hashes)


def path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Return the path of a tile, or of a bundle of entries (level "entries"), below a published log.

    >>> path(0, 1234067)
    'tile/0/x001/x234/067'
    >>> path("entries", 3, 17)
    'tile/entries/003.p/17'
    """
    name = f"{index % 1000:03d}"
    while index := index // 1000:
        name = f"x{index % 1000:03d}/{name}"
    return f"tile/{level}/{name}" + (f".p/{width}" if width != WIDTH else "")
