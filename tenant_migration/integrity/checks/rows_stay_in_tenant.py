"""A row still belongs to the tenant for which it was migrated.

A row that changed tenant and kept its organization is a wrong row (`organization_matches_mapping`). One that
changed both is right by itself, and missing where it was: a live application may do that, so it warns.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.journal import each_key, entry_key, same_row
from tenant_migration.integrity.sources.rows_after import EXPECTED_ROWS, ROWS_AFTER
from tenant_migration.integrity.sources.tables import column, same_tenant, table_name, tenant_key
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

_MOVED_BY_TENANT = """
SELECT r.tenant_id, j.moved AS wrong FROM journal_keys AS j JOIN recorded AS r USING (tenant_number)
"""

_MOVED_ROWS = """
SELECT {example} AS example, r.tenant_id AS migrated_for, {tenant} AS tenant_now
FROM ({each_key}) AS e JOIN recorded AS r ON r.tenant_number = e.tenant_number
JOIN {table} AS t ON {same_row}
WHERE ({same_tenant}) IS NOT TRUE
"""


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("sum(j.keys_checked)"),
        count=sql.SQL("sum(j.moved)"),
        source=sql.SQL("journal_keys AS j"),
        expected=EXPECTED_ROWS,
        examples=first_examples(_rows(scope)),
        details=tenants_detail(sql.SQL(_MOVED_BY_TENANT)),
    )


def _rows(scope: TableScope) -> sql.Composed:
    tenant = tenant_key(scope.table, "t")
    return sql.SQL(_MOVED_ROWS).format(
        example=entry_key(scope, "e"),
        tenant=tenant,
        each_key=each_key(scope),
        table=table_name(scope),
        same_row=same_row(scope, "t", "e"),
        same_tenant=same_tenant(scope, tenant, column("r", "key")),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL("WITH {} {}").format(ROWS_AFTER.build(scope), _rows(scope))


def _not_applicable(scope: TableScope) -> str | None:
    if not scope.table.key_columns:
        return "the table has no key by which its rows could be found again"
    if not scope.facts.has_journal:
        return nothing_recorded(scope) or "the table has no journal"
    return nothing_recorded(scope)


CHECK = TableCheck(
    name="rows_stay_in_tenant",
    phase="post-migration",
    severity="warning",
    description="Rows that belong to another tenant than the one they were migrated for",
    recommendation="Find out who moved them. A rollback of either tenant leaves such rows alone, and lists "
    "them.",
    build=_build,
    source=ROWS_AFTER,
    not_applicable=_not_applicable,
    wrong_rows=_wrong_rows,
    column=lambda scope: scope.table.tenant_column.name,
)
