"""`rollback` through Dagster on real databases: what is taken back, what is refused, what is said of it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tenant_migration.cli.failures import Failure
from tenant_migration.cli.rollback import _print_outcomes
from tenant_migration.quickstart.sample import SampleSummary
from tenant_migration.quickstart.sample.allocation import TABLES
from tenant_migration.recovery.results import LeftAlone, RollbackResult
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration_tests.cli.application import Application
from tenant_migration_tests.cli.runner import CommandLine, Result

QUOTED_TENANT = "o'brien-shipyard"
UNREACHABLE = {"TENANT_MIGRATION_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere"}


@pytest.fixture
def application(connection: psycopg.Connection) -> Application:
    return Application(connection)


def original_columns(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """A checksum of every column that was there before, over every row of every table."""
    found: list[tuple[object, ...]] = []
    for table in TABLES:
        found += connection.execute(
            sql.SQL(
                "SELECT {}, count(*), sum(hashtextextended((to_jsonb(t) - 'organization_id')::text, 0))"
                " FROM {} t"
            ).format(sql.Literal(table), sql.Identifier(table))
        ).fetchall()
    return found


def total_restored(result: Result) -> int:
    return int(result.stdout.partition("Total records restored: ")[2].split()[0].replace(",", ""))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to take back: --tenant ID, --table NAME, --all or --emergency"),
        (["--yes", "--verify"], "say what to take back"),
        (["--drop-created"], "say what to take back"),
        (["--all", "--tenant", "a"], "--all excludes --tenant"),
        (["--all", "--table", "claims"], "--all excludes --table"),
        (["--all", "--with-children"], "--all excludes --with-children"),
        (["--all", "--emergency"], "--emergency excludes --all"),
        (["--emergency", "--tenant", "a", "--table", "b"], "--emergency excludes --table, --tenant"),
        (["--emergency", "--from-backup", "1"], "--emergency excludes --from-backup"),
        (["--emergency", "--drop-created"], "--emergency excludes --drop-created"),
        (["--tenant", "a", "--with-children"], "--with-children goes with --table"),
        (["--tenant", "a", "--drop-created"], "--drop-created excludes --tenant"),
        (["--all", "--from-backup", "0"], "--from-backup"),
        (["--all", "--from-backup", "newest"], "--from-backup"),
        (["--all"], "there is no terminal to ask for a confirmation: give --yes"),
        (["--tenant", "a"], "give --yes"),
        (["--table", "claims", "--with-children"], "give --yes"),
    ],
)
def test_a_contradiction_is_a_usage_error_before_any_database_is_asked(
    arguments: list[str], message: str
) -> None:
    result = CommandLine(UNREACHABLE)("rollback", *arguments)
    assert result.exit_code == 2
    assert message in result.error
    assert result.stdout == ""


def test_one_tenant_is_taken_back_and_no_other_row_changes(
    migrated: CommandLine, application: Application
) -> None:
    before = {table: application.filled(table) for table in TABLES}
    untouched = original_columns(application.connection)
    result = migrated("rollback", "--tenant", QUOTED_TENANT, "--yes", "--verify")

    assert result.exit_code == 0, result.stderr
    assert "✅ Rollback completed successfully!\n" in result.stdout
    assert total_restored(result) == sum(before[table].get(QUOTED_TENANT, 0) for table in TABLES) > 0
    for table in TABLES:
        others = {tenant: rows for tenant, rows in before[table].items() if tenant != QUOTED_TENANT}
        assert application.filled(table) == others
    assert original_columns(application.connection) == untouched
    assert migrated("status").stdout.count("Rolled Back: 1\n") == 1


def test_what_was_rolled_back_can_be_migrated_again(migrated: CommandLine, application: Application) -> None:
    before = {table: application.filled(table) for table in TABLES}
    assert migrated("rollback", "--tenant", QUOTED_TENANT, "--yes").exit_code == 0
    again = migrated("migrate", "--tenant", QUOTED_TENANT)
    assert again.exit_code == 0, again.stderr
    assert {table: application.filled(table) for table in TABLES} == before
    assert application.wrong() == 0


def test_everything_is_taken_back_to_what_it_was(migrated: CommandLine, application: Application) -> None:
    untouched = original_columns(application.connection)
    result = migrated("rollback", "--all", "--verify", "--yes")

    assert result.exit_code == 0, result.stderr
    assert all(application.filled(table) == {} for table in TABLES)
    assert original_columns(application.connection) == untouched
    assert re.search(r"^claims: verified, \d+ checks passed$", result.stdout, re.MULTILINE)
    not_compared = [line for line in result.stdout.splitlines() if "Not compared" in line]
    assert len(not_compared) == 1, "what holds for every table is said once"
    assert not_compared[0].startswith("Not compared in all 8 tables: ")
    assert "checksum_as_in_backup" in not_compared[0]

    again = migrated("rollback", "--all", "--yes")
    assert (again.exit_code, again.stderr) == (0, "")
    assert "Nothing is left to roll back" in again.stdout


def test_with_drop_created_nothing_of_the_tool_is_left_on_the_tables(
    migrated: CommandLine, application: Application
) -> None:
    result = migrated("rollback", "--all", "--drop-created", "--yes")
    assert result.exit_code == 0, result.stderr
    assert not any(application.has_column(table) for table in TABLES)
    dropped = re.search(r"^claims: dropped (.*)$", result.stdout, re.MULTILINE)
    assert dropped is not None
    assert {"column organization_id", "index claims_organization_id_idx"} <= set(dropped[1].split(", "))


def test_before_anything_is_undone_it_says_what(migrated: CommandLine, application: Application) -> None:
    rows = sum(application.filled("claims").values()) + sum(application.filled("documents").values())
    grievances = sum(application.filled("grievances").values())
    result = migrated("rollback", "--table", "claims", "--with-children", "--yes")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"Database {application.connection.info.dbname} on the local server as role")
    assert lines[1] == f"   To take back: {rows + grievances:,} rows in 3 tables"
    assert {line.split()[0] for line in lines[2:5]} == {"claims", "documents", "grievances"}
    assert lines[5].startswith("   Tenants: all 6 that are migrated: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tenant", "o'brien-shipyart"], 'did you mean "o\'brien-shipyard"?'),
        (["--tenant", "x'; DROP TABLE claims; --"], "no tenant"),
        (["--table", "claimz"], "no managed table 'claimz'; did you mean 'claims'?"),
        (["--table", "claims"], "its child public.documents is migrated for"),
        (["--all", "--from-backup", "999"], "999"),
    ],
)
def test_what_is_not_known_or_not_possible_is_named_and_nothing_is_changed(
    migrated: CommandLine, application: Application, arguments: list[str], message: str
) -> None:
    before = {table: application.filled(table) for table in TABLES}
    result = migrated("rollback", *arguments, "--yes")
    assert result.exit_code == 1
    assert message in result.error
    assert "completed" not in result.stdout
    assert {table: application.filled(table) for table in TABLES} == before


def test_a_tenant_that_was_never_migrated_is_said_so(
    dagster: CommandLine, summary: SampleSummary, application: Application
) -> None:
    tenant = summary.mappings[0][0]
    assert dagster("migrate", "--tenant", QUOTED_TENANT, "--skip-backup").exit_code == 0
    result = dagster("rollback", "--tenant", tenant, "--yes")
    assert result.exit_code == 1
    assert f"{tenant!r} was never migrated" in result.error
    assert set(application.filled("profiles")) == {QUOTED_TENANT}


def test_what_the_application_wrote_since_is_left_alone_counted_and_named(
    migrated: CommandLine, application: Application
) -> None:
    [(changed, elsewhere)] = application.connection.execute(
        "UPDATE precedents t SET organization_id ="
        " (SELECT organization_id FROM tenant_org_mappings m WHERE m.tenant_id <> t.tenant_id LIMIT 1)"
        " WHERE id = (SELECT id FROM precedents WHERE tenant_id = %s ORDER BY id LIMIT 1)"
        " RETURNING id, organization_id",
        [QUOTED_TENANT],
    ).fetchall()
    [(deleted,)] = application.connection.execute(
        "DELETE FROM strike_votes WHERE id = (SELECT min(id) FROM strike_votes WHERE tenant_id = %s)"
        " RETURNING id",
        [QUOTED_TENANT],
    ).fetchall()
    result = migrated("rollback", "--tenant", QUOTED_TENANT, "--yes")

    assert result.exit_code == 0, result.stderr  # it is what a rollback promises, and no failure
    assert "precedents: 1 row was left alone, for example" in result.stdout
    assert f"id={changed} of tenant" in result.stdout
    assert f"the application changed it since, now {elsewhere}" in result.stdout
    assert f"id={deleted} of tenant" in result.stdout
    assert "not found under its key: the application deleted it since" in result.stdout
    assert "SELECT * FROM tenant_migration.left_alone WHERE run_id IN (" in result.stdout
    assert application.filled("precedents")[QUOTED_TENANT] == 1


def test_a_row_that_refuses_ends_with_exit_1_and_the_list(
    migrated: CommandLine, application: Application
) -> None:
    application.connection.execute(
        "CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;"
        "CREATE TRIGGER stubborn BEFORE UPDATE ON strike_votes FOR EACH ROW"
        f" WHEN (OLD.tenant_id = '{QUOTED_TENANT.replace(chr(39), chr(39) * 2)}') EXECUTE FUNCTION stubborn()"
    )
    result = migrated("rollback", "--all", "--yes")
    assert result.exit_code == 1
    assert "❌ Rollback ended with errors" in result.stdout
    assert "strike_votes: failed: " in result.error
    assert QUOTED_TENANT in result.error
    assert "not this one" in result.stdout
    assert set(application.filled("strike_votes")) == {QUOTED_TENANT}
    assert application.filled("claims") == {}


@pytest.mark.parametrize(
    ("answer", "exit_code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1)], ids=["y", "n", "enter", "end"]
)
def test_on_a_terminal_it_asks(
    migrated: CommandLine, application: Application, answer: str, exit_code: int
) -> None:
    before = application.filled("strike_votes")
    with on_a_terminal(migrated, "rollback", "--table", "strike_votes") as (process, terminal):
        shown = read_until(terminal, "Take this back?")
        assert f"{sum(before.values()):,} rows in 1 table\r\n" in shown
        assert application.filled("strike_votes") == before
        os.write(terminal, answer.encode())
        read_until(terminal, None)
        assert process.wait(60) == exit_code
    assert application.filled("strike_votes") == ({} if exit_code == 0 else before)


@contextmanager
def on_a_terminal(
    command_line: CommandLine, *arguments: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tenant_migration.cli", *arguments],
        env=command_line.process_environment(TERM="xterm-256color", COLUMNS="140", LINES="50"),
        stdin=side,
        stdout=side,
        stderr=side,
    )
    os.close(side)
    try:
        yield process, terminal
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_until(terminal: int, end: str | None) -> str:
    """Return what the terminal shows until a text, or until the other side is closed."""
    shown = ""
    while end is None or end not in shown:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part.decode())
    return shown


def test_an_emergency_asks_nothing_and_leaves_nothing(
    migrated: CommandLine, application: Application
) -> None:
    result = migrated("rollback", "--emergency")
    assert result.exit_code == 0, result.stderr
    assert all(application.filled(table) == {} for table in TABLES)
    assert "What is where:" in result.stdout
    assert "claims: 0 rows with a value of ours" in result.stdout

    refused = migrated("migrate", "--tenant", QUOTED_TENANT)
    assert refused.exit_code == 1
    assert "resume" in refused.error
    assert migrated("resume").exit_code == 0
    assert migrated("migrate", "--tenant", QUOTED_TENANT).exit_code == 0


def test_an_emergency_works_while_dagsters_storage_is_down(
    migrated: CommandLine, application: Application
) -> None:
    result = migrated(
        "rollback",
        "--emergency",
        TENANT_MIGRATION_DAGSTER_URL="postgresql://dagster@127.0.0.1:1/dagster",
    )
    assert result.exit_code == 1, "what Dagster has queued is not known to be stopped"
    assert all(application.filled(table) == {} for table in TABLES)
    assert "Dagster: failed" in result.stdout
    assert "cannot reach host 127.0.0.1, port 1, database dagster" in result.error
    assert "cancel them before `tenant-migration resume`" in result.error
    assert "Everything is stopped" not in result.stdout
    resumed = migrated("resume")
    assert resumed.exit_code == 0
    assert "cannot reach host 127.0.0.1, port 1, database dagster" in resumed.stdout
    assert "What is queued there may start now" in resumed.stdout


def test_an_emergency_whose_verification_fails_is_no_success(
    allowed: CommandLine, application: Application
) -> None:
    assert allowed("migrate").exit_code == 0  # with a backup
    application.connection.execute(
        "UPDATE tenant_migration.backed_up_tables SET source_checksum = 1, copy_checksum = 1"
    )
    result = allowed("rollback", "--emergency")
    assert result.exit_code == 1
    assert all(application.filled(table) == {} for table in TABLES)
    assert "public.claims: failed: The checksum over all rows is not the one" in result.error
    assert "Everything is stopped" not in result.stdout


def test_only_what_is_rolled_back_counts_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    done = RollbackOutcome("public.claims", "rolled_back", result=result_of("public.claims"))
    _print_outcomes([done], ["public.claims"], "public.")
    assert "completed successfully" in capsys.readouterr().out
    for outcomes in ([], [RollbackOutcome("public.claims", "blocked", "its child is not rolled back")]):
        with pytest.raises(Failure) as failure:
            _print_outcomes(outcomes, ["public.claims"], "public.")
        assert failure.value.exit_code == 1
        assert "claims: " in failure.value.message
        assert "successfully" not in capsys.readouterr().out


def result_of(table: str) -> RollbackResult:
    left = LeftAlone("a", {"id": "1"}, "changed", "00000000-0000-0000-0000-000000000001")
    return RollbackResult(
        table=table,
        run_id=7,
        rows_expected=3,
        rows_restored=2,
        rows_changed=1,
        rows_deleted=0,
        rows_failed=0,
        batches=1,
        seconds=0.5,
        left_alone=(left,),
    )


def test_the_database_s_name_and_no_password_is_shown(migrated: CommandLine, sample: str) -> None:
    result = migrated("rollback", "--table", "strike_votes", "--yes")  # the runner looks for the password
    assert f"Database {conninfo_to_dict(sample)['dbname']} on" in result.stdout
