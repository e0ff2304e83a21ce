"""A table's history as one self-contained HTML page."""

from __future__ import annotations

import datetime as dt
import hashlib
import shlex
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from retrodict.kernel.words import count
from retrodict.render.printable import printable
from retrodict.render.words import moment, who

if TYPE_CHECKING:
    from markupsafe import Markup

    from retrodict.actions.table_page import Act, Bar, PageRecord, TablePage

_TEMPLATES: Final = Path(__file__).parent / "templates"
_VALUE, _KEY = 240, 60  # characters that are shown of a value, of a key
COLUMNS: Final = 40  # columns that the page shows
COLOURS: Final = 8  # people with a colour of their own
AGES: Final = 5


def text(value: object, limit: int = _VALUE) -> str:
    """Return a value as people read it, without what would turn or hide text; a long one is cut, and says so."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case bytes():
            return (
                value.hex()
                if 2 * len(value) <= limit
                else f"{value[: limit // 2].hex()}… ({count(len(value), 'byte')})"
            )
        case dt.datetime():
            said = value.isoformat().replace("+00:00", "Z")
        case _:
            said = str(value)
    return printable(said if len(said) <= limit else f"{said[:limit]}… ({count(len(said), 'character')})")


def shown(value: object) -> Markup:
    """Return a value for a page; null and the empty text are told from words."""
    from markupsafe import Markup  # jinja2's own

    if value is None:
        return Markup('<i class="none">null</i>')
    if value == "":
        return Markup('<i class="none">empty</i>')
    return Markup("{}").format(text(value))


def key(values: Mapping[str, object]) -> str:
    """Return a key as `table history` takes it."""
    return ",".join(text(value, _KEY) for value in values.values())


def shades(record: TablePage) -> dict[int, int]:
    """Return for each act that made a cell of the page how long ago it was: 0 the latest fifth of them."""
    seen = {cell.act for item in record.shown for cell in item.cells if cell.act is not None}
    order = [act.number for act in record.acts if act.number in seen]
    return {number: i * AGES // len(order) for i, number in enumerate(order)}


def by_number(record: TablePage) -> dict[int, Act]:
    """Return what was done by its number."""
    return {act.number: act for act in record.acts}


def heights(bars: tuple[Bar, ...]) -> list[tuple[float, float, float]]:
    """Return the heights of what was created, changed and deleted, in hundredths; square roots: few are seen."""
    sums = [bar.creates + bar.updates + bar.deletes for bar in bars]
    full = max(sums, default=0) or 1
    result = []
    for bar, total in zip(bars, sums, strict=True):
        height = 100 * (total / full) ** 0.5
        parts = (bar.creates, bar.updates, bar.deletes)
        result.append(tuple(height * part / total if total else 0.0 for part in parts))
    return result  # type: ignore[return-value]


def command(record: PageRecord, name: str) -> str:
    """Return what prints the whole history of a record."""
    return f"retrodict table history {shlex.quote(name)} {shlex.quote(key(record.key))}"


def to_html(record: TablePage) -> str:
    """Return a table as an HTML page that needs nothing else: no font, no network, and one script of its own."""
    import jinja2  # 65 ms
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "table.js").read_text()
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.filters |= {
        "shown": shown,
        "value": text,
        "key": key,
        "moment": moment,
        "who": lambda name: printable(who(name) or ""),
        "printable": printable,
        "quoted": lambda name: printable(shlex.quote(name)),
    }
    environment.globals |= {"count": count, "COLUMNS": COLUMNS, "command": command}
    colours = {name: min(i, COLOURS) for i, name in enumerate(record.people)}
    return environment.get_template("table.html.j2").render(
        record=record,
        acts=by_number(record),
        colours=colours,
        ages=shades(record),
        heights=heights(record.activity),
        script=Markup(script),  # noqa: S704 - ours, from a file
        script_digest=digest,
    )
