"""How a row is hashed so that any other content gives another hash, whatever the session's settings are.

Belongs here: which form of a column's value goes into the hash, and the hash itself. PostgreSQL's own hash
of a value follows the type's `=`: 12.10 = 12.1, 1 month = 30 days, 'A' = 'a' in citext. Such values go in by
what the type sends over the wire, or as text where that text depends on no setting. The engine takes the hash
before it writes, the checks take it again: both by this module, so a change of it needs a new `FORMULA`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

FORMULA = 2
"""Number of this formula. 1 took every value by its own hash, and is compared by nobody any more."""

Quote = Callable[..., sql.Identifier]
"""Quotes a name: `psycopg.sql.Identifier`, or `database.names.identifier` in a query with parameters."""

_BY_VALUE = frozenset(
    """
    bool bpchar bytea char cidr date inet int2 int4 int8 macaddr macaddr8 name oid pg_lsn text time timestamp
    timestamptz timetz uuid varchar xid8
    """.split()  # noqa: SIM905 - a list of words reads better as text
)
"""Types of pg_catalog whose equal values are identical, and that have a hash."""

_AS_TEXT = frozenset({"json", "jsonb", "tsquery", "tsvector", "xml"})
"""Types of pg_catalog whose text says everything and depends on no setting."""

_ARRAY_AS_TEXT = frozenset(
    "bool bpchar int2 int4 int8 json jsonb name numeric oid text uuid varchar xml".split()  # noqa: SIM905
)
"""Elements whose arrays have such a text; it names bounds and shape, which an array's own hash leaves out."""

_TYPES = """
WITH RECURSIVE resolved AS (
    SELECT a.attname, a.atttypid AS oid, a.attcollation
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %s AND c.relname = %s AND a.attname = ANY (%s::text[]) AND NOT a.attisdropped
    UNION ALL
    SELECT r.attname, t.typbasetype, r.attcollation
      FROM resolved r JOIN pg_type t ON t.oid = r.oid WHERE t.typtype = 'd'
)
SELECT r.attname::text, n.nspname = 'pg_catalog', t.typname::text, t.typtype::text, t.typcategory::text,
       e.typname::text, coalesce(e.typtype = 'e', false), pn.nspname::text, p.proname::text,
       coalesce(l.collisdeterministic, true)
  FROM resolved r
  JOIN pg_type t ON t.oid = r.oid AND t.typtype <> 'd'
  JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
  LEFT JOIN (pg_proc p JOIN pg_namespace pn ON pn.oid = p.pronamespace) ON p.oid = t.typsend
  LEFT JOIN pg_collation l ON l.oid = r.attcollation
"""


@dataclass(frozen=True)
class HashPart:
    """One column, and the form in which its values go into the hash."""

    column: str
    form: Literal["value", "bytes", "text", "sent"]
    function_schema: str = ""
    function_name: str = ""
    """Of `sent`: what the type sends over the wire."""

    def of(self, row: str, quote: Quote) -> sql.Composed:
        """Return the expression for a row.

        Args:
            row: its alias, a plain name.
            quote: how names are quoted in this query.
        """
        value = sql.SQL(row + ".{}").format(quote(self.column))
        if self.form == "value":
            return value
        if self.form == "bytes":
            return sql.SQL('({} COLLATE "C")').format(value)
        if self.form == "text":
            return sql.SQL("{}::text").format(value)
        return sql.SQL("{}({})").format(quote(self.function_schema, self.function_name), value)


def read_hash_parts(
    connection: psycopg.Connection[Any], schema: str, table: str, columns: Sequence[str]
) -> tuple[HashPart, ...] | None:
    """Return how these columns of a table are hashed, in this order; None when one of them is not there."""
    found = {
        name: _part(name, *facts)
        for name, *facts in connection.execute(_TYPES, (schema, table, list(columns)))
    }
    if any(name not in found for name in columns):
        return None
    return tuple(found[name] for name in columns)


def _part(
    column: str,
    is_builtin: bool,
    type_name: str,
    kind: str,
    category: str,
    element: str | None,
    is_array_of_enum: bool,
    send_schema: str | None,
    send_name: str | None,
    is_deterministic: bool,
) -> HashPart:
    if kind == "e" or (is_builtin and type_name in _BY_VALUE):
        return HashPart(column, "value" if is_deterministic else "bytes")
    is_text = (is_builtin and type_name in _AS_TEXT) or category == "S"
    if is_text or is_array_of_enum or element in _ARRAY_AS_TEXT or send_name is None or send_schema is None:
        return HashPart(column, "text")
    return HashPart(column, "sent", send_schema, send_name)


def row_hash(
    parts: Sequence[HashPart], row: str, quote: Quote, *, previous_value: sql.Composable
) -> sql.Composed:
    """Build the hash of a row's content together with the organization that it had before.

    Hashed twice: the hash of a record is linear in its columns, so that sums of it miss exchanged values.

    Args:
        parts: of `read_hash_parts`.
        row: alias of the row.
        quote: how names are quoted in this query.
        previous_value: expression of type uuid.
    """
    values = [*(part.of(row, quote) for part in parts), previous_value]
    return sql.SQL("hashint8extended(hash_record_extended(ROW({}), 0), 0)").format(sql.SQL(", ").join(values))
