"""Records as text: what rich can draw, a list of lines and tables for each record.

Everything that names a thing is printed so that it can be pasted into the next command.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from retrodict.kernel.types import is_event_id
from retrodict.kernel.words import count
from retrodict.predictions import media
from retrodict.render.printable import printable
from retrodict.render.words import duration, moment, short, size

if TYPE_CHECKING:  # the modules behind these types would double the time that `status` takes
    from retrodict.actions.alias import Aliased
    from retrodict.actions.backup import BackedUp
    from retrodict.actions.backup_keys import BackedUpKeys
    from retrodict.actions.backups import Backups
    from retrodict.actions.conflicts import Conflict
    from retrodict.actions.coverage import Coverage
    from retrodict.actions.derive import Derived
    from retrodict.actions.derive_verify import Rederived
    from retrodict.actions.derived import DerivedVersions
    from retrodict.actions.dispute import Disputed, Disputes, Resolved
    from retrodict.actions.drill import Drill
    from retrodict.actions.export import Exported
    from retrodict.actions.export_key import KeyExported
    from retrodict.actions.forget import Forgotten, Reach
    from retrodict.actions.forget_files import FilesForgotten, FilesReach
    from retrodict.actions.forget_status import ForgetStatus
    from retrodict.actions.holding import Holder
    from retrodict.actions.import_log import Imported
    from retrodict.actions.init import Initialized
    from retrodict.actions.keys import Identity, Received, Shared
    from retrodict.actions.log import Log
    from retrodict.actions.models import Models
    from retrodict.actions.predict import Predicted
    from retrodict.actions.predictions import PredictionRow, Predictions
    from retrodict.actions.register import Registered
    from retrodict.actions.restore import Restored
    from retrodict.actions.rotate_key import Rotated
    from retrodict.actions.runs import Runs
    from retrodict.actions.show import Shown
    from retrodict.actions.verify import Verification
    from retrodict.models.records import Personal
    from retrodict.replay import Replay
    from retrodict.replay.prediction import ThirdParty


class Printable:
    """Anything that rich draws, with the text in it made `printable`, and nothing blank at the ends of lines.

    No text is markup: a path or the name of a column may have `[red]` in it.
    """

    def __init__(self, rendered: RenderableType) -> None:
        self._rendered = rendered

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in Segment.split_lines(console.render(self._rendered, options.update(markup=False))):
            while line and not line[-1].text.strip():
                line.pop()
            for segment in line[:-1]:
                yield Segment(printable(segment.text), segment.style)
            for segment in line[-1:]:
                yield Segment(printable(segment.text.rstrip()), segment.style)
            yield Segment.line()


_LINE = 500  # characters of a line of a file
_COMFORT = 30  # columns of text narrower than this are no pleasure to read


class Rows:
    """A plain table that cuts nothing: what it prints can be pasted.

    Columns whose cells may be broken stand beside the others where there is room, else below them.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[object]], wrap: Sequence[str]) -> None:
        self._columns = columns
        self._rows = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
        self._flowing = [column in wrap for column in columns]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [list(self._columns), *self._rows]
        widths = [
            max(cell_len(part) for row in lines for part in row[i].split("\n")) for i in range(len(self._columns))
        ]
        both = list(zip(widths, self._flowing, strict=True))
        needed = sum(2 + (min(width, _COMFORT) if flows else width) for width, flows in both) - 2
        if needed <= options.max_width:
            yield self._table([True] * len(both), self._rows)
            return
        # Lines that are still too long are left to the terminal, which breaks them without loss.
        beside = [not flows for flows in self._flowing]
        needed = sum(2 + width for width, stays in zip(widths, beside, strict=True) if stays) - 2
        wide = options.update(max_width=max(needed, options.max_width))
        rest = [(i, column) for i, column in enumerate(self._columns) if self._flowing[i]]
        drawn = console.render_lines(self._table(beside, self._rows), wide, pad=False)
        heights = [1] + [max(row[i].count("\n") for i in range(len(row)) if beside[i]) + 1 for row in self._rows]
        for row, height in zip([None, *self._rows], heights, strict=True):
            for line in drawn[:height]:
                yield from line
                yield Segment.line()
            drawn = drawn[height:]
            for i, column in rest if row is not None else ():
                if row is not None and row[i]:
                    yield Padding(Text(f"{column}: {row[i]}" if column else row[i], "dim"), (0, 0, 0, 4))

    def _table(self, kept: Sequence[bool], rows: Sequence[Sequence[str]]) -> Table:
        drawn = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for column, flows, keep in zip(self._columns, self._flowing, kept, strict=True):
            if keep:
                drawn.add_column(column, no_wrap=not flows, overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(cell) for cell, keep in zip(row, kept, strict=True) if keep))
        return drawn


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, wrap: Sequence[str] = ()) -> RenderableType:
    """Return a plain table; only the columns named in `wrap` may be broken into lines."""
    return Rows(columns, list(rows), wrap)


def listing(
    empty: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, wrap: Sequence[str]
) -> RenderableType:
    """Return a table, or `empty` where it would have no rows."""
    return table(columns, rows, wrap=wrap) if rows else Text(empty)


def initialized(record: Initialized) -> RenderableType:
    """Render `init`."""
    pins = "\nretrodict.lock/ will pin what is tracked: commit it with the code" if record.pins else ""
    return Text(
        f"A workspace in {record.root}\n"
        f"log  {record.origin}\n"
        f"key  {record.key}\n"
        "Keep the key where others can find it: `retrodict verify --key KEY` checks the log against it."
        f"{pins}"
    )


def by(agents: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """Return the heading and the cells of a column of agents, each given with how it is known."""
    if all(how == "claimed" for _, how in agents):
        return "by (claimed)", [name.partition(" <")[0] or name for name, _ in agents]
    return "by", [f"{name.partition(' <')[0] or name} ({how})" for name, how in agents]


def derived(record: Derived) -> RenderableType:
    """Render `derive NAME`."""
    if not record.is_new:
        return Text(f"{record.reference} is what the recipe makes: nothing new")
    files = f", {count(record.files, 'file')}" if record.files != 1 else ""
    parts = [
        f"{record.reference}  {short(record.content)}  {size(record.size_bytes)}{files}  entry {record.index}",
        f"recipe {short(record.recipe)}, made in {duration(record.cpu_us * 1000)} of CPU",
    ]
    if record.differs_from:
        parts.append(f"warning: the same recipe made other bytes before: {record.differs_from}")
    parts += [f"warning: {warning}" for warning in record.warnings]
    parts.append(f"`retrodict derive verify {record.reference}` makes it again and compares.")
    return Text("\n".join(parts))


def derived_versions(record: DerivedVersions) -> RenderableType:
    """Render `derive`."""
    return listing(
        "Nothing was derived: `retrodict derive NAME --from INPUT -- COMMAND` makes a version by a recipe.",
        ["reference", "made", "bytes", "CPU to make", "made again", "bytes are", "command"],
        [
            (
                row.reference,
                moment(row.at),
                size(row.size_bytes),
                duration(row.cpu_us * 1000),
                row.verdict or "never",
                row.state,
                row.command,
            )
            for row in record.rows
        ],
        wrap=["command"],
    )


def rederived(record: Rederived) -> RenderableType:
    """Render `derive verify`."""
    parts = [f"{record.reference}: {record.verdict}" + (f": {record.reason}" if record.reason else "")]
    parts.append(f"recorded {short(record.recorded)}, made again {short(record.made) or 'nothing'}")
    if record.changed:
        parts.append(f"not as they were: {', '.join(record.changed)}")
    where = "the environment on record, built again" if record.where == "rebuilt" else "the present environment"
    took = "" if record.cpu_us is None else f", in {duration(record.cpu_us * 1000)} of CPU"
    parts.append(f"in {where}{took}; entry {record.entry}")
    return Text("\n".join(parts))


def runs(record: Runs) -> RenderableType:
    """Render `runs`."""
    heading, agents = by([(row.agent, row.authorship) for row in record.rows])
    return listing(
        "No runs: `retrodict run -- COMMAND` records one.",
        ["entry", "run", "started", "took", "exit", "seen", heading, "command"],
        [
            (
                row.entry,
                row.name,
                moment(row.started),
                duration(row.duration_ns),
                "no end" if row.exit_code is None else row.exit_code,
                row.completeness,
                agent,
                row.command,
            )
            for row, agent in zip(record.rows, agents, strict=True)
        ],
        wrap=["command"],
    )


def log(record: Log) -> RenderableType:
    """Render `log`."""
    heading, agents = by([(row.agent, row.authorship) for row in record.rows])
    entries = listing(
        "No entries.",
        ["entry", "at", heading, "what happened", "to what", "why"],
        [
            (row.entry, moment(row.at), agent, row.kind, row.what, row.reason)
            for row, agent in zip(record.rows, agents, strict=True)
        ],
        wrap=["why"],
    )
    others = [
        Text(f"Log {o.name} ({o.origin}): {count(o.size, 'entry', 'entries')}; `retrodict log --of {o.name}`")
        for o in record.others
    ]
    return Group(entries, *others)


def conflicts(found: Sequence[Conflict]) -> RenderableType:
    """Render names that mean more than one thing, and how to end that."""
    if not found:
        return Group()
    rows = [
        (conflict.name if number == 0 else "", claim.what, claim.entry, moment(claim.at))
        for conflict in found
        for number, claim in enumerate(conflict.claims)
    ]
    first = found[0]
    return Group(
        Text("Set on both sides:", "bold"),
        table(["name", "means", "entry", "since"], rows),
        Text(f"Settle each: retrodict settle {first.name} {first.claims[-1].entry}"),
    )


def registered(record: Registered) -> RenderableType:
    """Render `register`."""
    if not record.is_new:
        return Text(f"{record.reference}  unchanged")
    made = "no run on record made it" if record.run is None else f"made by run {record.run_entry}"
    about = "" if record.personal is None else f", about people: {_about(record.personal)}"
    return Text(f"{record.reference}  {short(record.content)}  {record.flavor}, {made}{about}  entry {record.index}")


def _about(personal: Personal) -> str:
    columns = "all inputs" if personal.columns is None else ", ".join(personal.columns)
    return f"by {personal.subject}; personal are {columns} and the outputs"


def models(record: Models) -> RenderableType:
    """Render `models`."""
    heading, agents = by([(row.agent, row.authorship) for row in record.versions])
    parts: list[RenderableType] = [
        listing(
            "No models: `retrodict register FILE NAME` registers one.",
            ["model", "aliases", "object", "run", "registered", heading, "why"],
            [
                (
                    row.reference,
                    ", ".join(row.aliases),
                    short(row.content),
                    row.run,
                    moment(row.at),
                    agent,
                    row.reason,
                )
                for row, agent in zip(record.versions, agents, strict=True)
            ],
            wrap=["why"],
        )
    ]
    people = [(row.reference, _about(row.personal)) for row in record.versions if row.personal is not None]
    if people:
        parts += [Text(""), table(["model", "about people"], people, wrap=["about people"])]
    measured = [
        (row.reference, ", ".join(f"{key} {_number(value)}" for key, value in row.metrics.items()))
        for row in record.versions
        if row.metrics
    ]
    if measured:
        parts += [Text(""), table(["model", "metrics"], measured, wrap=["metrics"])]
    if record.moves:
        heading, agents = by([(move.agent, move.authorship) for move in record.moves])
        parts += [
            Text(""),
            table(
                ["alias", "to", "at", heading, "why", ""],
                [
                    (m.alias, m.version, moment(m.at), agent, m.reason, "now" if m.is_current else "")
                    for m, agent in zip(record.moves, agents, strict=True)
                ],
                wrap=["why"],
            ),
        ]
    return Group(*parts)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else media.brief(value)


def aliased(record: Aliased) -> RenderableType:
    """Render `alias`."""
    if not record.is_new:
        return Text(f"{record.reference} is already {record.version}  (entry {record.index})")
    before = "new" if record.before is None else f"before: {record.before}"
    return Text(f"{record.reference} -> {record.version}  ({before})  entry {record.index}")


def shown(record: Shown) -> RenderableType:
    """Render `show`."""
    unproved = "" if record.signature is None else f": {record.signature}"
    facts: list[tuple[str, object]] = [
        ("event", record.event),
        ("object", record.content),
        ("entry", record.entry),
        ("at", record.at),
        ("by", None if record.agent is None else f"{record.agent} ({record.authorship}{unproved})"),
        ("why", record.reason),
        ("leaf", record.leaf_hash),
        ("bytes", record.size_bytes),
        ("state", record.state),
        *(
            (key, _value(item))
            for key, item in (record.body or {}).items()
            if item is not None and item not in ([], {}) and not (key == "holders" and record.holders)
        ),
    ]
    facts = [(name, value) for name, value in facts if value is not None]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(Text(f"  {name}"), Text(printable(str(value))))
    parts: list[RenderableType] = [Text(f"{record.reference}  {record.kind}"), grid]
    for title, rows in record.values.items():
        parts.append(Text(f"\n{title}"))
        if not rows:
            parts.append(Text("  not held as it was recorded; `retrodict verify` says more", style="red"))
        for number, row in rows.items():
            cells = ", ".join(f"{name}={value}" for name, value in row.items())  # every digit
            parts.append(Text(f"  {record.entry}.{number}  {cells}"))
    if record.holders:
        parts += [Text(""), _holders(record.holders)]
    if record.changes:
        parts += [Text("\nchanged since the version before"), *(Text(f"  {_line(line)}") for line in record.changes)]
    for title, edges in (("used", record.uses), ("made", record.makes)):
        if edges:
            rows_ = [(e.role, e.ref, e.path, e.evidence, e.maker, e.state) for e in edges]
            parts += [
                Text(""),
                table([title, "what", "path", "how it is known", "made by", "bytes"], rows_, wrap=["path"]),
            ]
    if record.mentions:
        heading, agents = by([(m.agent, m.authorship) for m in record.mentions])
        mentions = [
            (m.how, m.entry, m.kind, m.what, moment(m.at), agent, m.reason)
            for m, agent in zip(record.mentions, agents, strict=True)
        ]
        columns = ["", "entry", "kind", "what", "at", heading, "why"]
        parts += [Text(""), table(columns, mentions, wrap=["what", "why"])]
    if record.preview is not None:
        parts += [Text(""), Text(record.preview)]
    return Group(*parts)


def _line(text: str) -> str:
    """Return a line of a file as there is room for it; `--json` and `diff` have all of it."""
    return text if len(text) <= _LINE else f"{text[:_LINE]}... ({len(text):,} characters)"


def _value(item: object) -> str:
    text = json.dumps(item, ensure_ascii=False, default=str) if isinstance(item, dict | list | tuple) else str(item)
    return text if len(text) <= 300 else text[:297] + "..."


def verification(record: Verification) -> RenderableType:
    """Render `verify`."""
    answers = {
        "yes": "Everything is as the record says.",
        "no": "The record and the bytes contradict each other.",
        "could not tell": "The record agrees with itself; nothing says who made it."
        if record.entries
        else "It could not be told whether the record is whole.",
    }
    parts: list[RenderableType] = [
        Text(answers[record.answer], style={"yes": "green", "no": "red"}.get(record.answer, "yellow")),
        Text(
            f"{count(record.entries, 'entry', 'entries')}, {count(record.objects, 'object')}; checked against "
            f"{record.anchor}"
            + (f"; {record.unprotected} entries are not under a signed checkpoint yet" if record.unprotected else "")
        ),
    ]
    if record.since is not None and record.since.proof is not None:
        parts.append(
            Text(f"The {record.since.to_size} entries go on from the {record.since.size} of the checkpoint given.")
        )
    if record.signed:
        parts.append(
            Text(f"{count(record.signed, 'entry', 'entries')} signed by authors, {record.authenticated} authenticated.")
        )
    for log in record.logs:
        unsigned = f", {log.unprotected} of them not under a signed checkpoint" if log.unprotected else ""
        parts.append(Text(f"Log {log.name} ({log.origin}): {count(log.entries, 'entry', 'entries')}{unsigned}."))
    parts += [Text(f"{w.name} saw {w.size} entries at {moment(w.at)}.") for w in record.witnesses]
    rows = [(finding.level, finding.what, finding.message) for finding in record.findings]
    if rows:
        parts.append(table(["", "what", "because"], rows, wrap=["because"]))
    return Group(*parts)


def rotated(record: Rotated) -> RenderableType:
    """Render `rotate-key`."""
    return Text(
        f"The log is signed by a new key from entry {record.index} on; keep it for `verify --key`:\n{record.key}"
    )


def backups(record: Backups) -> RenderableType:
    """Render `backup`."""
    return listing(
        "No backup was ever made: `retrodict backup to ADDRESS` makes one.",
        ["entry", "at", "what", "entries", "where"],
        [(row.entry, moment(row.at), row.what, row.size, row.destination) for row in record.rows],
        wrap=["where"],
    )


def backed_up(record: BackedUp) -> RenderableType:
    """Render `backup to`."""
    if not record.is_new:
        return Text(f"Nothing is new: backup {record.number} in {record.destination} holds everything.")
    lines = [
        (
            f"backup {record.number} in {record.destination}: {count(record.new_entries, 'new entry', 'new entries')}, "
            f"{size(record.new_bytes)}, read back"
        )
    ]
    lines += [f"not copied: {finding.what}: {finding.message}" for finding in record.findings]
    return Text("\n".join(lines))


def backed_up_keys(record: BackedUpKeys) -> RenderableType:
    """Render `backup keys to`."""
    return Text(
        f"The keys are in {record.destination} as {record.name}, sealed under the passphrase.\n"
        "Keep the passphrase elsewhere: nobody can open them without it."
    )


def drilled(record: Drill) -> RenderableType:
    """Render `backup drill`."""
    if not record.number:
        return Text("\n".join(f"{finding.level}: {finding.message}" for finding in record.findings))
    says = {
        "yes": "verifies, and its views were rebuilt",
        "no": "does NOT verify",
        "could not tell": "agrees with itself; no key was there to check it with (--key)",
    }[record.answer]
    lines = [
        (
            f"backup {record.number} in {record.destination}, made {moment(record.made_at)}: "
            f"{count(record.entries, 'entry', 'entries')}, {count(record.objects, 'object')}; it {says}"
        )
    ]
    if record.has_keys is not None:
        lines.append("its keys open")
    if record.lost_entries is None:
        lines.append(f"no workspace is here to compare it with; it is {duration(int(record.lost_seconds * 1e9))} old")
    elif record.lost_entries:
        lines.append(
            f"lost, if this disk died now: {count(record.lost_entries, 'entry', 'entries')}, the oldest "
            f"{duration(int(record.lost_seconds * 1e9))} old"
        )
    else:
        lines.append("lost, if this disk died now: nothing" + (" but what is named here" if record.findings else ""))
    lines += [f"{finding.level}: {finding.what}: {finding.message}" for finding in record.findings]
    return Text("\n".join(lines))


def restored(record: Restored) -> RenderableType:
    """Render `restore`."""
    says = {
        "continues": "It takes the place of what was lost, and can be written.",
        "begins a log": f"It has begun a log of its own, with this key: {record.key}",
        "behind": (
            f"{count(record.lost, 'entry was', 'entries were')} signed after this backup and not in it. So it can be "
            "read, and nothing is signed over them: look for a newer backup or for the lost store. To go on without "
            "them, restore with --new-log: a log of its own begins, under a new key, and says so."
        ),
        "copy": "The workspace that it was made from still stands: this is a copy, and can be read.",
        "no keys": "Its signing key is not here (--keys): nothing is signed, and nobody can be told who made it.",
    }[record.standing]
    lines = [
        (
            f"{record.root}: {count(record.entries, 'entry', 'entries')} from backup {record.number} in "
            f"{record.destination}, made {moment(record.made_at)}"
        ),
        says,
    ]
    if record.standing == "begins a log" and record.lost:
        lines.append(f"{count(record.lost, 'entry', 'entries')} that the old key signed are lost; the log names them.")
    if record.standing == "copy" and record.lost:
        since = count(record.lost, "entry was", "entries were")
        lines.append(f"`retrodict verify` in it says no: {since} signed there since this backup.")
    if record.are_texts_sealed:
        lines.append(
            "Reasons, names and other sealed texts cannot be read: their keys are where `backup keys` put them."
        )
    lines.append("Files are written back with `retrodict checkout`.")
    return Text("\n".join(lines))


def key_exported(record: KeyExported) -> RenderableType:
    """Render `keys export-signing`."""
    return Text(
        f"{record.file} signs {record.origin}. Keep it, with the files beside it, as you keep the workspace's own.\n"
        f"retrodict --key-file {record.file} serve MODEL"
    )


def predicted(record: Predicted) -> RenderableType:
    """Render `predict`."""
    rows = [
        (record.reference if len(record.outputs) == 1 else f"{record.index}.{row}", _values(outputs))
        for row, outputs in enumerate(record.outputs)
    ]
    return Group(table(["prediction", "output"], rows, wrap=["output"]), Text(f"by {record.model}", style="dim"))


def disputed(record: Disputed) -> RenderableType:
    """Render `dispute`."""
    return Text(f"prediction {record.prediction} is disputed: entry {record.reference}")


def resolved(record: Resolved) -> RenderableType:
    """Render `dispute --resolve`."""
    fixed = f", fixed by {', '.join(record.fixed_by)}" if record.fixed_by else ""
    return Text(f"dispute {record.dispute} has ended{fixed}: entry {record.reference}")


def disputes(record: Disputes) -> RenderableType:
    """Render `disputes`."""
    heading, agents = by([(row.by, row.authorship) for row in record.rows])
    return listing(
        "No complaints: `retrodict dispute PREDICTION --reason WHY` records one.",
        ["entry", "about", "at", heading, "complaint", "outcome", "fixed by"],
        [
            (
                row.reference,
                row.prediction,
                moment(row.at),
                agent,
                row.reason,
                "open" if row.is_open else row.resolution,
                ", ".join(row.fixed_by),
            )
            for row, agent in zip(record.rows, agents, strict=True)
        ],
        wrap=["complaint", "outcome"],
    )


def predictions(record: Predictions) -> RenderableType:
    """Render `predictions`."""
    people = any(row.subject is not None for row in record.rows)
    drawn = listing(
        "No predictions, or none that fit: `retrodict predict MODEL --input FILE` makes one.",
        ["prediction", "date", "model", "caller", *(["about"] if people else []), "output", "inputs"],
        [
            (
                row.reference,
                moment(row.date),
                f"{row.model}@{row.version}",
                row.caller,
                *([_about_whom(row.subject)] if people else []),
                _output(row),
                _values(row.inputs),
            )
            for row in record.rows
        ],
        wrap=["inputs", "output"],
    )
    if not record.is_cut:
        return drawn
    return Group(drawn, Text(f"There are more than these {len(record.rows)}; -n shows more.", style="dim"))


def _about_whom(subject: str | None) -> str | None:
    """Return pseudonyms; of what was sealed because its run had read personal values, that."""
    return None if subject is None else ", ".join("derived" if is_event_id(s) else s for s in subject.split())


def strangers(record: Predictions) -> str:
    """Render whom a search for one person cannot tell from that person."""
    return (
        f"{record.strangers:,} of the people in the record cannot be named here, and may be meant: other clones hold "
        "their keys (`retrodict keys receive`)."
    )


def _output(row: PredictionRow) -> str:
    if row.gap is not None and row.outputs is None:
        return row.gap
    return row.status if row.outputs is None else _values(row.outputs)


def _values(values: Mapping[str, object] | None) -> str:
    if values is None:
        return ""
    row = media.brief_row(values)
    if row is not None:
        return media.brief(row)
    return ", ".join(f"{name}={_number(value)}" for name, value in values.items())


def coverage(record: Coverage) -> RenderableType:
    """Render `audit coverage`."""
    seen = count(record.models, "model version"), count(record.runs, "run"), count(record.calls, "call")
    looked = f"{', '.join(seen)} looked at"
    parts: list[RenderableType] = []
    unlogged = [one for one in record.opened if one.logged == 0]
    logged = [one for one in record.opened if one.logged]
    if unlogged:
        parts.append(Text("Runs that opened a model's file, and put no prediction of it on record:", style="red"))
        rows = [(one.run, one.command, one.model, one.path, ", ".join(one.outputs)) for one in unlogged]
        parts.append(table(["run", "command", "model", "file", "wrote"], rows, wrap=["command", "wrote"]))
    if record.untraced:
        parts.append(Text("Callers that named no trace:", style="yellow"))
        rows_untraced = [
            (one.caller or "(nobody said)", f"{one.calls} of {one.of}", one.last) for one in record.untraced
        ]
        parts.append(table(["caller", "questions", "the last one"], rows_untraced, wrap=["caller"]))
    if record.missing:
        parts.append(Text("Spans that asked, and are not on record:", style="yellow"))
        rows_missing = [(one.trace, one.span, one.calls, one.first) for one in record.missing]
        parts.append(table(["trace", "span", "calls", "the first one"], rows_missing))
    declared = [one for one in record.outside if one.system is not None]
    if declared:
        parts.append(Text("Answers that other systems gave, as they say:", style="yellow"))
        parts.append(table(["system", "model", "answers"], [(one.system, one.model, one.rows) for one in declared]))
    if logged:
        parts.append(Text("Runs that opened a model's file, with predictions on record:"))
        rows_logged = [
            (one.run, one.model, one.logged, "names its code" if one.evidence == "observed" else "in its time")
            for one in logged
        ]
        parts.append(table(["run", "model", "predictions", "known by"], rows_logged))
    says = "Nothing was found beside the record" if record.is_covered else "Not everything is covered"
    parts.append(Text(f"{says}; {looked}", style="green" if record.is_covered else "red"))
    parts += [Text(f"Not seen: {line}", style="dim") for line in record.blind]
    return Group(*parts)


def imported(record: Imported) -> RenderableType:
    """Render `predictions import`."""
    return Text(
        f"{record.rows} answers of {record.system} taken over, as declared: entries {record.first} to {record.last}"
    )


def _third_party(party: ThirdParty) -> str:
    version = "" if party.claimed_version is None else f" ({party.claimed_version})"
    says = f"could not tell: third party, {party.endpoint}{version}; then: {party.then}"
    return says if party.now is None else f"{says}; now: {party.now}"


def reach(record: Reach) -> RenderableType:
    """Render what `forget` would reach."""
    return Group(*_reach(record), _who_holds(record.holders))


def _reach(record: Reach) -> list[RenderableType]:
    who = ", ".join(record.subjects) or "rows in files alone"
    of_files = f", {record.own_files} of files that hold nobody else" if record.own_files else ""
    lines = [
        f"{who}: {count(record.keys, 'key')}, {record.texts} of them of texts{of_files}",
        f"predictions     {_numbers(record.calls)}",
        f"about others    {_numbers(record.shared)}" + (": made again first" if record.shared else ""),
        f"kept together   {_numbers(record.joint)}" + (": erased for all of them" if record.joint else ""),
        f"models asked    {', '.join(record.models) or 'none'}",
        f"disputes        {_numbers(record.disputes)}",
        f"streams         {', '.join(record.streams) or 'none'}",
        f"tables          {', '.join(record.tables) or 'none'}",
        f"rows in files   {sum(held.rows for held in record.datasets) or 'none'}",
    ]
    for source in record.sources:
        lines.append(f"captured from   {source}: delete it there, too, or it comes in again when it changes")
    if record.files:
        lines.append(f"files of them   {_numbers(record.files)}: sealed, and erased as a whole")
    if record.datasets or record.runs or record.asked or record.made or record.trained:
        learned = ": what they learned stays in them" if record.trained else ""
        lines += [
            f"read by runs    {_numbers(record.runs)}",
            f"asked there     {_numbers(record.asked)}",
            f"made of them    {', '.join([count(record.derived, 'file'), *record.made])}",
            f"models trained  {', '.join(record.trained) or 'none'}{learned}",
            f"their answers   {record.answers or 'none'}",
        ]
    if record.unknown:
        names = ", ".join(f"dataset:{name}" for name in record.unknown)
        lines.append(f"not known       whose rows stand in {names}")
    lines += [f"in the clear    {path}: delete it, or the rows in it, yourself" for path in record.copies]
    parts: list[RenderableType] = [Text("\n".join(lines))]
    if record.derived_keys:
        derived = count(record.derived_keys, "key")
        parts.append(Text(f"What was made of them and printed goes, too, whoever else it is about: {derived}."))
    elif record.derived or record.asked:
        parts.append(Text("Values may stand in what was made of them, too: --derived destroys what of that is sealed."))
    if record.datasets:
        held_rows = [(held.reference, held.rows, _fate(held.rows, held.shared_rows)) for held in record.datasets]
        parts.append(table(["version", "rows", "what becomes of them"], held_rows))
    if not record.is_whole:
        parts.append(Text(_advice(record.to_forget)))
    return parts


def _fate(rows: int, shared: int) -> str:
    if not shared:
        return "erased"
    return "stay" if shared == rows else f"{shared} stay, the others are erased"


def _advice(references: Sequence[str]) -> str:
    """Return what to do about rows of one person in files that are sealed under one key for everybody in them."""
    lines = [
        "One key seals a file for everybody in it, and cannot be destroyed for one of them alone: these rows stay.",
        "Write each file without them and `retrodict add` it; then forget the versions that have them:",
        *(f'  retrodict forget {shlex.quote(reference)} --reason "..."' for reference in references),
    ]
    return "\n".join(lines)


def _numbers(entries: Sequence[int]) -> str:
    shown = ", ".join(str(entry) for entry in entries[:20])
    return (shown + (f" and {len(entries) - 20} more" if len(entries) > 20 else "")) or "none"


def forgotten(record: Forgotten) -> RenderableType:
    """Render `forget`."""
    verdicts = [(entry, verdict) for entry, verdict in record.verdicts.items()]
    return Group(
        Text(
            f"forgotten{'' if record.reach.is_whole else ', but for rows in files'}: "
            f"{count(record.destroyed, 'key')} destroyed  entry {record.index}"
        ),
        *_reach(record.reach),
        _holders(record.reach.holders),
        *([table(["shared", "made again before"], verdicts)] if verdicts else []),
    )


def files_reach(record: FilesReach) -> RenderableType:
    """Render what `forget` of files would reach."""
    return Group(*_files_reach(record), _who_holds(record.holders))


def _files_reach(record: FilesReach) -> list[RenderableType]:
    learned = ": what they learned stays in them" if record.models else ""
    lines = [
        f"{', '.join(record.references)}: {count(record.files, 'file')}, {count(record.keys, 'key')}",
        f"versions        {', '.join(record.versions) or 'none'}",
        f"read by runs    {_numbers(record.runs)}",
        f"asked by them   {_numbers(record.asked)}",
        f"printed texts   {record.printed or 'none'}",
        f"models          {', '.join(record.models) or 'none'}{learned}",
        f"predictions     {record.predictions or 'none'}",
    ]
    lines += [f"in the clear    {path}: the same bytes lie there; delete them yourself" for path in record.copies]
    parts: list[RenderableType] = [Text("\n".join(lines))]
    if record.derived:
        made = [(item.path or "(sealed name)", item.entry, item.state) for item in record.derived]
        parts.append(table(["made of it", "by run", "state"], made, wrap=["made of it"]))
    if not record.is_derived_too and (record.asked or any(item.state == "sealed" for item in record.derived)):
        parts.append(Text("What is sealed stays readable here; --derived destroys it, too."))
    return parts


def _who_holds(holders: Sequence[Holder]) -> RenderableType:
    rows = [(one.kind, one.where, one.entry) for one in holders]
    return table(["held by", "where", "entry"], rows, wrap=["where"])


def _holders(holders: Sequence[Holder]) -> RenderableType:
    rows = [(one.kind, one.where, one.entry, _confirmation(one)) for one in holders]
    return table(["held by", "where", "entry", "destroyed there"], rows, wrap=["where", "destroyed there"])


def _confirmation(holder: Holder) -> str:
    if holder.confirmed is None or holder.at is None:
        return holder.state
    return f"confirmed by entry {holder.confirmed}, {moment(holder.at)}"


def forget_status(record: ForgetStatus) -> RenderableType:
    """Render `forget --status`."""
    if not record.forgettings:
        return Text("Nothing was forgotten.")
    parts: list[RenderableType] = []
    for one in record.forgettings:
        what = "a person" if one.of == "person" else "files"
        parts.append(
            Text(f"entry {one.entry}: {what}, {count(one.keys, 'key')}, forgotten {moment(one.at)} by {one.by}")
        )
        parts.append(_holders(one.holders))
    if not record.is_confirmed:
        parts.append(
            Text(
                "A clone confirms in its own log: `pull` there, `push` there, `pull` here. A backup of keys is "
                "confirmed by the next `backup keys to` the same place, which removes it. See to the others yourself."
            )
        )
    return Group(*parts)


def files_forgotten(record: FilesForgotten) -> RenderableType:
    """Render `forget` of files."""
    return Group(
        Text(f"forgotten: {count(record.destroyed, 'key')} destroyed  entry {record.index}"),
        *_files_reach(record.reach),
        _holders(record.reach.holders),
    )


def exported(record: Exported, file: object) -> RenderableType:
    """Render `export`."""
    held = f"; kept together with others' and not given out: {_numbers(record.withheld)}" if record.withheld else ""
    records = f", {count(len(record.records), 'record')} of streams and tables" if record.records else ""
    rows = f"{count(len(record.predictions), 'row')} of predictions, {len(record.files)} of files{records}"
    lines = [f"{file}  {rows}{held}  entry {record.index}"]
    lines += [f"not read: {label}: {why}" for label, why in record.unread.items()]
    if record.unknown:
        names = ", ".join(f"dataset:{name}" for name in record.unknown)
        lines.append(f"not known: whose rows stand in {names}")
    return Text("\n".join(lines))


def key_identity(record: Identity) -> RenderableType:
    """Render `keys identity`."""
    return Text(record.key)


def keys_shared(record: Shared) -> RenderableType:
    """Render `keys share`."""
    return Text(
        f"{record.file}  {count(record.subjects, 'key')} of people, {record.texts} of texts  entry {record.index}"
    )


def keys_received(record: Received) -> RenderableType:
    """Render `keys receive`."""
    refused = f", {record.refused} refused: forgotten" if record.refused else ""
    return Text(
        f"{count(record.keys, 'key')} from {record.sender}, {record.new} of them new{refused}  entry {record.index}"
    )


def replayed(record: Replay) -> RenderableType:
    """Render `replay`."""
    style = {"replicated": "green", "reproduced": "green", "could not tell": "yellow"}.get(record.verdict, "red")
    times = "" if record.repetitions < 2 else f", {record.repetitions} times"
    parts: list[RenderableType] = [
        Text(f"{record.verdict}: {record.reason}", style=style),
        Text(
            f"prediction {record.reference}, in "
            + {"present": "the present environment", "rebuilt": "an environment rebuilt from the record"}.get(
                record.environment or "", "no environment"
            )
            + f"{times}, {duration(record.duration_ns)}"
            + ("" if record.entry is None else f"; on record as entry {record.entry}")
            + ("" if record.unrecorded is None else f"; not recorded: {record.unrecorded}")
        ),
    ]
    rows = [
        (
            "  " * call.depth + call.model,
            call.reference,
            call.status,
            "" if call.inputs is None else call.inputs.verdict,
            "" if call.outputs is None else call.outputs.verdict,
            call.message if call.third_party is None else _third_party(call.third_party),
        )
        for call in record.calls
    ]
    if rows:
        parts.append(table(["model", "prediction", "ran", "what it saw", "what it answered", ""], rows, wrap=[""]))
    parts += [Text(f"  {line}") for line in record.differences]
    if record.missing:
        parts.append(Text(f"not to be had: {', '.join(record.missing)}"))
    return Group(*parts)
