"""The fingerprints of the open journal, compared with the rows as they are.

    contents (tenant_number, fingerprinted, compared,   entries that have a fingerprint, those whose row was
              changed, changed_since,                   found; rows with another content: in the transaction
              not_fingerprinted)                        that wrote them, or written again since

A tenant is compared row by row only where the sum over its rows is not that of its entries. The sums bind
each content to its key, and are of hashes that are mixed: values that are exchanged between rows show.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.catalog.row_hash import row_hash
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.journal import entry_key, entry_names, is_found, same_row
from tenant_migration.integrity.sources.tables import column, row_key, same_tenant, table_name, tenant_key

_NO_CONTENTS = """contents AS (
    SELECT 0 AS tenant_number, 0::bigint AS fingerprinted, 0::bigint AS compared, 0::bigint AS changed,
           0::bigint AS changed_since, 0::bigint AS not_fingerprinted WHERE false)"""

_CONTENTS = """contents AS MATERIALIZED (
    SELECT tenant_number, total AS fingerprinted, total AS compared, 0 AS changed, 0 AS changed_since,
           0 AS not_fingerprinted
    FROM journaled WHERE tenant_number NOT IN (SELECT tenant_number FROM disagreeing)
    UNION ALL
    SELECT c.tenant_number, count(*) FILTER (WHERE c.is_known), count(*) FILTER (WHERE c.differs IS NOT NULL),
           count(*) FILTER (WHERE c.differs AND c.is_untouched),
           count(*) FILTER (WHERE c.differs AND NOT c.is_untouched), count(*) FILTER (WHERE NOT c.is_known)
    FROM ({compared} OFFSET 0) AS c GROUP BY c.tenant_number)"""
"""OFFSET 0 keeps the comparison apart: pulled up into each of the counts, a row is hashed five times."""

# Without a key a row that was written again is not found where it was. So the hashes of a tenant's entries
# are looked for among those of its rows; one that is missing was changed, or its row is gone.
_CONTENTS_WITHOUT_KEY = """contents AS MATERIALIZED (
    SELECT tenant_number, total AS fingerprinted, total AS compared, 0 AS changed, 0 AS changed_since,
           0 AS not_fingerprinted
    FROM journaled WHERE tenant_number NOT IN (SELECT tenant_number FROM disagreeing)
    UNION ALL
    SELECT h.tenant_number, h.known, h.known, coalesce(c.changed, 0),
           greatest(h.missing - coalesce(c.changed, 0) - greatest(j.total - coalesce(s.row_count, 0), 0), 0),
           h.unknown
    FROM (
        SELECT e.tenant_number, coalesce(sum(e.entries) FILTER (WHERE e.hash IS NOT NULL), 0) AS known,
               coalesce(sum(e.entries) FILTER (WHERE e.hash IS NULL), 0) AS unknown,
               coalesce(sum(greatest(e.entries - coalesce(r.row_count, 0), 0))
                            FILTER (WHERE e.hash IS NOT NULL), 0) AS missing
        FROM (
            SELECT e.tenant_number, CASE WHEN {is_comparable} THEN e.fingerprint END AS hash,
                   count(*) AS entries
            FROM entries AS e GROUP BY 1, 2
        ) AS e
        LEFT JOIN (
            SELECT r.tenant_number, {hash} AS hash, count(*) AS row_count
            FROM {table} AS t JOIN recorded AS r ON {same_tenant}
            WHERE EXISTS (SELECT FROM disagreeing)
              AND r.tenant_number IN (SELECT tenant_number FROM disagreeing)
            GROUP BY 1, 2
        ) AS r USING (tenant_number, hash)
        GROUP BY e.tenant_number
    ) AS h
    JOIN journaled AS j USING (tenant_number)
    LEFT JOIN (
        SELECT tenant_number, sum(row_count) AS row_count FROM scan GROUP BY tenant_number
    ) AS s USING (tenant_number)
    LEFT JOIN (
        SELECT c.tenant_number, count(*) FILTER (WHERE c.differs AND c.is_untouched) AS changed
        FROM ({compared}) AS c GROUP BY c.tenant_number
    ) AS c USING (tenant_number))"""

# `xid` is that of the batch; while it stands in the row, nobody has written the row since.
_COMPARED = """
SELECT e.tenant_number, {example} AS example, {is_known} AS is_known, t.xmin = e.xid AS is_untouched,
       CASE WHEN {is_known} AND {found} IS NOT NULL THEN e.fingerprint <> {fingerprint} END AS differs
FROM ({newest}) AS e LEFT JOIN {table} AS t ON {same_row}
"""

_NEWEST = "SELECT DISTINCT ON ({keys}) e.* FROM entries AS e ORDER BY {keys}, e.batch_id DESC"


def contents(scope: TableScope) -> sql.Composable:
    """Return the common table expression of this module; it needs those of `journal.py`."""
    if not scope.facts.contents or not scope.facts.has_journal:
        return sql.SQL(_NO_CONTENTS)
    if scope.table.key_columns:
        return sql.SQL(_CONTENTS).format(compared=compared_rows(scope))
    newest = sql.Literal(list(scope.facts.contents[0].run_ids))
    return sql.SQL(_CONTENTS_WITHOUT_KEY).format(
        is_comparable=sql.SQL("e.run_id = ANY ({}::bigint[]) AND e.previous_value IS NULL").format(newest),
        hash=_hash(scope),
        table=table_name(scope),
        same_tenant=same_tenant(scope, tenant_key(scope.table, "t"), column("r", "key")),
        compared=compared_rows(scope),
    )


def compared_rows(scope: TableScope) -> sql.Composed:
    """Return a SELECT of (tenant_number, example, is_known, is_untouched, differs), one row for each row.

    `differs` is NULL for a row that was not found, or has nothing to be compared with.
    """
    runs = [run_id for form in scope.facts.contents for run_id in form.run_ids]
    return sql.SQL(_COMPARED).format(
        example=entry_key(scope, "e") if scope.table.key_columns else row_key(scope.table, "t"),
        is_known=sql.SQL("(e.fingerprint IS NOT NULL AND e.run_id = ANY ({}::bigint[]))").format(
            sql.Literal(runs)
        ),
        found=is_found(scope, "t"),
        fingerprint=_fingerprint_of_run(scope),
        newest=_newest(scope),
        table=table_name(scope),
        same_row=same_row(scope, "t", "e"),
    )


def content_sum(scope: TableScope) -> sql.Composable:
    """Return the aggregate over rows `t` as the newest run hashed them."""
    if not scope.facts.contents or not scope.facts.has_journal:
        return sql.SQL("NULL::numeric")
    return sql.SQL("sum({})").format(_hash(scope))


def _hash(scope: TableScope) -> sql.Composed:
    parts = scope.facts.contents[0].parts
    return row_hash(parts, "t", sql.Identifier, previous_value=sql.SQL("NULL::uuid"))


def _fingerprint_of_run(scope: TableScope) -> sql.Composed:
    """A value that a run cannot have replaced is left out: that it stands there is a finding of its own."""
    previous = sql.SQL(
        "CASE WHEN NOT e.is_kept AND e.run_id <> ALL ({}::bigint[]) THEN e.previous_value END"
    ).format(sql.Literal(list(scope.facts.runs_that_only_fill)))
    cases = [
        sql.SQL("WHEN e.run_id = ANY ({}::bigint[]) THEN {}").format(
            sql.Literal(list(form.run_ids)),
            row_hash(form.parts, "t", sql.Identifier, previous_value=previous),
        )
        for form in scope.facts.contents
    ]
    return sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases))


def _newest(scope: TableScope) -> sql.Composable:
    """Entries of keys that may have been written several times: only the last write says how the row was."""
    runs = {run_id for form in scope.facts.contents for run_id in form.run_ids}
    if not scope.table.key_columns or runs <= set(scope.facts.runs_that_only_fill):
        return sql.SQL("SELECT e.* FROM entries AS e")
    keys = sql.SQL(", ").join(column("e", name) for name in entry_names(scope))
    return sql.SQL(_NEWEST).format(keys=keys)
