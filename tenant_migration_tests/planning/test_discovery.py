"""Tables are found by name and by foreign key, in all schemas; the configuration has the last word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tenant_migration.catalog.reader import read_catalog
from tenant_migration.config import MigrationConfig
from tenant_migration.errors import ConfigurationError, UnknownTable
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.discovery import Discovery, discover
from tenant_migration.planning.model import Plan
from tenant_migration_tests.planning.conftest import table_of

Load = Callable[[str], psycopg.Connection]


def found(connection: psycopg.Connection, **config: Any) -> Discovery:
    settings = MigrationConfig.model_validate(config)
    return discover(read_catalog(connection, settings), settings)


def keys(discovery: Discovery) -> dict[str, tuple[str, str]]:
    return {str(table.name): (table.tenant_column.name, table.found_by) for table in discovery.managed}


def test_by_name_whatever_the_foreign_keys_say(read_schema: Load) -> None:
    assert keys(found(read_schema("no_foreign_key"))) == {
        "public.declared": ("tenant_id", "name"),
        "public.undeclared": ("tenant_id", "name"),
    }


def test_by_foreign_key_to_where_tenants_live_but_not_the_tenants_themselves(read_schema: Load) -> None:
    discovery = found(read_schema("foreign_key_only"))
    assert keys(discovery) == {
        "public.by_reference": ("owning_account", "foreign key"),
        "public.named": ("tenant_id", "name"),
        "public.two_references": ("seller", "foreign key"),
    }
    assert {(str(table), column) for table, column in discovery.tenant_homes} == {("public.tenants", "id")}


def test_a_key_that_is_named_in_the_configuration_says_where_tenants_live_too(read_schema: Load) -> None:
    connection = read_schema("foreign_key_only")
    discovery = found(
        connection,
        tenant_key_columns=["no_such_name"],
        tables={"by_reference": {"tenant_id_column": "owning_account"}},
    )
    assert keys(discovery)["public.by_reference"] == ("owning_account", "configuration")
    assert keys(discovery)["public.named"] == ("tenant_id", "foreign key")


def test_the_organization_column_is_no_key_even_if_tenants_live_in_organizations(load_schema: Load) -> None:
    connection = load_schema("no_foreign_key")
    connection.execute(
        "CREATE TABLE public.linked (id int PRIMARY KEY, tenant_id uuid REFERENCES public.organizations);"
        "CREATE TABLE public.only_organization (id int PRIMARY KEY,"
        " organization_id uuid REFERENCES public.organizations)"
    )
    discovery = found(connection)
    assert "public.linked" in keys(discovery)
    assert "public.only_organization" not in keys(discovery)
    assert "public.organizations" not in keys(discovery)


def test_two_key_names_with_exact_case(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema("two_key_names")
    assert {table.qualified_name: table.tenant_column.name for table in plan.tables} == {
        "public.Both": "tenant_id",
        "public.WorkItems": "tenantId",
        "public.invoices": "tenant_id",
    }
    assert "tables.public.Both.tenant_id_column" in table_of(plan, "Both").refusals[0].way_out


def test_a_table_with_two_keys_is_decided_by_the_configuration(read_schema: Load) -> None:
    connection = read_schema("two_key_names")
    plan = build_plan(
        connection,
        MigrationConfig.model_validate(
            {
                "tenant_key_columns": ["tenant_id", "tenantId"],
                "tables": {"Both": {"tenant_id_column": "tenantId"}},
            }
        ),
    )
    both = table_of(plan, "Both")
    assert both.refusals == ()
    assert both.tenant_column.name == "tenantId"


def test_all_schemas_with_exact_names(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema("several_schemas")
    assert {table.qualified_name for table in plan.tables} == {
        "Sales.orders",
        "archive.orders",
        "public.orders",
        "sales.orders",
    }
    assert plan.table("orders") is None, "a bare name that four tables have names none"
    assert [relation.parent for relation in plan.relations] == ["sales.orders"]


@pytest.mark.parametrize(
    ("schemas", "planned"),
    [
        ({"exclude": ["archive"]}, {"Sales.orders", "public.orders", "sales.orders"}),
        ({"include": ["sales"]}, {"sales.orders"}),
        ({"include": ["sales", "Sales"], "exclude": ["Sales"]}, {"sales.orders"}),
    ],
)
def test_schemas_are_included_and_excluded(
    plan_schema: Callable[..., Plan], schemas: dict[str, list[str]], planned: set[str]
) -> None:
    plan = plan_schema("several_schemas", schemas=schemas)
    assert {table.qualified_name for table in plan.tables} == planned
    everything = {"Sales.orders", "archive.orders", "public.orders", "sales.orders"}
    assert set(plan.excluded) == everything - planned


def test_an_excluded_table_is_listed_and_not_planned(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema("no_foreign_key", tables={"undeclared": {"exclude": True}})
    assert [table.qualified_name for table in plan.tables] == ["public.declared"]
    assert plan.excluded == ("public.undeclared",)


def test_partitions_and_inheritance_children_are_no_tables_of_their_own(
    plan_schema: Callable[..., Plan],
) -> None:
    plan = plan_schema("partitions")
    assert {table.table_name for table in plan.tables} == {"events", "regions", "spread", "event_notes"}
    regions = table_of(plan, "regions")
    assert regions.partitioned
    assert set(regions.leaves) == {"public.regions_eu_low", "public.regions_eu_high", "public.regions_us"}
    assert [column.name for column in regions.key_columns] == ["id", "region"]


def test_views_and_temporary_tables_are_not_found(load_schema: Load) -> None:
    connection = load_schema("dependents")
    connection.execute("CREATE TEMP TABLE passing (id int, tenant_id text)")
    assert set(keys(found(connection))) == {"public.claims"}


def test_tables_without_the_key_that_follow_from_a_parent_are_listed_with_their_way(
    plan_schema: Callable[..., Plan],
) -> None:
    assert plan_schema("derivable").derivable == (
        "public.line_notes: line_id -> public.order_lines.order_id -> public.orders (nullable)",
        "public.order_lines: order_id -> public.orders",
    )


def test_every_type_of_key_keeps_its_own_type(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema("key_types")
    assert {table.table_name: table.tenant_column.quoted_type for table in plan.tables} == {
        "by_text": '"pg_catalog"."text"',
        "by_varchar": '"pg_catalog"."varchar"',
        "by_char": '"pg_catalog"."bpchar"',
        "by_domain": '"public"."tenant_code"',
        "by_enum": '"public"."tenant_name"',
        "by_uuid": '"pg_catalog"."uuid"',
        "by_integer": '"pg_catalog"."int4"',
        "by_bigint": '"pg_catalog"."int8"',
        "by_numeric": '"pg_catalog"."numeric"',
    }
    assert table_of(plan, "by_domain").tenant_column.base_type == "pg_catalog.varchar"


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"tables": {"public.undeclare": {}}}, UnknownTable, r"did you mean 'public.undeclared'\?"),
        ({"tables": {"undeclare": {"exclude": True}}}, UnknownTable, r"did you mean 'public.undeclared'\?"),
        (
            {"tables": {"declared": {"tenant_id_column": "tenant"}}},
            ConfigurationError,
            r"public.declared has no column 'tenant'; did you mean 'tenant_id'\?",
        ),
        ({"tables": {"tenants": {}}}, ConfigurationError, "has no tenant key; say which column it is"),
        ({"tables": {"organizations": {}}}, ConfigurationError, "this is the organizations table"),
        ({"tables": {"declared": {}, "public.declared": {}}}, ConfigurationError, "is there twice"),
        (
            {"tables": {"declared": {}}, "schemas": {"exclude": ["public"]}},
            ConfigurationError,
            "its schema 'public' is left out",
        ),
        (
            {"tables": {"declared": {"organization_id_column": "tenant_id"}}},
            ConfigurationError,
            "cannot be both the tenant key and the organization column",
        ),
        (
            {"tables": {"declared": {"dependencies": ["undeclare"]}}},
            UnknownTable,
            "dependencies names the table",
        ),
        ({"tables": {"declared": {"dependencies": ["tenants"]}}}, ConfigurationError, "is not managed"),
        (
            {"validation": {"relations": [{"child": "declared", "columns": ["id"], "parent": "undeclar"}]}},
            UnknownTable,
            r"validation.relations.0.parent names the table 'undeclar'.*did you mean 'public.undeclared'",
        ),
        (
            {
                "validation": {
                    "relations": [{"child": "declared", "columns": ["idd"], "parent": "undeclared"}]
                }
            },
            ConfigurationError,
            r"public.declared has no column 'idd'; did you mean 'id'\?",
        ),
        (
            {"validation": {"relations": [{"child": "declared", "columns": ["id"], "parent": "tenants"}]}},
            ConfigurationError,
            "public.tenants carries no tenant key, so it is not managed",
        ),
        (
            {
                "validation": {
                    "relations": [
                        {"child": "declared", "columns": ["id", "tenant_id"], "parent": "undeclared"}
                    ]
                }
            },
            ConfigurationError,
            r"by its primary key \(id\), but 2 column",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_the_database_is_refused_by_name(
    read_schema: Load, config: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_plan(read_schema("no_foreign_key"), MigrationConfig.model_validate(config))


def test_a_child_by_inheritance_cannot_be_configured(read_schema: Load) -> None:
    connection = read_schema("inheritance")
    with pytest.raises(ConfigurationError, match="inherits from another table; configure its parent"):
        found(connection, tables={"cars": {}})


def test_a_child_by_inheritance_with_a_key_of_its_own_is_a_table_of_its_own(load_schema: Load) -> None:
    connection = load_schema("inheritance")
    connection.execute(
        "CREATE TABLE public.base (id int); CREATE TABLE public.docs (tenant_id text) INHERITS (public.base)"
    )
    plan = build_plan(connection, MigrationConfig())
    assert {table.table_name for table in plan.tables} == {"vehicles", "docs"}, (
        "cars have the key of vehicles"
    )
    assert table_of(plan, "docs").refusals == ()


def test_a_database_without_the_key_is_refused(load_schema: Load) -> None:
    connection = load_schema("inheritance")
    config = MigrationConfig.model_validate({"tables": {"vehicles": {"exclude": True}}})
    refusals = {hazard.name: hazard.detail for hazard in build_plan(connection, config).refusals}
    assert refusals == {
        "no_tables": "no table carries the tenant key tenant_id but those left out (public.vehicles)"
    }


def test_names_that_are_written_alike_are_refused(connection: psycopg.Connection) -> None:
    connection.execute('CREATE SCHEMA a; CREATE SCHEMA "a.b"')
    connection.execute('CREATE TABLE a."b.c" (tenant_id text); CREATE TABLE "a.b".c (tenant_id text)')
    plan = build_plan(connection, MigrationConfig())
    assert "ambiguous_name" in {hazard.name for hazard in plan.refusals}
