"""Counts over a leaf, each in one snapshot: what there is to do, and what is left."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.mapping_sql import frozen_map
from tenant_migration.backfill.target import Target
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import transaction

_PLANNER = "SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true)"
"""Stale statistics must not make the join with the mapping one scan of it for each row."""


@dataclass(frozen=True)
class TenantCount:
    """Rows of one tenant in one leaf."""

    empty: int
    """Without an organization."""
    equal: int
    """With the mapped one."""
    different: int
    """With another one."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.empty + self.equal + self.different


_BY_TENANT = """
WITH {map}
SELECT map.tenant_number, count(*) FILTER (WHERE {organization} IS NULL),
       count(*) FILTER (WHERE {organization} = map.organization_id),
       count(*) FILTER (WHERE {organization} <> map.organization_id)
FROM ONLY {leaf} AS t JOIN map ON {same_tenant}
WHERE {selected} GROUP BY map.tenant_number"""

_REMAINING = """
WITH {map}
SELECT t.ctid::text FROM ONLY {leaf} AS t JOIN map ON {same_tenant}
WHERE {selected} AND {needs_writing}{exclusion} LIMIT %(row_limit)s"""


def _read(work: Work, statement: sql.Composed, parameters: dict[str, object]) -> list[tuple[object, ...]]:
    def read(connection: psycopg.Connection) -> list[tuple[object, ...]]:
        with (
            work.keep_alive.long_statement(),
            transaction(connection, statement_timeout_ms=0, read_only=True),
        ):
            connection.execute(_PLANNER)
            return connection.execute(statement, parameters).fetchall()

    return work.retry.run(f"counting rows of {work.table.qualified_name}", read)


def _selected(work: Work, target: Target) -> sql.Composable:
    """Build the condition that lets an index on the key find a few tenants' rows; the join decides anyway."""
    if work.tenant_numbers is None or work.table.tenant_index is None:
        return sql.SQL("true")
    return sql.SQL("{} {} ANY (ARRAY(SELECT key FROM map))").format(target.tenant, target.equals)


def count_by_tenant(work: Work, leaf: Leaf) -> dict[int, TenantCount]:
    """Count the rows of the tenants in scope, by what their organization is."""
    target = work.target(leaf)
    statement = sql.SQL(_BY_TENANT).format(
        map=frozen_map(work.table),
        organization=target.organization,
        leaf=target.leaf,
        same_tenant=target.same_tenant,
        selected=_selected(work, target),
    )
    rows = _read(work, statement, work.map_parameters())
    return {int(str(number)): TenantCount(*(int(str(count)) for count in counts)) for number, *counts in rows}


def list_remaining(work: Work, leaf: Leaf, limit: int) -> list[str]:
    """Return ctids, at most `limit`, of rows in scope to be written and not in quarantine."""
    target = work.target(leaf)
    statement = sql.SQL(_REMAINING).format(
        map=frozen_map(work.table),
        leaf=target.leaf,
        same_tenant=target.same_tenant,
        selected=_selected(work, target),
        needs_writing=target.needs_writing,
        exclusion=target.exclusion if work.tally.rows_quarantined else sql.SQL(""),
    )
    parameters = {
        **work.map_parameters(),
        "row_limit": limit,
        "table_id": work.table_id,
        "leaf": leaf.oid,
    }
    return [str(row[0]) for row in _read(work, statement, parameters)]
