"""`retrodict dispute`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb(
    "dispute",
    example='retrodict dispute 41.0 --reason "a twentieth of my wife\'s limit"\n'
    'retrodict dispute 41.0 --resolve "approved by the corrected model" --fixed-by credit@v2',
)
@click.argument("reference")
@click.option("--reason", help="What the complaint says.")
@click.option("--resolve", "resolution", help="How it ended.")
@click.option("--fixed-by", multiple=True, metavar="REF", help="What fixed it; with --resolve.")
def command(
    reference: str, reason: str | None, resolution: str | None, fixed_by: tuple[str, ...], as_json: bool
) -> None:
    """Record a complaint about the prediction REFERENCE; or, with --resolve, how the complaint ended."""
    from retrodict.actions.dispute import dispute, resolve  # loaded when asked for
    from retrodict.render import text

    if (reason is None) == (resolution is None):
        raise click.UsageError("Give either --reason (a complaint) or --resolve (its end).")
    if fixed_by and resolution is None:
        raise click.UsageError("--fixed-by belongs to --resolve.")
    with door.workspace(writes=True) as workspace:
        if reason is not None:
            door.show(dispute(workspace, reference, reason), as_json=as_json, text=text.disputed)
        else:
            assert resolution is not None
            record = resolve(workspace, reference, resolution, fixed_by=fixed_by)
            door.show(record, as_json=as_json, text=text.resolved)
