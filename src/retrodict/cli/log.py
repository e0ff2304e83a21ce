"""`retrodict log` and what lies below it: receipts, publication, witnesses."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door


@door.verb_group("log", example="retrodict log --kind model -n 10")
@click.option("-n", "limit", type=click.IntRange(1), default=30, show_default=True, help="At most so many entries.")
@click.option("--kind", help="Only kinds of events that begin with this.")
@click.option("--of", metavar="LOG", help="Of another log that is held here, by its name; `all`: of all of them.")
@click.pass_context
def command(context: click.Context, limit: int, kind: str | None, of: str | None, as_json: bool) -> None:
    """List the entries of the log, newest first; with a command: let others check it."""
    if context.invoked_subcommand is not None:
        return
    from retrodict.actions.log import log

    with door.workspace() as workspace:
        record = log(workspace, limit=limit, kind=kind, of=of)
    door.show(record, as_json=as_json, text="text.log")


@door.subverb(command, "proof", example="retrodict log proof 41.0 --out decision.tlog-proof")
@click.argument("reference", shell_complete=door.complete_reference)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the receipt here, and the entry beside it with the suffix .json (default: entry-N.tlog-proof).",
)
@click.option(
    "--with-signature",
    is_flag=True,
    help="Write also the author's own signature, with the suffix .sig; it shows their public key.",
)
def proof(reference: str, out: Path | None, with_signature: bool, as_json: bool) -> None:
    """Write a receipt for an entry, to be checked anywhere.

    REFERENCE is a prediction, any event, or a leaf hash; the receipt is a C2SP tlog-proof. The entry's own bytes travel
    beside it, in a file of which no byte may change. Whoever has both and the log's public key needs nothing else. With
    --json and without --out no file is written.
    """
    from retrodict.actions.log_proof import log_proof
    from retrodict.kernel.errors import UsageError
    from retrodict.render import trust

    with door.workspace() as workspace:
        record = log_proof(workspace, reference, with_signature=with_signature)
    if out is None and not as_json:
        out = Path(f"entry-{record.index}.tlog-proof")
    if out is not None:
        beside = out.with_suffix(".json")
        if beside == out:
            raise UsageError(f"{out} is where the entry would go", hint="Name the receipt something.tlog-proof.")
        if beside.exists() and beside.read_bytes() != record.entry.encode():
            raise UsageError(f"{beside} exists and is something else", hint="Name another receipt with --out.")
        door.write(beside, record.entry)
        if record.signature is not None:
            door.write(out.with_suffix(".sig"), record.signature)
        door.write(out, record.receipt)
    door.show(record, as_json=as_json, text=lambda shown: trust.proof(shown, out))


@door.subverb(
    command,
    "check-proof",
    example="retrodict log check-proof decision.tlog-proof --key log.vkey --witness witness.vkey",
)
@click.argument("receipt", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--entry",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The entry's bytes (default: the file beside the receipt with the suffix .json).",
)
@click.option("--leaf", help="The entry's leaf hash, 64 hex digits, where its bytes are not at hand.")
@door.key_option("--key", "keys", multiple=True, help_="The log's public key, or a file that holds it.")
@door.key_option(
    "--witness", "witnesses", multiple=True, help_="A witness's public key, or its file; it must have cosigned."
)
@click.option(
    "--rotation",
    "rotations",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="An entry `key.rotated`, as `log proof` writes it: it leads from --key to the key that took its place.",
)
def check_proof(
    receipt: Path,
    entry: Path | None,
    leaf: str | None,
    keys: tuple[str, ...],
    witnesses: tuple[str, ...],
    rotations: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Check a RECEIPT; no workspace is needed.

    Exit 0: the entry is in the log, as the key that was given says. 1: it is not, or that key does not say so. 2: the
    receipt agrees with itself, and no key was given.
    """
    from retrodict.actions.check_proof import check_proof as check
    from retrodict.kernel.errors import UsageError
    from retrodict.render import trust

    if leaf is not None and entry is not None:
        raise UsageError("--entry and --leaf say the same", hint="Give one of them.")
    if leaf is None and entry is None and receipt.with_suffix(".json").is_file():
        entry = receipt.with_suffix(".json")
    try:
        hashed = None if leaf is None else bytes.fromhex(leaf)
    except ValueError:
        hashed = b""
    if hashed is not None and len(hashed) != 32:
        raise UsageError(f"{leaf!r} is no leaf hash", hint="It has 64 hex digits.")
    record = check(
        door.read(receipt),
        None if entry is None else door.read(entry),
        leaf=hashed,
        keys=keys,
        witnesses=witnesses,
        rotations=[door.read(path) for path in rotations],
    )
    door.show(record, as_json=as_json, text=trust.checked_proof)
    sys.exit(door.ANSWER_EXITS[record.answer])


@door.subverb(command, "publish", example="retrodict log publish /srv/www/log")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--witnessed", is_flag=True, help="Show the newest checkpoint that a witness has cosigned.")
@click.option("--again", is_flag=True, help="Write also what should be there already.")
def publish(folder: Path, witnessed: bool, again: bool, as_json: bool) -> None:
    """Lay the log out as static files.

    They are C2SP tlog-tiles, in FOLDER, and any web server can serve them. Only what is new is written, the checkpoint
    last. The entries are public then, with names of models, files and runs; what is sealed stays sealed, and payloads
    are not published.
    """
    from retrodict.actions.log_publish import log_publish
    from retrodict.render import trust

    with door.workspace() as workspace, door.progress("publishing") as progress:
        record = log_publish(workspace, folder, witnessed=witnessed, again=again, progress=progress)
    door.show(record, as_json=as_json, text=trust.published)


@door.subverb(command, "witness", example="retrodict log witness https://witness.example --key witness.vkey")
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@door.key_option(
    "--key", "keys", multiple=True, help_="A witness's public key, or its file; others' words are not kept."
)
def witness(urls: tuple[str, ...], keys: tuple[str, ...], as_json: bool) -> None:
    """Let witnesses cosign the newest checkpoint.

    What those at URL... sign (C2SP tlog-witness) is kept in the log. A witness remembers: once it has cosigned, this
    log's holder cannot show it another history unnoticed.

    Exit 0: all have cosigned. 1: some have, and the others are named. 2: none has.
    """
    from retrodict.actions.log_witness import log_witness
    from retrodict.render import trust

    with door.workspace(writes=True) as workspace:
        record = log_witness(workspace, urls, keys=keys)
    door.show(record, as_json=as_json, text=trust.witnessed)
    sys.exit(1 if record.refused else 0)


@door.subverb(command, "checkpoint", example="retrodict log checkpoint > kept.checkpoint")
def checkpoint(as_json: bool) -> None:
    """Print the newest signed checkpoint.

    Kept elsewhere, it lets `verify --since` show that nothing before it changed.
    """
    from retrodict.actions.log_checkpoint import log_checkpoint

    with door.workspace() as workspace:
        record = log_checkpoint(workspace)
    if as_json:
        door.show_json(record)
    else:
        click.echo(record.note, nl=False)


@door.subverb(command, "key", example="retrodict log key > log.vkey")
def key(as_json: bool) -> None:
    """Print the log's public key.

    `verify --key`, `log check-proof` and other tools take it. Give it to people by another way than the log.
    """
    from retrodict.actions.log_checkpoint import log_public_key

    with door.workspace(read_only=True) as workspace:
        record = log_public_key(workspace)
    if as_json:
        door.show_json(record)
    else:
        click.echo(record.key)
