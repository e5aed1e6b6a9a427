"""Builds the statements of one step. `steps` says in which order they run, and why that is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from tenant_migration.backfill.journal_sql import journal_name
from tenant_migration.database.names import identifier
from tenant_migration.recovery.rollback.entries_sql import Entries, own_entries
from tenant_migration.recovery.rollback.truncated_sql import truncated

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_PLANNER: LiteralString = """
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('jit', 'off', true)"""
"""For the statement that follows: rows are found one by one, by the index of their key, whatever outdated
statistics say."""

_GATE = """
WITH lease AS (
    SELECT token FROM tenant_migration.leases
    WHERE token = ANY (%(lease_tokens)s::uuid[]) AND expires_at > clock_timestamp()
    FOR KEY SHARE),
locked AS MATERIALIZED (
    SELECT j.batch_id FROM {journal} AS j
    WHERE j.batch_id = ANY (%(batch_ids)s::int8[]) ORDER BY j.batch_id FOR NO KEY UPDATE)
SELECT (SELECT count(*) FROM lease) = cardinality(%(lease_tokens)s::uuid[]),
       settings.emergency_stop, runs.state, table_runs.state, {claims}, {truncated},
       (SELECT count(*) FROM locked),
       set_config('synchronous_commit', CASE current_setting('synchronous_standby_names')
           WHEN '' THEN 'off' ELSE current_setting('synchronous_commit') END, true),""" + (
    _PLANNER
    + """
FROM tenant_migration.settings, tenant_migration.runs, tenant_migration.table_runs
WHERE runs.run_id = %(run_id)s AND table_runs.run_id = %(run_id)s AND table_runs.table_id = %(table_id)s"""
)
"""Steps do not wait for the disk at their commit: rows and journal are lost together or not at all, and the
table's last transaction, which does wait, makes sure of all before it. A synchronous standby still sets the
pace, where there is one."""

_LOCK = """
WITH {entry}
SELECT count(*) FROM (
    SELECT FROM entry AS e JOIN {relation} AS t ON {same_row}
    WHERE {organization} IS NOT DISTINCT FROM e.written
    FOR NO KEY UPDATE OF t) AS taken"""

BACK: LiteralString = """
back AS MATERIALIZED (
    SELECT set_config('enable_hashjoin', %(enable_hashjoin)s, true),
           set_config('enable_mergejoin', %(enable_mergejoin)s, true),
           set_config('enable_seqscan', %(enable_seqscan)s, true),
           set_config('enable_bitmapscan', %(enable_bitmapscan)s, true),
           set_config('search_path', %(search_path)s, true),
           true AS done)"""
"""Puts the session's own settings back while a statement runs, before its first row is touched: triggers and
foreign keys plan as ever, and the application's functions run under their own search path."""

_RESET = """
WITH {back},
{entry},
twice AS MATERIALIZED (SELECT {twice} AS found),
reset AS (
    UPDATE {relation} AS t SET {column} = e.previous_value{unchanged}
    FROM entry AS e
    WHERE (SELECT done FROM back) AND NOT (SELECT found FROM twice)
      AND {same_row}{is_written}{unclaimed}
    RETURNING {organization} IS NOT DISTINCT FROM e.previous_value AS as_asked)
SELECT (SELECT found FROM twice), (SELECT count(*) FROM entry), count(*), count(*) FILTER (WHERE NOT as_asked)
FROM reset"""

_TWICE = "EXISTS (SELECT FROM entry GROUP BY {keys} HAVING count(*) > 1)"
_UNCLAIMED = " AND NOT EXISTS (SELECT FROM {claims} AS c WHERE {same_claim})"

_OWN_SETTINGS = """
SELECT set_config('search_path', 'pg_catalog, pg_temp', true),""" + (
    _PLANNER
    + """,
       {claims}"""
)

_JUDGE = """
WITH {entry},
seen AS MATERIALIZED (
    SELECT e.batch_id, e.tenant_number, {row_key} AS row_key, t.ctid IS NOT NULL AS is_there,
           {organization} AS found_value, {organization} IS NOT DISTINCT FROM e.written AS is_written,
           coalesce(%(every_row_reset)s::bool, t.xmin = pg_current_xact_id()::xid, false) AS is_reset,
           {claimed} AS is_claimed
    FROM entry AS e LEFT JOIN {relation} AS t ON {same_row}),
left_alone AS (
    INSERT INTO tenant_migration.left_alone
        (run_id, table_id, batch_id, reason, tenant_numbers, row_keys, found_values)
    SELECT %(run_id)s, %(table_id)s, batch_id, CASE WHEN is_there THEN 'changed' ELSE 'deleted' END,
           array_agg(tenant_number), array_agg(row_key), array_agg(found_value)
    FROM seen WHERE NOT is_reset GROUP BY batch_id, is_there)
SELECT count(*) FILTER (WHERE is_there AND NOT is_reset), count(*) FILTER (WHERE NOT is_there),
       count(*) FILTER (WHERE is_reset AND is_claimed),
       count(*) FILTER (WHERE is_there AND NOT is_reset AND is_written AND NOT is_claimed)
FROM seen"""

_CLAIMED = "EXISTS (SELECT FROM {claims} AS c WHERE {same_claim})"

_CLOSE_ALL = """
WITH closed AS (
    UPDATE {journal} AS j SET closed_at = clock_timestamp(), closed_rows = row_count
    WHERE j.batch_id = ANY (%(batch_ids)s::int8[]) AND j.closed_at IS NULL)"""

_CLOSE_SOME = """
WITH closed AS (
    UPDATE {journal} AS j
    SET closed_tenants = j.closed_tenants || own.tenants, closed_rows = j.closed_rows + own.entries,
        closed_at = CASE WHEN j.closed_rows + own.entries = j.row_count THEN clock_timestamp() END
    FROM (SELECT k.batch_id, array_agg(e.tenant_number) AS tenants, sum(e.entries)::int4 AS entries
          FROM {journal} AS k CROSS JOIN LATERAL ({own_entries}) AS e
          WHERE k.batch_id = ANY (%(batch_ids)s::int8[]) AND k.closed_at IS NULL
          GROUP BY k.batch_id) AS own
    WHERE j.batch_id = own.batch_id)"""

_COUNT = """
UPDATE tenant_migration.table_runs
SET rows_restored = rows_restored + %(restored)s, rows_changed = rows_changed + %(changed)s,
    rows_deleted = rows_deleted + %(deleted)s, batches = batches + %(steps)s,
    last_batch_at = clock_timestamp()
WHERE run_id = %(run_id)s AND table_id = %(table_id)s
RETURNING rows_restored + rows_changed + rows_deleted"""


def gate(entries: Entries, *, has_claims: bool) -> sql.Composed:
    """Build the first statement: are we still to work? It locks the lease and the batches.

    Returns (lease held, emergency stop, run's state, table's state, any claims, truncated batches, batches).
    """
    return sql.SQL(_GATE).format(
        journal=journal_name(entries.table_id),
        claims=_any_claims(entries, has_claims=has_claims),
        truncated=truncated(entries.table, entries.table_id),
    )


def lock(entries: Entries) -> sql.Composed:
    """Build the statement that takes the rows before they are compared."""
    return sql.SQL(_LOCK).format(
        entry=entries.expression(),
        relation=entries.relation,
        same_row=entries.same_row(),
        organization=entries.organization,
    )


def reset(
    entries: Entries, *, several: bool, skips_claimed: bool, unchanged: Sequence[str] = ()
) -> sql.Composed:
    """Build the statement that brings the values back, where ours still stand.

    Args:
        entries: of the table.
        several: several batches at once: then a key may be there twice, and nothing is reset.
        skips_claimed: leave rows that the application claimed before this statement began.
        unchanged: columns to set to what they are (`unchanged_columns`).

    Returns:
        The statement; it returns (a key is there twice, entries, reset, of them not as asked).
    """
    keys = sql.SQL(", ").join(entries.key_names)
    return sql.SQL(_RESET).format(
        back=sql.SQL(BACK).format(),
        entry=entries.expression(of_run=True),
        twice=sql.SQL(_TWICE).format(keys=keys) if several else sql.SQL("false"),
        relation=entries.relation,
        column=identifier(entries.table.organization_column),
        unchanged=sql.SQL("").join(sql.SQL(", {0} = t.{0}").format(identifier(name)) for name in unchanged),
        same_row=entries.same_row(),
        organization=entries.organization,
        is_written=entries.is_written(),
        unclaimed=sql.SQL(_UNCLAIMED).format(claims=entries.claims(), same_claim=entries.same_claim())
        if skips_claimed
        else sql.SQL(""),
    )


def count_entries(entries: Entries) -> sql.Composed:
    """Build the count of open entries in scope of the batches."""
    return sql.SQL("WITH {entry} SELECT count(*) FROM entry").format(entry=entries.expression())


def own_settings(entries: Entries, *, has_claims: bool) -> sql.Composed:
    """Build what puts our search path and planner back after rows were written; says if claims are there."""
    return sql.SQL(_OWN_SETTINGS).format(claims=_any_claims(entries, has_claims=has_claims))


def judge(entries: Entries, *, has_claims: bool) -> sql.Composed:
    """Build the statement that finds out, and records, what became of each entry that was not reset.

    Returns (changed, deleted, reset although claimed, not reset for no reason that is known).
    """
    claimed: sql.Composable = sql.SQL("false")
    if has_claims:
        claimed = sql.SQL(_CLAIMED).format(claims=entries.claims(), same_claim=entries.same_claim())
    return sql.SQL(_JUDGE).format(
        entry=entries.expression(),
        row_key=entries.row_key(),
        organization=entries.organization,
        claimed=claimed,
        relation=entries.relation,
        same_row=entries.same_row(),
    )


def close(entries: Entries) -> sql.Composed:
    """Build the last statement: the entries are closed, and the table's counters raised."""
    journal = journal_name(entries.table_id)
    if entries.tenants is None:
        return sql.SQL(_CLOSE_ALL + _COUNT).format(journal=journal)
    return sql.SQL(_CLOSE_SOME + _COUNT).format(
        journal=journal, own_entries=own_entries("k", entries.tenants)
    )


def _any_claims(entries: Entries, *, has_claims: bool) -> sql.Composable:
    if not has_claims:
        return sql.SQL("false")
    return sql.SQL("EXISTS (SELECT FROM {})").format(entries.claims())
