"""What several commands about tables take."""

from __future__ import annotations

from collections.abc import Sequence

import click

BRANCH = click.option(
    "--branch", metavar="LOG", help="A branch, by its log or a part of that (default: the main line)."
)
IF_VERSION = click.option(
    "--if-version", metavar="V", help="Refuse to change a record that was changed since this version (v12)."
)
VALID_FROM = click.option(
    "--valid-from", metavar="TIME", help="Since when it is true in the world (default: since it is recorded)."
)
WHO = click.option("--who", metavar="NAME", help="Who does it (default: as for every command).")
WHY = click.option("--why", "--reason", "why", metavar="TEXT", help="Why.")
HOW = click.option("--how", "statement", metavar="TEXT", help="By which statement or program; sealed in the record.")
ON_CONFLICT = click.option(
    "--on-conflict",
    type=click.Choice(["refuse", "keep"]),
    help="A change of a record that changed meanwhile: refuse it, or keep it beside the record until it is settled.",
)


def pairs_of(words: Sequence[str]) -> dict[str, str | None]:
    """Return COL=VALUE as a mapping; `COL=` is null, `COL=""` the empty text."""
    found: dict[str, str | None] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{word!r} is not COL=VALUE")
        if name in found:
            raise click.UsageError(f"{name} is given twice")
        found[name] = None if value == "" else "" if value == '""' else value
    return found
