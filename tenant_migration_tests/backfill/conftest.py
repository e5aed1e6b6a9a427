"""A small world: organizations, tenants with hostile names, helpers to plan, run and look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import ProgressCallback, Selection, TableResult
from tenant_migration.backfill.runs import Run, start_run
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import store_plan, table_ids
from tenant_migration_tests.servers import Server

TENANTS = ("alpha", "beta", "O'Brien Local", '"; drop table claims; --', "café 東京", "100%", "ALPHA")
ACTOR = "tester"


@dataclass
class World:
    """One database with the tool installed."""

    url: str
    connection: psycopg.Connection
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> MigrationConfig:
        return MigrationConfig.model_validate(self.settings)

    def sql(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute as the application would; return the rows."""
        cursor = self.connection.execute(text, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def one(self, text: str, *parameters: Any) -> Any:
        return self.sql(text, *parameters)[0][0]

    def add_tenants(self, tenants: Sequence[str] = TENANTS) -> None:
        """One organization and one mapping for each tenant."""
        for tenant in tenants:
            self.connection.execute(
                "WITH o AS (INSERT INTO public.organizations (id, name) VALUES (gen_random_uuid(),"
                " %s) RETURNING id)"
                " INSERT INTO public.tenant_org_mappings (tenant_id, organization_id) SELECT %s, id FROM o",
                (tenant, tenant),
            )

    def plan(self, **defaults: Any) -> Plan:
        """Build and store the plan, with these defaults for every table."""
        config = MigrationConfig.model_validate({**self.settings, "defaults": defaults})
        plan = build_plan(self.connection, config)
        store_plan(self.connection, plan, ACTOR)
        return plan

    def run(self, plan: Plan, tenants: Sequence[str] | None = None) -> Run:
        return start_run(self.connection, plan, selection=Selection(tenants=tenants), actor=ACTOR)

    def migrate(
        self,
        name: str,
        *,
        tenants: Sequence[str] | None = None,
        progress: ProgressCallback | None = None,
        **settings: Any,
    ) -> TableResult:
        """Plan, start a run, backfill one table."""
        plan = self.plan(**settings)
        table = table_of(plan, name)
        return backfill_table(
            self.connection, plan, table, self.run(plan, tenants), tenants=tenants, progress=progress
        )

    def table_id(self, name: str) -> int:
        return table_ids(self.connection)[name]

    def states(self, name: str) -> dict[str, str]:
        """Return tenant -> state of its pair with the table."""
        return dict(
            self.sql(
                "SELECT t.tenant_id, s.state FROM tenant_migration.table_states s"
                " JOIN tenant_migration.tenants t USING (tenant_number) WHERE table_id = %s",
                self.table_id(name),
            )
        )

    def missing(self, name: str) -> int:
        """Rows whose tenant has a mapping and that have no organization."""
        return self.one(
            f"SELECT count(*) FROM {name} t JOIN public.tenant_org_mappings m ON m.tenant_id ="
            " t.tenant_id::text"
            " WHERE t.organization_id IS NULL"
        )

    def wrong(self, name: str) -> int:
        """Rows whose organization is not the mapped one, where it is set."""
        return self.one(
            f"SELECT count(*) FROM {name} t LEFT JOIN public.tenant_org_mappings m ON m.tenant_id ="
            " t.tenant_id::text"
            " WHERE t.organization_id IS NOT NULL AND t.organization_id IS DISTINCT FROM m.organization_id"
        )

    def journal_keys(self, name: str, column: str = "key_1") -> list[str]:
        """Every key in the table's open journal, as text, written phases only."""
        return [
            row[0]
            for row in self.sql(
                f"SELECT k::text FROM tenant_migration.journal_{self.table_id(name)} j,"
                f" unnest(j.{column}) AS k"
                " WHERE j.phase <> 'kept' AND j.closed_at IS NULL ORDER BY 1"
            )
        ]

    def assert_journal_is_exact(self, name: str, before: set[str], key: str = "id") -> None:
        """Each row that was filled is journaled once with its tenant, and no other row."""
        journaled = self.journal_keys(name)
        assert len(journaled) == len(set(journaled)), "a row is journaled twice"
        filled = {
            row[0] for row in self.sql(f"SELECT {key}::text FROM {name} WHERE organization_id IS NOT NULL")
        }
        assert set(journaled) == filled - before
        assert (
            self.one(
                f"SELECT count(*) FROM tenant_migration.journal_{self.table_id(name)} j,"
                " unnest(j.key_1, j.tenant_numbers) AS k (key, number)"
                " JOIN tenant_migration.tenants n ON n.tenant_number = k.number"
                f" JOIN {name} t ON t.{key} = k.key WHERE j.phase <> 'kept' AND j.closed_at IS NULL"
                " AND t.tenant_id::text <> n.tenant_id"
            )
            == 0
        )


def table_of(plan: Plan, name: str) -> TablePlan:
    """Return a table of the plan."""
    table = plan.table(name)
    assert table is not None, f"{name} is not in the plan"
    return table


@pytest.fixture
def database_template(server: Server, request: pytest.FixtureRequest) -> str:
    """A database with organizations and the tool, and with seven tenants for tests of a `world`."""
    if "world" in request.fixturenames:
        return server.template("world", _fill_world)
    return server.template("bare world", _fill) if "bare_world" in request.fixturenames else "template1"


def _fill(url: str) -> None:
    with connect(url) as connection:
        connection.execute(
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
        )
        install(connection, MigrationConfig())


def _fill_world(url: str) -> None:
    _fill(url)
    with connect(url) as connection:
        World(url, connection).add_tenants()


@pytest.fixture
def bare_world(database: str) -> Iterator[World]:
    """Organizations and the tool, no tenants."""
    with connect(database) as connection:
        yield World(database, connection)


@pytest.fixture
def world(bare_world: World) -> World:
    """Organizations, the tool, and seven tenants."""
    return bare_world


CLAIMS = """
CREATE TABLE public.claims (
    id bigint PRIMARY KEY, tenant_id text, title text, updated_at timestamptz DEFAULT now())
"""


@pytest.fixture
def claims(world: World) -> Callable[[int], World]:
    """Make `public.claims` with that many rows over the tenants, some NULL, some a system tenant's."""

    def make(rows: int) -> World:
        world.connection.execute(CLAIMS)
        world.connection.execute(
            "INSERT INTO public.claims (id, tenant_id, title)"
            " SELECT i, CASE WHEN i %% 50 = 0 THEN NULL WHEN i %% 50 = 1 THEN 'system'"
            " ELSE (%s::text[])[1 + i %% %s] END, 'claim ' || i FROM generate_series(1, %s) AS i",
            (list(TENANTS), len(TENANTS), rows),
        )
        return world

    return make
