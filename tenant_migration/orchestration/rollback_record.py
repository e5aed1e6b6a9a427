"""Records a rollback on the assets: what was restored, and that the partitions are not migrated any more.

Dagster cannot take a materialization back. So a rolled back partition stays materialized and gets a failed
`verification`, which the UI shows in red, until it is migrated again.
"""

from __future__ import annotations

import dagster as dg

from tenant_migration.orchestration import recovery_metadata
from tenant_migration.orchestration.checks import VERIFICATION, Verdict
from tenant_migration.orchestration.event_batches import EventSource, store_observations
from tenant_migration.orchestration.partition_keys import keys_by_tenant
from tenant_migration.orchestration.record import Recorder
from tenant_migration.workflow.rollback_outcome import RollbackOutcome

_STILL_MIGRATED = frozenset({"completed"})
"""States of a tenant that the rollback did not touch: its verification still stands."""


def record_rollback(
    instance: dg.DagsterInstance, source: EventSource, key: dg.AssetKey, outcome: RollbackOutcome
) -> None:
    """Record one table's part of a rollback, for every tenant that it was migrated for.

    1. An observation with the tenant's counts, which the UI plots.
    2. A failed verification, unless the rollback did not get to the tenant.
    """
    keys = keys_by_tenant(outcome.tenant_states)
    store_observations(
        instance,
        source,
        [
            dg.AssetObservation(
                key,
                partition=partition,
                metadata=recovery_metadata.of_rolled_back_tenant(outcome, tenant),
            )
            for tenant, partition in keys.items()
        ],
    )
    Recorder(instance, source, key).verdicts(
        {
            tenant: [_verdict(outcome, tenant)]
            for tenant, state in outcome.tenant_states.items()
            if state not in _STILL_MIGRATED
        }
    )


def _verdict(outcome: RollbackOutcome, tenant_id: str) -> Verdict:
    state = outcome.tenant_states[tenant_id]
    why = f": {outcome.reason}" if outcome.reason and state != "rolled_back" else ""
    run = f" by run {outcome.result.run_id}" if outcome.result else ""
    return Verdict(
        check_name=VERIFICATION,
        passed=False,
        description=f"{state}{run}{why}; the database says what is migrated, Dagster cannot take it back",
        metadata=recovery_metadata.of_rolled_back_tenant(outcome, tenant_id),
    )
