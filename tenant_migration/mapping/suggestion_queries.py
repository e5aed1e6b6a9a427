"""SQL of the suggestions, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql


@dataclass(frozen=True)
class ManagedKey:
    """The tenant key of one table."""

    schema_name: str
    table_name: str
    column: str
    type_schema: str
    type_name: str
    has_index: bool
    """Whether an index leads with it."""

    @property
    def key_type(self) -> str:
        """The type as `canonical_key` wants it: quoted, qualified, no modifier."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.type_schema, self.type_name))


def unmapped_keys_query(key: ManagedKey, interface_schema: str) -> sql.Composed:
    """Build the query for the table's distinct keys that have no mapping, as text.

    EXCEPT compares by the type's own equality, wherever its operators live; `=` would be looked up in the
    search path, where those of an extension's type (citext) are not.
    """
    return sql.SQL(
        "SELECT key::text FROM ({keys} EXCEPT SELECT canonical::{type} FROM ("
        "SELECT tenant_migration.canonical_key(m.tenant_id, {key_type}) AS canonical FROM {mappings} m"
        ") mapped WHERE canonical IS NOT NULL) unmapped ORDER BY 1"
    ).format(
        keys=_distinct_keys(key),
        type=sql.Identifier(key.type_schema, key.type_name),
        key_type=sql.Literal(key.key_type),
        mappings=sql.Identifier(interface_schema, "tenant_org_mappings"),
    )


def _distinct_keys(key: ManagedKey) -> sql.Composed:
    names = {
        "table": sql.Identifier(key.schema_name, key.table_name),
        "column": sql.Identifier(key.column),
        "type": sql.Identifier(key.type_schema, key.type_name),
    }
    if not key.has_index or key.type_schema != "pg_catalog":
        return sql.SQL(
            "SELECT DISTINCT {column}::{type} AS key FROM {table} WHERE {column} IS NOT NULL"
        ).format(**names)
    # From one key to the next along the index: one probe a tenant instead of reading every row.
    return sql.SQL(
        "(WITH RECURSIVE step (key) AS ("
        "(SELECT {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 1)"
        " UNION ALL SELECT (SELECT {column} FROM {table} WHERE {column} > step.key ORDER BY {column} LIMIT 1)"
        " FROM step WHERE step.key IS NOT NULL)"
        " SELECT key::{type} FROM step WHERE key IS NOT NULL)"
    ).format(**names)


def organizations_query(
    schema_name: str, table_name: str, id_column: str, slug_column: str | None, name_column: str | None
) -> sql.Composed:
    """Build the query for id, slug and name of every organization."""

    def text(column: str | None) -> sql.Composable:
        return sql.SQL("NULL") if column is None else sql.SQL("{}::text").format(sql.Identifier(column))

    return sql.SQL("SELECT {}, {}, {} FROM {}").format(
        sql.Identifier(id_column),
        text(slug_column),
        text(name_column),
        sql.Identifier(schema_name, table_name),
    )
