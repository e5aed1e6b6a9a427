"""Every property of real schemas, migrated and taken back: nothing of it is left.

The judge is SQL that knows nothing of the package: a checksum over all columns of all tables of the
application, and the definitions of everything in its schemas, as they were before.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.rollback import rollback
from tenant_migration_tests import schemas
from tenant_migration_tests.planning.conftest import configuration
from tenant_migration_tests.servers import Server
from tenant_migration_tests.workflow.test_schemas import REFUSED_AS_A_WHOLE, map_every_tenant

_OURS = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'tenant_migration')"

TABLES = f"""
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND {_OURS}
  AND c.relname NOT IN ('tenant_org_mappings', 'migration_audit_log') ORDER BY 1, 2
"""

STRUCTURE = f"""
SELECT 'column ' || a.attrelid::regclass || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || ' ' || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE {_OURS} AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'index ' || pg_get_indexdef(i.indexrelid) || ' ' || i.indisvalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS}
UNION ALL
SELECT 'constraint ' || k.conrelid::regclass || ' ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
       || ' ' || k.convalidated
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {_OURS}
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_OURS} AND NOT t.tgisinternal
"""

WRITTEN_BY_TRIGGERS = {"public.audit", "public.outbox"}
"""Tables into which the application's own triggers write for every row that is written."""
TOUCHED_BY_TRIGGERS = {"updated_at"}
"""Columns that the application's own triggers set for every row that is written, unless they are guarded."""


def contents(connection: psycopg.Connection) -> dict[str, object]:
    """Rows and an order-independent checksum over every column, of every table."""
    found: dict[str, object] = {}
    for schema, table in connection.execute(TABLES).fetchall():
        if f"{schema}.{table}" in WRITTEN_BY_TRIGGERS:
            continue
        columns = [
            row[0]
            for row in connection.execute(
                "SELECT attname::text FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
                " AND attrelid = format('%%I.%%I', %s::text, %s::text)::regclass ORDER BY attnum",
                [schema, table],
            )
            if row[0] not in TOUCHED_BY_TRIGGERS
        ]
        text = sql.SQL("ROW({})::text").format(
            sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in columns)
        )
        found[f"{schema}.{table} ({', '.join(columns)})"] = connection.execute(
            sql.SQL(
                "SELECT count(*), sum(hashtextextended({0}, 0)), sum(hashtextextended(md5({0}), 1))"
                " FROM {1} AS t"
            ).format(text, sql.Identifier(schema, table))
        ).fetchone()
    return found


def structure(connection: psycopg.Connection) -> set[str]:
    return {
        row[0]
        for row in connection.execute(STRUCTURE)
        if "tenant_org_mappings" not in row[0] and "migration_audit_log" not in row[0]
    }


def settings_of(name: str) -> MigrationConfig:
    """As in `test_schemas`; values that were there before are overwritten, and must come back."""
    return configuration(
        name, defaults={"on_triggers": "fire", "retry_attempts": 3, "on_existing_value": "overwrite"}
    )


def startable(plan: Plan) -> list[str]:
    """The tables that the plan does not refuse, and that do not depend on one that it refuses."""
    refused = {table.qualified_name for table in plan.tables if table.refusals}
    for table in plan.tables:
        if refused & set(table.depends_on) or refused & set(table.component_peers):
            refused.add(table.qualified_name)
    return [table.qualified_name for table in plan.tables if table.qualified_name not in refused]


@pytest.fixture
def owner(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.mark.newest_server_by_default
@pytest.mark.parametrize("name", [name for name in schemas.NAMES if name not in REFUSED_AS_A_WHOLE])
def test_a_schema_that_was_migrated_and_taken_back_is_what_it_was(
    server: Server, database: str, owner: psycopg.Connection, name: str
) -> None:
    with psycopg.connect(server.superuser_url(owner.info.dbname), autocommit=True) as superuser:
        schemas.load(owner, name, superuser=superuser if schemas.needs_superuser(name) else None)
    config = settings_of(name)
    with connect(database) as connection:
        install(connection, config)
        map_every_tenant(owner, build_plan(connection, config, count_rows=False))
        plan = build_plan(connection, config)
        store_plan(connection, plan, "test")
        chosen = startable(plan)
        if not chosen:
            assert plan.refusals or any(table.refusals for table in plan.tables)
            return
        rows_before, objects_before = contents(owner), structure(owner)
        migrate(connection, config, plan, actor="test", tables=chosen, skip_validation=True)
        outcomes = rollback(connection, config, plan, actor="test", drop_created=True)
        reasons = {outcome.table: outcome.reason for outcome in outcomes if outcome.reason}
        cannot = {"public.raises", "public.skips"} & set(chosen)  # their triggers keep rows as they are
        assert {table for table in reasons if table not in cannot} == set(), reasons
        left = connection.execute(
            "SELECT t.table_schema || '.' || t.table_name FROM tenant_migration.table_states s"
            " JOIN tenant_migration.managed_tables t USING (table_id)"
            " WHERE s.state <> 'rolled_back' OR s.rows_migrated > 0"
        ).fetchall()
        assert {row[0] for row in left} - cannot == set()
    assert contents(owner) == rows_before
    assert structure(owner) == objects_before
