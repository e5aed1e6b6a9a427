"""SQL of the status: facts about managed tables, runs and pairs. Builders are pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from tenant_migration.database.names import identifier

EXAMPLES_LIMIT = 10


@dataclass(frozen=True)
class ManagedTable:
    """A row of `MANAGED_TABLES`: what the plan says of the table and what the catalog says now."""

    table_id: int
    schema_name: str
    table_name: str
    tenant_column: str
    organization_column: str
    key_type: str
    """Quoted `"schema"."name"` of the tenant key's type."""
    exists: bool
    hides_rows: bool
    """Whether policies of the table apply to this role: then it must be refused, not counted in part."""
    has_column: bool
    """Whether the organization column is there."""
    has_index: bool
    has_foreign_key: bool
    foreign_key_validated: bool
    journal_bytes: int


@dataclass(frozen=True)
class Running:
    """A row of `RUNNING_TABLES`."""

    schema_name: str
    table_name: str
    run_id: int
    actor: str
    state: str
    reason: str | None
    rows_migrated: int
    rows_expected: int | None
    started_at: datetime
    last_batch_at: datetime | None
    alive: bool


OVERVIEW = """
    SELECT EXISTS (SELECT FROM tenant_migration.plans),
           s.emergency_stop,
           (SELECT coalesce(sum(pg_total_relation_size(c.oid::regclass)), 0)::bigint
            FROM pg_class c
            WHERE c.relnamespace = 'tenant_migration'::regnamespace
              AND c.relkind = 'r' AND c.relname LIKE 'backup\\_%')
    FROM tenant_migration.settings s
"""

MANAGED_TABLES = """
    SELECT t.table_id, t.table_schema, t.table_name, t.tenant_column, t.organization_column, t.key_type,
           relation.oid IS NOT NULL,
           coalesce(row_security_active(relation.oid), false),
           organization.attnum IS NOT NULL,
           EXISTS (SELECT FROM pg_index i
                   WHERE i.indrelid = relation.oid AND i.indisvalid AND i.indkey[0] = organization.attnum),
           foreign_key.oid IS NOT NULL,
           coalesce(foreign_key.convalidated, false),
           coalesce(pg_total_relation_size(journal.oid::regclass), 0)
    FROM tenant_migration.managed_tables t
    LEFT JOIN (pg_class relation JOIN pg_namespace n ON n.oid = relation.relnamespace)
           ON n.nspname = t.table_schema AND relation.relname = t.table_name
          AND relation.relkind IN ('r', 'p')
    LEFT JOIN pg_attribute organization
           ON organization.attrelid = relation.oid AND organization.attname = t.organization_column
          AND NOT organization.attisdropped
    LEFT JOIN LATERAL (
        SELECT c.oid, c.convalidated FROM pg_constraint c
        WHERE c.conrelid = relation.oid AND c.contype = 'f' AND c.conkey = ARRAY[organization.attnum]
        ORDER BY c.convalidated DESC LIMIT 1
    ) foreign_key ON true
    LEFT JOIN pg_class journal
           ON journal.relnamespace = 'tenant_migration'::regnamespace
          AND journal.relname = 'journal_' || t.table_id
    WHERE t.retired_at IS NULL
    ORDER BY t.position, t.table_schema, t.table_name
"""

PAIRS = """
    SELECT table_id, state, count(*) FROM tenant_migration.table_states GROUP BY table_id, state
    ORDER BY table_id, state
"""

RUNNING_TABLES = """
    SELECT t.table_schema, t.table_name, r.run_id, r.actor, tr.state, tr.reason, tr.rows_migrated,
           tr.rows_expected, tr.started_at, tr.last_batch_at,
           EXISTS (SELECT FROM tenant_migration.leases l
                   WHERE l.run_id = r.run_id AND l.table_id = t.table_id AND l.expires_at > clock_timestamp())
    FROM tenant_migration.table_runs tr
    JOIN tenant_migration.runs r USING (run_id)
    JOIN tenant_migration.managed_tables t USING (table_id)
    WHERE tr.finished_at IS NULL AND r.finished_at IS NULL
      AND tr.state NOT IN ('pending', 'completed', 'failed', 'blocked', 'cancelled', 'rolled_back')
    ORDER BY r.run_id, t.position
"""

FAILURES = """
    SELECT t.table_schema, t.table_name, n.tenant_id, s.state, s.reason
    FROM tenant_migration.table_states s
    JOIN tenant_migration.managed_tables t USING (table_id)
    JOIN tenant_migration.tenants n USING (tenant_number)
    WHERE s.state IN ('failed', 'blocked') AND t.retired_at IS NULL
    ORDER BY t.position, t.table_schema, t.table_name, n.tenant_id COLLATE "C"
    LIMIT %s
"""

PAIR_REASONS = """
    SELECT t.table_schema || '.' || t.table_name, n.tenant_id, s.state, s.reason
    FROM tenant_migration.table_states s
    JOIN tenant_migration.managed_tables t USING (table_id)
    JOIN tenant_migration.tenants n USING (tenant_number)
    WHERE t.table_schema || '.' || t.table_name = ANY(%s)
"""

# Of pairs that are still in the state that was judged.
VERDICTS = """
    SELECT n.tenant_id, count(*), min(v.judged_at),
           coalesce(jsonb_agg(jsonb_build_object(
               'table_schema', t.table_schema, 'table_name', t.table_name, 'phase', v.phase,
               'outcome', v.outcome, 'failed_checks', v.failed_checks, 'report_id', v.report_id
           ) ORDER BY t.position, t.table_schema, t.table_name) FILTER (WHERE v.outcome <> 'passed'), '[]')
    FROM tenant_migration.verdicts v
    JOIN tenant_migration.managed_tables t USING (table_id)
    JOIN tenant_migration.tenants n USING (tenant_number)
    JOIN tenant_migration.table_states s USING (table_id, tenant_number)
    WHERE t.retired_at IS NULL
      AND s.state = ANY (CASE v.phase WHEN 'post-rollback' THEN '{rolled_back,failed}'::text[]
                                      ELSE '{completed,verifying,failed}' END)
    GROUP BY n.tenant_id
    ORDER BY n.tenant_id COLLATE "C"
"""

ROWS_COMMITTED = """
    SELECT t.table_schema || '.' || t.table_name, sum(tr.rows_migrated)::bigint
    FROM tenant_migration.table_runs tr
    JOIN tenant_migration.runs r USING (run_id)
    JOIN tenant_migration.managed_tables t USING (table_id)
    WHERE r.started_at >= %s AND r.host = %s AND r.process_id = %s AND tr.rows_migrated > 0
    GROUP BY t.table_schema, t.table_name, t.position
    ORDER BY t.position, t.table_schema, t.table_name
"""


def count_rows(table: ManagedTable, interface_schema: str) -> sql.Composed:
    """Build the query for one table's exact counts, in one pass over it.

    Keys of rows, of mappings and of allowed tenants meet in one GROUP BY, because that compares by the
    type's own equality wherever its operators live; `=` would be looked up in the search path, where those of
    an extension's type (citext) are not.

    Parameter `allowed`: tenants that may be without a mapping.
    """
    filled = sql.SQL("count({})").format(identifier(table.organization_column))
    return sql.SQL(
        "WITH keys AS ("
        "SELECT {tenant}::{type} AS key, count(*) AS rows, {filled} AS filled,"
        " false AS mapped, false AS allowed FROM {table} GROUP BY 1"
        " UNION ALL"
        " SELECT canonical::{type}, 0, 0, true, false FROM ("
        "SELECT tenant_migration.canonical_key(m.tenant_id, {key_type}) AS canonical FROM {mappings} m) m"
        " WHERE canonical IS NOT NULL"
        " UNION ALL"
        " SELECT canonical::{type}, 0, 0, false, true FROM ("
        "SELECT tenant_migration.canonical_key(a, {key_type}) AS canonical"
        " FROM unnest(%(allowed)s::text[]) a) a"
        " WHERE canonical IS NOT NULL"
        "), tenants AS ("
        "SELECT key, sum(rows) AS rows, sum(filled) AS filled, bool_or(mapped) AS mapped,"
        " key IS NOT NULL AND NOT bool_or(mapped) AND bool_or(allowed) AS allowed,"
        " key IS NOT NULL AND NOT bool_or(mapped) AND NOT bool_or(allowed) AS unmapped"
        " FROM keys GROUP BY key"
        ") SELECT"
        " coalesce(sum(rows) FILTER (WHERE mapped), 0)::bigint,"
        " coalesce(sum(filled) FILTER (WHERE mapped), 0)::bigint,"
        " coalesce(sum(rows) FILTER (WHERE key IS NULL), 0)::bigint,"
        " coalesce(sum(rows) FILTER (WHERE allowed), 0)::bigint,"
        " coalesce(sum(rows) FILTER (WHERE unmapped), 0)::bigint,"
        " count(*) FILTER (WHERE unmapped),"
        " coalesce((array_agg(key::text ORDER BY key::text) FILTER (WHERE unmapped))[:{limit}], '{{}}')"
        " FROM tenants"
    ).format(
        tenant=identifier(table.tenant_column),
        type=sql.SQL(table.key_type.replace("%", "%%")),  # quoted when the plan was stored
        key_type=sql.Literal(table.key_type.replace("%", "%%")),
        filled=filled if table.has_column else sql.SQL("0"),
        table=identifier(table.schema_name, table.table_name),
        mappings=identifier(interface_schema, "tenant_org_mappings"),
        limit=sql.Literal(EXAMPLES_LIMIT),
    )
