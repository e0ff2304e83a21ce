"""Recorded environments: how they differ from the present one, and built again."""

from retrodict.environments.build import Built, build, find_uv
from retrodict.environments.difference import Difference, compare
from retrodict.environments.errors import EnvironmentUnavailableError

__all__ = ["Built", "Difference", "EnvironmentUnavailableError", "build", "compare", "find_uv"]
