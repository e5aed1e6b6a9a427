"""Results as Dagster metadata: numbers that its UI plots, tables as markdown.

A number has the same key on every asset and check, or the UI cannot plot it. Samples are capped where they
are made; counts are exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import dagster as dg

from tenant_migration.backfill.results import DryRunTable, TableResult
from tenant_migration.orchestration.names import mappings_key
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.outcome import TableOutcome

Metadata = dict[str, dg.MetadataValue]


def of_table(table: TablePlan, plan: Plan) -> Metadata:
    """Describe a table as the plan has it."""
    mappings = mappings_key(plan)
    metadata: Metadata = {
        "dagster/table_name": dg.MetadataValue.text(f"{plan.database}.{table.qualified_name}"),
        "dagster/column_lineage": dg.MetadataValue.column_lineage(
            dg.TableColumnLineage(
                {
                    table.organization_column: [
                        dg.TableColumnDep(asset_key=mappings, column_name="tenant_id"),
                        dg.TableColumnDep(asset_key=mappings, column_name="organization_id"),
                    ]
                }
            )
        ),
        "position": dg.MetadataValue.int(table.position),
        "tenant_column": dg.MetadataValue.text(f"{table.tenant_column.name} {table.tenant_column.type_name}"),
        "organization_column": dg.MetadataValue.text(table.organization_column),
        "strategy": dg.MetadataValue.text(table.strategy.value),
        "strategy_reason": dg.MetadataValue.text(table.strategy_reason),
        "estimated_rows": dg.MetadataValue.int(table.estimated_rows),
        "total_bytes": dg.MetadataValue.int(table.total_bytes),
    }
    if table.hazards:
        metadata["hazards"] = markdown_table(
            ("level", "hazard", "what is there", "way out"),
            [(hazard.level.value, hazard.name, hazard.detail, hazard.way_out) for hazard in table.hazards],
        )
    return metadata


def of_outcome(outcome: TableOutcome) -> Metadata:
    """Describe what became of a table, for all tenants that the run had in scope."""
    metadata: Metadata = {"state": dg.MetadataValue.text(outcome.state)}
    if outcome.reason:
        metadata["reason"] = dg.MetadataValue.text(outcome.reason)
    if outcome.result is not None:
        metadata |= _numbers(outcome.result) | _lists(outcome.result)
    return metadata


def of_tenant(outcome: TableOutcome, tenant_id: str) -> Metadata:
    """Describe one tenant's part of a table.

    The rows are the tenant's; the other numbers are the pass's, which may have been over many tenants.
    Numbers only: a run over all tenants stores this once for each of them.
    """
    metadata: Metadata = {"tenant_id": dg.MetadataValue.text(tenant_id)}
    if outcome.result is not None:
        metadata |= _numbers(outcome.result)
        metadata["rows_migrated"] = dg.MetadataValue.int(outcome.tenant_rows.get(tenant_id, 0))
        metadata["tenants_in_pass"] = dg.MetadataValue.int(len(outcome.tenant_states))
        metadata["checks_before"] = dg.MetadataValue.int(len(outcome.before))
        metadata["checks_after"] = dg.MetadataValue.int(len(outcome.after))
    return metadata


def _numbers(result: TableResult) -> Metadata:
    return {
        "rows_migrated": dg.MetadataValue.int(result.rows_migrated),
        "rows_kept": dg.MetadataValue.int(result.rows_kept),
        "rows_remaining": dg.MetadataValue.int(result.rows_remaining),
        "rows_quarantined": dg.MetadataValue.int(result.rows_quarantined),
        "rows_per_second": dg.MetadataValue.float(round(result.rows_per_second, 1)),
        "batches": dg.MetadataValue.int(result.batches),
        "hot_share": dg.MetadataValue.float(round(result.hot_share, 4)),
        "seconds": dg.MetadataValue.float(round(result.seconds, 3)),
        "strategy": dg.MetadataValue.text(result.strategy),
        "migration_run": dg.MetadataValue.int(result.run_id),
    }


def _lists(result: TableResult) -> Metadata:
    metadata: Metadata = {}
    if result.created:
        metadata["created"] = markdown_list(result.created)
    if result.waiting:
        metadata["waiting"] = markdown_list(result.waiting)
    if result.quarantined:
        metadata["quarantined"] = markdown_table(
            ("tenant", "row", "SQLSTATE", "constraint", "message"),
            [
                (row.tenant_id, str(row.row_key), row.sqlstate, row.constraint or "", row.message)
                for row in result.quarantined
            ],
        )
    return metadata


def of_dry_run(dry_run: DryRunTable) -> Metadata:
    """Describe what a real run would do to a table."""
    metadata: Metadata = {
        "dry_run": dg.MetadataValue.bool(True),
        "rows_to_migrate": dg.MetadataValue.int(dry_run.rows_to_migrate),
        "rows_to_keep": dg.MetadataValue.int(dry_run.rows_to_keep),
        "rows_null_tenant": dg.MetadataValue.int(dry_run.rows_null_tenant),
        "rows_allowed_unmapped": dg.MetadataValue.int(dry_run.rows_allowed_unmapped),
        "rows_unmapped": dg.MetadataValue.int(dry_run.rows_unmapped),
        "rows_already_done": dg.MetadataValue.int(dry_run.rows_already_done),
        "estimated_wal_bytes": dg.MetadataValue.int(dry_run.estimated_wal_bytes),
        "estimated_heap_growth_bytes": dg.MetadataValue.int(dry_run.estimated_heap_growth_bytes),
        "estimated_seconds": dg.MetadataValue.float(round(dry_run.estimated_seconds, 3)),
    }
    if dry_run.statements:
        metadata["statements"] = markdown_list(f"`{statement}`" for statement in dry_run.statements)
    if dry_run.refusals:
        metadata["refusals"] = markdown_list(dry_run.refusals)
    return metadata


def of_dry_run_tenant(dry_run: DryRunTable, tenant_id: str) -> Metadata:
    """Describe what a real run would do to one tenant's rows of a table."""
    return {
        "dry_run": dg.MetadataValue.bool(True),
        "tenant_id": dg.MetadataValue.text(tenant_id),
        "rows_to_migrate": dg.MetadataValue.int(dry_run.rows_by_tenant.get(tenant_id, 0)),
        "would_start": dg.MetadataValue.bool(not dry_run.refusals),
    }


def of_outcomes(outcomes: Sequence[TableOutcome]) -> Metadata:
    """Describe a whole run, one line a table."""
    return {
        "rows_migrated": dg.MetadataValue.int(
            sum(outcome.result.rows_migrated for outcome in outcomes if outcome.result)
        ),
        "tables": markdown_table(
            ("table", "state", "rows migrated", "rows/s", "reason"),
            [
                (
                    outcome.table,
                    outcome.state,
                    f"{outcome.result.rows_migrated:,}" if outcome.result else "",
                    f"{outcome.result.rows_per_second:,.0f}" if outcome.result else "",
                    outcome.reason or "",
                )
                for outcome in outcomes
            ],
        ),
    }


def dry_run_table(dry_runs: Sequence[DryRunTable]) -> dg.MetadataValue:
    """Return what a real run would do, one line a table."""
    return markdown_table(
        ("table", "rows to migrate", "already done", "without mapping", "would not start because"),
        [
            (
                dry_run.table,
                f"{dry_run.rows_to_migrate:,}",
                f"{dry_run.rows_already_done:,}",
                f"{dry_run.rows_unmapped:,}",
                "; ".join(dry_run.refusals),
            )
            for dry_run in dry_runs
        ],
    )


def plan_table(plan: Plan) -> dg.MetadataValue:
    """Return the plan, one line a table."""
    return markdown_table(
        ("table", "after", "strategy", "rows (estimate)", "refused because"),
        [
            (
                table.qualified_name,
                ", ".join(table.depends_on),
                table.strategy.value,
                f"{table.estimated_rows:,}",
                "; ".join(hazard.detail for hazard in table.refusals),
            )
            for table in plan.tables
        ],
    )


def markdown_list(lines: Iterable[str]) -> dg.MetadataValue:
    """Return lines as a markdown list."""
    return dg.MetadataValue.md("\n".join(f"* {line}" for line in lines))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> dg.MetadataValue:
    """Return rows as a markdown table; what a cell holds stays text."""
    lines = [_markdown_row(head), _markdown_row(["---"] * len(head)), *(_markdown_row(row) for row in rows)]
    return dg.MetadataValue.md("\n".join(lines))


_MARKDOWN = re.compile(r"[\\`*\[\]<>|~&]|[^ -~\w]")
"""What markdown or HTML would take for more than text, and what may not be seen."""


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_MARKDOWN.sub(_escape, cell) for cell in cells)} |"


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\n":
        return " "
    if not character.isprintable():
        return character.encode("unicode_escape").decode("ascii").replace("\\", "\\\\")
    return f"\\{character}" if character.isascii() else character
