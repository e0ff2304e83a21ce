"""The tree against the vectors of Certificate Transparency and against RFC 9162's recursive definitions."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrodict.kernel import merkle, note

# From certificate-transparency's merkle_tree_test: leaves and the roots of the trees of the first 1 to 8 of them.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

# Its proofs over the same leaves: (index, size) or (size, size) and the path.
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): [
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    ],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, as it is written there."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return merkle.node_hash(root(leaves[:k]), root(leaves[k:]))


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 9162 section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if index < k:
        return [*path(index, leaves[:k]), root(leaves[k:])]
    return [*path(index - k, leaves[k:]), root(leaves[:k])]


def proof(first: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 9162 section 2.1.4.1."""
    if first == len(leaves):
        return [] if whole else [root(leaves)]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if first <= k:
        return [*proof(first, leaves[:k], whole=whole), root(leaves[k:])]
    return [*proof(first - k, leaves[k:], whole=False), root(leaves[:k])]


def tree(size: int) -> tuple[list[bytes], merkle.NodeOf]:
    leaves = [merkle.leaf_hash(b"%d" % i) for i in range(size)]
    return leaves, lambda level, index: root(leaves[index << level : (index + 1) << level])


@pytest.mark.parametrize("module", [merkle, note])
def test_the_examples_in_the_documentation_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [merkle.leaf_hash(data) for data in LEAVES[:size]]
    assert merkle.tree_hash(leaves).hex() == ROOTS[size - 1]
    grown = merkle.CompactRange()
    for leaf in leaves:
        grown.append(leaf)
    assert grown.root().hex() == ROOTS[size - 1]


def test_the_proofs_are_those_of_certificate_transparency() -> None:
    leaves = [merkle.leaf_hash(data) for data in LEAVES]

    def node(level: int, index: int) -> bytes:
        return merkle.tree_hash(leaves[index << level : (index + 1) << level])

    for (index, size), expected in INCLUSION.items():
        path_ = merkle.inclusion_proof(index, size, node)
        assert [item.hex() for item in path_] == expected
        assert merkle.verify_inclusion(index, size, leaves[index], path_, bytes.fromhex(ROOTS[size - 1]))
    for (first, second), expected in CONSISTENCY.items():
        path_ = merkle.consistency_proof(first, second, node)
        assert [item.hex() for item in path_] == expected
        roots = (bytes.fromhex(ROOTS[first - 1]), bytes.fromhex(ROOTS[second - 1]))
        assert merkle.verify_consistency(first, second, *roots, path_)


def test_proofs_are_those_of_the_standard_and_verify() -> None:
    for size in range(1, 40):
        leaves, node = tree(size)
        whole = root(leaves)
        assert merkle.tree_hash(leaves) == merkle.range_hash(0, size, node) == whole
        for index in range(size):
            inclusion = merkle.inclusion_proof(index, size, node)
            assert inclusion == path(index, leaves)
            assert merkle.verify_inclusion(index, size, leaves[index], inclusion, whole)
        for first in range(1, size + 1):
            consistency = merkle.consistency_proof(first, size, node)
            assert consistency == proof(first, leaves)
            assert merkle.verify_consistency(first, size, root(leaves[:first]), whole, consistency)
        assert merkle.verify_consistency(0, size, merkle.EMPTY_ROOT, whole, [])


@given(st.integers(1, 70), st.data())
def test_a_changed_inclusion_proof_does_not_verify(size: int, data: st.DataObject) -> None:
    leaves, node = tree(size)
    index = data.draw(st.integers(0, size - 1))
    arguments = [index, size, leaves[index], merkle.inclusion_proof(index, size, node), root(leaves)]
    changed = data.draw(st.integers(0, 4))
    match arguments[changed]:
        case bytes(value):
            arguments[changed] = data.draw(st.sampled_from([value[:31], value + b"\0", bytes(32)]))
        case list(hashes):
            arguments[changed] = data.draw(st.sampled_from([[*hashes, bytes(32)], [*hashes[1:], bytes(32)] * 2]))
        case int(number):
            # A size is not bound by the root, only by the checkpoint: a wrong one may have the same path.
            arguments[0] = number + size if changed == 0 else -1
    assert not merkle.verify_inclusion(*arguments)  # type: ignore[arg-type]


@given(st.integers(2, 70), st.data())
def test_a_changed_consistency_proof_does_not_verify(size: int, data: st.DataObject) -> None:
    leaves, node = tree(size)
    first = data.draw(st.integers(1, size - 1))
    good = merkle.consistency_proof(first, size, node)
    old, new = root(leaves[:first]), root(leaves)
    place = data.draw(st.integers(0, len(good) - 1))
    flipped = bytes([good[place][0] ^ 1]) + good[place][1:]
    for bad in (good[:-1], [*good, bytes(32)], [*good[:place], flipped, *good[place + 1 :]]):
        assert not merkle.verify_consistency(first, size, old, new, bad)
    assert not merkle.verify_consistency(first, size, new, new, good)
    assert not merkle.verify_consistency(first, size, old, old, good)
    assert not merkle.verify_consistency(size, first, new, old, good)


def test_an_empty_root_or_a_short_hash_is_never_verified() -> None:
    # The traps of transparency-dev's vectors: hashes of other lengths than 32.
    assert not merkle.verify_inclusion(0, 1, b"", [], b"")
    assert not merkle.verify_inclusion(0, 0, merkle.EMPTY_ROOT, [], merkle.EMPTY_ROOT)
    assert not merkle.verify_consistency(1, 1, b"", b"", [])
    assert not merkle.verify_consistency(0, 5, b"x" * 32, b"y" * 32, [])


def test_changing_any_leaf_changes_the_root() -> None:
    leaves, _ = tree(37)
    whole = merkle.tree_hash(leaves)
    for i in range(37):
        assert merkle.tree_hash([*leaves[:i], bytes(32), *leaves[i + 1 :]]) != whole


def test_an_entry_cannot_pose_as_a_node() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
