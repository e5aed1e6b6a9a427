"""The machine finds nothing against the engine, and finds each of the engines that are broken on purpose."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration_tests.backfill.conftest import World
from tenant_migration_tests.recovery.live_application import create
from tenant_migration_tests.recovery.machine import TENANTS, RecoveryMachine
from tenant_migration_tests.servers import Server

EXAMPLES = int(os.environ.get("TENANT_MIGRATION_TEST_EXAMPLES", "30"))
STEPS = 15
EXAMPLES_FOR_A_MUTANT = 300


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    name = server.create_database()
    with connect(server.url(name)) as connection:
        connection.execute(
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
        )
        world = World(server.url(name), connection)
        install(connection, world.config)
        world.add_tenants(TENANTS)
        create(connection, TENANTS, 0)
    yield name
    server.drop_database(name)


def run_machine(server: Server, template: str, examples: int) -> None:
    machine = type("Machine", (RecoveryMachine,), {"server": server, "template": template})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_order_of_steps_loses_or_invents_anything(server: Server, template: str) -> None:
    run_machine(server, template, EXAMPLES)
