"""`retrodict lineage`."""

from __future__ import annotations

from typing import Literal

import click

from retrodict.cli import door


@door.verb(
    "lineage",
    example="retrodict lineage data/credit_codes.csv --down\n"
    "retrodict lineage loans@v12#1003 --down\nretrodict lineage 57 --rows",
)
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
@click.option("--rows", is_flag=True, help="Name the records of tables that can have caused it.")
def command(
    reference: str,
    direction: Literal["up", "down"],
    depth: int | None,
    limit: int,
    form: str,
    rows: bool,
    as_json: bool,
) -> None:
    """Walk from REFERENCE to what caused it, or to what it reached.

    loans@v12#1003 is one record of a table: with --down, everything that used it, as it was in that version.
    """
    if rows or "#" in reference:
        if form != "tree" or (rows and direction == "down"):
            raise click.UsageError("records are listed: --rows goes up, and neither is drawn with --format")
        if not rows and direction == "up":
            raise click.UsageError(
                f"`retrodict table history` says where a record comes from; add --down to {reference}"
            )
        _records(reference, rows=rows, depth=depth, limit=limit, as_json=as_json)
        return
    from retrodict.actions.lineage import lineage
    from retrodict.render import graph

    with door.workspace() as workspace:
        record = lineage(workspace, reference, direction=direction, depth=depth, limit=limit)
    render = {"tree": graph.to_tree, "dot": graph.to_dot, "mermaid": graph.to_mermaid}[form]
    if as_json:
        door.echo(graph.to_json(record.graph, record.labels))
    else:
        door.echo(render(record.graph, record.labels))


def _records(reference: str, *, rows: bool, depth: int | None, limit: int, as_json: bool) -> None:
    from retrodict.actions import row_lineage as action
    from retrodict.render import rows as render

    with door.workspace(records=True) as workspace:
        if rows:
            caused = action.up(workspace, reference, limit=limit)
            door.show(caused, as_json=as_json, text=render.caused)
        else:
            reached = action.down(workspace, reference, depth=depth, limit=limit)
            door.show(reached, as_json=as_json, text=render.reached)
