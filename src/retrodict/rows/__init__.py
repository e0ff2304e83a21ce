"""Which rows of a table reached what was made of them.

The law: never wrong by omission. A row is left out only where it was seen that it could not matter: where a filter or a
join whose every step works on one row at a time dropped it. Whatever looks at values in any other way has used all the
rows that it was given. The modules below stand on pandas, polars, DuckDB and sqlglot, which are extras,
and are loaded when they are needed.
"""
