"""Reading: every byte is hashed again before anybody sees it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache

from blake3 import blake3

from retrodict.kernel.errors import AlteredObjectError, FormatError, MissingObjectError, UsageError
from retrodict.kernel.protocols import BlobSource
from retrodict.objects import tree
from retrodict.objects.index import Found, Index
from retrodict.objects.names import Kind, as_digest, name_of
from retrodict.objects.pack import RECORD, OpenedFile, PackFiles, Place, PlaceRow, is_raw, raw_key
from retrodict.objects.recipe import Recipe
from retrodict.objects.tree import TreeEntry

_ALL = tuple(Kind)
_WHOLE = (int(Kind.BLOB), int(Kind.CHUNK))
_RUN, _GAP = 4 << 20, 64 << 10  # bytes that are read at once; that may lie unused between two records


class _NoRecipeError(Exception):
    """A blob has none by now: raised, since a cache would remember what is returned."""


class Reader:
    """Objects by name, from the packs and raw files, then from `sources`."""

    def __init__(self, index: Index, files: PackFiles, sources: Sequence[BlobSource]) -> None:
        self._index = index
        self._files = files
        self._sources = sources
        self._recipe: Callable[[bytes], Recipe] = lru_cache(maxsize=8)(self._load_recipe)

    def load(self, name: bytes, kinds: Sequence[int], places: Sequence[tuple[Place, bytes]] | None = None) -> bytes:
        """Return the payload of an object that is kept in one record, or by a source.

        Args:
            places: Where copies of it lie, as the index says; None: they are looked up.

        Raises:
            MissingObjectError: No copy is held.
            AlteredObjectError: Copies are held, and none is good.
        """
        where: list[str] = []
        for _ in range(2):  # again, since a pack may be swept, and what is needed of it be in another by now
            moved = False
            where.clear()
            for place, key in self._index.places(name) if places is None else places:
                if place.kind not in kinds:
                    continue
                try:
                    return self._files.read(key, place, self._index.base)
                except FileNotFoundError:
                    moved = True
                except FormatError:
                    where.append(f"raw file {key[-32:].hex()}" if is_raw(key) else f"pack {key.hex()}")
            if not moved:
                break
            places = None
        if Kind.BLOB in kinds:
            for source in self._sources:
                data = source.blob(as_digest(name))
                if data is not None:
                    if name_of(Kind.BLOB, data) == name:
                        return data
                    where.append("the ledger")
        if where:
            raise AlteredObjectError(as_digest(name), " and ".join(where))
        raise MissingObjectError(as_digest(name))

    def load_many(self, names: Collection[bytes], found: Found) -> Iterator[tuple[bytes, bytes]]:
        """Yield (name, bytes) of blobs that are kept in one record each, in the order in which they lie in the packs.

        Args:
            names: Of the blobs.
            found: Where copies of them lie, as `require` returns it.

        Raises as `load` does.
        """
        wanted = [row for row in found[0] if row[0] in names]
        run: list[PlaceRow] = []
        in_pack, begin, end = 0, 0, 0
        for row in wanted:
            _, pack, offset, _, _, stored, _ = row
            if run and (pack != in_pack or offset - end >= _GAP or end - begin >= _RUN):
                yield from self._files.read_near(found[1][in_pack], run, self._load_blob)
                run = []
            if not run:
                in_pack, begin = pack, offset
            run.append(row)
            end = offset + RECORD.size + stored
        if run:
            yield from self._files.read_near(found[1][in_pack], run, self._load_blob)
        if len(wanted) < len(names):
            for name in set(names).difference([row[0] for row in wanted]):  # a source may have it
                yield name, self._load_blob(name)

    def _load_blob(self, name: bytes) -> bytes:
        return self.load(name, _ALL)

    def recipe(self, blob: bytes) -> Recipe | None:
        """Return the recipe of a blob that is kept in chunks."""
        try:
            return self._recipe(blob)
        except _NoRecipeError:
            return None

    def _load_recipe(self, blob: bytes) -> Recipe:
        failure: Exception = _NoRecipeError()
        for name, _ in self._index.recipes(blob):
            try:
                recipe = Recipe.decode(self.load(name, (Kind.RECIPE,)))
            except (AlteredObjectError, MissingObjectError) as error:
                failure = error
                continue
            if recipe.blob == blob:
                return recipe
            failure = AlteredObjectError(as_digest(blob), "the index (a recipe of another object)")
        raise failure

    def whole(self, name: bytes) -> bytes:
        """Return all bytes of a blob, or the canonical listing of a tree node, or a recipe."""
        places = self._index.places(name)
        if places or not self._index.recipes(name):
            return self.load(name, _ALL, places)
        return b"".join(self.stream(name))

    def stream(self, name: bytes) -> Iterator[bytes]:
        """Yield the bytes of a blob piece by piece.

        Raises:
            AlteredObjectError: Before the bad piece is given, or at the end: the pieces are not those of this blob.
        """
        places = self._index.places(name)
        recipe = None if places else self.recipe(name)
        if recipe is None:
            yield self.load(name, _ALL, places)
            return
        whole = blake3()
        for i in range(len(recipe.chunks)):
            data = self.chunk(recipe, i)
            whole.update(data)
            yield data
        if whole.digest() != name:
            raise AlteredObjectError(as_digest(name), "the chunks of its recipe")

    def raw(self, blob: bytes) -> OpenedFile | None:
        """Return the raw file that should hold a blob; its bytes have not been checked."""
        try:
            return self._files.open(raw_key(blob))
        except FileNotFoundError:
            return None

    def chunk(self, recipe: Recipe, i: int) -> bytes:
        """Return chunk `i`; what is wrong with it is told as being wrong with the blob."""
        start, end = recipe.start(i), recipe.ends[i]
        try:
            data = self.load(recipe.chunks[i], _WHOLE)
        except AlteredObjectError as error:
            raise AlteredObjectError(as_digest(recipe.blob), error.where) from error
        except MissingObjectError as error:
            raise MissingObjectError(as_digest(recipe.blob)) from error
        if len(data) != end - start:
            raise AlteredObjectError(as_digest(recipe.blob), "its recipe")
        return data

    def range(self, name: bytes, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`: fewer where the blob ends."""
        if offset < 0 or length < 0:
            raise UsageError(f"a range cannot begin at {offset} or be {length} bytes long")
        places = self._index.places(name)
        recipe = None if places else self.recipe(name)
        if recipe is None:
            return self.load(name, _ALL, places)[offset : offset + length]
        parts = []
        for i in recipe.within(offset, length):
            start = recipe.start(i)
            parts.append(self.chunk(recipe, i)[max(0, offset - start) : offset + length - start])
        return b"".join(parts)

    def has(self, name: bytes) -> bool:
        """Say whether some copy is claimed to be held; nothing is read."""
        return bool(self._index.held([name])) or self._from_sources(name) is not None

    def require(self, names: Collection[bytes]) -> Found:
        """Check that all `names` are claimed to be held; return where those lie that are kept in one record.

        Raises:
            MissingObjectError: Names the first that is not.
        """
        found = self._index.in_packs(names, _WHOLE)
        if len(found[0]) < len(names):
            elsewhere = set(names).difference([row[0] for row in found[0]])
            held = self._index.held(elsewhere)
            for name in names if len(held) < len(elsewhere) else ():
                if name in elsewhere and name not in held and self._from_sources(name) is None:
                    raise MissingObjectError(as_digest(name))
        return found

    def _from_sources(self, name: bytes) -> bytes | None:
        return next((d for s in self._sources if (d := s.blob(as_digest(name))) is not None), None)

    def size(self, name: bytes) -> int:
        """Return the size of an object in bytes (of a tree: of its node)."""
        for place, _ in self._index.places(name):
            return place.size
        for _, size in self._index.recipes(name):
            return size
        data = self._from_sources(name)
        if data is None:
            raise MissingObjectError(as_digest(name))
        return len(data)

    def is_tree(self, name: bytes) -> bool:
        """Say whether `name` is that of a listing."""
        return any(place.kind == Kind.TREE for place, _ in self._index.places(name))

    def node(self, name: bytes) -> bytes:
        """Return a verified tree node."""
        return self.load(name, (Kind.TREE,))

    def entries(self, name: bytes) -> list[TreeEntry]:
        """Return the entries of one folder, sorted by name.

        Raises:
            UsageError: The object is there, but is no tree.
        """
        self._check_tree(name)
        return tree.listing(name, self.node)

    def find(self, name: bytes, inside: Collection[bytes]) -> Iterator[TreeEntry]:
        """Yield what one folder has under some names. Raises as `entries`."""
        self._check_tree(name)
        yield from tree.find(name, inside, self.node)

    def differences(self, one: bytes, other: bytes) -> tuple[dict[bytes, TreeEntry], dict[bytes, TreeEntry]]:
        """Return by name the entries of two folders that are not the same. Raises as `entries`."""
        self._check_tree(one)
        self._check_tree(other)
        return tree.differences(one, other, self.node)

    def _check_tree(self, name: bytes) -> None:
        if not self.is_tree(name) and self.has(name):
            raise UsageError(f"{as_digest(name)} is a file, not a folder")
