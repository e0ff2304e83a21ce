"""An explanation for people: as text in a terminal, as one self-contained HTML page, as itself in a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from retrodict.actions.explanation import (
    Alternative,
    Answer,
    Attributed,
    Explanation,
    Fact,
    Part,
    Subject,
    Table,
    Versus,
)
from retrodict.diagnose.attribution import Attribution
from retrodict.diagnose.versus import Contrast, Share
from retrodict.predictions import media

if TYPE_CHECKING:
    from rich.console import RenderableType

_TEMPLATES: Final = Path(__file__).parent / "templates"
_BAR: Final = 16
EVIDENCE: Final = {
    "observed": "retrodict saw it itself: it hashed the bytes, watched the process, or gave the answer",
    "declared": "somebody said so, under the name that is given",
    "inferred": "worked out from what was observed and declared",
}
STATES: Final = {
    "held": "the bytes are here, and were read and hashed again just now",
    "held*": "the index lists the bytes; they were not read again for this (`--replay` and `verify` do)",
    "missing": "the bytes, or the fact, are not on record here",
    "altered": "the bytes that are here are not those that were recorded",
    "erased": "personal: the key was destroyed when the person, or the file, was forgotten",
    "sealed": "personal: the key is not held here",
}


# ---- words that both renderings share --------------------------------------------------------------------------------


def shown(value: object) -> str:
    """Return a value as people read it: floats by shortest repr, nothing as a dash."""
    if value is None:
        return "–"
    return media.brief(value)


def pictured(value: object) -> object:
    """Return a value for a page: an image that is small as itself, with what it is."""
    address = media.inline(value)
    if address is None:
        return shown(value)
    from markupsafe import Markup  # jinja2's own

    return Markup('<img class="value" alt="" src="{}"><br><small>{}</small>').format(address, shown(value))


def rounded(value: float) -> str:
    """Return a number with four digits that count, whole numbers in full."""
    if 1e4 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def signed(value: float) -> str:
    """Return a number with its sign and four digits that count; a real minus, so that columns align."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{rounded(abs(value))}"


def reference(fact: Fact) -> str:
    """Return what can be pasted to see it; nothing where the line says so itself."""
    if fact.ref is None:
        return ""
    said = (f"({fact.ref})", f"entry {fact.ref} ") if fact.ref.replace(".", "").isdigit() else (fact.ref,)
    return "" if any(word in f"{fact.says} " for word in said) else fact.ref


def state(fact: Fact) -> str:
    """Return whether its bytes are there, with a mark where nobody looked."""
    return fact.state if fact.rehashed else f"{fact.state}*"


def strongest(attribution: Attribution) -> list[tuple[str, object, float, float]]:
    """Return name, given value, Shapley value and error of each input, the strongest first."""
    nothing = 1e-12 * scale(attribution)  # what is left of a sum that cancels
    values = [value if abs(value) > nothing else 0.0 for value in attribution.values]
    rows = zip(attribution.names, attribution.given, values, attribution.errors, strict=True)
    return sorted(rows, key=lambda row: -abs(row[2]))


def scale(attribution: Attribution) -> float:
    """Return what a full bar stands for."""
    ends = [abs(v) + e for v, e in zip(attribution.values, attribution.errors, strict=True)]
    return max(ends, default=0.0) or 1.0


def by_size(contrast: Contrast) -> list[Share]:
    """Return what the differences are worth, the most first."""
    return sorted(contrast.shares, key=lambda share: -abs(share.value))


def share(count: int | None, alternative: Alternative, which: int) -> str:
    """Return how many of the sampled answers would change, with the interval of the share."""
    if count is None:
        return "no decisions"
    if not alternative.sampled:
        return "none was asked"
    low, high = alternative.intervals[which]
    between = f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"
    return f"{count:,} of {alternative.sampled:,} ({between})"


def brief(value: object) -> str:
    """Return a value to compare with others at a glance; floats with six digits that count."""
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def counted(found: Sequence[Alternative]) -> str:
    """Return what the counts of other answers rest on."""
    asked = max((item.calls for item in found), default=0)
    population = max((item.population for item in found), default=0)
    if not population:
        return "No other call of the version that answered is logged."
    if asked == population:
        return f"Counted on all {population:,} other logged calls of the version that answered."
    seed = next(item.seed for item in found)
    return (
        f"Counted on {asked:,} of the {population:,} other logged calls of the version that answered, drawn at random, "
        f"each as likely as any other (seed {seed}: the same again in this log); in brackets the 95 % interval of the "
        "share, each call counting once."
    )


def headline(subject: Subject) -> str:
    """Return what was answered, in a line."""
    if subject.status == "error":
        return "it failed"
    row = media.brief_row(dict(subject.answer))
    if row is not None:
        return media.brief(row)
    return ", ".join(f"{name} {shown(value)}" for name, value in subject.answer) or "an answer that cannot be read"


def caller(record: Explanation) -> str | None:
    """Return who asked, with "(authenticated)" where they have signed the entry themselves."""
    subject = record.subject
    marks = {(named.name, named.entry): named.authorship for named in record.named}
    proved = subject.caller is not None and marks.get((subject.caller, subject.entry)) == "authenticated"
    return f"{subject.caller} (authenticated)" if proved else subject.caller


def names(record: Explanation) -> str:
    """Return a sentence about how the names are known, with a space behind it; nothing where nobody is named."""
    known = {named.authorship for named in record.named}
    if not known:
        return ""
    if known == {"claimed"}:
        return "Names of people are as claimed. "
    signed_by = "the entry is signed with that agent's own key"
    if known == {"authenticated"}:
        return f"Every name is authenticated: {signed_by}. "
    return f"Names of people are as claimed, except where (authenticated) follows: there {signed_by}. "


def verdict(record: Explanation) -> str:
    """Return the verdict of question 1 in a word or two."""
    one = record.answers[0]
    return one.verdict or "everything needed is held"


# ---- text ------------------------------------------------------------------------------------------------------------


def to_text(record: Explanation) -> RenderableType:
    """Return an explanation as rich draws it."""
    from rich.console import Group  # 30 ms
    from rich.text import Text

    parts: list[RenderableType] = [
        Text.assemble((f"Prediction {record.subject.ref}", "bold"), f"  {headline(record.subject)}"),
        Text(_circumstances(record), style="dim"),
    ]
    parts += [Text(f"• {line}") for line in record.summary[1:]]
    parts += [_facts(record.subject.disputes)] if record.subject.disputes else []
    for answer in record.answers:
        parts += _answer(answer, 0)
    if record.versus is not None:
        parts += _versus(record.subject, record.versus)
    parts += [Text(""), Text(_legend(record), style="dim")]
    return Group(*parts)


def _circumstances(record: Explanation) -> str:
    subject = record.subject
    asked = f"{subject.model}, asked for as {subject.requested}"
    who = "" if subject.caller is None else f" by {caller(record)}"
    together = "" if subject.rows == 1 else f", row {subject.row} of {subject.rows:,}"
    how = {"declared": ", declared by another system", "fetched": ", of a third party"}.get(subject.kind, "")
    return (
        f"{asked}{who}, {subject.received[:19].replace('T', ' ')} UTC{together}{how}; "
        f"entry {subject.entry}, leaf {subject.leaf_hash[:16]}"
    )


def _legend(record: Explanation) -> str:
    lines = [
        f"{word}: {meaning}." for word, meaning in STATES.items() if word == "held*" and "held*" in set(_states(record))
    ]
    if not record.replayed:
        lines.append("Models were not run: --replay gives the verdict of 1 and the figures of 8 and 9.")
    lines.append(f"{names(record)}What stands in [ ] can be pasted: retrodict show REF.")
    return "\n".join(lines)


def _states(record: Explanation) -> Iterator[str]:
    def walk(facts: Iterable[Fact]) -> Iterator[str]:
        for fact in facts:
            yield state(fact)
            yield from walk(fact.facts)

    def answers(found: Iterable[Answer]) -> Iterator[str]:
        for answer in found:
            yield from walk(answer.facts)
            for part in answer.parts:
                yield from answers(part.answers)

    yield from answers(record.answers)


def _answer(answer: Answer, depth: int) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    mark = f" [{answer.verdict}]" if answer.verdict and answer.number == 1 else ""
    title = Text.assemble((f"{answer.number} {answer.question}", "bold"), f"{mark} {answer.says}")
    parts: list[RenderableType] = [] if depth else [Text("")]
    parts.append(title)
    parts += [_table(table) for table in answer.tables]
    for i, item in enumerate(answer.attributions):
        parts.append(_bars(item, is_last=item.ref not in {later.ref for later in answer.attributions[i + 1 :]}))
    parts += [_alternatives(answer.alternatives)] if answer.alternatives else []
    parts += [_facts(answer.facts)] if answer.facts else []
    for part in answer.parts:
        parts += _part(part, depth)
    return [Padding(item, (0, 0, 0, 2)) for item in parts] if depth else parts


def _part(part: Part, depth: int) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = [Text.assemble("  ", (part.of, "bold"), f" [{part.ref}]")]
    for answer in part.answers:
        parts += _answer(answer, depth + 1)
    return [Padding(item, (0, 0, 0, 2)) for item in parts] if depth else parts


def _facts(facts: Sequence[Fact]) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(expand=True, padding=(0, 0, 0, 2))
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    for depth, fact in _flat(facts, 1):
        known = f"{fact.evidence}, {state(fact)}"
        ref = reference(fact) and f" [{reference(fact)}]"
        match fact.kind:
            case "gap":
                line, known = Text(f"? {fact.says}", style="yellow"), "gap"
            case "command":
                line, known = Text(f"$ {fact.says}", style="cyan"), ""
            case _:
                line = Text.assemble(fact.says, (ref, "dim"))
        bad = fact.kind == "fact" and fact.state != "held"
        grid.add_row(Padding(line, (0, 0, 0, 2 * depth)), Text(known, style="bold red" if bad else "dim"))
        for text in fact.lines:
            style = {"+": "green", "-": "red"}.get(text[:1], "dim")
            grid.add_row(Padding(Text(text, style=style), (0, 0, 0, 2 * depth + 2)), Text(""))
    return grid


def _flat(facts: Iterable[Fact], depth: int) -> Iterator[tuple[int, Fact]]:
    for fact in facts:
        yield depth, fact
        yield from _flat(fact.facts, depth + 1)


def _grid(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> RenderableType:
    from rich.padding import Padding
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, show_edge=False, header_style="dim", show_header=any(columns))
    for i, column in enumerate(columns):
        grid.add_column(column, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return Padding(grid, (0, 0, 0, 4))


def _table(table: Table) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    ref = "" if table.ref is None else f" [{table.ref}]"
    title = Text.assemble(f"  {table.title}", (f"{ref}  {table.evidence}, {table.state}", "dim"))
    columns = ("", "") if table.columns == ("name", "value") else table.columns
    return Group(title, _grid(columns, [[shown(cell) for cell in row] for row in table.rows]))


def _bars(item: Attributed, *, is_last: bool) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    result, full = item.result, scale(item.result)
    title = Text.assemble(
        f"  {item.of}: {result.target} = {rounded(result.output)}, against {rounded(result.base)} on average",
        (f" [{item.ref}]", "dim"),
    )
    how = Text(f"  {result.kind}: {_method(item)}", style="dim")
    rows = []
    for name, given, value, error in strongest(result):
        bar = "█" * round(_BAR * abs(value) / full)
        sign = "+" if value > 0 else "−"
        rows.append(
            [
                name,
                shown(given),
                signed(value),
                f"± {rounded(error)}" if result.kind == "sampled" else "",
                sign * bool(bar) + bar,
            ]
        )
    columns = ["input", "value", "Shapley value", "standard error" if result.kind == "sampled" else "", ""]
    return Group(title, _grid(columns, rows, right=(2,)), *([how] if is_last else []))


def _method(item: Attributed) -> str:
    result = item.result
    return (
        f"{result.method}; {result.background_rows:,} rows to compare with, from {item.background}; {result.citation}"
    )


def _alternatives(found: Sequence[Alternative]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = [
        [
            item.change,
            ", ".join(f"{name} {brief(value)}" for name, value in item.answer) or item.problem,
            {True: "other", False: "the same", None: "could not be asked"}[item.differs],
            share(item.decisions, item, 0),
            share(item.values, item, 1),
        ]
        for item in found
    ]
    columns = ["if", "it would answer", "", "other decisions that change", "other answers that change at all"]
    return Group(_grid(columns, rows), Text(f"    {counted(found)}", style="dim"))


def _versus(first: Subject, versus: Versus) -> list[RenderableType]:
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(""),
        Text.assemble(
            (f"{first.ref} versus {versus.other.ref}", "bold"), f"  {headline(first)} | {headline(versus.other)}"
        ),
        _grid(
            ["", first.ref, versus.other.ref],
            [["≠ " + n if n in versus.differing else "  " + n, shown(a), shown(b)] for n, a, b in versus.inputs],
        ),
        _facts(versus.facts),
    ]
    for contrast in versus.contrasts:
        parts += [_contrast_title(contrast), _contrast(contrast)]
    if versus.needs_replay:
        parts.append(Text("  What each difference is worth takes running the models: --replay.", style="dim"))
    if versus.problem:
        parts.append(Text(f"  ? What each difference is worth could not be found: {versus.problem}", style="yellow"))
    return parts


def _contrast_title(contrast: Contrast) -> RenderableType:
    from rich.text import Text

    said = f"{shown(contrast.first_said)} and {shown(contrast.second_said)}"
    return Text.assemble(
        f"  {contrast.target}: {said}", (f"  {contrast.kind}: {contrast.method}; {contrast.citation}", "dim")
    )


def _contrast(contrast: Contrast) -> RenderableType:
    exact = contrast.kind == "exact"
    rows = [
        [
            s.name,
            f"{shown(s.first)} → {shown(s.second)}",
            signed(s.forward),
            signed(s.backward),
            signed(s.value) + ("" if exact else f" ± {rounded(s.error)}"),
        ]
        for s in by_size(contrast)
    ]
    return _grid(
        ["difference", "", "alone, in the first", "alone, in the second", "Shapley value"], rows, right=(2, 3, 4)
    )


# ---- HTML ------------------------------------------------------------------------------------------------------------


def to_html(record: Explanation, *, page: bool = True) -> str:
    """Return an explanation as HTML that needs nothing else: no script, no font, no network.

    Args:
        record: The explanation.
        page: A whole page; False: a part of one, as a notebook shows it.
    """
    import jinja2  # 65 ms

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "pictured": pictured,
        "rounded": rounded,
        "signed": signed,
        "state": state,
        "reference": reference,
        "brief": brief,
    }
    environment.globals |= {
        "strongest": strongest,
        "scale": scale,
        "share": share,
        "headline": headline,
        "verdict": verdict,
        "caller": caller,
        "names": names,
        "EVIDENCE": EVIDENCE,
        "STATES": STATES,
        "largest": _largest,
        "by_size": by_size,
        "counted": counted,
    }
    return environment.get_template("explanation.html.j2").render(record=record, page=page)


def _largest(contrast: Contrast) -> float:
    return max((abs(s.value) for s in contrast.shares), default=0.0) or 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExplanation(Explanation):
    """An explanation that shows itself in a notebook, and prints as text."""

    def _repr_html_(self) -> str:
        return to_html(self, page=False)

    def __str__(self) -> str:
        from rich.console import Console  # 30 ms

        console = Console(width=120, highlight=False, emoji=False, markup=False, color_system=None)
        with console.capture() as captured:
            console.print(to_text(self))
        return captured.get()


def displayed(record: Explanation) -> ShownExplanation:
    """Return the same explanation as one that shows itself."""
    fields: dict[str, Any] = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return ShownExplanation(**fields)
