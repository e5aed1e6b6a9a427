"""Builds what a dry run reads: counts by tenant against the live mapping, in one scan."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.target import of_row, type_name
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import Plan, TablePlan

_KEYS = """
keys AS MATERIALIZED (
    SELECT tenant_id, organization_id, tenant_migration.canonical_key(tenant_id, %(key_type)s) AS key
    FROM {mappings}),
map AS MATERIALIZED (SELECT tenant_id, organization_id, key::{type} AS key FROM keys WHERE key IS NOT NULL)"""

_COUNT = """
WITH {keys},
allowed_keys AS MATERIALIZED (
    SELECT tenant_migration.canonical_key(tenant_id, %(key_type)s) AS key
    FROM unnest(%(allowed)s::text[]) AS tenant_id),
allowed AS MATERIALIZED (SELECT DISTINCT key::{type} AS key FROM allowed_keys WHERE key IS NOT NULL),
groups AS MATERIALIZED (
    SELECT {tenant} AS key, {organization} AS organization_id, count(*) AS row_count
    FROM {relation} AS t GROUP BY 1, 2)
SELECT map.tenant_id,
       CASE WHEN groups.key IS NULL THEN 'null' WHEN map.key IS NOT NULL THEN 'mapped'
            WHEN allowed.key IS NOT NULL THEN 'allowed' ELSE 'unmapped' END,
       coalesce(sum(row_count) FILTER (WHERE groups.organization_id IS NULL), 0)::int8,
       coalesce(sum(row_count) FILTER (WHERE groups.organization_id = map.organization_id), 0)::int8,
       coalesce(sum(row_count) FILTER (WHERE groups.organization_id <> map.organization_id), 0)::int8,
       coalesce(sum(row_count), 0)::int8
FROM groups LEFT JOIN map ON map.key {equals} groups.key
LEFT JOIN allowed ON allowed.key {equals} groups.key
GROUP BY 1, 2"""

_AMBIGUOUS = """
WITH {keys}
SELECT array_agg(tenant_id ORDER BY tenant_id) FROM map GROUP BY key
HAVING count(*) > 1 AND (%(tenants)s::text[] IS NULL OR bool_or(tenant_id = ANY (%(tenants)s::text[])))
ORDER BY 1 LIMIT %(shown)s"""


def _keys(plan: Plan, table: TablePlan) -> sql.Composed:
    """Build the live mapping; cast in a step of its own, so that only keys of this type are cast."""
    return sql.SQL(_KEYS).format(
        mappings=identifier(plan.interface_schema, "tenant_org_mappings"), type=type_name(table.tenant_column)
    )


def count_statement(plan: Plan, table: TablePlan, *, column_exists: bool) -> sql.Composed:
    """Build the count of (tenant or NULL, kind, empty, equal, different, rows) groups.

    Parameters `key_type`, `allowed`.
    """
    relation = identifier(table.schema_name, table.table_name)
    return sql.SQL(_COUNT).format(
        keys=_keys(plan, table),
        type=type_name(table.tenant_column),
        tenant=of_row(table.tenant_column.name),
        equals=sql.SQL(table.tenant_column.equality.replace("%", "%%")),
        organization=of_row(table.organization_column) if column_exists else sql.SQL("NULL::uuid"),
        relation=relation if table.partitioned else sql.SQL("ONLY {}").format(relation),
    )


def ambiguous_statement(plan: Plan, table: TablePlan) -> sql.Composed:
    """Build the search for tenants whose keys are equal in the key's type: `AB-..` and `ab-..` as uuid.

    Parameters `key_type`, `tenants` (None: all; else groups with one of them), `shown`.
    """
    return sql.SQL(_AMBIGUOUS).format(keys=_keys(plan, table))
