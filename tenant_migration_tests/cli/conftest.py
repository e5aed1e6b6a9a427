"""The Union Claims sample in a fresh database, and the command line as people call it.

The stages of the workflow (sample, installed, mapped, planned, migrated) are made once, by the commands
themselves, and copied for each test. One version of the server is enough here: what the command line says
does not depend on it, and what it calls has tests of its own on every version.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tenant_migration.quickstart.sample import (
    UNMAPPED_TENANT,
    SampleSummary,
    create_sample,
    write_mappings,
)
from tenant_migration_tests.cli.runner import PASSWORD, CommandLine
from tenant_migration_tests.servers import OWNER, Server, Servers, tested_versions

ROWS = 2_000
TENANTS = 6
BEFORE = {"installed": "sample", "mapped": "installed", "planned": "mapped", "migrated": "mapped"}
"""Stage -> the one that it is made from."""
STAGES = ("sample", *BEFORE)
ALLOWED = f"validation: {{allowed_unmapped_tenants: [{UNMAPPED_TENANT}]}}\n"
"""The configuration with which all tenants may be migrated."""


@dataclass
class Templates:
    """Databases to copy from, and Dagster's storage, on one server."""

    server: Server
    folder: Path
    summary: SampleSummary | None = None
    storage: str | None = None
    _names: dict[str, str] = field(default_factory=dict)

    def name(self, stage: str) -> str:
        """Return the database of a stage, making it and those before it when they are not there."""
        if stage not in self._names:
            self._names[stage] = self._make(stage)
        return self._names[stage]

    def _make(self, stage: str) -> str:
        if stage == "sample":
            name = self.server.create_database()
            self.summary = create_sample(self.server.url(name), rows=ROWS, tenants=TENANTS)
            return name
        name = self.server.create_database(self.name(BEFORE[stage]))
        assert self.summary is not None
        mappings = self.folder / "mappings.csv"
        write_mappings(mappings, self.summary)
        (self.folder / "allowed.yaml").write_text(ALLOWED)
        arguments = {
            "installed": ["install"],
            "mapped": ["mappings", "--import", str(mappings)],
            "planned": ["plan", "--json", "--write"],
            "migrated": ["migrate", "--skip-backup"],
        }[stage]
        command_line = CommandLine(
            {
                "TENANT_MIGRATION_DATABASE_URL": with_password(self.server.url(name)),
                "TENANT_MIGRATION_ACTOR": "tester",
                "DAGSTER_HOME": str(self.folder),
                **(self._for_migrations() if stage == "migrated" else {}),
            }
        )
        result = command_line(*arguments)
        assert result.exit_code == 0, result.stderr
        return name

    def _for_migrations(self) -> dict[str, str]:
        return {
            "TENANT_MIGRATION_DAGSTER_URL": with_password(self.storage_url()),
            "TENANT_MIGRATION_CONFIG": str(self.folder / "allowed.yaml"),
        }

    def storage_url(self) -> str:
        """Return the URL of a database for Dagster's storage, shared by the tests of the command line."""
        if self.storage is None:
            self.storage = self.server.create_database()
        return self.server.url(self.storage)


@pytest.fixture(scope="session", params=[max(tested_versions())], ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """The newest version only."""
    return servers.get(request.param)


@pytest.fixture(scope="session")
def templates(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(server, tmp_path_factory.mktemp("templates"))


@pytest.fixture
def sample(server: Server, templates: Templates, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a fresh copy of the sample at the stage that the test asks for, with a password."""
    stage = next((stage for stage in reversed(STAGES) if stage in request.fixturenames), "sample")
    name = server.create_database(templates.name(stage))
    yield with_password(server.url(name))
    server.drop_database(name)


@pytest.fixture
def summary(sample: str, templates: Templates) -> SampleSummary:
    assert templates.summary is not None
    return templates.summary


@pytest.fixture
def mappings_file(summary: SampleSummary, tmp_path: Path) -> Path:
    path = tmp_path / "mappings.csv"
    write_mappings(path, summary)
    return path


@pytest.fixture
def run(sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line on the sample, in an empty folder, with a Dagster home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TENANT_MIGRATION_CONFIG", raising=False)
    return CommandLine(
        {
            "TENANT_MIGRATION_DATABASE_URL": sample,
            "TENANT_MIGRATION_ACTOR": "tester",
            "DAGSTER_HOME": str(tmp_path / "dagster"),
        }
    )


@pytest.fixture
def installed(run: CommandLine) -> CommandLine:
    """The command line on the sample with the schema installed."""
    return run


@pytest.fixture
def mapped(installed: CommandLine) -> CommandLine:
    """The command line on the sample with every mapping imported."""
    return installed


@pytest.fixture
def planned(mapped: CommandLine) -> CommandLine:
    """The command line on the sample with every mapping imported and the plan stored."""
    return mapped


@pytest.fixture
def dagster(mapped: CommandLine, templates: Templates) -> CommandLine:
    """The command line on the sample with every mapping, and a storage for Dagster."""
    storage = with_password(templates.storage_url())
    return CommandLine({**mapped.environment, "TENANT_MIGRATION_DAGSTER_URL": storage})


@pytest.fixture
def allowed(dagster: CommandLine, tmp_path: Path) -> CommandLine:
    """As `dagster`; the tenant that nobody mapped may stay unmapped, so that all tenants may be migrated."""
    (tmp_path / "migration.yaml").write_text(ALLOWED)
    return dagster


@pytest.fixture
def migrated(allowed: CommandLine) -> CommandLine:
    """The command line on the sample with everything migrated."""
    return allowed


@pytest.fixture
def connection(sample: str) -> Iterator[psycopg.Connection]:
    """Somebody with psql."""
    with psycopg.connect(sample, autocommit=True) as connection:
        yield connection


@pytest.fixture
def stranger(server: Server, sample: str) -> str:
    """URL of a role that may connect and has no rights."""
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        if not superuser.execute("SELECT FROM pg_roles WHERE rolname = 'stranger'").fetchall():
            superuser.execute(sql.SQL("CREATE ROLE stranger LOGIN NOSUPERUSER NOBYPASSRLS"))
    return sample.replace(f"//{OWNER}:", "//stranger:")


@pytest.fixture
def reader(server: Server, sample: str, planned: CommandLine) -> Iterator[str]:
    """URL of a role in the group `tenant_migration_reader`, which may read the application's tables too."""
    with psycopg.connect(server.superuser_url(conninfo_to_dict(sample)["dbname"])) as superuser:
        superuser.autocommit = True
        superuser.execute("CREATE ROLE tenant_migration_reader NOLOGIN")
        superuser.execute("CREATE ROLE anna LOGIN NOSUPERUSER NOBYPASSRLS IN ROLE tenant_migration_reader")
        superuser.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO anna")
        superuser.execute("REVOKE SELECT ON tenant_org_mappings, migration_audit_log FROM anna")
        assert planned("install").exit_code == 0  # grants the group what it is for
        yield sample.replace(f"//{OWNER}:", "//anna:")
        superuser.execute("DROP OWNED BY anna, tenant_migration_reader CASCADE")
        superuser.execute("DROP ROLE anna, tenant_migration_reader")


def with_password(url: str) -> str:
    """Put a password into a URL; the embedded server does not ask for it."""
    return url.replace(f"//{OWNER}@", f"//{OWNER}:{PASSWORD}@")
