"""What the open journal of a table says, for the tenants that are recorded as migrated.

    written      (tenant_number, entries)               rows that the journal says were written
    journal_keys (tenant_number, keys_checked, gone,    the keys it names, each looked up in the table;
                  changed, repeated)                    empty for a table without a row identity

The layout of `tenant_migration.journal_<table_id>`: one row a batch; `tenant_numbers[i]`, `key_1[i]`,
`key_2[i]`, ... belong to one row of the table; phase `kept` records values that were there and stay
(`previous_values`). The written value is the run's organization of the tenant. Closed batches were undone.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.tables import all_of, column, key_text, organization, table_name

_NO_WRITTEN = "written AS (SELECT 0 AS tenant_number, 0::bigint AS entries WHERE false)"
_NO_KEYS = """journal_keys AS (
    SELECT 0 AS tenant_number, 0::bigint AS keys_checked, 0::bigint AS gone, 0::bigint AS changed,
           0::bigint AS repeated WHERE false)"""

_WRITTEN = """written AS MATERIALIZED (
    SELECT e.tenant_number, count(*) AS entries
    FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers) AS e(tenant_number)
    WHERE {open} AND j.phase <> 'kept' AND e.tenant_number IN (SELECT tenant_number FROM recorded)
    GROUP BY e.tenant_number)"""

# A key column is never NULL, so a NULL one of the table means: no such row.
_KEYS = """journal_keys AS MATERIALIZED (
    SELECT e.tenant_number, count(*) AS keys_checked, count(*) FILTER (WHERE {found} IS NULL) AS gone,
           count(*) FILTER (WHERE {found} IS NOT NULL AND e.times > 0
                            AND {organization} IS DISTINCT FROM w.organization_id) AS changed,
           sum(greatest(e.times - 1, 0)) AS repeated
    FROM ({entries}) AS e LEFT JOIN {table} AS t ON {same_row}
    LEFT JOIN tenant_migration.run_tenants AS w
           ON w.run_id = e.run_id AND w.key_type = {key_type} AND w.tenant_number = e.tenant_number
    GROUP BY e.tenant_number)"""

_JOURNALED_ROWS = """
SELECT {keys}, max(e.tenant_number) AS tenant_number, max(j.run_id) AS run_id,
       count(*) FILTER (WHERE j.phase <> 'kept') AS times
FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}) AS e(tenant_number, {names})
WHERE {open} AND e.tenant_number IN (SELECT tenant_number FROM {recorded})
GROUP BY {keys}
"""

_KEPT_ROWS = """
SELECT {keys}, e.kept_value
FROM {journal} AS j
CROSS JOIN LATERAL unnest(j.previous_values, {arrays}) AS e(kept_value, {names})
WHERE j.phase = 'kept' AND {open}
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


def journaled_rows(scope: TableScope, recorded: sql.Composable) -> sql.Composed:
    """Return a SELECT of (key_1, ..., tenant_number, run_id, times): each key in the open journal once.

    `times` counts the writes; a kept value is no write.

    Args:
        scope: the table.
        recorded: what has the column `tenant_number` of the tenants in question, as FROM takes it.
    """
    return sql.SQL(_JOURNALED_ROWS).format(recorded=recorded, **_entries(scope, recorded))


def kept_rows(scope: TableScope, recorded: sql.Composable) -> sql.Composed:
    """Return a SELECT of (key_1, ..., kept_value): rows whose own value was recorded and left alone."""
    return sql.SQL(_KEPT_ROWS).format(**_entries(scope, recorded))


def journal_tables(scope: TableScope) -> sql.Composable:
    """Return the common table expressions `written` and `journal_keys`; they need `recorded`."""
    written, keys = sql.Composed([sql.SQL(_NO_WRITTEN)]), sql.Composed([sql.SQL(_NO_KEYS)])
    recorded = sql.Identifier("recorded")
    if scope.facts.has_journal:
        written = sql.SQL(_WRITTEN).format(journal=_journal(scope), open=_open_batches(scope, recorded))
    if scope.facts.has_journal and scope.table.key_columns:
        keys = sql.SQL(_KEYS).format(
            found=column("t", scope.table.key_columns[0].name),
            organization=organization(scope, "t"),
            entries=journaled_rows(scope, recorded),
            table=table_name(scope.table),
            same_row=same_row(scope, "t", "e"),
            key_type=sql.Literal(scope.table.tenant_column.quoted_type),
        )
    return sql.SQL("{},\n{}").format(written, keys)


def _journal(scope: TableScope) -> sql.Identifier:
    return sql.Identifier("tenant_migration", f"journal_{scope.facts.table_id}")


def _key_names(scope: TableScope) -> list[str]:
    return [f"key_{number}" for number in range(1, len(scope.table.key_columns) + 1)]


def _entries(scope: TableScope, recorded: sql.Composable) -> dict[str, sql.Composable]:
    names = _key_names(scope)
    return {
        "journal": _journal(scope),
        "open": _open_batches(scope, recorded),
        "keys": sql.SQL(", ").join(column("e", name) for name in names),
        "names": sql.SQL(", ").join(map(sql.Identifier, names)),
        "arrays": sql.SQL(", ").join(column("j", name) for name in names),
    }


def _open_batches(scope: TableScope, recorded: sql.Composable) -> sql.Composable:
    if scope.tenants is None:
        return sql.SQL("j.closed_at IS NULL")
    return sql.SQL(  # by the journal's index: a tenant costs its own batches
        "j.closed_at IS NULL AND j.tenant_numbers && ARRAY(SELECT tenant_number FROM {})"
    ).format(recorded)
