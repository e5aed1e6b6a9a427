"""Statements over a table without a key: `keyless` and `moved` say in which order, and why that is exact."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.claims_sql import claims_name
from tenant_migration.backfill.journal_sql import journal_name, written_in
from tenant_migration.backfill.target import text
from tenant_migration.catalog.model import TableName
from tenant_migration.database.names import identifier
from tenant_migration.recovery.rollback.entries_sql import Entries
from tenant_migration.recovery.rollback.steps_sql import BACK

_RESET_UNTOUCHED = """
WITH {back},
{entry},
reset AS (
    UPDATE ONLY {leaf} AS t SET {column} = e.previous_value
    FROM entry AS e
    WHERE (SELECT done FROM back) AND t.ctid = e.row_ctid AND t.xmin = e.xid::xid
      AND {organization} IS NOT DISTINCT FROM e.written
    RETURNING e.row_ctid, {organization} IS NOT DISTINCT FROM e.previous_value AS as_asked)
SELECT (SELECT count(*) FROM entry), count(*), count(*) FILTER (WHERE NOT as_asked),
       coalesce(array_agg(row_ctid::text), '{{}}')
FROM reset"""

_UNTOUCHED = """
WITH {entry}
SELECT count(*) FROM entry AS e JOIN ONLY {leaf} AS t ON t.ctid = e.row_ctid
WHERE t.xmin = e.xid::xid AND {organization} IS NOT DISTINCT FROM e.written"""

# The entries that leave are in scope and open; what stays keeps what is closed of it.
_EXTRACT = """
WITH each AS MATERIALIZED (
    SELECT e.*, e.row_ctid {leaves} (%(row_ctids)s::tid[]){in_scope}
           AND e.tenant_number <> ALL (j.closed_tenants) AS leaves
    FROM {journal} AS j CROSS JOIN LATERAL (
        SELECT generate_subscripts(j.tenant_numbers, 1) AS position,
               unnest(j.tenant_numbers) AS tenant_number, unnest(j.row_ctid) AS row_ctid,
               unnest(j.previous_values) AS previous_value,
               unnest(j.fingerprints) AS fingerprint) AS e
    WHERE j.batch_id = %(batch_id)s),
folded AS MATERIALIZED (
    SELECT leaves, count(*)::int4 AS row_count, array_agg(tenant_number ORDER BY position) AS tenant_numbers,
           array_agg(row_ctid ORDER BY position) AS row_ctid,
           array_agg(previous_value ORDER BY position) AS previous_values,
           array_agg(fingerprint ORDER BY position) AS fingerprints
    FROM each GROUP BY leaves),
whole AS MATERIALIZED (
    SELECT j.batch_id, {written_in} AS part_of, j.run_id, j.leaf, j.phase, j.page_from, j.page_to, j.wave,
           j.xid, j.committed_at, j.previous_values IS NOT NULL AS with_previous,
           j.fingerprints IS NOT NULL AS hashed
    FROM {journal} AS j WHERE j.batch_id = %(batch_id)s),
stays AS (
    UPDATE {journal} AS j
    SET row_count = f.row_count, tenant_numbers = f.tenant_numbers, row_ctid = f.row_ctid,
        previous_values = CASE WHEN whole.with_previous THEN f.previous_values END,
        fingerprints = CASE WHEN whole.hashed THEN f.fingerprints END
    FROM folded AS f, whole WHERE j.batch_id = whole.batch_id AND NOT f.leaves)
INSERT INTO {journal} (run_id, leaf, phase, page_from, page_to, wave, xid, committed_at, part_of,
                       row_count, tenant_numbers, row_ctid, previous_values, fingerprints)
SELECT w.run_id, w.leaf, w.phase, w.page_from, w.page_to, w.wave, w.xid, w.committed_at, w.part_of,
       f.row_count, f.tenant_numbers, f.row_ctid, CASE WHEN w.with_previous THEN f.previous_values END,
       CASE WHEN w.hashed THEN f.fingerprints END
FROM whole AS w CROSS JOIN folded AS f WHERE f.leaves
RETURNING batch_id"""

_UNTELLABLE = """
WITH {entry},
judged AS (
    SELECT e.batch_id, e.row_ctid,
           CASE WHEN NOT %(triggers_work)s THEN 'no claim trigger is at work'
                WHEN e.previous_value IS NOT NULL THEN 'it had another organization before'
                WHEN EXISTS (SELECT FROM {claims} AS c WHERE c.organization_id = e.written)
                    THEN 'somebody else wrote the same organization in the table'
                WHEN {shared} THEN 'tenants that are not rolled back have the same organization'
           END AS reason
    FROM entry AS e)
SELECT batch_id, count(*), array_agg(row_ctid::text) FILTER (WHERE reason IS NOT NULL),
       array_agg(DISTINCT reason) FILTER (WHERE reason IS NOT NULL)
FROM judged GROUP BY batch_id"""

_NO_CLAIMS = "(SELECT NULL::uuid AS organization_id WHERE false)"

_SHARED = """EXISTS (
    SELECT FROM tenant_migration.run_tenants AS o
    JOIN tenant_migration.table_states AS s ON s.tenant_number = o.tenant_number AND s.table_id = %(table_id)s
    WHERE o.key_type = {key_type} AND o.organization_id = e.written
      AND o.tenant_number <> ALL (%(tenant_numbers)s::int4[])
      AND s.state NOT IN ('pending', 'rolled_back'))"""

_CHOOSE = """
WITH {entry},
wanted AS MATERIALIZED (SELECT written, count(*) AS entries FROM entry GROUP BY written)
SELECT leaf, array_agg(row_ctid), array_agg(written) FROM (
    SELECT t.tableoid::int8 AS leaf, t.ctid::text AS row_ctid, w.written, w.entries,
           row_number() OVER (PARTITION BY w.written) AS nth
    FROM {relation} AS t JOIN wanted AS w ON {organization} = w.written
) AS found
WHERE nth <= entries - coalesce((
    SELECT sum(d.rows) FROM unnest(%(done)s::uuid[], %(rows)s::int8[]) AS d (written, rows)
    WHERE d.written = found.written), 0)
GROUP BY leaf"""

_RESET_MOVED = """
WITH {back},
reset AS (
    UPDATE ONLY {leaf} AS t SET {column} = NULL
    FROM unnest(%(row_ctids)s::tid[], %(written)s::uuid[]) AS e (row_ctid, written)
    WHERE (SELECT done FROM back) AND t.ctid = e.row_ctid AND {organization} IS NOT DISTINCT FROM e.written
    RETURNING e.written, {organization} IS NULL AS as_asked)
SELECT written, count(*), bool_and(as_asked) FROM reset GROUP BY written"""

_LIST_GONE = """
WITH {entry},
gone AS (
    SELECT * FROM (
        SELECT e.batch_id, e.tenant_number, {row_key} AS row_key, e.written,
               row_number() OVER (PARTITION BY e.written ORDER BY e.batch_id, e.row_ctid) AS nth
        FROM entry AS e
    ) AS numbered
    WHERE nth > coalesce((
        SELECT sum(d.rows) FROM unnest(%(done)s::uuid[], %(rows)s::int8[]) AS d (written, rows)
        WHERE d.written = numbered.written), 0)),
listed AS (
    INSERT INTO tenant_migration.left_alone
        (run_id, table_id, batch_id, reason, message, tenant_numbers, row_keys, found_values)
    SELECT %(run_id)s, %(table_id)s, batch_id, 'deleted', %(message)s, array_agg(tenant_number),
           array_agg(row_key), array_agg(NULL::uuid)
    FROM gone GROUP BY batch_id)
SELECT (SELECT count(*) FROM entry), count(*) FROM gone"""

_PLANNER_BACK = """
SELECT set_config('enable_hashjoin', %(enable_hashjoin)s, true),
       set_config('enable_mergejoin', %(enable_mergejoin)s, true),
       set_config('enable_seqscan', %(enable_seqscan)s, true),
       set_config('enable_bitmapscan', %(enable_bitmapscan)s, true),
       set_config('search_path', 'pg_catalog, pg_temp', true)"""


def leaf_of(entries: Entries) -> sql.Composed:
    """Build the query for the leaf of batch `batch_id`."""
    return sql.SQL("SELECT j.leaf::int8 FROM {} AS j WHERE j.batch_id = %(batch_id)s").format(
        journal_name(entries.table_id)
    )


def reset_untouched(entries: Entries, leaf: TableName) -> sql.Composed:
    """Build what resets the rows that nobody touched since; returns (entries, reset, not as asked, ctids)."""
    return sql.SQL(_RESET_UNTOUCHED).format(
        back=sql.SQL(BACK).format(),
        entry=entries.expression(more=sql.SQL(", j.xid")),
        leaf=identifier(leaf.schema, leaf.name),
        column=identifier(entries.table.organization_column),
        organization=entries.organization,
    )


def count_untouched(entries: Entries, leaf: TableName) -> sql.Composed:
    """Build the count of rows that still are as we wrote them: after a reset there should be none."""
    return sql.SQL(_UNTOUCHED).format(
        entry=entries.expression(more=sql.SQL(", j.xid")),
        leaf=identifier(leaf.schema, leaf.name),
        organization=entries.organization,
    )


def extract(entries: Entries, *, but: bool) -> sql.Composed:
    """Build what moves entries of batch `batch_id` to a batch of their own, whose number it returns.

    Args:
        entries: of the table.
        but: those in scope that `row_ctids` does not name, instead of those that it names.
    """
    return sql.SQL(_EXTRACT).format(
        journal=journal_name(entries.table_id),
        leaves=sql.SQL("<> ALL" if but else "= ANY").format(),
        in_scope=sql.SQL(
            "" if entries.tenants is None else " AND e.tenant_number = ANY (%(tenant_numbers)s::int4[])"
        ),
        written_in=written_in(),
    )


def untellable(entries: Entries, *, has_claims: bool) -> sql.Composed:
    """Build the query for entries whose rows could not be told from others if they moved.

    Returns, for each batch, (batch, entries, ctids of those, reasons).
    """
    shared = sql.SQL(_SHARED).format(key_type=text(entries.table.tenant_column.quoted_type))
    return sql.SQL(_UNTELLABLE).format(
        entry=entries.expression(),
        claims=claims_name(entries.table_id) if has_claims else sql.SQL(_NO_CLAIMS),
        shared=sql.SQL("false") if entries.tenants is None else shared,
    )


def choose(entries: Entries) -> sql.Composed:
    """Build the query for as many rows of each organization as there are entries, but for those done."""
    return sql.SQL(_CHOOSE).format(
        entry=entries.expression(), relation=entries.relation, organization=entries.organization
    )


def reset_moved(entries: Entries, leaf: TableName) -> sql.Composed:
    """Build what resets chosen rows; returns (organization, rows, all as asked)."""
    return sql.SQL(_RESET_MOVED).format(
        back=sql.SQL(BACK).format(),
        leaf=identifier(leaf.schema, leaf.name),
        column=identifier(entries.table.organization_column),
        organization=entries.organization,
    )


def any_claimed(entries: Entries) -> sql.Composed:
    """Build the question whether anybody claimed one of `organizations`."""
    return sql.SQL(
        "SELECT EXISTS (SELECT FROM {} WHERE organization_id = ANY (%(organizations)s::uuid[]))"
    ).format(claims_name(entries.table_id))


def list_gone(entries: Entries) -> sql.Composed:
    """Build what records the entries for which no row was found; returns (entries, of them gone)."""
    return sql.SQL(_LIST_GONE).format(entry=entries.expression(), row_key=entries.row_key())


def planner_back() -> sql.Composed:
    """Build what puts the session's own planner settings back, for a statement that scans."""
    return sql.SQL(_PLANNER_BACK).format()
