"""The journal is a one-to-one record of what was written: without it there is no exact undo.

Wrong is: a key that stands in the open journal twice; a number of entries that differs from what is
recorded for the tenant; a row that carries the transaction of a batch which does not name it; a previous
value where the run replaced none, or that is the one we wrote. A journaled row that has another value now was
changed by the application: that is counted, not wrong here (`organization_matches_mapping` judges values,
`nothing_lost` rows that are gone).
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.journal import each_key, entry_key, unjournaled_rows
from tenant_migration.integrity.sources.rows_after import ROWS_AFTER
from tenant_migration.integrity.verdict import verdict

# One entry too many for a key is one thing wrong, though the number of entries differs by it too; so is a row
# whose entry is missing.
_BY_TENANT = """
SELECT r.tenant_id, r.tenant_number, r.rows_migrated, coalesce(w.entries, 0) AS entries,
       coalesce(m.entries, 0) AS misremembered,
       greatest(abs(r.rows_migrated - coalesce(w.entries, 0)), {repeated}, coalesce(u.row_count, 0))
           + coalesce(m.entries, 0) AS wrong
FROM recorded AS r
LEFT JOIN written AS w USING (tenant_number) LEFT JOIN journal_keys AS k USING (tenant_number)
LEFT JOIN unjournaled AS u USING (tenant_number) LEFT JOIN misremembered AS m USING (tenant_number)
"""

_EXAMPLES = """
SELECT d.tenant_id || ': ' || d.entries || ' in the journal, ' || d.rows_migrated || ' recorded' AS example
FROM ({by_tenant}) AS d WHERE d.entries <> d.rows_migrated
UNION ALL
SELECT d.tenant_id || ': ' || d.misremembered || ' with a previous value that was not there'
FROM ({by_tenant}) AS d WHERE d.misremembered > 0
"""

_UNJOURNALED = """
SELECT u.example FROM ({rows}) AS u
JOIN recorded AS r USING (tenant_number) LEFT JOIN written AS w USING (tenant_number)
WHERE r.rows_migrated = coalesce(w.entries, 0)
"""

_DETAILS = """
jsonb_build_object(
    'tenants', (SELECT coalesce(jsonb_object_agg(d.tenant_id, d.wrong), '{{}}') FROM ({by_tenant}) AS d
                WHERE d.wrong > 0),
    'changed_by_application', (SELECT coalesce(sum(changed), 0) FROM journal_keys),
    'gone', (SELECT coalesce(sum(gone), 0) FROM journal_keys))
"""


def _keys_are_unique(scope: TableScope) -> bool:
    """With `overwrite` a row that the application changed is written, and journaled, again."""
    return (
        bool(scope.table.key_columns)
        and scope.facts.has_journal
        and scope.table.settings.on_existing_value != "overwrite"
    )


def _build(scope: TableScope) -> Verdict:
    by_tenant = _by_tenant(scope)
    examples = sql.SQL(_EXAMPLES).format(by_tenant=by_tenant)
    if scope.facts.has_journal:
        unjournaled = sql.SQL(_UNJOURNALED).format(rows=unjournaled_rows(scope))
        examples = sql.SQL("{} UNION ALL {}").format(examples, unjournaled)
    if _keys_are_unique(scope):
        examples = sql.SQL("{} UNION ALL {}").format(examples, _repeated_keys(scope))
    return verdict(
        rows_checked=sql.SQL("(SELECT sum(entries) FROM written)"),
        count=sql.SQL("sum(d.wrong)"),
        source=sql.SQL("({}) AS d").format(by_tenant),
        expected=sql.SQL("(SELECT coalesce(sum(rows_migrated), 0) FROM recorded)"),
        examples=sql.SQL("ARRAY(SELECT e.example FROM ({}) AS e ORDER BY e.example LIMIT {})").format(
            examples, sql.Literal(SAMPLE_LIMIT)
        ),
        details=sql.SQL(_DETAILS).format(by_tenant=by_tenant),
        details_when_passed=True,
    )


def _by_tenant(scope: TableScope) -> sql.Composed:
    repeated = "coalesce(k.repeated, 0)" if _keys_are_unique(scope) else "0"
    return sql.SQL(_BY_TENANT).format(repeated=sql.SQL(repeated))


def _wrong_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL("WITH {} SELECT d.* FROM ({}) AS d WHERE d.wrong > 0").format(
        ROWS_AFTER.build(scope), _by_tenant(scope)
    )


def _repeated_keys(scope: TableScope) -> sql.Composed:
    return sql.SQL("SELECT {example} AS example FROM ({each_key}) AS e WHERE e.times > 1").format(
        example=entry_key(scope, "e"), each_key=each_key(scope)
    )


CHECK = TableCheck(
    name="journal_matches_rows",
    phase="post-migration",
    severity="critical",
    description="Rows that the journal does not record exactly once",
    recommendation="Do not roll this table back by the journal before this is understood; compare "
    "tenant_migration.table_states with the table's journal.",
    build=_build,
    source=ROWS_AFTER,
    not_applicable=nothing_recorded,
    wrong_rows=_wrong_rows,
)
