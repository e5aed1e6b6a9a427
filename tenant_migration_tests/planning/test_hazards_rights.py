"""What a role may not do, or does not see, refuses before anything is written."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import HazardLevel, Plan
from tenant_migration_tests import schemas
from tenant_migration_tests.planning.conftest import table_of
from tenant_migration_tests.servers import Server

ROLE = "plan_stranger"


@pytest.fixture
def stranger(server: Server, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection as a role that owns nothing."""
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute(
            sql.SQL(
                "DO $$ BEGIN CREATE ROLE {} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
            ).format(sql.Identifier(ROLE))
        )
    with psycopg.connect(server.url(connection.info.dbname, ROLE), autocommit=True) as stranger:
        yield stranger


def names(plan: Plan, table: str) -> set[str]:
    return {hazard.name for hazard in table_of(plan, table).refusals}


def test_a_role_without_any_right_is_refused_table_by_table(
    connection: psycopg.Connection, stranger: psycopg.Connection
) -> None:
    schemas.load(connection, "no_foreign_key")
    plan = build_plan(stranger, MigrationConfig())
    assert names(plan, "declared") == {"no_right", "not_owner"}
    assert {hazard.name for hazard in plan.refusals} == {"organizations_no_right"}
    detail = {hazard.name: hazard for hazard in table_of(plan, "declared").refusals}["no_right"]
    assert ROLE in detail.detail
    assert 'GRANT SELECT, UPDATE ON "public"."declared" TO "plan_stranger"' in detail.way_out


def test_rights_without_ownership_are_enough_once_the_structure_is_there(
    connection: psycopg.Connection, stranger: psycopg.Connection
) -> None:
    schemas.load(connection, "no_foreign_key")
    connection.execute("GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO plan_stranger")
    connection.execute("GRANT REFERENCES ON public.organizations TO plan_stranger")
    before = build_plan(stranger, MigrationConfig())
    assert names(before, "declared") == {"not_owner"}
    connection.execute(
        "ALTER TABLE public.declared ADD COLUMN organization_id uuid REFERENCES public.organizations"
    )
    assert names(build_plan(stranger, MigrationConfig()), "declared") == {"not_owner"}
    connection.execute("CREATE INDEX ON public.declared (organization_id)")
    assert names(build_plan(stranger, MigrationConfig()), "declared") == set()


def test_finalize_asks_for_less_than_building_after_the_data(
    connection: psycopg.Connection, stranger: psycopg.Connection
) -> None:
    schemas.load(connection, "no_foreign_key")
    connection.execute("ALTER TABLE public.declared ADD COLUMN organization_id uuid")
    connection.execute("GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO plan_stranger")
    later = MigrationConfig.model_validate({"defaults": {"build_index": "finalize"}})
    assert names(build_plan(stranger, MigrationConfig()), "declared") == {"not_owner"}
    assert names(build_plan(stranger, later), "declared") == set()


def test_an_inheriting_member_of_the_owner_is_not_refused_and_a_member_that_does_not_inherit_is(
    server: Server, connection: psycopg.Connection, stranger: psycopg.Connection
) -> None:
    schemas.load(connection, "no_foreign_key")
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute("GRANT app_owner TO plan_stranger")
        try:
            assert names(build_plan(stranger, MigrationConfig()), "declared") == set()
        finally:
            superuser.execute("REVOKE app_owner FROM plan_stranger")
    assert "not_owner" in names(build_plan(stranger, MigrationConfig()), "declared")


def test_an_owner_that_may_not_create_in_the_schema_is_refused(
    server: Server, connection: psycopg.Connection
) -> None:
    schemas.load(connection, "no_foreign_key")
    with psycopg.connect(server.superuser_url(connection.info.dbname), autocommit=True) as superuser:
        superuser.execute("ALTER SCHEMA public OWNER TO postgres")
        superuser.execute("GRANT USAGE ON SCHEMA public TO app_owner")
    assert names(build_plan(connection, MigrationConfig()), "declared") == {"no_right_to_create"}


def test_row_security_of_organizations_refuses_the_whole_database(connection: psycopg.Connection) -> None:
    schemas.load(connection, "no_foreign_key")
    connection.execute("ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    plan = build_plan(connection, MigrationConfig())
    assert {hazard.name for hazard in plan.refusals} == {"row_security_active_on_organizations"}


def test_a_role_that_bypasses_row_security_is_not_refused(
    server: Server, connection: psycopg.Connection
) -> None:
    schemas.load(connection, "row_security")
    with psycopg.connect(server.superuser_url(connection.info.dbname), autocommit=True) as superuser:
        plan = build_plan(superuser, MigrationConfig())
    assert [table.qualified_name for table in plan.tables if table.refusals] == []
    assert table_of(plan, "forced").hazards[-1].level is HazardLevel.INFO


def test_row_security_of_a_single_partition_counts(connection: psycopg.Connection) -> None:
    schemas.load(connection, "partitions")
    connection.execute("ALTER TABLE public.events_2025 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    plan = build_plan(connection, MigrationConfig())
    assert names(plan, "events") == {"row_security_active"}


def test_the_way_out_of_row_security_works(server: Server, connection: psycopg.Connection) -> None:
    """The role that the hazard tells to create sees every row and may alter the table."""
    schemas.load(connection, "row_security")
    hazard = table_of(build_plan(connection, MigrationConfig()), "forced").refusals[0]
    statement = hazard.way_out.split("with: ")[1].split(";")[0]
    with psycopg.connect(server.superuser_url(connection.info.dbname), autocommit=True) as superuser:
        superuser.execute("DROP ROLE IF EXISTS tenant_migration_runner")
        superuser.execute(statement)
        try:
            url = server.url(connection.info.dbname, "tenant_migration_runner")
            with psycopg.connect(url, autocommit=True) as runner:
                assert [t for t in build_plan(runner, MigrationConfig()).tables if t.refusals] == []
        finally:
            superuser.execute("DROP ROLE tenant_migration_runner")
