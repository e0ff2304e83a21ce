"""Verifying: every claim that the store makes, derived again from the bytes.

Packs are read whole; each record's payload is hashed and held against its name, each record against the index's row,
each footer and file name against the pack's bytes. Raw files are cut again: each chunk is held against the index's row,
the whole against its file name. Each recipe is held against the blob that its chunks make up, each listing against
what it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from blake3 import blake3

from retrodict.kernel.errors import AlteredObjectError, FormatError, MissingObjectError, UnavailableError
from retrodict.kernel.protocols import Progress
from retrodict.kernel.types import Finding
from retrodict.objects import tree
from retrodict.objects.index import Index, Value
from retrodict.objects.names import Kind, as_digest, as_name
from retrodict.objects.pack import DELTA, PackFiles, Place, is_raw, key_at, list_keys, path_of, payload_in, scan, within
from retrodict.objects.raw import scan_raw
from retrodict.objects.reader import Reader
from retrodict.objects.recipe import Recipe

Row = tuple[Value, ...]


class Verifier:
    """Verifies one store against one snapshot of its index."""

    def __init__(
        self,
        index: Index,
        store: Path,
        files: PackFiles,
        reader: Reader,
        unknown: Callable[[], list[bytes]],
        progress: Progress | None,
    ) -> None:
        """`index` is used by this alone; `unknown` returns the keys of files that no index row and no writer knows."""
        self._index = index
        self._store = store
        self._files = files
        self._reader = reader
        self._unknown = unknown
        self._progress = progress
        self._recipes: dict[bytes, tuple[bytes, int]] = {}  # by name: (blob, its size)
        self._nodes: dict[bytes, None] = {}

    def run(self) -> Iterator[Finding]:
        """Yield everything that does not hold."""
        present = list_keys(self._store)  # before the snapshot: a pack that is in the listing may lack its rows still
        with self._index.snapshot():
            for (said,) in self._index.stream("PRAGMA integrity_check"):
                if said != "ok":
                    yield self._finding("altered", f"{self._store.name}/index.db", f"damaged: {said!r}")
            if odd := self._index.odd_schema():
                message = f"its schema is not this format's: {', '.join(odd)}"
                yield self._finding("altered", f"{self._store.name}/index.db", message)
            yield from self._all_packs(present)
            yield from self._recipe_rows()
            yield from self._large_blobs()
            yield from self._listings()
        yield from self._strangers()

    def _all_packs(self, present: list[bytes]) -> Iterator[Finding]:
        known = list(self._index.stream("SELECT id, name, size FROM packs ORDER BY id"))
        rows = groupby(self._index.stream("SELECT * FROM objects ORDER BY pack, offset, name"), key=lambda row: row[1])
        ahead = next(rows, None)
        for done, (number, name, size) in enumerate(known):
            while ahead is not None and _order(ahead[0]) < _order(number):
                yield from self._homeless(list(ahead[1]))
                ahead = next(rows, None)
            claims: list[Row] = []
            if ahead is not None and ahead[0] == number:
                claims = list(ahead[1])
                ahead = next(rows, None)
            yield from self._pack(number, name, size, claims)
            if self._progress is not None:
                self._progress(done + 1, len(known), "packs")
        while ahead is not None:
            yield from self._homeless(list(ahead[1]))
            ahead = next(rows, None)
        names = {name for _, name, _ in known}
        if any(pack not in names for pack in present):
            for pack in self._unknown():  # asked again now: a writer may just have been about to index it
                yield self._finding("missing", self._path(pack), f"the index does not know this {_word(pack)}")

    def _homeless(self, claims: list[Row]) -> Iterator[Finding]:
        for row in claims:
            yield self._row("altered", row, f"the index places it in pack number {row[1]!r}, which there is not")

    def _pack(self, number: Value, name: Value, size: Value, claims: list[Row]) -> Iterator[Finding]:
        if not isinstance(name, bytes) or (len(name) != 32 and not is_raw(name)):
            yield self._finding("altered", f"index row of pack {number!r}", "it does not hold the name of a pack")
            yield from self._homeless(claims)
            return
        path = self._path(name)
        try:
            if is_raw(name):
                yield from self._raw_file(name, number, size, claims)
                return
            data = self._files.load(name)
        except FileNotFoundError:
            yield self._finding("missing", path, f"the {_word(name)} is gone, with {len(claims)} objects")
            for row in claims:
                yield self._row("missing", row, f"its bytes were in {path}, which is gone")
            return
        except UnavailableError as error:
            yield self._finding("altered", path, error.message)
            return
        if size != len(data):
            yield self._finding("altered", path, f"the index says {size!r} bytes, the pack has {len(data)}")
        if blake3(data).digest() != name:
            yield self._finding("altered", path, "its bytes do not have the digest that it is named by")
        yield from self._records(data, path, number, claims)

    def _raw_file(self, key: bytes, number: Value, size: Value, claims: list[Row]) -> Iterator[Finding]:
        path = self._path(key)
        digest, found_size, places = scan_raw(self._files.open(key))
        if size != found_size:
            yield self._finding("altered", path, f"the index says {size!r} bytes, the file has {found_size}")
        claimed = dict.fromkeys(claims)
        unclaimed = [place for place in places if claimed.pop((place.name, number, *place[2:]), 0) is not None]
        if digest != key[-32:]:
            yield self._finding("altered", path, "its bytes do not have the digest that it is named by")
            # Round altered bytes it is cut elsewhere: whether a row was true, only its own bytes tell.
            for row in claimed:
                if not self._is_there(key, row):
                    yield self._row("altered", row, f"its bytes at {row[2]!r} in {path} have another digest")
            return
        for place in unclaimed:
            message = f"the index has no row, or a wrong one, for the chunk at {place.offset} in {path}"
            yield self._finding("missing", as_digest(place.name), message)
        for row in claimed:
            yield self._row("altered", row, f"the index has a row for a chunk of {path} that is not there")

    def _is_there(self, key: bytes, row: Row) -> bool:
        try:
            self._files.read(key, Place(row[0], 0, *row[2:]), self._index.base)  # type: ignore[arg-type]
        except FormatError:
            return False
        return True

    def _records(self, data: bytes, path: str, number: Value, claims: list[Row]) -> Iterator[Finding]:
        claimed = dict.fromkeys(claims)
        for found in scan(data):
            if not isinstance(found, Place):
                yield self._finding("altered", path, found)
                continue
            payload = payload_in(data, found, self._index.base)
            if payload is None:
                message = f"its bytes at {found.offset} in {path} have another digest"
                if found.codec == DELTA:
                    message += ", or what they are a difference to is not held"
                yield self._finding("altered", as_digest(found.name), message)
            else:
                yield from self._understand(found, payload, path)
            row: Row = (found.name, number, *found[2:])
            if row in claimed:
                del claimed[row]
            else:
                message = f"the index has no row, or a wrong one, for the record at {found.offset} in {path}"
                yield self._finding("missing", as_digest(found.name), message)
        for row in claimed:
            yield self._row("altered", row, f"the index has a row for a record in {path} that is not there")

    def _understand(self, place: Place, payload: bytes, path: str) -> Iterator[Finding]:
        try:
            if place.kind == Kind.RECIPE:
                recipe = Recipe.decode(payload)
                self._recipes[place.name] = (recipe.blob, recipe.size)
            elif place.kind == Kind.TREE:
                tree.decode(payload)
                self._nodes[place.name] = None
        except FormatError as error:
            yield self._finding("altered", as_digest(place.name), f"{error.message} (in {path})")

    def _recipe_rows(self) -> Iterator[Finding]:
        rows = set(self._index.stream("SELECT blob, recipe, size FROM recipes"))
        truth = {(blob, name, size) for name, (blob, size) in self._recipes.items()}
        for blob, _, _ in sorted(truth - rows):
            message = "the index has no row, or a wrong one, for the recipe of its chunks"
            yield self._finding("missing", as_digest(blob), message)
        for row in sorted(rows - truth, key=repr):
            yield self._row("altered", row, "the index names a recipe for it that is not there")

    def _large_blobs(self) -> Iterator[Finding]:
        for done, (name, (blob, _)) in enumerate(self._recipes.items()):
            whole = blake3()
            try:
                recipe = Recipe.decode(self._reader.load(name, (Kind.RECIPE,)))
                for i in range(len(recipe.chunks)):
                    whole.update(self._reader.chunk(recipe, i))
                if whole.digest() != blob:
                    raise AlteredObjectError(as_digest(blob), "the chunks of its recipe")
            except (AlteredObjectError, MissingObjectError) as error:
                level = "altered" if isinstance(error, AlteredObjectError) else "missing"
                yield self._finding(level, as_digest(blob), error.message)
            if self._progress is not None:
                self._progress(done + 1, len(self._recipes), "large files")

    def _listings(self) -> Iterator[Finding]:
        for name in self._nodes:
            try:
                node = tree.decode(self._reader.node(name))
            except (AlteredObjectError, MissingObjectError):
                continue  # named already, with its pack
            trees = [as_name(e.digest) for e in node.entries if e.kind == "tree"] + [slot[3] for slot in node.slots]
            contents = [as_name(e.digest) for e in node.entries if e.kind != "tree"]
            for kind, needed in ((Kind.TREE, trees), (Kind.BLOB, contents)):
                held = self._index.held(set(needed))
                for part in needed:
                    kinds = held.get(part, set())
                    if kind in kinds or (kind == Kind.BLOB and (Kind.CHUNK in kinds or self._reader.has(part))):
                        continue
                    yield self._finding("missing", as_digest(part), f"the listing {as_digest(name)} names it")

    def _strangers(self) -> Iterator[Finding]:
        for path in within(self._store):
            if key_at(path) is None:
                what = f"{self._store.name}/{path.parent.name}/{path.name}"
                yield self._finding("note", what, "this file does not belong to the store")

    def _path(self, key: bytes) -> str:
        return str(path_of(Path(self._store.name), key))

    def _row(self, level: str, row: Row, message: str) -> Finding:
        return self._finding(level, _label(row[0]), message)

    @staticmethod
    def _finding(level: str, what: str, message: str) -> Finding:
        return Finding(level=level, what=what, message=message)  # type: ignore[arg-type]


def _label(name: object) -> str:
    """Return a column that should be a name, as people paste it."""
    return as_digest(name) if isinstance(name, bytes) and len(name) == 32 else f"index row {name!r}"


def _word(key: bytes) -> str:
    return "raw file" if is_raw(key) else "pack"


def _order(value: object) -> tuple[int, object]:
    """Sort as SQLite does: nothing, numbers, text, bytes; a changed row may hold any of them."""
    ranks = {type(None): 0, int: 1, float: 1, str: 2, bytes: 3}
    return ranks[type(value)], value if value is not None else 0
