"""SQL that compares a table with its backup, row by row and column by column. Pure.

Parameters: `keys` (text array: the tenants' canonical keys; unused for whole tables), `table_id`, `since`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from tenant_migration.backfill.claims_sql import claims_name
from tenant_migration.backfill.journal_sql import journal_name
from tenant_migration.backfill.target import text, type_name
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import TablePlan
from tenant_migration.recovery.backups.columns import BACKUP_COLUMN
from tenant_migration.recovery.verification_sql import EXAMPLES_MOST, Journaled

if TYPE_CHECKING:
    from typing_extensions import LiteralString

# `*=` compares the bytes of two records, whatever their types can do: json and point too, 1.0 is not 1.00.
# Only rows that differ are looked up in list, claims and journal.
_COMPARE = """
WITH keys AS MATERIALIZED (SELECT key::{tenant_type} AS key FROM unnest(%(keys)s::text[]) AS key),
saved AS NOT MATERIALIZED (SELECT b.* FROM {backup} AS b WHERE {of_backup}),
differing AS MATERIALIZED ({differing}),
listed AS MATERIALIZED (
    SELECT DISTINCT key.row_key FROM tenant_migration.left_alone AS l
    CROSS JOIN LATERAL unnest(l.row_keys) AS key (row_key)
    WHERE l.table_id = %(table_id)s AND l.recorded_at >= %(since)s
      AND EXISTS (SELECT FROM differing WHERE verdict = 'organization')),
written AS MATERIALIZED ({written}),
judged AS MATERIALIZED (
    SELECT {key} AS key, e.other_columns, w.tenant_number,
           CASE WHEN e.verdict <> 'organization' THEN e.verdict
                WHEN {is_written} AND NOT {claimed}
                     AND NOT EXISTS (SELECT FROM listed WHERE listed.row_key = {row_key}) THEN 'wrong'
                ELSE 'different' END AS verdict,
           e.verdict = 'organization' AS other_organization
    FROM differing AS e LEFT JOIN written AS w ON e.verdict = 'organization' AND {same_written}),
totals AS (
    SELECT count(*) FILTER (WHERE verdict = 'wrong') AS wrong,
           count(*) FILTER (WHERE other_organization AND verdict <> 'wrong') AS by_application,
           count(*) FILTER (WHERE other_columns) AS other_columns,
           count(*) FILTER (WHERE verdict = 'missing') AS missing,
           count(*) FILTER (WHERE verdict = 'new') AS new,
           count(*) FILTER (WHERE verdict <> 'new') AS of_backup
    FROM judged)
SELECT own.rows, own.rows - totals.of_backup, totals.wrong, totals.by_application, totals.other_columns,
       totals.missing, totals.new,
       ARRAY(SELECT key FROM judged WHERE verdict = 'wrong' ORDER BY key LIMIT {most}),
       ARRAY(SELECT key || ' (' || verdict || ')' FROM judged
             WHERE verdict <> 'wrong' ORDER BY verdict, key LIMIT {most}),
       (SELECT coalesce(jsonb_object_agg(tenant_id, rows), '{{}}')
        FROM (SELECT n.tenant_id, count(*) AS rows
              FROM judged JOIN tenant_migration.tenants AS n USING (tenant_number)
              WHERE verdict = 'wrong' GROUP BY 1) AS by_tenant)
FROM totals, (SELECT count(*) AS rows FROM saved AS b WHERE {in_scope}) AS own"""

_DIFFERENCE = """
SELECT {keys},
       CASE WHEN t.{first_key} IS NULL THEN 'missing' WHEN b.{first_key} IS NULL THEN 'new'
            WHEN NOT {same_organization} THEN 'organization' ELSE 'different' END AS verdict,
       t.{first_key} IS NOT NULL AND b.{first_key} IS NOT NULL AND NOT {same_columns} AS other_columns
FROM {saved} {join} {table} ON {same_row}
WHERE t.{first_key} IS NULL OR b.{first_key} IS NULL OR NOT ({same_organization} AND {same_columns})"""

_NEW = """
SELECT {keys}, 'new', false FROM {table}
WHERE {new_in_scope} AND NOT EXISTS (SELECT FROM saved AS b WHERE {same_row})"""


@dataclass(frozen=True)
class Compared:
    """What is compared with what."""

    journaled: Journaled
    relation: str
    backup_id: int
    by_backup_column: bool
    has_organization: bool
    """Whether the backup has the organization column; else no row had a value."""
    columns: tuple[str, ...]
    """The others, in both and of the same type."""
    some_tenants: bool
    has_journal: bool

    @property
    def table(self) -> TablePlan:
        """The table."""
        return self.journaled.table


def compare(compared: Compared) -> sql.Composed:
    """Build the comparison.

    One row: rows of the backup, equal, wrong organization, organization by the application, other columns
    different, missing, new, keys of a few wrong ones, keys of a few others with what they are, wrong ones by
    tenant (where the journal knows the row).
    """
    table = compared.table
    journaled = compared.journaled
    return sql.SQL(_COMPARE).format(
        tenant_type=type_name(table.tenant_column),
        backup=sql.Identifier("tenant_migration", compared.relation),
        of_backup=_of_backup(compared),
        differing=_differing(compared),
        written=_written(compared),
        key=journaled.entry_key(),
        is_written=sql.SQL("w.tenant_number IS NOT NULL" if compared.has_journal else "true"),
        claimed=_claimed(journaled),
        row_key=journaled.row_key(),
        same_written=journaled.same_key("w", as_entry=True),
        in_scope=_in_scope(compared, "b"),
        most=sql.Literal(EXAMPLES_MOST),
    )


def _differing(compared: Compared) -> sql.Composed:
    """Build the rows that are not the same in both, with their key as an entry of the journal has it.

    Whole tables are joined once, in full. Of some tenants, rows of the backup are looked up whatever tenant
    they have now, and rows of the table that the backup has not are new.
    """
    table = compared.table
    first_key = identifier(table.key_columns[0].name)
    organization = identifier(table.organization_column)
    saved_organization = (
        sql.SQL("b.{}").format(organization) if compared.has_organization else sql.SQL("NULL::uuid").format()
    )
    rows = compared.journaled.rows + sql.SQL(" AS t")
    same_row = _same_row(table)
    of_scope = sql.SQL("(SELECT b.* FROM saved AS b WHERE {}) AS b").format(_in_scope(compared, "b"))
    differing = sql.SQL(_DIFFERENCE).format(
        keys=_keys(compared, "coalesce(b.{column}, t.{column})"),
        first_key=first_key,
        same_organization=sql.SQL("t.{} IS NOT DISTINCT FROM {}").format(organization, saved_organization),
        same_columns=sql.SQL("ROW({})::record OPERATOR(pg_catalog.*=) ROW({})::record").format(
            _columns(compared.columns, "t"), _columns(compared.columns, "b")
        ),
        saved=of_scope if compared.some_tenants else sql.SQL("saved AS b"),
        join=sql.SQL("LEFT JOIN" if compared.some_tenants else "FULL JOIN"),
        table=rows,
        same_row=same_row,
    )
    if not compared.some_tenants:
        return differing
    new = sql.SQL(_NEW).format(
        keys=_keys(compared, "t.{column}"),
        table=rows,
        new_in_scope=_in_scope(compared, "t"),
        same_row=same_row,
    )
    return sql.SQL("{} UNION ALL {}").format(differing, new)


def _keys(compared: Compared, template: LiteralString) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(sql.SQL(template).format(column=identifier(column.name)), name)
        for column, name in zip(compared.table.key_columns, compared.journaled.names, strict=True)
    )


def _of_backup(compared: Compared) -> sql.Composable:
    if not compared.by_backup_column:
        return sql.SQL("true")
    return sql.SQL("b.{} = {}").format(sql.Identifier(BACKUP_COLUMN), sql.Literal(compared.backup_id))


def _in_scope(compared: Compared, alias: str) -> sql.Composable:
    if not compared.some_tenants:
        return sql.SQL("true")
    key = compared.table.tenant_column
    return sql.SQL("{}.{} {} ANY (ARRAY(SELECT key FROM keys))").format(
        sql.Identifier(alias), identifier(key.name), sql.SQL(key.equality.replace("%", "%%"))
    )


def _columns(names: Sequence[str], alias: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}.{}").format(sql.Identifier(alias), identifier(name)) for name in names
    )


def _same_row(table: TablePlan) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{name} {equals} b.{name}").format(
            name=identifier(column.name), equals=sql.SQL(column.equality.replace("%", "%%"))
        )
        for column in table.key_columns
    )


def _claimed(journaled: Journaled) -> sql.Composable:
    if not journaled.has_claims:
        return sql.SQL("false")
    return sql.SQL("EXISTS (SELECT FROM {} AS c WHERE {})").format(
        claims_name(journaled.table_id), journaled.same_key("c", as_entry=True)
    )


def _written(compared: Compared) -> sql.Composable:
    """Build the keys that we ever wrote; without a journal every row counts as written."""
    names = compared.journaled.names
    if not compared.has_journal:
        keys = sql.SQL(", ").join(sql.SQL("e.{}").format(name) for name in names)
        return sql.SQL("SELECT {}, NULL::int4 AS tenant_number FROM differing AS e WHERE false").format(keys)
    return sql.SQL(
        "SELECT {of_entry}, max(e.tenant_number) AS tenant_number FROM {journal} AS j"
        " CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}) AS e (tenant_number, {names})"
        " WHERE j.phase <> 'kept' AND EXISTS (SELECT FROM differing WHERE verdict = 'organization')"
        " GROUP BY {of_entry}"
    ).format(
        of_entry=sql.SQL(", ").join(sql.SQL("e.{}").format(name) for name in names),
        journal=journal_name(compared.journaled.table_id),
        arrays=sql.SQL(", ").join(sql.SQL("j.{}").format(name) for name in names),
        names=sql.SQL(", ").join(names),
    )


KEYS_OF_TENANTS = """
SELECT tenant_migration.canonical_key(tenant_id, {key_type}) FROM tenant_migration.tenants
WHERE tenant_number = ANY (%(numbers)s::int4[])"""


def keys_of_tenants(table: TablePlan) -> sql.Composed:
    """Build the canonical keys of tenants in the table's own type."""
    return sql.SQL(KEYS_OF_TENANTS).format(key_type=text(table.tenant_column.quoted_type))
