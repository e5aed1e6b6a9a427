"""The machine finds nothing against the engine, and what is wrong with engines that are broken on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from psycopg import sql

from tenant_migration.backfill import batch_sql
from tenant_migration.backfill.target import Target
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.errors import JournalIncomplete
from tenant_migration.recovery.rollback import steps_sql
from tenant_migration.recovery.rollback.entries_sql import Entries
from tenant_migration_tests import servers as real_servers
from tenant_migration_tests.backfill.conftest import World
from tenant_migration_tests.recovery.live_application import create
from tenant_migration_tests.recovery.machine import SCHEMAS, SETTINGS, TENANTS, RecoveryMachine
from tenant_migration_tests.servers import Server, Servers

Step = Callable[[RecoveryMachine], None]

EXAMPLES = int(os.environ.get("TENANT_MIGRATION_TEST_EXAMPLES", "6"))
STEPS = 15
FOUND = (AssertionError, JournalIncomplete)
"""What is wrong is seen by the machine, or by the engine's own look at its journal."""
EXAMPLES_FOR_A_MUTANT = 300
"""The most; it takes 5 to 30 until one shows what is wrong."""
EXAMPLES_OF_A_LONG_RUN = 100


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    name = make_template(server)
    yield name
    server.drop_database(name)


def make_template(server: Server) -> str:
    """Make a database with the tool, two tenants, and the application's empty table with its plan."""
    name = server.create_database()
    with connect(server.url(name)) as connection:
        connection.execute(
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
        )
        world = World(server.url(name), connection, SCHEMAS)
        install(connection, world.config)
        world.add_tenants(TENANTS)
        create(connection, TENANTS, 0)
        world.plan(**SETTINGS)
    return name


def replaced(owner: Any, name: str, old: str, new: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Return what puts another text into a template of SQL; the text must be there."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        template = getattr(owner, name)
        assert old in template, f"{name} has changed: this mutant is none any more"
        monkeypatch.setattr(owner, name, template.replace(old, new))

    return apply


def same_claim(condition: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Return what replaces the order of a claim and a batch by another condition."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        def mutant(entries: Entries) -> sql.Composed:
            keys = [sql.SQL("c.{}").format(name) for name in entries.key_names]
            return entries._key_condition(keys) + sql.SQL(condition)

        monkeypatch.setattr(Entries, "same_claim", mutant)

    return apply


def resets_whatever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(steps_sql, "_RESET", "{is_written}", "")(monkeypatch)
    same_claim(" AND false")(monkeypatch)


def writes_over_other_values(monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_writing(target: Target) -> sql.Composed:
        return sql.SQL("{} IS DISTINCT FROM map.organization_id").format(target.organization)

    monkeypatch.setattr(Target, "needs_writing", property(needs_writing))


def migrate(scope: list[str] | None = None) -> Step:
    return lambda machine: machine.migrate(scope, "none", 0)


def roll_back(scope: list[str] | None = None) -> Step:
    return lambda machine: machine.roll_back(scope, "none", 0)


MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], list[Step]]] = {
    "resets whatever is there": (
        resets_whatever_is_there,
        [migrate(), lambda machine: machine.assign(1, 1), roll_back()],
    ),
    "knows no claims": (
        same_claim(" AND false"),
        [migrate(), lambda machine: machine.write_back(1), roll_back()],
    ),
    "believes in claims older than its own write": (
        same_claim(""),
        [migrate(), lambda machine: machine.clear(1), migrate(), roll_back()],
    ),
    "closes the entries of other tenants": (
        replaced(steps_sql, "_CLOSE_SOME", "array_agg(e.tenant_number)", "'{{1,2,3}}'::int4[]"),
        [lambda machine: machine.insert("beta", None), migrate(["alpha", "beta"]), roll_back(["alpha"])],
    ),
    "forgets batches of one row": (
        replaced(batch_sql, "_STATEMENT", "WHERE row_count > 0", "WHERE row_count > 1"),
        [lambda machine: machine.insert("beta", None), migrate(["beta"])],
    ),
    "writes over what the application wrote": (
        writes_over_other_values,
        [lambda machine: machine.assign(1, 1), migrate()],
    ),
}
"""Engines that are broken on purpose, and steps that show it."""


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


@pytest.mark.parametrize(
    "examples", [EXAMPLES, pytest.param(EXAMPLES_OF_A_LONG_RUN, marks=pytest.mark.faults)]
)
def test_no_order_of_steps_loses_or_invents_anything(server: Server, template: str, examples: int) -> None:
    run_machine(server, template, examples)


def play(server: Server, template: str, steps: list[Step]) -> None:
    """Let the machine take these steps instead of any."""
    machine = type("Machine", (RecoveryMachine,), {"server": server, "template": template})()
    machine.first_rows(["alpha", "alpha", "alpha"])
    try:
        for step in steps:
            step(machine)
            machine.everything_but_the_organization_is_the_applications()
            machine.what_the_application_wrote_wins()
            if machine.was_migrated():
                machine.each_row_that_we_wrote_is_in_the_journal()
    finally:
        machine.teardown()


@pytest.mark.parametrize("name", MUTANTS)
def test_steps_that_show_a_broken_engine(
    server: Server, template: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant, steps = MUTANTS[name]
    play(server, template, steps)  # a sound engine passes
    mutant(monkeypatch)
    with pytest.raises(FOUND):
        play(server, template, steps)


@pytest.mark.faults
@pytest.mark.parametrize("name", MUTANTS)
def test_the_machine_finds_broken_engines_by_itself(
    servers: Servers, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.get(real_servers.tested_versions()[-1])
    template = make_template(server)
    MUTANTS[name][0](monkeypatch)
    with pytest.raises(FOUND):
        run_machine(server, template, EXAMPLES_FOR_A_MUTANT)
    server.drop_database(template)
