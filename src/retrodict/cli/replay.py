"""`retrodict replay`."""

from __future__ import annotations

import math
import os
import sys
from typing import Literal

import click

from retrodict.cli import door


def _tolerance(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 <= value < math.inf:
        raise click.BadParameter(f"{value} is no largest difference: give a number from 0 on", ctx, parameter)
    return value


@door.verb("replay", example="retrodict replay 41.0\nretrodict replay 41.0 --tolerance 1e-9 --environment rebuild")
@click.argument("reference")
@click.option(
    "--environment",
    type=click.Choice(["auto", "present", "rebuild"]),
    default="auto",
    show_default=True,
    help="Where to run it: auto rebuilds the recorded one where the present one differs.",
)
@click.option(
    "--tolerance",
    type=float,
    metavar="X",
    callback=_tolerance,
    help="Accept differences up to X: the verdict is `reproduced`.",
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Run it so many times.")
@click.option("--ask-third-parties", is_flag=True, help="Ask them too, to say what they answer now.")
def command(
    reference: str,
    environment: Literal["auto", "present", "rebuild"],
    tolerance: float | None,
    repeat: int,
    ask_third_parties: bool,
    as_json: bool,
) -> None:
    """Make the prediction REFERENCE again, with the model, inputs and environment on record, and compare every bit.

    Exit 0: replicated, or reproduced within the tolerance. 1: it differs, or is nondeterministic. 2: could not tell.
    """
    from retrodict.actions.replay import replay  # loaded when asked for
    from retrodict.render import text

    with door.workspace(records=True) as workspace, door.progress("replaying") as progress:
        record = replay(
            workspace,
            reference,
            environment=environment,
            tolerance=tolerance,
            repeat=repeat,
            variables=os.environ,
            uv_cache=door.cache_root() / "environments",
            ask_third_parties=ask_third_parties,
            progress=progress,
        )
    door.show(record, as_json=as_json, text=text.replayed)
    sys.exit({"replicated": 0, "reproduced": 0, "could not tell": 2}.get(record.verdict, 1))
