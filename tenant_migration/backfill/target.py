"""One leaf of one table as SQL sees it: names quoted, keys typed. What every builder needs, resolved once.

All of it is for queries that are executed with parameters (see `database.names`); DDL quotes with
psycopg.sql.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from tenant_migration.catalog.model import TableName
from tenant_migration.catalog.row_hash import HashPart
from tenant_migration.database.names import identifier
from tenant_migration.planning.model import ColumnRef, TablePlan

_NOT_SET_ASIDE = """ AND NOT EXISTS (
    SELECT FROM tenant_migration.quarantine AS q
    WHERE q.run_id = %(run_id)s AND q.table_id = %(table_id)s AND q.leaf = %(leaf)s::oid
      AND q.resolved_at IS NULL AND q.row_key = {})"""


def type_name(column: ColumnRef) -> sql.Identifier:
    """Return the type `"schema"."name"`, without a modifier: a cast to it never truncates."""
    return identifier(column.type_schema, column.type_name)


def text(value: str) -> sql.Literal:
    """Return a text for a query that is executed with parameters."""
    return sql.Literal(value.replace("%", "%%"))


def of_row(column: str) -> sql.Composed:
    """Return `t."column"`: every builder calls the managed table's row `t`."""
    return sql.SQL("t.{}").format(identifier(column))


@dataclass(frozen=True)
class Target:
    """A leaf to be filled."""

    table: TablePlan
    table_id: int
    leaf_oid: int
    leaf_name: TableName
    overwrites: bool
    """Whether values that differ from the mapping are written too, not only missing ones."""
    returns_old: bool
    """PostgreSQL 18 and later: `RETURNING old.column`."""
    hashed_columns: tuple[HashPart, ...] = ()
    """The preserved columns as they go into the fingerprint; empty: none is taken."""

    @property
    def leaf(self) -> sql.Identifier:
        """The leaf's quoted name."""
        return identifier(self.leaf_name.schema, self.leaf_name.name)

    @property
    def tenant(self) -> sql.Composed:
        """The row's tenant key."""
        return of_row(self.table.tenant_column.name)

    @property
    def same_tenant(self) -> sql.Composed:
        """The condition that a `map` row is the row's tenant, by the type's own equality."""
        return sql.SQL("{} {} map.key").format(self.tenant, self.equals)

    @property
    def equals(self) -> sql.SQL:
        """The tenant key's own `=`."""
        return sql.SQL(self.table.tenant_column.equality.replace("%", "%%"))

    @property
    def organization(self) -> sql.Composed:
        """The row's organization."""
        return of_row(self.table.organization_column)

    @property
    def needs_writing(self) -> sql.Composed:
        """The condition that the row (with its `map` row) is still to be written."""
        if self.overwrites:
            return sql.SQL("{} IS DISTINCT FROM map.organization_id").format(self.organization)
        return sql.SQL("{} IS NULL").format(self.organization)

    @property
    def exclusion(self) -> sql.Composed:
        """The further condition that this run has not set the row aside."""
        return sql.SQL(_NOT_SET_ASIDE).format(self.row_key)

    @property
    def row_key(self) -> sql.Composed:
        """The row's identity as jsonb of texts: what quarantine and messages show."""
        pairs = [
            sql.SQL("{}::text, {}::text").format(text(column.name), of_row(column.name))
            for column in self.table.key_columns
        ] or [sql.SQL("'ctid'::text, t.ctid::text").format()]
        return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))
