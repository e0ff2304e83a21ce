"""Letting go of what nothing needs: found by walking from roots, doomed first, swept after a grace.

A doomed object can still be read, but a writer that is about to rely on it stores it anew: whether it is doomed is
asked in the same query that asks whether it is held. So no writer needs a lease, as long as the grace is longer than
the time between storing an object and recording the event that names it. To sweep, a pack is written again without its
dead records, and only then goes. A crash leaves at worst both, and the old one is swept another time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, cast

from retrodict.kernel.durable import Disk
from retrodict.kernel.errors import MissingObjectError
from retrodict.kernel.protocols import Progress
from retrodict.objects import tree
from retrodict.objects.index import Index, in_batches
from retrodict.objects.names import Kind, as_name
from retrodict.objects.pack import PackFiles, is_raw
from retrodict.objects.reader import Reader
from retrodict.objects.recipe import Recipe
from retrodict.objects.rewrite import Rewriter

Needed: TypeAlias = "set[bytes]"  # names of records


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Records of the store, counted: how many, and how many bytes they take there."""

    records: int
    stored_bytes: int


class Sweeper:
    """Sweeps one store. Other processes may read and write it meanwhile."""

    def __init__(self, index: Index, store: Path, files: PackFiles, reader: Reader, disk: Disk) -> None:
        self._index = index
        self._reader = reader
        self._rewriter = Rewriter(index, store, files, disk)

    def needed(self, roots: Iterable[bytes], progress: Progress | None = None) -> set[bytes]:
        """Return the names of all records that objects are made of: nodes and what they list, recipes and chunks.

        What is not held, or held by a source, leads no further.

        Raises:
            AlteredObjectError: A listing or a recipe cannot be read, so that what it needs is not known.
        """
        found: set[bytes] = set()
        waiting = list(set(roots))
        while waiting:
            batch, waiting = waiting[-4096:], waiting[:-4096]
            new = [name for name in batch if name not in found]
            found.update(new)
            nodes, recipes = set(), set()
            for names in in_batches(new):
                marks = ",".join("?" * len(names))
                rows = self._index.select(f"SELECT name, kind FROM objects WHERE name IN ({marks})", names)  # noqa: S608
                for name, kind in cast("list[tuple[bytes, int]]", rows):
                    if kind == Kind.TREE:
                        nodes.add(name)
                    elif kind == Kind.RECIPE:
                        recipes.add(name)
                rows = self._index.select(f"SELECT recipe FROM recipes WHERE blob IN ({marks})", names)  # noqa: S608
                recipes.update(name for (name,) in cast("list[tuple[bytes]]", rows))
            found |= recipes
            for name in nodes:
                waiting += self._below(name)
            for name in recipes:
                waiting += self._chunks(name)
            if progress is not None:
                progress(len(found), len(found) + len(waiting), "objects")
        return found | self._index.bases(found)

    def _below(self, node: bytes) -> list[bytes]:
        try:
            decoded = tree.decode(self._reader.node(node))
        except MissingObjectError:
            return []
        return [as_name(entry.digest) for entry in decoded.entries] + [slot[3] for slot in decoded.slots]

    def _chunks(self, recipe: bytes) -> tuple[bytes, ...]:
        try:
            return Recipe.decode(self._reader.load(recipe, (Kind.RECIPE,))).chunks
        except MissingObjectError:
            return ()

    def weigh(self, names: set[bytes]) -> Weight:
        """Return what the records under some names take in the store; a raw file's, what its chunks take."""
        records = stored = 0
        for name, size in self._rows():
            if name in names:
                records += 1
                stored += size
        return Weight(records=records, stored_bytes=stored)

    def dead(self, live: set[bytes]) -> tuple[set[bytes], Weight]:
        """Return the names that are held and not in `live`, and what they take."""
        names: set[bytes] = set()
        records = stored = 0
        for name, size in self._rows():
            if name not in live:
                names.add(name)
                records += 1
                stored += size
        return names, Weight(records=records, stored_bytes=stored)

    def _rows(self) -> Iterator[tuple[bytes, int]]:
        yield from cast("list[tuple[bytes, int]]", self._index.select("SELECT name, stored FROM objects"))

    def doomed(self) -> dict[bytes, int]:
        """Return what is doomed, with since when, in nanoseconds."""
        return dict(cast("list[tuple[bytes, int]]", self._index.select("SELECT name, since FROM doomed")))

    def doom(self, names: Iterable[bytes], since_ns: int) -> None:
        """Doom objects; those that are already keep their time."""
        with self._index.writing():
            self._index.doom(names, since_ns)

    def spare(self, names: Iterable[bytes] | None = None) -> int:
        """Take doomed objects back (None: all of them); return how many."""
        with self._index.writing():
            return self._index.spare(names)

    def sweep(self, live: set[bytes], before_ns: int, progress: Progress | None = None) -> Weight:
        """Remove the records that were doomed before a time and are not in `live`; spare the doomed that are.

        Raises:
            StoreWriteError: There is no room for the packs that are written again. Nothing is lost.
        """
        doomed = self.doomed()
        self.spare(doomed.keys() & live)
        dying = {name for name, since in doomed.items() if since <= before_ns and name not in live}
        records = stored = 0
        rows = cast(
            "list[tuple[bytes, bytes]]",
            self._index.select(
                "SELECT p.name, o.name FROM objects o JOIN packs p ON p.id = o.pack"
                " WHERE o.name IN (SELECT name FROM doomed) ORDER BY p.name"
            ),
        )
        packs = [(pack, {name for _, name in of} & dying) for pack, of in groupby(rows, key=lambda row: row[0])]
        for done, (pack, names) in enumerate(packs):
            if names:
                went = self._rewrite(pack, names)
                records += went.records
                stored += went.stored_bytes
            if progress is not None:
                progress(done + 1, len(packs), "packs")
        return Weight(records=records, stored_bytes=stored)

    def _rewrite(self, pack: bytes, dying: set[bytes]) -> Weight:
        places = self._index.in_pack(pack)
        kept = [place for place in places if place.name not in dying]
        if is_raw(pack) and kept:
            return Weight(records=0, stored_bytes=0)  # some chunk of it is needed still: it stays whole
        copies = self._rewriter.copy(pack, kept)
        if not self._rewriter.remove(pack, unless=dying):  # somebody has spared one of them meanwhile
            for copy in copies:
                self._rewriter.remove(copy)
            return Weight(records=0, stored_bytes=0)
        gone = [place for place in places if place.name in dying]
        return Weight(records=len(gone), stored_bytes=sum(place.stored for place in gone))
