"""References among managed tables order them, whether PostgreSQL declares them or the configuration does."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration_tests.planning.conftest import table_of


def test_composite_keys_keep_the_order_of_their_columns(plan_schema: Callable[..., Plan]) -> None:
    relation = plan_schema("composite_keys").relations[0]
    assert (relation.child, relation.child_columns) == ("public.tasks", ("tenant_id", "project_id"))
    assert (relation.parent, relation.parent_columns) == ("public.projects", ("tenant_id", "id"))
    assert (relation.source, relation.validated) == ("foreign_key", True)


def test_a_foreign_key_that_is_not_validated_orders_too_and_says_so(
    load_schema: Callable[[str], psycopg.Connection],
) -> None:
    connection = load_schema("no_foreign_key")
    connection.execute(
        "ALTER TABLE public.declared ADD COLUMN other int;"
        "ALTER TABLE public.declared ADD FOREIGN KEY (other) REFERENCES public.undeclared NOT VALID"
    )
    plan = build_plan(connection, MigrationConfig())
    assert [(relation.parent, relation.validated) for relation in plan.relations] == [
        ("public.undeclared", False)
    ]
    assert [table.table_name for table in plan.tables] == ["undeclared", "declared"]


def test_configured_relations_and_dependencies_add_edges(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema(
        "key_types",
        validation={"relations": [{"child": "by_bigint", "columns": ["id"], "parent": "by_varchar"}]},
        tables={"by_varchar": {"dependencies": ["public.by_uuid"]}},
    )
    assert table_of(plan, "by_bigint").depends_on == ("public.by_varchar",)
    assert table_of(plan, "by_varchar").depends_on == ("public.by_uuid",)
    position = {table.table_name: table.position for table in plan.tables}
    assert position["by_uuid"] < position["by_varchar"] < position["by_bigint"]
    (relation,) = plan.relations
    assert (relation.source, relation.validated, relation.parent_columns) == ("configuration", False, ("id",))


def test_circles_are_components_and_nothing_waits_inside_one(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema("cycles")
    ring = [table for table in plan.tables if table.table_name.startswith("ring_") and table.component_peers]
    assert len(ring) == 13
    assert len({table.component for table in ring}) == 1
    assert all(table.depends_on == () and len(table.component_peers) == 12 for table in ring)
    assert table_of(plan, "ring_child").depends_on == ("public.ring_7",)
    assert table_of(plan, "tree").component_peers == ()
    assert set(table_of(plan, "three_b").component_peers) == {"public.three_a", "public.three_c"}
    assert table_of(plan, "two_child").position > max(table_of(plan, n).position for n in ("two_a", "two_b"))


def test_the_foreign_key_of_a_single_partition_orders_and_is_no_relation_of_the_whole(
    load_schema: Callable[[str], psycopg.Connection],
) -> None:
    connection = load_schema("partitions")
    connection.execute(
        "CREATE TABLE public.zones (id int PRIMARY KEY, tenant_id text);"
        "INSERT INTO public.zones VALUES (1, 'acme');"
        "ALTER TABLE public.regions_us ADD FOREIGN KEY (id) REFERENCES public.zones"
    )
    plan = build_plan(connection, MigrationConfig())
    assert table_of(plan, "regions").depends_on == ("public.zones",)
    assert "public.regions" not in {relation.child for relation in plan.relations}
    assert ("public.event_notes", "public.events") in {(r.child, r.parent) for r in plan.relations}, "once"
    assert len([relation for relation in plan.relations if relation.child == "public.event_notes"]) == 1
