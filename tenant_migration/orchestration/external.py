"""The assets that the migration reads and does not make: organizations and mappings.

`mapping_complete` stands on the mappings: it fails while a tenant owns rows and has no mapping, since such a
tenant has no partition on which it could show. So do the checks of the database as a whole, which are of no
table.
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

from collections.abc import Callable

import dagster as dg

from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.before import run_checks_before
from tenant_migration.integrity.model import CheckResult
from tenant_migration.orchestration.checks import (
    DATABASE_DESCRIPTIONS,
    VALIDATION,
    VERIFICATION,
    Verdict,
    judge,
)
from tenant_migration.orchestration.names import (
    KINDS,
    MAPPINGS_TABLE,
    OWNERS,
    mappings_key,
    organizations_key,
    table_key,
)
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import Session, session
from tenant_migration.planning.model import Plan

MAPPING_COMPLETE = "mapping_complete"
MAPPED_TENANTS_CHECK = "tenants_have_mapping"

_GROUP = "mapping"


def external_specs(plan: Plan) -> list[dg.AssetSpec]:
    """Return the organizations and the mappings, which others write."""
    managed = {table_key(table) for table in plan.tables}
    table = plan.organizations
    organizations = dg.AssetSpec(
        organizations_key(plan),
        description="The organizations that tenants go to.",
        metadata={"dagster/table_name": f"{plan.database}.{table.schema_name}.{table.table_name}"},
        group_name=_GROUP,
        owners=OWNERS,
        kinds=KINDS,
    )
    mappings = dg.AssetSpec(
        mappings_key(plan),
        deps=[]
        if organizations.key in managed
        else [organizations.key],  # a managed one waits for the mappings
        description="Which organization each tenant goes to. Its tenants are the partitions of the tables.",
        metadata={"dagster/table_name": f"{plan.database}.{plan.interface_schema}.{MAPPINGS_TABLE}"},
        group_name=_GROUP,
        owners=OWNERS,
        kinds=KINDS,
    )
    return [spec for spec in (organizations, mappings) if spec.key not in managed]


def mapping_checks(plan: Plan) -> list[dg.AssetChecksDefinition]:
    """Return the checks on the mappings: that each tenant has one, and what concerns no table alone."""
    key = mappings_key(plan)
    complete = "Every tenant that owns rows has a mapping, or is allowed to have none."
    return [
        _mapping_check(key, MAPPING_COMPLETE, complete, judge_mappings),
        _mapping_check(key, VALIDATION, DATABASE_DESCRIPTIONS[VALIDATION], judge_database_before),
        _mapping_check(key, VERIFICATION, DATABASE_DESCRIPTIONS[VERIFICATION], judge_database_after),
    ]


def _mapping_check(
    key: dg.AssetKey, name: str, description: str, judge_it: Callable[[Session, Plan], Verdict]
) -> dg.AssetChecksDefinition:
    op_name = name if name == MAPPING_COMPLETE else f"database_{name}"

    @dg.op(
        name=op_name,
        description=description,
        ins={"mappings": dg.In(dg.Nothing)},
        out={op_name: dg.Out(dg.Nothing)},
    )
    def check_mappings(context: dg.OpExecutionContext, database: Database) -> dg.AssetCheckResult:
        with session(context, database, writes=False) as opened:
            verdict = judge_it(opened, opened.plan_to_read())
        return verdict.as_result(key)

    definition: dg.AssetChecksDefinition = dg.AssetChecksDefinition.create(
        keys_by_input_name={"mappings": key},
        node_def=check_mappings,
        check_specs_by_output_name={op_name: dg.AssetCheckSpec(name, asset=key, description=description)},
        can_subset=False,
        resource_defs={},
    )
    return definition


def judge_mappings(opened: Session, plan: Plan) -> Verdict:
    """Look for tenants without a mapping in every managed table."""
    checks: list[CheckResult] = run_checks_before(
        opened.connection, plan, opened.config, only=[MAPPED_TENANTS_CHECK]
    )
    return judge(MAPPING_COMPLETE, checks)


def judge_database_before(opened: Session, plan: Plan) -> Verdict:
    """Run the checks before a migration that look at the database as a whole."""
    return judge(VALIDATION, run_checks_before(opened.connection, plan, opened.config, tables=[]))


def judge_database_after(opened: Session, plan: Plan) -> Verdict:
    """Run the checks after a migration that look at the database as a whole."""
    return judge(VERIFICATION, run_checks_after(opened.connection, plan, opened.config, tables=[]))
