"""The assets that the migration reads and does not make: organizations and mappings.

`mapping_complete` stands on the mappings: it fails while a tenant owns rows and has no mapping, since such a tenant
has no partition on which it could show.
"""

from __future__ import annotations

import dagster as dg

from tenant_migration.integrity.before import run_checks_before
from tenant_migration.integrity.model import CheckResult
from tenant_migration.orchestration.checks import Verdict, judge
from tenant_migration.orchestration.names import MAPPINGS_TABLE, mappings_key, organizations_key, table_key
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import Session, session
from tenant_migration.planning.model import Plan

MAPPING_COMPLETE = "mapping_complete"
MAPPED_TENANTS_CHECK = "tenants_have_mapping"

_KINDS = {"postgresql", "table"}
_OUTPUT = "mapping_complete"


def external_specs(plan: Plan) -> list[dg.AssetSpec]:
    """Return the organizations and the mappings, which others write."""
    managed = {table_key(table) for table in plan.tables}
    organizations = dg.AssetSpec(
        organizations_key(plan),
        description="The organizations that tenants go to.",
        metadata={
            "dagster/table_name": f"{plan.database}.{plan.organizations.schema_name}.{plan.organizations.table_name}"
        },
        kinds=_KINDS,
    )
    mappings = dg.AssetSpec(
        mappings_key(plan),
        deps=[organizations.key],
        description="Which organization each tenant goes to. Its tenants are the partitions of the tables.",
        metadata={"dagster/table_name": f"{plan.database}.{plan.interface_schema}.{MAPPINGS_TABLE}"},
        kinds=_KINDS,
    )
    return [spec for spec in (organizations, mappings) if spec.key not in managed]


def mapping_complete_check(plan: Plan) -> dg.AssetChecksDefinition:
    """Return the check that every tenant with rows has a mapping."""
    key = mappings_key(plan)
    spec = dg.AssetCheckSpec(
        MAPPING_COMPLETE,
        asset=key,
        description="Every tenant that owns rows has a mapping, or is allowed to have none.",
    )

    @dg.op(
        name=MAPPING_COMPLETE,
        description=spec.description,
        ins={"mappings": dg.In(dg.Nothing)},
        out={_OUTPUT: dg.Out(dg.Nothing)},
    )
    def check_mappings(context: dg.OpExecutionContext, database: Database) -> dg.AssetCheckResult:
        with session(context, database, writes=False) as opened:
            verdict = judge_mappings(opened, opened.plan_to_read())
        return verdict.as_result(key)

    return dg.AssetChecksDefinition.create(
        keys_by_input_name={"mappings": key},
        node_def=check_mappings,
        check_specs_by_output_name={_OUTPUT: spec},
        can_subset=False,
        resource_defs={},
    )


def judge_mappings(opened: Session, plan: Plan) -> Verdict:
    """Look for tenants without a mapping in every managed table."""
    checks: list[CheckResult] = run_checks_before(
        opened.connection, plan, opened.config, only=[MAPPED_TENANTS_CHECK]
    )
    return judge(MAPPING_COMPLETE, checks)
