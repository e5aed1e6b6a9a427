"""A stored plan is the newest, keeps its tables' numbers, retires what is gone, and comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.install import install
from tenant_migration.errors import NoPlan, NotInstalled, Refused
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Relation
from tenant_migration.planning.storage import load_plan, store_plan, table_ids
from tenant_migration_tests import schemas

Load = Callable[[str], psycopg.Connection]


def installed(load: Load, schema: str = "no_foreign_key", **config: Any) -> psycopg.Connection:
    connection = load(schema)
    install(connection, MigrationConfig.model_validate(config))
    return connection


def plans(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM tenant_migration.plans").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("schema", ["awkward_names", "cycles", "key_types", "partitions", "triggers"])
def test_a_plan_comes_back_as_it_was_stored(load_schema: Load, schema: str) -> None:
    connection = installed(load_schema, schema)
    plan = build_plan(connection, MigrationConfig())
    store_plan(connection, plan, "tester")
    assert load_plan(connection) == plan
    assert set(table_ids(connection)) == {table.qualified_name for table in plan.tables}


def test_managed_tables_hold_what_the_engine_needs(load_schema: Load) -> None:
    connection = installed(load_schema, "key_types")
    store_plan(connection, build_plan(connection, MigrationConfig()), "tester")
    rows = connection.execute(
        "SELECT table_name::text, key_type FROM tenant_migration.managed_tables WHERE table_name IN"
        " ('by_char', 'by_enum') ORDER BY 1"
    ).fetchall()
    assert rows == [("by_char", '"pg_catalog"."bpchar"'), ("by_enum", '"public"."tenant_name"')]


def test_storing_the_same_plan_again_refreshes_it_and_keeps_the_numbers(load_schema: Load) -> None:
    connection = installed(load_schema)
    plan = build_plan(connection, MigrationConfig())
    first, ids = store_plan(connection, plan, "tester"), table_ids(connection)
    connection.execute("INSERT INTO public.declared SELECT n, 'acme' FROM generate_series(10, 99) AS n")
    connection.execute("ANALYZE public.declared")
    second = store_plan(connection, build_plan(connection, MigrationConfig()), "tester")
    assert (second, plans(connection)) == (first, 1)
    assert table_ids(connection) == ids
    declared = load_plan(connection).table("declared")
    assert declared is not None
    assert declared.estimated_rows == 92


def test_a_table_that_goes_is_retired_and_comes_back_under_its_number(load_schema: Load) -> None:
    connection = installed(load_schema)
    whole = build_plan(connection, MigrationConfig())
    store_plan(connection, whole, "tester")
    before = table_ids(connection)
    without = MigrationConfig.model_validate({"tables": {"undeclared": {"exclude": True}}})
    store_plan(connection, build_plan(connection, without), "tester")
    assert set(table_ids(connection)) == {"public.declared"}
    retired = connection.execute(
        "SELECT table_name::text FROM tenant_migration.managed_tables WHERE retired_at IS NOT NULL"
    ).fetchall()
    assert retired == [("undeclared",)]
    store_plan(connection, whole, "tester")
    assert table_ids(connection) == before
    assert plans(connection) == 3


def test_relations_and_settings_follow_the_plan(load_schema: Load) -> None:
    connection = installed(load_schema, "composite_keys")
    config = MigrationConfig.model_validate({"validation": {"allowed_unmapped_tenants": ["system"]}})
    store_plan(connection, build_plan(connection, config), "tester")
    store_plan(connection, build_plan(connection, config), "tester")
    assert connection.execute(
        "SELECT c.table_name::text, r.child_columns::text[], p.table_name::text, r.parent_columns::text[]"
        " FROM tenant_migration.managed_relations r"
        " JOIN tenant_migration.managed_tables c ON c.table_id = r.child_table_id"
        " JOIN tenant_migration.managed_tables p ON p.table_id = r.parent_table_id"
    ).fetchall() == [("tasks", ["tenant_id", "project_id"], "projects", ["tenant_id", "id"])]
    assert connection.execute(
        "SELECT allowed_unmapped_tenants, organization_column::text FROM tenant_migration.settings"
    ).fetchone() == (["system"], "organization_id")


def test_a_failure_in_the_middle_stores_nothing(load_schema: Load) -> None:
    connection = installed(load_schema)
    plan = build_plan(connection, MigrationConfig())
    store_plan(connection, plan, "tester")
    nowhere = Relation(
        name="x",
        child="public.declared",
        child_columns=("id",),
        parent="public.nowhere",
        parent_columns=("id",),
        source="configuration",
        validated=False,
    )
    broken = plan.model_copy(update={"relations": (nowhere,), "tables": plan.tables[:1]})
    with pytest.raises(KeyError):
        store_plan(connection, broken, "tester")
    assert load_plan(connection) == plan
    assert len(table_ids(connection)) == 2


def test_columns_of_a_table_with_migrated_rows_cannot_change(load_schema: Load) -> None:
    connection = installed(load_schema)
    plan = build_plan(connection, MigrationConfig())
    store_plan(connection, plan, "tester")
    schemas.map_tenants(connection, {"acme": 1})
    connection.execute(
        "INSERT INTO tenant_migration.table_states (table_id, tenant_number, state, rows_migrated, actor)"
        " SELECT m.table_id, t.tenant_number, 'pending', 0, 'tester'"
        " FROM tenant_migration.managed_tables m, tenant_migration.tenants t WHERE m.table_name = 'declared'"
    )
    other = build_plan(connection, MigrationConfig.model_validate({"organization_column": "org"}))
    store_plan(connection, other, "tester")
    store_plan(connection, plan, "tester")
    connection.execute("UPDATE tenant_migration.table_states SET rows_migrated = 7")
    with pytest.raises(
        Refused, match=r"public.declared: 7 rows were migrated from tenant_id to organization_id"
    ):
        store_plan(connection, other, "tester")
    assert load_plan(connection) == plan


def with_migrated_rows(connection: psycopg.Connection, table: str) -> None:
    schemas.map_tenants(connection, {"acme": 1})
    connection.execute(
        "INSERT INTO tenant_migration.table_states (table_id, tenant_number, state, rows_migrated, actor)"
        " SELECT m.table_id, t.tenant_number, 'pending', 7, 'tester'"
        " FROM tenant_migration.managed_tables m, tenant_migration.tenants t WHERE m.table_name = %s",
        (table,),
    )


def test_a_table_with_migrated_rows_is_not_left_out_while_it_is_there(load_schema: Load) -> None:
    connection = installed(load_schema)
    plan = build_plan(connection, MigrationConfig())
    store_plan(connection, plan, "tester")
    with_migrated_rows(connection, "undeclared")
    without = MigrationConfig.model_validate({"tables": {"undeclared": {"exclude": True}}})
    with pytest.raises(Refused, match=r"public\.undeclared: 7 rows\n.*Roll these tables back first"):
        store_plan(connection, build_plan(connection, without), "tester")
    assert load_plan(connection) == plan
    connection.execute("DROP TABLE undeclared CASCADE")
    store_plan(connection, build_plan(connection, MigrationConfig()), "tester")
    assert set(table_ids(connection)) == {"public.declared"}


def test_a_table_with_migrated_rows_that_was_renamed_is_named(load_schema: Load) -> None:
    connection = installed(load_schema)
    store_plan(connection, build_plan(connection, MigrationConfig()), "tester")
    with_migrated_rows(connection, "undeclared")
    number = table_ids(connection)["public.undeclared"]
    connection.execute(
        f"CREATE TABLE tenant_migration.journal_{number} AS SELECT 'undeclared'::regclass::oid AS leaf"
    )
    connection.execute('ALTER TABLE undeclared RENAME TO "100% other"')
    with pytest.raises(Refused, match=r"public\.undeclared: 7 rows; it is called public\.100% other now"):
        store_plan(connection, build_plan(connection, MigrationConfig()), "tester")


def test_without_the_private_schema_the_next_step_is_install(load_schema: Load) -> None:
    connection = load_schema("no_foreign_key")
    plan = build_plan(connection, MigrationConfig())
    with pytest.raises(NotInstalled, match="install"):
        store_plan(connection, plan, "tester")
    with pytest.raises(NotInstalled, match="install"):
        load_plan(connection)


def test_without_a_plan_the_next_step_is_plan_write(load_schema: Load) -> None:
    connection = installed(load_schema)
    with pytest.raises(NoPlan, match="plan --write"):
        load_plan(connection)


def test_a_plan_of_another_release_that_cannot_be_read_says_so(load_schema: Load) -> None:
    connection = installed(load_schema)
    connection.execute(
        "INSERT INTO tenant_migration.plans (plan, plan_hash, tool_version, created_by)"
        " VALUES ('{\"tables\": 1}', 'x', '0.0.1', 'tester')"
    )
    with pytest.raises(NoPlan, match=r"made by release 0\.0\.1 .* plan --write"):
        load_plan(connection)
