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

_LEFT_OPEN = """
SELECT n.tenant_id, count(*), count(*) FILTER (WHERE {open}),
       coalesce((array_agg({key} ORDER BY {key}) FILTER (WHERE {open}))[:{most}], '{{}}')
FROM {journal} AS j CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}) AS e (tenant_number, {names})
JOIN tenant_migration.tenants AS n USING (tenant_number)
WHERE j.phase <> 'kept' AND j.tenant_numbers && %(numbers)s::int4[]
  AND e.tenant_number = ANY (%(numbers)s::int4[])
GROUP BY n.tenant_id"""

ACCOUNTED = """
SELECT t.rows_restored, t.rows_changed, t.rows_deleted, coalesce(l.changed, 0), coalesce(l.deleted, 0)
FROM tenant_migration.table_runs AS t
CROSS JOIN LATERAL (
    SELECT sum(cardinality(tenant_numbers)) FILTER (WHERE reason = 'changed') AS changed,
           sum(cardinality(tenant_numbers)) FILTER (WHERE reason = 'deleted') AS deleted
    FROM tenant_migration.left_alone AS l WHERE l.run_id = t.run_id AND l.table_id = t.table_id) AS l
WHERE t.run_id = %(run_id)s AND t.table_id = %(table_id)s"""

# The newest entry of a key is what the row was brought back from; an older one of the same key found the row
# written by the application, and is listed as changed.
_RESTORED = """
WITH entry AS MATERIALIZED (
    SELECT DISTINCT ON ({names}) e.*, w.organization_id AS written, {written_in} AS written_in
    FROM {journal} AS j
    CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}, j.previous_values)
        AS e (tenant_number, {names}, journaled_value)
    JOIN tenant_migration.run_tenants AS w
        ON w.run_id = j.run_id AND w.key_type = {key_type} AND w.tenant_number = e.tenant_number
    WHERE j.phase <> 'kept' AND j.batch_id >= %(first_batch)s AND j.tenant_numbers && %(numbers)s::int4[]
      AND e.tenant_number = ANY (%(numbers)s::int4[]) AND NOT ({open})
    ORDER BY {names}, {written_in} DESC, j.batch_id DESC),
listed AS MATERIALIZED (
    SELECT DISTINCT key.row_key FROM tenant_migration.left_alone AS l
    CROSS JOIN LATERAL unnest(l.row_keys) AS key (row_key)
    WHERE l.run_id = %(run_id)s AND l.table_id = %(table_id)s),
judged AS (
    SELECT e.tenant_number, {key} AS key, t.{column} AS found, e.written, t.{first_key} IS NULL AS is_gone,
           t.{column} IS NOT DISTINCT FROM {previous} AS is_restored,
           listed.row_key IS NOT NULL AS is_listed, {claimed} AS is_claimed
    FROM entry AS e LEFT JOIN {table} AS t ON {same_row}{source}
    LEFT JOIN listed ON listed.row_key = {row_key}),
wrong AS (
    SELECT n.tenant_id, key FROM judged JOIN tenant_migration.tenants AS n USING (tenant_number)
    WHERE NOT is_gone AND NOT is_restored AND NOT is_listed AND NOT is_claimed AND {surely_wrong})
SELECT totals.looked_at, (SELECT count(*) FROM wrong),
       ARRAY(SELECT key FROM wrong ORDER BY key LIMIT {most}),
       (SELECT coalesce(jsonb_object_agg(tenant_id, count), '{{}}')
        FROM (SELECT tenant_id, count(*) AS count FROM wrong GROUP BY 1) AS by_tenant),
       totals.as_before, totals.changed, totals.gone
FROM (SELECT count(*) AS looked_at, count(*) FILTER (WHERE is_restored AND NOT is_gone) AS as_before,
             count(*) FILTER (WHERE NOT is_restored AND NOT is_gone) AS changed,
             count(*) FILTER (WHERE is_gone) AS gone
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


def left_open(journaled: Journaled) -> sql.Composed:
    """Build, for each tenant, (entries, open ones, keys of a few open ones)."""
    return sql.SQL(_LEFT_OPEN).format(
        open=is_open(sql.SQL("e.tenant_number")),
        key=journaled.entry_key(),
        most=sql.Literal(EXAMPLES_MOST),
        journal=journal_name(journaled.table_id),
        arrays=_arrays(journaled),
        names=sql.SQL(", ").join(journaled.names),
    )


def restored(journaled: Journaled) -> sql.Composed:
    """Build what became of the rows that were taken back; for a table with a key.

    One row: keys looked at, wrong ones, a few of them, by tenant, as before, changed since, gone since.
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
        column=identifier(journaled.table.organization_column),
        first_key=identifier(journaled.table.key_columns[0].name),
        previous=_previous(journaled),
        claimed=claimed,
        table=journaled.rows,
        same_row=journaled.same_key("t"),
        source=_source(journaled),
        row_key=journaled.row_key(),
        # Without claims a value that is neither ours nor the earlier one may be the application's.
        surely_wrong=sql.SQL("true" if journaled.has_claims else "found = written"),
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
