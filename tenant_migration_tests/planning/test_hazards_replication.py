"""The plan knows which published tables PostgreSQL would not update."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan

PlanSchema = Callable[..., Plan]


@pytest.mark.parametrize("name", ["publications", "publication_filters"])
def test_exactly_the_tables_that_cannot_be_updated_are_refused(
    name: str, load_schema: Callable[[str], psycopg.Connection]
) -> None:
    connection = load_schema(name)
    plan = build_plan(connection, MigrationConfig())
    refused, not_updated = set(), set()
    for table in plan.tables:
        if any(hazard.name.startswith("publication") for hazard in table.refusals):
            refused.add(table.table_name)
        target = sql.Identifier(table.schema_name, table.table_name)
        try:
            connection.execute(sql.SQL("UPDATE {} SET tenant_id = tenant_id").format(target))
        except psycopg.errors.CheckViolation:
            continue  # of a row, not of the table
        except psycopg.Error:
            not_updated.add(table.table_name)
    assert not_updated
    assert refused == not_updated


def test_a_partition_s_own_constraint_is_named_with_its_partition(plan_schema: PlanSchema) -> None:
    plan = plan_schema("publication_filters")
    [hazard] = [
        hazard for table in plan.tables for hazard in table.hazards if hazard.name == "constraint_not_valid"
    ]
    assert "positive of partition public.own_check_leaf" in hazard.detail
    assert 'ALTER TABLE "public"."own_check_leaf" VALIDATE CONSTRAINT "positive"' in hazard.way_out
