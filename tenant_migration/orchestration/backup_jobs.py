"""The jobs `backup` (one tenant), `backup_all` and `backup_cleanup`.

A backup of many tables is one snapshot, so each is a job of one op. No run of ours writes while a cleanup
runs that could need what it drops: what a rollback could still need stays at any age.
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from tenant_migration.orchestration import recovery_metadata
from tenant_migration.orchestration.config import BackupAllConfig, BackupCleanupConfig, BackupConfig
from tenant_migration.orchestration.listeners import listener_of
from tenant_migration.orchestration.partition_keys import tenant_id
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import session
from tenant_migration.recovery.results import Backup
from tenant_migration.workflow.backup import cleanup_backups, take_backup

BACKUP_ALL = "backup_all"
BACKUP_CLEANUP = "backup_cleanup"
BACKUP_OP = "back_up"
CLEANUP_OP = "drop_old_backups"


def backup_jobs() -> list[dg.JobDefinition]:
    """Return the three jobs. They take their tables from the stored plan when they run."""

    @dg.job(
        name="backup",
        description="Backs up one tenant's rows of all tables, in one snapshot, and reads the copy back.",
        partitions_def=tenants_partitions,
    )
    def backup() -> None:
        back_up_tenant()

    @dg.job(
        name=BACKUP_ALL,
        description="Backs up whole tables, or some tenants' rows of them, in one snapshot, and reads the "
        "copy back.",
        tags={"tenant_migration/scope": "all"},
    )
    def backup_all() -> None:
        back_up()

    return [backup, backup_all, _cleanup_job()]


def _cleanup_job() -> dg.JobDefinition:
    @dg.job(
        name=BACKUP_CLEANUP,
        description="Drops the backups that are older than the days given, and closed parts of the journal. "
        "What is held, not verified, or needed by a rollback that is still possible stays.",
    )
    def backup_cleanup() -> None:
        drop_old_backups()

    return backup_cleanup


@dg.op(name="back_up_tenant", out={"result": dg.Out(dg.Nothing)})
def back_up_tenant(context: dg.OpExecutionContext, config: BackupConfig, database: Database) -> None:
    """Back up one tenant's rows."""
    _back_up(context, config, database, [tenant_id(context.partition_key)])


@dg.op(name=BACKUP_OP, out={"result": dg.Out(dg.Nothing)})
def back_up(context: dg.OpExecutionContext, config: BackupAllConfig, database: Database) -> None:
    """Back up whole tables, or some tenants' rows."""
    _back_up(context, config, database, config.tenants or None)


def _back_up(
    context: dg.OpExecutionContext, config: BackupConfig, database: Database, tenants: Sequence[str] | None
) -> None:
    with (
        session(context, database) as opened,
        opened.attempt("backup", tables=config.tables, tenants=tenants),
    ):
        plan = opened.plan_to_write()
        opened.sync_partitions()
        backup = take_backup(
            opened.connection,
            opened.config,
            plan,
            actor=opened.actor,
            tables=config.tables or None,
            tenants=tenants,
            directory=Path(config.directory) if config.directory else None,
            progress=opened.progress,
            dagster_run_id=context.run_id,
        )
    _report(context, backup)


def _report(context: dg.OpExecutionContext, backup: Backup) -> None:
    listener = listener_of(context.run.tags)
    if listener is not None:
        listener.backup = backup
    described = recovery_metadata.of_backup(backup)
    if not backup.verified:
        raise dg.Failure(
            f"backup {backup.backup_id} is {backup.state}, and not every table of it is verified",
            metadata=described,
            allow_retries=False,
        )
    context.add_output_metadata(described)


@dg.op(name=CLEANUP_OP, out={"result": dg.Out(dg.Nothing)})
def drop_old_backups(context: dg.OpExecutionContext, config: BackupCleanupConfig, database: Database) -> None:
    """Drop what is old and needed by nothing."""
    with session(context, database) as opened:
        cleanup = cleanup_backups(
            opened.connection, opened.config, actor=opened.actor, days=config.days, dry_run=config.dry_run
        )
    listener = listener_of(context.run.tags)
    if listener is not None:
        listener.cleanup = cleanup
    context.add_output_metadata(recovery_metadata.of_cleanup(cleanup))
