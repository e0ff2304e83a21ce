"""Receipts, publications and witnesses as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render.text import listing, table
from retrodict.render.words import moment, who

if TYPE_CHECKING:
    from retrodict.actions.check_proof import CheckedProof
    from retrodict.actions.log_proof import Proof
    from retrodict.actions.log_publish import Published
    from retrodict.actions.log_witness import Witnessed
    from retrodict.actions.signers import SignerChanged, Signers


def proof(record: Proof, out: Path | None) -> RenderableType:
    """Render `log proof`."""
    lines = [
        f"entry {record.index} ({record.kind}) is one of the {record.size} that {record.origin} has signed for"
        + (f", cosigned by {', '.join(record.witnesses)}" if record.witnesses else "")
    ]
    if out is not None:
        lines.append(f"receipt: {out}\nentry:   {out.with_suffix('.json')}  (keep every byte)")
        key = f" --key {record.key}" if record.key is not None else ""
        lines.append(f"check:   retrodict log check-proof {out}{key}")
    return Text("\n".join(lines))


def checked_proof(record: CheckedProof) -> RenderableType:
    """Render `log check-proof`."""
    style = {"yes": "green", "no": "red"}.get(record.answer, "yellow")
    lines = [Text(f"{record.answer}: {record.because}", style=style)]
    if record.kind is not None:
        lines.append(Text(f"event {record.event}, {record.kind}, {moment(record.at)} by its own clock"))
    lines += [Text(f"seen by {w.name} at {moment(w.at)}") for w in record.witnesses]
    return Group(*lines)


def published(record: Published) -> RenderableType:
    """Render `log publish`."""
    lines = [
        f"{record.folder} shows {record.size} entries of {record.origin}, {record.size - record.before} of them new "
        f"({count(record.files, 'file')} written)"
        + (f", cosigned by {', '.join(record.witnesses)}" if record.witnesses else "")
    ]
    if record.key is not None:
        lines.append(f"Readers need the log's public key, by another way than the web server:\n{record.key}")
    return Text("\n".join(lines))


def witnessed(record: Witnessed) -> RenderableType:
    """Render `log witness`."""
    rows = [
        (w.name, w.url, moment(w.at) if w.verified else "not checked: its key was not given") for w in record.witnesses
    ]
    kept = (
        "nothing was logged since the log kept such signatures, so these are not kept"
        if record.index is None
        else f"entry {record.index} keeps the signatures"
    )
    return Group(
        Text(f"{record.size} entries are cosigned; {kept}"),
        table(["witness", "address", "signed"], rows, wrap=["address"]),
        *(Text(why, style="yellow") for why in record.refused),
    )


def signers(record: Signers) -> RenderableType:
    """Render `signers`."""
    rows = [
        (
            row.entry,
            row.name,
            row.fingerprint or "(sealed: its key is not held)",
            "service" if row.is_service else "",
            moment(row.at),
            f"{who(row.by)} ({row.authorship})",
            "in force" if row.revoked is None else f"not from entry {row.until} on (entry {row.revoked})",
        )
        for row in record.rows
    ]
    columns = ["entry", "agent", "key", "", "added", "by", "state"]
    return listing(
        "No keys of agents are on record: `retrodict signers add NAME KEY` records one.",
        columns,
        rows,
        wrap=["agent", "by", "state", "key"],
    )


def signer_added(record: SignerChanged) -> RenderableType:
    """Render `signers add`."""
    return Text(f"{record.fingerprint} signs for {record.name} from now on: entry {record.index}")


def signer_revoked(record: SignerChanged) -> RenderableType:
    """Render `signers revoke`."""
    return Text(f"{record.fingerprint or 'the key'} of {record.name} is revoked: entry {record.index}")
