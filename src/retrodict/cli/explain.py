"""`retrodict explain`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb(
    "explain",
    example="retrodict explain 41.0\nretrodict explain 41.0 --versus 57.0 --replay --html explanation.html",
)
@click.argument("reference")
@click.option("--versus", metavar="REF", help="Set another prediction beside it: why does it differ?")
@click.option("--replay", is_flag=True, help="Run the models: the verdict of 1 and the figures of 8 and 9.")
@click.option("--sample", type=click.IntRange(0), default=200, show_default=True, help="Other calls to ask again.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything that is sampled.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write one self-contained page.")
def command(
    reference: str, versus: str | None, replay: bool, sample: int, seed: int, page: Path | None, as_json: bool
) -> None:
    """Answer the nine questions about the prediction REFERENCE, each from evidence."""
    from retrodict.actions.explain import explain  # loaded when asked for
    from retrodict.render import explanation

    with door.workspace(records=True) as workspace, door.progress("explaining") as progress:
        record = explain(
            workspace,
            reference,
            versus=versus,
            replay=replay,
            sample=sample,
            seed=seed,
            variables=os.environ,
            progress=progress,
        )
    if page is not None:
        door.write(page, explanation.to_html(record))
        click.echo(f"Written to {page}", err=True)
    door.show(record, as_json=as_json, text=explanation.to_text)
    verdict = record.answers[0].verdict
    sys.exit({"differs": 1, "nondeterministic": 1, "could not tell": 2}.get(verdict or "", 0) if replay else 0)
