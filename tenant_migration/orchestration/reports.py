"""The jobs `validate`, `verify` (one tenant), `validate_all`, `verify_all`: checks alone, nothing migrated.

They report on the same checks of the same assets and partitions as a migration does; what looks at the
database as a whole shows on the mappings. Dagster cannot run the checks of a partitioned asset on their own,
so these are jobs of one op.
"""

# No `from __future__ import annotations`: Dagster wants the annotation of `context` as an object.

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tenant_migration.integrity.model import CheckResult
from tenant_migration.mapping.repository import list_mappings
from tenant_migration.orchestration import check_metadata
from tenant_migration.orchestration.checks import (
    IN_FULL_MOST,
    VALIDATION,
    VERIFICATION,
    Verdict,
    checks_on,
    judge,
    judge_drift,
)
from tenant_migration.orchestration.config import ChecksConfig, TablesConfig
from tenant_migration.orchestration.external import MAPPED_TENANTS_CHECK, MAPPING_COMPLETE
from tenant_migration.orchestration.listeners import listener_of
from tenant_migration.orchestration.names import mappings_key, table_key
from tenant_migration.orchestration.partition_keys import tenant_id
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.orchestration.record import Recorder
from tenant_migration.orchestration.resources import Database
from tenant_migration.orchestration.session import Session, event_source, session
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.pairs import pair_states
from tenant_migration.workflow.selection import select_tables
from tenant_migration.workflow.validate import Report, validate, verify

VERIFY_ALL = "verify_all"


@dataclass(frozen=True)
class Findings:
    """What a run of the checks found, ready to be recorded."""

    report: Report
    results: list[CheckResult]
    tables: list[TablePlan]
    tenants: list[str]
    states: dict[tuple[str, str], str]
    plan: Plan
    is_of_everything: bool
    """Whether neither tables nor tenants were chosen."""


def report_jobs() -> list[dg.JobDefinition]:
    """Return the four jobs. They take their tables from the stored plan when they run."""
    return [
        _job("validate", VALIDATION, "Runs the checks before a migration for one tenant.", by_tenant=True),
        _job(
            "validate_all", VALIDATION, "Runs the checks before a migration for all tenants.", by_tenant=False
        ),
        _job("verify", VERIFICATION, "Verifies what is recorded as migrated for one tenant.", by_tenant=True),
        _job(VERIFY_ALL, VERIFICATION, "Verifies everything that is recorded as migrated.", by_tenant=False),
    ]


def _job(name: str, gate: str, description: str, *, by_tenant: bool) -> dg.JobDefinition:
    make_op = _op_for_one_tenant if by_tenant else _op_for_all
    op = make_op(f"run_{name}", gate, description)

    @dg.job(name=name, description=description, partitions_def=tenants_partitions if by_tenant else None)
    def run_checks() -> None:
        op()

    return run_checks


def _op_for_one_tenant(name: str, gate: str, description: str) -> dg.OpDefinition:
    @dg.op(name=name, description=description, out={"result": dg.Out(dg.Nothing)})
    def report_on_tenant(context: dg.OpExecutionContext, config: TablesConfig, database: Database) -> None:
        _report(context, database, gate, config.tables, [tenant_id(context.partition_key)])

    return report_on_tenant


def _op_for_all(name: str, gate: str, description: str) -> dg.OpDefinition:
    @dg.op(name=name, description=description, out={"result": dg.Out(dg.Nothing)})
    def report_on_all(context: dg.OpExecutionContext, config: ChecksConfig, database: Database) -> None:
        _report(context, database, gate, config.tables, config.tenants)

    return report_on_all


def _report(
    context: dg.OpExecutionContext,
    database: Database,
    gate: str,
    tables: Sequence[str],
    tenants: Sequence[str],
) -> None:
    findings = _run_checks(context, database, gate, tables or None, tenants or None)
    _record(context, gate, findings)
    listener = listener_of(context.run.tags)
    if listener is not None:
        listener.report = findings.report
    described = check_metadata.of_report(findings.report, findings.results)
    if findings.report["status"] == "fail":
        raise dg.Failure(
            f"{gate} failed: {counted(findings.report['criticalIssues'], 'critical issue')}",
            metadata=described,
            allow_retries=False,
        )
    context.add_output_metadata(described)


def _run_checks(
    context: dg.OpExecutionContext,
    database: Database,
    gate: str,
    tables: Sequence[str] | None,
    tenants: Sequence[str] | None,
) -> Findings:
    results: list[CheckResult] = []
    operation: Callable[..., Report] = validate if gate == VALIDATION else verify
    name = "validate" if gate == VALIDATION else "verify"
    with session(context, database) as opened, opened.attempt(name, tables=tables, tenants=tenants):
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
            tenants=_mapped_tenants(opened) if tenants is None else list(tenants),
            states=pair_states(opened.connection, [table.qualified_name for table in chosen]),
            plan=plan,
            is_of_everything=tables is None and tenants is None,
        )


def _mapped_tenants(opened: Session) -> list[str]:
    return [mapping.tenant_id for mapping in list_mappings(opened.connection, opened.config)]


def _record(context: dg.OpExecutionContext, gate: str, findings: Findings) -> None:
    """Record the results on the assets.

    1. On every table, for every tenant that the gate says something about.
    2. On the mappings what looks at the database as a whole, unless it was asked about a part: there are no
       partitions there, and one tenant's verdict would stand for all.
    """
    source = event_source(context)
    for table in findings.tables:
        checks = [check for check in findings.results if check.table == table.qualified_name]
        judged = _judged(gate, findings, table)
        in_full = len(judged) <= IN_FULL_MOST
        Recorder(context.instance, source, table_key(table)).verdicts(
            {tenant: [_judge(gate, checks_on(checks, tenant), tenant, in_full=in_full)] for tenant in judged}
        )
    if not findings.is_of_everything:
        return
    recorder = Recorder(context.instance, source, mappings_key(findings.plan))
    recorder.verdict(judge(gate, [check for check in findings.results if check.table is None]))
    if gate == VALIDATION:
        mapped = [check for check in findings.results if check.name == MAPPED_TENANTS_CHECK]
        recorder.verdict(judge(MAPPING_COMPLETE, mapped))


def _judge(gate: str, checks: Sequence[CheckResult], tenant: str, *, in_full: bool) -> Verdict:
    if gate == VERIFICATION:
        return judge_drift(gate, checks, tenant, in_full=in_full)
    return judge(gate, checks, in_full=in_full)


def _judged(gate: str, findings: Findings, table: TablePlan) -> list[str]:
    """Return the tenants that a gate says something about: a pair that is pending has nothing to verify."""
    if gate == VALIDATION:
        return findings.tenants
    states: dict[tuple[str, str], Any] = findings.states
    return [
        tenant for tenant in findings.tenants if states.get((table.qualified_name, tenant)) == "completed"
    ]
