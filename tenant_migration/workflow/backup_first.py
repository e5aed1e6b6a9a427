"""The backup behind a migration: which tables need one, whether one covers them, whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg

from tenant_migration.backfill.results import ProgressCallback
from tenant_migration.backfill.states import State
from tenant_migration.config import MigrationConfig
from tenant_migration.mapping.repository import mapped_tenants
from tenant_migration.planning.counted import counted
from tenant_migration.planning.describe import bytes_as_text
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.recovery.backups.columns import read_source
from tenant_migration.recovery.backups.create import keys_of
from tenant_migration.recovery.backups.space import refuse_without_space
from tenant_migration.recovery.results import Backup
from tenant_migration.workflow.backup import backup_before, covering_backup
from tenant_migration.workflow.migrate import Scope
from tenant_migration.workflow.pairs import pair_states


@dataclass(frozen=True)
class BackupFirst:
    """What stands behind a migration."""

    backup: Backup | None
    """None: nothing in scope is left to migrate, so nothing is worth a copy."""
    is_new: bool = False

    def __str__(self) -> str:
        """Say it in a sentence."""
        backup = self.backup
        if backup is None:
            return (
                "no backup is taken: everything in scope is migrated, and rows that came since are journaled"
            )
        size = f"{counted(backup.rows, 'row')}, {bytes_as_text(backup.size_bytes)}, verified"
        if self.is_new:
            return f"backup {backup.backup_id} is taken: {size}; space: {backup.space}"
        return f"backup {backup.backup_id} covers this: {size}, from {backup.created_at:%Y-%m-%d %H:%M:%S %Z}"


def back_up_first(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    scope: Scope,
    *,
    actor: str,
    run_tables: Sequence[TablePlan] = (),
    progress: ProgressCallback | None = None,
    dagster_run_id: str | None = None,
) -> BackupFirst:
    """Return the backup behind a migration of this scope; take it when none covers the scope.

    Tables that are completed for every tenant in scope are left out: running again then only takes rows that
    came since, which the journal undoes.

    Args:
        connection: to the database.
        config: settings.
        plan: the stored plan.
        scope: what is about to be migrated.
        actor: who, for the audit log.
        run_tables: tables that the same run migrates too, one by one: a new backup is of all of them.
        progress: called as tables are copied.
        dagster_run_id: of the run in Dagster.

    Raises:
        As `workflow.backup.take_backup`: nothing of the migration was started.
    """
    needed = _left_to_do(connection, config, scope)
    if not needed.tables:
        return BackupFirst(None)
    names = [table.qualified_name for table in needed.tables]
    if run_tables and covering_backup(connection, plan, names, needed.tenants) is None:
        needed = _left_to_do(connection, config, replace(scope, tables=tuple(run_tables)))
    backup, is_new = backup_before(
        connection, config, plan, needed, actor=actor, progress=progress, dagster_run_id=dagster_run_id
    )
    return BackupFirst(backup, is_new)


def foresee_backup(connection: psycopg.Connection, config: MigrationConfig, plan: Plan, scope: Scope) -> str:
    """Say what `back_up_first` would do, as a sentence. Reads only.

    Raises:
        Refused, PlanOutdated: it would refuse.
    """
    numbers = table_ids(connection)
    if not all(table.qualified_name in numbers for table in scope.tables):
        needed = scope  # the plan is not stored yet: nothing was done, and nothing covers it
    else:
        needed = _left_to_do(connection, config, scope)
        if not needed.tables:
            return "none is taken, since everything in scope is migrated"
        names = [table.qualified_name for table in needed.tables]
        covering = covering_backup(connection, plan, names, needed.tenants)
        if covering is not None:
            return f"backup {covering.backup_id} covers it"
    sources = [
        read_source(connection, table, numbers.get(table.qualified_name, 0)) for table in needed.tables
    ]
    keys = None if needed.tenants is None else [keys_of(connection, one, needed.tenants) for one in sources]
    space = refuse_without_space(
        connection, config.backups, sources, keys=keys, directory=config.backups.directory
    )
    return f"one is taken first; {space}"


def _left_to_do(connection: psycopg.Connection, config: MigrationConfig, scope: Scope) -> Scope:
    tenants = scope.tenants
    if tenants is None:
        tenants = tuple(mapped_tenants(connection, config.interface_schema))
    states = pair_states(connection, [table.qualified_name for table in scope.tables])
    left = [
        table
        for table in scope.tables
        if any(states.get((table.qualified_name, tenant)) != State.COMPLETED.value for tenant in tenants)
    ]
    return replace(scope, tables=tuple(left))
