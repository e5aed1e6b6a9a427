"""The text of `migrate`: what it is about to do, what a dry run found, what became of each table.

Pure: values in, lines and tables out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.table import Table

from tenant_migration.backfill.results import DryRunTable
from tenant_migration.cli.output import byte_size, duration, shown
from tenant_migration.planning.model import HazardLevel, Plan, TablePlan
from tenant_migration.workflow.outcome import TableOutcome

INDENT = "   "
UNKNOWN = "not known (never analysed)"


def before_lines(
    plan: Plan, tables: Sequence[TablePlan], tenants: Sequence[str] | None, place: str
) -> Iterator[str]:
    """Yield what is printed before the first write.

    Args:
        plan: the stored plan.
        tables: those in scope.
        tenants: those in scope; None: all with a mapping.
        place: host and role, for example `localhost:5432 as role app_owner`.
    """
    yield f"Database {plan.database} on {place}, PostgreSQL {plan.server_version // 10000}"
    yield f"{INDENT}Tables: {', '.join(_label(table, plan) for table in tables)}"
    named = "all that have a mapping" if tenants is None else ", ".join(map(repr, tenants))
    yield f"{INDENT}Tenants: {named}"
    estimates = [table.estimate for table in tables]
    rows = _sum(estimate.rows for estimate in estimates)
    wal = _sum(estimate.wal_bytes for estimate in estimates)
    heap = _sum(estimate.heap_growth_bytes for estimate in estimates)
    seconds = _sum(estimate.seconds for estimate in estimates)
    yield f"{INDENT}Rows, about: {UNKNOWN if rows is None else f'{rows:,.0f}'}"
    yield f"{INDENT}Estimated WAL: {UNKNOWN if wal is None else byte_size(round(wal))}"
    yield f"{INDENT}Estimated heap growth: {UNKNOWN if heap is None else byte_size(round(heap))}"
    yield f"{INDENT}Estimated time: {UNKNOWN if seconds is None else duration(seconds)}"
    if tenants is not None:
        yield f"{INDENT}(estimates are for all tenants of these tables)"
    limits = list(undo_limits(plan, tables))
    if not limits:
        yield f"{INDENT}Could not be undone: nothing; every batch is journaled with the keys of its rows"
    else:
        yield f"{INDENT}Could not be undone:"
        yield from (f"{INDENT}{INDENT}{limit}" for limit in limits)


def undo_limits(plan: Plan, tables: Iterable[TablePlan]) -> Iterator[str]:
    """Yield what a rollback could not bring back."""
    for table in tables:
        name = _label(table, plan)
        for hazard in table.hazards:
            if hazard.name.startswith("trigger") and hazard.level is not HazardLevel.REFUSE:
                yield f"{name}: what its triggers do elsewhere: {hazard.detail}"
        if not table.key_columns:
            yield (
                f"{name}: it has no key, so rows are known by their place: none after the table is rewritten "
                "(VACUUM FULL, CLUSTER), nor those that the application updates"
            )


def dry_run_tables(results: Sequence[DryRunTable]) -> Table:
    """Return the counts and estimates of a dry run, one line a table."""
    table = Table(
        "Table",
        "To migrate",
        "To keep",
        "Done already",
        "NULL tenant",
        "Allowed",
        "Unmapped",
        "WAL",
        "Heap",
        "Time",
    )
    for result in results:
        table.add_row(
            result.table,
            f"{result.rows_to_migrate:,}",
            f"{result.rows_to_keep:,}",
            f"{result.rows_already_done:,}",
            f"{result.rows_null_tenant:,}",
            f"{result.rows_allowed_unmapped:,}",
            f"{result.rows_unmapped:,}",
            byte_size(result.estimated_wal_bytes),
            byte_size(result.estimated_heap_growth_bytes),
            duration(result.estimated_seconds),
        )
    return table


def dry_run_lines(results: Sequence[DryRunTable]) -> Iterator[str]:
    """Yield the counts for each tenant and the statements, table by table."""
    for result in results:
        if result.rows_by_tenant:
            yield ""
            yield f"{result.table}, rows to migrate for each tenant:"
            yield from (
                f"{INDENT}{shown(tenant)}: {rows:,}" for tenant, rows in sorted(result.rows_by_tenant.items())
            )
        if result.statements:
            yield ""
            yield f"{result.table}, statements that would run:"
            yield from (f"{INDENT}{statement}" for statement in result.statements)


def outcome_table(outcomes: Sequence[TableOutcome]) -> Table:
    """Return what became of each table, with exact counts."""
    table = Table(
        "Table",
        "Result",
        "Migrated",
        "Kept",
        "Quarantined",
        "Remaining",
        "HOT",
        "Batches",
        "Seconds",
        "Rows/s",
    )
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            table.add_row(outcome.table, outcome.state, *[""] * 8)
            continue
        table.add_row(
            outcome.table,
            outcome.state,
            f"{result.rows_migrated:,}",
            f"{result.rows_kept:,}",
            f"{result.rows_quarantined:,}",
            f"{result.rows_remaining:,}",
            f"{result.hot_share:.0%}",
            f"{result.batches:,}",
            f"{result.seconds:,.1f}",
            f"{result.rows_per_second:,.0f}",
        )
    return table


def unfinished_lines(
    outcomes: Sequence[TableOutcome], reasons: Mapping[tuple[str, str], str | None]
) -> Iterator[str]:
    """Yield every table that is not completed and every pair with its reason; equal reasons share a line.

    Args:
        outcomes: of the run.
        reasons: (table, tenant) -> reason, as the database recorded it.
    """
    for outcome in outcomes:
        if outcome.state == "completed":
            continue
        yield f"{outcome.table}: {outcome.state}: {outcome.reason or 'no reason recorded'}"
        together: dict[tuple[str, str], list[str]] = {}
        for tenant, state in outcome.tenant_states.items():
            if state != "completed":
                reason = reasons.get((outcome.table, tenant)) or "no reason recorded"
                together.setdefault((state, reason), []).append(tenant)
        for (state, reason), tenants in together.items():
            yield f"{INDENT}{state}: {', '.join(map(repr, sorted(tenants)))}: {reason}"


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _label(table: TablePlan, plan: Plan) -> str:
    return table.table_name if table.schema_name == plan.interface_schema else table.qualified_name
