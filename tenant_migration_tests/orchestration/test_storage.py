"""Dagster's storage: found from the environment, by every process, and never the migrated database."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy
import yaml

from tenant_migration.config import DAGSTER_URL_VARIABLE, DATABASE_URL_VARIABLE
from tenant_migration.errors import DatabaseUnavailable, Refused, UsageError
from tenant_migration.orchestration.instance import prepare_home, shared_instance
from tenant_migration.orchestration.storage import describe_storage, sqlalchemy_url, storage_url
from tenant_migration.quickstart.databases import quickstart_server
from tenant_migration.quickstart.server import stop_server
from tenant_migration.resources import resource_path
from tenant_migration_tests.conftest import Server
from tenant_migration_tests.orchestration.versions import newest_server_only

SCHEME = "postgresql+psycopg2"


@newest_server_only
def test_the_instance_lives_in_postgresql(instance: dg.DagsterInstance, storage: str) -> None:
    instance.add_dynamic_partitions("tenants", ["a"])
    with psycopg.connect(storage) as connection:
        assert connection.execute("SELECT partition FROM dynamic_partitions").fetchall() == [("a",)]


def test_without_the_variable_it_is_the_embedded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tms", dir="/tmp"))  # short, for the socket's path
    folder.chmod(0o711)  # as root another user runs the server
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.delenv(DAGSTER_URL_VARIABLE, raising=False)
    try:
        with shared_instance() as instance:
            instance.add_dynamic_partitions("tenants", ["a"])
        with psycopg.connect(storage_url()) as connection:
            assert connection.execute("SELECT partition FROM dynamic_partitions").fetchall() == [("a",)]
            assert connection.info.host.startswith(str(folder))
    finally:
        stop_server(quickstart_server())
        shutil.rmtree(folder)


@newest_server_only
def test_the_home_gets_the_shipped_file_once(home: Path) -> None:
    file = prepare_home() / "dagster.yaml"
    assert file.read_text() == resource_path("dagster.yaml").read_text()
    file.write_text("telemetry: {enabled: false}\n")
    prepare_home()
    assert file.read_text() == "telemetry: {enabled: false}\n"


def test_the_shipped_file_says_what_the_product_needs() -> None:
    shipped = yaml.safe_load(resource_path("dagster.yaml").read_text())
    assert shipped["storage"]["custom"]["config"]["scheme"] == SCHEME
    assert shipped["telemetry"] == {"enabled": False}
    assert shipped["nux"] == {"enabled": False}
    assert shipped["run_retries"]["max_retries"] == 0
    assert shipped["run_monitoring"]["enabled"] is True
    assert shipped["concurrency"]["runs"] == {
        "max_concurrent_runs": -1,
        "tag_concurrency_limits": [
            {"key": "dagster/partition", "limit": 4},
            {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
        ],
    }


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss%2Fw%25rd@db.example:6543/dagster?sslmode=require",
        "postgresql://u@/dagster?host=%2Ftmp%2Fsocket%20folder",
        "postgres://u@h1/dagster",
        "host=/tmp/s dbname='with space' user=o'brien",
    ],
)
def test_a_libpq_uri_becomes_sqlalchemys_and_means_the_same(url: str) -> None:
    converted = sqlalchemy.make_url(sqlalchemy_url(url, SCHEME))
    assert converted.drivername == SCHEME
    arguments = converted.get_dialect()().create_connect_args(converted)[1]
    given = psycopg.conninfo.conninfo_to_dict(url)
    assert {name: str(value) for name, value in arguments.items()} == {k: str(v) for k, v in given.items()}


@newest_server_only
@pytest.mark.parametrize(
    "spelling", ["host=%2Ftmp%2F", "host=%2Ftmp%2F.%2F"], ids=["same_text", "other_text"]
)
def test_a_url_with_the_migrated_database_is_refused_by_every_process(
    spelling: str, home: Path, storage: str
) -> None:
    prepare_home()
    database_url = storage.replace("host=%2Ftmp%2F", spelling)
    done = subprocess.run(
        [sys.executable, "-c", "import dagster; dagster.DagsterInstance.get()"],
        env={**os.environ, "DAGSTER_HOME": str(home), DATABASE_URL_VARIABLE: database_url},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Refused: Dagster's storage and the database to migrate are the same" in done.stderr


@newest_server_only
def test_another_spelling_of_the_same_database_is_refused_too(home: Path, storage: str) -> None:
    with pytest.raises(Refused, match="are the same"), shared_instance(f"{storage}&connect_timeout=3"):
        pass


@newest_server_only
def test_two_databases_of_one_server_are_fine(server: Server, home: Path, database: str) -> None:
    with shared_instance(database) as instance:
        assert instance.get_runs() == []


@newest_server_only
def test_a_database_to_migrate_that_is_down_is_not_taken_for_the_storage(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = "postgresql://u:sentinel@127.0.0.1:1/claims"
    with pytest.raises(DatabaseUnavailable, match="claims") as refusal, shared_instance(down):
        pass
    assert DAGSTER_URL_VARIABLE not in str(refusal.value)
    assert "sentinel" not in str(refusal.value)
    monkeypatch.setenv(DATABASE_URL_VARIABLE, down)
    with shared_instance() as instance:  # as the UI and the daemon open it
        assert instance.get_runs() == []


def test_an_unreadable_url_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, "postgresql//u:sentinel@h/d")
    with pytest.raises(UsageError) as refusal, shared_instance():
        pass
    assert DAGSTER_URL_VARIABLE in str(refusal.value)
    assert "sentinel" not in str(refusal.value)


def test_an_unreachable_storage_is_one_clear_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, "postgresql://u:sentinel@/d?host=/nowhere")
    with (
        pytest.raises(DatabaseUnavailable, match="host /nowhere, port 5432, database d") as refusal,
        shared_instance(),
    ):
        pass
    assert "sentinel" not in str(refusal.value)


def test_the_storage_is_described_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, "postgresql://u:sentinel@h:1234/d")
    assert describe_storage() == "Dagster's storage: host h, port 1234, database d"
    monkeypatch.delenv(DAGSTER_URL_VARIABLE)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert "embedded server" in describe_storage()
    assert DAGSTER_URL_VARIABLE in describe_storage()


def test_the_variable_names_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DAGSTER_URL_VARIABLE, "postgresql://u@h/d")
    assert storage_url() == "postgresql://u@h/d"
