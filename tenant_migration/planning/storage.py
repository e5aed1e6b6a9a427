"""Keeps plans in the private schema: the newest one is what everybody works by."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt
from tenant_migration.database.connection import transaction
from tenant_migration.database.install import require_installed
from tenant_migration.errors import NoPlan, Refused
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan

OPERATION = "plan"
"""In the audit log."""

_LOCK_TIMEOUT_MS = 5_000

_CHANGED_COLUMNS = """
SELECT m.table_schema || '.' || m.table_name, m.tenant_column::text, m.organization_column::text, s.rows
  FROM tenant_migration.managed_tables m
  JOIN unnest(%(schemas)s::text[], %(names)s::text[],
              %(tenant_columns)s::text[], %(organization_columns)s::text[])
       AS new (table_schema, table_name, tenant_column, organization_column)
       ON new.table_schema = m.table_schema AND new.table_name = m.table_name
  CROSS JOIN LATERAL (SELECT sum(t.rows_migrated) AS rows FROM tenant_migration.table_states t
                       WHERE t.table_id = m.table_id) AS s
 WHERE s.rows > 0
   AND (new.tenant_column <> m.tenant_column OR new.organization_column <> m.organization_column)
 ORDER BY 1
"""

_UPSERT_TABLE = """
INSERT INTO tenant_migration.managed_tables
       (table_schema, table_name, tenant_column, organization_column, key_type, position, component,
        tenant_required, table_hash)
VALUES (%(table_schema)s, %(table_name)s, %(tenant_column)s, %(organization_column)s, %(key_type)s,
        %(position)s, %(component)s, %(tenant_required)s, %(table_hash)s)
ON CONFLICT (table_schema, table_name) DO UPDATE
   SET tenant_column = excluded.tenant_column, organization_column = excluded.organization_column,
       key_type = excluded.key_type, position = excluded.position, component = excluded.component,
       tenant_required = excluded.tenant_required, table_hash = excluded.table_hash, retired_at = NULL
"""

_LEFT_OUT = """
SELECT m.table_id, m.table_schema || '.' || m.table_name, s.rows,
       to_regclass(format('%%I.%%I', m.table_schema, m.table_name)) IS NOT NULL,
       to_regclass(format('tenant_migration.journal_%%s', m.table_id)) IS NOT NULL
  FROM tenant_migration.managed_tables m
  CROSS JOIN LATERAL (SELECT sum(t.rows_migrated) AS rows FROM tenant_migration.table_states t
                       WHERE t.table_id = m.table_id) AS s
 WHERE m.retired_at IS NULL AND s.rows > 0
   AND NOT EXISTS (SELECT
                     FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS planned (table_schema, table_name)
                    WHERE planned.table_schema = m.table_schema AND planned.table_name = m.table_name)
 ORDER BY m.position, m.table_schema, m.table_name
"""

# A table keeps its number in the catalogs when it is renamed, and so do its partitions.
_NAME_NOW = """
SELECT n.nspname || '.' || c.relname
  FROM (SELECT DISTINCT leaf FROM {}) AS j
  JOIN pg_class c ON c.oid = coalesce(pg_partition_root(j.leaf), j.leaf)
  JOIN pg_namespace n ON n.oid = c.relnamespace
 ORDER BY 1 LIMIT 1
"""

_RETIRE = """
UPDATE tenant_migration.managed_tables m
   SET retired_at = now()
 WHERE m.retired_at IS NULL
   AND NOT EXISTS (SELECT
                     FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS planned (table_schema, table_name)
                    WHERE planned.table_schema = m.table_schema AND planned.table_name = m.table_name)
"""

_INSERT_RELATION = """
INSERT INTO tenant_migration.managed_relations
       (name, child_table_id, child_columns, parent_table_id, parent_columns, source, validated)
VALUES (%(name)s, %(child_table_id)s, %(child_columns)s, %(parent_table_id)s, %(parent_columns)s, %(source)s,
        %(validated)s)
"""

_UPDATE_SETTINGS = """
UPDATE tenant_migration.settings
   SET interface_schema = %(interface_schema)s, organizations_schema = %(organizations_schema)s,
       organizations_table = %(organizations_table)s, organizations_id = %(organizations_id)s,
       organizations_parent_id = %(organizations_parent_id)s, organization_column = %(organization_column)s,
       tenant_key_columns = %(tenant_key_columns)s, allowed_unmapped_tenants = %(allowed_unmapped_tenants)s
"""


def store_plan(connection: psycopg.Connection[Any], plan: Plan, actor: str) -> int:
    """Store the plan as the newest one.

    Steps, in one transaction:
        1. Lock out another `store_plan`.
        2. Refuse when a table with migrated rows would get another key or organization column, or would no
           longer be in the plan although it is there: nothing could take its rows back.
        3. Insert the plan; when the newest one has the same hash, refresh that one instead.
        4. Insert or update the managed tables (their ids stay), retire those that are gone.
        5. Replace the relations, update the settings, write the audit record.

    Returns:
        The plan's number.

    Raises:
        NotInstalled: the private schema is missing.
        Refused: step 2.
    """
    require_installed(connection)
    started = time.monotonic()
    with (
        attempt(connection, OPERATION, actor=actor),
        transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS),
    ):
        connection.execute("LOCK TABLE tenant_migration.managed_tables IN SHARE ROW EXCLUSIVE MODE")
        _refuse_changed_columns(connection, plan)
        _refuse_left_out(connection, plan)
        plan_id = _insert_plan(connection, plan, actor)
        with connection.cursor() as cursor:
            cursor.executemany(_UPSERT_TABLE, [_table_row(table) for table in plan.tables])
        connection.execute(_RETIRE, _names(plan))
        _replace_relations(connection, plan)
        connection.execute(_UPDATE_SETTINGS, _settings_row(plan))
        audit.record(
            connection,
            operation=OPERATION,
            actor=actor,
            outcome="completed",
            counts={"tables": len(plan.tables)},
            duration_ms=(time.monotonic() - started) * 1000,
            detail={"plan_id": plan_id},
        )
    return plan_id


def note_allowed_tenants(connection: psycopg.Connection[Any], tenants: Sequence[str]) -> None:
    """Let the functions in the database know which tenants may stay without a mapping."""
    with transaction(connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
        connection.execute(
            "UPDATE tenant_migration.settings SET allowed_unmapped_tenants = %(tenants)s::text[]"
            " WHERE allowed_unmapped_tenants IS DISTINCT FROM %(tenants)s::text[]",
            {"tenants": list(tenants)},
        )


def load_plan(connection: psycopg.Connection[Any]) -> Plan:
    """Return the newest stored plan.

    Raises:
        NotInstalled: the private schema is missing.
        NoPlan: none is stored, or an earlier release stored it in a form that this one cannot read.
    """
    require_installed(connection)
    row = connection.execute(
        "SELECT plan, tool_version FROM tenant_migration.plans ORDER BY plan_id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise NoPlan("no plan is stored in this database: run `tenant-migration plan --write`")
    try:
        return Plan.model_validate(row[0])
    except ValidationError as error:
        raise NoPlan(
            f"the stored plan was made by release {row[1]} and cannot be read by this one: "
            "run `tenant-migration plan --write`"
        ) from error


def table_ids(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return the number of every managed table of the newest plan, by `schema.table`."""
    rows = connection.execute(
        "SELECT table_schema || '.' || table_name, table_id FROM tenant_migration.managed_tables "
        "WHERE retired_at IS NULL"
    )
    return dict(rows.fetchall())


def plan_hash(plan: Plan) -> str:
    """Return the hash over what the plan depends on: its tables' hashes, order, relations, organizations."""
    parts = [
        plan.interface_schema,
        plan.organizations.model_dump_json(),
        *(f"{table.qualified_name} {table.position} {table.table_hash}" for table in plan.tables),
        *(relation.model_dump_json() for relation in plan.relations),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _refuse_changed_columns(connection: psycopg.Connection[Any], plan: Plan) -> None:
    changed = connection.execute(
        _CHANGED_COLUMNS,
        {
            **_names(plan),
            "tenant_columns": [table.tenant_column.name for table in plan.tables],
            "organization_columns": [table.organization_column for table in plan.tables],
        },
    ).fetchall()
    if changed:
        lines = "\n".join(
            f"  {table}: {rows:,} rows were migrated from {tenant_column} to {organization_column}"
            for table, tenant_column, organization_column, rows in changed
        )
        raise Refused(
            "the new plan names another tenant key or organization column for tables that carry migrated "
            f"rows:\n{lines}\nRoll these tables back first, or keep the columns in the configuration."
        )


def _refuse_left_out(connection: psycopg.Connection[Any], plan: Plan) -> None:
    lines = []
    for table_id, table, rows, exists, has_journal in connection.execute(_LEFT_OUT, _names(plan)).fetchall():
        if exists:
            lines.append(f"  {table}: {counted(rows, 'row')}")
        elif has_journal:
            journal = sql.Identifier("tenant_migration", f"journal_{table_id}")
            name_now = connection.execute(sql.SQL(_NAME_NOW).format(journal)).fetchone()
            if name_now is not None:  # else it was dropped, its rows with it
                lines.append(f"  {table}: {counted(rows, 'row')}; it is called {name_now[0]} now")
    if lines:
        listed = "\n".join(lines)
        raise Refused(
            f"the new plan leaves out tables that carry migrated rows:\n{listed}\nRoll these tables back "
            "first, or keep them: in the configuration, and under their name."
        )


def _insert_plan(connection: psycopg.Connection[Any], plan: Plan, actor: str) -> int:
    values = {
        "plan": Jsonb(plan.model_dump(mode="json")),
        "hash": plan_hash(plan),
        "tool_version": plan.tool_version,
        "actor": actor,
    }
    refreshed = connection.execute(
        "UPDATE tenant_migration.plans SET plan = %(plan)s, tool_version = %(tool_version)s "
        "WHERE plan_id = (SELECT max(plan_id) FROM tenant_migration.plans) AND plan_hash = %(hash)s "
        "RETURNING plan_id",
        values,
    ).fetchone()
    row = (
        refreshed
        or connection.execute(
            "INSERT INTO tenant_migration.plans (plan, plan_hash, tool_version, created_by) "
            "VALUES (%(plan)s, %(hash)s, %(tool_version)s, %(actor)s) RETURNING plan_id",
            values,
        ).fetchone()
    )
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return int(row[0])


def _replace_relations(connection: psycopg.Connection[Any], plan: Plan) -> None:
    ids = table_ids(connection)
    connection.execute("DELETE FROM tenant_migration.managed_relations")
    with connection.cursor() as cursor:
        cursor.executemany(
            _INSERT_RELATION,
            [
                {
                    "name": relation.name,
                    "child_table_id": ids[relation.child],
                    "child_columns": list(relation.child_columns),
                    "parent_table_id": ids[relation.parent],
                    "parent_columns": list(relation.parent_columns),
                    "source": relation.source,
                    "validated": relation.validated,
                }
                for relation in plan.relations
            ],
        )


def _names(plan: Plan) -> dict[str, list[str]]:
    return {
        "schemas": [table.schema_name for table in plan.tables],
        "names": [table.table_name for table in plan.tables],
    }


def _table_row(table: TablePlan) -> dict[str, Any]:
    return {
        "table_schema": table.schema_name,
        "table_name": table.table_name,
        "tenant_column": table.tenant_column.name,
        "organization_column": table.organization_column,
        "key_type": table.tenant_column.quoted_type,
        "position": table.position,
        "component": table.component,
        "tenant_required": table.settings.tenant_required,
        "table_hash": table.table_hash,
    }


def _settings_row(plan: Plan) -> dict[str, Any]:
    return {
        "interface_schema": plan.interface_schema,
        "organizations_schema": plan.organizations.schema_name,
        "organizations_table": plan.organizations.table_name,
        "organizations_id": plan.organizations.id_column,
        "organizations_parent_id": plan.organizations.parent_id_column,
        "organization_column": plan.organization_column,
        "tenant_key_columns": list(plan.tenant_key_columns),
        "allowed_unmapped_tenants": list(plan.allowed_unmapped_tenants),
    }
