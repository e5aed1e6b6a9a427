"""Reads mappings and their counts; raises the generation that every cache watches."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.database.names import identifier
from tenant_migration.mapping.model import Mapping, StatusCounts


def mappings_table(config: MigrationConfig) -> sql.Identifier:
    """Return the qualified name of `tenant_org_mappings`, for queries with parameters."""
    return identifier(config.interface_schema, "tenant_org_mappings")


def mapped_tenants(connection: psycopg.Connection, interface_schema: str) -> list[str]:
    """Return every tenant that has a mapping."""
    query = sql.SQL("SELECT tenant_id FROM {}").format(identifier(interface_schema, "tenant_org_mappings"))
    with transaction(connection, read_only=True):
        return [row[0] for row in connection.execute(query, {})]


def list_mappings(
    connection: psycopg.Connection, config: MigrationConfig, status: str | None = None
) -> list[Mapping]:
    """Return the mappings, sorted by tenant id byte by byte; only those in `status` when it is given."""
    query = sql.SQL(
        "SELECT tenant_id, organization_id, migration_status, migrated_at, migrated_by, record_count,"
        " error_log FROM {} WHERE migration_status = %(status)s OR %(status)s::text IS NULL"
        ' ORDER BY tenant_id COLLATE "C"'
    ).format(mappings_table(config))
    with transaction(connection, read_only=True, row_security=True):
        return [Mapping(*row) for row in connection.execute(query, {"status": status})]


def status_counts(connection: psycopg.Connection, config: MigrationConfig) -> StatusCounts:
    """Count the mappings in each status, in one statement."""
    query = sql.SQL(
        "SELECT count(*),"
        " count(*) FILTER (WHERE migration_status = 'pending'),"
        " count(*) FILTER (WHERE migration_status = 'in_progress'),"
        " count(*) FILTER (WHERE migration_status = 'completed'),"
        " count(*) FILTER (WHERE migration_status = 'failed'),"
        " count(*) FILTER (WHERE migration_status = 'rolled_back'),"
        " coalesce(sum(record_count), 0)::bigint FROM {}"
    ).format(mappings_table(config))
    with transaction(connection, read_only=True, row_security=True):
        [counts] = connection.execute(query, {})
    return StatusCounts(*counts)


def organizations_of(
    connection: psycopg.Connection, config: MigrationConfig, tenant_ids: Sequence[str] | None
) -> tuple[int, dict[str, UUID]]:
    """Return the mapping generation and {tenant: organization}, both of one snapshot.

    Args:
        connection: where to ask.
        config: names the interface schema.
        tenant_ids: these; None: every tenant.
    """
    return _with_generation(connection, config, sql.SQL("tenant_id"), tenant_ids)


def tenants_of(
    connection: psycopg.Connection, config: MigrationConfig, organization_ids: Sequence[UUID]
) -> tuple[int, dict[str, UUID]]:
    """Return the mapping generation and {tenant: organization} of these organizations, of one snapshot."""
    return _with_generation(connection, config, sql.SQL("organization_id"), organization_ids)


def _with_generation(
    connection: psycopg.Connection,
    config: MigrationConfig,
    column: sql.SQL,
    wanted: Sequence[str] | Sequence[UUID] | None,
) -> tuple[int, dict[str, UUID]]:
    condition = sql.SQL("") if wanted is None else sql.SQL("WHERE m.{} = ANY(%(wanted)s)").format(column)
    query = sql.SQL(
        "SELECT s.mapping_generation, m.tenant_id, m.organization_id FROM tenant_migration.settings s"
        " LEFT JOIN (SELECT m.tenant_id, m.organization_id FROM {table} m {condition}) m ON true"
    ).format(table=mappings_table(config), condition=condition)
    rows = connection.execute(query, {} if wanted is None else {"wanted": list(wanted)}).fetchall()
    return rows[0][0], {tenant: organization for _, tenant, organization in rows if tenant is not None}


def read_generation(connection: psycopg.Connection) -> int:
    """Return the mapping generation."""
    [(generation,)] = connection.execute("SELECT mapping_generation FROM tenant_migration.settings")
    return int(generation)


def raise_generation(connection: psycopg.Connection) -> int:
    """Raise the mapping generation, so that every mapper in any process forgets what it cached.

    Part of the caller's transaction.
    """
    [(generation,)] = connection.execute(
        "UPDATE tenant_migration.settings SET mapping_generation = mapping_generation + 1"
        " RETURNING mapping_generation"
    )
    return int(generation)
