"""`retrodict tensor`: arrays by version."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from retrodict.cli import door

_REASON = click.option("--reason", help="Why.")
_IDS = click.option(
    "--ids",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Names of the samples along the first axis: a .npy, a .jsonl, or text with one on each line.",
)
_CHUNKS = click.option("--chunks", metavar="N,N,...", help="The shape of a chunk (default: at most 64 KiB).")


@door.verb_group("tensor", example="retrodict tensor")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Arrays by version: Zarr version 3, whose chunks are kept once; by itself, list them."""
    if context.invoked_subcommand is None:
        _list(as_json)


@door.subverb(command, "list", example="retrodict tensor list")
def list_command(as_json: bool) -> None:
    """List the newest version of each tensor."""
    _list(as_json)


def _list(as_json: bool) -> None:
    from retrodict.actions.tensors import list_tensors  # loaded when asked for
    from retrodict.render import tensors

    with door.workspace() as workspace:
        record = list_tensors(workspace)
    door.show(record, as_json=as_json, text=tensors.listed)


@door.subverb(command, "create", example="retrodict tensor create scans --shape 100,512,512 --dtype float32")
@click.argument("name")
@click.option("--shape", required=True, metavar="N,N,...", help="How long each axis is.")
@click.option("--dtype", required=True, help="As numpy calls it: float32, uint8, ...")
@_CHUNKS
@click.option("--fill", type=float, default=0.0, show_default=True, help="The value that nobody has written.")
@_IDS
@click.option("--personal", is_flag=True, help="It will be about people: every version is sealed whole.")
@_REASON
def create_command(
    name: str,
    shape: str,
    dtype: str,
    chunks: str | None,
    fill: float,
    ids: Path | None,
    personal: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    """Make a tensor that holds one value everywhere; `rd.new_version` writes into it."""
    from retrodict.actions.tensors import create  # loaded when asked for
    from retrodict.render import tensors

    with door.workspace(writes=True) as workspace:
        record = create(
            workspace,
            name,
            _numbers(shape) or (),
            dtype,
            chunks=_numbers(chunks),
            fill=fill,
            ids=ids,
            personal=personal,
            reason=reason,
        )
    door.show(record, as_json=as_json, text=tensors.added)


@door.subverb(command, "import", example="retrodict tensor import scans scans.npy --ids patients.txt --reason 'week 7'")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@_CHUNKS
@_IDS
@click.option(
    "--personal/--not-personal",
    default=None,
    help="It is about people: sealed whole. Or not, or no longer: with a --reason.",
)
@_REASON
def import_command(
    name: str,
    path: Path,
    chunks: str | None,
    ids: Path | None,
    personal: bool | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Version the array in PATH, a .npy file or the folder of a Zarr v3 array; only chunks that are new are kept."""
    from retrodict.actions.tensors import import_array  # loaded when asked for
    from retrodict.render import tensors

    with door.workspace(writes=True) as workspace:
        record = import_array(workspace, name, path, chunks=_numbers(chunks), ids=ids, personal=personal, reason=reason)
    door.show(record, as_json=as_json, text=tensors.added)


@door.subverb(command, "show", example="retrodict tensor show scans@v3")
@click.argument("reference", shell_complete=door.complete_reference)
def show_command(reference: str, as_json: bool) -> None:
    """Show the shape, the chunks and the sample ids of a version."""
    from retrodict.actions.tensors import show  # loaded when asked for
    from retrodict.render import tensors

    with door.workspace() as workspace:
        record = show(workspace, reference)
    door.show(record, as_json=as_json, text=tensors.shown)


@door.subverb(command, "read", example="retrodict tensor read scans@v3 0:10,:,3 --out slice.npy")
@click.argument("reference", shell_complete=door.complete_reference)
@click.argument("slices", default="")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A .npy file to write it to.")
def read_command(reference: str, slices: str, out: Path | None, as_json: bool) -> None:
    """Read SLICES (numpy's, such as 0:10,:,3) of any version, without a checkout; every chunk is verified."""
    from retrodict.actions.tensors import read  # loaded when asked for
    from retrodict.render import tensors

    with door.workspace(records=True) as workspace:
        record = read(workspace, reference, slices, out=out)
    door.show(record, as_json=as_json, text=tensors.read)


@door.subverb(command, "diff", example="retrodict tensor diff scans@v2 scans@v3")
@click.argument("first", shell_complete=door.complete_reference)
@click.argument("second", shell_complete=door.complete_reference)
@click.option("--exit-code", is_flag=True, help="Exit 1 where something differs.")
def diff_command(first: str, second: str, exit_code: bool, as_json: bool) -> None:
    """Say which samples differ between two versions, by their ids, and by how much."""
    from retrodict.actions.tensors import diff  # loaded when asked for
    from retrodict.render import tensors

    with door.workspace(records=True) as workspace:
        record = diff(workspace, first, second)
    door.show(record, as_json=as_json, text=tensors.diff)
    if exit_code and not record.is_same:
        sys.exit(1)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise click.UsageError(f"{text!r} are no lengths of axes: write 100,512,512")
    return tuple(int(part) for part in parts)
