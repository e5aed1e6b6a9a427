"""A healthy database, small and full of what real ones have: before a migration, and after one.

Keys of three types, quoted names with a percent sign, a composite key, a table without a key, partitions, an
empty table with an organization column of its own, a configured relation, hostile tenant ids, a system
tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.runs import start_run
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.integrity.before import run_checks_before
from tenant_migration.integrity.model import CheckResult, Outcome, Phase
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration.planning.storage import load_plan, store_plan, table_ids

TEXT_TENANTS = ("alpha", "alpha-two", "beta", "O'Brien Local", '"; drop table claims; --', "100%")
UUID_TENANTS = ("6f1b5e0a-0000-4000-8000-00000000000a", "6f1b5e0a-0000-4000-8000-00000000000b")
INTEGER_TENANTS = ("101", "102")
TENANTS = (*TEXT_TENANTS, *UUID_TENANTS, *INTEGER_TENANTS)
SYSTEM_TENANT = "system"
LINE_ITEMS = "app.Line%Items"
TABLES = (
    "public.profiles",
    "public.claims",
    "public.ledger",
    "public.readings",
    "public.archive",
    LINE_ITEMS,
)

SETTINGS: dict[str, Any] = {
    "tenant_key_columns": ["tenant_id", "tenantId"],
    "organizations": {"active": "is_active"},
    "defaults": {"fingerprints": "journal"},
    "validation": {
        "allowed_unmapped_tenants": [SYSTEM_TENANT],
        "relations": [{"child": "claims", "columns": ["reviewer_id"], "parent": "profiles"}],
    },
}

_SCHEMA = """
CREATE TABLE organizations (
    id uuid PRIMARY KEY, parent_id uuid REFERENCES organizations, slug text, name text,
    is_active boolean DEFAULT true);
CREATE TABLE profiles (
    id integer PRIMARY KEY, tenant_id text, email text, UNIQUE (tenant_id, email));
CREATE TABLE claims (
    id integer PRIMARY KEY, tenant_id text, user_id integer REFERENCES profiles, reviewer_id integer,
    note text);
CREATE INDEX ON claims (tenant_id);
CREATE TABLE ledger (tenant_id integer, entry text, extra json);
CREATE TABLE readings (
    id integer, taken_on date, tenant_id text, profile_id integer REFERENCES profiles,
    PRIMARY KEY (id, taken_on)) PARTITION BY RANGE (taken_on);
CREATE TABLE readings_2025 PARTITION OF readings FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE readings_2026 PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE archive (
    id integer PRIMARY KEY, tenant_id text, organization_id uuid REFERENCES organizations, shelf text,
    UNIQUE (organization_id, shelf));
CREATE SCHEMA app;
CREATE TABLE app."Line%Items" (
    "Id" bigint, part text, "tenantId" uuid, "Amount" numeric, PRIMARY KEY ("Id", part));
"""

# Two profiles, three claims and two readings for each text tenant; ids in the order of TEXT_TENANTS.
_ROWS = """
WITH t AS (
    SELECT tenant_id, number::int FROM unnest(%(text)s::text[]) WITH ORDINALITY AS t(tenant_id, number)),
profile AS (
    INSERT INTO profiles SELECT number * 10 + i, tenant_id, tenant_id || i || '@example.org'
    FROM t, generate_series(1, 2) i),
reading AS (
    INSERT INTO readings SELECT number * 10 + i, make_date(2024 + i, 3, 1), tenant_id, number * 10 + i
    FROM t, generate_series(1, 2) i),
item AS (
    INSERT INTO app."Line%%Items" SELECT i, 'part', tenant_id::uuid, i + 0.10
    FROM unnest(%(uuid)s::text[]) WITH ORDINALITY AS u(tenant_id, n),
         generate_series(n * 10 + 1, n * 10 + 4) i),
entry AS (
    INSERT INTO ledger SELECT tenant_id::int, 'entry ' || i, '{"a": 1}'
    FROM unnest(%(integer)s::text[]) tenant_id, generate_series(1, 3) i)
INSERT INTO claims SELECT number * 100 + i, tenant_id, number * 10 + 1, number * 10 + 2,
       CASE WHEN i < 3 THEN 'note ' || i END
FROM t, generate_series(1, 3) i
"""


def organization_of(tenant: str) -> str:
    """The organization that the world maps a tenant to."""
    return f"00000000-0000-4000-8000-{TENANTS.index(tenant) + 100:012d}"


@dataclass
class World:
    """A connection to one database of this kind."""

    url: str
    superuser_url: str
    connection: psycopg.Connection[tuple[Any, ...]]
    settings: dict[str, Any] = field(default_factory=lambda: SETTINGS)

    @property
    def config(self) -> MigrationConfig:
        return MigrationConfig.model_validate(self.settings)

    def with_validation(self, **validation: Any) -> MigrationConfig:
        return MigrationConfig.model_validate(
            {**self.settings, "validation": {**self.settings["validation"], **validation}}
        )

    @property
    def plan(self) -> Plan:
        return load_plan(self.connection)

    def execute(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute as the application's owner would."""
        with psycopg.connect(self.url, autocommit=True) as application:
            cursor = application.execute(text, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def execute_unguarded(self, text: str, *parameters: Any) -> None:
        """Execute as a superuser without foreign keys and triggers: how a defect comes into a database."""
        with psycopg.connect(self.superuser_url, autocommit=True) as superuser:
            superuser.execute("SET session_replication_role = replica")
            superuser.execute(text, parameters or None)

    def let_two_tenants_share(self) -> None:
        """Map `alpha-two` to the organization of `alpha`, before a migration."""
        self.execute(
            "UPDATE tenant_org_mappings SET organization_id = %s WHERE tenant_id = 'alpha-two'",
            organization_of("alpha"),
        )

    def check(
        self,
        phase: Phase,
        *,
        config: MigrationConfig | None = None,
        plan: Plan | None = None,
        tables: Sequence[str] | None = None,
        tenants: Sequence[str] | None = None,
        only: Sequence[str] | None = None,
    ) -> list[CheckResult]:
        run = run_checks_before if phase == "pre-migration" else run_checks_after
        return run(
            self.connection,
            plan or self.plan,
            config or self.config,
            tables=tables,
            tenants=tenants,
            only=only,
        )

    def table_id(self, table: str) -> int:
        return table_ids(self.connection)[table]


def build_before(url: str) -> None:
    """Fill an empty database with everything, unmigrated, and store its plan."""
    config = MigrationConfig.model_validate(SETTINGS)
    with psycopg.connect(url, autocommit=True) as application:
        application.execute(_SCHEMA)
    with connect(url) as connection:
        install(connection, config)
        with psycopg.connect(url, autocommit=True) as application:
            _add_organizations(application)
            application.execute(
                _ROWS,
                {"text": list(TEXT_TENANTS), "uuid": list(UUID_TENANTS), "integer": list(INTEGER_TENANTS)},
            )
            application.execute("INSERT INTO claims VALUES (9000, %s, NULL, NULL, 'ours')", [SYSTEM_TENANT])
        store_plan(connection, build_plan(connection, config, count_rows=False), "tester")


def migrate(url: str, settings: dict[str, Any] | None = None) -> None:
    """Migrate everything with the engine, and record it as verified."""
    config = MigrationConfig.model_validate(SETTINGS if settings is None else settings)
    with connect(url) as connection:
        plan = build_plan(connection, config, count_rows=False)
        store_plan(connection, plan, "tester")
        run = start_run(connection, plan, actor="tester")
        for table in plan.tables:
            backfill_table(connection, plan, table, run)
            set_pair_states(
                connection,
                table_id=table_ids(connection)[table.qualified_name],
                tenant_numbers=list(run.tenants.values()),
                state=State.COMPLETED,
                actor="tester",
                reason="verified",
                run_id=run.run_id,
            )


def _add_organizations(application: psycopg.Connection[tuple[Any, ...]]) -> None:
    congress, federation = (f"00000000-0000-4000-8000-{n:012d}" for n in (1, 2))
    application.execute(
        "INSERT INTO organizations VALUES (%s, NULL, 'congress', 'Congress'), (%s, %s, 'federation', 'F.')",
        [congress, federation, congress],
    )
    for tenant in TENANTS:
        application.execute(
            "INSERT INTO organizations VALUES (%s, %s, %s, %s)",
            [organization_of(tenant), federation, f"local {tenant}", tenant],
        )
        application.execute(
            "INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)",
            [tenant, organization_of(tenant)],
        )


def one(
    results: Sequence[CheckResult], name: str, table: str | None, column: str | None = None
) -> CheckResult:
    """Return the only result of a check on a table."""
    found = [
        result
        for result in results
        if result.name == name and result.table == table and (column is None or result.column == column)
    ]
    assert len(found) == 1, f"{name} on {table}: {found}"
    return found[0]


def failed(results: Sequence[CheckResult]) -> set[str]:
    """Return the names of the checks that failed; none may have been unable to run."""
    errored = [result for result in results if result.outcome is Outcome.ERRORED]
    assert not errored, errored
    return {result.name for result in results if result.outcome is Outcome.FAILED}


def without_times(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the results as far as they do not depend on the clock."""
    return [replace(result, duration_ms=0.0) for result in results]
