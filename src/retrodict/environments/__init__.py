"""Recorded environments: how they differ from the present one, built again, and which to run in."""

from retrodict.environments.build import WORKER_NEEDS, Built, build, find_uv
from retrodict.environments.choice import Chosen, Mode, choose
from retrodict.environments.difference import Difference, compare
from retrodict.environments.errors import EnvironmentUnavailableError

__all__ = [
    "WORKER_NEEDS",
    "Built",
    "Chosen",
    "Difference",
    "EnvironmentUnavailableError",
    "Mode",
    "build",
    "choose",
    "compare",
    "find_uv",
]
