"""The Python API: what `from tenant_migration import ...` gives. Thin: each function is one operation.

Every function takes `connection` or `database_url`; without both, `TENANT_MIGRATION_DATABASE_URL`. The
configuration is `config`, else the file that `TENANT_MIGRATION_CONFIG` names, else `migration.yaml`, else
defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.backfill.results import DryRunTable, Progress, ProgressCallback
from tenant_migration.config import MigrationConfig, actor, database_url, load_config
from tenant_migration.database.connection import check_server, connect
from tenant_migration.database.install import require_installed
from tenant_migration.mapping.mapper import TenantOrgMapper
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import load_plan
from tenant_migration.recovery.results import Backup, Cleanup
from tenant_migration.workflow import backup as backups
from tenant_migration.workflow import emergency
from tenant_migration.workflow.emergency_outcome import EmergencyOutcome
from tenant_migration.workflow.migrate import migrate, resolve_scope
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration.workflow.status import TableProgress, read_status
from tenant_migration.workflow.validate import validate, verify

TablePercent = Callable[[str, float], None]


@contextmanager
def _session(connection: psycopg.Connection | None, url: str | None) -> Iterator[psycopg.Connection]:
    if connection is not None:
        yield connection
        return
    own = connect(database_url(url), pin_path=True)
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


def create_all_backups(
    directory: Path | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> Backup:
    """Back up every managed table, whole, in one snapshot; verified when it returns.

    Args:
        directory: folder to which it is exported too.
        connection: psycopg connection in autocommit mode.
        database_url: libpq URI.
        config: settings.

    Raises:
        Refused: not enough space, with the numbers.
    """
    settings = config or load_config()
    with _session(connection, database_url) as session:
        plan = stored_or_new_plan(session, settings, actor=actor())
        return backups.take_backup(session, settings, plan, actor=actor(), directory=directory)


def list_backups(
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[Backup]:
    """Return every complete backup, newest first, each with why a cleanup would keep it."""
    settings = config or load_config()
    with _session(connection, database_url) as session:
        return backups.list_backups(session, settings)


def cleanup_backups(
    days: int | None = None,
    dry_run: bool = False,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> Cleanup:
    """Drop backups older than that many days (default: the configuration's) that nothing needs any more."""
    settings = config or load_config()
    with _session(connection, database_url) as session:
        return backups.cleanup_backups(session, settings, actor=actor(), days=days, dry_run=dry_run)


def rollback_all_tables(
    progress: TablePercent | None = None,
    drop_created: bool = False,
    from_backup: int | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[RollbackOutcome]:
    """Take back what was migrated, in every table and for every tenant.

    Args:
        progress: called as `progress(table, percent)` after every step.
        drop_created: also drop the columns, indexes and keys that the migration made.
        from_backup: number of the backup whose values come back; None: the journal's.
        connection: psycopg connection in autocommit mode.
        database_url: libpq URI.
        config: settings.

    Returns:
        One outcome a table, children first; none when nothing is left. Look at `state`: nothing is raised for
        a table that failed.

    Raises:
        Refused, NoPlan: nothing was started; the message says why.
    """
    return _roll_back(
        None,
        None,
        progress,
        drop_created=drop_created,
        from_backup=from_backup,
        connection=connection,
        database_url=database_url,
        config=config,
    )


def rollback_tenant(
    tenant_id: str,
    progress: TablePercent | None = None,
    from_backup: int | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[RollbackOutcome]:
    """Take back one tenant in every table. As `rollback_all_tables`; raises UnknownTenant too."""
    return _roll_back(
        None,
        [tenant_id],
        progress,
        from_backup=from_backup,
        connection=connection,
        database_url=database_url,
        config=config,
    )


def rollback_table(
    table: str,
    progress: TablePercent | None = None,
    with_children: bool = False,
    drop_created: bool = False,
    from_backup: int | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> list[RollbackOutcome]:
    """Take back one table for every tenant. As `rollback_all_tables`; raises UnknownTable too.

    A table with migrated children is refused, unless they come along (`with_children`).
    """
    return _roll_back(
        [table],
        None,
        progress,
        with_children=with_children,
        drop_created=drop_created,
        from_backup=from_backup,
        connection=connection,
        database_url=database_url,
        config=config,
    )


def _roll_back(
    tables: Sequence[str] | None,
    tenants: Sequence[str] | None,
    progress: TablePercent | None,
    *,
    with_children: bool = False,
    drop_created: bool = False,
    from_backup: int | None,
    connection: psycopg.Connection | None,
    database_url: str | None,
    config: MigrationConfig | None,
) -> list[RollbackOutcome]:
    settings = config or load_config()
    with _session(connection, database_url) as session:
        check_server(session, writes=True)
        require_installed(session, settings)
        return rollback(
            session,
            settings,
            load_plan(session),
            actor=actor(),
            tables=tables,
            tenants=tenants,
            with_children=with_children,
            drop_created=drop_created,
            from_backup=from_backup,
            progress=_as_callback(progress),
        )


def emergency_rollback(
    reason: str | None = None,
    progress: TablePercent | None = None,
    *,
    connection: psycopg.Connection | None = None,
    database_url: str | None = None,
    config: MigrationConfig | None = None,
) -> EmergencyOutcome:
    """Stop every migration at once, let none start until `tenant-migration resume`, take everything back.

    Runs that Dagster has queued are refused by the switch; only the command and the job also cancel them.

    Returns:
        What was done and what is where. Nothing is raised for a step that failed: look at `left`.
    """
    settings = config or load_config()
    with _session(connection, database_url) as session:
        return emergency.emergency_rollback(
            session, settings, actor=actor(), reason=reason, progress=_as_callback(progress)
        )


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
