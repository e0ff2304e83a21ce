"""`retrodict table create`, `put`, `update`, `import`, `revert`, ...: what makes a new version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from retrodict.cli import door
from retrodict.cli.table.group import command
from retrodict.cli.table.options import HOW, ON_CONFLICT, WHO, WHY, pairs_of
from retrodict.cli.table.writing import changing, how_by, writing

if TYPE_CHECKING:
    from retrodict.actions.tabling import ChangeSet, How
    from retrodict.workspace import Workspace


@door.subverb(
    command,
    "create",
    example="retrodict table create loans --key InquiryID --from loan-inquiries.csv\n"
    "retrodict table create users --key id --type name=text --type born=date\n"
    "retrodict table create patients --key id --from patients.csv --subject id --personal age",
)
@click.argument("name")
@click.option("--key", "key", multiple=True, required=True, metavar="COL", help="What names a record. Repeatable.")
@click.option(
    "--from",
    "source",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The first records: a file of CSV, JSON Lines, Parquet or Arrow.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="COL=TYPE",
    help="text, int64, float64, decimal(P,S), bool, date, timestamp, ... (default: what loses nothing). Repeatable.",
)
@click.option("--valid-from", metavar="COL", help="The column that says since when a record is true in the world.")
@click.option("--require-reason", is_flag=True, help="Refuse every change without a reason.")
@click.option("--require-approval", is_flag=True, help="Make a change only when somebody else has approved it.")
@click.option(
    "--subject", metavar="COL", help="The column that says about whom a record is: it is sealed, for that person."
)
@click.option(
    "--personal", multiple=True, metavar="COL", help="With --subject: what else is (default: all). Repeatable."
)
@ON_CONFLICT
@WHO
@WHY
@HOW
def create_command(
    name: str,
    key: tuple[str, ...],
    source: Path | None,
    types: tuple[str, ...],
    valid_from: str | None,
    require_reason: bool,
    require_approval: bool,
    subject: str | None,
    personal: tuple[str, ...],
    on_conflict: Literal["refuse", "keep"] | None,
    who: str | None,
    why: str | None,
    statement: str | None,
    as_json: bool,
) -> None:
    """Create the table NAME."""
    from retrodict.actions.table_change import create  # loaded when asked for
    from retrodict.actions.tabling import Policy
    from retrodict.render import tables

    kinds = {column: kind or "text" for column, kind in pairs_of(types).items()}
    with writing(who) as workspace:
        how = how_by(workspace, "create", why, statement)
        record = create(
            workspace,
            name,
            key,
            source=source,
            types=kinds,
            policy=Policy(reason=require_reason, approval=require_approval, on_conflict=on_conflict or "refuse"),
            valid_from=valid_from,
            subject=subject,
            personal=personal,
            how=how,
        )
    door.show(record, as_json=as_json, text=tables.created)


@door.subverb(
    command,
    "put",
    example="retrodict table put loans InquiryID=1004 CustomerID=C77 Amount=1500.00 --why 'by telephone'\n"
    "retrodict table put loans --from corrected.csv",
)
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[COL=VALUE]...")
@click.option(
    "--from", "source", type=click.Path(dir_okay=False, path_type=Path), help="A file with records, whole ones."
)
@changing("put")
def put_command(
    workspace: Workspace,
    how: How,
    name: str,
    values: tuple[str, ...],
    source: Path | None,
    if_version: str | None,
) -> ChangeSet:
    """Put whole records into NAME: one that is there is replaced, what is not named becomes null.

    `COL=` is null, `COL=""` the empty text.
    """
    from retrodict.actions.table_change import put  # loaded when asked for

    if (source is None) == (not values):
        raise click.UsageError("give COL=VALUE..., or --from FILE")
    return put(workspace, name, source or pairs_of(values), how=how, if_version=if_version)


@door.subverb(
    command,
    "update",
    example="retrodict table update loans 1003 Status=approved --why 'collateral was found' --if-version v12",
)
@click.argument("name")
@click.argument("key")
@click.argument("values", nargs=-1, required=True, metavar="COL=VALUE...")
@changing("update")
def update_command(
    workspace: Workspace,
    how: How,
    name: str,
    key: str,
    values: tuple[str, ...],
    if_version: str | None,
) -> ChangeSet:
    """Change some values of the record KEY (of a key of several columns: A,B).

    `COL=` is null, `COL=""` the empty text.
    """
    from retrodict.actions.table_change import update  # loaded when asked for

    return update(workspace, name, key, pairs_of(values), how=how, if_version=if_version)


@door.subverb(command, "delete", example="retrodict table delete loans 1003 --why 'entered twice'")
@click.argument("name")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@changing("delete")
def delete_command(
    workspace: Workspace,
    how: How,
    name: str,
    keys: tuple[str, ...],
    if_version: str | None,
) -> ChangeSet:
    """Delete the records KEY...; what they were stays in the history."""
    from retrodict.actions.table_change import delete  # loaded when asked for

    return delete(workspace, name, keys, how=how, if_version=if_version)


@door.subverb(command, "import", example="retrodict table import loans loan-inquiries.csv --why 'the export of Monday'")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--keep-missing", is_flag=True, help="Records that are not in FILE stay.")
@changing("import")
def import_command(
    workspace: Workspace,
    how: How,
    name: str,
    file: Path,
    keep_missing: bool,
    if_version: str | None,
) -> ChangeSet:
    """Bring NAME to what FILE says: works out which records are new, changed and gone."""
    from retrodict.actions.table_change import import_  # loaded when asked for

    return import_(workspace, name, file, how=how, keep_missing=keep_missing, if_version=if_version)


@door.subverb(
    command,
    "revert",
    example="retrodict table revert loans --to v3 --key 1003 --why 'it was right before'\n"
    "retrodict table revert loans --to 2020-11-07 --where \"CustomerID = 'C42'\"",
)
@click.argument("name")
@click.option("--to", required=True, metavar="V", help="What they were in this version: v3, an offset, a time.")
@click.option("--key", "keys", multiple=True, metavar="K", help="This record. Repeatable.")
@click.option("--where", metavar="SQL", help="Records for which this holds, now or then.")
@changing("revert", by_writer=False)
def revert_command(
    workspace: Workspace,
    how: How,
    name: str,
    to: str,
    keys: tuple[str, ...],
    where: str | None,
) -> ChangeSet:
    """Bring records of NAME (by itself, all) back to what they were: a new change, by which nothing is erased."""
    from retrodict.actions.table_compare import revert  # loaded when asked for

    return revert(workspace, name, to, how=how, keys=keys, where=where)


@door.subverb(
    command,
    "alter",
    example="retrodict table alter loans --add Officer=text --rename Note=Remark --why 'the new form'",
)
@click.argument("name")
@click.option("--add", multiple=True, metavar="COL=TYPE", help="A new column. Repeatable.")
@click.option("--drop", multiple=True, metavar="COL", help="A column that goes. Repeatable.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="A column's new name. Repeatable.")
@click.option("--type", "types", multiple=True, metavar="COL=TYPE", help="A column's new type. Repeatable.")
@ON_CONFLICT
@WHO
@WHY
def alter_command(
    name: str,
    add: tuple[str, ...],
    drop: tuple[str, ...],
    rename: tuple[str, ...],
    types: tuple[str, ...],
    on_conflict: Literal["refuse", "keep"] | None,
    who: str | None,
    why: str | None,
    as_json: bool,
) -> None:
    """Give NAME other columns from now on (versions before keep theirs), or say what becomes of conflicts."""
    from retrodict.actions.table_alter import alter  # loaded when asked for
    from retrodict.render import tables

    def pairs(words: Sequence[str]) -> dict[str, str]:
        return {column: text or "text" for column, text in pairs_of(words).items()}

    with writing(who) as workspace:
        record = alter(
            workspace,
            name,
            add=pairs(add),
            drop=drop,
            rename=pairs(rename),
            types=pairs(types),
            on_conflict=on_conflict,
            reason=why,
        )
    door.show(record, as_json=as_json, text=tables.altered)
