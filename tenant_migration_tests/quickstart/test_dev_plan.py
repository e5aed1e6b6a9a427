"""Before Dagster starts: the plan that the UI shows is the one of this database, or none."""

from __future__ import annotations

import click
import pytest

from tenant_migration.cli import dev
from tenant_migration.cli.target import Target
from tenant_migration.config import MigrationConfig
from tenant_migration.database.install import install
from tenant_migration.orchestration import plan_file
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import load_plan, store_plan
from tenant_migration.quickstart.sample import create_sample

CONFIG = MigrationConfig()


@pytest.fixture
def target(database, monkeypatch, tmp_path):
    """The sample, and in the home a plan of some other database."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    create_sample(database, rows=400, tenants=5)
    target = Target(database, CONFIG)
    with target.connection() as connection:
        other = build_plan(connection, CONFIG).model_copy(update={"database": "other"})
    plan_file.write(other)
    return target


def planned_database() -> str | None:
    plan = plan_file.read()
    return None if plan is None else plan.database


def test_without_the_schema_no_plan_is_shown_and_the_next_step_is_named(target, capsys):
    dev._show_plan_of(target)
    assert planned_database() is None
    assert "tenant-migration install" in capsys.readouterr().err


def test_without_a_plan_and_a_person_none_is_shown(target, capsys):
    with target.connection() as connection:
        install(connection, CONFIG)
    dev._show_plan_of(target)
    assert planned_database() is None
    assert "discover" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked_before_a_plan_is_stored(target, connection, monkeypatch, answer):
    install(connection, CONFIG)
    asked = []
    monkeypatch.setattr(dev, "is_terminal", lambda: True)
    monkeypatch.setattr(dev.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "confirm", lambda text: asked.append(text) or answer)
    dev._show_plan_of(target)
    assert asked == ["There is no plan yet. Store one now?"]
    assert planned_database() == (connection.info.dbname if answer else None)
    if answer:
        assert load_plan(connection).database == connection.info.dbname


def test_stored_plan_replaces_the_one_of_another_database(target, connection):
    install(connection, CONFIG)
    store_plan(connection, build_plan(connection, CONFIG), "tester")
    assert planned_database() == "other"
    dev._show_plan_of(target)
    assert planned_database() == connection.info.dbname


def test_configuration_file_is_named_absolutely(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TENANT_MIGRATION_CONFIG", raising=False)
    assert dev._config_variable(None, use_sample=False) == {}
    (tmp_path / "migration.yaml").write_text("cache_ttl_seconds: 1\n")
    assert dev._config_variable(None, use_sample=False) == {
        "TENANT_MIGRATION_CONFIG": str(tmp_path / "migration.yaml")
    }
