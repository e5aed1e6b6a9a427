"""Names rows that were not found because the application gave them another key: they keep what we wrote.

They are not followed: what the application did with the row under its new key is not recorded by the old one.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill.claims_sql import claims_name, claims_relation
from tenant_migration.backfill.journal_sql import journal_name, key_columns, written_in
from tenant_migration.backfill.target import text
from tenant_migration.planning.counted import counted
from tenant_migration.recovery.rollback.work import Work

_SHOWN = 5

_HAS_NEW_KEYS = """
SELECT EXISTS (SELECT FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
               WHERE c.relnamespace = 'tenant_migration'::regnamespace AND c.relname = %s
                 AND a.attname = 'moved_to' AND NOT a.attisdropped)"""

_REKEYED = """
SELECT key.row_key, c.moved_to, count(*) OVER ()
FROM tenant_migration.left_alone AS l
JOIN {journal} AS j ON j.batch_id = l.batch_id
CROSS JOIN LATERAL unnest(l.row_keys) AS key (row_key)
JOIN {claims} AS c ON jsonb_build_object({claimed_key}) = key.row_key
WHERE l.run_id = %(run_id)s AND l.table_id = %(table_id)s AND l.reason = 'deleted'
  AND c.moved_to IS NOT NULL AND c.after_batch >= {written_in}
  AND {written_in} > coalesce(c.moved_since, -1)
ORDER BY key.row_key::text LIMIT {shown}"""


def rows_with_another_key(work: Work) -> list[str]:
    """Return a sentence that counts and names them; empty where there are none, or nothing is known of it."""
    if not work.has_claims or not work.table.key_columns:
        return []

    def read(connection: psycopg.Connection) -> list[tuple[dict[str, str], dict[str, str], int]]:
        [(is_known,)] = connection.execute(_HAS_NEW_KEYS, (claims_relation(work.table_id),)).fetchall()
        if not is_known:
            return []
        parameters = {"run_id": work.run.run_id, "table_id": work.table_id}
        return connection.execute(_statement(work), parameters).fetchall()

    rows = work.retry.run(f"keys of {work.name} that changed", read)
    if not rows:
        return []
    number = rows[0][2]
    was, keeps = ("was", "keeps") if number == 1 else ("were", "keep")
    named = ", ".join(f"{_shown(old)} is {_shown(new)} now" for old, new, _ in rows)
    more = f" and {number - len(rows):,} more" if number > len(rows) else ""
    return [
        f"{counted(number, 'row')} {was} given another key by the application and {keeps} what was written: "
        f"{named}{more}"
    ]


def _statement(work: Work) -> sql.Composed:
    key = [
        sql.SQL("{}::text, c.{}::text").format(text(column.name), sql.Identifier(name.name))
        for column, name in zip(work.table.key_columns, key_columns(work.table), strict=True)
    ]
    return sql.SQL(_REKEYED).format(
        journal=journal_name(work.table_id),
        claims=claims_name(work.table_id),
        claimed_key=sql.SQL(", ").join(key),
        written_in=written_in(),
        shown=sql.Literal(_SHOWN),
    )


def _shown(key: dict[str, str]) -> str:
    return ", ".join(f"{column}={value}" for column, value in key.items())
