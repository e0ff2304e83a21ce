"""`retrodict lineage`."""

from __future__ import annotations

from typing import Literal

import click

from retrodict.cli import door


@door.verb("lineage", example="retrodict lineage data/credit_codes.csv --down")
@click.argument("reference", shell_complete=door.complete_reference)
@click.option("--up", "direction", flag_value="up", default=True, help="To everything that caused it (default).")
@click.option("--down", "direction", flag_value="down", help="To everything that it reached, predictions included.")
@click.option("--depth", type=click.IntRange(1), help="At most so many steps.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="List at most so many events of one kind that used the same thing; the others are counted.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "dot", "mermaid"]),
    default="tree",
    show_default=True,
    help="How to draw it.",
)
def command(
    reference: str, direction: Literal["up", "down"], depth: int | None, limit: int, form: str, as_json: bool
) -> None:
    """Walk from REFERENCE to what caused it, or to what it reached."""
    from retrodict.actions.lineage import lineage
    from retrodict.render import graph

    with door.workspace() as workspace:
        record = lineage(workspace, reference, direction=direction, depth=depth, limit=limit)
    render = {"tree": graph.to_tree, "dot": graph.to_dot, "mermaid": graph.to_mermaid}[form]
    if as_json:
        door.echo(graph.to_json(record.graph, record.labels))
    else:
        door.echo(render(record.graph, record.labels))
