"""Builds the one statement of a batch: rows, journal, cursor, counters and lease together.

The statement's parts, in the order in which they decide:

1. `lease` finds our leases; one that was taken over is not found, and the row lock keeps a takeover out until
   this transaction ends, but not our own renewals (`lease.KeepAlive`).
2. `gate` reads the lease count, the emergency switch and the states of run and table: everything below
   happens only while it is open.
3. `map` is the run's frozen mapping, cast to the key's type.
4. `moved` updates the rows. `organization IS NULL` stands in the predicate and is checked again on the newest
   version under the row's lock, so the old value is known and the journal needs keys only (performance.md
   P3).
5. `batch` folds keys and tenant numbers into parallel arrays.
6. `journal`, `cursor`, `counters` record it; then the outcome is returned.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.fingerprints import fingerprint
from tenant_migration.backfill.journal_sql import journal_name, key_columns
from tenant_migration.backfill.mapping_sql import frozen_map
from tenant_migration.backfill.target import Target
from tenant_migration.backfill.units import NextRows, PageRange, RowList, Unit
from tenant_migration.database.names import identifier

PLANNER_SETTINGS = """
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"""
"""Before the batch's statement: stale statistics say that one row is NULL, and the planner then scans the
mapping once for each row. `gate` puts the settings back while the statement runs, before the first row is
touched, so that triggers and foreign keys plan as ever; and the search path, so that our statement is parsed
under `pg_catalog` alone while the application's triggers and CHECK functions run under their own path. JIT
would compile for 100 ms what runs for 100 ms."""

_STATEMENT = """
WITH lease AS (
    SELECT token FROM tenant_migration.leases
    WHERE token = ANY (%(lease_tokens)s::uuid[]) AND expires_at > clock_timestamp()
    FOR KEY SHARE),
state AS MATERIALIZED (
    SELECT (SELECT count(*) FROM lease) = cardinality(%(lease_tokens)s::uuid[]) AS lease_held,
           settings.emergency_stop, runs.state AS run_state, table_runs.state AS table_state,
           pg_stat_get_xact_tuples_hot_updated(%(leaf)s::oid) AS hot_before,
           set_config('enable_nestloop', %(enable_nestloop)s, true) AS nestloop,
           set_config('enable_mergejoin', %(enable_mergejoin)s, true) AS mergejoin,
           set_config('enable_seqscan', %(enable_seqscan)s, true) AS seqscan,
           set_config('search_path', %(search_path)s, true) AS application_path
    FROM tenant_migration.settings, tenant_migration.runs, tenant_migration.table_runs
    WHERE runs.run_id = %(run_id)s AND table_runs.run_id = %(run_id)s AND table_runs.table_id = %(table_id)s),
gate AS MATERIALIZED (
    SELECT *, lease_held AND NOT emergency_stop AND 'cancelled' NOT IN (run_state, table_state) AS open
    FROM state),
{map},
{moved},
batch AS MATERIALIZED (
    SELECT count(*)::int4 AS row_count, {folded} FROM moved),
journal AS (
    INSERT INTO {journal} (run_id, leaf, phase, page_from, page_to, wave, row_count, xid, {journal_columns})
    SELECT %(run_id)s, %(leaf)s::oid, %(phase)s, %(page_from)s::int8, %(page_to)s::int8, %(wave)s::int2,
           row_count, pg_current_xact_id(), {journal_values}
    FROM batch WHERE row_count > 0),
{cursor}counters AS (
    UPDATE tenant_migration.table_runs
    SET rows_migrated = rows_migrated + batch.row_count, batches = batches + 1,
        rows_hot = rows_hot + (
            SELECT pg_stat_get_xact_tuples_hot_updated(%(leaf)s::oid) - hot_before FROM gate
            WHERE batch.row_count >= 0),
        last_batch_at = clock_timestamp()
    FROM batch, gate
    WHERE run_id = %(run_id)s AND table_id = %(table_id)s AND gate.open
    RETURNING rows_migrated, rows_hot)
SELECT gate.lease_held, gate.emergency_stop, gate.run_state, gate.table_state, batch.row_count,
       counters.rows_migrated, counters.rows_hot, pg_relation_filenode(%(leaf)s::oid)
FROM gate CROSS JOIN batch LEFT JOIN counters ON true"""

_MOVED = """
moved AS (
    UPDATE ONLY {leaf} AS t SET {organization} = map.organization_id
    FROM map
    WHERE (SELECT open FROM gate) AND {place} AND {same_tenant} AND {needs_writing}{exclusion}
    RETURNING map.tenant_number, {returned})"""

# Before PostgreSQL 18 what the old row has is taken under its lock first. A row that another transaction
# changed meanwhile is locked in its new version, which this statement's snapshot does not see: it is left
# for the sweep.
_MOVED_LOCK_FIRST = """
locked AS MATERIALIZED (
    SELECT t.ctid AS row_ctid, {tenant} AS tenant, {organization} AS previous_value{fingerprint}
    FROM ONLY {leaf} AS t JOIN map ON {same_tenant}
    WHERE (SELECT open FROM gate) AND {place} AND {needs_writing}{exclusion}
    FOR NO KEY UPDATE OF t),
moved AS (
    UPDATE ONLY {leaf} AS t SET {organization_name} = map.organization_id
    FROM map, locked
    WHERE {place} AND t.ctid = locked.row_ctid AND locked.tenant {equals} map.key
    RETURNING map.tenant_number, {returned})"""

_CURSOR = """
cursor AS (
    UPDATE tenant_migration.cursors
    SET next_page = %(next_page)s, window_end_page = %(window_end_page)s, wave = %(next_wave)s,
        finished = %(finished)s, run_id = %(run_id)s, updated_at = clock_timestamp()
    WHERE table_id = %(table_id)s AND leaf = %(leaf)s::oid AND (SELECT open FROM gate)),
"""


def batch_statement(
    target: Target, unit: Unit, *, advances_cursor: bool, skips_quarantined: bool
) -> sql.Composed:
    """Build the statement of one batch.

    Args:
        target: the leaf.
        unit: the rows.
        advances_cursor: whether the leaf's cursor moves with it (parameters `next_page`, ...).
        skips_quarantined: whether rows in quarantine are left alone: only then is it looked up.

    Returns:
        The statement; `Batches._execute` gives its parameters.
    """
    returned: list[sql.Composable] = []
    columns = [sql.Identifier("tenant_numbers")]
    for column in key_columns(target.table):
        returned.append(sql.SQL("{} AS {}").format(column.expression, sql.Identifier(column.name)))
        columns.append(sql.Identifier(column.name))
    if target.overwrites:
        returned.append(sql.SQL("{} AS previous_values").format(_previous_value(target)))
        columns.append(sql.Identifier("previous_values"))
    if target.hashed_columns:
        returned.append(sql.SQL("{} AS fingerprints").format(_old_fingerprint(target)))
        columns.append(sql.Identifier("fingerprints"))
    folds = [sql.SQL("array_agg(tenant_number) AS tenant_numbers").format()]
    folds += [sql.SQL("array_agg({0}) AS {0}").format(column) for column in columns[1:]]
    lock_first = (target.overwrites or bool(target.hashed_columns)) and not target.returns_old
    of_locked: sql.Composable = sql.SQL("")
    if target.hashed_columns:
        of_locked = sql.SQL(", {} AS fingerprint").format(fingerprint(target, "t"))
    moved = sql.SQL(_MOVED_LOCK_FIRST if lock_first else _MOVED).format(
        leaf=target.leaf,
        organization=target.organization if lock_first else identifier(target.table.organization_column),
        organization_name=identifier(target.table.organization_column),
        place=_place(target, unit),
        tenant=target.tenant,
        same_tenant=target.same_tenant,
        equals=target.equals,
        needs_writing=target.needs_writing,
        exclusion=target.exclusion if skips_quarantined else sql.SQL(""),
        fingerprint=of_locked,
        returned=sql.SQL(", ").join(returned),
    )
    return sql.SQL(_STATEMENT).format(
        map=frozen_map(target.table),
        moved=moved,
        folded=sql.SQL(", ").join(folds),
        journal=journal_name(target.table_id),
        journal_columns=sql.SQL(", ").join(columns),
        journal_values=sql.SQL(", ").join(columns),
        cursor=sql.SQL(_CURSOR) if advances_cursor else sql.SQL(""),
    )


def _old_fingerprint(target: Target) -> sql.Composed:
    if target.returns_old:
        return fingerprint(target, "old")
    return sql.SQL("locked.fingerprint").format()


def _previous_value(target: Target) -> sql.Composed:
    if target.returns_old:
        return sql.SQL("old.{}").format(identifier(target.table.organization_column))
    return sql.SQL("locked.previous_value").format()


def _place(target: Target, unit: Unit) -> sql.Composed:
    """Build the condition on where the rows are."""
    if isinstance(unit, RowList):
        return sql.SQL("t.ctid = ANY (%(ctids)s::tid[])").format()
    if isinstance(unit, NextRows):
        return sql.SQL("t.ctid = ANY (ARRAY({}))").format(_next_rows(target))
    pages = sql.SQL("t.ctid >= %(ctid_from)s::tid AND t.ctid < %(ctid_to)s::tid")
    if unit.waves == 1:
        return pages.format()
    # The low byte of the row's line number: every page falls into equal parts, without any key.
    return pages.format() + sql.SQL(" AND get_byte(tidsend(t.ctid), 5) & %(wave_mask)s = %(wave)s").format()


def _next_rows(target: Target) -> sql.Composed:
    return sql.SQL(
        "SELECT t.ctid FROM ONLY {leaf} AS t JOIN map ON {same_tenant}"
        " WHERE {tenant} {equals} ANY (ARRAY(SELECT key FROM map)) AND {needs_writing}{exclusion}"
        " LIMIT %(row_limit)s"
    ).format(
        leaf=target.leaf,
        tenant=target.tenant,
        same_tenant=target.same_tenant,
        equals=target.equals,
        needs_writing=target.needs_writing,
        exclusion=target.exclusion,
    )


def place_parameters(unit: Unit) -> dict[str, object]:
    """Return the parameters of a unit: where its rows are, and what the journal says about it."""
    if isinstance(unit, RowList):
        return {"ctids": list(unit.ctids), "page_from": None, "page_to": None, "wave": None}
    if isinstance(unit, NextRows):
        return {"row_limit": unit.limit, "page_from": None, "page_to": None, "wave": None}
    return {
        "ctid_from": f"({unit.page_from},0)",
        "ctid_to": f"({unit.page_to},0)",
        "page_from": unit.page_from,
        "page_to": unit.page_to,
        "wave": unit.wave if unit.waves > 1 else None,
        "wave_mask": unit.waves - 1,
    }


def list_statement(target: Target, unit: PageRange | NextRows) -> sql.Composed:
    """Build the query for the ctids of a unit's rows: what is needed to halve a page."""
    place = sql.SQL("true").format() if isinstance(unit, NextRows) else _place(target, unit)
    limit = sql.SQL(" LIMIT %(row_limit)s") if isinstance(unit, NextRows) else sql.SQL("")
    return sql.SQL(
        "WITH {map} SELECT t.ctid::text FROM ONLY {leaf} AS t JOIN map ON {same_tenant}"
        " WHERE {place} AND {needs_writing}{exclusion}{limit}"
    ).format(
        map=frozen_map(target.table),
        leaf=target.leaf,
        same_tenant=target.same_tenant,
        place=place,
        needs_writing=target.needs_writing,
        exclusion=target.exclusion,
        limit=limit,
    )
