"""Rows that cannot be written: set aside with the database's reason, so that the others go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.bulk import leaves_of
from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.mapping_sql import frozen_map
from tenant_migration.backfill.results import QuarantinedRow
from tenant_migration.backfill.retry import message_of
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed

if TYPE_CHECKING:
    from typing_extensions import LiteralString

_SHOWN = 10
_SMALL_TABLE_ROWS = 100
"""The share is taken of at least this many rows: one bad row of ten is no reason to stop."""

_INSERT = """
WITH {map},
bad AS (
    SELECT map.tenant_number, {row_key} AS row_key
    FROM ONLY {leaf} AS t JOIN map ON {same_tenant} WHERE t.ctid = %(ctid)s::tid),
known AS (
    UPDATE tenant_migration.quarantine AS q
    SET run_id = %(run_id)s, tenant_number = bad.tenant_number, sqlstate = %(sqlstate)s,
        constraint_name = %(constraint)s, message = %(message)s, created_at = clock_timestamp()
    FROM bad WHERE q.table_id = %(table_id)s AND q.leaf = %(leaf)s::oid AND q.resolved_at IS NULL
               AND q.row_key = bad.row_key
    RETURNING q.tenant_number),
fresh AS (
    INSERT INTO tenant_migration.quarantine
        (run_id, table_id, leaf, tenant_number, row_key, sqlstate, constraint_name, message)
    SELECT %(run_id)s, %(table_id)s, %(leaf)s::oid, tenant_number, row_key, %(sqlstate)s, %(constraint)s,
           %(message)s
    FROM bad WHERE NOT EXISTS (SELECT FROM known)
    RETURNING tenant_number)
SELECT tenant_number FROM known UNION ALL SELECT tenant_number FROM fresh"""

_COUNT_OF_RUN = """
UPDATE tenant_migration.table_runs SET rows_quarantined = (
    SELECT count(*) FROM tenant_migration.quarantine
    WHERE run_id = %(run_id)s AND table_id = %(table_id)s AND resolved_at IS NULL)
WHERE run_id = %(run_id)s AND table_id = %(table_id)s"""

_RESOLVE = """
WITH {map},
missing AS MATERIALIZED (
    SELECT {row_key} AS row_key FROM ONLY {leaf} AS t JOIN map ON {same_tenant} WHERE {needs_writing})
UPDATE tenant_migration.quarantine AS q SET resolved_at = clock_timestamp()
WHERE q.table_id = %(table_id)s AND q.leaf = %(leaf)s::oid AND q.resolved_at IS NULL
  AND q.tenant_number = ANY (%(scope)s::int4[])
  AND NOT EXISTS (SELECT FROM missing WHERE missing.row_key = q.row_key)"""

_RESOLVE_GONE = """
UPDATE tenant_migration.quarantine SET resolved_at = clock_timestamp()
WHERE table_id = %(table_id)s AND leaf <> ALL (%(leaves)s::oid[]) AND resolved_at IS NULL
  AND tenant_number = ANY (%(scope)s::int4[])"""


def set_aside(work: Work, leaf: Leaf, ctid: str, error: psycopg.Error) -> bool:
    """Put the row at this place into quarantine; False when it is no longer there.

    Raises:
        OperationFailed: more rows are in quarantine than the configured share allows.
    """
    target = work.target(leaf)
    statement = sql.SQL(_INSERT).format(
        map=frozen_map(work.table), row_key=target.row_key, leaf=target.leaf, same_tenant=target.same_tenant
    )
    parameters = {
        **work.map_parameters(),
        "table_id": work.table_id,
        "leaf": leaf.oid,
        "ctid": ctid,
        "sqlstate": error.sqlstate or "",
        "constraint": error.diag.constraint_name,
        "message": message_of(error),
    }

    def insert(connection: psycopg.Connection) -> int:
        with transaction(connection, lock_timeout_ms=5_000):
            rows = connection.execute(statement, parameters).fetchall()
            connection.execute(_COUNT_OF_RUN, parameters)
            connection.execute(
                "SELECT tenant_migration.refresh_mapping_status(%s::int4[])", ([row[0] for row in rows],)
            )
            return len(rows)

    if work.retry.run(f"quarantine of a row of {leaf.name}", insert) == 0:
        return False
    failpoints.reach(failpoints.ROW_QUARANTINED)
    work.tally.rows_quarantined += 1
    _stop_above_share(work, error)
    return True


def _stop_above_share(work: Work, error: psycopg.Error) -> None:
    share = work.table.settings.quarantine_max_share
    allowed = share * max(work.tally.rows_in_scope, _SMALL_TABLE_ROWS)
    if work.tally.rows_quarantined > allowed:
        raise OperationFailed(
            f"{work.table.qualified_name}: {work.tally.rows_quarantined:,} rows are in quarantine, more than "
            f"{share:.1%} of {work.tally.rows_in_scope:,}; last reason: "
            f"{_reason(message_of(error), error.sqlstate, error.diag.constraint_name)}. "
            "Mend the rows or raise quarantine_max_share, then run again"
        )


def _reason(message: str, sqlstate: str | None, constraint: str | None) -> str:
    return f"{message} (SQLSTATE {sqlstate}{f', constraint {constraint}' if constraint else ''})"


def resolve(work: Work) -> None:
    """Close the quarantine of rows, of tenants in scope, that are filled or gone by now."""
    if not still_open(work):
        return
    leaves = leaves_of(work)
    parameters = {"table_id": work.table_id, "scope": work.scope_numbers}

    def close_gone(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            connection.execute(_RESOLVE_GONE, {**parameters, "leaves": [leaf.oid for leaf in leaves]})

    work.retry.run(f"quarantine of {work.table.qualified_name}", close_gone)
    for leaf in leaves:
        _resolve_of_leaf(work, leaf, {**work.map_parameters(), **parameters, "leaf": leaf.oid})


def _resolve_of_leaf(work: Work, leaf: Leaf, parameters: dict[str, object]) -> None:
    target = work.target(leaf)
    statement = sql.SQL(_RESOLVE).format(
        map=frozen_map(work.table),
        row_key=target.row_key,
        leaf=target.leaf,
        same_tenant=target.same_tenant,
        needs_writing=target.needs_writing,
    )

    def close(connection: psycopg.Connection) -> None:
        with (
            work.keep_alive.long_statement(),
            transaction(connection, lock_timeout_ms=5_000, statement_timeout_ms=0),
        ):
            connection.execute(statement, parameters)

    work.retry.run(f"quarantine of {leaf.name}", close)


@dataclass(frozen=True)
class OpenRows:
    """Rows of one tenant that are in quarantine."""

    row_count: int
    first_reason: str


def still_open(work: Work) -> dict[int, OpenRows]:
    """Return the rows in quarantine of this table, for each tenant number in scope that has any."""
    rows = _query(
        work,
        "SELECT tenant_number, count(*), (array_agg(message ORDER BY quarantine_id))[1],"
        " (array_agg(sqlstate ORDER BY quarantine_id))[1],"
        " (array_agg(constraint_name ORDER BY quarantine_id))[1]"
        " FROM tenant_migration.quarantine WHERE table_id = %s"
        " AND resolved_at IS NULL AND tenant_number = ANY (%s::int4[]) GROUP BY tenant_number",
        (work.table_id, work.scope_numbers),
    )
    return {int(number): OpenRows(int(count), _reason(*reason)) for number, count, *reason in rows}


def samples(work: Work) -> tuple[QuarantinedRow, ...]:
    """Return the first rows in quarantine of this table and scope."""
    rows = _query(
        work,
        "SELECT t.tenant_id, q.row_key, q.sqlstate, q.constraint_name, q.message"
        " FROM tenant_migration.quarantine AS q JOIN tenant_migration.tenants AS t USING (tenant_number)"
        " WHERE q.table_id = %s AND q.resolved_at IS NULL AND q.tenant_number = ANY (%s::int4[])"
        " ORDER BY q.quarantine_id LIMIT %s",
        (work.table_id, work.scope_numbers, _SHOWN),
    )
    return tuple(QuarantinedRow(*row) for row in rows)


def _query(work: Work, query: LiteralString, parameters: tuple[object, ...]) -> list[Any]:
    return work.retry.run(
        f"quarantine of {work.table.qualified_name}",
        lambda connection: connection.execute(query, parameters).fetchall(),
    )
