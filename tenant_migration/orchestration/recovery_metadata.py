"""Backups and rollbacks as Dagster metadata; a number has the same key everywhere, as in `metadata`."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from tenant_migration.orchestration.check_metadata import check_table
from tenant_migration.orchestration.metadata import Metadata, markdown_list, markdown_table
from tenant_migration.recovery.results import Backup, Cleanup, LeftAlone, RollbackResult
from tenant_migration.workflow.emergency_outcome import EmergencyOutcome
from tenant_migration.workflow.rollback_outcome import RollbackOutcome


def of_backup(backup: Backup) -> Metadata:
    """Describe a backup with every table's counts."""
    metadata: Metadata = {
        "backup": dg.MetadataValue.int(backup.backup_id),
        "rows": dg.MetadataValue.int(backup.rows),
        "size_bytes": dg.MetadataValue.int(backup.size_bytes),
        "verified": dg.MetadataValue.bool(backup.verified),
        "space": dg.MetadataValue.text(backup.space),
        "lsn": dg.MetadataValue.text(backup.lsn),
        "tables": markdown_table(
            ("table", "rows", "bytes", "verified", "checksum", "relation"),
            [
                (
                    table.table,
                    f"{table.rows:,}",
                    f"{table.size_bytes:,}",
                    "yes" if table.verified else "no",
                    table.checksum,
                    table.relation,
                )
                for table in backup.tables
            ],
        ),
    }
    if backup.directory is not None:
        metadata["directory"] = dg.MetadataValue.path(backup.directory)
    return metadata


def of_cleanup(cleanup: Cleanup) -> Metadata:
    """Describe what a cleanup dropped, and what it kept and why."""
    backups = [(backup, "would go" if cleanup.dry_run else "dropped") for backup in cleanup.dropped]
    backups += [(backup, f"kept: {backup.kept_because}") for backup in cleanup.kept]
    return {
        "dropped": dg.MetadataValue.int(len(cleanup.dropped)),
        "kept": dg.MetadataValue.int(len(cleanup.kept)),
        "bytes_dropped": dg.MetadataValue.int(sum(backup.size_bytes for backup in cleanup.dropped)),
        "journal_batches_pruned": dg.MetadataValue.int(cleanup.journal_batches_pruned),
        "dry_run": dg.MetadataValue.bool(cleanup.dry_run),
        "backups": markdown_table(
            ("backup", "created", "rows", "bytes", "what"),
            [
                (
                    str(backup.backup_id),
                    backup.created_at.isoformat(timespec="seconds"),
                    f"{backup.rows:,}",
                    f"{backup.size_bytes:,}",
                    what,
                )
                for backup, what in sorted(backups, key=lambda pair: pair[0].backup_id)
            ],
        ),
    }


def of_rollback(outcome: RollbackOutcome) -> Metadata:
    """Describe what became of a table, for all tenants that the rollback had in scope."""
    metadata: Metadata = {"state": dg.MetadataValue.text(outcome.state)}
    if outcome.reason:
        metadata["reason"] = dg.MetadataValue.text(outcome.reason)
    if outcome.result is not None:
        metadata |= _numbers(outcome.result)
        if outcome.result.notes:
            metadata["notes"] = markdown_list(outcome.result.notes)
        if outcome.result.left_alone:
            metadata["left_alone"] = left_alone_table([outcome])
    if outcome.dropped:
        metadata["dropped"] = markdown_list(outcome.dropped)
    if outcome.checks:
        metadata |= check_table(outcome.checks)
    return metadata


def of_rolled_back_tenant(outcome: RollbackOutcome, tenant_id: str) -> Metadata:
    """Describe one tenant's part of a table. The rows are the tenant's, the time is the table's."""
    metadata: Metadata = {
        "tenant_id": dg.MetadataValue.text(tenant_id),
        "state": dg.MetadataValue.text(outcome.tenant_states[tenant_id]),
    }
    result = outcome.result
    if result is not None:
        metadata |= _numbers(result) | {
            "rows_restored": dg.MetadataValue.int(result.restored_by_tenant.get(tenant_id, 0)),
            "rows_changed": dg.MetadataValue.int(result.changed_by_tenant.get(tenant_id, 0)),
            "rows_deleted": dg.MetadataValue.int(result.deleted_by_tenant.get(tenant_id, 0)),
            "rows_failed": dg.MetadataValue.int(result.failed_by_tenant.get(tenant_id, 0)),
        }
        del metadata["rows_expected"]
        left = result.left_alone_by_tenant.get(tenant_id, ())
        if left:
            metadata["left_alone"] = _left_alone_table([(outcome.table, row) for row in left])
    return metadata


def of_rollbacks(outcomes: Sequence[RollbackOutcome]) -> Metadata:
    """Describe a whole rollback: every table's counts, and the first rows that were left alone."""
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    metadata: Metadata = {
        "rows_restored": dg.MetadataValue.int(sum(result.rows_restored for result in results)),
        "rows_changed": dg.MetadataValue.int(sum(result.rows_changed for result in results)),
        "rows_deleted": dg.MetadataValue.int(sum(result.rows_deleted for result in results)),
        "rows_failed": dg.MetadataValue.int(sum(result.rows_failed for result in results)),
        "tables": markdown_table(
            ("table", "state", "restored", "changed by the application", "deleted", "failed", "why"),
            [
                (outcome.table, outcome.state, *_counts(outcome.result), outcome.reason or "")
                for outcome in outcomes
            ],
        ),
    }
    if any(result.left_alone for result in results):
        metadata["left_alone"] = left_alone_table(outcomes)
    return metadata


def of_emergency(outcome: EmergencyOutcome) -> Metadata:
    """Describe an emergency stop: its steps, what was taken back, what is where."""
    metadata = of_rollbacks(outcome.rollback) | {
        "left": dg.MetadataValue.int(len(outcome.left)),
        "steps": markdown_table(
            ("step", "outcome", "seconds", "what was done"),
            [
                (step.name, step.outcome, f"{step.seconds:.1f}", "; ".join(step.lines))
                for step in outcome.steps
            ],
        ),
        "what_is_where": markdown_table(
            ("table", "rows with a value of ours", "tenants not rolled back", "still there"),
            [
                (
                    table.table,
                    f"{table.rows_ours:,}",
                    f"{table.pairs_left:,}",
                    ", ".join(table.structure),
                )
                for table in outcome.tables
            ],
        ),
    }
    if outcome.left:
        metadata["what_is_left"] = markdown_list(outcome.left)
    return metadata


def left_alone_table(outcomes: Sequence[RollbackOutcome]) -> dg.MetadataValue:
    """Return the first rows that were not reset, as a table; `tenant_migration.left_alone` has them all."""
    return _left_alone_table(
        [
            (outcome.table, row)
            for outcome in outcomes
            if outcome.result is not None
            for row in outcome.result.left_alone
        ]
    )


def _left_alone_table(rows: Sequence[tuple[str, LeftAlone]]) -> dg.MetadataValue:
    return markdown_table(
        ("table", "tenant", "key", "why", "organization now", "message"),
        [_left_alone(table, row) for table, row in rows],
    )


def _left_alone(table: str, row: LeftAlone) -> tuple[str, ...]:
    key = ", ".join(f"{column}={value}" for column, value in row.row_key.items())
    return (table, row.tenant_id, key, row.reason, row.found_value or "", row.message or "")


def _counts(result: RollbackResult | None) -> tuple[str, ...]:
    if result is None:
        return ("", "", "", "")
    counts = (result.rows_restored, result.rows_changed, result.rows_deleted, result.rows_failed)
    return tuple(f"{count:,}" for count in counts)


def _numbers(result: RollbackResult) -> Metadata:
    return {
        "rows_expected": dg.MetadataValue.int(result.rows_expected),
        "rows_restored": dg.MetadataValue.int(result.rows_restored),
        "rows_changed": dg.MetadataValue.int(result.rows_changed),
        "rows_deleted": dg.MetadataValue.int(result.rows_deleted),
        "rows_failed": dg.MetadataValue.int(result.rows_failed),
        "rows_per_second": dg.MetadataValue.float(round(result.rows_per_second, 1)),
        "batches": dg.MetadataValue.int(result.batches),
        "seconds": dg.MetadataValue.float(round(result.seconds, 3)),
        "migration_run": dg.MetadataValue.int(result.run_id),
    }
