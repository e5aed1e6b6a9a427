"""What a real run would do to a table, found out by reading only: no lock that blocks anybody, no write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from tenant_migration.backfill.ambiguity import ambiguous_keys
from tenant_migration.backfill.claims import missing_claims
from tenant_migration.backfill.dry_run_sql import count_statement
from tenant_migration.backfill.journal import journal_exists
from tenant_migration.backfill.journal_sql import create_journal, index_journal
from tenant_migration.backfill.lease import leases_separately
from tenant_migration.backfill.leaves import organization_is_indexed, read_leaves
from tenant_migration.backfill.results import DryRunTable
from tenant_migration.backfill.structure.column import add_column_statement, column_exists
from tenant_migration.backfill.structure.foreign_key import missing_foreign_keys
from tenant_migration.backfill.structure.index import missing_indexes
from tenant_migration.database.connection import transaction
from tenant_migration.database.install import require_installed
from tenant_migration.errors import NotInstalled, Refused, UnknownTenant
from tenant_migration.mapping.repository import mapped_tenants
from tenant_migration.planning.estimate import estimate
from tenant_migration.planning.model import Plan, Strategy, TablePlan

_LOCK_TIMEOUT_MS = 1_000
_NAMES_SHOWN = 5


@dataclass
class _Counts:
    """Rows of the table, by what a run would do with them."""

    to_migrate: dict[str, int] = field(default_factory=dict)
    """For each tenant in scope."""
    different: dict[str, int] = field(default_factory=dict)
    done: int = 0
    null_tenant: int = 0
    allowed: int = 0
    unmapped: int = 0

    def rows_to_write(self, *, overwrites: bool) -> int:
        """Return how many rows a run would write."""
        return sum(self.to_migrate.values()) + (sum(self.different.values()) if overwrites else 0)


def dry_run_table(
    connection: psycopg.Connection, plan: Plan, table: TablePlan, *, tenants: Sequence[str] | None = None
) -> DryRunTable:
    """Say what a run over this table would do.

    Args:
        connection: in autocommit mode; nothing is written, a read-only one will do.
        plan: stored or not.
        table: one of its tables.
        tenants: only these; None: all that have a mapping.

    Returns:
        Counts, statements, estimates; `refusals` is empty exactly when a real run would start now.

    Raises:
        UnknownTenant: one of `tenants` has no mapping.
    """
    refusals = [f"{hazard.detail}; {hazard.way_out}" for hazard in table.refusals]
    counts = _Counts()
    statements: list[str] = []
    cost = (0, 0, 0.0)
    overwrites = table.settings.on_existing_value == "overwrite"
    try:
        statements = _statements(connection, plan, table)
        require_installed(connection)
        in_scope = _scope(connection, plan, tenants)
        read_leaves(connection, table)
        counts = _count(connection, plan, table, in_scope)
        cost = _estimate(connection, table, counts.rows_to_write(overwrites=overwrites))
        refusals += _refusals(connection, plan, table, tenants, counts)
    except (NotInstalled, Refused) as refusal:
        refusals.append(str(refusal))
    except psycopg.Error as error:  # a row-security policy, a right that is missing, a lock that is held
        refusals.append(f"{table.qualified_name} cannot be read: {error.diag.message_primary or error}")
    return DryRunTable(
        table=table.qualified_name,
        rows_to_migrate=counts.rows_to_write(overwrites=overwrites),
        rows_to_keep=sum(counts.different.values()) if table.settings.on_existing_value == "keep" else 0,
        rows_null_tenant=counts.null_tenant,
        rows_allowed_unmapped=counts.allowed,
        rows_unmapped=counts.unmapped,
        rows_already_done=counts.done,
        rows_by_tenant={
            tenant: count + (counts.different.get(tenant, 0) if overwrites else 0)
            for tenant, count in counts.to_migrate.items()
        },
        statements=tuple(statements),
        estimated_wal_bytes=cost[0],
        estimated_heap_growth_bytes=cost[1],
        estimated_seconds=cost[2],
        refusals=tuple(refusals),
    )


def _scope(connection: psycopg.Connection, plan: Plan, tenants: Sequence[str] | None) -> list[str]:
    mapped = mapped_tenants(connection, plan.interface_schema)
    missing = sorted(set(tenants or ()).difference(mapped))
    if missing:
        raise UnknownTenant(
            f"no mapping for tenant {missing[0]!r}; `tenant-migration mappings --list` shows the known ones"
        )
    return sorted(mapped if tenants is None else set(tenants))


def _count(connection: psycopg.Connection, plan: Plan, table: TablePlan, in_scope: Sequence[str]) -> _Counts:
    statement = count_statement(plan, table, column_exists=column_exists(connection, table))
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS, statement_timeout_ms=0, read_only=True):
        connection.execute("SELECT set_config('enable_nestloop', 'off', true)")
        rows = connection.execute(
            statement,
            {
                "key_type": table.tenant_column.quoted_type,
                "allowed": list(plan.allowed_unmapped_tenants),
            },
        ).fetchall()
    counts = _Counts(to_migrate=dict.fromkeys(in_scope, 0))
    for tenant, kind, empty, equal, different, total in rows:
        if kind == "null":
            counts.null_tenant += total
        elif kind == "allowed":
            counts.allowed += total
        elif kind == "unmapped":
            counts.unmapped += total
        elif tenant in counts.to_migrate:
            counts.to_migrate[tenant] += empty
            counts.done += equal
            if different:
                counts.different[tenant] = counts.different.get(tenant, 0) + different
    return counts


def _refusals(
    connection: psycopg.Connection,
    plan: Plan,
    table: TablePlan,
    tenants: Sequence[str] | None,
    counts: _Counts,
) -> list[str]:
    """Return why a run would not start although the plan lets it."""
    refusals = []
    different = sum(counts.different.values())
    if different and table.settings.on_existing_value == "refuse":
        refusals.append(
            f"{different:,} rows have a {table.organization_column} that differs from the mapping; "
            "set on_existing_value of this table to keep or overwrite"
        )
    if counts.unmapped and tenants is None:
        refusals.append(
            f"{counts.unmapped:,} rows belong to tenants without a mapping; map them (`mappings --import`) "
            "or list them in validation.allowed_unmapped_tenants"
        )
    refusals += [
        f"tenants {' and '.join(repr(tenant) for tenant in group)} are the same key as "
        f"{table.tenant_column.base_type}; keep one mapping of them"
        for group in ambiguous_keys(connection, plan, table, tenants, shown=_NAMES_SHOWN)
    ]
    refusals += _who_is_in_the_way(connection, table, tenants)
    return refusals


def _who_is_in_the_way(
    connection: psycopg.Connection, table: TablePlan, tenants: Sequence[str] | None
) -> list[str]:
    stop = connection.execute("SELECT emergency_stop FROM tenant_migration.settings").fetchone()
    reasons = (
        ["the emergency switch is on; `tenant-migration resume` releases it"] if stop and stop[0] else []
    )
    holders = connection.execute(
        "SELECT DISTINCT l.holder FROM tenant_migration.leases AS l"
        " JOIN tenant_migration.managed_tables AS m USING (table_id)"
        " WHERE m.table_schema = %(schema)s AND m.table_name = %(table)s AND l.expires_at > clock_timestamp()"
        " AND (%(tenants)s::text[] IS NULL OR EXISTS (SELECT FROM tenant_migration.tenants AS n"
        "      WHERE n.tenant_id = ANY (%(tenants)s::text[]) AND l.tenant_scope @> n.tenant_number))"
        " ORDER BY 1",
        {
            "schema": table.schema_name,
            "table": table.table_name,
            "tenants": list(tenants) if tenants is not None and leases_separately(tenants) else None,
        },
    ).fetchall()
    return reasons + [f"{row[0]} is working on the table at this moment" for row in holders]


def _statements(connection: psycopg.Connection, plan: Plan, table: TablePlan) -> list[str]:
    """Return the DDL that a run would execute, in order."""
    statements = []
    if not column_exists(connection, table):
        statements.append(add_column_statement(table).as_string(connection))
    table_id = _table_id(connection, table)
    if table_id is None or not journal_exists(connection, table_id):
        statements += [text.as_string(connection) for text in create_journal(table, table_id or 0)]
        statements.append(index_journal(table_id or 0).as_string(connection))
    statements += [text.as_string(connection) for text in missing_claims(connection, table, table_id)]
    if table.settings.build_index != "finalize":
        statements += [text.as_string(connection) for text in missing_indexes(connection, table)]
        statements += [
            text.as_string(connection) for text in missing_foreign_keys(connection, table, plan.organizations)
        ]
    return statements


def _table_id(connection: psycopg.Connection, table: TablePlan) -> int | None:
    known = connection.execute("SELECT to_regclass('tenant_migration.managed_tables') IS NOT NULL").fetchone()
    if known is None or not known[0]:
        return None
    row = connection.execute(
        "SELECT table_id FROM tenant_migration.managed_tables WHERE table_schema = %s AND table_name = %s",
        (table.schema_name, table.table_name),
    ).fetchone()
    return None if row is None else int(row[0])


def _estimate(connection: psycopg.Connection, table: TablePlan, rows: int) -> tuple[int, int, float]:
    """Return WAL bytes, heap growth in bytes and seconds for writing that many rows of the table."""
    if rows == 0:
        return 0, 0, 0.0
    row = connection.execute(
        "SELECT coalesce(sum(pg_table_size(c.oid::regclass)), 0)::int8,"
        " coalesce(max((SELECT count(*) FROM pg_index AS i WHERE i.indrelid = c.oid)), 0)::int4,"
        " coalesce(sum(greatest(c.reltuples, 0)), 0)::int8"
        " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE format('%%s.%%s', n.nspname, c.relname) = ANY (%s::text[])",
        (list(table.leaves) or [table.qualified_name],),
    ).fetchone()
    heap_bytes, index_count, all_rows = row if row else (0, 0, 0)
    indexed = any(organization_is_indexed(connection, table, leaf) for leaf in read_leaves(connection, table))
    strategy = Strategy.CTID_RANGES if indexed else table.strategy
    share = min(1.0, rows / all_rows) if all_rows else 1.0
    cost = estimate(strategy, rows=rows, heap_bytes=int(heap_bytes * share), index_count=index_count)
    return cost.wal_bytes or 0, cost.heap_growth_bytes or 0, cost.seconds or 0.0
