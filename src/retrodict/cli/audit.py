"""`retrodict audit`."""

from __future__ import annotations

import click

from retrodict.cli import door


@door.verb("audit", example="retrodict audit coverage --model credit --since 2026-11-01")
@click.argument("what", type=click.Choice(["coverage"]))
@click.option("--model", help="Only of this model's name.")
@click.option("--since", help="From this time on (2026-11-07, or with a time of day and a zone).")
def command(what: str, model: str | None, since: str | None, as_json: bool) -> None:
    """Look for answers beside the record: WHAT is `coverage`.

    Which runs opened a model's file without a prediction on record, which callers named no trace, which spans of a
    trace are missing, which scorings are only declared or not on record at all. Exit 1 where there is something.
    """
    del what  # the only thing that there is to audit, so far
    from retrodict.actions.coverage import coverage  # loaded when asked for
    from retrodict.kernel.clock import parse_rfc3339, rfc3339
    from retrodict.render import text

    start = None if since is None else rfc3339(parse_rfc3339(since))
    with door.workspace() as workspace:
        record = coverage(workspace, model=model, since=start)
    door.show(record, as_json=as_json, text=text.coverage)
    if not record.is_covered:
        raise click.exceptions.Exit(1)
