"""SQL that compares a table with its backup, row by row and column by column. Pure.

Parameters: `keys` (text array: the tenants' canonical keys; unused for whole tables), `table_id`, `since`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from tenant_migration.backfill.claims_sql import claims_name
from tenant_migration.backfill.journal_sql import journal_name
from tenant_migration.backfill.target import text, type_name
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import TablePlan
from tenant_migration.recovery.backups.columns import BACKUP_COLUMN
from tenant_migration.recovery.verification_sql import EXAMPLES_MOST, Journaled

# `*=` compares the bytes of two records, whatever their types can do: json and point too, 1.0 is not 1.00.
_COMPARE = """
WITH keys AS MATERIALIZED (SELECT key::{tenant_type} AS key FROM unnest(%(keys)s::text[]) AS key),
saved AS NOT MATERIALIZED (SELECT b.* FROM {backup} AS b WHERE {of_backup}),
listed AS MATERIALIZED (
    SELECT DISTINCT key.row_key FROM tenant_migration.left_alone AS l
    CROSS JOIN LATERAL unnest(l.row_keys) AS key (row_key)
    WHERE l.table_id = %(table_id)s AND l.recorded_at >= %(since)s),
written AS MATERIALIZED ({written}),
judged AS (
    SELECT {key} AS key, t.{first_key} IS NULL AS is_missing,
           t.{organization} IS NOT DISTINCT FROM {saved_organization} AS same_organization,
           ROW({columns})::record OPERATOR(pg_catalog.*=) ROW({saved_columns})::record AS same_columns,
           listed.row_key IS NOT NULL OR {claimed} AS is_listed,
           {is_written} AS is_written, {tenant_number} AS tenant_number
    FROM saved AS b LEFT JOIN {table} AS t ON {same_row}
    LEFT JOIN listed ON listed.row_key = {row_key}{join_written}
    WHERE {in_scope}),
verdict AS MATERIALIZED (
    SELECT CASE WHEN is_missing OR NOT same_organization OR NOT same_columns THEN key END AS key,
           CASE WHEN is_missing THEN 'missing'
                WHEN NOT same_organization AND NOT is_listed AND is_written THEN 'wrong'
                WHEN NOT same_organization OR NOT same_columns THEN 'different'
                ELSE 'equal' END AS verdict,
           NOT is_missing AND NOT same_organization AND (is_listed OR NOT is_written) AS by_application,
           NOT is_missing AND NOT same_columns AS other_columns, tenant_number
    FROM judged
    UNION ALL
    SELECT {new_key}, 'new', false, false, NULL FROM {table} AS t
    WHERE {new_in_scope} AND NOT EXISTS (SELECT FROM saved AS b WHERE {same_row})),
totals AS (
    SELECT count(*) FILTER (WHERE verdict <> 'new'), count(*) FILTER (WHERE verdict = 'equal'),
           count(*) FILTER (WHERE verdict = 'wrong'), count(*) FILTER (WHERE by_application),
           count(*) FILTER (WHERE other_columns), count(*) FILTER (WHERE verdict = 'missing'),
           count(*) FILTER (WHERE verdict = 'new')
    FROM verdict)
SELECT totals.*,
       ARRAY(SELECT key FROM verdict WHERE verdict = 'wrong' ORDER BY key LIMIT {most}),
       ARRAY(SELECT key || ' (' || verdict || ')' FROM verdict
             WHERE verdict IN ('different', 'missing', 'new') ORDER BY verdict, key LIMIT {most}),
       (SELECT coalesce(jsonb_object_agg(tenant_id, wrong), '{{}}')
        FROM (SELECT n.tenant_id, count(*) AS wrong
              FROM verdict AS v JOIN tenant_migration.tenants AS n USING (tenant_number)
              WHERE v.verdict = 'wrong' GROUP BY 1) AS by_tenant)
FROM totals"""


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
        written=_written(compared),
        key=_key_text(table, "b"),
        new_key=_key_text(table, "t"),
        first_key=identifier(table.key_columns[0].name),
        organization=identifier(table.organization_column),
        saved_organization=sql.SQL("b.{}").format(identifier(table.organization_column))
        if compared.has_organization
        else sql.SQL("NULL::uuid"),
        columns=_columns(compared.columns, "t"),
        saved_columns=_columns(compared.columns, "b"),
        claimed=_claimed(journaled),
        is_written=sql.SQL("w.key_1 IS NOT NULL" if compared.has_journal else "true"),
        tenant_number=sql.SQL("w.tenant_number" if compared.has_journal else "NULL::int4"),
        join_written=_join_written(compared),
        table=journaled.rows,
        same_row=_same_row(table),
        row_key=journaled.row_key("b"),
        in_scope=_in_scope(compared, "b"),
        new_in_scope=_in_scope(compared, "t"),
        most=sql.Literal(EXAMPLES_MOST),
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


def _key_text(table: TablePlan, alias: str) -> sql.Composed:
    return sql.SQL("concat_ws(', ', {})").format(
        sql.SQL(", ").join(
            sql.SQL("{}.{}::text").format(sql.Identifier(alias), identifier(column.name))
            for column in table.key_columns
        )
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
    same_claim = sql.SQL(" AND ").join(
        sql.SQL("c.{} {} b.{}").format(
            name, sql.SQL(column.equality.replace("%", "%%")), identifier(column.name)
        )
        for column, name in zip(journaled.table.key_columns, journaled.names, strict=True)
    )
    return sql.SQL("EXISTS (SELECT FROM {} AS c WHERE {})").format(
        claims_name(journaled.table_id), same_claim
    )


def _written(compared: Compared) -> sql.Composable:
    """Build the keys that we ever wrote; without a journal every row counts as written."""
    names = compared.journaled.names
    if not compared.has_journal:
        return sql.SQL("SELECT true AS nothing")
    return sql.SQL(
        "SELECT {of_entry}, max(e.tenant_number) AS tenant_number FROM {journal} AS j"
        " CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}) AS e (tenant_number, {names})"
        " WHERE j.phase <> 'kept' GROUP BY {of_entry}"
    ).format(
        of_entry=sql.SQL(", ").join(sql.SQL("e.{}").format(name) for name in names),
        journal=journal_name(compared.journaled.table_id),
        arrays=sql.SQL(", ").join(sql.SQL("j.{}").format(name) for name in names),
        names=sql.SQL(", ").join(names),
    )


def _join_written(compared: Compared) -> sql.Composable:
    if not compared.has_journal:
        return sql.SQL("")
    pairs = zip(compared.table.key_columns, compared.journaled.names, strict=True)
    return sql.SQL(" LEFT JOIN written AS w ON {}").format(
        sql.SQL(" AND ").join(
            sql.SQL("w.{} {} b.{}").format(
                name, sql.SQL(column.equality.replace("%", "%%")), identifier(column.name)
            )
            for column, name in pairs
        )
    )


KEYS_OF_TENANTS = """
SELECT tenant_migration.canonical_key(tenant_id, {key_type}) FROM tenant_migration.tenants
WHERE tenant_number = ANY (%(numbers)s::int4[])"""


def keys_of_tenants(table: TablePlan) -> sql.Composed:
    """Build the canonical keys of tenants in the table's own type."""
    return sql.SQL(KEYS_OF_TENANTS).format(key_type=text(table.tenant_column.quoted_type))
