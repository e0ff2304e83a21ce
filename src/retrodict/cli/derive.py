"""`retrodict derive` and `derive verify`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from retrodict.cli import door


class _NamesFirst(door.WordedGroup):
    """A group whose first word may be a name: what is no command below it is what is to be made."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take an option of `make` that comes before the name as its first word."""
        own = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["make", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Take a name as the first word of `make`."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["make", *args]
        return super().resolve_command(ctx, args)


@door.verb_group(
    "derive", example="retrodict derive clean.parquet --from raw.csv -- python clean.py raw.csv", cls=_NamesFirst
)
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Make a version by a recipe that can be carried out again; alone: list what was derived, and what it costs."""
    if context.invoked_subcommand is not None:
        return
    from retrodict.actions.derived import derived
    from retrodict.render import text

    with door.workspace() as workspace:
        record = derived(workspace)
    door.show(record, as_json=as_json, text=text.derived_versions)


@door.subverb(
    command,
    "make",
    example="retrodict derive make clean.parquet --from raw.csv -- python clean.py raw.csv\n"
    'retrodict derive make totals --from loans.csv --sql "select purpose, sum(amount) as total from loans group by all '
    'order by all"',
)
@click.argument("name")
@click.option("--from", "sources", multiple=True, metavar="REF", help="A version that it is made from (repeatable).")
@click.option("--sql", help="A query over the sources, in place of a command (DuckDB; extra `sql`).")
@click.option("--out", "output", metavar="PATH", help="The file or folder that the command makes (default: NAME).")
@click.option(
    "--code",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A file or folder that the command may read, where git does not track it (repeatable).",
)
@click.option("--reason", help="Why it is made.")
@click.argument("command_line", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def make(
    name: str,
    sources: tuple[str, ...],
    sql: str | None,
    output: str | None,
    code: tuple[Path, ...],
    reason: str | None,
    command_line: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a version of NAME by COMMAND, or by a query, from the versions given by --from.

    It runs in a folder of its own, where only these and the code can be read. `derive make NAME` is the long form.
    """
    from retrodict.actions.derive import derive
    from retrodict.render import text

    with door.workspace(writes=True) as workspace:
        record = derive(
            workspace,
            name,
            sources,
            command=command_line,
            sql=sql,
            output=output,
            code=code,
            cwd=Path.cwd(),
            environment=dict(os.environ),
            reason=reason,
            caches=door.cache_root() / "interpreters",
        )
    door.show(record, as_json=as_json, text=text.derived)


@door.subverb(command, "verify", example="retrodict derive verify clean.parquet")
@click.argument("reference")
def verify(reference: str, as_json: bool) -> None:
    """Make the derived version REFERENCE again, in the environment on record, and compare every bit.

    Exit 0: replicated. 1: it differs, or is nondeterministic. 2: could not tell.
    """
    from retrodict.actions.derive_verify import derive_verify
    from retrodict.render import text

    with door.workspace(writes=True) as workspace, door.progress("deriving") as progress:
        record = derive_verify(
            workspace,
            reference,
            variables=dict(os.environ),
            caches=door.cache_root() / "interpreters",
            uv_cache=door.cache_root() / "environments",
            progress=progress,
        )
    door.show(record, as_json=as_json, text=text.rederived)
    sys.exit({"replicated": 0, "could not tell": 2}.get(record.verdict, 1))
