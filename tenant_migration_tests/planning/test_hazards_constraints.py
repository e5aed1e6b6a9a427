"""Constraints that would refuse a row of the backfill are told beforehand."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.planning.builder import build_plan
from tenant_migration_tests.planning.conftest import table_of
from tenant_migration_tests.servers import Server

Load = Callable[[str], psycopg.Connection]


def hazards(connection: psycopg.Connection, table: str) -> dict[str, str]:
    return {h.name: h.detail for h in table_of(build_plan(connection, MigrationConfig()), table).hazards}


def test_a_check_that_old_rows_may_break(load_schema: Load) -> None:
    connection = load_schema("null_keys")
    connection.execute("ALTER TABLE public.templates ADD CONSTRAINT later CHECK (id > 3) NOT VALID")
    assert (
        "constraint later holds for new rows only" in hazards(connection, "templates")["constraint_not_valid"]
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("UPDATE public.templates SET tenant_id = tenant_id")
    connection.execute("DELETE FROM public.templates WHERE id <= 3")
    connection.execute("ALTER TABLE public.templates VALIDATE CONSTRAINT later")
    assert "constraint_not_valid" not in hazards(connection, "templates")


def test_a_not_null_that_old_rows_may_break(load_schema: Load, server: Server) -> None:
    connection = load_schema("null_keys")
    add = "ALTER TABLE public.templates ADD CONSTRAINT owned NOT NULL tenant_id NOT VALID"
    if server.version < 18:  # every NOT NULL is validated at once there
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute(add)
        return
    connection.execute(add)
    assert "constraint owned" in hazards(connection, "templates")["constraint_not_valid"]
    with pytest.raises(psycopg.errors.NotNullViolation):
        connection.execute("UPDATE public.templates SET id = id")


def test_an_exclusion_constraint_on_the_organization(load_schema: Load) -> None:
    connection = load_schema("existing_organization")
    connection.execute(
        "CREATE TABLE public.desks (id int PRIMARY KEY, tenant_id text,"
        " organization_id uuid REFERENCES public.organizations, EXCLUDE USING btree (organization_id WITH =))"
    )
    found = hazards(connection, "desks")["exclusion_on_organization"]
    assert "EXCLUDE USING btree (organization_id WITH" in found


def test_organizations_whose_key_is_checked_at_commit_cannot_be_referred_to(load_schema: Load) -> None:
    connection = load_schema("null_keys")
    connection.execute(
        "DROP TABLE public.organizations CASCADE; CREATE TABLE public.organizations ("
        "id uuid PRIMARY KEY DEFERRABLE, parent_id uuid, slug text, name text)"
    )
    plan = build_plan(connection, MigrationConfig())
    assert {hazard.name for hazard in plan.refusals} == {"organizations_id_not_unique"}
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        connection.execute("CREATE TABLE t (o uuid REFERENCES public.organizations)")
