"""The password of the database to migrate is in the environment and nowhere else."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import DATABASE_URL_VARIABLE
from tenant_migration_tests.orchestration.conftest import App, Dagster
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only

SENTINEL = "s3ntinel-Passw0rd"


def everything_in(url: str) -> str:
    """Every row of every table of a database as text."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        return "\n".join(
            str(row)
            for (table,) in tables
            for row in connection.execute(
                sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))
            )
        )


def files_in(folder: Path) -> str:
    return "\n".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("job", ["migrate_all", "validate_all", "discover"])
def test_the_launchpad_has_no_place_for_a_url(job: str, app: App, dagster: Dagster) -> None:
    definition = dagster.definitions.resolve_job_def(job)
    assert dg.validate_run_config(definition, {})
    with pytest.raises(dg.DagsterInvalidConfigError, match="url"):
        dg.validate_run_config(definition, {"resources": {"database": {"config": {"url": app.url}}}})


@pytest.mark.parametrize("works", [True, False], ids=["a_run_that_succeeds", "a_run_that_cannot_connect"])
def test_no_table_or_file_of_dagster_holds_the_password(
    works: bool,
    app: App,
    dagster: Dagster,
    storage: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = app.url.replace("app_owner@", f"app_owner:{SENTINEL}@")
    assert SENTINEL in url
    monkeypatch.setenv(DATABASE_URL_VARIABLE, url if works else url.replace("/test_", "/no_such_database_"))

    result = dagster.run("migrate_all", ops={"start": {"tables": ["profiles"]}})

    assert result.success is works
    stored = everything_in(storage)
    assert result.run_id in stored  # the search looks where runs are
    assert SENTINEL not in stored
    assert SENTINEL not in files_in(home)
    shown = capfd.readouterr()
    assert SENTINEL not in shown.out + shown.err
    assert not any(SENTINEL in str(event) for event in result.all_events)
