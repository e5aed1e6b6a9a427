"""Backs up, lists, keeps and drops, with an audit record of each, also when it failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from tenant_migration.backfill.results import ProgressCallback
from tenant_migration.backfill.states import State
from tenant_migration.backfill.stop import refuse_while_emergency
from tenant_migration.config import BackupsConfig, MigrationConfig
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt, note_recorded
from tenant_migration.database.connection import transaction, usable
from tenant_migration.database.install import require_installed
from tenant_migration.errors import DatabaseUnavailable, OperationFailed, RunStopped, TenantMigrationError
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.recovery.backups import manifest
from tenant_migration.recovery.backups.columns import read_source
from tenant_migration.recovery.backups.covering import find_covering
from tenant_migration.recovery.backups.create import copy_tables, keys_of
from tenant_migration.recovery.backups.dropping import drop_backup, drop_unused_relations
from tenant_migration.recovery.backups.export import (
    clear_unfinished,
    export_backup,
    refuse_unusable_directory,
)
from tenant_migration.recovery.backups.listing import read_backups
from tenant_migration.recovery.backups.manifest import Registered
from tenant_migration.recovery.backups.pruning import (
    prune_claims,
    prune_journals,
    prune_left_alone,
    prune_reliances,
)
from tenant_migration.recovery.backups.retention import judge
from tenant_migration.recovery.backups.space import refuse_without_space
from tenant_migration.recovery.backups.unrecorded import unrecorded_backups
from tenant_migration.recovery.results import Backup, Cleanup
from tenant_migration.workflow.migrate import Scope
from tenant_migration.workflow.selection import select_tables, select_tenants

_log = logging.getLogger(__name__)

OPERATION = "backup"
CLEANUP = "backup cleanup"
"""Names in the audit log."""


def take_backup(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    *,
    actor: str,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    directory: Path | None = None,
    progress: ProgressCallback | None = None,
    dagster_run_id: str | None = None,
) -> Backup:
    """Back up whole tables, or some tenants' rows, in one snapshot; read back and verified when it returns.

    1. Names become tables and tenants; traces of backups whose process died are cleared.
    2. Refused before it starts: while the emergency switch is set, tables that this role cannot read in full,
       and too little space.
    3. It is registered, then copied and read back in one transaction.
    4. With a directory, the copy is exported as files.

    Args:
        connection: to the database.
        config: limits of space, the directory when none is given.
        plan: the stored plan.
        actor: who, for the audit log.
        tables: their names; None: all.
        tenants: None: whole tables, rows without a mapping too.
        directory: also export it there; default `backups.directory`.
        progress: called when a table is copied.
        dagster_run_id: of the run in Dagster.

    Raises:
        UnknownTable, UnknownTenant: a name that is not known.
        PlanOutdated, Refused: step 2.
        RunStopped: cancelled, or the emergency switch was set meanwhile.
        OperationFailed, psycopg.Error: nothing was kept of it; or it could not be exported, then it says so.
    """
    with attempt(connection, OPERATION, actor=actor, tables=tables, tenants=tenants):
        chosen = select_tables(plan, tables)
        selected = select_tenants(connection, config, tenants)
    work = _Taking(connection, config, actor, [table.qualified_name for table in chosen], selected)
    try:
        work.clear_abandoned()
        backup = work.perform(
            chosen, directory or config.backups.directory, plan.database, progress, dagster_run_id
        )
    except BaseException as error:
        work.fail(error)
        raise
    work.record(
        "succeeded",
        {"tables": len(backup.tables), "rows": backup.rows, "bytes": backup.size_bytes},
        {"space": backup.space, "lsn": backup.lsn, "directory": backup.directory},
    )
    return backup


class _Taking:
    """One backup under way, for its audit record."""

    def __init__(
        self,
        connection: psycopg.Connection,
        config: MigrationConfig,
        actor: str,
        tables: list[str],
        tenants: list[str] | None,
    ) -> None:
        self._connection = connection
        self._config = config
        self._actor = actor
        self._tables = tables
        self._tenants = tenants
        self._started = time.monotonic()
        self._registered: Registered | None = None

    def clear_abandoned(self) -> None:
        """Say of backups whose process died that there is nothing of them."""
        _clear_abandoned(self._connection, self._actor)

    def perform(
        self,
        tables: Sequence[TablePlan],
        directory: Path | None,
        database: str,
        progress: ProgressCallback | None,
        dagster_run_id: str | None,
    ) -> Backup:
        """Take steps 2 to 4 of `take_backup`."""
        refuse_while_emergency(self._connection)
        connection, numbers = self._connection, table_ids(self._connection)
        keys: list[list[str]] | None = None
        with transaction(connection, read_only=True):
            sources = [read_source(connection, table, numbers[table.qualified_name]) for table in tables]
            if self._tenants is not None:
                keys = [keys_of(connection, source, self._tenants) for source in sources]
        if directory is not None:
            refuse_unusable_directory(directory)
        space = refuse_without_space(
            connection, self._config.backups, sources, keys=keys, directory=directory
        )
        self._registered = manifest.register(
            connection,
            sources,
            tenants=self._tenants,
            actor=self._actor,
            space=space,
            max_bytes=self._config.backups.max_bytes,
            dagster_run_id=dagster_run_id,
        )
        copy_tables(connection, self._registered, tenants=self._tenants, progress=progress)
        backup = self._read()
        if directory is not None:
            folder = export_backup(connection, backup, database, directory)
            manifest.note_directory(connection, backup.backup_id, str(folder))
            backup = self._read()
        return backup

    def fail(self, error: BaseException) -> None:
        """Note that it ended without all that was asked for; must not hide the error."""
        stopped = isinstance(error, RunStopped) or not isinstance(error, Exception)
        state = State.CANCELLED if stopped else State.FAILED
        try:
            with usable(self._connection) as connection:
                if self._registered is not None:
                    manifest.fail(connection, self._registered, state=state, reason=_sentence(error))
                self._record(connection, state.value, None, {"error": _sentence(error)})
            note_recorded(error, OPERATION)
        except (psycopg.Error, DatabaseUnavailable) as another:
            _log.warning("the end of a backup could not be recorded: %s", another)

    def record(self, outcome: str, counts: Mapping[str, int] | None, detail: Mapping[str, Any]) -> None:
        """Write the audit record."""
        with usable(self._connection) as connection:
            self._record(connection, outcome, counts, detail)

    def _record(
        self,
        connection: psycopg.Connection,
        outcome: str,
        counts: Mapping[str, int] | None,
        detail: Mapping[str, Any],
    ) -> None:
        registered = self._registered
        audit.record(
            connection,
            operation=OPERATION,
            actor=self._actor,
            outcome=outcome,
            run_id=registered.run_id if registered else None,
            table=self._tables[0] if len(self._tables) == 1 else None,
            tenant_id=self._tenants[0] if self._tenants is not None and len(self._tenants) == 1 else None,
            counts=counts,
            duration_ms=(time.monotonic() - self._started) * 1000,
            detail={
                "backup": registered.backup_id if registered else None,
                "tables": self._tables,
                "tenants": self._tenants,
                **detail,
            },
        )

    def _read(self) -> Backup:
        if self._registered is None:
            raise RuntimeError("the backup was not registered")
        with transaction(self._connection, read_only=True, isolation="repeatable read"):
            found = read_backups(self._connection, self._registered.backup_id)
        if not found:
            raise OperationFailed(
                f"backup {self._registered.backup_id} was complete and is gone: a cleanup dropped it"
            )
        return found[0]


def covering_backup(
    connection: psycopg.Connection, plan: Plan, tables: Sequence[str] | None, tenants: Sequence[str] | None
) -> Backup | None:
    """Return the newest verified backup of all of these that nothing was migrated or rolled back since.

    Args:
        connection: to the database.
        plan: the stored plan.
        tables: their names; None: all.
        tenants: None: whole tables.
    """
    numbers = table_ids(connection)
    chosen = [numbers[table.qualified_name] for table in select_tables(plan, tables)]
    return find_covering(connection, chosen, tenants)


def backup_before(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    scope: Scope,
    *,
    actor: str,
    directory: Path | None = None,
    progress: ProgressCallback | None = None,
    dagster_run_id: str | None = None,
) -> tuple[Backup, bool]:
    """Return the backup that stands behind a migration of this scope, and whether it was made for it.

    No cleanup drops it before the migration has begun.
    """
    tables = [table.qualified_name for table in scope.tables]
    covering = covering_backup(connection, plan, tables, scope.tenants)
    if covering is not None and manifest.rely_on(connection, covering.backup_id):
        return covering, False
    backup = take_backup(
        connection,
        config,
        plan,
        actor=actor,
        tables=tables,
        tenants=scope.tenants,
        directory=directory,
        progress=progress,
        dagster_run_id=dagster_run_id,
    )
    if not manifest.rely_on(connection, backup.backup_id):
        raise OperationFailed(
            f"backup {backup.backup_id} was dropped by a cleanup before the migration began; start it again"
        )
    return backup, True


def list_backups(
    connection: psycopg.Connection, config: MigrationConfig | None = None, *, days: int | None = None
) -> list[Backup]:
    """Return every complete backup, newest first, each with why a cleanup would keep it. Reads only.

    Args:
        connection: to the database.
        config: says how long backups are kept; None: the default.
        days: as a cleanup of so many days would judge.
    """
    require_installed(connection, config)
    with transaction(
        connection, read_only=True, row_security=True, statement_timeout_ms=0, isolation="repeatable read"
    ):
        return judge(connection, days=_days(config, days))


def cleanup_backups(
    connection: psycopg.Connection,
    config: MigrationConfig,
    *,
    actor: str,
    days: int | None = None,
    dry_run: bool = False,
) -> Cleanup:
    """Drop the backups that are old and that nothing needs; prune what is undone from the journals.

    Touches only what the manifest names. What is held, not verified, needed by a possible rollback or younger
    stays, and each says why. Exported files stay: they are their reader's.

    Args:
        connection: to the database.
        config: says how long backups are kept.
        actor: who, for the audit log.
        days: instead of the configuration's.
        dry_run: only say what would happen.
    """
    longest, started = _days(config, days), time.monotonic()
    dropped: list[Backup] = []
    kept: list[Backup] = []
    pruned = 0
    try:
        if not dry_run:
            _clear_abandoned(connection, actor)
        for backup in list_backups(connection, config, days=longest):
            reason = backup.kept_because
            if reason is None and not dry_run:
                reason = drop_backup(connection, backup.backup_id)
            (dropped if reason is None else kept).append(_because(backup, reason))
        if not dry_run:
            drop_unused_relations(connection)
            if config.backups.directory is not None:
                clear_unfinished(config.backups.directory)
            prune_left_alone(connection, days=longest)
            prune_reliances(connection)
        pruned = prune_journals(connection, days=longest, dry_run=dry_run)
        if not dry_run:
            prune_claims(connection)
    except BaseException as error:
        _record_cleanup(connection, actor, started, longest, dropped, kept, pruned, error)
        note_recorded(error, CLEANUP)
        raise
    if not dry_run:
        _record_cleanup(connection, actor, started, longest, dropped, kept, pruned, None)
    return Cleanup(tuple(dropped), tuple(kept), pruned, dry_run)


def hold(connection: psycopg.Connection, backup_id: int, *, actor: str) -> str:
    """Keep a backup whatever its age, until it is released.

    Returns:
        Who holds it: whoever asked first.

    Raises:
        Refused: there is no such backup.
    """
    return _keep(connection, backup_id, actor, "hold") or actor


def release(connection: psycopg.Connection, backup_id: int, *, actor: str) -> str | None:
    """Let a held backup age again.

    Returns:
        Who held it; None: nobody, and nothing changed.

    Raises:
        Refused: there is no such backup.
    """
    return _keep(connection, backup_id, actor, "release")


def _keep(connection: psycopg.Connection, backup_id: int, actor: str, operation: str) -> str | None:
    detail: dict[str, Any] = {"backup": backup_id}
    try:
        if operation == "hold":
            held_by: str | None = manifest.hold(connection, backup_id, actor=actor)
        else:
            held_by = manifest.release(connection, backup_id)
    except TenantMigrationError as error:
        audit.record(
            connection,
            operation=operation,
            actor=actor,
            outcome="refused",
            detail={**detail, "error": _sentence(error)},
        )
        raise
    audit.record(
        connection,
        operation=operation,
        actor=actor,
        outcome="succeeded",
        detail={**detail, "held_by": held_by},
    )
    return held_by


def _clear_abandoned(connection: psycopg.Connection, actor: str) -> None:
    """Write down what processes that died have left: backups that were not made, and such as were."""
    for backup_id, run_id in manifest.fail_abandoned(connection):
        audit.record(
            connection,
            operation="backup",
            actor=actor,
            outcome="failed",
            run_id=run_id,
            detail={"backup": backup_id, "error": "its process ended before it was complete"},
        )
    for found in unrecorded_backups(connection):
        audit.record(
            connection,
            operation=OPERATION,
            actor=found.created_by,
            outcome="succeeded",
            run_id=found.run_id,
            counts={"tables": len(found.tables), "rows": found.rows},
            detail={
                "backup": found.backup_id,
                "tables": found.tables,
                "tenants": found.tenants,
                "recorded_by": actor,
                "reason": "written down later: its process ended when it was complete",
            },
        )


def _record_cleanup(
    connection: psycopg.Connection,
    actor: str,
    started: float,
    days: int,
    dropped: Sequence[Backup],
    kept: Sequence[Backup],
    pruned: int,
    error: BaseException | None,
) -> None:
    detail: dict[str, Any] = {
        "days": days,
        "dropped": [backup.backup_id for backup in dropped],
        "kept": {str(backup.backup_id): backup.kept_because for backup in kept},
    }
    if error is not None:
        detail["error"] = _sentence(error)
    try:
        with usable(connection) as another:
            audit.record(
                another,
                operation=CLEANUP,
                actor=actor,
                outcome="succeeded" if error is None else "failed",
                counts={
                    "dropped": len(dropped),
                    "kept": len(kept),
                    "bytes": sum(backup.size_bytes for backup in dropped),
                    "journal_batches": pruned,
                },
                duration_ms=(time.monotonic() - started) * 1000,
                detail=detail,
            )
    except (psycopg.Error, DatabaseUnavailable) as problem:
        if error is None:
            raise
        _log.warning("the end of a cleanup could not be recorded: %s", problem)


def _because(backup: Backup, reason: str | None) -> Backup:
    return replace(backup, kept_because=reason)


def _days(config: MigrationConfig | None, days: int | None) -> int:
    if days is not None:
        return days
    return (config.backups if config is not None else BackupsConfig()).retention_days


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
