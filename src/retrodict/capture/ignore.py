"""Which of the files that a run touched are facts about it, which are its environment, and which are noise."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

_SHARED_OBJECT = re.compile(rb"\.so(\.[0-9]+)*$")
# What a prefix such as a virtual environment owns; the rest of a project that lies in one is the project's.
_OWNED_BY_PREFIX = (b"bin", b"lib", b"lib64", b"libexec", b"include", b"share", b"etc", b"ssl", b"conda-meta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """Rules over absolute paths, as bytes. The first that applies holds: noise, then environment, then a fact.

    Attributes:
        noise_prefixes: Kernel interfaces; devices are noise, too.
        noise_parts: Caches, the insides of git and retrodict, its keys: a part of the path between two slashes.
        noise_suffixes: Endings of names that are caches.
        environment_prefixes: The system's folders. Nothing under `project` belongs to the system.
        environment_parts: Folders of installed packages, wherever they lie.
        prefixes: Roots of interpreters and virtual environments; `with_prefixes` adds those that a run used.
        project: The folder of the run, without a slash at its end.
    """

    noise_prefixes: tuple[bytes, ...] = (b"/proc/", b"/sys/")
    noise_parts: tuple[bytes, ...] = (
        b"/__pycache__/",
        b"/.cache/",
        b"/.git/",
        b"/.retrodict/",
        b"/.ipynb_checkpoints/",
        b"/.pytest_cache/",
        b"/.mypy_cache/",
        b"/.ruff_cache/",
        b"/.config/matplotlib/",
        b"/.fontconfig/",
        b"/.nv/ComputeCache/",
        b"/.local/state/retrodict/",
    )
    noise_suffixes: tuple[bytes, ...] = (b".pyc",)
    environment_prefixes: tuple[bytes, ...] = (
        b"/usr/",
        b"/lib/",
        b"/lib32/",
        b"/lib64/",
        b"/libx32/",
        b"/bin/",
        b"/sbin/",
        b"/etc/",
        b"/run/",
        b"/var/cache/",
        b"/var/lib/",
        b"/nix/store/",
        b"/snap/",
    )
    environment_parts: tuple[bytes, ...] = (b"/site-packages/", b"/dist-packages/", b"/lib/python3")
    prefixes: tuple[bytes, ...] = ()
    project: bytes = b"/"

    def within(self, project: bytes, environment: Mapping[str, str]) -> Ignore:
        """Return the rules for a run in `project` whose variables may name cache folders, and where our keys lie."""
        named = (environment.get(name, "") for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"))
        caches = tuple(os.fsencode(folder.rstrip("/")) + b"/" for folder in named if folder.startswith("/"))
        states = [os.fsencode(environment.get("RETRODICT_STATE", ""))]
        if base := environment.get("XDG_STATE_HOME"):
            states.append(os.path.join(os.fsencode(base), b"retrodict"))
        keys = [os.path.realpath(os.path.join(project, state)) + b"/" for state in states if state]
        hidden = tuple(folder for folder in keys if not (project + b"/").startswith(folder))
        return replace(self, project=project, noise_prefixes=self.noise_prefixes + caches + hidden)

    def with_prefixes(self, prefixes: tuple[bytes, ...]) -> Ignore:
        """Return the rules with more roots of interpreters."""
        return replace(self, prefixes=self.prefixes + prefixes)

    def is_noise(self, path: bytes) -> bool:
        """Say whether a path is left out altogether."""
        if path.startswith(self.noise_prefixes) or is_device(path):
            return True
        return path.endswith(self.noise_suffixes) or any(part in path for part in self.noise_parts)

    def is_environment(self, path: bytes) -> bool:
        """Say whether a path belongs to the installed software, which is recorded as a whole."""
        if any(part in path for part in self.environment_parts) or path.endswith(b"/pyvenv.cfg"):
            return True
        for prefix in self.prefixes:
            if path.startswith(prefix + b"/") and path[len(prefix) + 1 :].split(b"/", 1)[0] in _OWNED_BY_PREFIX:
                return True
        if self.project != b"/" and path.startswith(self.project + b"/"):
            return False
        return path.startswith(self.environment_prefixes) or _SHARED_OBJECT.search(path) is not None


DEFAULT_IGNORE = Ignore()


def is_device(path: bytes) -> bool:
    """Say whether a path is one of a device. /dev/shm holds files like any other folder."""
    return path.startswith(b"/dev/") and not path.startswith(b"/dev/shm/")
