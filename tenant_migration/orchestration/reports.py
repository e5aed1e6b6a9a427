"""The jobs `validate`, `verify` (one tenant), `validate_all`, `verify_all`: checks alone, nothing migrated.

They report on the same checks of the same assets and partitions as a migration does. Dagster cannot run the
checks of a partitioned asset on their own, so these are jobs of one op.
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tenant_migration.integrity.model import CheckResult
from tenant_migration.mapping.repository import list_mappings
from tenant_migration.orchestration import metadata
from tenant_migration.orchestration.checks import VALIDATION, VERIFICATION, Verdict, checks_on, judge
from tenant_migration.orchestration.config import TablesConfig
from tenant_migration.orchestration.external import MAPPED_TENANTS_CHECK, MAPPING_COMPLETE
from tenant_migration.orchestration.listeners import listener_of
from tenant_migration.orchestration.names import mappings_key, table_key
from tenant_migration.orchestration.partition_keys import tenant_id
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.orchestration.record import Recorder
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import Session, event_source, session
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.pairs import pair_states
from tenant_migration.workflow.selection import select_tables
from tenant_migration.workflow.validate import Report, validate, verify


@dataclass(frozen=True)
class Findings:
    """What a run of the checks found, ready to be recorded."""

    report: Report
    results: list[CheckResult]
    tables: list[TablePlan]
    tenants: list[str]
    states: dict[tuple[str, str], str]
    plan: Plan


def report_jobs() -> list[dg.JobDefinition]:
    """Return the four jobs. They take their tables from the stored plan when they run."""
    return [
        _job("validate", VALIDATION, "Runs the checks before a migration for one tenant.", by_tenant=True),
        _job(
            "validate_all", VALIDATION, "Runs the checks before a migration for all tenants.", by_tenant=False
        ),
        _job("verify", VERIFICATION, "Verifies what is recorded as migrated for one tenant.", by_tenant=True),
        _job(
            "verify_all", VERIFICATION, "Verifies everything that is recorded as migrated.", by_tenant=False
        ),
    ]


def _job(name: str, gate: str, description: str, *, by_tenant: bool) -> dg.JobDefinition:
    op = _report_op(f"run_{name}", gate, description, by_tenant=by_tenant)

    @dg.job(name=name, description=description, partitions_def=tenants_partitions if by_tenant else None)
    def run_checks() -> None:
        op()

    return run_checks


def _report_op(name: str, gate: str, description: str, *, by_tenant: bool) -> dg.OpDefinition:
    @dg.op(name=name, description=description, out={"result": dg.Out(dg.Nothing)})
    def report(context: dg.OpExecutionContext, config: TablesConfig, database: Database) -> None:
        tenants = [tenant_id(context.partition_key)] if by_tenant else None
        findings = _run_checks(context, database, gate, config.tables or None, tenants)
        _record(context, gate, findings, everything=not by_tenant and not config.tables)
        listener = listener_of(context.run.tags)
        if listener is not None:
            listener.report = findings.report
        described = metadata.of_report(findings.report)
        if findings.report["status"] == "fail":
            raise dg.Failure(
                f"{gate} failed: {findings.report['criticalIssues']} critical issues",
                metadata=described,
                allow_retries=False,
            )
        context.add_output_metadata(described)

    return report


def _run_checks(
    context: dg.OpExecutionContext,
    database: Database,
    gate: str,
    tables: Sequence[str] | None,
    tenants: list[str] | None,
) -> Findings:
    results: list[CheckResult] = []
    operation: Callable[..., Report] = validate if gate == VALIDATION else verify
    with session(context, database) as opened:
        plan = opened.plan_to_write(tables=tables, tenants=tenants)
        opened.sync_partitions()
        report = operation(
            opened.connection,
            opened.config,
            plan,
            tables=tables,
            tenants=tenants,
            actor=opened.actor,
            on_results=results.extend,
        )
        chosen = select_tables(plan, tables)
        return Findings(
            report=report,
            results=results,
            tables=chosen,
            tenants=tenants or _mapped_tenants(opened),
            states=pair_states(opened.connection, [table.qualified_name for table in chosen]),
            plan=plan,
        )


def _mapped_tenants(opened: Session) -> list[str]:
    return [mapping.tenant_id for mapping in list_mappings(opened.connection, opened.config)]


def _record(context: dg.OpExecutionContext, gate: str, findings: Findings, *, everything: bool) -> None:
    source = event_source(context)
    for table in findings.tables:
        checks = [check for check in findings.results if check.table == table.qualified_name]
        Recorder(context.instance, source, table_key(table)).verdicts(
            {tenant: [judge(gate, checks_on(checks, tenant))] for tenant in _judged(gate, findings, table)}
        )
    if gate == VALIDATION and everything:
        mapped = [check for check in findings.results if check.name == MAPPED_TENANTS_CHECK]
        verdict: Verdict = judge(MAPPING_COMPLETE, mapped)
        Recorder(context.instance, source, mappings_key(findings.plan)).verdict(verdict)


def _judged(gate: str, findings: Findings, table: TablePlan) -> list[str]:
    """Return the tenants that a gate says something about: a pair that is pending has nothing to verify."""
    if gate == VALIDATION:
        return findings.tenants
    states: dict[tuple[str, str], Any] = findings.states
    return [
        tenant for tenant in findings.tenants if states.get((table.qualified_name, tenant)) == "completed"
    ]
