"""The mapping still says what the runs wrote: each open journal entry's organization is the mapped one.

Rows and mapping may have been changed together, so that every row looks right; what the run froze does not.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.rows_after import ROWS_AFTER
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

# Only where the two differ is the journal asked whether entries of that run are open: an earlier run that was
# rolled back may have had another mapping.
_FROZEN = """
SELECT r.tenant_id, f.run_id, f.organization_id AS written, r.mapped, x.differs
FROM recorded AS r
JOIN tenant_migration.run_tenants AS f ON f.tenant_number = r.tenant_number AND f.key_type = {key_type}
JOIN tenant_migration.table_runs AS t ON t.run_id = f.run_id AND t.table_id = {table_id}
CROSS JOIN LATERAL (
    SELECT CASE WHEN f.organization_id IS NOT DISTINCT FROM r.mapped THEN false ELSE EXISTS (
        SELECT FROM {journal} AS j
        WHERE j.run_id = f.run_id AND j.closed_at IS NULL AND j.phase <> 'kept'
          AND f.tenant_number = ANY (j.tenant_numbers) AND f.tenant_number <> ALL (j.closed_tenants)
    ) END AS differs
) AS x
"""


def _build(scope: TableScope) -> Verdict:
    frozen = _frozen(scope)
    wrong = sql.SQL("SELECT DISTINCT f.tenant_id, 1 AS wrong FROM ({}) AS f WHERE f.differs").format(frozen)
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(DISTINCT f.tenant_id) FILTER (WHERE f.differs)"),
        source=sql.SQL("({}) AS f").format(frozen),
        expected=sql.SQL("(SELECT count(*) FROM recorded AS r WHERE r.rows_migrated > 0)"),
        examples=first_examples(sql.SQL("SELECT w.tenant_id AS example FROM ({}) AS w").format(wrong)),
        details=tenants_detail(wrong),
    )


def _frozen(scope: TableScope) -> sql.Composed:
    return sql.SQL(_FROZEN).format(
        key_type=sql.Literal(scope.table.tenant_column.quoted_type),
        table_id=sql.Literal(scope.facts.table_id),
        journal=sql.Identifier("tenant_migration", f"journal_{scope.facts.table_id}"),
    )


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL("WITH {} SELECT f.* FROM ({}) AS f WHERE f.differs").format(
        ROWS_AFTER.build(scope), _frozen(scope)
    )


def _not_applicable(scope: TableScope) -> str | None:
    return nothing_recorded(scope) or (None if scope.facts.has_journal else "the table has no journal")


CHECK = TableCheck(
    name="mapping_as_migrated",
    phase="post-migration",
    severity="critical",
    description="Tenants whose mapping is not the one by which their rows were migrated",
    recommendation="Put the mapping back to what the run wrote (tenant_migration.run_tenants), or roll the "
    "tenant back and migrate it again by the new mapping.",
    examples_are_names=True,
    build=_build,
    source=ROWS_AFTER,
    not_applicable=_not_applicable,
    wrong_rows=_wrong_rows,
)
