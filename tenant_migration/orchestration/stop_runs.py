"""Cancels the runs of Dagster that migrate, back up or take back: what an emergency stop asks of Dagster.

What keeps them from writing is the switch in the database. This keeps the queue from starting them again when
the switch is released, and the UI from showing runs as working that are stopped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import dagster as dg

from tenant_migration.orchestration import plan_file
from tenant_migration.orchestration.compat import cancel_backfills, made_by_module
from tenant_migration.orchestration.instance import shared_instance
from tenant_migration.orchestration.listeners import TAG
from tenant_migration.orchestration.names import table_key
from tenant_migration.orchestration.storage import storage_exists

WAIT_S = 5.0
"""How long a started run may take to end by itself: its statements are ended on the server already."""
_POLL_S = 0.2
_OURS = "tenant_migration.orchestration"
_READING_JOBS = frozenset({"validate", "validate_all", "verify", "verify_all", "dry_run", "discover"})
_WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
_STARTED = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


def stop_dagster_runs() -> list[str]:
    """Cancel the runs on the shared instance, from a process that is no run of Dagster.

    Returns:
        What was cancelled, as sentences.

    Raises:
        DatabaseUnavailable: Dagster's storage cannot be reached.
    """
    if not storage_exists():
        return ["Dagster was never used here"]
    with shared_instance() as instance:
        return cancel_runs(instance)


def cancel_runs(instance: dg.DagsterInstance, *, but: str | None = None) -> list[str]:
    """Cancel backfills, queued runs and started runs of our jobs that write.

    1. Backfills over partitions launch no more runs.
    2. Queued runs are cancelled where they are.
    3. Started ones are asked to end; one that does not is marked as cancelled: its process is dead or frozen.

    Args:
        instance: Dagster's.
        but: the run that asks, which goes on.

    Returns:
        What was cancelled, as sentences.
    """
    plan = plan_file.read()  # what the code location's assets are built from
    assets = {table_key(table) for table in plan.tables} if plan else set()
    lines = [f"cancelled backfill {backfill}" for backfill in cancel_backfills(instance, _OURS, assets)]
    for run in _runs(instance, _WAITING, but):
        instance.report_run_canceled(run, message="Cancelled by the emergency stop, before it started.")
        lines.append(f"cancelled {_name(run)}, which was queued")
    started = _runs(instance, _STARTED, but)
    for run in started:
        instance.run_coordinator.cancel_run(run.run_id)
    going = _wait(instance, started)
    for run in going:
        instance.report_run_canceled(
            run, message="Cancelled by the emergency stop; its process does not answer."
        )
    lines += [f"marked {_name(run)} as cancelled; its process does not answer" for run in going]
    ended = {run.run_id for run in started} - {run.run_id for run in going}
    lines += [f"{_name(run)} ended" for run in started if run.run_id in ended]
    return lines


def _runs(
    instance: dg.DagsterInstance, statuses: Sequence[dg.DagsterRunStatus], but: str | None
) -> list[dg.DagsterRun]:
    runs = instance.get_runs(dg.RunsFilter(statuses=list(statuses)))
    return [run for run in runs if run.run_id != but and _writes(run)]


def _writes(run: dg.DagsterRun) -> bool:
    """Say whether it is a run of ours that may write; the instance may have other code locations."""
    return run.job_name not in _READING_JOBS and (TAG in run.tags or made_by_module(run, _OURS))


def _wait(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> list[dg.DagsterRun]:
    """Wait for the runs to end; return those that did not."""
    deadline = time.monotonic() + WAIT_S
    while True:
        now = [instance.get_run_by_id(run.run_id) for run in runs]
        going = [run for run in now if run is not None and not run.is_finished]
        if not going or time.monotonic() >= deadline:
            return going
        time.sleep(_POLL_S)


def _name(run: dg.DagsterRun) -> str:
    return f"Dagster run {run.run_id[:8]} ({run.job_name})"
