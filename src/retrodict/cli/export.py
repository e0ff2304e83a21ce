"""`retrodict export`."""

from __future__ import annotations

from pathlib import Path

import click

from retrodict.cli import door


@door.verb("export", example="retrodict export --subject c-1017 --out c-1017.json")
@click.option("--subject", required=True, metavar="ID", help="Who, as it stands in the field of questions and files.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file, as JSON.")
@click.option("--reason", help="Why; it is kept, so it should not name the person.")
def command(subject: str, out: Path, reason: str | None, as_json: bool) -> None:
    """Write what is held about a person into a file: questions, answers, complaints, rows of files, by which versions.

    It holds only their own rows, and can be read by whoever has it; that it was made is recorded.
    """
    from retrodict.actions.export import export  # loaded when asked for
    from retrodict.kernel.errors import UsageError
    from retrodict.render import text
    from retrodict.render.json import to_json

    if out.exists():
        raise UsageError(f"{out} exists already")
    with door.workspace(writes=True) as workspace:
        record = export(workspace, subject, reason=reason)
        door.write(out, to_json(record) + "\n", mode=0o600)
    door.show(record, as_json=as_json, text=lambda found: text.exported(found, out))
