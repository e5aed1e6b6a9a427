"""A database to migrate and a Dagster instance for each test: copies of templates made once a server.

One version of the server is enough here, except where a test asks for all: the subject is Dagster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.event_api import PartitionKeyFilter
from psycopg import sql

from tenant_migration.config import (
    CONFIG_VARIABLE,
    DAGSTER_URL_VARIABLE,
    DATABASE_URL_VARIABLE,
    MigrationConfig,
    load_config,
)
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.orchestration.build import build_definitions
from tenant_migration.orchestration.instance import shared_instance
from tenant_migration.orchestration.partition_keys import partition_key
from tenant_migration.orchestration.partitions import sync
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.quickstart.sample import UNMAPPED_TENANT, create_sample
from tenant_migration_tests.servers import Server, Servers
from tenant_migration_tests.versions import NEWEST

SKIP_BACKUP: dict[str, object] = {"start": {"skip_backup": True}}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TENANTS = 6
ROWS = 1_500


@dataclass(frozen=True)
class App:
    """The database to migrate, with its plan stored; the environment names it and its configuration file."""

    url: str
    config: MigrationConfig
    plan: Plan
    tenants: tuple[str, ...]
    """Those with a mapping, the smallest first."""

    def query(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement, parameters or None).fetchall()

    def execute(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement, parameters or None)

    def states(self) -> dict[tuple[str, str], str]:
        """What the database says is migrated."""
        rows = self.query(
            "SELECT t.table_schema || '.' || t.table_name, n.tenant_id, s.state"
            " FROM tenant_migration.table_states s JOIN tenant_migration.managed_tables t USING (table_id)"
            " JOIN tenant_migration.tenants n USING (tenant_number)"
        )
        return {(str(table), str(tenant)): str(state) for table, tenant, state in rows}

    def rows_by_tenant(self, table: str) -> dict[str, int]:
        """How many rows of a table carry an organization, counted by plain SQL."""
        if not self.query(
            "SELECT FROM information_schema.columns"
            " WHERE table_name = %s AND column_name = 'organization_id'",
            table,
        ):
            return {}
        statement = sql.SQL(
            "SELECT tenant_id, count(*) FROM {} WHERE organization_id IS NOT NULL GROUP BY 1"
        ).format(sql.Identifier("public", table))
        with psycopg.connect(self.url, autocommit=True) as connection:
            return dict(connection.execute(statement).fetchall())

    def fingerprint(self) -> list[tuple[object, ...]]:
        """Every row of the application and every column, to see that nothing changed."""
        rows = []
        for table in self.plan.tables:
            statement = sql.SQL("SELECT {}, count(*), sum(hashtextextended(t::text, 0)) FROM {} AS t").format(
                sql.Literal(table.qualified_name), sql.Identifier(table.schema_name, table.table_name)
            )
            with psycopg.connect(self.url, autocommit=True) as connection:
                rows += connection.execute(statement).fetchall()
        return rows


@pytest.fixture(scope="session", params=[NEWEST], ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """The newest version only."""
    return servers.get(request.param)


@pytest.fixture(scope="session")
def app_template(server: Server) -> str:
    """Name of a database with the sample, the mappings and the installed schema."""
    name = server.create_database()
    summary = create_sample(server.url(name), rows=ROWS, tenants=TENANTS)
    config = _config([UNMAPPED_TENANT])
    connection = connect(server.url(name))
    try:
        install(connection, config)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO public.tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)",
                summary.mappings,
            )
        store_plan(connection, build_plan(connection, config), "the test")
    finally:
        connection.close()
    return name


@pytest.fixture(scope="session")
def storage_template(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a database with Dagster's empty tables."""
    name = server.create_database()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv(DAGSTER_URL_VARIABLE, server.url(name))
        with shared_instance():
            pass
    return name


@dataclass(frozen=True)
class Templates:
    """Names of databases to copy."""

    app: str
    storage: str
    """Dagster's, as it belongs to the application's."""


@pytest.fixture(scope="session")
def migrated_templates(
    server: Server, app_template: str, storage_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Templates:
    """Everything is migrated by one run, without a backup."""
    names = Templates(server.create_database(app_template), server.create_database(storage_template))
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder / "home"))
        patch.setenv(DAGSTER_URL_VARIABLE, server.url(names.storage))
        patch.setenv(DATABASE_URL_VARIABLE, server.url(names.app))
        config = write_config(folder, patch, [UNMAPPED_TENANT])
        with shared_instance() as instance:
            app = _app(server.url(names.app), config)
            result = Dagster(_definitions(app, instance), instance).run("migrate_all", ops=SKIP_BACKUP)
            assert result.success, failure_messages(result)
    server.end_sessions(names.storage)
    return names


@pytest.fixture
def templates(request: pytest.FixtureRequest, app_template: str, storage_template: str) -> Templates:
    """What the test starts from: for a test of `migrated` that, else a stored plan."""
    if "migrated" in request.fixturenames:
        found: Templates = request.getfixturevalue("migrated_templates")
        return found
    return Templates(app_template, storage_template)


@pytest.fixture
def storage(server: Server, templates: Templates) -> Iterator[str]:
    """URL of Dagster's storage."""
    name = server.create_database(templates.storage)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def home(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dagster's home, as the environment names it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, storage)
    monkeypatch.delenv(DATABASE_URL_VARIABLE, raising=False)
    return folder


@pytest.fixture
def app(
    server: Server, templates: Templates, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    """The database to migrate; the environment names it, so that jobs run as from the UI."""
    name = server.create_database(templates.app)
    write_config(tmp_path, monkeypatch, [UNMAPPED_TENANT])
    monkeypatch.setenv(DATABASE_URL_VARIABLE, server.url(name))
    yield _app(server.url(name), load_config())
    server.drop_database(name)


def _app(url: str, config: MigrationConfig) -> App:
    connection = connect(url)
    try:
        plan = build_plan(connection, config)
        tenants = connection.execute(
            "SELECT m.tenant_id FROM public.tenant_org_mappings m JOIN public.profiles p USING (tenant_id)"
            " GROUP BY 1 ORDER BY count(*), 1"
        ).fetchall()
    finally:
        connection.close()
    return App(url, config, plan, tuple(tenant for (tenant,) in tenants))


def write_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: list[str]) -> MigrationConfig:
    """Write the configuration file that the environment names."""
    file = tmp_path / "migration.yaml"
    config = _config(allowed)
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    return config


def _config(allowed: list[str]) -> MigrationConfig:
    return MigrationConfig.model_validate(
        {
            "validation": {"allowed_unmapped_tenants": allowed},
            "defaults": {"lease_wait_s": 0.2, "quarantine_max_share": 1},
        }
    )


def store_new_plan(app: App) -> Plan:
    """Store the plan of the database as it is now, after a test changed its tables."""
    connection = connect(app.url)
    try:
        plan = build_plan(connection, app.config)
        store_plan(connection, plan, "the test")
    finally:
        connection.close()
    return plan


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The shared instance, on PostgreSQL."""
    with shared_instance() as opened:
        yield opened


@pytest.fixture
def definitions(app: App, instance: dg.DagsterInstance) -> dg.Definitions:
    """The definitions for the plan, with the partitions in place as the sensor leaves them."""
    return _definitions(app, instance)


def _definitions(app: App, instance: dg.DagsterInstance) -> dg.Definitions:
    connection = connect(app.url)
    try:
        sync(instance, connection, app.config)
    finally:
        connection.close()
    return build_definitions(app.plan)


@dataclass(frozen=True)
class Dagster:
    """Runs jobs as the UI would: by name, with a partition, with run configuration."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(
        self,
        job: str,
        *,
        tenant: str | None = None,
        tables: list[str] | None = None,
        ops: dict[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job.

        Args:
            job: its name.
            tenant: the tenant whose partition it is.
            tables: materialize these only.
            ops: configuration of ops.
        """
        config = {
            **QUIET,
            **({"ops": {name: {"config": given} for name, given in ops.items()}} if ops else {}),
        }
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=None if tenant is None else partition_key(tenant),
            asset_selection=[dg.AssetKey(["public", table]) for table in tables] if tables else None,
            run_config=config,
            raise_on_error=False,
        )

    def materialized(self, table: str) -> set[str]:
        """The partitions that the asset page shows as materialized."""
        return self.instance.get_materialized_partitions(dg.AssetKey(["public", table]))

    def materialization(self, table: str, tenant: str) -> dict[str, object]:
        """Metadata of the latest materialization of a partition."""
        wanted = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(["public", table]), asset_partitions=[partition_key(tenant)]
        )
        [record] = self.instance.fetch_materializations(wanted, limit=1).records
        assert record.asset_materialization is not None
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}

    def observed(self, table: str) -> dict[str, dict[str, object]]:
        """Partition -> metadata of its latest observation."""
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(["public", table]))
        records = self.instance.fetch_observations(wanted, limit=1_000, ascending=True).records
        return {
            str(record.partition_key): {
                name: value.value for name, value in record.asset_observation.metadata.items()
            }
            for record in records
            if record.asset_observation is not None
        }

    def evaluation(self, table: str, check: str, tenant: str) -> dict[str, Any]:
        """Metadata of the latest result of a check on a partition."""
        key = dg.AssetCheckKey(dg.AssetKey(["public", table]), check)
        records = self.instance.event_log_storage.get_asset_check_execution_history(
            key, limit=1, partition_filter=PartitionKeyFilter(key=partition_key(tenant))
        )
        assert records[0].event is not None
        evaluation = records[0].event.get_dagster_event().asset_check_evaluation_data
        return {name: value.value for name, value in evaluation.metadata.items()}

    def check_results(self, table: str, check: str) -> dict[str, tuple[bool, bool]]:
        """Partition -> (passed, points to the latest materialization), of the latest result."""
        key = dg.AssetCheckKey(dg.AssetKey(["public", table]), check)
        infos = self.instance.event_log_storage.get_asset_check_partition_info([key])
        return {
            str(info.partition_key): (info.latest_execution_status.value == "SUCCEEDED", info.is_current)
            for info in infos
        }


@pytest.fixture
def dagster(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Dagster:
    return Dagster(definitions, instance)


@pytest.fixture
def migrated(dagster: Dagster) -> Dagster:
    """Everything is migrated, and green."""
    return dagster


def failure_messages(result: dg.ExecuteInProcessResult) -> list[str]:
    """What the failed steps said."""
    messages = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            described = data.user_failure_data.description if data.user_failure_data else None
            messages.append(described or (data.error.message if data.error else ""))
    return messages
