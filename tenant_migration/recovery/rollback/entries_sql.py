"""The open entries of some batches as a common table expression: what every statement of a step begins with.

    entry (batch_id, written_in, tenant_number, key_1, ..., previous_value, written)

`written` is what we wrote (the run's organization of the tenant), `previous_value` what was there before,
`written_in` the number of the batch that wrote it. Parameters: `batch_ids`, and `tenant_numbers` when some
tenants only are rolled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from tenant_migration.backfill.claims_sql import claims_name
from tenant_migration.backfill.journal_sql import is_open, journal_name, key_columns, written_in
from tenant_migration.backfill.target import of_row, text
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import TablePlan
from tenant_migration.recovery.results import PreviousValues

# Arrays are unfolded in a SELECT list: in FROM, PostgreSQL stores the rows first, which takes twice the time.
_ENTRIES = """
entry AS MATERIALIZED (
    SELECT j.batch_id, {written_in} AS written_in, e.tenant_number, {keys},
           {previous_value} AS previous_value, {written}{more}
    FROM {journal} AS j
    CROSS JOIN LATERAL (
        SELECT unnest(j.tenant_numbers) AS tenant_number, {arrays},
               unnest(j.previous_values) AS previous_value) AS e{source}
    WHERE j.batch_id = ANY (%(batch_ids)s::int8[]) AND {open}{in_scope})"""

_WRITTEN = """(
               SELECT w.organization_id FROM tenant_migration.run_tenants AS w
               WHERE w.run_id = j.run_id AND w.key_type = {key_type} AND w.tenant_number = e.tenant_number
           ) AS written"""
"""Looked up for each entry: as a join it was planned as entries with tenants, each with each, since nobody
knows how long an array is."""

_IS_WRITTEN = """
      AND ((e.run_id, e.tenant_number, {organization}) IN (
               SELECT w.run_id, w.tenant_number, w.organization_id FROM tenant_migration.run_tenants AS w
               WHERE w.key_type = {key_type} AND w.run_id = ANY (ARRAY(
                   SELECT DISTINCT j.run_id FROM {journal} AS j
                   WHERE j.batch_id = ANY (%(batch_ids)s::int8[]))))) IS TRUE"""
"""The tenants are hashed once for each statement, which halves the time of an entry. IS TRUE keeps it from
becoming a join."""

_HASHED_TENANTS_MOST = 10_000
"""Hashing more takes longer than looking one up for each entry of a step."""

_SOURCE = """
    LEFT JOIN {relation} AS b ON {same_key}{of_backup}"""


_FEW_TENANTS = 8
"""An array is searched for that many tenants in the time in which it is unfolded once."""

_OF_FEW = """
    SELECT number AS tenant_number, cardinality(array_positions({batch}.tenant_numbers, number)) AS entries
    FROM unnest(%(tenant_numbers)s::int4[]) AS number
    WHERE number <> ALL ({batch}.closed_tenants) AND number = ANY ({batch}.tenant_numbers)"""

_OF_MANY = """
    SELECT number AS tenant_number, count(*)::int4 AS entries
    FROM unnest({batch}.tenant_numbers) AS number
    WHERE number = ANY (%(tenant_numbers)s::int4[]) AND number <> ALL ({batch}.closed_tenants)
    GROUP BY number"""


def own_entries(batch: str, tenants: int) -> sql.Composed:
    """Build `SELECT tenant_number, entries`: how many open entries a batch has of each tenant in scope.

    Args:
        batch: alias of the journal's row.
        tenants: how many are in scope.
    """
    few = tenants <= _FEW_TENANTS
    return sql.SQL(_OF_FEW if few else _OF_MANY).format(batch=sql.Identifier(batch))


@dataclass(frozen=True)
class Entries:
    """How the entries of one table are read."""

    table: TablePlan
    table_id: int
    tenants: int | None
    """How many tenants are in scope, parameter `tenant_numbers`; None: all."""
    previous: PreviousValues | None = None
    tenants_of_run: int = 0
    """How many tenants the rollback is about."""

    @property
    def key_names(self) -> list[sql.Identifier]:
        """The key's columns in `entry`."""
        return [sql.Identifier(column.name) for column in key_columns(self.table)]

    @property
    def relation(self) -> sql.Composed:
        """The table as a target: a partitioned one through its root, since rows may have moved."""
        only = sql.SQL("" if self.table.partitioned else "ONLY ")
        return only + identifier(self.table.schema_name, self.table.table_name)

    @property
    def organization(self) -> sql.Composed:
        """The row's organization."""
        return of_row(self.table.organization_column)

    def same_row(self) -> sql.Composed:
        """Build the condition that row `t` is the one that `e` names, by the key's own equality."""
        return self._key_condition([of_row(column.name) for column in self.table.key_columns])

    def same_claim(self) -> sql.Composed:
        """Build the condition that claim `c` is of the row that `e` names, and newer than our write."""
        keys = self._key_condition([sql.SQL("c.{}").format(name) for name in self.key_names])
        return keys + sql.SQL(" AND c.after_batch >= e.written_in")

    def _key_condition(self, others: Sequence[sql.Composable]) -> sql.Composed:
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} e.{}").format(other, sql.SQL(column.equality.replace("%", "%%")), name)
            for other, column, name in zip(others, self.table.key_columns, self.key_names, strict=True)
        )

    def row_key(self) -> sql.Composed:
        """Build the entry's key as jsonb of texts: what lists and messages show."""
        pairs = [
            sql.SQL("{}::text, e.{}::text").format(text(column.name), name)
            for column, name in zip(self.table.key_columns, self.key_names, strict=False)
        ] or [sql.SQL("'ctid'::text, e.row_ctid::text").format()]
        return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))

    def claims(self) -> sql.Identifier:
        """Return the quoted name of the table's claims."""
        return claims_name(self.table_id)

    def is_written(self) -> sql.Composed:
        """Build ` AND ...`: row `t` has the organization that we wrote. For `expression(of_run=True)`."""
        if self.tenants_of_run > _HASHED_TENANTS_MOST:
            return sql.SQL(" AND {} IS NOT DISTINCT FROM e.written").format(self.organization)
        return sql.SQL(_IS_WRITTEN).format(
            organization=self.organization, key_type=self._key_type, journal=journal_name(self.table_id)
        )

    @property
    def _key_type(self) -> sql.Composable:
        return text(self.table.tenant_column.quoted_type)

    def expression(self, *, more: sql.Composable | None = None, of_run: bool = False) -> sql.Composed:
        """Build `entry AS MATERIALIZED (...)`.

        Args:
            more: further columns, of the batch `j`, each with a comma before it.
            of_run: with what `is_written` needs, which may be `run_id` in place of `written`.
        """
        names = self.key_names
        return sql.SQL(_ENTRIES).format(
            written_in=written_in(),
            keys=sql.SQL(", ").join(sql.SQL("e.{}").format(name) for name in names),
            previous_value=self._previous_value(),
            more=more or sql.SQL(""),
            journal=journal_name(self.table_id),
            arrays=sql.SQL(", ").join(sql.SQL("unnest(j.{0}) AS {0}").format(name) for name in names),
            written=sql.SQL("j.run_id")
            if of_run and self.tenants_of_run <= _HASHED_TENANTS_MOST
            else sql.SQL(_WRITTEN).format(key_type=self._key_type),
            source=self._source(),
            open=is_open(sql.SQL("e.tenant_number")),
            in_scope=sql.SQL(
                "" if self.tenants is None else " AND e.tenant_number = ANY (%(tenant_numbers)s::int4[])"
            ),
        )

    def _previous_value(self) -> sql.Composable:
        if self.previous is None:
            return sql.SQL("e.previous_value")
        # A row that the backup does not have came after it, and one that we wrote before it holds our value
        # there: what the journal says of them holds.
        value: sql.Composable = sql.SQL("NULL")
        if self.previous.has_organization:
            value = sql.SQL("b.{}").format(identifier(self.table.organization_column))
        return sql.SQL(
            "CASE WHEN b.{key} IS NULL OR {written_in} <= {batch} THEN e.previous_value ELSE {value} END"
        ).format(
            key=identifier(self.table.key_columns[0].name),
            written_in=written_in(),
            batch=sql.Literal(self.previous.journal_batch_id),
            value=value,
        )

    def _source(self) -> sql.Composable:
        if self.previous is None:
            return sql.SQL("")
        same_key = self._key_condition(
            [sql.SQL("b.{}").format(identifier(column.name)) for column in self.table.key_columns]
        )
        of_backup = (
            sql.SQL(" AND b.tenant_migration_backup_id = {}").format(sql.Literal(self.previous.backup_id))
            if self.previous.by_backup_column
            else sql.SQL("")
        )
        return sql.SQL(_SOURCE).format(
            relation=sql.Identifier("tenant_migration", self.previous.relation),
            same_key=same_key,
            of_backup=of_backup,
        )
