"""A run's mapping: one state of it, whatever the schema is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tenant_migration.backfill import runs
from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration_tests.backfill.conftest import World, table_of


def test_a_mapping_that_changes_while_a_run_starts_is_frozen_as_it_was(
    claims: Callable[[int], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checksum says which cursor may go on, so it has to be of the very mapping that is written."""
    world = claims(10)
    plan = world.plan()
    original = world.one("SELECT organization_id FROM public.tenant_org_mappings WHERE tenant_id = 'beta'")
    refuse_unknown = runs._refuse_unknown

    def change_then_go_on(*arguments: Any) -> None:
        with psycopg.connect(world.url, autocommit=True) as other:
            other.execute(
                "UPDATE public.tenant_org_mappings SET organization_id = (SELECT organization_id FROM"
                " public.tenant_org_mappings WHERE tenant_id = 'alpha') WHERE tenant_id = 'beta'"
            )
        refuse_unknown(*arguments)

    unchanged = world.run(plan).mapping_checksum
    monkeypatch.setattr(runs, "_refuse_unknown", change_then_go_on)
    run = world.run(plan)
    assert run.mapping_checksum == unchanged
    frozen = world.one(
        "SELECT organization_id FROM tenant_migration.run_tenants WHERE run_id = %s AND tenant_number = %s",
        run.run_id,
        run.tenants["beta"],
    )
    assert frozen == original


def test_an_interface_schema_with_a_percent_sign(database: str) -> None:
    with connect(database) as connection:
        connection.execute('CREATE SCHEMA "100%s"')
        connection.execute('CREATE TABLE "100%s".organizations (id uuid PRIMARY KEY, name text)')
        world = World(database, connection, {"interface_schema": "100%s"})
        install(connection, world.config)
        connection.execute("INSERT INTO \"100%s\".organizations VALUES (gen_random_uuid(), 'A')")
        connection.execute(
            'INSERT INTO "100%s".tenant_org_mappings SELECT \'a\', id FROM "100%s".organizations'
        )
        connection.execute("CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text)")
        connection.execute("INSERT INTO public.claims VALUES (1, 'a')")
        plan = world.plan()
        dry = dry_run_table(connection, plan, table_of(plan, "public.claims"), tenants=["a"])
        assert (dry.refusals, dry.rows_to_migrate) == ((), 1)
        assert world.migrate("public.claims", tenants=["a"]).rows_migrated == 1
