"""The journal is a one-to-one record of what was written: without it there is no exact undo.

Wrong is: a key that stands in the open journal twice, and a number of entries that differs from what is
recorded for the tenant. A journaled row that has another value now was changed by the application: that is
counted, not wrong here (`organization_matches_mapping` judges values, `nothing_lost` rows that are gone).
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.journal import entry_key, journaled_rows
from tenant_migration.integrity.sources.rows_after import ROWS_AFTER, recorded_pairs
from tenant_migration.integrity.verdict import verdict

_RECORDED_OTHERWISE = sql.SQL(
    "SELECT r.tenant_id, r.rows_migrated, coalesce(w.entries, 0) AS entries, "
    "abs(r.rows_migrated - coalesce(w.entries, 0)) AS wrong "
    "FROM recorded AS r LEFT JOIN written AS w USING (tenant_number)"
)


def _may_write_twice(scope: TableScope) -> bool:
    """With `overwrite` a row that the application changed is written, and journaled, again."""
    return scope.table.settings.on_existing_value == "overwrite"


def _has_keys(scope: TableScope) -> bool:
    return bool(scope.table.key_columns) and scope.facts.has_journal and not _may_write_twice(scope)


def _build(scope: TableScope) -> Verdict:
    repeated = sql.SQL(
        "SELECT r.tenant_id, j.repeated AS wrong FROM journal_keys AS j JOIN recorded AS r USING "
        "(tenant_number)"
    )
    wrong = sql.SQL("SELECT d.tenant_id, d.wrong FROM ({}) AS d").format(_RECORDED_OTHERWISE)
    if _has_keys(scope):
        wrong = sql.SQL("{} UNION ALL {}").format(wrong, repeated)
    return verdict(
        rows_checked=sql.SQL("(SELECT sum(entries) FROM written)"),
        count=sql.SQL("sum(d.wrong)"),
        source=sql.SQL("({}) AS d").format(wrong),
        expected=sql.SQL("(SELECT coalesce(sum(rows_migrated), 0) FROM recorded)"),
        examples=_examples(scope),
        details=sql.SQL(
            "jsonb_build_object("
            "'tenants', (SELECT jsonb_object_agg(c.tenant_id, c.wrong) FROM "
            "(SELECT x.tenant_id, sum(x.wrong) AS wrong FROM ({}) AS x WHERE x.wrong > 0 GROUP BY "
            "x.tenant_id) AS c), "
            "'changed_by_application', (SELECT coalesce(sum(changed), 0) FROM journal_keys), "
            "'gone', (SELECT coalesce(sum(gone), 0) FROM journal_keys))"
        ).format(wrong),
    )


def _examples(scope: TableScope) -> sql.Composed:
    otherwise = sql.SQL(
        "SELECT d.tenant_id || ': ' || d.entries || ' in the journal, ' || d.rows_migrated || ' recorded' "
        "AS example "
        "FROM ({}) AS d WHERE d.wrong > 0"
    ).format(_RECORDED_OTHERWISE)
    if _has_keys(scope):
        otherwise = sql.SQL("{} UNION ALL {}").format(otherwise, _repeated_rows(scope))
    return sql.SQL("ARRAY(SELECT e.example FROM ({}) AS e ORDER BY e.example LIMIT {})").format(
        otherwise, sql.Literal(SAMPLE_LIMIT)
    )


def _repeated_rows(scope: TableScope) -> sql.Composed:
    return sql.SQL("SELECT {example} AS example FROM ({entries}) AS e WHERE e.times > 1").format(
        example=entry_key(scope, "e"),
        entries=journaled_rows(scope, sql.SQL("({}) AS r").format(recorded_pairs(scope))),
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
    wrong_rows=lambda scope: _repeated_rows(scope) if _has_keys(scope) else recorded_pairs(scope),
)
