"""What the rows say about tenants: one grouped scan of a table, under a time limit.

Counts: rows, rows without a tenant, rows of tenants without a mapping, rows whose organization differs from
the mapping. Reads one table in one short read-only transaction, so that no old snapshot holds back vacuum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.catalog.model import TableName
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.database.names import identifier
from tenant_migration.planning.discovery import ManagedTable
from tenant_migration.planning.model import ColumnRef

EXAMPLES = 10
TOTAL_SECONDS = 120.0
"""Longest time for all tables together; what is left then is not counted, which the plan says."""
_LOCK_TIMEOUT_MS = 1_000
_SHORTEST_TIMEOUT_MS = 100


@dataclass(frozen=True)
class TenantValues:
    """What one table's rows say; `not_counted` is the reason when there are no counts.

    `unreadable` says that no later attempt by this role can count them either: a hazard of its own says why.
    """

    rows: int = 0
    null_rows: int = 0
    filled_rows: int = 0
    """Rows that have an organization."""
    not_counted: str | None = None
    unreadable: bool = False
    mapping_known: bool = False
    """Whether rows were compared with the mapping; it needs `install`."""
    unmapped_rows: int = 0
    unmapped_tenants: int = 0
    unmapped_examples: tuple[tuple[str, int], ...] = ()
    """At most ten, the largest first: tenant and rows."""
    allowed_unmapped_rows: int = 0
    differing_rows: int = 0
    """Rows whose organization is not the mapped one."""

    @property
    def rows_to_write(self) -> int | None:
        """Rows that wait for their organization; None where nothing was counted."""
        if self.not_counted:
            return None
        return max(
            0, self.rows - self.null_rows - self.unmapped_rows - self.allowed_unmapped_rows - self.filled_rows
        )


# Looked up by name in the catalogs: to_regclass raises where the schema may not be used.
_MAPPING_READABLE = """
SELECT EXISTS (
    SELECT FROM pg_class m
      JOIN pg_namespace s ON s.oid = m.relnamespace
     WHERE s.nspname = %(schema)s AND m.relname = 'tenant_org_mappings'
       AND has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(m.oid, 'SELECT')
       AND NOT row_security_active(m.oid)
) AND EXISTS (
    SELECT FROM pg_proc f
      JOIN pg_namespace s ON s.oid = f.pronamespace
     WHERE s.nspname = 'tenant_migration' AND f.proname = 'canonical_key'
       AND has_schema_privilege(s.oid, 'USAGE') AND has_function_privilege(f.oid, 'EXECUTE')
)
"""


def mapping_is_readable(connection: psycopg.Connection[Any], interface_schema: str) -> bool:
    """Say whether the mapping is installed and visible to the connected role."""
    with transaction(connection, read_only=True):
        row = connection.execute(_MAPPING_READABLE, {"schema": interface_schema}).fetchone()
    return bool(row and row[0])


def count_query(
    name: TableName, key: ColumnRef, organization_column: str | None, mapping_schema: str | None
) -> sql.Composed:
    """Build the grouped scan; its parameter is `allowed`, the tenants that may stay without a mapping.

    Args:
        name: table, or root of partitions.
        key: tenant key with its type.
        organization_column: the uuid column where it is there already; None: no row has an organization.
        mapping_schema: where the mapping is; None: it is not compared with.
    """
    key_type: sql.Composable = identifier(key.type_schema, key.type_name)
    key_value: sql.Composable = identifier("t", key.name)
    equals = sql.SQL(key.equality.replace("%", "%%"))
    type_text = sql.Literal(key.quoted_type.replace("%", "%%"))
    if mapping_schema is None:
        mapped = sql.SQL("SELECT NULL::{} AS key, NULL::uuid AS organization_id WHERE false").format(key_type)
        allowed = sql.SQL("SELECT NULL::{} AS key WHERE %(allowed)s::text[] IS NULL").format(key_type)
    else:
        # two spellings of one key are the mapping's own check; here one of them is enough
        mapped = sql.SQL(
            "SELECT DISTINCT ON (1) tenant_migration.canonical_key(m.tenant_id, {type_text})::{type} AS key,"
            " m.organization_id FROM {mapping} m"
            " WHERE tenant_migration.canonical_key(m.tenant_id, {type_text}) IS NOT NULL"
        ).format(
            type_text=type_text,
            type=key_type,
            mapping=identifier(mapping_schema, "tenant_org_mappings"),
        )
        allowed = sql.SQL(
            "SELECT DISTINCT tenant_migration.canonical_key(a, {type_text})::{type} AS key"
            " FROM unnest(%(allowed)s::text[]) AS a"
            " WHERE tenant_migration.canonical_key(a, {type_text}) IS NOT NULL"
        ).format(type_text=type_text, type=key_type)
    organization = (
        sql.SQL("t.{}").format(identifier(organization_column))
        if organization_column is not None
        else sql.SQL("NULL::uuid")
    )
    return sql.SQL(
        """
        WITH groups AS MATERIALIZED (
            SELECT {key} AS key, {organization} AS organization_id, count(*) AS row_count
              FROM {table} t
             GROUP BY 1, 2
        ), mapped AS MATERIALIZED ({mapped}
        ), allowed AS MATERIALIZED ({allowed}
        ), judged AS (
            SELECT g.key, g.row_count, g.organization_id IS NOT NULL AS filled,
                   CASE WHEN g.key IS NULL THEN 'null'
                        WHEN m.key IS NOT NULL THEN 'mapped'
                        WHEN a.key IS NOT NULL THEN 'allowed'
                        ELSE 'unmapped' END AS kind,
                   g.organization_id IS NOT NULL AND m.key IS NOT NULL
                       AND g.organization_id <> m.organization_id AS differs
              FROM groups g
              LEFT JOIN mapped m ON m.key {equals} g.key
              LEFT JOIN allowed a ON a.key {equals} g.key
        ), unmapped AS (
            SELECT key::text AS tenant, sum(row_count)::bigint AS row_count
              FROM judged WHERE kind = 'unmapped' GROUP BY key
        )
        SELECT coalesce(sum(row_count), 0)::bigint,
               coalesce(sum(row_count) FILTER (WHERE kind = 'null'), 0)::bigint,
               coalesce(sum(row_count) FILTER (WHERE filled), 0)::bigint,
               coalesce(sum(row_count) FILTER (WHERE kind = 'unmapped'), 0)::bigint,
               coalesce(sum(row_count) FILTER (WHERE kind = 'allowed'), 0)::bigint,
               coalesce(sum(row_count) FILTER (WHERE differs), 0)::bigint,
               (SELECT count(*) FROM unmapped),
               (SELECT coalesce(jsonb_agg(jsonb_build_array(tenant, row_count)
                                          ORDER BY row_count DESC, tenant), '[]')
                  FROM (SELECT * FROM unmapped ORDER BY row_count DESC, tenant LIMIT {examples}) AS largest)
          FROM judged
        """
    ).format(
        key=key_value,
        equals=equals,
        organization=organization,
        table=identifier(name.schema, name.name),
        mapped=mapped,
        allowed=allowed,
        examples=sql.Literal(EXAMPLES),
    )


def count_tenant_values(
    connection: psycopg.Connection[Any],
    tables: Iterable[ManagedTable],
    config: MigrationConfig,
    *,
    mapping_known: bool,
    clock: Callable[[], float] = time.monotonic,
    total_seconds: float = TOTAL_SECONDS,
) -> dict[TableName, TenantValues]:
    """Count what the rows of each table say, small tables first.

    A table that cannot be read, or not in time, gets `not_counted` with the reason; it is never left out.

    Args:
        connection: in autocommit mode.
        tables: what discovery found.
        config: statement timeout, interface schema, allowed tenants.
        mapping_known: whether rows can be compared with the mapping.
        clock: seconds, for the limit over all tables.
        total_seconds: that limit.
    """
    mapping_schema = config.interface_schema if mapping_known else None
    deadline = clock() + total_seconds
    values: dict[TableName, TenantValues] = {}
    for managed in sorted(tables, key=lambda found: (found.table.total_bytes, found.name)):
        values[managed.name] = _count_in_time(
            connection, managed, config, mapping_schema, left_ms=int((deadline - clock()) * 1000)
        )
    return values


def _count_in_time(
    connection: psycopg.Connection[Any],
    managed: ManagedTable,
    config: MigrationConfig,
    mapping_schema: str | None,
    *,
    left_ms: int,
) -> TenantValues:
    unreadable = _cannot_be_read(managed)
    if unreadable:
        return TenantValues(not_counted=unreadable, unreadable=True)
    if left_ms < _SHORTEST_TIMEOUT_MS:
        return TenantValues(not_counted="the time for all tables together is used up")
    timeout_ms = min(left_ms, config.defaults.statement_timeout_ms)
    return _count(connection, managed, config, mapping_schema, timeout_ms=timeout_ms)


def _cannot_be_read(managed: ManagedTable) -> str | None:
    table = managed.table
    if table.kind == "foreign" or table.has_foreign_leaf:
        return "rows are on another server"
    if not managed.tenant_column.comparable:
        return f"values of type {managed.tenant_column.type_sql} cannot be compared"
    if not table.can_read:
        return "no right to read the table"
    if table.row_security_active:
        return "row security would hide rows"
    return None


def _count(
    connection: psycopg.Connection[Any],
    managed: ManagedTable,
    config: MigrationConfig,
    mapping_schema: str | None,
    *,
    timeout_ms: int,
) -> TenantValues:
    column, existing = managed.tenant_column, managed.table.column(managed.organization_column)
    query = count_query(
        managed.name,
        ColumnRef(
            name=column.name,
            type_schema=column.type_schema,
            type_name=column.type_name,
            base_type=column.base_type,
            equality_schema=column.equality_schema,
        ),
        existing.name if existing and existing.base_type == "pg_catalog.uuid" else None,
        mapping_schema,
    )
    try:
        with transaction(
            connection, lock_timeout_ms=_LOCK_TIMEOUT_MS, statement_timeout_ms=timeout_ms, read_only=True
        ):
            row = connection.execute(
                query, {"allowed": config.validation.allowed_unmapped_tenants}
            ).fetchone()
    except psycopg.errors.QueryCanceled:
        return TenantValues(not_counted=f"statement timeout after {timeout_ms / 1000:g} s")
    except psycopg.errors.LockNotAvailable:
        return TenantValues(not_counted="another session holds the table's lock")
    if row is None:
        raise RuntimeError(f"the count over {managed.name} gave no row")
    rows, null_rows, filled, unmapped, allowed, differing, unmapped_tenants, examples = row
    known = mapping_schema is not None
    return TenantValues(
        rows=rows,
        null_rows=null_rows,
        filled_rows=filled,
        mapping_known=known,
        unmapped_rows=unmapped if known else 0,
        unmapped_tenants=unmapped_tenants if known else 0,
        unmapped_examples=tuple((tenant, count) for tenant, count in examples) if known else (),
        allowed_unmapped_rows=allowed,
        differing_rows=differing,
    )
