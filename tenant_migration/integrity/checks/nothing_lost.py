"""Every row that was migrated or kept is still there: by its journaled key, or without a key by number.

Whether the application deleted a row or something lost it cannot be seen afterwards. While a run verifies
what it has just written, deletes of a live application are what is to be expected, and must not fail the
run: there it warns. Once a pair is completed, a row that is gone is critical until a person says that
deletes are normal.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SeverityLevel
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.journal import each_key, entry_key, same_row
from tenant_migration.integrity.sources.rows_after import EXPECTED_ROWS, ROWS_AFTER
from tenant_migration.integrity.sources.tables import column, table_name
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

_GONE_BY_TENANT = """
SELECT r.tenant_id, j.gone AS wrong FROM journal_keys AS j JOIN recorded AS r USING (tenant_number)
"""

_GONE_ROWS = """
SELECT {example} AS example FROM ({each_key}) AS e LEFT JOIN {table} AS t ON {same_row}
WHERE {found} IS NULL
"""

_MISSING_BY_TENANT = """
SELECT r.tenant_id, greatest(r.rows_migrated + r.rows_kept - coalesce(s.row_count, 0), 0) AS wrong
FROM recorded AS r
LEFT JOIN (SELECT tenant_id, sum(row_count) AS row_count FROM scan GROUP BY tenant_id) AS s USING (tenant_id)
"""


def _build(scope: TableScope) -> Verdict:
    return _by_key(scope) if _has_keys(scope) else _by_number()


def _has_keys(scope: TableScope) -> bool:
    return bool(scope.table.key_columns) and scope.facts.has_journal


def _by_key(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("sum(j.keys_checked)"),
        count=sql.SQL("sum(j.gone)"),
        source=sql.SQL("journal_keys AS j"),
        expected=EXPECTED_ROWS,
        examples=first_examples(_gone_rows(scope)),
        details=tenants_detail(sql.SQL(_GONE_BY_TENANT)),
    )


def _gone_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL(_GONE_ROWS).format(
        example=entry_key(scope, "e"),
        each_key=each_key(scope),
        table=table_name(scope),
        same_row=same_row(scope, "t", "e"),
        found=column("t", scope.table.key_columns[0].name),
    )


def _by_number() -> Verdict:
    missing = sql.SQL(_MISSING_BY_TENANT)
    return verdict(
        rows_checked=sql.SQL("(SELECT sum(row_count) FROM scan)"),
        count=sql.SQL("sum(m.wrong)"),
        source=sql.SQL("({}) AS m").format(missing),
        expected=EXPECTED_ROWS,
        details=tenants_detail(missing),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    shared = ROWS_AFTER.build(scope)
    if _has_keys(scope):
        return sql.SQL("WITH {} {}").format(shared, _gone_rows(scope))
    return sql.SQL("WITH {} SELECT m.* FROM ({}) AS m WHERE m.wrong > 0").format(
        shared, sql.SQL(_MISSING_BY_TENANT)
    )


def _severity(scope: TableScope) -> SeverityLevel:
    return "critical" if scope.facts.completed_pairs else "warning"


CHECK = TableCheck(
    name="nothing_lost",
    phase="post-migration",
    severity="critical",
    description="Rows that were migrated and are not there any more",
    recommendation="If the application deleted these rows, lower validation.severity.nothing_lost; if it did "
    "not, restore them from a backup.",
    build=_build,
    source=ROWS_AFTER,
    not_applicable=nothing_recorded,
    wrong_rows=_wrong_rows,
    severity_in=_severity,
)
