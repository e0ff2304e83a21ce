"""`retrodict demo`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@click.command("demo", epilog="\b\nExample:\n  $ retrodict demo credit --dir credit-demo")
@click.argument("case", type=click.Choice(["credit"]))
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-credit",
    show_default=True,
    help="Where to do it; an earlier demonstration there is replaced.",
)
@click.option("--keep", is_flag=True, help="Leave an earlier demonstration alone; use a new folder beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print where it was done as JSON at the end; tell it on stderr.")
def command(case: str, folder: Path, keep: bool, as_json: bool) -> None:
    """Do the main job on real data with a real error in it: from a disputed answer back to its cause."""
    del case  # there is one so far
    from rich.console import Console

    from retrodict.demo import credit_case

    done = credit_case.run(folder, keep=keep, console=Console(stderr=as_json, highlight=False), main=door.main)
    if as_json:
        door.show_json({"folder": str(done)})
