"""Values that were there before us and differ from the mapping: refuse, keep, overwrite."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from tenant_migration.backfill.counts import TenantCount
from tenant_migration.backfill.fingerprints import fingerprint
from tenant_migration.backfill.journal_sql import KEPT, is_open, journal_name, key_columns
from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.mapping_sql import frozen_map
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import transaction
from tenant_migration.errors import Refused

_ROWS_EACH = 10_000
"""Kept rows that one row of the journal holds."""
_TENANTS_SHOWN = 5

_RECORD = """
WITH {map},
known AS MATERIALIZED (
    SELECT {known_keys}, value.previous_value
    FROM {journal} AS j
    CROSS JOIN LATERAL unnest(j.tenant_numbers, {arrays}, j.previous_values)
        AS value (tenant_number, {keys}, previous_value)
    WHERE j.phase = 'kept' AND {open} AND j.leaf = %(leaf)s::oid),
kept AS MATERIALIZED (
    SELECT map.tenant_number, {expressions}, {organization} AS previous_value, {fingerprint} AS fingerprint,
           (row_number() OVER () - 1) / %(rows_each)s AS part
    FROM ONLY {leaf} AS t JOIN map ON {same_tenant}
    WHERE {organization} <> map.organization_id
      AND NOT EXISTS (SELECT FROM known WHERE known.previous_value = {organization} AND {same_row}))
INSERT INTO {journal}
    (run_id, leaf, phase, row_count, xid, tenant_numbers, previous_values, fingerprints, {keys})
SELECT %(run_id)s, %(leaf)s::oid, {phase}, count(*), pg_current_xact_id(), array_agg(tenant_number),
       array_agg(previous_value), CASE WHEN %(with_fingerprints)s THEN array_agg(fingerprint) END, {folded}
FROM kept GROUP BY part"""


def refuse_different(work: Work, counts: Mapping[int, int]) -> None:
    """Refuse to start when rows carry another organization than the mapped one and nobody said what to do.

    Args:
        work: the table's run.
        counts: tenant number -> rows with a different value.
    """
    total = sum(counts.values())
    if work.table.settings.on_existing_value != "refuse" or total == 0:
        return
    names = {number: tenant for tenant, number in work.run.tenants.items()}
    worst = sorted((number for number in counts if counts[number]), key=lambda number: -counts[number])
    shown = ", ".join(f"{names[number]!r} {counts[number]:,}" for number in worst[:_TENANTS_SHOWN])
    raise Refused(
        f"{work.table.qualified_name}: {total:,} rows have a {work.table.organization_column} that differs "
        f"from the mapping ({shown}). Set on_existing_value of this table to keep (they stay, recorded) or "
        "to overwrite (they are replaced, and a rollback brings them back)"
    )


def different_rows(counts: Mapping[int, TenantCount]) -> dict[int, int]:
    """Return tenant number -> rows that carry another value than the mapped one."""
    return {number: count.different for number, count in counts.items() if count.different}


def record_kept(work: Work, leaf: Leaf) -> None:
    """Record the values that stay, in the journal, before the first write.

    Values that an earlier run recorded and that are still the same are not recorded again.
    """
    target = work.target(leaf)
    columns = key_columns(work.table)
    names = [sql.Identifier(column.name) for column in columns]
    statement = sql.SQL(_RECORD).format(
        map=frozen_map(work.table),
        journal=journal_name(work.table_id),
        open=is_open(sql.SQL("value.tenant_number")),
        known_keys=sql.SQL(", ").join(sql.SQL("value.{}").format(name) for name in names),
        arrays=sql.SQL(", ").join(sql.SQL("j.{}").format(name) for name in names),
        keys=sql.SQL(", ").join(names),
        expressions=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(column.expression, name)
            for column, name in zip(columns, names, strict=True)
        ),
        same_row=sql.SQL(" AND ").join(
            sql.SQL("known.{} = {}").format(name, column.expression)
            for column, name in zip(columns, names, strict=True)
        ),
        folded=sql.SQL(", ").join(sql.SQL("array_agg({})").format(name) for name in names),
        organization=target.organization,
        fingerprint=fingerprint(target, "t") if target.hashed_columns else sql.SQL("NULL::int8"),
        leaf=target.leaf,
        same_tenant=target.same_tenant,
        phase=sql.Literal(KEPT),
    )
    parameters = {
        **work.map_parameters(),
        "leaf": leaf.oid,
        "rows_each": _ROWS_EACH,
        "with_fingerprints": bool(target.hashed_columns),
    }

    def record(connection: psycopg.Connection) -> None:
        with (
            work.keep_alive.long_statement(),
            transaction(connection, lock_timeout_ms=5_000, statement_timeout_ms=0),
        ):
            connection.execute("SELECT set_config('enable_nestloop', 'off', true)")
            connection.execute(statement, parameters)

    work.retry.run(f"recording values of {leaf.name} that are kept", record)
