"""Amounts, moments and names in the words of every report."""

from __future__ import annotations


def size(n: int) -> str:
    """Return a number of bytes for people."""
    amount = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(ns: int | None) -> str:
    """Return a duration for people."""
    if ns is None:
        return ""
    seconds = ns / 1e9
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    if minutes < 90:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 36 * 60 else f"{minutes / 1440:.0f} days"


def who(name: str | None) -> str | None:
    """Return an agent's name as tables have room for it: without the mail address, which `show` prints."""
    return None if name is None else name.partition(" <")[0] or name


def moment(at: str | None) -> str:
    """Return an instant to the second, UTC."""
    return "" if at is None else at[:19].replace("T", " ")


def short(digest: str | None) -> str:
    """Return a digest as it can be pasted."""
    return "" if digest is None else digest[:15]
