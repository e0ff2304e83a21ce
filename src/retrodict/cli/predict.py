"""`retrodict predict`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb("predict", example="retrodict predict credit@champion --input applicant.csv")
@click.argument("model", shell_complete=door.complete_reference)
@click.option(
    "--input",
    "source",
    required=True,
    type=click.Path(allow_dash=True),
    metavar="FILE|-",
    help="Rows: CSV, JSON or Parquet; - is stdin.",
)
@click.option("--caller", help="Who asks.")
@click.option("--subject", metavar="ID", help="Whom all rows are about, where they have no column that says it.")
@click.option("--traceparent", help="The span that asks, as W3C Trace Context writes it (default: TRACEPARENT).")
def command(
    model: str, source: str, caller: str | None, subject: str | None, traceparent: str | None, as_json: bool
) -> None:
    """Ask MODEL (NAME, NAME@v2 or NAME@ALIAS); the answer is durably on record before it is printed."""
    from retrodict.actions.predict import predict, read_input  # loaded when asked for
    from retrodict.render import text

    with door.workspace(writes=True) as workspace:
        path = None if source == "-" else Path(source)
        record = predict(
            workspace,
            model,
            read_input(sys.stdin.buffer.read() if path is None else path),
            caller=caller,
            subject=subject,
            source=path,
            traceparent=traceparent,
            variables=os.environ,
        )
    door.show(record, as_json=as_json, text=text.predicted)
