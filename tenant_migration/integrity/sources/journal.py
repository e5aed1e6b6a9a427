"""What the open journal of a table says, for the tenants that are recorded as migrated.

    journaled    (tenant_number, total, entries,     rows that it names, those that it says were written, and
                  key_sum)                           a sum over their keys
    written      (tenant_number, entries)
    disagreeing  (tenant_number)                     tenants whose rows are not just the journaled ones, all
                                                     with the mapped value: only these are looked at by row
    entries      (tenant_number, run_id, is_kept,    one row for each row that a batch names, of these tenants
                  key_1, ...)
    journal_keys (tenant_number, keys_checked,       the keys it names, each found in the table or not; empty
                  gone, changed, repeated)           for a table without a row identity

The layout of `tenant_migration.journal_<table_id>`: one row a batch; `tenant_numbers[i]`, `key_1[i]`,
`key_2[i]`, ... belong to one row of the table; phase `kept` records values that were there and stay
(`previous_values`). The written value is the run's organization of the tenant. What a rollback undid is
closed: a batch by `closed_at`, one tenant's entries of it by `closed_tenants`.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.key_sums import key_sum
from tenant_migration.integrity.sources.tables import all_of, column, key_text, organization, table_name

_NO_WRITTEN = "written AS (SELECT 0 AS tenant_number, 0::bigint AS entries WHERE false)"
_NO_KEYS = """journal_keys AS (
    SELECT 0 AS tenant_number, 0::bigint AS keys_checked, 0::bigint AS gone, 0::bigint AS changed,
           0::bigint AS repeated WHERE false)"""

_JOURNALED = """journaled AS MATERIALIZED (
    SELECT e.tenant_number, count(*) AS total, count(*) FILTER (WHERE j.phase <> 'kept') AS entries,
           {key_sum} AS key_sum
    FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers{arrays}) AS e(tenant_number{names})
    WHERE {open} AND e.tenant_number <> ALL (j.closed_tenants)
      AND e.tenant_number IN (SELECT tenant_number FROM recorded)
    GROUP BY e.tenant_number),
written AS (SELECT tenant_number, entries FROM journaled)"""

_DISAGREEING = """disagreeing AS MATERIALIZED (
    SELECT r.tenant_number
    FROM recorded AS r LEFT JOIN journaled AS j USING (tenant_number)
    LEFT JOIN (
        SELECT tenant_number, sum(row_count) AS total, sum(key_sum) AS key_sum,
               bool_and(organization_id IS NOT DISTINCT FROM mapped) AS all_mapped
        FROM scan GROUP BY tenant_number
    ) AS s USING (tenant_number)
    WHERE coalesce(j.total, 0) <> coalesce(s.total, 0) OR j.key_sum IS DISTINCT FROM s.key_sum
       OR NOT s.all_mapped)"""

# Materialized, so that what follows is planned as a scan: nobody knows beforehand how long the arrays are.
_ENTRIES = """entries AS MATERIALIZED (
    SELECT e.*, j.run_id, j.phase = 'kept' AS is_kept
    FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers{arrays}) AS e(tenant_number{names})
    WHERE {open} AND e.tenant_number <> ALL (j.closed_tenants) AND EXISTS (SELECT FROM disagreeing)
      AND e.tenant_number IN (SELECT tenant_number FROM disagreeing))"""

# A key column is never NULL, so a NULL one of the table means: no such row.
_KEYS = """journal_keys AS MATERIALIZED (
    SELECT tenant_number, total AS keys_checked, 0 AS gone, 0 AS changed, 0 AS repeated
    FROM journaled WHERE tenant_number NOT IN (SELECT tenant_number FROM disagreeing)
    UNION ALL
    SELECT e.tenant_number, count(*) AS keys_checked, count(*) FILTER (WHERE {found} IS NULL) AS gone,
           count(*) FILTER (WHERE {found} IS NOT NULL AND e.times > 0
                            AND {organization} IS DISTINCT FROM w.organization_id) AS changed,
           sum(greatest(e.times - 1, 0)) AS repeated
    FROM ({each_key}) AS e LEFT JOIN {table} AS t ON {same_row}
    LEFT JOIN tenant_migration.run_tenants AS w
           ON w.run_id = e.run_id AND w.key_type = {key_type} AND w.tenant_number = e.tenant_number
    GROUP BY e.tenant_number)"""

_EACH_KEY = """
SELECT {keys}, max(e.tenant_number) AS tenant_number, max(e.run_id) AS run_id,
       count(*) FILTER (WHERE NOT e.is_kept) AS times
FROM entries AS e GROUP BY {keys}
"""

_KEPT_ROWS = """
SELECT {keys}, e.kept_value
FROM {journal} AS j
CROSS JOIN LATERAL unnest(j.tenant_numbers, j.previous_values, {arrays})
    AS e(tenant_number, kept_value, {names})
WHERE j.phase = 'kept' AND {open} AND e.tenant_number <> ALL (j.closed_tenants)
"""


def same_row(scope: TableScope, row: str, entry: str) -> sql.Composable:
    """Return the condition that a row of the table is the one that a journal entry names."""
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
    """Return a SELECT of (key_1, ..., tenant_number, run_id, times): each key of `entries` once.

    `times` counts the writes; a kept value is no write.
    """
    keys = sql.SQL(", ").join(column("e", name) for name in _key_names(scope))
    return sql.SQL(_EACH_KEY).format(keys=keys)


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


def journal_tables(scope: TableScope) -> sql.Composable:
    """Return the common table expressions of this module; they need `recorded` and `scan`."""
    if not scope.facts.has_journal:
        return sql.SQL("{},\n{}").format(sql.SQL(_NO_WRITTEN), sql.SQL(_NO_KEYS))
    names = _key_names(scope)
    keys = scope.table.key_columns
    unnested = {
        "journal": _journal(scope),
        "open": _open_batches(scope, sql.Identifier("recorded")),
        "arrays": sql.SQL("").join(sql.SQL(", {}").format(column("j", name)) for name in names),
        "names": sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier(name)) for name in names),
    }
    if not keys:
        journaled = sql.SQL(_JOURNALED).format(key_sum=sql.SQL("NULL::numeric"), **unnested)
        return sql.SQL("{},\n{}").format(journaled, sql.SQL(_NO_KEYS))
    parts = [
        sql.SQL(_JOURNALED).format(key_sum=key_sum(keys, [column("e", name) for name in names]), **unnested),
        sql.SQL(_DISAGREEING),
        sql.SQL(_ENTRIES).format(**unnested),
        sql.SQL(_KEYS).format(
            found=column("t", keys[0].name),
            organization=organization(scope, "t"),
            each_key=each_key(scope),
            table=table_name(scope),
            same_row=same_row(scope, "t", "e"),
            key_type=sql.Literal(scope.table.tenant_column.quoted_type),
        ),
    ]
    return sql.SQL(",\n").join(parts)


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
