"""Removes what no rollback can need any more: batches that are undone, claims on them, old lists of rows."""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill.claims_sql import claims_name, claims_relation
from tenant_migration.backfill.journal_sql import journal_name, journal_relation, written_in
from tenant_migration.database.connection import transaction
from tenant_migration.recovery.backups.retention import BEGUN_WITHIN

_BATCHES_AT_ONCE = 500
"""Some 10 MB of rows in each transaction."""

# A table that somebody works on at this moment waits for the next cleanup.
_JOURNALS = """
SELECT substr(c.relname, 9)::int4 FROM pg_class AS c
WHERE c.relnamespace = 'tenant_migration'::regnamespace AND c.relkind = 'r'
  AND EXISTS (SELECT FROM tenant_migration.created_objects AS o
              WHERE o.kind = 'journal' AND o.object_name = c.relname AND o.dropped_at IS NULL
                AND c.relname = 'journal_' || o.table_id)
  AND NOT EXISTS (SELECT FROM tenant_migration.leases AS l
                  WHERE c.relname = 'journal_' || l.table_id AND l.expires_at > clock_timestamp())
ORDER BY 1"""

_COLUMNS = """
SELECT array_agg(a.attname::text) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = 'tenant_migration'::regnamespace AND c.relname = %s
  AND a.attnum > 0 AND NOT a.attisdropped"""

_OLD = "closed_at < clock_timestamp() - make_interval(days => %s)"

# A claim speaks of batches up to its number, as far as they are still in the journal, open or not.
# Where there is none, of nothing that is there now; numbers beyond the newest are of what is being written.
_CLAIMS = """
WITH oldest AS MATERIALIZED (
    SELECT coalesce((SELECT min({written_in}) FROM {journal} AS j WHERE j.phase <> 'kept'),
                    (SELECT CASE WHEN s.is_called THEN s.last_value + 1 ELSE 1 END FROM {numbers} AS s))
           AS batch_id)
DELETE FROM {claims} AS c WHERE c.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {claims} AS o WHERE o.after_batch < (SELECT batch_id FROM oldest) LIMIT {most}))
  AND c.after_batch < (SELECT batch_id FROM oldest)"""

# Without a key a claim is of the organization for good; but once is enough.
_DOUBLE_CLAIMS = """
DELETE FROM {claims} AS c WHERE c.ctid = ANY (ARRAY(
    SELECT o.ctid FROM (SELECT f.ctid, row_number() OVER (PARTITION BY f.organization_id) AS nth
                        FROM {claims} AS f) AS o
    WHERE o.nth > 1 LIMIT {most}))"""

_TRUNCATIONS = """
DELETE FROM tenant_migration.truncations AS x
WHERE x.table_id = %s AND NOT EXISTS (
    SELECT FROM {journal} AS j WHERE j.phase <> 'kept' AND {written_in} <= x.after_batch)"""

_CLAIMS_AT_ONCE = 10_000

_LEFT_ALONE = """
DELETE FROM tenant_migration.left_alone AS a USING tenant_migration.runs AS r
WHERE r.run_id = a.run_id AND r.finished_at IS NOT NULL
  AND a.recorded_at < clock_timestamp() - make_interval(days => %s)"""


_RELIANCES = """
DELETE FROM tenant_migration.relied_on_backups AS u
WHERE CASE WHEN u.run_id IS NULL THEN u.relied_on_at < clock_timestamp() - %s::interval
           ELSE EXISTS (SELECT FROM tenant_migration.runs AS r
                        WHERE r.run_id = u.run_id AND r.finished_at IS NOT NULL) END"""


def prune_reliances(connection: psycopg.Connection) -> None:
    """Forget who counted on a backup, where that migration has ended or never began."""
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(_RELIANCES, (BEGUN_WITHIN,))


def prune_journals(connection: psycopg.Connection, *, days: int, dry_run: bool) -> int:
    """Remove batches that were undone more than `days` days ago; return how many there are."""
    with transaction(connection, read_only=True, row_security=True):
        table_ids = [row[0] for row in connection.execute(_JOURNALS).fetchall()]
    return sum(_prune(connection, table_id, days=days, dry_run=dry_run) for table_id in table_ids)


def prune_claims(connection: psycopg.Connection) -> int:
    """Remove claims, and notes of TRUNCATE, of which no batch is left in the journal; return how many.

    The application writes claims all the time: a claim that it renews meanwhile stays, one that it waits for
    is waited for a few milliseconds.
    """
    with transaction(connection, read_only=True, row_security=True):
        table_ids = [row[0] for row in connection.execute(_JOURNALS).fetchall()]
    return sum(_prune_claims(connection, table_id) for table_id in table_ids)


def _prune_claims(connection: psycopg.Connection, table_id: int) -> int:
    parts = {"journal": journal_name(table_id), "written_in": written_in()}
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(sql.SQL(_TRUNCATIONS).format(**parts), (table_id,))
        columns = connection.execute(_COLUMNS, (claims_relation(table_id),)).fetchone()
    if columns is None or columns[0] is None:
        return 0
    statement = sql.SQL(_CLAIMS if "after_batch" in columns[0] else _DOUBLE_CLAIMS).format(
        **parts,
        claims=claims_name(table_id),
        numbers=sql.Identifier("tenant_migration", f"{journal_relation(table_id)}_batch_id_seq"),
        most=sql.Literal(_CLAIMS_AT_ONCE),
    )
    pruned = 0
    while True:
        with transaction(connection):
            count = connection.execute(statement).rowcount
        pruned += count
        if count < _CLAIMS_AT_ONCE:
            return pruned


def prune_left_alone(connection: psycopg.Connection, *, days: int) -> None:
    """Remove what rollbacks that ended listed as left alone more than `days` days ago."""
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(_LEFT_ALONE, (days,))


def _prune(connection: psycopg.Connection, table_id: int, *, days: int, dry_run: bool) -> int:
    journal = journal_name(table_id)
    if dry_run:
        with transaction(connection, read_only=True):
            row = connection.execute(
                sql.SQL("SELECT count(*) FROM {} WHERE {}").format(journal, sql.SQL(_OLD)), (days,)
            ).fetchone()
        return int(row[0]) if row is not None else 0
    statement = sql.SQL(
        "DELETE FROM {journal} WHERE batch_id IN (SELECT batch_id FROM {journal} WHERE {old} LIMIT {most})"
    ).format(journal=journal, old=sql.SQL(_OLD), most=sql.Literal(_BATCHES_AT_ONCE))
    pruned = 0
    while True:
        with transaction(connection):
            count = connection.execute(statement, (days,)).rowcount
        pruned += count
        if count < _BATCHES_AT_ONCE:
            return pruned
