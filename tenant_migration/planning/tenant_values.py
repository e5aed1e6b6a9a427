"""What the rows say about tenants: one grouped scan of a table, under a time limit.

Counts: rows, rows without a tenant, rows of tenants without a mapping, rows whose organization differs from
the mapping. Reads one table in one short read-only transaction, so that no old snapshot holds back vacuum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

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
    waiting_rows: int = 0
    """Rows that a run would give an organization; where the mapping is not known, all that have a key."""
    not_counted: str | None = None
    unreadable: bool = False
    unmapped_rows: int = 0
    unmapped_tenants: int = 0
    unmapped_examples: tuple[tuple[str, int], ...] = ()
    """At most ten, the largest first: tenant and rows."""
    allowed_unmapped_rows: int = 0
    differing_rows: int = 0
    """Rows whose organization is not the mapped one."""


MappingVisibility = Literal["readable", "not installed", "not readable"]
"""What the connected role can know of the mapping."""

# Looked up by name in the catalogs: to_regclass raises where the schema may not be used.
_MAPPING_VISIBILITY = """
SELECT has_schema_privilege(s.oid, 'USAGE') AND has_table_privilege(m.oid, 'SELECT')
       AND NOT row_security_active(m.oid)
       AND has_schema_privilege(fs.oid, 'USAGE') AND has_function_privilege(f.oid, 'EXECUTE')
  FROM pg_class m
  JOIN pg_namespace s ON s.oid = m.relnamespace
  CROSS JOIN pg_proc f
  JOIN pg_namespace fs ON fs.oid = f.pronamespace
 WHERE s.nspname = %(schema)s AND m.relname = 'tenant_org_mappings'
   AND fs.nspname = 'tenant_migration' AND f.proname = 'canonical_key'
"""


def mapping_visibility(connection: psycopg.Connection[Any], interface_schema: str) -> MappingVisibility:
    """Say whether the mapping is installed in this schema, and whole to the connected role."""
    with transaction(connection, read_only=True):
        row = connection.execute(_MAPPING_VISIBILITY, {"schema": interface_schema}).fetchone()
    if row is None:
        return "not installed"
    return "readable" if row[0] else "not readable"


@dataclass(frozen=True)
class TypedKeys:
    """The mapping's keys of one type, as the text of arrays: cast and told apart once, not for each table."""

    mapped: str = "{}"
    organizations: str = "{}"
    """Parallel to `mapped`."""
    allowed: str = "{}"
    """Tenants that may stay without a mapping."""


# Two spellings of one key are the mapping's own check; here one of them is enough.
_TYPED_KEYS = """
WITH mapped AS (
    SELECT DISTINCT ON (c.key::{type}) c.key, m.organization_id
      FROM {mapping} m
      CROSS JOIN LATERAL (SELECT tenant_migration.canonical_key(m.tenant_id, %(type)s) AS key) AS c
     WHERE c.key IS NOT NULL
), allowed AS (
    SELECT DISTINCT ON (c.key::{type}) c.key
      FROM unnest(%(allowed)s::text[]) AS a (tenant_id)
      CROSS JOIN LATERAL (SELECT tenant_migration.canonical_key(a.tenant_id, %(type)s) AS key) AS c
     WHERE c.key IS NOT NULL
)
SELECT coalesce(array_agg(mapped.key), '{{}}')::text,
       coalesce(array_agg(mapped.organization_id), '{{}}')::text,
       (SELECT coalesce(array_agg(allowed.key), '{{}}')::text FROM allowed)
  FROM mapped
"""

_COUNT = """
WITH groups AS MATERIALIZED (
    SELECT {key} AS key, {organization} AS organization_id, count(*) AS row_count
      FROM {table} t
     GROUP BY 1, 2
), mapped AS MATERIALIZED (
    SELECT k.key::{type} AS key, k.organization_id
      FROM unnest(%(mapped)s::text[], %(organizations)s::uuid[]) AS k (key, organization_id)
), allowed AS MATERIALIZED (
    SELECT k.key::{type} AS key FROM unnest(%(allowed)s::text[]) AS k (key)
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
       coalesce(sum(row_count) FILTER (WHERE kind = 'mapped' AND NOT filled), 0)::bigint,
       coalesce(sum(row_count) FILTER (WHERE kind = 'unmapped' AND NOT filled), 0)::bigint,
       coalesce(sum(row_count) FILTER (WHERE kind = 'unmapped'), 0)::bigint,
       coalesce(sum(row_count) FILTER (WHERE kind = 'allowed'), 0)::bigint,
       coalesce(sum(row_count) FILTER (WHERE differs), 0)::bigint,
       (SELECT count(*) FROM unmapped),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(tenant, row_count)
                                  ORDER BY row_count DESC, tenant), '[]')
          FROM (SELECT * FROM unmapped ORDER BY row_count DESC, tenant LIMIT {examples}) AS largest)
  FROM judged
"""


def typed_keys_query(key: ColumnRef, mapping_schema: str) -> sql.Composed:
    """Build the SELECT of `TypedKeys`; parameters `type`, the key's quoted type, and `allowed`, tenants."""
    return sql.SQL(_TYPED_KEYS).format(
        type=identifier(key.type_schema, key.type_name),
        mapping=identifier(mapping_schema, "tenant_org_mappings"),
    )


def count_query(name: TableName, key: ColumnRef, organization_column: str | None) -> sql.Composed:
    """Build the grouped scan; its parameters are the fields of `TypedKeys`.

    Args:
        name: table, or root of partitions.
        key: tenant key with its type.
        organization_column: the uuid column where it is there already; None: no row has an organization.
    """
    organization = (
        sql.SQL("t.{}").format(identifier(organization_column))
        if organization_column is not None
        else sql.SQL("NULL::uuid")
    )
    return sql.SQL(_COUNT).format(
        key=identifier("t", key.name),
        type=identifier(key.type_schema, key.type_name),
        equals=sql.SQL(key.equality.replace("%", "%%")),
        organization=organization,
        table=identifier(name.schema, name.name),
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
    keys_by_type: dict[str, TypedKeys] | None = {} if mapping_known else None
    deadline = clock() + total_seconds
    values: dict[TableName, TenantValues] = {}
    for managed in sorted(tables, key=lambda found: (found.table.total_bytes, found.name)):
        values[managed.name] = _count_in_time(
            connection, managed, config, keys_by_type, left_ms=int((deadline - clock()) * 1000)
        )
    return values


def _count_in_time(
    connection: psycopg.Connection[Any],
    managed: ManagedTable,
    config: MigrationConfig,
    keys_by_type: dict[str, TypedKeys] | None,
    *,
    left_ms: int,
) -> TenantValues:
    unreadable = _cannot_be_read(managed)
    if unreadable:
        return TenantValues(not_counted=unreadable, unreadable=True)
    if left_ms < _SHORTEST_TIMEOUT_MS:
        return TenantValues(not_counted="the time for all tables together is used up")
    timeout_ms = min(left_ms, config.defaults.statement_timeout_ms)
    return _count(connection, managed, config, keys_by_type, timeout_ms=timeout_ms)


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
    keys_by_type: dict[str, TypedKeys] | None,
    *,
    timeout_ms: int,
) -> TenantValues:
    """Count one table; `keys_by_type` is None while the mapping is not known, else filled type by type."""
    column, existing = managed.tenant_column, managed.table.column(managed.organization_column)
    key = ColumnRef(
        name=column.name,
        type_schema=column.type_schema,
        type_name=column.type_name,
        base_type=column.base_type,
        equality_schema=column.equality_schema,
    )
    query = count_query(
        managed.name, key, existing.name if existing and existing.base_type == "pg_catalog.uuid" else None
    )
    try:
        with transaction(
            connection, lock_timeout_ms=_LOCK_TIMEOUT_MS, statement_timeout_ms=timeout_ms, read_only=True
        ):
            keys = TypedKeys()
            if keys_by_type is not None:
                if key.quoted_type not in keys_by_type:
                    keys_by_type[key.quoted_type] = _read_typed_keys(connection, key, config)
                keys = keys_by_type[key.quoted_type]
            row = connection.execute(query, vars(keys)).fetchone()
    except psycopg.errors.QueryCanceled:
        return TenantValues(not_counted=f"statement timeout after {timeout_ms / 1000:g} s")
    except psycopg.errors.LockNotAvailable:
        return TenantValues(not_counted="another session holds the table's lock")
    except psycopg.Error as error:  # dropped meanwhile, or damaged: the plan of the other tables goes on
        if connection.closed:
            raise
        return TenantValues(not_counted=" ".join((error.diag.message_primary or str(error)).split()))
    if row is None:
        raise RuntimeError(f"the count over {managed.name} gave no row")
    rows, null_rows, mapped, of_nobody, unmapped, allowed, differing, unmapped_tenants, examples = row
    if keys_by_type is None:
        return TenantValues(rows=rows, null_rows=null_rows, waiting_rows=of_nobody)
    return TenantValues(
        rows=rows,
        null_rows=null_rows,
        waiting_rows=mapped,
        unmapped_rows=unmapped,
        unmapped_tenants=unmapped_tenants,
        unmapped_examples=tuple((tenant, count) for tenant, count in examples),
        allowed_unmapped_rows=allowed,
        differing_rows=differing,
    )


def _read_typed_keys(
    connection: psycopg.Connection[Any], key: ColumnRef, config: MigrationConfig
) -> TypedKeys:
    row = connection.execute(
        typed_keys_query(key, config.interface_schema),
        {"type": key.quoted_type, "allowed": config.validation.allowed_unmapped_tenants},
    ).fetchone()
    if row is None:
        raise RuntimeError(f"the mapping's keys of type {key.quoted_type} gave no row")
    return TypedKeys(*row)
