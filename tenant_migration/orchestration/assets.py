"""One asset for each managed table, by one factory from the plan.

The asset is the table with its organizations filled; its partitions are the tenants. Its op validates,
migrates and verifies that table for that tenant, so that "Materialize" on one table does the whole gate. It
is refused when its parents are not done for that tenant: the op asks the database, since a run may hold any
selection of assets.
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

from collections.abc import Iterator
from typing import Any

import dagster as dg

from tenant_migration.orchestration import metadata
from tenant_migration.orchestration.backup_first import back_up_before
from tenant_migration.orchestration.checks import TableVerdicts, check_specs
from tenant_migration.orchestration.compat import selected_assets
from tenant_migration.orchestration.config import MigrateTableConfig
from tenant_migration.orchestration.names import (
    KINDS,
    OWNERS,
    POOL,
    group_name,
    mappings_key,
    op_name,
    organizations_key,
    qualified_key,
    table_key,
)
from tenant_migration.orchestration.partition_keys import tenant_id
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import planned_table, session
from tenant_migration.planning.model import HazardLevel, Plan, TablePlan
from tenant_migration.workflow.migrate import OPERATION, Scope, migrate
from tenant_migration.workflow.outcome import TableOutcome

TAG_PREFIX = "tenant_migration"

_TABLE_OUTPUT = "table"


def table_assets(plan: Plan) -> list[dg.AssetsDefinition]:
    """Return the assets of all managed tables, parents first."""
    return [_table_asset(table, plan) for table in plan.tables]


def table_spec(table: TablePlan, plan: Plan) -> dg.AssetSpec:
    """Return what the UI shows of a table."""
    return dg.AssetSpec(
        table_key(table),
        deps=_parents(table, plan),
        description=_describe(table),
        metadata=metadata.of_table(table, plan),
        group_name=group_name(table),
        owners=OWNERS,
        tags={
            f"{TAG_PREFIX}/strategy": table.strategy.value,
            f"{TAG_PREFIX}/component": str(table.component),
            f"{TAG_PREFIX}/hazards": _worst_hazard(table),
        },
        kinds=KINDS,
        code_version=table.table_hash,
        partitions_def=tenants_partitions,
    )


def _table_asset(table: TablePlan, plan: Plan) -> dg.AssetsDefinition:
    key = table_key(table)
    spec = table_spec(table, plan)
    specs = check_specs(key)
    name = table.qualified_name
    inputs = {f"parent_{number}": dep.asset_key for number, dep in enumerate(spec.deps)}

    @dg.op(
        name=op_name(table),
        description=f"Validates, migrates and verifies {name} for one tenant.",
        ins={input_name: dg.In(dg.Nothing) for input_name in inputs},
        out={
            _TABLE_OUTPUT: dg.Out(dg.Nothing),
            **{check: dg.Out(dg.Nothing, is_required=False) for check in specs},
        },
        tags={"kind": "postgresql"},
        pool=POOL,
    )
    def migrate_table_for_tenant(
        context: dg.AssetExecutionContext, config: MigrateTableConfig, database: Database
    ) -> Iterator[Any]:
        tenant = tenant_id(context.partition_key)
        outcome = _migrate(context, config, database, name, tenant)
        results = [verdict.as_result(key) for verdict in TableVerdicts(outcome).of(tenant)]
        described = metadata.of_outcome(outcome) | metadata.of_tenant(outcome, tenant)
        if outcome.state != "completed":
            # A passed result without a materialization to point to would show nowhere; and with the Failure
            # behind them, the partition is not materialized.
            yield from (result for result in results if not result.passed)
            raise dg.Failure(
                description=f"{name} for tenant {tenant!r}: {outcome.state}: {outcome.reason}",
                metadata=described,
                allow_retries=False,
            )
        yield dg.MaterializeResult(asset_key=key, metadata=described, check_results=results)

    # Built from an op: the decorators make names from the key, and a table's name may hold any character.
    return dg.AssetsDefinition(
        keys_by_input_name=inputs,
        keys_by_output_name={_TABLE_OUTPUT: key},
        node_def=migrate_table_for_tenant,
        specs=[spec],
        check_specs_by_output_name=specs,
    )


def _migrate(
    context: dg.AssetExecutionContext, config: MigrateTableConfig, database: Database, name: str, tenant: str
) -> TableOutcome:
    with (
        session(context.op_execution_context, database) as opened,
        opened.attempt(OPERATION, tables=[name], tenants=[tenant]),
    ):
        plan = opened.plan_to_write(tables=[name], tenants=[tenant])
        opened.sync_partitions()
        table = planned_table(plan, name)
        later_tables = _tables_of_run(context, plan)
        if not config.skip_backup:
            back_up_before(
                opened,
                plan,
                Scope((table,), (tenant,)),
                run_tables=[one for one in plan.tables if one.qualified_name in {name, *later_tables}],
            )
        [outcome] = migrate(
            opened.connection,
            opened.config,
            plan,
            actor=opened.actor,
            tables=[name],
            tenants=[tenant],
            skip_validation=config.skip_validation,
            progress=opened.progress,
            dagster_run_id=context.run.run_id,
            later_tables=later_tables,
        )
    return outcome


def _tables_of_run(context: dg.AssetExecutionContext, plan: Plan) -> list[str]:
    """Return the tables of this Dagster run, which skips those whose parents fail."""
    selected = selected_assets(context)
    return [table.qualified_name for table in plan.tables if table_key(table) in selected]


def _parents(table: TablePlan, plan: Plan) -> list[dg.AssetKey]:
    own = table_key(table)
    keys = [qualified_key(parent, plan) for parent in table.depends_on]
    keys += [key for key in (organizations_key(plan), mappings_key(plan)) if key != own]
    return list(dict.fromkeys(keys))


def _describe(table: TablePlan) -> str:
    lines = [
        f"`{table.qualified_name}`: `{table.organization_column}` filled from `{table.tenant_column.name}`.",
        f"Strategy {table.strategy.value}: {table.strategy_reason}.",
    ]
    if table.component_peers:
        peers = ", ".join(f"`{peer}`" for peer in table.component_peers)
        lines.append(
            f"Refers in a circle to {peers}: Dagster shows no edge between them, and none waits for another."
        )
    lines += [
        f"* {hazard.level.value}: {hazard.detail}; {hazard.way_out}"
        for hazard in table.hazards
        if hazard.level is not HazardLevel.INFO
    ]
    return "\n\n".join(lines)


def _worst_hazard(table: TablePlan) -> str:
    levels = {hazard.level for hazard in table.hazards}
    return next((level.value for level in HazardLevel if level in levels), "none")
