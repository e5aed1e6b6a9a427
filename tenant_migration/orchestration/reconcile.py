"""Reports on the assets what was done outside Dagster: by the Python API, by psql, by a run that was killed.

The truth is in the database; this makes Dagster say the same. Every tick compares the pairs that changed
lately, and all that Dagster shows as materialized, with the database, so that reporting twice, or a tick that
is lost, changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
import psycopg

from tenant_migration.orchestration.checks import VERIFICATION, Verdict
from tenant_migration.orchestration.compat import failed_checks, latest_materializations
from tenant_migration.orchestration.event_batches import (
    RUNLESS,
    store_check_evaluations,
    store_materializations,
)
from tenant_migration.orchestration.names import table_key
from tenant_migration.orchestration.partition_keys import keys_by_tenant
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.recorded import RecordedPair, changed_pairs, unfinished_pairs

OVERLAP = timedelta(minutes=10)
"""Looked at again: a pair's time is taken before its transaction commits, so a later one may show first."""

_UNDONE = frozenset({"pending", "rolled_back", "failed", "blocked", "cancelled"})
"""Not at work, and not completed."""

_NO_REASON = "the database records nothing as migrated"


@dataclass(frozen=True)
class Reconciled:
    """What one tick reported."""

    completed: int
    undone: int
    cursor: str
    """Hand it to the next tick."""


def reconcile(
    instance: dg.DagsterInstance, connection: psycopg.Connection, plan: Plan, cursor: str | None
) -> Reconciled:
    """Report what Dagster does not know yet.

    1. Pairs that changed since the cursor, without those of a Dagster run that still goes: it reports itself.
    2. Completed, and the latest materialization is older and not of that run: a materialization, and a passed
       verification.
    3. Materialized, but undone in the database, and no result says so yet: a failed verification, since
       Dagster cannot take a materialization back. All that is materialized is looked at, not only what
       changed: `reset_migration()` and another database behind the same storage leave no pair that did.
    """
    since = datetime.fromisoformat(cursor) - OVERLAP if cursor else None
    pairs, now = changed_pairs(connection, since)
    active = _active_runs(instance, (pair.dagster_run_id for pair in pairs))
    by_table: dict[str, list[RecordedPair]] = defaultdict(list)
    for pair in pairs:
        if pair.state == "completed" and pair.dagster_run_id not in active:
            by_table[pair.table].append(pair)
    completed = undone = 0
    for table in plan.tables:
        completed += _report_completed(instance, table_key(table), by_table[table.qualified_name])
        undone += _report_undone(instance, connection, table)
    waiting = [pair.updated_at for pair in pairs if pair.dagster_run_id in active]
    return Reconciled(completed, undone, min([now, *waiting]).isoformat())


def _active_runs(instance: dg.DagsterInstance, run_ids: Iterable[str | None]) -> frozenset[str]:
    ids = sorted({run_id for run_id in run_ids if run_id is not None})
    if not ids:
        return frozenset()
    runs = instance.get_runs(filters=dg.RunsFilter(run_ids=ids))
    return frozenset(run.run_id for run in runs if not run.is_finished)


def _report_completed(instance: dg.DagsterInstance, key: dg.AssetKey, pairs: Sequence[RecordedPair]) -> int:
    by_tenant = {pair.tenant_id: pair for pair in pairs}
    keys = {partition: by_tenant[tenant] for tenant, partition in keys_by_tenant(by_tenant).items()}
    known = latest_materializations(instance, key, list(keys))
    unknown = {
        partition: pair
        for partition, pair in keys.items()
        if (latest := known.get(partition)) is None
        or (latest.timestamp < pair.updated_at.timestamp() and latest.run_id != pair.dagster_run_id)
    }
    store_materializations(
        instance,
        RUNLESS,
        [
            dg.AssetMaterialization(
                key,
                partition=partition,
                description="Done outside Dagster, or by a run that ended before it could report.",
                metadata={"tenant_id": pair.tenant_id, "rows_migrated": pair.rows_migrated},
            )
            for partition, pair in unknown.items()
        ],
    )
    targets = latest_materializations(instance, key, list(unknown))
    verdict = Verdict(VERIFICATION, True, "the database records this tenant as verified")
    store_check_evaluations(
        instance,
        RUNLESS,
        [verdict.as_evaluation(key, partition, targets[partition]) for partition in unknown],
    )
    return len(unknown)


def _report_undone(instance: dg.DagsterInstance, connection: psycopg.Connection, table: TablePlan) -> int:
    key = table_key(table)
    shown = instance.get_materialized_partitions(key)  # before the database: it is completed there first
    if not shown:
        return 0
    pairs = {
        pair.tenant_id: pair
        for pair in unfinished_pairs(connection, table.qualified_name)
        if pair.state in _UNDONE
    }
    undone = {
        partition: pairs[tenant] for tenant, partition in keys_by_tenant(pairs).items() if partition in shown
    }
    active = _active_runs(instance, (pair.dagster_run_id for pair in undone.values()))
    said = failed_checks(instance, dg.AssetCheckKey(key, VERIFICATION), list(undone))
    unsaid = [
        partition
        for partition, pair in undone.items()
        if partition not in said and pair.dagster_run_id not in active
    ]
    targets = latest_materializations(instance, key, unsaid)
    evaluations = [
        Verdict(
            VERIFICATION, False, f"{undone[partition].state}: {undone[partition].reason or _NO_REASON}"
        ).as_evaluation(key, partition, targets[partition])
        for partition in unsaid
    ]
    store_check_evaluations(instance, RUNLESS, evaluations)
    return len(evaluations)
