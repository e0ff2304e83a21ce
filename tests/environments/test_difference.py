"""Environments are compared by what can change an answer."""

from __future__ import annotations

from typing import Any

from retrodict.environments import compare

BASE: dict[str, Any] = {
    "python": "3.11.7",
    "implementation": "CPython",
    "executable": "/a/bin/python",
    "system": "Linux",
    "machine": "x86_64",
    "kernel": "6.1",
    "libc": "glibc 2.36",
    "cpus": 2,
    "cpu": {"model": "A", "flags": ["avx2", "fma"]},
    "variables": {"OMP_NUM_THREADS": "1", "VIRTUAL_ENV": "/a"},
    "distributions": [
        {"name": "numpy", "version": "2.4.6", "record_sha256": "aa", "installer": "uv", "editable": False},
        {"name": "Scikit_Learn", "version": "1.9.1", "record_sha256": "bb", "installer": "pip", "editable": False},
    ],
}


def changed(**fields: Any) -> list[tuple[str, str, str | None, str | None]]:
    return [(d.what, d.name, d.recorded, d.present) for d in compare(BASE, BASE | fields)]


def test_equal_environments_do_not_differ_wherever_they_lie() -> None:
    elsewhere = BASE["variables"] | {"VIRTUAL_ENV": "/b"}
    assert changed(executable="/b/bin/python", kernel="6.2", variables=elsewhere) == []


def test_every_difference_is_named_with_both_values() -> None:
    assert changed(python="3.12.1") == [("python", "python", "3.11.7", "3.12.1")]
    assert changed(machine="aarch64", cpus=8) == [
        ("platform", "machine", "x86_64", "aarch64"),
        ("platform", "cpus", "2", "8"),
    ]
    assert changed(cpu={"model": "B", "flags": ["avx2", "avx512f"]}) == [
        ("cpu", "model", "A", "B"),
        ("cpu", "flags", "fma", "avx512f"),
    ]
    assert changed(variables={"PYTHONHASHSEED": "0"}) == [
        ("variable", "OMP_NUM_THREADS", "1", None),
        ("variable", "PYTHONHASHSEED", None, "0"),
    ]


def test_distributions_are_added_removed_or_changed() -> None:
    numpy, learn = BASE["distributions"]
    assert changed(distributions=[numpy | {"version": "2.0"}, learn]) == [("distribution", "numpy", "2.4.6", "2.0")]
    assert changed(distributions=[numpy]) == [("distribution", "scikit-learn", "1.9.1", None)]
    assert changed(distributions=[numpy, learn, {"name": "six", "version": "1"}]) == [
        ("distribution", "six", None, "1")
    ]
    assert changed(distributions=[numpy | {"name": "NumPy"}, learn | {"name": "scikit-learn"}]) == []
    # Scripts name their interpreter, so the lists of files differ from one place to the next.
    assert changed(distributions=[numpy | {"record_sha256": "cc"}, learn]) == []
    commit = {"url": "https://example.org/numpy", "vcs_info": {"vcs": "git", "commit_id": "f00"}}
    assert changed(distributions=[numpy | {"direct_url": commit}, learn]) == [
        ("distribution", "numpy", "2.4.6", "2.4.6 (https://example.org/numpy at f00)")
    ]


def test_fields_that_an_older_record_does_not_have_are_no_difference() -> None:
    assert compare({"python": "3.11.7"}, {"python": "3.11.7", "cpu": BASE["cpu"], "machine": "x86_64"}) == ()
