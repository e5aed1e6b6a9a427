"""`migrate` through Dagster on real databases: what is done, what is refused, and what is said of it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tenant_migration.cli import migrate
from tenant_migration.cli.target import Target
from tenant_migration.config import MigrationConfig
from tenant_migration.quickstart.sample import UNMAPPED_TENANT, SampleSummary
from tenant_migration.quickstart.sample.allocation import TABLES
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration_tests.cli.application import Application
from tenant_migration_tests.cli.runner import CommandLine, Result, checked

QUOTED_TENANT = "o'brien-shipyard"


@pytest.fixture
def application(connection: psycopg.Connection) -> Application:
    return Application(connection)


def total_migrated(result: Result) -> int:
    return int(result.stdout.partition("Total records migrated: ")[2].split()[0].replace(",", ""))


def test_everything_is_migrated_and_an_independent_query_confirms_it(
    allowed: CommandLine, application: Application, summary: SampleSummary
) -> None:
    result = allowed("migrate")
    assert result.exit_code == 0, result.stderr
    expected = summary.rows - summary.unmapped_rows - summary.shared_rows
    assert "✅ Migration completed successfully!\n" in result.stdout
    assert total_migrated(result) == expected
    for table in TABLES:
        assert application.filled(table) == application.rows(table)
    assert application.wrong() == 0
    status = allowed("status")
    assert f"   Completed: {len(summary.mappings)}\n" in status.stdout
    assert f"   Total Records: {expected:,}\n" in status.stdout

    again = allowed("migrate")
    assert again.exit_code == 0
    assert total_migrated(again) == 0


def test_before_the_first_write_it_says_where_what_and_how_much(
    allowed: CommandLine, connection: psycopg.Connection
) -> None:
    before, _, after = allowed("migrate", "--table", "profiles").stdout.partition("\n\n")
    lines = [line.strip() for line in before.splitlines()]
    assert lines[0].startswith(
        f"Database {connection.info.dbname} on the local server as role app_owner, Postgre"
    )
    assert lines[1:3] == ["Tables: profiles", "Tenants: all that have a mapping"]
    titles = [line.partition(":")[0] for line in lines[3:]]
    assert titles[:5] == [
        "Rows",
        "Estimated WAL",
        "Estimated heap growth",
        "Estimated time",
        "Could not be undone",
    ]
    assert "Dagster's storage: host " in before
    assert "profiles: 100.0%" in after


def test_a_whole_run_is_refused_while_a_tenant_has_no_mapping(
    dagster: CommandLine, application: Application
) -> None:
    for arguments in (["migrate"], ["migrate", "--table", "profiles"]):
        result = dagster(*arguments)
        assert result.exit_code == 1
        assert UNMAPPED_TENANT in result.error
        assert "validation.allowed_unmapped_tenants" in result.error
        assert "completed" not in result.stdout
    assert application.untouched()


def test_one_tenant_is_judged_on_itself(
    dagster: CommandLine, application: Application, summary: SampleSummary
) -> None:
    result = dagster("migrate", "--tenant", QUOTED_TENANT)
    assert result.exit_code == 0, result.stderr
    assert total_migrated(result) == sum(application.rows(table).get(QUOTED_TENANT, 0) for table in TABLES)
    for table in TABLES:
        assert set(application.filled(table)) <= {QUOTED_TENANT}
    assert application.wrong() == 0
    other = summary.mappings[0][0]
    both = dagster("migrate", "--tenant", other, "--tenant", QUOTED_TENANT)
    assert both.exit_code == 0
    assert total_migrated(both) == sum(application.rows(table).get(other, 0) for table in TABLES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tenant", "o'brien-shipyart"], 'tenant "o\'brien-shipyart" has no mapping; did you mean'),
        (["--tenant", "' OR ''='"], "has no mapping"),
        (["--tenant", "x'; DROP TABLE claims; --"], "has no mapping"),
        (["--tenant", UNMAPPED_TENANT], f"tenant '{UNMAPPED_TENANT}' has no mapping"),
        (["--table", "claimz"], "no managed table 'claimz'; did you mean 'claims'?"),
        (["--table", 'claims"; DROP TABLE claims; --'], "no managed table"),
        (["--table", "organizations"], "no managed table 'organizations'"),
        (["--table", "claims"], "public.profiles"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["--dry-run"]], ids=["real", "dry run"])
def test_what_is_not_known_or_not_ready_is_named_and_nothing_is_changed(
    allowed: CommandLine, application: Application, arguments: list[str], message: str, mode: list[str]
) -> None:
    result = allowed("migrate", *arguments, *mode)
    assert result.exit_code == 1
    assert message in result.error
    assert application.untouched()


@pytest.mark.parametrize("arguments", [["--tenant", "nobody"], ["--table", "claimz"]], ids=" ".join)
def test_a_misspelt_name_stores_no_plan_either(
    dagster: CommandLine, connection: psycopg.Connection, arguments: list[str]
) -> None:
    assert dagster("migrate", *arguments).exit_code == 1
    assert connection.execute("SELECT count(*) FROM tenant_migration.plans").fetchone() == (0,)


@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "--dry-run"], ["validate"]], ids=" ".join)
def test_a_configuration_for_another_interface_schema_is_refused_naming_the_installed_one(
    dagster: CommandLine, connection: psycopg.Connection, arguments: list[str], tmp_path: Path
) -> None:
    connection.execute("CREATE SCHEMA app")
    (tmp_path / "migration.yaml").write_text(
        "interface_schema: app\norganizations: {table: public.organizations}\n"
    )
    result = dagster(*arguments)
    assert result.exit_code == 1
    assert "set interface_schema: public" in result.error
    assert connection.execute("SELECT count(*) FROM tenant_migration.plans").fetchone() == (0,)


def test_the_reason_of_another_run_is_not_given_as_that_of_ours(
    allowed: CommandLine, sample: str, summary: SampleSummary
) -> None:
    tenant = summary.mappings[0][0]
    assert allowed("migrate", "--tenant", tenant, "--table", "profiles").exit_code == 0
    ours = TableOutcome("public.profiles", "blocked", tenant_states={tenant: "blocked"})
    reasons = migrate._reasons(Target(sample, MigrationConfig()), [ours])
    assert reasons == {("public.profiles", tenant): "another run has taken it up since (completed)"}
    same = TableOutcome("public.profiles", "completed", tenant_states={tenant: "completed"})
    assert migrate._reasons(Target(sample, MigrationConfig()), [same]) == {
        ("public.profiles", tenant): "verified"
    }


def test_a_table_takes_its_parents_along_when_asked(allowed: CommandLine, application: Application) -> None:
    result = allowed("migrate", "--table", "claims", "--with-parents")
    assert result.exit_code == 0, result.stderr
    filled = {table for table in TABLES if application.filled(table)}
    assert filled == {"profiles", "claims"}
    assert allowed("migrate", "--table", "documents").exit_code == 0


def test_table_and_tenant_together_mean_that_tenants_rows_of_that_table(
    dagster: CommandLine, application: Application
) -> None:
    result = dagster("migrate", "--table", "profiles", "--tenant", QUOTED_TENANT)
    assert result.exit_code == 0, result.stderr
    assert application.filled("profiles") == {QUOTED_TENANT: application.rows("profiles")[QUOTED_TENANT]}
    assert not any(application.filled(table) for table in TABLES if table != "profiles")


def test_a_dry_run_counts_each_table_and_tenant_and_changes_nothing(
    allowed: CommandLine, application: Application, summary: SampleSummary
) -> None:
    result = allowed("migrate", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert application.untouched()
    expected = summary.rows - summary.unmapped_rows - summary.shared_rows
    assert f"the real run would start now and migrate {expected:,} rows" in result.stdout
    for table in TABLES:
        section = result.stdout.partition(f"\n{table}, rows to migrate for each tenant:\n")[2].partition(
            "\n\n"
        )[0]
        counted = dict(line.strip().rsplit(": ", 1) for line in section.splitlines())
        assert {tenant: int(rows.replace(",", "")) for tenant, rows in counted.items() if rows != "0"} == (
            application.rows(table)
        )
    assert "ADD COLUMN" in result.stdout
    assert "CREATE OR REPLACE TRIGGER" in result.stdout
    assert "journal_" not in result.stdout
    assert total_migrated(allowed("migrate")) == expected


def test_a_dry_run_fails_when_the_real_run_would_not_start(
    dagster: CommandLine, application: Application, tmp_path: Path
) -> None:
    result = dagster("migrate", "--dry-run")
    assert result.exit_code == 1
    assert "the real run would not start" in result.error
    assert UNMAPPED_TENANT in result.error
    one = dagster("migrate", "--dry-run", "--tenant", QUOTED_TENANT)
    assert one.exit_code == 0, one.stderr
    storage_down = {"TENANT_MIGRATION_DAGSTER_URL": "postgresql://x:S3cret%2Fand%40long@127.0.0.1:1/dagster"}
    result = dagster("migrate", "--dry-run", "--tenant", QUOTED_TENANT, **storage_down)
    assert result.exit_code == 1
    assert "127.0.0.1" in result.error
    assert application.untouched()


def test_without_dagsters_storage_nothing_is_started(dagster: CommandLine, application: Application) -> None:
    storage_down = {"TENANT_MIGRATION_DAGSTER_URL": "postgresql://x:S3cret%2Fand%40long@127.0.0.1:1/dagster"}
    result = dagster("migrate", "--tenant", QUOTED_TENANT, **storage_down)
    assert result.exit_code == 1
    assert "127.0.0.1" in result.error
    assert application.untouched()


def test_what_fails_is_listed_with_its_reason_and_only_that_is_left_to_do(
    allowed: CommandLine, application: Application, connection: psycopg.Connection, summary: SampleSummary
) -> None:
    [(organization,)] = connection.execute(
        "SELECT organization_id FROM tenant_org_mappings WHERE tenant_id = %s", [QUOTED_TENANT]
    )
    connection.execute("ALTER TABLE profiles ADD COLUMN organization_id uuid")
    connection.execute(
        f"ALTER TABLE profiles ADD CONSTRAINT not_there CHECK (organization_id <> '{organization}')"
    )
    Path("migration.yaml").write_text(
        f"validation: {{allowed_unmapped_tenants: [{UNMAPPED_TENANT}]}}\n"
        "defaults: {quarantine_max_share: 1}\n"
    )
    result = allowed("migrate")
    assert result.exit_code == 1
    assert "❌ Migration ended with errors" in result.stdout
    assert "successfully" not in result.stdout
    assert f'failed: "{QUOTED_TENANT}": ' in result.error
    assert f'blocked: "{QUOTED_TENANT}": parents not completed: public.profiles' in result.error
    assert application.filled("profiles") == {
        tenant: rows for tenant, rows in application.rows("profiles").items() if tenant != QUOTED_TENANT
    }
    assert QUOTED_TENANT not in application.filled("claims")
    assert QUOTED_TENANT in application.filled("precedents")
    status = allowed("status")
    assert "   Failed: 1\n" in status.stdout
    assert f'profiles, tenant "{QUOTED_TENANT}": failed: ' in status.stdout

    connection.execute("ALTER TABLE profiles DROP CONSTRAINT not_there")
    changed = allowed("migrate")
    assert changed.exit_code == 1
    assert "profiles changed since its plan was stored" in changed.error
    assert allowed("plan", "--json", "--write").exit_code == 0
    rest = allowed("migrate")
    assert rest.exit_code == 0, rest.stderr
    for table in TABLES:
        assert application.filled(table) == application.rows(table)
    assert "   Failed: 0\n" in allowed("status").stdout


def start(command_line: CommandLine, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tenant_migration.cli", *arguments],
        env=command_line.process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_interrupt_ends_with_130_and_says_what_is_committed(
    allowed: CommandLine, application: Application, sample: str, summary: SampleSummary
) -> None:
    with psycopg.connect(sample) as blocker:
        blocker.execute("LOCK TABLE documents IN SHARE MODE")
        process = start(allowed, "migrate")
        wait_until(lambda: application.filled("claims") == application.rows("claims"))
        wait_until(lambda: bool(waiting_for_documents(application.connection)))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    result = checked(Result(process.returncode, stdout, stderr))
    assert result.exit_code == 130
    assert "Interrupted." in result.stderr
    claims = sum(application.rows("claims").values())
    assert f"Committed and journaled: claims: {claims:,} rows" in result.stderr
    assert "Run the same command again to go on." in result.stderr
    assert "successfully" not in result.stdout
    left = sum(
        sum(application.rows(table).values()) - sum(application.filled(table).values()) for table in TABLES
    )
    rest = allowed("migrate")
    assert rest.exit_code == 0, rest.stderr
    assert total_migrated(rest) == left
    for table in TABLES:
        assert application.filled(table) == application.rows(table)


def waiting_for_documents(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT 1 FROM pg_locks WHERE relation = 'documents'::regclass AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchall()


def wait_until(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_on_a_terminal_there_are_bars(allowed: CommandLine) -> None:
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tenant_migration.cli", "migrate", "--table", "profiles"],
        env=allowed.process_environment(TERM="xterm-256color", COLUMNS="140", LINES="50"),
        stdin=side,
        stdout=side,
        stderr=subprocess.PIPE,
    )
    os.close(side)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"profiles +━{30} 100\.0% [\d,]+/[\d,]+ ", text)
    assert "Migration completed successfully!" in text
