"""`retrodict run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import click

from retrodict.cli import door


@door.verb("run", example="retrodict run --param C=0.5 -- python train.py --C {C}")
@click.option("--name", help="What the run is called (default: the script's name).")
@click.option("--param", "params", multiple=True, metavar="K=V", help="A parameter; {K} in the command becomes V.")
@click.option("--reason", help="Why it is run.")
@click.option(
    "--capture",
    "mode",
    type=click.Choice(["auto", "seccomp", "strace", "audit-hook"]),
    default="auto",
    help="Which supervisor sees the run.",
)
@click.argument("command_line", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    name: str | None,
    params: tuple[str, ...],
    reason: str | None,
    mode: Literal["auto", "seccomp", "strace", "audit-hook"],
    command_line: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run COMMAND, and find what it read and wrote: nothing has to be declared.

    Its exit code is passed on; 125 means that retrodict itself failed.
    """
    from retrodict.actions.run import run
    from retrodict.render.ran import ran

    pairs = dict(_pair(param) for param in params)

    own_output = os.dup(1)
    if as_json:
        os.dup2(2, 1)  # what the command prints goes elsewhere: standard output is the record's alone
    with door.workspace(writes=True) as workspace:
        record = run(
            workspace,
            command_line,
            cwd=Path.cwd(),
            environment=dict(os.environ),
            name=name,
            params=pairs,
            reason=reason,
            mode=mode,
            caches=door.cache_root() / "interpreters",
        )
    if as_json:
        os.dup2(own_output, 1)
        door.show_json(record)
    else:
        door.echo(ran(record), to_stderr=True)  # standard output is the command's own
    sys.exit(record.exit_code)


def _pair(param: str) -> tuple[str, str]:
    key, separator, value = param.partition("=")
    if not separator or not key:
        raise click.UsageError(f"--param {param!r} is not K=V")
    return key, value
