"""Which rows of its tables a query in DuckDB's SQL used: by queries for their identities that follow from it.

The rows that a SELECT can have used are those that its FROM and WHERE let through: grouping, HAVING, windows, DISTINCT,
ORDER and LIMIT look at all of these, and at no other. So for each table the query is asked again for the identities of
those, without the rest. An outer join also looks at rows that WHERE drops afterwards: for the table that may be
missing, WHERE is left out. Where it cannot be told (a subquery inside an expression, a function of somebody's own,
chance, a pivot, a sample), all rows of the tables in it are taken.

Source of the idea: B. Glavic, G. Alonso, "Perm", ICDE 2009 (provenance by rewriting queries).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from retrodict.kernel.errors import MissingExtraError

if TYPE_CHECKING:
    from sqlglot import exp

    from retrodict.rows.source import Source

POSITION: Final = "retrodict position"
_WITH_POSITION: Final = " with retrodict position"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask for the positions of used rows of a table; `sql` is None where all are taken, because of `reason`."""

    table: str
    sql: str | None
    reason: str | None


def questions(sql: str, tables: frozenset[str]) -> list[Question]:
    """Return what to ask for the rows that a query used.

    Args:
        sql: What DuckDB was asked.
        tables: The names of our tables in it. Each has a sister with ` with retrodict position` after its name and that
            column in it.

    Raises:
        MissingExtraError: sqlglot is not installed.
    """
    try:
        import sqlglot  # an extra; 161 ms
    except ImportError as error:
        raise MissingExtraError("following rows through SQL", "tables") from error
    from sqlglot import exp

    try:
        parsed = sqlglot.parse(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        parsed = []
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        return [Question(table=table, sql=None, reason="the query could not be followed") for table in sorted(tables)]
    return _Follower(tables).query(parsed[0], {}, ())


class _Follower:
    def __init__(self, tables: frozenset[str]) -> None:
        from sqlglot import exp

        self._exp = exp
        self._tables = tables

    def _named(self, node: Any, hidden: Mapping[str, object]) -> Iterator[str]:
        for table in node.find_all(self._exp.Table):
            if table.name in self._tables and table.name not in hidden:
                yield table.name

    def _all(self, node: Any, hidden: Mapping[str, object], reason: str) -> list[Question]:
        return [Question(table=name, sql=None, reason=reason) for name in sorted(set(self._named(node, hidden)))]

    def query(self, node: exp.Query, hidden: Mapping[str, object], around: tuple[exp.With, ...]) -> list[Question]:
        """Return the questions of a query.

        Args:
            hidden: Names that WITH gave another meaning.
            around: The WITHs that it may refer to.
        """
        exp = self._exp
        found: list[Question] = []
        with_ = node.args.get("with_") or node.args.get("with")
        if with_ is not None:
            if with_.args.get("recursive"):
                return self._all(node, hidden, "a recursive query is not followed")
            for part in with_.expressions:
                found += self.query(part.this, hidden, around) if isinstance(part.this, exp.Query) else []
                hidden = {**hidden, part.alias: part}
            around = (*around, with_)
        if isinstance(node, exp.Subquery):
            return found + self.query(node.this, hidden, around)
        if isinstance(node, exp.SetOperation):
            return found + self.query(node.left, hidden, around) + self.query(node.right, hidden, around)
        if not isinstance(node, exp.Select):
            return found + self._all(node, hidden, f"{node.key} is not followed")
        return found + self._select(node, hidden, around)

    def _select(self, select: exp.Select, hidden: Mapping[str, object], around: tuple[exp.With, ...]) -> list[Question]:
        exp = self._exp
        found: list[Question] = []
        from_ = select.args.get("from_") or select.args.get("from")
        if from_ is None:
            return self._all(select, hidden, "a subquery inside an expression is not followed")
        joins = select.args.get("joins") or []
        members = [from_.this, *(join.this for join in joins)]
        where = select.args.get("where")
        # Whatever of ours stands in expressions (a subquery in WHERE, say) is taken whole.
        inside = {id(part) for member in members for part in member.find_all(exp.Table)}
        loose = {
            table.name
            for table in select.find_all(exp.Table)
            if id(table) not in inside
            and table.name in self._tables
            and table.name not in hidden
            and not self._is_in_with(table, select)
        }
        reason = "a subquery inside an expression is not followed"
        found += [Question(table=name, sql=None, reason=reason) for name in sorted(loose)]
        odd = self._odd(select, members, joins)
        missing = self._may_be_missing(joins, len(members))
        for number, member in enumerate(members):
            if isinstance(member, exp.Subquery) and isinstance(member.this, exp.Query):
                found += self.query(member.this, hidden, around)
            elif isinstance(member, exp.Table) and member.name in self._tables and member.name not in hidden:
                if odd is not None:
                    found.append(Question(table=member.name, sql=None, reason=odd))
                else:
                    kept = None if number in missing or self._is_by_chance(where) else where
                    asked = self._ask(from_, joins, kept, number, around)
                    found.append(Question(table=member.name, sql=asked, reason=None))
            else:
                found += self._all(member, hidden, "a part of FROM is not followed")
        return found

    def _is_in_with(self, table: Any, select: Any) -> bool:
        with_ = table.find_ancestor(self._exp.With)
        return with_ is not None and with_.parent is select

    def _odd(self, select: Any, members: list[Any], joins: list[Any]) -> str | None:
        """Return why the rows that FROM lets through cannot be asked for; None where they can."""
        exp = self._exp
        if any(part.args.get("pivots") or part.args.get("sample") for part in (select, *members)):
            return "a pivot or a sample looks at all rows"
        for join in joins:
            method = str(join.args.get("method") or "").upper()
            if method in ("NATURAL", "ASOF", "POSITIONAL"):
                return f"a {method.lower()} join is not followed"
            if self._is_by_chance(join.args.get("on")):
                return "a join by chance looks at all rows"
        laterals = select.args.get("laterals")
        if laterals or any(isinstance(member, (exp.Lateral, exp.Unnest)) for member in members):
            return "a lateral part of FROM is not followed"
        return None

    def _is_by_chance(self, condition: Any) -> bool:
        """Whether a condition can look at more than the row: a function that is not known, a subquery, `*`, chance."""
        exp = self._exp
        kinds = (exp.Anonymous, exp.Subquery, exp.Query, exp.Exists, exp.Star, exp.Rand, exp.Uuid, exp.Window)
        return condition is not None and condition.find(*kinds) is not None

    def _may_be_missing(self, joins: list[Any], members: int) -> frozenset[int]:
        """Return the numbers of the parts of FROM of which an outer join may have no row."""
        found: set[int] = set()
        for number, join in enumerate(joins, 1):
            side = str(join.args.get("side") or "").upper()
            kind = str(join.args.get("kind") or "").upper()
            if side in ("LEFT", "FULL") or kind in ("SEMI", "ANTI"):
                found.add(number)
            if side in ("RIGHT", "FULL"):
                found |= set(range(number))
        return frozenset(found) & frozenset(range(members))

    def _ask(self, from_: Any, joins: list[Any], where: Any, number: int, around: tuple[Any, ...]) -> str:
        exp = self._exp
        from_, joins = from_.copy(), [join.copy() for join in joins]
        member = from_.this if number == 0 else joins[number - 1].this
        join = joins[number - 1] if number else None
        if join is not None and str(join.args.get("kind") or "").upper() in ("SEMI", "ANTI"):
            join.set("kind", None)  # of what such a join looks for, the rows that match
        alias = member.alias or member.name
        member.set("this", exp.to_identifier(member.name + _WITH_POSITION, quoted=True))
        member.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
        position = exp.column(exp.to_identifier(POSITION, quoted=True), table=exp.to_identifier(alias, quoted=True))
        asked = exp.Select(expressions=[position], distinct=exp.Distinct())
        asked.set("from_" if "from_" in exp.Select.arg_types else "from", from_)
        asked.set("joins", joins)
        if where is not None:
            asked.set("where", where.copy())
        parts = [part.copy() for with_ in around for part in with_.expressions]
        if parts:
            asked.set("with_" if "with_" in exp.Select.arg_types else "with", exp.With(expressions=parts))
        return str(asked.sql(dialect="duckdb"))


def note(connection: Any, sql: str, tables: Mapping[str, tuple[Any, Source]]) -> None:
    """Note the rows that a query uses, as it can be asked of `connection`.

    Args:
        connection: Of DuckDB.
        tables: Name -> its rows as an Arrow table, and where to note them.

    Raises:
        MissingExtraError: sqlglot is not installed.
    """
    import duckdb  # an extra; 137 ms
    import numpy as np

    for name, (table, source) in tables.items():
        position = np.arange(len(source), dtype=np.int64)
        connection.register(name + _WITH_POSITION, table.append_column(POSITION, [position]))
    for question in questions(sql, frozenset(tables)):
        source = tables[question.table][1]
        if question.sql is None:
            source.use()
            continue
        try:
            found = connection.sql(question.sql).fetchnumpy()[POSITION]
            source.use(np.ma.filled(found, -1).astype(np.int64))
        except duckdb.Error:  # what is not understood has used all
            source.use()
