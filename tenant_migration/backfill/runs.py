"""A run: its row, the mapping as it was when the run started, its end."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.ambiguity import ambiguous_keys
from tenant_migration.backfill.results import Selection
from tenant_migration.backfill.states import State
from tenant_migration.backfill.stop import refuse_while_emergency
from tenant_migration.database.connection import transaction
from tenant_migration.database.names import identifier
from tenant_migration.errors import Refused, UnknownTenant
from tenant_migration.planning.model import Plan, TablePlan

_ANALYZE_FROM_ROWS = 1_000
_NAMES_SHOWN = 5
_STATEMENT_TIMEOUT_MS = 120_000


@dataclass(frozen=True)
class Run:
    """A run that was started."""

    run_id: int
    actor: str
    mapping_checksum: str
    tenants: dict[str, int]
    """Tenant id -> number: the tenants of the selection, each with a mapping."""
    selects_tenants: bool = False
    """Whether the run was asked for some tenants only."""
    holder: str = field(default="")
    """Who and where, for whoever has to wait for it."""


def start_run(
    connection: psycopg.Connection,
    plan: Plan,
    *,
    kind: str = "migrate",
    selection: Selection | None = None,
    actor: str,
    dagster_run_id: str | None = None,
) -> Run:
    """Open a run and freeze its mapping, in one transaction.

    1. The run's row.
    2. For each type of key among the plan's tables, each tenant's canonical key; a tenant whose id is no
       value of that type can have no rows there and is left out of it.
    3. Two tenants whose keys are equal in a type are refused: rows could not be told apart.

    Raises:
        Refused: the emergency switch is set, or keys are ambiguous.
        UnknownTenant: a selected tenant has no mapping.
    """
    chosen = selection or Selection()
    asked = None if chosen.tenants is None else list(dict.fromkeys(chosen.tenants))
    table_of_type = {table.tenant_column.quoted_type: table for table in plan.tables}
    with transaction(
        connection,
        lock_timeout_ms=5_000,
        statement_timeout_ms=_STATEMENT_TIMEOUT_MS,
        isolation="repeatable read",  # checksum and keys of all types are of one state of the mapping
    ):
        refuse_while_emergency(connection)
        run_id = _insert_run(connection, plan, kind, chosen, actor, dagster_run_id)
        tenants, checksum = _mapping(connection, plan, asked)
        _refuse_unknown(asked, tenants)
        numbers = list(tenants.values())
        for type_text, table in table_of_type.items():
            _freeze(connection, plan, run_id, type_text, numbers)
            _refuse_ambiguous(connection, plan, table, asked)
        connection.execute(
            "UPDATE tenant_migration.runs SET mapping_checksum = %s WHERE run_id = %s", (checksum, run_id)
        )
        if len(numbers) >= _ANALYZE_FROM_ROWS:
            connection.execute("ANALYZE tenant_migration.run_tenants")
    failpoints.reach(failpoints.RUN_CREATED)
    return Run(run_id, actor, checksum, tenants, asked is not None, _holder(run_id, actor))


def finish_run(connection: psycopg.Connection, run: Run, state: State, reason: str | None = None) -> None:
    """Close the run. A run that somebody cancelled stays cancelled."""
    with finished_run(connection, run, state, reason):
        pass


@contextmanager
def finished_run(
    connection: psycopg.Connection, run: Run, state: State, reason: str | None = None
) -> Iterator[None]:
    """As `finish_run`; what the body writes is part of the same transaction."""
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(
            "UPDATE tenant_migration.runs SET state = CASE WHEN state = 'cancelled' THEN state ELSE %s END,"
            " reason = coalesce(%s, reason), finished_at = clock_timestamp() WHERE run_id = %s",
            (state.value, reason, run.run_id),
        )
        yield


def _insert_run(
    connection: psycopg.Connection,
    plan: Plan,
    kind: str,
    selection: Selection,
    actor: str,
    dagster_run_id: str | None,
) -> int:
    row = connection.execute(
        "INSERT INTO tenant_migration.runs"
        " (kind, state, actor, selection, dagster_run_id, tool_version, host, process_id)"
        " VALUES (%s, 'running', %s, %s, %s, %s, %s, %s) RETURNING run_id",
        (
            kind,
            actor,
            Jsonb({"tables": _listed(selection.tables), "tenants": _listed(selection.tenants)}),
            dagster_run_id,
            plan.tool_version,
            socket.gethostname(),
            os.getpid(),
        ),
    ).fetchone()
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return int(row[0])


def _listed(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _mapping(
    connection: psycopg.Connection, plan: Plan, asked: list[str] | None
) -> tuple[dict[str, int], str]:
    """Return the tenants in scope with their numbers, and a checksum over who goes where."""
    query = sql.SQL(
        "SELECT m.tenant_id, t.tenant_number, m.organization_id::text FROM {} AS m"
        " JOIN tenant_migration.tenants AS t ON t.tenant_id = m.tenant_id"
        " WHERE %(asked)s::text[] IS NULL OR m.tenant_id = ANY (%(asked)s::text[]) ORDER BY t.tenant_number"
    ).format(identifier(plan.interface_schema, "tenant_org_mappings"))
    digest = hashlib.sha256()
    tenants: dict[str, int] = {}
    for tenant_id, number, organization_id in connection.execute(query, {"asked": asked}):
        tenants[tenant_id] = number
        digest.update(f"{number}:{organization_id}\n".encode())
    return tenants, digest.hexdigest()


def _refuse_unknown(asked: list[str] | None, tenants: dict[str, int]) -> None:
    missing = [tenant for tenant in asked or () if tenant not in tenants]
    if missing:
        shown = ", ".join(repr(tenant) for tenant in missing[:_NAMES_SHOWN])
        raise UnknownTenant(
            f"no mapping for tenant {shown}; `tenant-migration mappings --list` shows the known ones"
        )


def _freeze(
    connection: psycopg.Connection, plan: Plan, run_id: int, type_text: str, numbers: list[int]
) -> None:
    connection.execute(
        sql.SQL(
            "INSERT INTO tenant_migration.run_tenants (run_id, key_type, tenant_number, key, organization_id)"
            " SELECT %(run_id)s, %(type)s, found.tenant_number, found.key, found.organization_id"
            " FROM (SELECT t.tenant_number, m.organization_id,"
            "              tenant_migration.canonical_key(m.tenant_id, %(type)s) AS key"
            "       FROM {} AS m"
            "       JOIN tenant_migration.tenants AS t ON t.tenant_id = m.tenant_id"
            "       WHERE t.tenant_number = ANY (%(numbers)s::int4[])) AS found"
            " WHERE found.key IS NOT NULL"
        ).format(identifier(plan.interface_schema, "tenant_org_mappings")),
        {"run_id": run_id, "type": type_text, "numbers": numbers},
    )


def _refuse_ambiguous(
    connection: psycopg.Connection, plan: Plan, table: TablePlan, asked: list[str] | None
) -> None:
    groups = ambiguous_keys(connection, plan, table, asked, shown=_NAMES_SHOWN)
    if groups:
        named = "; ".join(" and ".join(repr(tenant) for tenant in group) for group in groups)
        raise Refused(
            f"tenants that are the same key as {table.tenant_column.base_type} (of {table.qualified_name} "
            f"and others of that type): {named}. Their rows cannot be told apart; keep one mapping "
            "of each group"
        )


def _holder(run_id: int, actor: str) -> str:
    return f"run {run_id} of {actor} on {socket.gethostname()}, process {os.getpid()}"
