"""Runs the checks before a migration, or after one, and keeps the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt
from tenant_migration.database.audit_chain import read_anchor
from tenant_migration.database.install import require_installed
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.before import run_checks_before
from tenant_migration.integrity.by_tenant import grid
from tenant_migration.integrity.model import CheckResult, Phase
from tenant_migration.integrity.report import build_report, store_report
from tenant_migration.integrity.tenant_verdicts import keep_verdicts
from tenant_migration.mapping.repository import mapped_tenants
from tenant_migration.planning.model import Plan
from tenant_migration.workflow.audit_log import ANCHOR_KEY
from tenant_migration.workflow.pairs import pair_states
from tenant_migration.workflow.selection import select_tables, select_tenants

Report = dict[str, Any]


def validate(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    actor: str,
    on_results: Callable[[list[CheckResult]], None] | None = None,
) -> Report:
    """Run the checks before a migration.

    Args:
        connection: to the database.
        config: settings.
        plan: the tables.
        tables: these only; None: all.
        tenants: these only; None: all.
        actor: for the audit record.
        on_results: gets the results of all checks, from which the report is made.

    Returns:
        The JSON report; its status is `fail` when something critical was found or a check could not run.

    Raises:
        UnknownTable, UnknownTenant: a name that is not known.
    """
    return _run(
        connection,
        config,
        plan,
        "pre-migration",
        run_checks_before,
        tables=tables,
        tenants=tenants,
        actor=actor,
        on_results=on_results,
    )


def verify(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    actor: str,
    on_results: Callable[[list[CheckResult]], None] | None = None,
) -> Report:
    """Run the checks after a migration over every pair recorded as migrated. As `validate`."""
    return _run(
        connection,
        config,
        plan,
        "post-migration",
        run_checks_after,
        tables=tables,
        tenants=tenants,
        actor=actor,
        on_results=on_results,
    )


def _run(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    phase: Phase,
    run_checks: Callable[..., list[CheckResult]],
    *,
    tables: Sequence[str] | None,
    tenants: Sequence[str] | None,
    actor: str,
    on_results: Callable[[list[CheckResult]], None] | None,
) -> Report:
    operation = "validate" if phase == "pre-migration" else "verify"
    with attempt(connection, operation, actor=actor, tables=tables, tenants=tenants):
        return _checked(
            connection,
            config,
            plan,
            phase,
            run_checks,
            operation=operation,
            tables=tables,
            tenants=tenants,
            actor=actor,
            on_results=on_results,
        )


def _checked(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    phase: Phase,
    run_checks: Callable[..., list[CheckResult]],
    *,
    operation: str,
    tables: Sequence[str] | None,
    tenants: Sequence[str] | None,
    actor: str,
    on_results: Callable[[list[CheckResult]], None] | None,
) -> Report:
    require_installed(connection, config)
    started = time.monotonic()
    chosen = None if tables is None else [table.qualified_name for table in select_tables(plan, tables)]
    selected = select_tenants(connection, config, tenants)
    results = run_checks(connection, plan, config, tables=chosen, tenants=selected)
    if chosen:  # the mapping and the hierarchy matter to every table
        asked = {check.name for check in results}
        of_database = run_checks(connection, plan, config, tables=[], tenants=selected)
        results = [check for check in of_database if check.name not in asked] + results
    if on_results is not None:
        on_results(results)
    report = build_report(results, phase)
    report["database"] = plan.database
    report["byTenant"] = _by_tenant(connection, config, plan, results, phase, chosen, selected)
    report_id = store_report(connection, report, None)
    if phase == "post-migration":
        keep_verdicts(connection, results, phase, tenants=selected, recorded_only=True, report_id=report_id)
    audit.record(
        connection,
        operation=operation,
        actor=actor,
        outcome=report["status"],
        counts={
            "checks": len(results),
            "issues": report["totalIssues"],
            "critical": report["criticalIssues"],
        },
        duration_ms=round((time.monotonic() - started) * 1000),
        detail={"tables": chosen, "tenants": selected},
    )
    anchor = read_anchor(connection)
    if anchor is not None:  # outside of the database, in the report's file
        report[ANCHOR_KEY] = {"entries": anchor.entries, "head": anchor.head}
    return report


def _by_tenant(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    results: Sequence[CheckResult],
    phase: Phase,
    tables: Sequence[str] | None,
    tenants: Sequence[str] | None,
) -> dict[str, Any]:
    """Return the report's grid of tables and tenants."""
    names = [table.qualified_name for table in plan.tables] if tables is None else tables
    return grid(
        results,
        tables=names,
        tenants=mapped_tenants(connection, config.interface_schema) if tenants is None else tenants,
        states=pair_states(connection, names) if phase == "post-migration" else None,
    )
