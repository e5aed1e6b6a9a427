"""The Union Claims sample in a fresh database, and the command line as people call it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenant_migration.quickstart.sample import SampleSummary, create_sample, write_mappings
from tenant_migration_tests.cli.runner import PASSWORD, CommandLine
from tenant_migration_tests.servers import OWNER, Server

ROWS = 2_000
TENANTS = 6


@pytest.fixture(scope="session")
def samples() -> dict[int, tuple[str, SampleSummary]]:
    """Server version -> a database with the sample, to copy from, and what is in it."""
    return {}


@pytest.fixture
def sample(server: Server, samples: dict[int, tuple[str, SampleSummary]]) -> Iterator[str]:
    """URL of a fresh copy of the sample, nothing installed. Its password is never printed."""
    if server.version not in samples:
        template = server.create_database()
        samples[server.version] = (template, create_sample(server.url(template), rows=ROWS, tenants=TENANTS))
    name = server.create_database(template=samples[server.version][0])
    yield with_password(server.url(name))
    server.drop_database(name)


@pytest.fixture
def summary(server: Server, sample: str, samples: dict[int, tuple[str, SampleSummary]]) -> SampleSummary:
    return samples[server.version][1]


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
    assert run("install").exit_code == 0
    return run


@pytest.fixture
def mapped(installed: CommandLine, mappings_file: Path) -> CommandLine:
    """The command line on the sample with every mapping imported."""
    assert installed("mappings", "--import", str(mappings_file)).exit_code == 0
    return installed


@pytest.fixture
def connection(sample: str) -> Iterator[psycopg.Connection]:
    """Somebody with psql."""
    with psycopg.connect(sample, autocommit=True) as connection:
        yield connection


@pytest.fixture
def stranger(server: Server, sample: str) -> str:
    """URL of a role that may connect and has no rights."""
    role = sql.Identifier("stranger")
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        if not superuser.execute("SELECT FROM pg_roles WHERE rolname = 'stranger'").fetchall():
            superuser.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS").format(role))
    return sample.replace(f"//{OWNER}:", "//stranger:")


def with_password(url: str) -> str:
    """Put a password into a URL; the embedded server does not ask for it."""
    return url.replace(f"//{OWNER}@", f"//{OWNER}:{PASSWORD}@")
