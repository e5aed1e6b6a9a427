"""SQL of the verification of a rollback by the journal. Builders are pure; all are queries with parameters.

Parameters: `numbers` (of the tenants), `run_id`, `table_id`, `first_batch` (the oldest batch that was open).
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from tenant_migration.backfill.claims_sql import claims_name
from tenant_migration.backfill.journal_sql import is_open, journal_name, key_columns, written_in
from tenant_migration.backfill.target import text
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import TablePlan
from tenant_migration.recovery.backups.columns import BACKUP_COLUMN
from tenant_migration.recovery.results import PreviousValues

EXAMPLES_MOST = 10

FIRST_OPEN = """
SELECT min(j.batch_id) FROM {journal} AS j
WHERE j.phase <> 'kept' AND j.closed_at IS NULL
  AND (%(numbers)s::int4[] IS NULL OR (j.tenant_numbers && %(numbers)s::int4[]
                                       AND NOT j.closed_tenants @> %(numbers)s::int4[]))"""

# A batch that is closed has no open entry: only the others are looked into, unless tenants are to be counted.
_LEFT_OPEN = """
WITH entry AS (
    SELECT e.tenant_number, {key} AS key, {open} AS is_open
    FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}) AS e (tenant_number, {names})
    WHERE j.phase <> 'kept' AND j.tenant_numbers && %(numbers)s::int4[]
      AND e.tenant_number = ANY (%(numbers)s::int4[]){not_closed}),
left_open AS MATERIALIZED (SELECT tenant_number, key FROM entry WHERE is_open)
SELECT {entries},
       (SELECT coalesce(jsonb_object_agg(tenant_id, rows), '{{}}')
        FROM (SELECT n.tenant_id, count(*) AS rows
              FROM left_open JOIN tenant_migration.tenants AS n USING (tenant_number) GROUP BY 1) AS counts),
       ARRAY(SELECT key FROM left_open ORDER BY key LIMIT {most})"""
_ENTRIES_OF_ALL = "(SELECT coalesce(sum(j.row_count), 0) FROM {journal} AS j WHERE j.phase <> 'kept')"
_ENTRIES_OF_SOME = "(SELECT count(*) FROM entry)"

ACCOUNTED = """
SELECT t.rows_restored, t.rows_changed, t.rows_deleted, coalesce(l.changed, 0), coalesce(l.deleted, 0)
FROM tenant_migration.table_runs AS t
CROSS JOIN LATERAL (
    SELECT sum(cardinality(tenant_numbers)) FILTER (WHERE reason = 'changed') AS changed,
           sum(cardinality(tenant_numbers)) FILTER (WHERE reason = 'deleted') AS deleted
    FROM tenant_migration.left_alone AS l WHERE l.run_id = t.run_id AND l.table_id = t.table_id) AS l
WHERE t.run_id = %(run_id)s AND t.table_id = %(table_id)s"""

# Of several entries of one key the newest is what the row was brought back from; the others found the row
# written by the application, and are listed as changed. Only rows that are not as before are looked up in
# list and claims.
_RESTORED = """
WITH entry AS (
    SELECT e.*, w.organization_id AS written, {written_in} AS written_in
    FROM {journal} AS j
    CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}, j.previous_values)
        AS e (tenant_number, {names}, journaled_value)
    JOIN tenant_migration.run_tenants AS w
        ON w.run_id = j.run_id AND w.key_type = {key_type} AND w.tenant_number = e.tenant_number
    WHERE j.phase <> 'kept' AND j.batch_id >= %(first_batch)s AND j.tenant_numbers && %(numbers)s::int4[]
      AND e.tenant_number = ANY (%(numbers)s::int4[]) AND NOT ({open})),
judged AS MATERIALIZED (
    SELECT CASE WHEN t.{first_key} IS NULL THEN 'gone'
                WHEN t.{column} IS NOT DISTINCT FROM {previous} THEN 'as before' ELSE 'other' END AS verdict,
           e.tenant_number, e.written_in, t.{column} = e.written AS is_ours, {keys}
    FROM entry AS e LEFT JOIN {table} AS t ON {same_row}{source}),
listed AS MATERIALIZED (
    SELECT DISTINCT key.row_key, {written_in} AS written_in
    FROM tenant_migration.left_alone AS l JOIN {journal} AS j ON j.batch_id = l.batch_id
    CROSS JOIN LATERAL unnest(l.row_keys) AS key (row_key)
    WHERE l.run_id = %(run_id)s AND l.table_id = %(table_id)s),
wrong AS MATERIALIZED (
    SELECT e.tenant_number, {key} AS key FROM judged AS e
    WHERE e.verdict = 'other' AND {surely_wrong} AND NOT {claimed}
      AND NOT EXISTS (SELECT FROM listed
                      WHERE listed.written_in = e.written_in AND listed.row_key = {row_key}))
SELECT totals.looked_at, (SELECT count(*) FROM wrong),
       ARRAY(SELECT key FROM wrong ORDER BY key LIMIT {most}),
       (SELECT coalesce(jsonb_object_agg(tenant_id, rows), '{{}}')
        FROM (SELECT n.tenant_id, count(*) AS rows
              FROM wrong JOIN tenant_migration.tenants AS n USING (tenant_number) GROUP BY 1) AS by_tenant),
       totals.as_before, totals.changed, totals.gone
FROM (SELECT count(*) AS looked_at, count(*) FILTER (WHERE verdict = 'as before') AS as_before,
             count(*) FILTER (WHERE verdict = 'other') AS changed,
             count(*) FILTER (WHERE verdict = 'gone') AS gone
      FROM judged) AS totals"""


@dataclass(frozen=True)
class Journaled:
    """A table with its journal, as these queries see it."""

    table: TablePlan
    table_id: int
    has_claims: bool
    """Whether the application's own writes of the organization are recorded."""
    previous: PreviousValues | None
    """The backup whose values were brought back; None: the journal's."""

    @property
    def names(self) -> list[sql.Identifier]:
        """The key's columns of an entry."""
        return [sql.Identifier(column.name) for column in key_columns(self.table)]

    @property
    def rows(self) -> sql.Composed:
        """The table's rows as a FROM item."""
        only = sql.SQL("" if self.table.partitioned else "ONLY ")
        return only + identifier(self.table.schema_name, self.table.table_name)

    def entry_key(self) -> sql.Composed:
        """The entry's key as a text for people."""
        return sql.SQL("concat_ws(', ', {})").format(
            sql.SQL(", ").join(sql.SQL("e.{}::text").format(name) for name in self.names)
        )

    def row_key(self, alias: str = "e") -> sql.Composed:
        """The key as `left_alone` spells it."""
        values: list[sql.Composed]
        if alias == "e":
            values = [sql.SQL("e.{}").format(name) for name in self.names]
        else:
            values = [
                sql.SQL("{}.{}").format(sql.Identifier(alias), identifier(column.name))
                for column in self.table.key_columns
            ]
        pairs = [
            sql.SQL("{}::text, {}::text").format(text(column.name), value)
            for column, value in zip(self.table.key_columns, values, strict=True)
        ]
        return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))

    def same_key(self, alias: str, *, as_entry: bool = False) -> sql.Composed:
        """The condition that a row, or a claim (`as_entry`), has the key of entry `e`."""
        return sql.SQL(" AND ").join(
            sql.SQL("{}.{} {} e.{}").format(
                sql.Identifier(alias),
                name if as_entry else identifier(column.name),
                sql.SQL(column.equality.replace("%", "%%")),
                name,
            )
            for column, name in zip(self.table.key_columns, self.names, strict=True)
        )


def first_open(table_id: int) -> sql.Composed:
    """Build the oldest batch with something open."""
    return sql.SQL(FIRST_OPEN).format(journal=journal_name(table_id))


def left_open(journaled: Journaled, *, whole_table: bool) -> sql.Composed:
    """Build one row: entries, open ones by tenant, keys of a few open ones."""
    entries = sql.SQL(_ENTRIES_OF_ALL if whole_table else _ENTRIES_OF_SOME)
    return sql.SQL(_LEFT_OPEN).format(
        open=is_open(sql.SQL("e.tenant_number")),
        key=journaled.entry_key(),
        most=sql.Literal(EXAMPLES_MOST),
        journal=journal_name(journaled.table_id),
        arrays=_arrays(journaled),
        names=sql.SQL(", ").join(journaled.names),
        not_closed=sql.SQL(" AND j.closed_at IS NULL" if whole_table else ""),
        entries=entries.format(journal=journal_name(journaled.table_id)),
    )


def restored(journaled: Journaled) -> sql.Composed:
    """Build what became of the rows that were taken back; for a table with a key.

    One row: entries looked at, wrong ones, a few of them, by tenant, as before, changed since, gone since.
    """
    claimed: sql.Composable = sql.SQL("false")
    if journaled.has_claims:
        claimed = sql.SQL("EXISTS (SELECT FROM {} AS c WHERE {} AND c.after_batch >= e.written_in)").format(
            claims_name(journaled.table_id), journaled.same_key("c", as_entry=True)
        )
    return sql.SQL(_RESTORED).format(
        names=sql.SQL(", ").join(journaled.names),
        written_in=written_in(),
        journal=journal_name(journaled.table_id),
        arrays=_arrays(journaled),
        key_type=text(journaled.table.tenant_column.quoted_type),
        open=is_open(sql.SQL("e.tenant_number")),
        key=journaled.entry_key(),
        keys=sql.SQL(", ").join(sql.SQL("e.{}").format(name) for name in journaled.names),
        column=identifier(journaled.table.organization_column),
        first_key=identifier(journaled.table.key_columns[0].name),
        previous=_previous(journaled),
        claimed=claimed,
        table=journaled.rows,
        same_row=journaled.same_key("t"),
        source=_source(journaled),
        row_key=journaled.row_key(),
        # Without claims a value that is neither ours nor the earlier one may be the application's.
        surely_wrong=sql.SQL("true" if journaled.has_claims else "e.is_ours"),
        most=sql.Literal(EXAMPLES_MOST),
    )


def _arrays(journaled: Journaled) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("j.{}").format(name) for name in journaled.names)


def _previous(journaled: Journaled) -> sql.Composable:
    previous = journaled.previous
    if previous is None:
        return sql.SQL("e.journaled_value")
    value = (
        sql.SQL("b.{}").format(identifier(journaled.table.organization_column))
        if previous.has_organization
        else sql.SQL("NULL::uuid").format()
    )
    return sql.SQL(
        "CASE WHEN b.{key} IS NULL OR e.written_in <= {position} THEN e.journaled_value ELSE {value} END"
    ).format(
        key=identifier(journaled.table.key_columns[0].name),
        position=sql.Literal(previous.journal_batch_id),
        value=value,
    )


def _source(journaled: Journaled) -> sql.Composable:
    previous = journaled.previous
    if previous is None:
        return sql.SQL("")
    of_backup = (
        sql.SQL(" AND b.{} = {}").format(sql.Identifier(BACKUP_COLUMN), sql.Literal(previous.backup_id))
        if previous.by_backup_column
        else sql.SQL("")
    )
    return sql.SQL(" LEFT JOIN {} AS b ON {}{}").format(
        sql.Identifier("tenant_migration", previous.relation), journaled.same_key("b"), of_backup
    )
