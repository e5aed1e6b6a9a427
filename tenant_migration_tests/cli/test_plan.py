"""`plan`: reads only unless asked to write, and gives the same as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg

from tenant_migration.planning.model import Plan
from tenant_migration.quickstart.sample import UNMAPPED_TENANT, SampleSummary
from tenant_migration_tests.cli.runner import CommandLine


def stored_plans(connection: psycopg.Connection) -> int:
    [(count,)] = connection.execute("SELECT count(*) FROM tenant_migration.plans")
    return int(count)


def test_it_works_before_install_and_on_a_read_only_database(
    run: CommandLine, connection: psycopg.Connection, summary: SampleSummary
) -> None:
    database = connection.info.dbname
    connection.execute(f"ALTER ROLE app_owner IN DATABASE {database} SET default_transaction_read_only = on")
    result = run("plan")
    assert result.exit_code == 0, result.stderr
    assert all(f"public.{table}" in result.stdout for table in summary.rows_by_table)


def test_text_and_json_name_the_same_tables_in_the_same_order(
    mapped: CommandLine, connection: psycopg.Connection
) -> None:
    as_json = mapped("plan", "--json")
    plan = Plan.model_validate_json(as_json.stdout)
    names = [table.qualified_name for table in plan.tables]
    assert names.index("public.profiles") < names.index("public.claims") < names.index("public.documents")
    text = mapped("plan").stdout
    rows = [words[1] for line in text.splitlines() if (words := line.split()) and words[0].isdigit()]
    assert [row for row in rows if row.startswith("public.")] == names
    assert UNMAPPED_TENANT in text
    assert stored_plans(connection) == 0


def test_write_stores_the_plan_for_migrate_and_for_dagster(
    mapped: CommandLine, connection: psycopg.Connection, tmp_path: Path
) -> None:
    result = mapped("plan", "--json", "--write")
    assert result.exit_code == 0, result.stderr
    assert stored_plans(connection) == 1
    assert "stored with 8 tables" in result.stderr
    logged = connection.execute(
        "SELECT operation, actor, counts FROM migration_audit_log ORDER BY seq DESC LIMIT 1"
    ).fetchall()
    assert logged == [("plan", "tester", {"tables": 8})]
    in_file = json.loads((tmp_path / "dagster" / "plan.json").read_text())
    assert in_file == json.loads(result.stdout)


def test_write_without_the_schema_names_the_next_step(run: CommandLine) -> None:
    result = run("plan", "--write")
    assert result.exit_code == 1
    assert "tenant-migration install" in result.error


def test_a_database_that_cannot_be_migrated_is_shown_and_not_stored(
    run: CommandLine, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE organizations ALTER COLUMN id DROP DEFAULT")
    connection.execute(
        "CREATE SCHEMA other CREATE TABLE organizations (id bigint PRIMARY KEY, parent_id bigint)"
    )
    Path("migration.yaml").write_text("organizations: {table: other.organizations, slug: null, name: null}\n")
    shown = run("plan")
    assert shown.exit_code == 0
    assert "bigint" in shown.stdout
    result = run("plan", "--write")
    assert result.exit_code == 1
    assert "bigint" in result.error


def test_no_line_of_a_pipe_ends_with_a_blank(run: CommandLine) -> None:
    assert not [line for line in run("plan").stdout.splitlines() if line != line.rstrip()]
