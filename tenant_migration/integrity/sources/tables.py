"""Names of tables and columns, typed tenant keys, and the text by which a row is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from tenant_migration.integrity.scope import TableScope
from tenant_migration.planning.model import TablePlan

_TRUE = sql.SQL("TRUE")

_KEY_IS_ONE_OF = (
    "{key} {equals} ANY (ARRAY(SELECT k.key FROM unnest({tenants}::text[]) AS x(tenant_id)"
    " CROSS JOIN LATERAL (SELECT {canonical} AS key) AS k WHERE k.key IS NOT NULL))"
)


def all_of(conditions: Sequence[sql.Composable]) -> sql.Composable:
    """Return the conditions joined by AND."""
    return sql.SQL(" AND ").join(conditions) if conditions else _TRUE


def table_name(scope: TableScope) -> sql.Composed:
    """Return the table as FROM takes it.

    A partitioned table is read with its partitions; any other table alone, since what inherits from it has
    rows of its own and is a table of its own. What it is now counts, not what it was when the plan was made:
    ONLY of a partitioned table is empty, and every check would pass.
    """
    name = sql.Identifier(scope.table.schema_name, scope.table.table_name)
    return sql.SQL("{}" if scope.facts.is_partitioned else "ONLY {}").format(name)


def column(alias: str, name: str) -> sql.Identifier:
    """Return a column of an alias."""
    return sql.Identifier(alias, name)


def tenant_key(table: TablePlan, alias: str) -> sql.Identifier:
    """Return the tenant key of a row; never cast, so that an index on it can be used."""
    return column(alias, table.tenant_column.name)


def canonical_key(table: TablePlan, tenant_id: sql.Composable) -> sql.Composed:
    """Return a tenant id as a key of this table: NULL when no row of the table can belong to the tenant."""
    key = table.tenant_column
    query = "{canonical}::{type}"
    if key.is_domain:  # one that forbids NULL must not be asked to take one
        query = "CASE WHEN {canonical} IS NOT NULL THEN {canonical}::{type} END"
    return sql.SQL(query).format(
        canonical=sql.SQL("tenant_migration.canonical_key({}, {})").format(
            tenant_id, sql.Literal(key.quoted_type)
        ),
        type=sql.Identifier(key.type_schema, key.type_name),
    )


def same_tenant(scope: TableScope, one: sql.Composable, other: sql.Composable) -> sql.Composed:
    """Return the condition that two tenant keys of this table are equal."""
    return sql.SQL("{} {} {}").format(one, scope.equality_of(scope.table.tenant_column), other)


def key_is_one_of(scope: TableScope, key: sql.Composable, tenants: Sequence[str]) -> sql.Composed:
    """Return the condition that a key of this table is that of one of the tenants: true or false, never NULL.

    Tenants that cannot be a key of this table are left out: `key = ANY` over a NULL would be NULL, and its
    negation would find nothing.
    """
    return sql.SQL(_KEY_IS_ONE_OF).format(
        key=key,
        equals=scope.equality_of(scope.table.tenant_column),
        canonical=canonical_key(scope.table, sql.Identifier("x", "tenant_id")),
        tenants=sql.Literal(list(tenants)),
    )


def in_scope(scope: TableScope, alias: str) -> sql.Composable:
    """Return the condition that a row belongs to the tenants asked about; all rows when none were named."""
    if scope.tenants is None:
        return _TRUE
    return key_is_one_of(scope, tenant_key(scope.table, alias), scope.tenants)


def tenant_is_in_scope(tenants: Sequence[str] | None, tenant_id: sql.Composable) -> sql.Composable:
    """Return the condition that a tenant id is one of those asked about."""
    if tenants is None:
        return _TRUE
    return sql.SQL("{} = ANY ({}::text[])").format(tenant_id, sql.Literal(list(tenants)))


def organization(scope: TableScope, alias: str) -> sql.Composable:
    """Return the organization of a row; NULL while the table has no such column."""
    if not scope.facts.organization_column_exists:
        return sql.SQL("NULL::uuid")
    return column(alias, scope.table.organization_column)


def key_text(columns: Mapping[str, sql.Composable]) -> sql.Composable:
    """Return a key as text: the value of a single column, else `a=1, b=2`."""
    if len(columns) == 1:
        (value,) = columns.values()
        return sql.SQL("{}::text").format(value)
    parts = [
        sql.SQL("{} || {}::text").format(sql.Literal(f"{name}="), value) for name, value in columns.items()
    ]
    return sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(parts))


def row_key(table: TablePlan, alias: str) -> sql.Composable:
    """Return the text by which a person finds a row: its key, or without a key where it lies."""
    if not table.key_columns:
        place = (column(alias, "tableoid"), column(alias, "ctid"))
        return sql.SQL("{}::regclass::text || ' ' || {}::text").format(*place)
    return key_text({key.name: column(alias, key.name) for key in table.key_columns})


def mappings(interface_schema: str) -> sql.Identifier:
    """Return the table of the mappings."""
    return sql.Identifier(interface_schema, "tenant_org_mappings")
