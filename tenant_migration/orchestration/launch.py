"""What the command line calls: the jobs of the code location, run in its own process on the shared instance.

No daemon and no webserver is needed; both show the runs when they are there. The definitions are built from
the plan in the database, so that a command never works by a file of another database.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from tenant_migration.backfill.results import ProgressCallback
from tenant_migration.config import DATABASE_URL_VARIABLE, MigrationConfig, actor
from tenant_migration.database.attempts import attempt_at
from tenant_migration.database.connection import connect
from tenant_migration.errors import OperationFailed
from tenant_migration.orchestration import backup_jobs, migrate_all, partitions, plan_file, rollback_all
from tenant_migration.orchestration.build import build_definitions
from tenant_migration.orchestration.config import (
    BackupAllConfig,
    BackupCleanupConfig,
    ChecksConfig,
    MigrateAllConfig,
    RollbackAllConfig,
)
from tenant_migration.orchestration.instance import shared_instance
from tenant_migration.orchestration.listeners import BackupCallback, Listener, registered
from tenant_migration.planning.model import Plan
from tenant_migration.recovery.results import Backup, Cleanup
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration.workflow.validate import Report

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's events go to its storage, not among the command line's lines."""

_OPERATIONS = {
    migrate_all.NAME: "migrate",
    rollback_all.NAME: "rollback",
    backup_jobs.BACKUP_ALL: "backup",
    backup_jobs.BACKUP_CLEANUP: "backup cleanup",
    "validate_all": "validate",
    "verify_all": "verify",
}
"""Job -> its name in the audit log, for what ends before the job begins."""


def run_migrate(
    url: str,
    config: MigrationConfig,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    with_parents: bool = False,
    skip_backup: bool = False,
    skip_validation: bool = False,
    progress: ProgressCallback | None = None,
    on_backup: BackupCallback | None = None,
) -> list[TableOutcome]:
    """Migrate, as a run of the job `migrate_all`.

    Args:
        url: libpq URI of the database to migrate.
        config: settings.
        tables: these only, `schema.table` or `table`; None: every table of the plan.
        tenants: these only; None: every tenant with a mapping.
        with_parents: the parents of the tables too.
        skip_backup: do not back up first.
        skip_validation: do not run the checks before.
        progress: called after every batch, in this process.
        on_backup: called before the first write.

    Returns:
        One outcome a table, parents first. Look at `state`: nothing is raised for a table that failed.

    Raises:
        TenantMigrationError: nothing was started, or the run was stopped; the message says why.
    """
    listener = _run(
        url,
        config,
        migrate_all.NAME,
        "start",
        MigrateAllConfig(
            tables=list(tables or ()),
            tenants=list(tenants or ()),
            with_parents=with_parents,
            skip_backup=skip_backup,
            skip_validation=skip_validation,
        ),
        progress=progress,
        on_backup=on_backup,
    )
    return listener.outcomes


def run_rollback(
    url: str,
    config: MigrationConfig,
    *,
    database: str,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    with_children: bool = False,
    drop_created: bool = False,
    verify: bool = False,
    from_backup: int | None = None,
    progress: ProgressCallback | None = None,
) -> list[RollbackOutcome]:
    """Take back, as a run of the job `rollback_all`.

    Args:
        url: libpq URI of the database.
        config: settings.
        database: its name: whoever was asked has seen it.
        tables: these only, `schema.table` or `table`; None: every table of the plan.
        tenants: these only; None: every tenant that is migrated.
        with_children: the tables that refer to the chosen ones too.
        drop_created: drop what the migration created, too.
        verify: compare afterwards.
        from_backup: bring back the values of this backup.
        progress: called after every step, in this process.

    Returns:
        One outcome a table, children first. Look at `state`: nothing is raised for a table that failed.

    Raises:
        TenantMigrationError: nothing was started, or the run was stopped; the message says why.
    """
    listener = _run(
        url,
        config,
        rollback_all.NAME,
        rollback_all.START_OP,
        RollbackAllConfig(
            confirm=database,
            tables=list(tables or ()),
            tenants=list(tenants or ()),
            with_children=with_children,
            drop_created=drop_created,
            verify=verify,
            from_backup=from_backup,
        ),
        progress=progress,
    )
    return listener.rollbacks


def run_backup(
    url: str,
    config: MigrationConfig,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    directory: Path | None = None,
    progress: ProgressCallback | None = None,
) -> Backup:
    """Back up, as a run of the job `backup_all`. Look at `verified`: a copy that differs raises nothing."""
    listener = _run(
        url,
        config,
        backup_jobs.BACKUP_ALL,
        backup_jobs.BACKUP_OP,
        BackupAllConfig(
            tables=list(tables or ()), tenants=list(tenants or ()), directory=str(directory or "")
        ),
        progress=progress,
    )
    if listener.backup is None:
        raise OperationFailed("the backup ended without a result; see the run in Dagster")
    return listener.backup


def run_backup_cleanup(url: str, config: MigrationConfig, *, days: int | None = None) -> Cleanup:
    """Drop old backups, as a run of the job `backup_cleanup`; days: None takes the configuration's."""
    listener = _run(
        url, config, backup_jobs.BACKUP_CLEANUP, backup_jobs.CLEANUP_OP, BackupCleanupConfig(days=days)
    )
    if listener.cleanup is None:
        raise OperationFailed("the cleanup ended without a result; see the run in Dagster")
    return listener.cleanup


def run_validate(
    url: str,
    config: MigrationConfig,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
) -> Report:
    """Run the checks before a migration, as a run of `validate_all`; return the JSON report in any case."""
    asked = ChecksConfig(tables=list(tables or ()), tenants=list(tenants or ()))
    return _report(_run(url, config, "validate_all", "run_validate_all", asked))


def run_verify(
    url: str,
    config: MigrationConfig,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
) -> Report:
    """Run the checks after a migration, as a run of `verify_all`; return the JSON report in any case."""
    asked = ChecksConfig(tables=list(tables or ()), tenants=list(tenants or ()))
    return _report(_run(url, config, "verify_all", "run_verify_all", asked))


def _report(listener: Listener) -> Report:
    if listener.report is None:
        raise OperationFailed("the checks ended without a report; see the run in Dagster")
    return listener.report


def _run(
    url: str,
    config: MigrationConfig,
    job_name: str,
    op_name: str,
    op_config: dg.Config,
    *,
    progress: ProgressCallback | None = None,
    on_backup: BackupCallback | None = None,
) -> Listener:
    """Run a job to its end.

    1. The instance; refused when its storage is the database to migrate, or is down.
    2. The plan, its file for the UI, the partitions.
    3. The run itself, with a listener for progress and results.
    4. What stopped it, as itself; results alone only when they say why the run failed.
    """
    with ExitStack() as stack:
        with attempt_at(
            url,
            _OPERATIONS[job_name],
            actor=actor(),
            tables=getattr(op_config, "tables", None) or None,
            tenants=getattr(op_config, "tenants", None) or None,
        ):
            instance = stack.enter_context(shared_instance(url))
            stack.enter_context(_environment({DATABASE_URL_VARIABLE: url}))
            plan = _prepare(instance, url, config, op_config)
        listener = Listener(config=config, progress=progress, on_backup=on_backup)
        job = build_definitions(plan).resolve_job_def(job_name)
        with registered(listener) as tags:
            result = job.execute_in_process(
                instance=instance,
                run_config={**_QUIET, **_config_of(op_name, op_config)},
                tags=tags,
                raise_on_error=False,
            )
    if listener.error is not None:
        raise listener.error
    if _was_interrupted(result):
        raise KeyboardInterrupt  # Dagster took it for a failure of the run and went on to the end
    if not result.success and not _says_why(listener):
        raise OperationFailed(_why(result))
    return listener


def _says_why(listener: Listener) -> bool:
    """Say whether the results themselves show that not everything was done."""
    if listener.report is not None:
        return bool(listener.report["status"] == "fail")
    if listener.backup is not None:
        return not listener.backup.verified
    return any(outcome.state != "completed" for outcome in listener.outcomes) or any(
        outcome.state != "rolled_back" for outcome in listener.rollbacks
    )


def _prepare(instance: dg.DagsterInstance, url: str, config: MigrationConfig, asked: dg.Config) -> Plan:
    tables = getattr(asked, "tables", None)
    tenants = getattr(asked, "tenants", None)
    connection = connect(url, application_name="tenant_migration launch", pin_path=True)
    try:
        plan = stored_or_new_plan(
            connection, config, actor=actor(), tables=tables or None, tenants=tenants or None
        )
        partitions.sync(instance, connection, config)
    finally:
        connection.close()
    plan_file.write(plan)
    return plan


def _config_of(op_name: str, config: dg.Config) -> Mapping[str, Any]:
    return {"ops": {op_name: {"config": config.model_dump()}}}


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    return any(
        getattr(getattr(event.event_specific_data, "failure_reason", None), "name", "")
        == "UNEXPECTED_TERMINATION"
        for event in result.all_events
    )


def _why(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                return failure.user_failure_data.description
            error = failure.error
            while error is not None and error.cause is not None:
                error = error.cause  # Dagster's own sentences are around it
            if error is not None:
                return error.message.strip()
    return "the run did not succeed; see it in Dagster"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the time of a run: the database resource reads its URL there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
