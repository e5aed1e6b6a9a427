"""Reports on the assets what was done outside Dagster: by the Python API, by psql, by a run that was killed.

The truth is in the database; this makes Dagster say the same. Every tick compares the pairs that changed
lately with what Dagster has, so that reporting twice, or a tick that is lost, changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
import psycopg

from tenant_migration.orchestration.checks import VERIFICATION, Verdict
from tenant_migration.orchestration.compat import (
    RUNLESS,
    failed_checks,
    latest_materializations,
    store_check_evaluations,
    store_materializations,
)
from tenant_migration.orchestration.names import table_key
from tenant_migration.orchestration.partition_keys import partition_key
from tenant_migration.planning.model import Plan
from tenant_migration.workflow.recorded import RecordedPair, changed_pairs

OVERLAP = timedelta(minutes=10)
"""Looked at again: a pair's time is taken before its transaction commits, so a later one may show first."""

_UNDONE = frozenset({"rolled_back", "failed", "blocked", "cancelled"})


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
    3. Undone, and the latest materialization does not say so yet: a failed verification, since Dagster cannot
       take a materialization back.
    """
    since = datetime.fromisoformat(cursor) if cursor else None
    pairs = changed_pairs(connection, since - OVERLAP if since else None)
    active = _active_runs(instance, pairs)
    settled = [pair for pair in pairs if pair.dagster_run_id not in active]
    by_table: dict[str, list[RecordedPair]] = defaultdict(list)
    for pair in settled:
        by_table[pair.table].append(pair)
    completed = undone = 0
    for table in plan.tables:
        changed = by_table.get(table.qualified_name, [])
        key = table_key(table)
        completed += _report_completed(instance, key, [pair for pair in changed if pair.state == "completed"])
        undone += _report_undone(instance, key, [pair for pair in changed if pair.state in _UNDONE])
    return Reconciled(completed, undone, _next_cursor(pairs, active, cursor))


def _next_cursor(pairs: Sequence[RecordedPair], active: frozenset[str], cursor: str | None) -> str:
    """Return the moment up to which everything is reported: the oldest pair of a run that still goes."""
    waiting = [pair.updated_at for pair in pairs if pair.dagster_run_id in active]
    if waiting:
        return min(waiting).isoformat()
    return max((pair.updated_at.isoformat() for pair in pairs), default=cursor or "")


def _active_runs(instance: dg.DagsterInstance, pairs: Sequence[RecordedPair]) -> frozenset[str]:
    ids = sorted({pair.dagster_run_id for pair in pairs if pair.dagster_run_id is not None})
    if not ids:
        return frozenset()
    runs = instance.get_runs(filters=dg.RunsFilter(run_ids=ids))
    return frozenset(run.run_id for run in runs if not run.is_finished)


def _report_completed(instance: dg.DagsterInstance, key: dg.AssetKey, pairs: Sequence[RecordedPair]) -> int:
    keys = {partition_key(pair.tenant_id): pair for pair in pairs}
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


def _report_undone(instance: dg.DagsterInstance, key: dg.AssetKey, pairs: Sequence[RecordedPair]) -> int:
    keys = {partition_key(pair.tenant_id): pair for pair in pairs}
    targets = latest_materializations(instance, key, list(keys))
    said = failed_checks(instance, dg.AssetCheckKey(key, VERIFICATION), list(targets))
    evaluations = [
        Verdict(
            VERIFICATION, False, f"{keys[partition].state}: {keys[partition].reason or 'no reason given'}"
        ).as_evaluation(key, partition, target)
        for partition, target in targets.items()
        if partition not in said
    ]
    store_check_evaluations(instance, RUNLESS, evaluations)
    return len(evaluations)
