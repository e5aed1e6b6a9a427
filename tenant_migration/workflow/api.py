"""The Python API: what `from tenant_migration import ...` gives. Thin: each function is one operation.

Every function takes `connection` or `database_url`; without both, `TENANT_MIGRATION_DATABASE_URL`. The
configuration is `config`, else the file that `TENANT_MIGRATION_CONFIG` names, else `migration.yaml`, else
defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg

from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.backfill.results import DryRunTable, Progress, ProgressCallback
from tenant_migration.config import MigrationConfig, actor, database_url, load_config
from tenant_migration.database.connection import connect
from tenant_migration.mapping.mapper import TenantOrgMapper
from tenant_migration.planning.builder import build_plan
from tenant_migration.workflow.migrate import migrate, resolve_scope
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.status import TableProgress, read_status
from tenant_migration.workflow.validate import validate, verify

TablePercent = Callable[[str, float], None]


@contextmanager
def _session(connection: psycopg.Connection | None, url: str | None) -> Iterator[psycopg.Connection]:
    if connection is not None:
        yield connection
        return
    own = connect(database_url(url))
    try:
        yield own
    finally:
        own.close()


def run_pre_migration_validation(
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> dict[str, Any]:
    """Run the checks before a migration; return the JSON report (`status`: pass, warning or fail)."""
    settings = config or load_config()
    with _session(connection, database_url) as session:
        plan = stored_or_new_plan(session, settings, actor=actor())
        return validate(session, settings, plan, actor=actor())


def run_post_migration_validation(
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> dict[str, Any]:
    """Run the checks after a migration; return the JSON report (`status`: pass, warning or fail)."""
    settings = config or load_config()
    with _session(connection, database_url) as session:
        plan = stored_or_new_plan(session, settings, actor=actor())
        return verify(session, settings, plan, actor=actor())


def migrate_all_tables(
    dry_run: bool = False,
    progress: TablePercent | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[TableOutcome] | list[DryRunTable]:
    """Migrate every managed table for every tenant with a mapping.

    Args:
        dry_run: change nothing; return what would be done for each table.
        progress: called as `progress(table, percent)` after every batch.
        connection: psycopg connection in autocommit mode.
        database_url: libpq URI.
        config: settings.

    Returns:
        One outcome a table, parents first. Look at `state`: nothing is raised for a table that failed.

    Raises:
        Refused: nothing was started; the message says why.
    """
    return _migrate(
        None, None, dry_run, progress, connection=connection, database_url=database_url, config=config
    )


def migrate_tenant(
    tenant_id: str,
    dry_run: bool = False,
    progress: TablePercent | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[TableOutcome] | list[DryRunTable]:
    """Migrate every managed table for one tenant. As `migrate_all_tables`; raises UnknownTenant too."""
    return _migrate(
        None, [tenant_id], dry_run, progress, connection=connection, database_url=database_url, config=config
    )


def migrate_table(
    table: str,
    dry_run: bool = False,
    progress: TablePercent | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[TableOutcome] | list[DryRunTable]:
    """Migrate one table for every tenant with a mapping. As `migrate_all_tables`; raises UnknownTable too."""
    return _migrate(
        [table], None, dry_run, progress, connection=connection, database_url=database_url, config=config
    )


def _migrate(
    tables: Sequence[str] | None,
    tenants: Sequence[str] | None,
    dry_run: bool,
    progress: TablePercent | None,
    *,
    connection: psycopg.Connection | None,
    database_url: str | None,
    config: MigrationConfig | None,
) -> list[TableOutcome] | list[DryRunTable]:
    settings = config or load_config()
    with _session(connection, database_url) as session:
        if dry_run:
            plan = build_plan(session, settings)
            scope = resolve_scope(session, settings, plan, tables=tables, tenants=tenants, dry_run=True)
            return [dry_run_table(session, plan, table, tenants=scope.tenants) for table in scope.tables]
        plan = stored_or_new_plan(session, settings, actor=actor(), tables=tables, tenants=tenants)
        return migrate(
            session,
            settings,
            plan,
            actor=actor(),
            tables=tables,
            tenants=tenants,
            progress=_as_callback(progress),
        )


def _as_callback(progress: TablePercent | None) -> ProgressCallback | None:
    if progress is None:
        return None

    def report(event: Progress) -> None:
        progress(event.table, event.percent)

    return report


def get_migration_progress(
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[TableProgress]:
    """Return total and migrated rows of every managed table, in order."""
    settings = config or load_config()
    with _session(connection, database_url) as session:
        return list(read_status(session, settings, detailed=True).tables)


def get_organization_id_from_tenant(
    tenant_id: str,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> UUID:
    """Return the organization of a tenant. Raises UnknownTenant."""
    with _session(connection, database_url) as session:
        return TenantOrgMapper(connection=session, config=config or load_config()).organization_id(tenant_id)


def get_tenant_id_from_organization(
    organization_id: UUID | str,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> str:
    """Return the only tenant of an organization. Raises UnknownOrganization, AmbiguousOrganization."""
    with _session(connection, database_url) as session:
        return TenantOrgMapper(connection=session, config=config or load_config()).tenant_id(organization_id)


def get_tenant_ids_from_organization(
    organization_id: UUID | str,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[str]:
    """Return every tenant of an organization, sorted; empty when there is none."""
    with _session(connection, database_url) as session:
        return TenantOrgMapper(connection=session, config=config or load_config()).tenant_ids(organization_id)


def batch_get_organization_ids(
    tenant_ids: Sequence[str],
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> dict[str, UUID]:
    """Return {tenant: organization} in one query; tenants without a mapping are left out."""
    with _session(connection, database_url) as session:
        return TenantOrgMapper(connection=session, config=config or load_config()).organization_ids(
            tenant_ids
        )
