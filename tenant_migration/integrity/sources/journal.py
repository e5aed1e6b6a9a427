"""What the open journal of a table says, for the tenants that are recorded as migrated.

    journaled    (tenant_number, total, entries,     rows that it names, those that it says were written, sums
                  key_sum, content_sum, ...)         over their keys and fingerprints
    written      (tenant_number, entries)
    disagreeing  (tenant_number)                     tenants whose rows are not just the journaled ones, all
                                                     with the mapped value and as they were: only these are
                                                     looked at by row
    entries      (tenant_number, batch_id, run_id,   one row for each row that a batch names, of these;
                  xid, leaf, is_kept, key_1, ...)    without a key `row_ctid`
    journal_keys (tenant_number, keys_checked, gone, the keys it names, each found in the table or not; empty
                  changed, moved, repeated)          for a table without a row identity
    unjournaled  (tenant_number, row_count)          rows that carry the transaction of a batch which does not
                                                     name them
    misremembered (tenant_number, entries)           entries with a previous value that cannot have been there

The layout of `tenant_migration.journal_<table_id>`: one row a batch; `tenant_numbers[i]`, `key_1[i]`,
`key_2[i]`, ... belong to one row of the table; phase `kept` records values that were there and stay
(`previous_values`). The written value is the run's organization of the tenant. What a rollback undid is
closed: a batch by `closed_at`, one tenant's entries of it by `closed_tenants`.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.key_sums import key_sum
from tenant_migration.integrity.sources.tables import (
    all_of,
    column,
    in_scope,
    key_text,
    organization,
    row_key,
    same_tenant,
    table_name,
    tenant_key,
)

_NO_JOURNAL = """written AS (SELECT 0 AS tenant_number, 0::bigint AS entries WHERE false),
unjournaled AS (SELECT 0 AS tenant_number, 0::bigint AS row_count WHERE false),
misremembered AS (SELECT 0 AS tenant_number, 0::bigint AS entries WHERE false)"""
_NO_KEYS = """journal_keys AS (
    SELECT 0 AS tenant_number, 0::bigint AS keys_checked, 0::bigint AS gone, 0::bigint AS changed,
           0::bigint AS moved, 0::bigint AS repeated WHERE false)"""

# Arrays are unfolded in a SELECT list: in FROM, PostgreSQL stores the rows first, which takes twice the time.
_JOURNALED = """journaled AS MATERIALIZED (
    SELECT e.tenant_number, count(*) AS total, count(*) FILTER (WHERE NOT e.is_kept) AS entries,
           {key_sum} AS key_sum, {content_sum} AS content_sum, bool_or(e.brings_back) AS brings_back
    FROM (
        SELECT j.closed_tenants, j.phase = 'kept' AS is_kept,
               j.phase <> 'kept' AND j.previous_values IS NOT NULL AS brings_back,
               unnest(j.tenant_numbers) AS tenant_number{arrays}
        FROM {journal} AS j WHERE {open}
    ) AS e
    WHERE e.tenant_number <> ALL (e.closed_tenants)
    GROUP BY e.tenant_number HAVING e.tenant_number IN (SELECT tenant_number FROM recorded)),
written AS (SELECT tenant_number, entries FROM journaled)"""

_DISAGREEING = """disagreeing AS MATERIALIZED (
    SELECT r.tenant_number
    FROM recorded AS r LEFT JOIN journaled AS j USING (tenant_number)
    LEFT JOIN (
        SELECT tenant_number, sum(row_count) AS total, sum(key_sum) AS key_sum,
               sum(content_sum) AS content_sum,
               bool_and(organization_id IS NOT DISTINCT FROM mapped) AS all_mapped
        FROM scan GROUP BY tenant_number
    ) AS s USING (tenant_number)
    WHERE coalesce(j.total, 0) <> coalesce(s.total, 0) OR j.key_sum IS DISTINCT FROM s.key_sum
       OR j.content_sum IS DISTINCT FROM s.content_sum OR j.brings_back OR NOT s.all_mapped)"""

# Materialized, so that what follows is planned as a scan: nobody knows beforehand how long the arrays are.
_ENTRIES = """entries AS MATERIALIZED (
    SELECT e.*
    FROM (
        SELECT j.closed_tenants, j.batch_id, j.run_id, j.leaf, xid(j.xid) AS xid, j.phase = 'kept' AS is_kept,
               unnest(j.tenant_numbers) AS tenant_number, unnest(j.previous_values) AS previous_value,
               unnest(j.fingerprints) AS fingerprint{arrays}
        FROM {journal} AS j WHERE {open} AND EXISTS (SELECT FROM disagreeing)
    ) AS e
    WHERE e.tenant_number <> ALL (e.closed_tenants)
      AND e.tenant_number IN (SELECT tenant_number FROM disagreeing))"""

# A key column is never NULL, so a NULL one of the table means: no such row.
_KEYS = """journal_keys AS MATERIALIZED (
    SELECT tenant_number, total AS keys_checked, 0 AS gone, 0 AS changed, 0 AS moved, 0 AS repeated
    FROM journaled WHERE tenant_number NOT IN (SELECT tenant_number FROM disagreeing)
    UNION ALL
    SELECT e.tenant_number, count(*) AS keys_checked, count(*) FILTER (WHERE {found} IS NULL) AS gone,
           count(*) FILTER (WHERE {found} IS NOT NULL AND e.times > 0
                            AND {organization} IS DISTINCT FROM w.organization_id) AS changed,
           count(*) FILTER (WHERE {found} IS NOT NULL AND ({same_tenant}) IS NOT TRUE) AS moved,
           sum(greatest(e.times - 1, 0)) AS repeated
    FROM ({each_key}) AS e JOIN recorded AS r ON r.tenant_number = e.tenant_number
    LEFT JOIN {table} AS t ON {same_row}
    LEFT JOIN tenant_migration.run_tenants AS w
           ON w.run_id = e.run_id AND w.key_type = {key_type} AND w.tenant_number = e.tenant_number
    GROUP BY e.tenant_number)"""

# Run and tenant of the newest entry: a row that changed tenant and was written again is that tenant's.
_EACH_KEY = """
SELECT {keys}, j.run_id, (e.newest & 2147483647)::int AS tenant_number, e.times
FROM (
    SELECT {keys}, max(e.batch_id << 31 | e.tenant_number) AS newest,
           count(*) FILTER (WHERE NOT e.is_kept) AS times
    FROM entries AS e GROUP BY {keys}
) AS e JOIN {journal} AS j ON j.batch_id = e.newest >> 31
"""

_UNJOURNALED = """unjournaled AS MATERIALIZED (
    SELECT u.tenant_number, count(*) AS row_count FROM ({rows}) AS u GROUP BY u.tenant_number)"""

# The transaction of a batch is in every row that it wrote, until somebody writes the row again.
_UNJOURNALED_ROWS = """
SELECT r.tenant_number, {example} AS example
FROM {table} AS t JOIN recorded AS r ON {same_tenant}
WHERE EXISTS (SELECT FROM disagreeing) AND r.tenant_number IN (SELECT tenant_number FROM disagreeing)
  AND t.xmin IN (SELECT xid(j.xid) FROM {journal} AS j WHERE j.closed_at IS NULL AND j.phase <> 'kept')
  AND NOT EXISTS (SELECT FROM entries AS e WHERE {same_row}) AND {in_scope}
"""

_MISREMEMBERED = """misremembered AS MATERIALIZED (
    SELECT e.tenant_number, count(*) AS entries
    FROM entries AS e
    LEFT JOIN tenant_migration.run_tenants AS w
           ON w.run_id = e.run_id AND w.key_type = {key_type} AND w.tenant_number = e.tenant_number
    WHERE NOT e.is_kept AND e.previous_value IS NOT NULL
      AND (e.run_id = ANY ({runs_that_only_fill}::bigint[]) OR e.previous_value = w.organization_id)
    GROUP BY e.tenant_number)"""

_KEPT_ROWS = """
SELECT {keys}, e.kept_value
FROM {journal} AS j
CROSS JOIN LATERAL unnest(j.tenant_numbers, j.previous_values, {arrays})
    AS e(tenant_number, kept_value, {names})
WHERE j.phase = 'kept' AND {open} AND e.tenant_number <> ALL (j.closed_tenants)
"""


def same_row(scope: TableScope, row: str, entry: str) -> sql.Composable:
    """Return the condition that a row of the table is the one that a journal entry names.

    Without a key: that it lies where the entry says and was not written again.
    """
    if not scope.table.key_columns:
        same = [("ctid", "row_ctid"), ("tableoid", "leaf"), ("xmin", "xid")]
        return all_of([sql.SQL("{} = {}").format(column(row, one), column(entry, two)) for one, two in same])
    return all_of(
        [
            sql.SQL("{} {} {}").format(column(row, key.name), scope.equality_of(key), column(entry, name))
            for key, name in zip(scope.table.key_columns, _key_names(scope), strict=True)
        ]
    )


def entry_key(scope: TableScope, entry: str) -> sql.Composable:
    """Return a journal entry's key as text, as `row_key` spells the row's."""
    names = zip(scope.table.key_columns, _key_names(scope), strict=True)
    return key_text({key.name: column(entry, name) for key, name in names})


def each_key(scope: TableScope) -> sql.Composed:
    """Return a SELECT of (key_1, ..., run_id, tenant_number, times): each key of `entries` once.

    `times` counts the writes; a kept value is no write.
    """
    keys = sql.SQL(", ").join(column("e", name) for name in _key_names(scope))
    return sql.SQL(_EACH_KEY).format(keys=keys, journal=_journal(scope))


def kept_rows(scope: TableScope, recorded: sql.Composable) -> sql.Composed:
    """Return a SELECT of (key_1, ..., kept_value): rows whose own value was recorded and left alone.

    Args:
        scope: the table.
        recorded: what has the column `tenant_number` of the tenants in question, as FROM takes it.
    """
    names = _key_names(scope)
    return sql.SQL(_KEPT_ROWS).format(
        journal=_journal(scope),
        open=_open_batches(scope, recorded),
        keys=sql.SQL(", ").join(column("e", name) for name in names),
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        arrays=sql.SQL(", ").join(column("j", name) for name in names),
    )


def unjournaled_rows(scope: TableScope) -> sql.Composed:
    """Return a SELECT of (tenant_number, example): rows that a batch wrote and does not name."""
    return sql.SQL(_UNJOURNALED_ROWS).format(
        example=row_key(scope.table, "t"),
        table=table_name(scope),
        same_tenant=_is_tenant_of(scope, "r"),
        journal=_journal(scope),
        same_row=same_row(scope, "t", "e"),
        in_scope=in_scope(scope, "t"),
    )


def journal_tables(scope: TableScope) -> sql.Composable:
    """Return the common table expressions of this module; they need `recorded` and `scan`."""
    if not scope.facts.has_journal:
        return sql.SQL("{},\n{}").format(sql.SQL(_NO_JOURNAL), sql.SQL(_NO_KEYS))
    key_type = sql.Literal(scope.table.tenant_column.quoted_type)
    parts = [
        _journaled(scope),
        sql.SQL(_DISAGREEING),
        sql.SQL(_ENTRIES).format(**_unnested(scope, entry_names(scope))),
        sql.SQL(_UNJOURNALED).format(rows=unjournaled_rows(scope)),
        sql.SQL(_MISREMEMBERED).format(
            key_type=key_type, runs_that_only_fill=sql.Literal(list(scope.facts.runs_that_only_fill))
        ),
        sql.SQL(_NO_KEYS),
    ]
    if scope.table.key_columns:
        parts[-1] = sql.SQL(_KEYS).format(
            found=is_found(scope, "t"),
            organization=organization(scope, "t"),
            each_key=each_key(scope),
            table=table_name(scope),
            same_row=same_row(scope, "t", "e"),
            same_tenant=_is_tenant_of(scope, "r"),
            key_type=key_type,
        )
    return sql.SQL(",\n").join(parts)


def is_found(scope: TableScope, row: str) -> sql.Identifier:
    """Return what is NULL when a join found no row `row`."""
    keys = scope.table.key_columns
    return column(row, keys[0].name if keys else "ctid")


def entry_names(scope: TableScope) -> list[str]:
    """Return the columns of `entries` that say which row is meant."""
    return _key_names(scope) or ["row_ctid"]


def _journaled(scope: TableScope) -> sql.Composed:
    keys = scope.table.key_columns
    names = _key_names(scope)
    key_sums: sql.Composable = sql.SQL("NULL::numeric")
    if keys:
        key_sums = key_sum(keys, [column("e", name) for name in names])
    content_sum = sql.SQL("NULL::numeric")
    unnested = _unnested(scope, names)
    if scope.facts.contents:
        content_sum = sql.SQL("sum(e.fingerprint)")
        unnested["arrays"] += sql.SQL(", unnest(j.fingerprints) AS fingerprint")
    return sql.SQL(_JOURNALED).format(key_sum=key_sums, content_sum=content_sum, **unnested)


def _unnested(scope: TableScope, names: list[str]) -> dict[str, sql.Composable]:
    return {
        "journal": _journal(scope),
        "open": _open_batches(scope, sql.Identifier("recorded")),
        "arrays": sql.SQL("").join(
            sql.SQL(", unnest({}) AS {}").format(column("j", name), sql.Identifier(name)) for name in names
        ),
    }


def _is_tenant_of(scope: TableScope, recorded: str) -> sql.Composed:
    return same_tenant(scope, tenant_key(scope.table, "t"), sql.Identifier(recorded, "key"))


def _journal(scope: TableScope) -> sql.Identifier:
    return sql.Identifier("tenant_migration", f"journal_{scope.facts.table_id}")


def _key_names(scope: TableScope) -> list[str]:
    return [f"key_{number}" for number in range(1, len(scope.table.key_columns) + 1)]


def _open_batches(scope: TableScope, recorded: sql.Composable) -> sql.Composable:
    if scope.tenants is None:
        return sql.SQL("j.closed_at IS NULL")
    return sql.SQL(  # by the journal's index: a tenant costs its own batches
        "j.closed_at IS NULL AND j.tenant_numbers && ARRAY(SELECT tenant_number FROM {})"
    ).format(recorded)
