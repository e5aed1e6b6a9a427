"""`status` on real databases: counts, rows of every kind, and agreement with the SQL function."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenant_migration.quickstart.sample import UNMAPPED_TENANT, SampleSummary
from tenant_migration_tests.cli.runner import CommandLine


def status_json(run: CommandLine) -> dict[str, Any]:
    result = run("status", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_without_mappings_there_are_zeros_a_hint_and_exit_0(installed: CommandLine) -> None:
    result = installed("status")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:10] == [
        "📊 Migration Status",
        "",
        "Overall Statistics:",
        "   Total mappings: 0",
        "   Pending: 0",
        "   In Progress: 0",
        "   Completed: 0",
        "   Failed: 0",
        "   Rolled Back: 0",
        "   Total Records: 0",
    ]
    assert "tenant-migration mappings --import FILE.csv" in result.stdout


def test_the_counts_are_those_of_the_mappings(mapped: CommandLine, summary: SampleSummary) -> None:
    result = mapped("status")
    assert result.exit_code == 0
    assert (
        f"   Total mappings: {len(summary.mappings)}\n   Pending: {len(summary.mappings)}\n" in result.stdout
    )
    assert "Notes:" not in result.stdout


def test_each_table_has_its_rows_of_every_kind(
    planned: CommandLine, connection: psycopg.Connection, summary: SampleSummary
) -> None:
    found = status_json(planned)
    tables = {table["table_name"]: table for table in found["tables"]}
    assert set(tables) == set(summary.rows_by_table)
    for name, table in tables.items():
        [(total, null_tenant, unmapped)] = connection.execute(
            "SELECT count(m.tenant_id), count(*) FILTER (WHERE t.tenant_id IS NULL),"
            " count(*) FILTER (WHERE t.tenant_id IS NOT NULL AND m.tenant_id IS NULL)"
            f" FROM {name} t LEFT JOIN tenant_org_mappings m ON m.tenant_id = t.tenant_id"
        )
        assert (table["total_rows"], table["rows_null_tenant"], table["rows_unmapped"]) == (
            total,
            null_tenant,
            unmapped,
        )
        assert table["rows_allowed_unmapped"] == 0
        assert table["unmapped_examples"] == ([UNMAPPED_TENANT] if unmapped else [])
    assert sum(table["rows_unmapped"] for table in tables.values()) == summary.unmapped_rows
    assert sum(table["rows_null_tenant"] for table in tables.values()) == summary.shared_rows
    assert found["overall"]["total_rows"] == summary.rows - summary.unmapped_rows - summary.shared_rows


def test_allowed_tenants_are_counted_apart(
    planned: CommandLine, summary: SampleSummary, tmp_path: Path
) -> None:
    (tmp_path / "migration.yaml").write_text(
        f"validation: {{allowed_unmapped_tenants: [{UNMAPPED_TENANT}]}}\n"
    )
    tables = status_json(planned)["tables"]
    assert sum(table["rows_allowed_unmapped"] for table in tables) == summary.unmapped_rows
    assert sum(table["rows_unmapped"] for table in tables) == 0


def test_status_and_the_sql_function_say_the_same(
    planned: CommandLine, connection: psycopg.Connection, summary: SampleSummary
) -> None:
    tenant, organization = summary.mappings[0]
    connection.execute("TRUNCATE strike_votes CASCADE")
    connection.execute("ALTER TABLE profiles ADD COLUMN organization_id uuid")
    connection.execute(
        "UPDATE profiles SET organization_id = %s WHERE tenant_id = %s", [organization, tenant]
    )
    function = connection.execute("SELECT * FROM get_migration_progress()").fetchall()
    tables = status_json(planned)["tables"]
    assert [
        (table["table_name"], table["total_rows"], table["migrated_rows"], f"{table['percentage']:.2f}")
        for table in tables
    ] == [(name, total, migrated, f"{percentage:.2f}") for name, total, migrated, percentage in function]
    by_name = {table["table_name"]: table for table in tables}
    assert by_name["profiles"]["migrated_rows"] > 0
    assert by_name["strike_votes"]["percentage"] == 100.0


def test_detailed_lists_the_tables_in_order_with_an_overall_line(
    planned: CommandLine, summary: SampleSummary
) -> None:
    result = planned("status", "--detailed")
    assert result.exit_code == 0
    lines = result.stdout.partition("Table Progress:\n\n")[2].splitlines()
    names = [line[3:33].strip() for line in lines[: len(summary.rows_by_table)]]
    assert set(names) == set(summary.rows_by_table)
    assert names.index("profiles") < names.index("claims") < names.index("documents")
    assert lines[len(names)] == ""
    assert lines[len(names) + 1].startswith("   OVERALL                        ░░░")
    assert f"{summary.unmapped_rows:,} rows" not in lines[0]
    assert UNMAPPED_TENANT in result.stdout


def test_detailed_without_a_plan_names_the_next_step(mapped: CommandLine) -> None:
    result = mapped("status", "--detailed")
    assert result.exit_code == 0
    assert "tenant-migration plan --write" in result.stdout


def test_tables_of_another_schema_are_shown_qualified_and_any_name_works(
    mapped: CommandLine, connection: psycopg.Connection
) -> None:
    connection.execute('CREATE SCHEMA archive CREATE TABLE "Old 10%" (tenant_id integer, "org %s" uuid)')
    connection.execute('INSERT INTO archive."Old 10%" VALUES (7), (NULL)')
    connection.execute(
        "INSERT INTO tenant_migration.managed_tables (table_schema, table_name, tenant_column,"
        " organization_column, key_type, position, component, table_hash)"
        """ VALUES ('archive', 'Old 10%', 'tenant_id', 'org %s', '"pg_catalog"."int4"', 0, 0, '')"""
    )
    result = mapped("status", "--detailed")
    assert result.exit_code == 0, result.stderr
    assert "   archive.Old 10%                " in result.stdout
    assert "archive.Old 10%: 1 row of 1 tenant without a mapping: '7'" in result.stdout


def test_a_managed_table_that_was_dropped_is_said_so(
    planned: CommandLine, connection: psycopg.Connection
) -> None:
    connection.execute("DROP TABLE strike_votes CASCADE")
    result = planned("status", "--detailed")
    assert result.exit_code == 0
    assert "strike_votes is not there any more" in result.stdout


def test_status_reads_only(planned: CommandLine, connection: psycopg.Connection) -> None:
    database = connection.info.dbname
    connection.execute(f"ALTER ROLE app_owner IN DATABASE {database} SET default_transaction_read_only = on")
    for arguments in (["status"], ["status", "--detailed"], ["status", "--json"], ["mappings", "--list"]):
        assert planned(*arguments).exit_code == 0


def test_a_role_that_would_see_a_part_of_the_rows_is_refused(
    planned: CommandLine, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE claims ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert planned("status").exit_code == 0
    result = planned("status", "--detailed")
    assert result.exit_code == 1
    assert 'row-level security policy for table "claims"' in result.error
    assert "BYPASSRLS" in result.error


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--detailed"], ["status", "--json"], ["mappings", "--list"]],
    ids=" ".join,
)
def test_a_reader_sees_what_the_owner_sees(planned: CommandLine, reader: str, arguments: list[str]) -> None:
    result = planned(*arguments, TENANT_MIGRATION_DATABASE_URL=reader)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == planned(*arguments).stdout


def test_a_reader_gets_no_count_of_a_part_of_the_rows(
    planned: CommandLine, reader: str, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE claims ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY few ON claims USING (tenant_id = 'nobody')")
    assert planned("status", TENANT_MIGRATION_DATABASE_URL=reader).exit_code == 0
    result = planned("status", "--detailed", TENANT_MIGRATION_DATABASE_URL=reader)
    assert result.exit_code == 1
    assert 'row-level security policy for table "claims"' in result.error


@pytest.mark.parametrize(
    "arguments",
    [
        ["install"],
        ["plan", "--write"],
        ["migrate"],
        ["migrate", "--dry-run"],
        ["validate"],
        ["cache", "--clear"],
        ["mappings", "--import", "{file}"],
    ],
    ids=" ".join,
)
def test_a_reader_changes_nothing(
    planned: CommandLine,
    reader: str,
    connection: psycopg.Connection,
    mappings_file: Path,
    arguments: list[str],
) -> None:
    def state() -> list[tuple[object, ...]]:
        return connection.execute(
            "SELECT s::text, (SELECT count(*) FROM tenant_migration.plans),"
            " (SELECT count(*) FROM tenant_migration.runs) FROM tenant_migration.settings s"
        ).fetchall()

    before = state()
    given = [argument.format(file=mappings_file) for argument in arguments]
    result = planned(*given, TENANT_MIGRATION_DATABASE_URL=reader)
    assert result.exit_code == 1
    assert "unexpected" not in result.error
    assert state() == before


def test_a_grant_without_the_policy_is_refused_instead_of_showing_nothing(
    planned: CommandLine, stranger: str, connection: psycopg.Connection
) -> None:
    connection.execute("GRANT USAGE ON SCHEMA tenant_migration TO stranger")
    connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenant_migration, public TO stranger")
    result = planned("status", TENANT_MIGRATION_DATABASE_URL=stranger)
    assert result.exit_code == 1
    assert "role stranger may not read schema tenant_migration" in result.error


def test_an_output_in_ascii_is_readable_and_its_json_is_json(planned: CommandLine) -> None:
    detailed = planned.process("status", "--detailed", PYTHONIOENCODING="ascii")
    assert detailed.exit_code == 0
    assert detailed.stdout.isascii()
    assert detailed.stdout.startswith("Migration Status\n")
    as_json = planned.process("status", "--json", PYTHONIOENCODING="ascii")
    assert json.loads(as_json.stdout)["counts"]["total"] > 0


def test_another_interface_schema_than_the_installed_one_is_refused(
    installed: CommandLine, connection: psycopg.Connection, tmp_path: Path
) -> None:
    connection.execute("CREATE SCHEMA app")
    (tmp_path / "migration.yaml").write_text("interface_schema: app\n")
    result = installed("status")
    assert result.exit_code == 1
    assert "interface_schema: public" in result.error


def test_watching_prints_again_until_it_is_interrupted(mapped: CommandLine) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tenant_migration.cli", "status", "--watch"],
        env=mapped.process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    pages = 0
    while pages < 2:
        pages += process.stdout.readline().endswith("Migration Status\n")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "Interrupted.\n")


def test_keys_of_every_type_are_counted_in_their_own_type(
    installed: CommandLine, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE TYPE kind AS ENUM ('north', 'south', 'lost')")
    connection.execute("CREATE DOMAIN slug AS text CHECK (VALUE <> '')")
    uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    keys = {
        "integer": ("12", "7"),
        "bigint": ("12", "-7"),
        "uuid": (uuid, "00000000-0000-0000-0000-000000000007"),
        "char(8)": ("north", "lost"),
        "kind": ("north", "lost"),
        "slug": ("north", "lost"),
        "numeric(6,2)": ("12.00", "7.50"),
    }
    connection.cursor().executemany(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
        " SELECT %s, id FROM organizations ORDER BY id LIMIT 1",
        [("0012",), (uuid.upper(),), ("north",)],
    )
    for number, (key_type, (mapped_key, lost_key)) in enumerate(keys.items()):
        connection.execute(
            f"CREATE TABLE typed_{number} (id serial PRIMARY KEY, tenant_id {key_type}, organization_id uuid)"
        )
        connection.execute(
            f"INSERT INTO typed_{number} (tenant_id)"
            f" VALUES ('{mapped_key}'), ('{mapped_key}'), ('{lost_key}'), (NULL)"
        )
        connection.execute(
            f"UPDATE typed_{number} SET organization_id = (SELECT id FROM organizations LIMIT 1)"
            f" WHERE id = (SELECT min(id) FROM typed_{number})"
        )
    assert installed("plan", "--json", "--write").exit_code == 0
    tables = {table["table_name"]: table for table in status_json(installed)["tables"]}
    function = {row[0]: row[1:3] for row in connection.execute("SELECT * FROM get_migration_progress()")}
    for number, (key_type, (_, lost_key)) in enumerate(keys.items()):
        table = tables[f"typed_{number}"]
        counted = (
            table["total_rows"],
            table["migrated_rows"],
            table["rows_null_tenant"],
            table["rows_unmapped"],
        )
        assert counted == (2, 1, 1, 1), key_type
        assert function[f"typed_{number}"] == (2, 1), key_type
        assert [text.strip() for text in table["unmapped_examples"]] == [lost_key]
