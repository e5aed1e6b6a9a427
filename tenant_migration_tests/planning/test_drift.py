"""A table that changed is refused with the difference; what the tool made and new rows are no change."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.install import install
from tenant_migration.errors import PlanOutdated
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.drift import refuse_if_changed, refuse_if_configuration_changed
from tenant_migration.planning.model import OrganizationsRef, Plan
from tenant_migration.planning.storage import store_plan, table_ids
from tenant_migration_tests import schemas
from tenant_migration_tests.planning.conftest import configuration, table_of

Load = Callable[[str], psycopg.Connection]


@pytest.mark.parametrize("schema", schemas.NAMES)
def test_nothing_that_was_just_planned_has_changed(read_schema: Load, schema: str) -> None:
    connection = read_schema(schema)
    for table in build_plan(connection, configuration(schema)).tables:
        refuse_if_changed(connection, configuration(schema), table)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("ALTER TABLE public.declared ADD COLUMN note text", "new: column note: text"),
        ("ALTER TABLE public.declared ADD COLUMN organization_id uuid", "new: column organization_id: uuid"),
        (
            "ALTER TABLE public.declared ALTER COLUMN tenant_id TYPE varchar(40)",
            "gone: column tenant_id: text",
        ),
        (
            "ALTER TABLE public.declared ALTER COLUMN tenant_id DROP NOT NULL",
            "gone: column tenant_id: text not null",
        ),
        (
            "ALTER TABLE public.declared RENAME COLUMN tenant_id TO account",
            "tenant key is tenant_id, which is missing",
        ),
        ("ALTER TABLE public.declared DROP CONSTRAINT declared_pkey", "new: primary key is missing"),
        ("ALTER TABLE public.declared ADD CHECK (id > 0)", "new: constraint declared_id_check"),
        ("ALTER TABLE public.declared ADD UNIQUE (tenant_id, id)", "new: index declared_tenant_id_id_key"),
        ("CREATE INDEX by_tenant ON public.declared (tenant_id)", "new: index by_tenant"),
        (
            "ALTER TABLE public.declared ADD COLUMN o int REFERENCES public.undeclared",
            "new: foreign key declared_o_fkey: o -> public.undeclared (id)",
        ),
        (
            "CREATE TRIGGER t BEFORE UPDATE ON public.declared FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "new: trigger t (origin)",
        ),
        ("ALTER TABLE public.declared ENABLE ROW LEVEL SECURITY", "new: row security is on"),
        ("CREATE POLICY p ON public.declared USING (id > 0)", "new: policy p: all to public using (id > 0)"),
        ("CREATE PUBLICATION p FOR TABLE public.declared", "new: publication p"),
        ("ALTER TABLE public.declared REPLICA IDENTITY FULL", "new: replica identity is full"),
        ("CREATE RULE r AS ON UPDATE TO public.declared DO ALSO NOTHING", "new: rule r"),
        ("DROP TABLE public.declared", "does not exist any more"),
        ("ALTER TABLE public.declared RENAME TO renamed", "does not exist any more"),
    ],
)
def test_a_change_is_refused_with_the_difference(load_schema: Load, change: str, difference: str) -> None:
    connection = load_schema("no_foreign_key")
    plan = build_plan(connection, MigrationConfig())
    connection.execute(change)
    with pytest.raises(PlanOutdated) as caught:
        refuse_if_changed(connection, MigrationConfig(), table_of(plan, "declared"))
    assert "public.declared" in str(caught.value)
    assert difference in str(caught.value)
    assert "plan --write" in str(caught.value)
    refuse_if_changed(connection, MigrationConfig(), table_of(plan, "undeclared"))


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO public.declared SELECT n, 'acme' FROM generate_series(10, 5000) AS n",
        "ANALYZE",
        "CREATE INDEX ON public.declared (id DESC)",
        "CREATE VIEW public.v AS SELECT tenant_id FROM public.declared",
        "ALTER TABLE public.declared SET (fillfactor = 70)",
        "CREATE TABLE public.added (id int PRIMARY KEY, tenant_id text, d int REFERENCES public.declared)",
        "GRANT SELECT ON public.declared TO PUBLIC",
    ],
)
def test_what_the_plan_does_not_depend_on_is_no_change(load_schema: Load, change: str) -> None:
    connection = load_schema("no_foreign_key")
    plan = build_plan(connection, MigrationConfig())
    connection.execute(change)
    refuse_if_changed(connection, MigrationConfig(), table_of(plan, "declared"))


def test_a_new_mapping_is_no_change(load_schema: Load) -> None:
    connection = load_schema("no_foreign_key")
    install(connection, MigrationConfig())
    plan = build_plan(connection, MigrationConfig())
    schemas.map_tenants(connection, {"acme": 1, "globex": 2, "initech": 3})
    for table in plan.tables:
        refuse_if_changed(connection, MigrationConfig(), table)


def test_a_new_partition_is_no_change(load_schema: Load) -> None:
    connection = load_schema("partitions")
    plan = build_plan(connection, MigrationConfig())
    connection.execute(
        "CREATE TABLE public.events_2020 PARTITION OF public.events"
        " FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');"
        "DROP TABLE public.events_2024 CASCADE"
    )
    refuse_if_changed(connection, MigrationConfig(), table_of(plan, "events"))


def test_what_the_tool_made_is_no_change_and_the_same_made_by_others_is_one(load_schema: Load) -> None:
    connection = load_schema("partitions")
    install(connection, MigrationConfig())
    plan = build_plan(connection, MigrationConfig())
    store_plan(connection, plan, "tester")
    made = [
        (
            "column",
            "organization_id",
            "public.events",
            "ALTER TABLE public.events ADD COLUMN organization_id uuid",
        ),
        (
            "index",
            "events_organization_id_idx",
            "public.events",
            "CREATE INDEX events_organization_id_idx ON public.events (organization_id)",
        ),
        (
            "foreign_key",
            "events_organization_id_fkey",
            "public.events",
            "ALTER TABLE public.events ADD CONSTRAINT events_organization_id_fkey"
            " FOREIGN KEY (organization_id) REFERENCES public.organizations",
        ),
        (
            "constraint",
            "events_organization_id_set",
            "public.events_2024",
            "ALTER TABLE public.events_2024 ADD CONSTRAINT events_organization_id_set"
            " CHECK (organization_id IS NOT NULL) NOT VALID",
        ),
        (
            "trigger",
            "tenant_migration_sync",
            "public.events",
            "CREATE TRIGGER tenant_migration_sync BEFORE UPDATE ON public.events FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ),
    ]
    for kind, name, relation, statement in made:
        connection.execute(
            "INSERT INTO tenant_migration.created_objects"
            " (table_id, kind, object_schema, object_name, on_relation, definition)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (table_ids(connection)["public.events"], kind, "public", name, relation, statement),
        )
        connection.execute(statement)
        refuse_if_changed(connection, MigrationConfig(), table_of(plan, "events"))
    again = build_plan(connection, MigrationConfig())
    assert table_of(again, "events").table_hash == table_of(plan, "events").table_hash
    assert table_of(again, "events").organization_column_exists
    connection.execute("UPDATE tenant_migration.created_objects SET dropped_at = now() WHERE kind = 'index'")
    with pytest.raises(PlanOutdated, match="new: index events_organization_id_idx"):
        refuse_if_changed(connection, MigrationConfig(), table_of(plan, "events"))


@pytest.mark.parametrize(
    ("config", "difference"),
    [
        ({"defaults": {"batch_size": 5}}, "new: setting batch_size: 5"),
        ({"tables": {"declared": {"on_triggers": "fire"}}}, "new: setting on_triggers: fire"),
        (
            {"tables": {"public.declared": {"dependencies": ["undeclared"]}}},
            "configured to come after undeclared",
        ),
        ({"organization_column": "org"}, "organization column is org"),
        ({"tables": {"declared": {"tenant_id_column": "id"}}}, "tenant key is id"),
    ],
)
def test_another_configuration_is_a_change(
    read_schema: Load, config: dict[str, Any], difference: str
) -> None:
    connection = read_schema("no_foreign_key")
    plan = build_plan(connection, MigrationConfig())
    with pytest.raises(PlanOutdated, match=difference):
        refuse_if_changed(connection, MigrationConfig.model_validate(config), table_of(plan, "declared"))


def test_at_most_ten_differences_are_shown(load_schema: Load) -> None:
    connection = load_schema("no_foreign_key")
    plan = build_plan(connection, MigrationConfig())
    columns = ", ".join(f"ADD COLUMN c{n} int" for n in range(14))
    connection.execute(f"ALTER TABLE public.declared {columns}")
    with pytest.raises(PlanOutdated, match="and 4 more"):
        refuse_if_changed(connection, MigrationConfig(), table_of(plan, "declared"))


def test_the_settings_of_a_table_with_a_dot_in_its_name_are_found(load_schema: Load) -> None:
    connection = load_schema("no_foreign_key")
    connection.execute('CREATE TABLE public."a.b" (id int PRIMARY KEY, tenant_id text)')
    config = MigrationConfig.model_validate({"tables": {"a.b": {"batch_size": 7}}})
    table = table_of(build_plan(connection, config), "public.a.b")
    assert table.settings.batch_size == 7
    refuse_if_changed(connection, config, table)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"organizations": {"table": "other"}},
            "organizations.table: was 'public.organizations', is 'other'",
        ),
        ({"organizations": {"id": "number"}}, "organizations.id: was 'id', is 'number'"),
        ({"organizations": {"parent_id": "above"}}, "organizations.parent_id: was 'parent_id', is 'above'"),
        ({"organizations": {"active": "active"}}, "organizations.active: was None, is 'active'"),
        ({"tenant_key_columns": ["tenant_id", "tenantId"]}, "tenant_key_columns: was ['tenant_id'], is"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_change_of_the_configuration_for_the_whole_database_is_named(
    settings: dict[str, Any], message: str
) -> None:
    plan = Plan(
        tool_version="0",
        database="d",
        server_version=160000,
        interface_schema="public",
        organizations=OrganizationsRef(
            schema_name="public",
            table_name="organizations",
            id_column="id",
            parent_id_column="parent_id",
            slug_column=None,
            name_column=None,
        ),
        tables=(),
        relations=(),
        hazards=(),
        excluded=(),
    )
    refuse_if_configuration_changed(MigrationConfig(), plan)
    same = {
        "organizations": {"table": "public.organizations", "slug": "other"},
        "validation": {"allowed_unmapped_tenants": ["system"]},
    }
    refuse_if_configuration_changed(MigrationConfig.model_validate(same), plan)
    with pytest.raises(PlanOutdated, match=re.escape(message)):
        refuse_if_configuration_changed(MigrationConfig.model_validate(settings), plan)
