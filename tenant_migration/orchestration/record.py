"""Records what an op did for many tenants on the same assets and partitions that a run for one tenant has.

Events are written many at a time: a run over 5,000 tenants and eight tables has 80,000 of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from tenant_migration.backfill.results import DryRunTable
from tenant_migration.orchestration import metadata
from tenant_migration.orchestration.checks import IN_FULL_MOST, TableVerdicts, Verdict
from tenant_migration.orchestration.compat import TargetMaterialization, latest_materializations
from tenant_migration.orchestration.event_batches import (
    EventSource,
    store_check_evaluations,
    store_materializations,
    store_observations,
)
from tenant_migration.orchestration.partition_keys import keys_by_tenant
from tenant_migration.workflow.outcome import TableOutcome


@dataclass(frozen=True)
class Recorder:
    """Writes events of one step to one asset; a tenant that has no partition shows on none."""

    instance: dg.DagsterInstance
    source: EventSource
    key: dg.AssetKey

    def outcome(self, outcome: TableOutcome) -> None:
        """Record a table's part of a run.

        1. A materialization for each tenant that the run completed; what an earlier one completed stays so
           when the gate before refuses the table, and is not recorded again.
        2. The results of both gates, which point to the latest materializations.
        """
        completed = keys_by_tenant(
            tenant
            for tenant, state in outcome.tenant_states.items()
            if state == "completed" and outcome.result is not None
        )
        stored = store_materializations(
            self.instance,
            self.source,
            [
                dg.AssetMaterialization(self.key, partition=key, metadata=metadata.of_tenant(outcome, tenant))
                for tenant, key in completed.items()
            ],
        )
        verdicts = TableVerdicts(outcome, in_full=len(outcome.tenant_states) <= IN_FULL_MOST)
        self.verdicts({tenant: verdicts.of(tenant) for tenant in outcome.tenant_states}, stored)

    def verdicts(
        self,
        by_tenant: Mapping[str, Iterable[Verdict]],
        just_stored: Mapping[str, TargetMaterialization] | None = None,
    ) -> None:
        """Record the results of gates for many tenants.

        Args:
            by_tenant: the results.
            just_stored: the latest materializations of partitions, as far as they are known.
        """
        keys = keys_by_tenant(by_tenant)
        targets = dict(just_stored or {})
        others = [key for key in keys.values() if key not in targets]
        targets |= latest_materializations(self.instance, self.key, others)
        store_check_evaluations(
            self.instance,
            self.source,
            [
                verdict.as_evaluation(self.key, key, targets.get(key))
                for tenant, key in keys.items()
                for verdict in by_tenant[tenant]
            ],
        )

    def verdict(self, verdict: Verdict) -> None:
        """Record the result of a check that is not by tenant."""
        store_check_evaluations(self.instance, self.source, [verdict.as_evaluation(self.key, None, None)])

    def dry_run(self, dry_run: DryRunTable) -> None:
        """Record what a real run would do, as observations: they turn nothing green."""
        observations = [
            dg.AssetObservation(self.key, partition=key, metadata=metadata.of_dry_run_tenant(dry_run, tenant))
            for tenant, key in keys_by_tenant(dry_run.rows_by_tenant).items()
        ]
        store_observations(self.instance, self.source, observations)
