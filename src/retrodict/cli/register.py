"""`retrodict register`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from retrodict.cli import door


@door.verb(
    "register", example='retrodict register models/decision.pkl decision --metrics metrics.json --reason "first model"'
)
@click.argument("path", type=click.Path())
@click.argument("name")
@click.option("--reason", help="Why this version.")
@click.option("--metrics", type=click.Path(path_type=Path), help="A JSON file that says how good it is.")
@click.option(
    "--example", type=click.Path(path_type=Path), help="An input (CSV, JSON, Parquet) to take the signature from."
)
@click.option("--method", default="predict", show_default=True, help="Which method of a pickled estimator answers.")
@click.option(
    "--row-wise/--not-row-wise",
    "row_wise",
    default=None,
    help="Whether a row's answer depends on that row alone: rows of several callers may then be scored together "
    "(default: yes for scikit-learn's own estimators).",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="How many compute an answer of XGBoost, LightGBM, ONNX or PyTorch; 1 unless given.",
)
@click.option("--remote", "is_remote", is_flag=True, help="PATH is the address of a third party, asked over HTTP.")
@click.option("--version", "claimed", metavar="TEXT", help="With --remote: what it calls what answers there.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: ${VARIABLE}'", help="With --remote: sent, never recorded."
)
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="With --remote; 30 unless given.")
@click.option(
    "--subject", metavar="FIELD", help="The field that says whom each row is about: values are sealed per person."
)
@click.option(
    "--personal",
    multiple=True,
    metavar="COLUMN",
    help="With --subject: only this input column is personal. Repeatable.",
)
@click.option("--not-personal", is_flag=True, help="Questions are about nobody, whatever earlier versions said.")
def command(
    path: str,
    name: str,
    reason: str | None,
    metrics: Path | None,
    example: Path | None,
    method: str,
    row_wise: bool | None,
    threads: int | None,
    is_remote: bool,
    claimed: str | None,
    headers: tuple[str, ...],
    timeout_s: float | None,
    subject: str | None,
    personal: tuple[str, ...],
    not_personal: bool,
    as_json: bool,
) -> None:
    """Register PATH as the next version of the model NAME.

    PATH is a pickled model, a file of XGBoost, LightGBM, ONNX or PyTorch, a folder with an MLmodel file, or FILE.py or
    FILE.py:CALLABLE.
    """
    from retrodict.actions.register import Address, register
    from retrodict.render import text

    address = None
    if is_remote:
        given = dict(_header(header) for header in headers)
        address = Address(url=path, version=claimed, headers=given)
        address = address if timeout_s is None else replace(address, timeout_s=timeout_s)
    elif claimed is not None or headers or timeout_s is not None:
        raise click.UsageError("--version, --header and --timeout go with --remote")

    with door.workspace(writes=True) as workspace:
        record = register(
            workspace,
            path,
            name,
            reason=reason,
            metrics=metrics,
            example=example,
            method=method,
            row_wise=row_wise,
            threads=threads,
            remote=address,
            subject=subject,
            personal=personal or None,
            is_personal=not not_personal,
        )
    door.show(record, as_json=as_json, text=text.registered)


def _header(given: str) -> tuple[str, str]:
    name, colon, value = given.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"{given.partition('=')[0]!r} is no header: write 'NAME: ${{VARIABLE}}'")
    return name.strip(), value.strip()
