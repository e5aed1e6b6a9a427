"""Every property of real schemas, from `install` to the judge: migrated whole, or refused before a write.

The judge is SQL that knows nothing of the package: each row of a mapped tenant has exactly its organization,
no other row has one that it did not have, and all columns that were there before are what they were.
"""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.errors import TenantMigrationError
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import HazardLevel, Plan, TablePlan
from tenant_migration.planning.storage import store_plan
from tenant_migration.workflow.migrate import migrate
from tenant_migration_tests import schemas
from tenant_migration_tests.planning.conftest import configuration

REFUSED_AS_A_WHOLE = {"organizations_bigint"}
"""Schemas whose organizations cannot be organizations: installation or plan says so."""

CANNOT_BE_WRITTEN = {
    "public.with_check": "1 row in quarantine",  # a CHECK of the application refuses one row
    "public.raises": "rows of raises are final",  # a trigger that was allowed to fire raises
    "public.skips": "1 row without an organization",  # a trigger allowed to fire keeps it from being written
}
"""Tables that the application itself keeps from being filled: they fail, with its reason."""


def key_as_text(table: TablePlan) -> sql.Composed:
    """The key as the mapping spells it; `2` and `2.0` are one number."""
    key = sql.SQL("t.{}").format(sql.Identifier(table.tenant_column.name))
    is_numeric = table.tenant_column.base_type == "pg_catalog.numeric"
    return sql.SQL("trim_scale({})::text" if is_numeric else "{}::text").format(key)


def preserved(connection: psycopg.Connection, table: TablePlan) -> object:
    """Rows and an order-independent hash of every column but the organization column."""
    columns = sql.SQL(", ").join(
        sql.SQL("t.{}::text").format(sql.Identifier(column.name)) for column in table.preserved_columns
    )
    return connection.execute(
        sql.SQL(
            "SELECT count(*), sum(hashtextextended(ROW({})::text, 0)),"
            " sum(hashtextextended(md5(ROW({})::text), 1)) FROM {} AS t"
        ).format(columns, columns, sql.Identifier(table.schema_name, table.table_name))
    ).fetchone()


def organizations_before(connection: psycopg.Connection, table: TablePlan) -> int:
    if not table.organization_column_exists:
        return 0
    row = connection.execute(
        sql.SQL("SELECT count({}) FROM {}").format(
            sql.Identifier(table.organization_column), sql.Identifier(table.schema_name, table.table_name)
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


def judge(connection: psycopg.Connection, table: TablePlan) -> tuple[int, int]:
    """Return (rows of mapped tenants without exactly their organization, other rows that have one)."""
    organization = sql.Identifier(table.organization_column)
    row = connection.execute(
        sql.SQL(
            "SELECT count(*) FILTER (WHERE m.tenant_id IS NOT NULL"
            "                          AND t.{organization} IS DISTINCT FROM m.organization_id),"
            "       count(*) FILTER (WHERE m.tenant_id IS NULL AND t.{organization} IS NOT NULL)"
            " FROM {table} AS t LEFT JOIN public.tenant_org_mappings AS m"
            " ON {key} = m.tenant_id"
        ).format(
            table=sql.Identifier(table.schema_name, table.table_name),
            key=key_as_text(table),
            organization=organization,
        )
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def readable(plan: Plan) -> list[TablePlan]:
    """The tables whose rows are in this database: a foreign table's are nowhere here."""
    return [
        table
        for table in plan.tables
        if not any(h.name in {"foreign_table", "foreign_partition"} for h in table.hazards)
    ]


def map_every_tenant(connection: psycopg.Connection, plan: Plan) -> None:
    """Map each distinct key to one of five organizations; ids that differ in type only are one tenant."""
    keys: set[str] = set()
    for table in readable(plan):
        rows = connection.execute(
            sql.SQL("SELECT DISTINCT {} FROM {} AS t").format(
                key_as_text(table), sql.Identifier(table.schema_name, table.table_name)
            )
        )
        keys |= {row[0] for row in rows if row[0] is not None}
    schemas.map_tenants(connection, {key: 1 + number % 5 for number, key in enumerate(sorted(keys))})


@pytest.mark.parametrize("name", schemas.NAMES)
def test_a_schema_is_migrated_whole_or_refused_before_the_first_write(server, database, name):
    with psycopg.connect(database, autocommit=True) as owner:
        superuser = psycopg.connect(server.superuser_url(owner.info.dbname), autocommit=True)
        with superuser:
            schemas.load(owner, name, superuser=superuser if schemas.needs_superuser(name) else None)
        config = configuration(name, defaults={"on_triggers": "fire", "retry_attempts": 3})
        with connect(database) as connection:
            if name in REFUSED_AS_A_WHOLE:
                with pytest.raises(TenantMigrationError, match="uuid"):
                    install(connection, config)
                return
            install(connection, config)
            map_every_tenant(owner, build_plan(connection, config, count_rows=False))
            plan = build_plan(connection, config)
            assert not [hazard for hazard in plan.hazards if hazard.level is HazardLevel.REFUSE]
            store_plan(connection, plan, "test")
            refused = {table.qualified_name for table in plan.tables if table.refusals}
            refused |= {
                table.qualified_name
                for table in plan.tables
                if refused & set(table.depends_on) or refused & set(table.component_peers)
            }
            chosen = [table for table in plan.tables if table.qualified_name not in refused]
            before = {table.qualified_name: preserved(owner, table) for table in readable(plan)}
            had = {table.qualified_name: organizations_before(owner, table) for table in readable(plan)}
            if not chosen:
                assert refused
                return
            outcomes = migrate(
                connection,
                config,
                plan,
                actor="test",
                tables=[table.qualified_name for table in chosen],
            )
            for outcome in outcomes:
                expected = CANNOT_BE_WRITTEN.get(outcome.table)
                assert outcome.state == ("failed" if expected else "completed"), outcome
                assert expected is None or expected in str(outcome.reason)
            for table in chosen:
                if table.qualified_name not in CANNOT_BE_WRITTEN:
                    assert judge(owner, table) == (0, 0), table.qualified_name
            for table in readable(plan):
                if table.table_name != "touches":  # its trigger sets updated_at, and was allowed to fire
                    assert preserved(owner, table) == before[table.qualified_name], table.qualified_name
                if table.qualified_name in refused:
                    assert organizations_before(owner, table) == had[table.qualified_name]
