"""What is kept, and what goes, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from retrodict.kernel.words import count
from retrodict.render.text import listing, table
from retrodict.render.words import duration, short, size

if TYPE_CHECKING:
    from retrodict.actions.advise import Advice
    from retrodict.actions.du import DiskUse
    from retrodict.actions.fsck import Checked
    from retrodict.actions.gc import Collection
    from retrodict.actions.release import Loss, Released
    from retrodict.actions.undelete import Undeleted
    from retrodict.actions.why_kept import WhyKept
    from retrodict.objects import Weight


def _weight(weight: Weight) -> str:
    return f"{size(weight.stored_bytes)} in {count(weight.records, 'record')}"


def advice(record: Advice) -> RenderableType:
    """Render `advise`."""
    rows = [
        (
            option.strategy,
            "" if option.stored_bytes is None else size(option.stored_bytes),
            "" if option.seconds is None else duration(round(option.seconds * 1e9)),
            option.says,
        )
        for option in record.options
    ]
    looked = f"{record.what}: {count(record.versions, 'version')}, from {record.history}"
    return Group(
        Text(looked),
        table(["strategy", "bytes", "CPU", "because"], rows, wrap=["because"]),
        Text(f"{record.recommended}: {record.because}"),
    )


def disk_use(record: DiskUse) -> RenderableType:
    """Render `du`."""
    columns = ["", "name", "versions", "written out", "stored", "alone"]
    rows = []
    for use in record.uses:
        stored, alone = size(use.stored.stored_bytes), size(use.own.stored_bytes)
        rows.append((use.kind, use.name, use.versions, size(use.plain_bytes), stored, alone))
    rest = (
        f"needed by runs and answers beside those: {_weight(record.rest)}\n"
        f"needed by nothing: {_weight(record.dead)}\n"
        f"the log, with small payloads: {size(record.log_bytes)}; views: {size(record.views_bytes)}"
    )
    return Group(listing("No datasets and no models.", columns, rows, wrap=[]), Text(rest))


def kept(record: WhyKept) -> RenderableType:
    """Render `why-kept`."""
    says = "the record needs it" if record.is_needed else "nothing needs it"
    if record.is_released:
        says = "let go; `retrodict gc --apply` removes it after the grace"
    parts: list[RenderableType] = [Text(f"{short(record.content)}, {record.state}: {says}")]
    if record.keepers:
        rows = [(keeper.entry, keeper.how, keeper.what, keeper.path) for keeper in record.keepers]
        parts.append(table(["entry", "", "what", "path"], rows, wrap=["what"]))
    if record.more:
        parts.append(Text(f"... and {record.more} more"))
    return Group(*parts)


def collection(record: Collection) -> RenderableType:
    """Render `gc`."""
    parts = [f"needed by the record: {_weight(record.needed)}", f"needed by nothing: {_weight(record.dead)}"]
    if record.swept.records:
        parts.append(f"removed: {_weight(record.swept)}")
    if record.doomed.records:
        grace = duration(round(record.grace_s * 1e9))
        parts.append(f"doomed: {_weight(record.doomed)}, to be read and taken back still (`retrodict gc undelete`)")
        parts.append(f"what is doomed goes with the first `retrodict gc --apply` after {grace}")
    if record.is_plan and record.dead.records:
        parts.append("nothing was changed: `retrodict gc --apply` does it")
    return Text("\n".join(parts))


def released(record: Released) -> RenderableType:
    """Render `gc release`."""
    says = "would free" if record.entry is None else "let go, which frees"
    named = count(record.entries, "entry names it", "entries name it")
    parts = [f"{record.reference}  {short(record.content)}: {says} {_weight(record.frees)}; {named}"]
    parts += [_loss(loss) for loss in record.losses]
    for one in record.remakings:
        also = "" if one.is_held else ": its bytes were let go, and would be lost"
        parts.append(f"{one.version} is derived from it, and could not be made again{also}")
    if record.recipe is not None:
        if record.proven:
            parts.append(
                f"it is derived, and `retrodict checkout` makes it again from its recipe {short(record.recipe)}"
            )
        else:
            parts.append(f"it is derived, and not proven: `retrodict derive verify {record.reference}` first")
    if record.entry is None:
        parts.append('nothing was changed: add --apply --reason "..." to do it')
    else:
        parts.append(f"entry {record.entry}; the bytes go with the `retrodict gc --apply` after the grace")
    return Text("\n".join(parts))


def _loss(loss: Loss) -> str:
    answers = count(loss.answers, "answer")
    if loss.how == "answered":
        return f"{loss.model} could not be run any more, nor its {answers} be replayed"
    return f"{loss.model} came from it: it could not be made again, nor its training data be shown ({answers})"


def undeleted(record: Undeleted) -> RenderableType:
    """Render `gc undelete`."""
    return Text(f"{count(record.records, 'record')} taken back" if record.records else "nothing was doomed")


def checked(record: Checked) -> RenderableType:
    """Render `fsck`."""
    bad = sum(finding.level in ("altered", "missing") for finding in record.findings)
    parts: list[RenderableType] = []
    if record.entry is not None:
        again = count(record.repaired, "object is good again", "objects are good again")
        files = count(record.files, "bad file is", "bad files are")
        read = size(record.received_bytes)
        parts.append(
            Text(f"{again} and {files} gone, with copies from {record.place} ({read} read there); entry {record.entry}")
        )
    if record.is_index_rebuilt:
        parts.append(Text("The index was made again from the packs."))
    if not bad:
        parts.append(Text("No object is altered or missing.", "green"))
    elif record.place is None:
        parts.append(Text("Something is altered or missing; `retrodict fsck --repair-from REMOTE` mends it.", "red"))
    else:
        parts.append(Text(f"Not repaired, since {record.place} has no good copy:", "red"))
    if record.findings:
        rows = [(finding.level, finding.what, finding.message) for finding in record.findings]
        parts.append(table(["", "what", "because"], rows, wrap=["because"]))
    return Group(*parts)
