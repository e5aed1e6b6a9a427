"""The text of `migrate`: what it is about to do, what a dry run found, what became of each table.

Pure: values in, lines and tables out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.table import Table

from tenant_migration.backfill.results import DryRunTable
from tenant_migration.cli.output import plain_table, shown
from tenant_migration.planning.describe import bytes_as_text, seconds_as_text
from tenant_migration.planning.model import Estimate, HazardLevel, Plan, TablePlan
from tenant_migration.workflow.outcome import TableOutcome

INDENT = "   "
_NOT_UNDONE = ("trigger_writes_elsewhere", "trigger_changes_columns")
"""Hazards of the plan whose effects stay when the rows are rolled back."""
_OWN_SCHEMA = "tenant_migration."
UNKNOWN = "not known (never analysed)"


def before_lines(
    plan: Plan,
    tables: Sequence[TablePlan],
    tenants: Sequence[str] | None,
    *,
    place: str,
    cost: Estimate,
) -> Iterator[str]:
    """Yield what is printed before the first write.

    Args:
        plan: the stored plan.
        tables: those in scope.
        tenants: those in scope; None: all with a mapping.
        place: host, database and role.
        cost: of `planned_cost` or `counted_cost`.
    """
    yield f"{place[:1].upper()}{place[1:]}, PostgreSQL {plan.server_version // 10000}"
    yield f"{INDENT}Tables: {', '.join(label(table.qualified_name, plan) for table in tables)}"
    named = "all that have a mapping" if tenants is None else ", ".join(map(repr, tenants))
    yield f"{INDENT}Tenants: {named}"
    yield f"{INDENT}Rows: {UNKNOWN if cost.rows is None else f'{cost.rows:,}'}"
    yield f"{INDENT}Estimated WAL: {UNKNOWN if cost.wal_bytes is None else bytes_as_text(cost.wal_bytes)}"
    growth = cost.heap_growth_bytes
    yield f"{INDENT}Estimated heap growth: {UNKNOWN if growth is None else bytes_as_text(growth)}"
    yield f"{INDENT}Estimated time: {UNKNOWN if cost.seconds is None else seconds_as_text(cost.seconds)}"
    limits = list(undo_limits(plan, tables))
    if not limits:
        yield f"{INDENT}Could not be undone: nothing; every batch is journaled with the keys of its rows"
    else:
        yield f"{INDENT}Could not be undone:"
        yield from (f"{INDENT}{INDENT}{limit}" for limit in limits)


def planned_cost(tables: Sequence[TablePlan]) -> Estimate:
    """Return the plan's estimate for whole tables: an upper bound for a few tenants, or when much is done."""
    estimates = [table.estimate for table in tables]
    seconds = [estimate.seconds for estimate in estimates]
    return Estimate(
        rows=_sum(estimate.rows for estimate in estimates),
        wal_bytes=_sum(estimate.wal_bytes for estimate in estimates),
        heap_growth_bytes=_sum(estimate.heap_growth_bytes for estimate in estimates),
        seconds=None if None in seconds else sum(value for value in seconds if value is not None),
    )


def counted_cost(results: Sequence[DryRunTable]) -> Estimate:
    """Return what a dry run counted."""
    return Estimate(
        rows=sum(result.rows_to_migrate for result in results),
        wal_bytes=sum(result.estimated_wal_bytes for result in results),
        heap_growth_bytes=sum(result.estimated_heap_growth_bytes for result in results),
        seconds=sum(result.estimated_seconds for result in results),
    )


def undo_limits(plan: Plan, tables: Iterable[TablePlan]) -> Iterator[str]:
    """Yield what a rollback could not bring back."""
    for table in tables:
        name = label(table.qualified_name, plan)
        for hazard in table.hazards:
            if hazard.name in _NOT_UNDONE and hazard.level is not HazardLevel.REFUSE:
                yield f"{name}: {hazard.detail}"
        if not table.key_columns:
            yield (
                f"{name}: rows that the application changes later, or that VACUUM FULL or CLUSTER moves: "
                "they have no key by which they could be found again"
            )


def dry_run_tables(plan: Plan, results: Sequence[DryRunTable]) -> Table:
    """Return the counts and estimates of a dry run, one line a table."""
    table = plain_table(
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
        numbers_from=1,
    )
    for result in results:
        table.add_row(
            label(result.table, plan),
            f"{result.rows_to_migrate:,}",
            f"{result.rows_to_keep:,}",
            f"{result.rows_already_done:,}",
            f"{result.rows_null_tenant:,}",
            f"{result.rows_allowed_unmapped:,}",
            f"{result.rows_unmapped:,}",
            bytes_as_text(result.estimated_wal_bytes),
            bytes_as_text(result.estimated_heap_growth_bytes),
            seconds_as_text(result.estimated_seconds),
        )
    return table


def dry_run_lines(plan: Plan, results: Sequence[DryRunTable]) -> Iterator[str]:
    """Yield the counts for each tenant and the statements on the application's table, table by table."""
    for result in results:
        if result.rows_by_tenant:
            yield ""
            yield f"{label(result.table, plan)}, rows to migrate for each tenant:"
            yield from (
                f"{INDENT}{shown(tenant)}: {rows:,}" for tenant, rows in sorted(result.rows_by_tenant.items())
            )
        theirs = [statement for statement in result.statements if _is_on_the_table(statement)]
        if theirs:
            yield ""
            yield f"{label(result.table, plan)}, statements on the table that would run beside the updates:"
            yield from (f"{INDENT}{statement}" for statement in theirs)


def _is_on_the_table(statement: str) -> bool:
    """Say whether a statement is on the application's table; what makes our own objects is no news to it."""
    target = statement.partition("FOR EACH")[0]
    return _OWN_SCHEMA not in target.replace('"', "")


def outcome_table(plan: Plan, outcomes: Sequence[TableOutcome]) -> Table:
    """Return what became of each table, with exact counts."""
    table = plain_table(
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
        numbers_from=2,
    )
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            table.add_row(label(outcome.table, plan), outcome.state, *[""] * 8)
            continue
        table.add_row(
            label(outcome.table, plan),
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
    plan: Plan, outcomes: Sequence[TableOutcome], reasons: Mapping[tuple[str, str], str | None]
) -> Iterator[str]:
    """Yield every table that is not completed and every pair with its reason; equal reasons share a line.

    Args:
        plan: the stored plan.
        outcomes: of the run.
        reasons: (table, tenant) -> reason, as the database recorded it.
    """
    for outcome in outcomes:
        if outcome.state == "completed":
            continue
        yield f"{label(outcome.table, plan)}: {outcome.state}: {outcome.reason or 'no reason recorded'}"
        together: dict[tuple[str, str], list[str]] = {}
        for tenant, state in outcome.tenant_states.items():
            if state != "completed":
                reason = reasons.get((outcome.table, tenant)) or "no reason recorded"
                together.setdefault((state, reason), []).append(tenant)
        for (state, reason), tenants in together.items():
            yield f"{INDENT}{state}: {', '.join(map(repr, sorted(tenants)))}: {reason}"


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def label(qualified_name: str, plan: Plan) -> str:
    """Return a table's name as people read it: bare in the interface schema."""
    return qualified_name.removeprefix(f"{plan.interface_schema}.")
