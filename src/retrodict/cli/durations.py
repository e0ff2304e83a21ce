"""Times as people write them."""

from __future__ import annotations

import re

import click

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType[float]):
    """A time such as 60s, 5m, 2h or 1d; in seconds."""

    name = "duration"

    def __init__(self, *, or_none: bool = False) -> None:
        """`or_none`: it may be no time at all, 0s."""
        self._or_none = or_none

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])", str(value))
        if match is None or not (float(match[1]) or self._or_none):
            self.fail(f"{value} is no duration; write 60s, 5m, 2h or 1d", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]
