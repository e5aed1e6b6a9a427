"""Row by row: the organization is the mapped one, or a value that was recorded before the run and kept."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.kept import is_kept
from tenant_migration.integrity.sources.recorded_rows import recorded_rows
from tenant_migration.integrity.sources.rows_after import EXPECTED_ROWS, ROWS_AFTER
from tenant_migration.integrity.sources.tables import organization
from tenant_migration.integrity.verdict import first_examples, judge_scan, tenants_detail, verdict

_DIFFERS = "scan.organization_id IS NOT NULL AND scan.organization_id IS DISTINCT FROM scan.mapped"

_WRONG_ROW = "{organization} IS NOT NULL AND {organization} IS DISTINCT FROM r.mapped AND NOT ({is_kept})"

_BEYOND_THE_NUMBER_KEPT = f"""
SELECT r.tenant_id, greatest(d.row_count - r.rows_kept, 0) AS wrong
FROM recorded AS r
JOIN (SELECT tenant_id, sum(row_count) AS row_count FROM scan WHERE {_DIFFERS} GROUP BY tenant_id) AS d
USING (tenant_id)
"""


def _build(scope: TableScope) -> Verdict:
    if scope.facts.kept_rows == 0:
        return judge_scan(sql.SQL(_DIFFERS), wrong_rows=_wrong_rows(scope), expected=EXPECTED_ROWS)
    if not scope.table.key_columns:
        return _by_number()
    wrong = _wrong_rows(scope)
    return verdict(
        rows_checked=sql.SQL("sum(scan.row_count)"),
        count=sql.SQL("(SELECT count(*) FROM ({}) AS w)").format(wrong),
        source=sql.SQL("scan"),
        expected=EXPECTED_ROWS,
        examples=first_examples(wrong),
        details=tenants_detail(sql.SQL("SELECT w.tenant_id, 1 AS wrong FROM ({}) AS w").format(wrong)),
    )


def _by_number() -> Verdict:
    """Rows without a key are counted for each tenant against the number of values that were kept."""
    excess = sql.SQL(_BEYOND_THE_NUMBER_KEPT)
    return verdict(
        rows_checked=sql.SQL("sum(scan.row_count)"),
        count=sql.SQL("(SELECT sum(e.wrong) FROM ({}) AS e)").format(excess),
        source=sql.SQL("scan"),
        expected=EXPECTED_ROWS,
        details=tenants_detail(excess),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return recorded_rows(
        scope,
        sql.SQL(_WRONG_ROW).format(organization=organization(scope, "t"), is_kept=is_kept(scope, "t", "r")),
    )


CHECK = TableCheck(
    name="organization_matches_mapping",
    phase="post-migration",
    severity="critical",
    description="Rows whose organization is neither the mapped one nor a recorded kept value",
    recommendation="Look at who wrote these values. If the application assigns organizations itself, lower "
    "validation.severity.organization_matches_mapping; else roll the tenant back and migrate it again.",
    build=_build,
    source=ROWS_AFTER,
    not_applicable=nothing_recorded,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.organization_column,
)
