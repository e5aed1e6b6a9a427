"""Builds index and foreign key of the organization column once no row lacks a value."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.bulk import leaves_of
from tenant_migration.backfill.structure.created_objects import confirm_indexes
from tenant_migration.backfill.structure.foreign_key import ensure_foreign_key, foreign_key_exists
from tenant_migration.backfill.structure.index import ensure_index, index_exists, is_being_built
from tenant_migration.backfill.target import of_row, type_name
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import transaction
from tenant_migration.database.names import identifier

_ANY_LEFT = """
WITH keys AS MATERIALIZED (
    SELECT tenant_migration.canonical_key(tenant_id, %(key_type)s) AS key FROM {mappings}),
map AS MATERIALIZED (SELECT key::{type} AS key FROM keys WHERE key IS NOT NULL)
SELECT EXISTS (
    SELECT FROM ONLY {leaf} AS t JOIN map ON {tenant} {equals} map.key WHERE {organization} IS NULL)"""


def build_structure(work: Work, *, rows_left: int = 0) -> None:
    """Build what is missing, or note what waits and for what.

    Args:
        work: the table's run.
        rows_left: rows of the run's scope without an organization, quarantined ones included.
    """
    connection = work.session.connection
    confirm_indexes(connection, work.table_id)
    index_waits = not index_exists(connection, work.table)
    key_waits = not foreign_key_exists(connection, work.table, work.plan.organizations)
    if not index_waits and not key_waits:
        return
    work.tally.waiting.clear()
    reason = _why_it_waits(work, rows_left)
    if reason:
        work.tally.waiting += [f"index on {work.table.organization_column}: {reason}"] if index_waits else []
        work.tally.waiting += (
            [f"foreign key of {work.table.organization_column}: {reason}"] if key_waits else []
        )
        return
    if index_waits:
        ensure_index(work)
    if key_waits:
        ensure_foreign_key(work)


def _why_it_waits(work: Work, rows_left: int) -> str | None:
    """Say what the structure waits for, or None when it can be built now."""
    if work.table.settings.build_index == "finalize":
        return "build_index of this table is finalize, so no migration builds it"
    if work.table.settings.build_index == "early":
        return None
    if rows_left:
        return f"{rows_left:,} rows are still without an organization"
    for_some = work.tenant_numbers is not None  # runs over other tenants have leases of their own
    if for_some and _others_left(work):
        return "rows of other tenants are still without an organization"
    if for_some and is_being_built(work.session.connection, work.table):
        return "another run builds it at this moment"
    return None


def _others_left(work: Work) -> bool:
    """Say whether any row of a tenant with a mapping, selected or not, has no organization."""
    for leaf in leaves_of(work):
        connection = work.session.connection
        statement = sql.SQL(_ANY_LEFT).format(
            mappings=identifier(work.plan.interface_schema, "tenant_org_mappings"),
            type=type_name(work.table.tenant_column),
            leaf=identifier(leaf.name.schema, leaf.name.name),
            tenant=of_row(work.table.tenant_column.name),
            equals=sql.SQL(work.table.tenant_column.equality.replace("%", "%%")),
            organization=of_row(work.table.organization_column),
        )
        with (
            work.keep_alive.long_statement(),
            transaction(connection, statement_timeout_ms=0, read_only=True),
        ):
            connection.execute("SELECT set_config('enable_nestloop', 'off', true)")
            row = connection.execute(statement, {"key_type": work.table.tenant_column.quoted_type}).fetchone()
        if row and row[0]:
            return True
    return False
